//! Sizes, features, mistakes with their places, and that nothing panics.

use super::*;
use crate::sgx::{
    make_manifest,
    template::{Variables, render},
    tests::{NAMES, text, vectors},
    trusted_files::{Known, OnDisk},
};

fn attributes(text: &str) -> Result<Attributes, Failure> {
    Manifest::parse(text, "m", &GRAMINE)?.attributes()
}

fn said(text: &str) -> String {
    attributes(text).unwrap_err().error
}

#[test]
fn omitted_keys_have_the_defaults_of_gramine() {
    let plain = attributes("").unwrap();
    assert_eq!((plain.enclave_size, plain.max_threads), (256 << 20, 4));
    assert_eq!((plain.debug, plain.exinfo, plain.edmm), (false, false, false));
    assert_eq!((plain.product, plain.svn, plain.attestation.as_str()), (0, 0, "none"));
    assert_eq!(attributes("sgx.edmm_enable = true").unwrap().enclave_size, 1 << 40);
}

#[test]
fn sizes_are_powers_of_two_with_a_suffix() {
    for (word, bytes) in [
        ("1G", 1 << 30),
        ("512M", 1 << 29),
        ("262144K", 1 << 28),
        ("0x10000000", 1 << 28),
        ("1024G", 1 << 40),
    ] {
        assert_eq!(
            attributes(&format!("sgx.enclave_size = \"{word}\"")).unwrap().enclave_size,
            bytes,
            "{word}"
        );
    }
    for word in [
        "",
        "M",
        "300M",
        "-1G",
        "+1G",
        "1g",
        "1.0G",
        "0",
        "2048G",
        "010M",
        "99999999999999999999G",
        "0x",
        " 1G",
        "é",
    ] {
        let error = said(&format!("sgx.enclave_size = \"{word}\""));
        assert!(error.starts_with("sgx.enclave_size is \""), "{error}");
    }
    assert!(said("sgx.enclave_size = 1024").starts_with("sgx.enclave_size is 1024, but must be a text"));
}

#[test]
fn features_set_and_clear_their_bits_in_order() {
    let of = |text: &str| {
        let found = attributes(text).unwrap();
        (found.features, found.features_mask)
    };
    assert_eq!(of(""), (0x3, 0xffff_ffff_fff9_ff1b));
    assert_eq!(of("sgx.cpu_features.avx = \"required\""), (0x7, 0xffff_ffff_fff9_ff1f));
    // avx512's bits contain avx's.
    let both = "sgx.cpu_features = { avx = \"required\", avx512 = \"disabled\" }";
    assert_eq!(of(both), (0x3, 0xffff_ffff_fff9_ffff));
    assert_eq!(of("sgx.cpu_features.amx = \"required\"").0, 0x6_0003);
    assert_eq!(of("sgx.cpu_features.mpx = \"required\"").0, 0x1b);
    assert_eq!(of("sgx.cpu_features.pkru = \"required\"").0, 0x203);
    assert!(said("sgx.cpu_features.mpx = \"unspecified\"").ends_with("\"required\" or \"disabled\""));
    assert!(said("sgx.cpu_features.avx = true").ends_with("\"unspecified\", \"required\" or \"disabled\""));
}

#[test]
fn mistakes_are_refused_with_the_place_or_the_key() {
    let cases = [
        ("a = 1\nb = [1,\n", "m, line 2, column 8: unclosed array"),
        ("a = 1\na = 2\n", "m, line 2, column 1: duplicate key"),
        ("sgx = 1", "m: sgx must be a table"),
        ("loader = 1", "m: loader must be a table"),
        ("loader.entrypoint = \"file:x\"", "m: loader.entrypoint must be a table with a uri"),
        ("sgx.cpu_features = 1", "m: sgx.cpu_features must be a table"),
        ("sgx.trusted_files = 1", "m: sgx.trusted_files must be an array"),
        ("sgx.trusted_files = [\"file:a\", 1]", "m: sgx.trusted_files[1] must be a uri"),
        ("sgx.trusted_files = [{ uri = \"file:a\", sha = \"\" }]", "m: sgx.trusted_files[0] must be a uri"),
        ("sgx.max_threads = 0", "sgx.max_threads is 0, but must be 1 to 4096"),
        ("sgx.max_threads = 5000", "sgx.max_threads is 5000, but must be 1 to 4096"),
        ("sgx.isvprodid = 65536", "sgx.isvprodid is 65536, but must be 0 to 65535"),
        ("sgx.isvsvn = -1", "sgx.isvsvn is -1, but must be 0 to 65535"),
        ("sgx.debug = \"yes\"", "sgx.debug is \"yes\", but must be true or false"),
        (
            "sgx.remote_attestation = \"epid\"",
            "sgx.remote_attestation is \"epid\", but must be \"none\" or \"dcap\"",
        ),
    ];
    for (text, error) in cases {
        assert!(said(text).starts_with(error), "{text}: {}", said(text));
    }
    let text = |text: &str| Manifest::parse(text, "m", &GRAMINE).unwrap().text();
    assert!(text("a = 1.5").unwrap_err().error.contains("float"));
    assert!(text("a = [2026-01-01]").unwrap_err().error.contains("datetime"));
}

#[test]
fn templates_mistakes_are_refused_with_the_line() {
    let said = |template: &str| {
        render(template, "t", &Variables::new().with("role", "aggregator")).unwrap_err().error
    };
    assert!(
        said("a = 1\nb = {{ rol }}").starts_with("t, line 2: undefined value"),
        "{}",
        said("a = 1\nb = {{ rol }}")
    );
    assert!(said("\n\n{% if %}").starts_with("t, line 3: syntax error"));
    assert!(
        said("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}")
            .contains("fuel")
    );
    assert!(said("{{ 'x' * 20000000 }}{{ 'x' * 20000000 }}").starts_with("t"));
    assert!(said(&"{% if a %}".repeat(100_000)).starts_with("t"));
    assert!(said(&format!("{{{{ {}", "(".repeat(100_000))).starts_with("t"));
    let gramine = Variables::new().with_gramine("/usr/lib/gramine/");
    let made = render(
        "{{ gramine.libos }} {{ gramine.runtimedir() }} {{ gramine.runtimedir('musl') }}\n",
        "t",
        &gramine,
    );
    assert_eq!(
        made.unwrap(),
        "/usr/lib/gramine/libsysdb.so /usr/lib/gramine/runtime/glibc /usr/lib/gramine/runtime/musl\n"
    );
}

#[test]
fn files_are_hashed_once_each() {
    let files = OnDisk { relative_to: vectors(), root: "/".into() };
    let trusted = |text: &str| {
        let mut manifest = Manifest::parse(text, "m", &GRAMINE)?;
        manifest.hash_files(&files, Some("libos.bin"))?;
        manifest.trusted()
    };
    let uris = |text: &str| -> Vec<String> { trusted(text).unwrap().into_iter().map(|t| t.uri).collect() };
    let hello = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let once = format!(
        "sgx.trusted_files = [\"file:dir/\", \"file:dir/a.bin\", {{ uri = \"file:hello.txt\", sha256 = \"{hello}\" }}, \"file:hello.txt\"]"
    );
    assert_eq!(uris(&once), ["file:dir/a.bin", "file:dir/sub/b.bin", "file:hello.txt"]);
    let twice = format!(
        "sgx.trusted_files = [{{ uri = \"file:hello.txt\", sha256 = \"{hello}\" }}, {{ uri = \"file:hello.txt\", sha256 = \"{}\" }}]",
        "0".repeat(64)
    );
    assert_eq!(trusted(&twice).unwrap_err().error, "file:hello.txt is trusted twice, with different hashes");
    // A hash that is given is believed: the file may be on another machine.
    assert_eq!(
        uris(&format!("sgx.trusted_files = [{{ uri = \"file:gone\", sha256 = \"{hello}\" }}]")),
        ["file:gone"]
    );
    assert!(trusted("sgx.trusted_files = [\"file:gone\"]").unwrap_err().error.starts_with("cannot read "));
    assert!(
        trusted("sgx.trusted_files = [{ uri = \"file:gone\", sha256 = \"00\" }]")
            .unwrap_err()
            .error
            .contains("64 hexadecimal digits")
    );
    let unhashed = Manifest::parse("sgx.trusted_files = [\"file:gone\"]", "m", &GRAMINE).unwrap();
    assert_eq!(
        unhashed.trusted().unwrap_err().error,
        "the manifest has no sha256 for the trusted file file:gone"
    );
    // No entry point, and nobody says where Gramine is.
    let none = Manifest::parse("", "m", &GRAMINE).unwrap().hash_files(&files, None).unwrap_err();
    assert_eq!(none.error, "loader.entrypoint.uri is missing");
    let known = Known([("/lib/libsysdb.so".to_owned(), Digest::of(b"libos"))].into_iter().collect());
    let made = make_manifest("", "t", &Variables::new().with_gramine("/lib"), &known, &GRAMINE).unwrap();
    let entrypoint = format!(
        "[loader.entrypoint]\nuri = \"file:/lib/libsysdb.so\"\nsha256 = \"{}\"\n",
        Digest::of(b"libos")
    );
    assert!(made.text().unwrap().contains(&entrypoint));
}

#[test]
fn trusted_files_below_an_allowed_path_are_found() {
    let hash = "0".repeat(64);
    let pairs = |trusted: &str, allowed: &str| {
        let text = format!(
            "sgx.trusted_files = [{{ uri = \"{trusted}\", sha256 = \"{hash}\" }}]\nsgx.allowed_files = [\"file:x\", \"{allowed}\"]"
        );
        Manifest::parse(&text, "m", &GRAMINE).unwrap().unchecked().unwrap().len()
    };
    assert_eq!(pairs("file:/w/cert/ca.crt", "file:/w/cert/"), 1);
    assert_eq!(pairs("file:/w/cert/ca.crt", "file:/w/cert"), 1);
    assert_eq!(pairs("file:/w/cert/ca.crt", "file:/w/cert/ca.crt"), 1);
    assert_eq!(pairs("file:/w/certs/ca.crt", "file:/w/cert"), 0);
    assert_eq!(pairs("file:/w/ca.crt", "file:/w/cert/"), 0);
    assert_eq!(Manifest::parse("", "m", &GRAMINE).unwrap().unchecked(), Ok(Vec::new()));
}

/// Everything that is done with a text of unknown origin.
fn walk(text: &str) {
    let variables = Variables::new().with("role", "aggregator");
    let rendered = render(text, "t", &variables).unwrap_or_else(|_| text.to_owned());
    let Ok(mut manifest) = Manifest::parse(&rendered, "m", &GRAMINE) else { return };
    let _ = manifest.attributes();
    let _ = manifest.trusted();
    let _ = manifest.hash_files(&Known::default(), None);
    if let Ok(made) = manifest.text() {
        // What was written is read again to the same tables and the same text.
        let again = Manifest::parse(&made, "again", &GRAMINE).unwrap();
        assert_eq!(again.text().unwrap(), made);
    }
}

#[test]
fn deep_texts_are_refused_without_a_panic() {
    for (open, close) in [("[", "]"), ("{a=", "}"), ("a.", "b = 1"), ("\"\".", "b = 1")] {
        for depth in [100, 1000, 100_000] {
            let value =
                format!("{}{}", open.repeat(depth), close.repeat(if close.len() == 1 { depth } else { 1 }));
            walk(&value);
            walk(&format!("a = {value}"));
            walk(&format!("[{}b]", "a.".repeat(depth)));
        }
    }
}

#[test]
fn nothing_makes_it_panic() {
    let seeds: Vec<Vec<u8>> = NAMES
        .iter()
        .filter(|name| **name != "manypages")
        .flat_map(|name| ["template", "sgx"].map(|end| text(&format!("{name}.manifest.{end}")).into_bytes()))
        .collect();
    crate::sgx::tests::mutations(&seeds, usize::MAX, |bytes| walk(&String::from_utf8_lossy(bytes)));
}

const GRAMINE: Gramine = Gramine::NEWEST;
