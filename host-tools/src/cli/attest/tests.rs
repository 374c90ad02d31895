use std::{fs, path::Path};

use fl_engine::{
    Digest,
    plan::roster::{Accepted, Measurement, Measurements},
};
use fl_quotes::{self as quotes, Chip, DAY, Intel, NOW, Wish};
use fl_runtime::internal::trust::evidence::Collateral;

use super::*;
use crate::{
    cli::{self, transcript::transcript},
    files::tests::scratch,
};

/// A forged Intel: everything is in order except for the root.
fn forged(dir: &Path) {
    let intel = Intel::new(Chip::default());
    fs::write(dir.join("quote.bin"), intel.quote(&quotes::Enclave::default())).unwrap();
    fs::write(dir.join("collateral.json"), intel.collateral(&Wish::default()).json()).unwrap();
}

#[test]
fn attest_commands_answer_as_their_transcript_says() {
    let dir = scratch("attest-cli");
    forged(&dir);
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("text"), "hello").unwrap();
    let found = transcript(
        &dir,
        &[
            "attest --help",
            "attest verify --help",
            "attest show D/quote.bin",
            "--json attest show D/quote.bin",
            "attest show D/text",
            "attest show D/none",
            "attest verify D/quote.bin --collateral D/collateral.json --at 2027-01-15T08:00:00Z",
            "--json attest verify D/quote.bin --collateral D/collateral.json --at 2027-01-15T08:00:00Z",
            "attest verify D/quote.bin --collateral D/text",
            "attest verify D/quote.bin --collateral D/collateral.json --at yesterday",
            "attest verify D/quote.bin --collateral D/collateral.json --roster D/cols.yaml --ca D/ca.crt",
            "attest collateral D/empty --output D/made.json",
        ],
    );
    assert_eq!(found, include_str!("../attest.txt"));
}

#[test]
fn verdict_is_shown_with_its_terms_and_warnings() {
    let intel = Intel::new(Chip::default());
    let levels = |status| Wish { levels: vec![([5; 16], 13, status)], ..Wish::default() };
    let verified = |wish: &Wish| {
        let collateral = Collateral::parse(intel.collateral(wish).json().as_bytes()).unwrap();
        let root = Root(Digest::of(&intel.root()));
        match attest::examine(&intel.quote(&quotes::Enclave::default()), &collateral, root, NOW).unwrap() {
            Examined::Sgx(verified) => verified,
            Examined::Tdx(_) => panic!("not a trust domain"),
        }
    };
    let Answer { text, json } = sgx(&verified(&levels("OutOfDateConfigurationNeeded")), NOW).unwrap();
    assert_eq!(format!("{text}{json}\n"), include_str!("../attest_verdict.txt"));
    let good = sgx(&verified(&Wish::default()), UnixSeconds(NOW.0 + 27 * DAY)).unwrap();
    assert!(
        good.text.contains("advisories   none\n") && good.text.contains("Z (in 1 day)\n"),
        "{}",
        good.text
    );
    assert!(!good.text.contains("warning"));
}

#[test]
fn enclave_is_one_of_the_two_that_the_roster_lists_or_refused() {
    let listed =
        |byte, product| Measurement { enclave: Digest([byte; 32]), signer: Digest([9; 32]), product, svn: 2 };
    let measurements = Measurements { aggregator: listed(1, 1), collaborator: listed(2, 2) };
    let enclave = |byte, product, svn| Enclave {
        mrenclave: Digest([byte; 32]),
        mrsigner: Digest([9; 32]),
        product,
        svn,
        debug: false,
    };
    let role = |enclave: Enclave| {
        attest::role_of(&enclave, Some(&Accepted::of(&measurements))).map(|role| role.as_str())
    };
    assert_eq!(role(enclave(1, 1, 2)), Ok("aggregator"));
    assert_eq!(role(enclave(2, 2, 3)), Ok("collaborator"));
    for other in [enclave(3, 1, 2), enclave(1, 2, 2), enclave(1, 1, 1)] {
        assert_eq!(role(other).unwrap_err().reason, Some("other_enclave"));
    }
    let signer = Enclave { mrsigner: Digest([8; 32]), ..enclave(1, 1, 2) };
    assert_eq!(role(signer).unwrap_err().reason, Some("other_enclave"));
    assert_eq!(attest::role_of(&enclave(1, 1, 2), None).unwrap_err().exit, Exit::Plan);
}

#[test]
fn real_quotes_end_with_the_codes_that_the_manual_states() {
    let Some(folder) = quotes::real::folder() else { return };
    let at = |file: &str| folder.join(file).display().to_string();
    let run = |quote: &str, collateral: &str, time: &str| {
        cli::run(&["attest", "verify", &at(quote), "--collateral", &at(collateral), "--at", time])
    };
    let collateral = "collateral/phala-sgx-00A067110000-2025-06.json";
    let good = run("quotes/phala_sgx.bin", collateral, "2025-07-01T00:00:00Z");
    assert_eq!(good.exit, Exit::Done, "{}", good.err);
    assert!(good.out.contains("status       ConfigurationAndSWHardeningNeeded\n"), "{}", good.out);
    let debug = run("quotes/automata_sgx_00a067.bin", collateral, "2025-07-01T00:00:00Z");
    assert_eq!(debug.exit, Exit::Evidence);
    assert!(debug.err.contains("debug mode") && debug.err.contains("MRENCLAVE a39d532e"), "{}", debug.err);
    let late = run("quotes/phala_sgx.bin", collateral, "2026-01-01T00:00:00Z");
    assert!(late.err.contains("expired at 2025-07-19T"), "{}", late.err);
    let tdx = "collateral/phala-tdx-B0C06F000000-2025-06.json";
    let tdx = run("quotes/phala_tdx.bin", tdx, "2025-07-01T00:00:00Z");
    assert!(
        tdx.out.contains("status       UpToDate\n") && tdx.out.contains("MRTD"),
        "{}{}",
        tdx.out,
        tdx.err
    );
}
