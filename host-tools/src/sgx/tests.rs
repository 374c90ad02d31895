//! The vectors: what Gramine's own tool made of the same inputs.

use std::{fs, path::PathBuf};

use super::{files::OnDisk, template::Variables, *};

pub(super) fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sgx")
}

pub(super) fn bytes(name: &str) -> Vec<u8> {
    fs::read(vectors().join(name)).unwrap()
}

pub(super) fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

pub(super) const NAMES: [&str; 5] = ["plain", "debug", "features", "edmm", "manypages"];

/// The value of a line of a vector's `.expect`.
pub(super) fn expected(name: &str, key: &str) -> String {
    let lines = text(&format!("{name}.expect"));
    let line = lines.lines().find_map(|line| line.strip_prefix(&format!("{key}: "))).unwrap();
    line.to_owned()
}

pub(super) fn test_key() -> SigningKey {
    SigningKey::from_pkcs8(&bytes("test-key.pk8.der")).unwrap()
}

pub(super) fn measured(name: &str) -> Measured {
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
fn every_vector_s_template_renders_to_the_same_text() {
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
