use std::fs;

use fl_engine::{Digest, hex::digits, plan::roster::UnixSeconds};
use fl_quotes::{self as quotes, Chip, Intel, NOW, Wish};

use super::*;
use crate::files::tests::scratch;

fn collateral(intel: &Intel, wish: &Wish) -> Collateral {
    Collateral::parse(intel.collateral(wish).json().as_bytes()).unwrap()
}

fn root(intel: &Intel) -> Root {
    Root(Digest::of(&intel.root()))
}

#[test]
fn both_verifiers_have_to_accept_a_quote() {
    let intel = Intel::new(Chip::default());
    let quote = intel.quote(&quotes::Enclave::default());
    let good = collateral(&intel, &Wish::default());
    let Ok(Examined::Sgx(verified)) = examine(&quote, &good, root(&intel), NOW) else { panic!() };
    assert_eq!(verified.status(), TcbStatus::UpToDate);

    let refused = examine(&quote, &good, Root::INTEL, NOW).unwrap_err();
    assert_eq!((refused.exit, refused.reason), (Exit::Evidence, Some("certificate")));
    let debug = intel.quote(&quotes::Enclave { debug: true, ..quotes::Enclave::default() });
    let refused = examine(&debug, &good, root(&intel), NOW).unwrap_err();
    assert_eq!(refused.reason, Some("debug"));
    let known = format!("; MRENCLAVE {}, status UpToDate", Digest([0xe1; 32]));
    assert!(refused.error.ends_with(&known), "{}", refused.error);
}

#[test]
fn verdicts_that_differ_are_refused() {
    let intel = Intel::new(Chip::default());
    let quote = intel.quote(&quotes::Enclave::default());
    let ours = || {
        let good = collateral(&intel, &Wish::default());
        TrustedCollateral::check(&good, root(&intel), NOW).unwrap().verify(&quote, NOW).unwrap()
    };
    let same = Opinion { status: "UpToDate".into(), mrenclave: [0xe1; 32], report_data: [7; 64] };
    agreed(ours(), &same).unwrap();
    for other in [
        Opinion { status: "OutOfDate".into(), ..same.clone() },
        Opinion { mrenclave: [0xe2; 32], ..same.clone() },
        Opinion { report_data: [8; 64], ..same.clone() },
    ] {
        assert_eq!(agreed(ours(), &other).unwrap_err().reason, Some("disagreement"));
    }
}

/// The answers of Intel's service, as curl leaves them in a folder.
#[test]
fn folder_of_answers_becomes_one_file_for_several_processors() {
    let intel = Intel::new(Chip::default());
    let dir = scratch("attest-fetched");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    let (one, other) =
        (intel.collateral(&Wish::default()), intel.collateral(&Wish { fmspc: [9; 6], ..Wish::default() }));
    let answer = |key: &str, text: &str, signature: &[u8]| {
        format!("{{\"{key}\":{text},\"signature\":\"{}\"}}", digits(signature))
    };
    let percent = one.issuer_chain.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B");
    for (kind, of) in [("00606A000000", &one), ("090909090909", &other)] {
        let text = answer("tcbInfo", &of.tcb_info, &of.tcb_info_signature);
        write(&format!("tcb-{kind}.json"), text.as_bytes());
        let headers = format!("HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: {percent}\r\n\r\n");
        write(&format!("tcb-{kind}.headers"), headers.as_bytes());
    }
    let missing = fetched::read(&dir, root(&intel), NOW).map(drop).unwrap_err();
    assert_eq!(missing.exit, Exit::File);
    write("qe.json", answer("enclaveIdentity", &one.qe_identity, &one.qe_identity_signature).as_bytes());
    write("qe.headers", format!("SGX-Enclave-Identity-Issuer-Chain: {percent}\r\n").as_bytes());
    write("root.crl", &one.root_crl);
    write("pck-platform.crl", &one.pck_crl);
    let missing = fetched::read(&dir, root(&intel), NOW).map(drop).unwrap_err();
    assert!(missing.error.contains("pck-processor.crl"), "{}", missing.error);
    write("pck-processor.crl", &one.pck_crl);

    let (made, trusted) = fetched::read(&dir, root(&intel), NOW).unwrap();
    let kinds: Vec<String> = trusted.processors().into_iter().map(fmspc).collect();
    assert_eq!(kinds, ["00606A000000", "090909090909"]);
    let again = Collateral::parse(made.render().as_bytes()).unwrap();
    assert_eq!(again, made);
    examine(&intel.quote(&quotes::Enclave::default()), &again, root(&intel), NOW).unwrap();

    write("qe.json", b"{}");
    let refused = fetched::read(&dir, root(&intel), NOW).map(drop).unwrap_err();
    assert_eq!((refused.exit, refused.reason), (Exit::Evidence, Some("collateral_form")));
    write("qe.json", answer("enclaveIdentity", &one.qe_identity, &[7; 64]).as_bytes());
    let refused = fetched::read(&dir, root(&intel), NOW).map(drop).unwrap_err();
    assert_eq!(refused.reason, Some("signature"));
    let late = UnixSeconds(NOW.0 + 40 * 86_400);
    write("qe.json", answer("enclaveIdentity", &one.qe_identity, &one.qe_identity_signature).as_bytes());
    assert_eq!(
        fetched::read(&dir, root(&intel), late).map(drop).unwrap_err().reason,
        Some("collateral_expired")
    );
}

#[test]
fn collateral_files_that_cannot_be_read_say_why() {
    let dir = scratch("attest-files");
    let refused = |text: &[u8]| {
        fs::write(dir.join("c.json"), text).unwrap();
        read_collateral(&dir.join("c.json")).unwrap_err().error.replace(&dir.display().to_string(), "D")
    };
    assert!(refused(b"").starts_with("D/c.json is not collateral: EOF"), "{}", refused(b""));
    assert!(refused(b"{}").contains("missing field `root_ca_crl`"));
    assert_eq!(refused(b"{\"schema\": 2}"), "D/c.json has schema 2; this program reads schema 1");
    let made = collateral(&Intel::new(Chip::default()), &Wish::default());
    let odd = made.render().replacen("\"root_crl\": \"", "\"root_crl\": \"0", 1);
    assert!(
        refused(odd.as_bytes()).contains("root_crl is not in hexadecimal digits"),
        "{}",
        refused(odd.as_bytes())
    );
    let unknown = made.render().replacen("\"schema\"", "\"more\": 1, \"schema\"", 1);
    assert!(refused(unknown.as_bytes()).contains("unknown field `more`"));
    let none = Collateral { tcb_infos: Vec::new(), ..made.clone() };
    assert!(refused(none.render().as_bytes()).contains("describes 0 kinds of processors"));
    let many = Collateral { tcb_infos: vec![made.tcb_infos[0].clone(); 65], ..made };
    assert!(refused(many.render().as_bytes()).contains("describes 65 kinds"));
}

#[test]
fn real_quotes_are_judged_by_both_and_trust_domains_by_one() {
    for real in quotes::real::cases() {
        let collateral = Collateral::parse(real.collateral.as_bytes()).unwrap();
        let found = examine(&real.quote, &collateral, Root::INTEL, real.now);
        match &real.name[..] {
            "phala_sgx phala-sgx-00A067110000-2025-06 1751328000" => {
                let Ok(Examined::Sgx(verified)) = found else { panic!("{found:?}") };
                assert_eq!(verified.status().as_str(), "ConfigurationAndSWHardeningNeeded");
            }
            name if name.contains("tdx") => {
                let Ok(Examined::Tdx(domain)) = found else { panic!("{name}: {found:?}") };
                assert_eq!(domain.status, "UpToDate");
            }
            name => assert_eq!(found.map(drop).unwrap_err().exit, Exit::Evidence, "{name}"),
        }
    }
}
