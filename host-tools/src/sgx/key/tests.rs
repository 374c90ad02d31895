//! Keys of openssl and keys for openssl, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use super::*;
use crate::{
    files::tests::scratch,
    sgx::tests::{bytes, test_key},
};

/// What openssl says; `None` where there is no openssl.
fn openssl(args: &[&str]) -> Option<String> {
    let output = Command::new("openssl").args(args).output().ok()?;
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

#[test]
fn new_key_is_written_once_and_read_back() {
    let dir = scratch("sgx-key");
    let path = dir.join("key.pem");
    let key = SigningKey::generate().unwrap();
    save(&key, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(load(&path).unwrap().signer(), key.signer());
    let again = save(&key, &path).unwrap_err();
    assert!(again.error.ends_with("key.pem already exists"), "{}", again.error);
    std::os::unix::fs::symlink(dir.join("nowhere"), dir.join("link")).unwrap();
    assert!(save(&key, &dir.join("link")).is_err(), "a dangling link is something too");
    for mode in [0o604, 0o640, 0o620, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = load(&path).unwrap_err();
        assert!(
            refused.error.starts_with("other users of this machine can read or change"),
            "{}",
            refused.error
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&path).unwrap().signer(), key.signer());
    assert_eq!(key.modulus.bits(), BITS);
    assert_ne!(SigningKey::generate().unwrap().signer(), key.signer());
    let shown = format!("{key:?}");
    assert!(shown.starts_with("SigningKey { signer: ") && shown.ends_with(", .. }"), "{shown}");

    let Some(said) = openssl(&["rsa", "-check", "-noout", "-in", &path.display().to_string()]) else {
        eprintln!("skipped: no openssl");
        return;
    };
    assert!(said.contains("RSA key ok"), "{said}");
    let modulus = openssl(&["rsa", "-modulus", "-noout", "-in", &path.display().to_string()]).unwrap();
    assert_eq!(modulus.trim(), format!("Modulus={:X}", key.modulus));
}

#[test]
fn keys_of_openssl_are_taken_in_both_forms() {
    let dir = scratch("sgx-openssl");
    let at = |name: &str| dir.join(name).display().to_string();
    if openssl(&["genrsa", "-3", "-out", &at("a.pem"), "3072"]).is_none() {
        eprintln!("skipped: no openssl");
        return;
    }
    openssl(&["rsa", "-traditional", "-in", &at("a.pem"), "-out", &at("pkcs1.pem")]);
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &at("a.pem"), "-out", &at("pkcs8.pem")]);
    for name in ["pkcs1.pem", "pkcs8.pem"] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(fs::read_to_string(dir.join("pkcs1.pem")).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    assert!(fs::read_to_string(dir.join("pkcs8.pem")).unwrap().contains("BEGIN PRIVATE KEY"));
    let key = load(&dir.join("pkcs1.pem")).unwrap();
    assert_eq!(load(&dir.join("pkcs8.pem")).unwrap().signer(), key.signer());
    // The same signature as openssl's, which it takes.
    fs::write(dir.join("data"), b"signed").unwrap();
    let mut signature = key.sign(b"signed");
    signature.reverse();
    fs::write(dir.join("ours"), signature).unwrap();
    openssl(&["dgst", "-sha256", "-sign", &at("pkcs1.pem"), "-out", &at("theirs"), &at("data")]);
    assert_eq!(fs::read(dir.join("theirs")).unwrap(), signature);

    let refused = |name: &str, args: &[&str], error: &str| {
        openssl(&[args, &["-out", &at(name)]].concat());
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        let failure = load(&dir.join(name)).unwrap_err();
        assert_eq!(failure.exit, Exit::Trust);
        assert!(failure.error.ends_with(error), "{}", failure.error);
        assert!(failure.hint.is_some());
    };
    let plain = at("pkcs1.pem");
    let refused_bits = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    refused("short", &refused_bits, "the RSA key has 2048 bits; SGX needs 3072");
    let refused_exponent = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
    refused("exponent", &refused_exponent, "the RSA key has the public exponent 65537; SGX needs 3");
    refused("ed25519", &["genpkey", "-algorithm", "ed25519"], "the key is not an RSA key");
    refused(
        "public",
        &["rsa", "-in", &plain, "-pubout"],
        "the key file contains a PUBLIC KEY, not a private key",
    );
    let locked = ["rsa", "-in", &plain, "-aes128", "-passout", "pass:secret"];
    refused("locked", &locked, "the key is encrypted with a passphrase");
    let locked = ["rsa", "-traditional", "-in", &plain, "-aes128", "-passout", "pass:secret"];
    refused("locked1", &locked, "the key is encrypted with a passphrase");
    for form in ["rsa", "pkcs8"] {
        let args: &[&str] =
            if form == "rsa" { &["rsa", "-traditional"] } else { &["pkcs8", "-topk8", "-nocrypt"] };
        openssl(&[args, &["-in", &plain, "-outform", "DER", "-out", &at(form)]].concat());
        assert_eq!(load(&dir.join(form)).unwrap().signer(), key.signer(), "{form}");
    }
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let key = test_key();
    let text = key.to_pem();
    assert_eq!(SigningKey::from_pem(&text).unwrap().signer(), key.signer());
    let said = |text: &str| SigningKey::from_pem(text).unwrap_err().to_string();
    assert_eq!(said(""), "the key file contains 0 PEM blocks; exactly one is needed");
    assert_eq!(said(&text.repeat(2)), "the key file contains 2 PEM blocks; exactly one is needed");
    assert_eq!(said(&pem("CERTIFICATE", b"x")), "the key file contains a CERTIFICATE, not a private key");
    assert_eq!(
        said(&pem("RSA PRIVATE KEY", b"")),
        "the key is not an RSA private key: byte 0: the key is cut short"
    );
    assert_eq!(
        SigningKey::from_bytes(b"\xff\xfe").unwrap_err().to_string(),
        "the key file is not PEM: the file contains bytes that are not text"
    );
    let der = ::pem::parse(&text).unwrap().into_contents();
    let longer = [&der[..], &[0]].concat();
    let expected = format!(
        "the key is not an RSA private key: byte {}: there are more bytes than the value needs",
        der.len()
    );
    assert_eq!(said(&pem("RSA PRIVATE KEY", &longer)), expected);
    assert!(said(&text.replacen("-----BEGIN RSA", "-----BEGIN", 1)).starts_with("the key file is not PEM"));
}

#[test]
fn numbers_that_do_not_fit_together_are_refused() {
    let der = ::pem::parse(test_key().to_pem()).unwrap().into_contents();
    let mut what = std::collections::BTreeSet::new();
    // In the middle of each number.
    for at in [100, 500, 900, 1050, 1250, 1450, 1700] {
        let mut changed = der.clone();
        changed[at] ^= 1;
        match SigningKey::from_pkcs1(&changed) {
            Err(KeyError::Numbers(error)) => what.insert(error),
            other => panic!("byte {at}: {other:?}"),
        };
    }
    assert_eq!(what.len(), 4, "{what:?}");
}

#[test]
fn nothing_makes_it_panic() {
    let seeds = [bytes("test-key.pk8.der"), ::pem::parse(test_key().to_pem()).unwrap().into_contents()];
    // A file whose headers are whole costs a test of two primes.
    crate::sgx::tests::mutations(&seeds, 40, |file| {
        let short = &file[..file.len().min(400)];
        let _ = SigningKey::from_bytes(short);
    });
}
