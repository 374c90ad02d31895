//! The vectors: what Gramine's own tool made of the same inputs.

use std::{fs, path::PathBuf};

use super::{template::Variables, trusted_files::OnDisk, *};

pub(crate) fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sgx")
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    fs::read(vectors().join(name)).unwrap()
}

pub(crate) fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

/// The value of a line of a vector's `.expect`.
pub(crate) fn expected(name: &str, key: &str) -> String {
    let lines = text(&format!("{name}.expect"));
    let line = lines.lines().find_map(|line| line.strip_prefix(&format!("{key}: "))).unwrap();
    line.to_owned()
}

pub(crate) fn test_key() -> SigningKey {
    SigningKey::from_pkcs8(&bytes("test-key.pk8.der")).unwrap()
}

pub(crate) fn measured(name: &str) -> MeasuredEnclave {
    let pal = bytes(&expected(name, "libpal"));
    measure_bytes(&text(&format!("{name}.manifest.sgx")), name, &pal, &Gramine::NEWEST).unwrap()
}

#[test]
fn every_vector_is_measured_and_signed_to_the_same_bytes() {
    let key = test_key();
    for name in NAMES {
        let measured = measured(name);
        assert_eq!(measured.measurement.to_string(), expected(name, "mr_enclave"), "{name}");
        assert_eq!(key.signer().to_string(), expected(name, "mr_signer"), "{name}");
        let attributes = &measured.attributes;
        assert_eq!(attributes.product.to_string(), expected(name, "isv_prod_id"), "{name}");
        assert_eq!(attributes.svn.to_string(), expected(name, "isv_svn"), "{name}");
        assert_eq!(attributes.debug, expected(name, "debug_enclave") == "True", "{name}");
        let date = expected(name, "date").parse().unwrap();
        let signed = Sigstruct::sign(&key, attributes, &measured.measurement, date).unwrap();
        assert!(signed.bytes()[..] == bytes(&format!("{name}.sig")), "{name}");
        assert_eq!(signed.date(), date);
        assert!(signed.fits(attributes));
    }
}

#[test]
fn template_of_every_vector_renders_to_the_same_text() {
    let files = OnDisk { relative_to: vectors(), root: "/".into() };
    let variables = Variables::new().with("role", "aggregator");
    for name in NAMES {
        let template = text(&format!("{name}.manifest.template"));
        let manifest = make_manifest(&template, name, &variables, &files, &Gramine::NEWEST).unwrap();
        let made = manifest.text().unwrap();
        assert!(made == text(&format!("{name}.manifest.sgx")), "{name}: {made}");
        // What was made once is made again to itself.
        let again = make_manifest(&made, name, &variables, &files, &Gramine::NEWEST).unwrap();
        assert!(again.text().unwrap() == made, "{name}, again");
    }
}

/// Changed files, several thousand of them: bytes replaced, runs cut out, doubled and moved, numbers set to
/// their ends. Most changes are among the first `hot` bytes. FL_MUTATIONS says how many; the same ones come
/// every time.
pub(crate) fn mutations(seeds: &[Vec<u8>], hot: usize, mut check: impl FnMut(&[u8])) {
    let count = std::env::var("FL_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000_u64);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        // xorshift64* (Vigna, arXiv:1402.6246).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    for number in 0..count {
        let mut file = seeds[number as usize % seeds.len()].clone();
        for _ in 0..=next(4) {
            let reach = if next(4) == 0 { file.len() } else { file.len().min(hot) };
            let at = next(reach);
            let run = next(16.min(file.len() - at.min(file.len())) + 1);
            match next(6) {
                0 if !file.is_empty() => file[at] = next(256) as u8,
                1 if !file.is_empty() => file[at] ^= 1 << next(8),
                2 => file[at..at + run].fill([0, 0xff, 0x7f, 0x80][next(4)]),
                3 => drop(file.drain(at..at + run)),
                4 => {
                    let copied = file[at..at + run].to_vec();
                    let to = next(file.len() + 1);
                    file.splice(to..to, copied);
                }
                5 => file.truncate(next(file.len() + 1)),
                _ => {}
            }
        }
        check(&file);
    }
}

pub(crate) const NAMES: [&str; 5] = ["plain", "debug", "features", "edmm", "manypages"];
