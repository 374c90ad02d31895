//! Quotes of real enclaves, with what Intel has signed about their processors.

use fl_engine::Digest;
use fl_quotes::real;

use super::{Case, ChainError, Holder, Measured, NotVerified, Quote, QuoteError, Root, Signed, TcbStatus};

#[test]
fn real_quotes_have_the_verdicts_that_are_known() {
    for real in real::cases() {
        let case = Case { quote: real.quote, collateral: real.collateral, root: real::root(), now: real.now };
        assert_eq!(Root(Digest::of(&case.root)), Root::INTEL);
        let words: Vec<&str> = real.name.split(' ').collect();
        let [quote, _, now] = words[..] else { panic!("{}", real.name) };
        let verdict = case.ours();
        match (quote, now) {
            ("phala_sgx", "1751328000") => {
                let verified = verdict.unwrap();
                assert_eq!(verified.status(), TcbStatus::ConfigurationAndSwHardeningNeeded);
                assert_eq!(case.theirs().as_deref(), Ok(verified.status().as_str()));
                assert!(verified.advisories().iter().eq(["INTEL-SA-00289", "INTEL-SA-00615"]));
                assert_eq!(verified.good_until().to_string(), "2025-07-19T10:01:18Z");
                assert_eq!(verified.evaluation(), 17);
                let Measured::Sgx(enclave) = verified.measured();
                assert!(enclave.mrenclave.to_string().starts_with("33d8736d"));
                assert!(verified.report_data().starts_with(b"Hello, world!"));
            }
            ("phala_sgx", "1750000000") => assert!(matches!(verdict, Err(NotVerified::Early(..)))),
            ("phala_sgx", "1753000000") => {
                let expired = |error: &NotVerified| error.reason() == "collateral_expired";
                assert!(verdict.as_ref().is_err_and(expired), "{verdict:?}");
            }
            ("phala_sgx", _) => {
                assert_eq!(verdict, Err(NotVerified::Chain(Holder::Processor, ChainError::NoList)));
            }
            ("phala_tdx" | "google_tdx_v5", _) => {
                assert!(matches!(verdict, Err(NotVerified::Text(Signed::TcbInfo, _))), "{verdict:?}");
                assert!(matches!(Quote::parse(&case.quote), Err(QuoteError::Kind { tee: 0x81, .. })));
                assert_eq!(case.theirs().as_deref(), Ok("UpToDate"));
                continue;
            }
            _ => assert!(matches!(verdict, Err(NotVerified::Debug(_))), "{}: {verdict:?}", real.name),
        }
        if now != "1751328000" || quote != "phala_sgx" {
            assert!(case.theirs().is_err(), "{}", real.name);
        }
    }
}

#[test]
fn real_quotes_without_collateral_are_read() {
    let Some(folder) = real::folder() else { return };
    let read = |name: &str| std::fs::read(folder.join("parse-only").join(name)).unwrap();
    for name in ["fortanix_sgx_00906ea1.bin", "fortanix_pcs_sgx_00906ea1.bin"] {
        Quote::parse(&read(name)).unwrap();
        assert_eq!(super::claimed_processor(&read(name)).unwrap(), [0, 0x90, 0x6e, 0xa1, 0, 0]);
    }
    let error = Quote::parse(&read("fortanix_quote_certtype_other.bin")).unwrap_err();
    assert_eq!(error, QuoteError::NoCertificates(3));
}
