//! What a forged Intel can sign: the good case, and one case for each check.

use fl_engine::{Digest, plan::roster::UnixSeconds};
use fl_quotes::{self as intel, Chip, DAY, Intel, NOW, Wish};

use super::{
    Case, ChainError, Collateral, Enclave, Holder, Measured, NotVerified, ProcessorError, QuoteError, Root,
    Signed, TcbStatus, TrustedCollateral, Verified,
};

fn case(intel: &Intel, wish: &Wish) -> Case {
    case_of(intel, &intel.collateral(wish), &intel::Enclave::default())
}

fn case_of(intel: &Intel, collateral: &intel::Collateral, enclave: &intel::Enclave) -> Case {
    Case { quote: intel.quote(enclave), collateral: collateral.json(), root: intel.root(), now: NOW }
}

/// Both verifiers' verdict, which has to be the same status.
fn agreed(case: &Case) -> Verified {
    let ours = case.ours().unwrap();
    assert_eq!(case.theirs().as_deref(), Ok(ours.status().as_str()));
    ours
}

/// Both verifiers refuse; ours for this reason.
fn refused(case: &Case) -> NotVerified {
    case.theirs().unwrap_err();
    case.ours().unwrap_err()
}

#[test]
fn good_quote_proves_enclave_status_and_terms() {
    let intel = Intel::new(Chip::default());
    let verified = agreed(&case(&intel, &Wish::default()));
    let Measured::Sgx(enclave) = *verified.measured();
    let expected = Enclave {
        mrenclave: Digest([0xe1; 32]),
        mrsigner: Digest([0x51; 32]),
        product: 1,
        svn: 0,
        debug: false,
    };
    assert_eq!(enclave, expected);
    assert_eq!((verified.report_data(), verified.status()), (&[7; 64], TcbStatus::UpToDate));
    assert!(verified.advisories().is_empty());
    assert_eq!((verified.evaluation(), verified.issued()), (19, UnixSeconds(NOW.0 - DAY)));
    assert_eq!(verified.good_until(), UnixSeconds(NOW.0 + 29 * DAY - 1));
    assert_eq!(verified.platform(), Digest::of(&[0x11; 16]));
}

#[test]
fn status_is_that_of_the_highest_level_which_the_processor_reaches() {
    let levels = |status| Wish { levels: vec![([5; 16], 13, status)], ..Wish::default() };
    for status in TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked) {
        let verified = agreed(&case(&Intel::new(Chip::default()), &levels(status.as_str())));
        assert_eq!(verified.status(), status);
        assert_eq!(verified.advisories().len(), usize::from(status != TcbStatus::UpToDate));
    }
    // One component of an older level decides, and so does the PCE's version.
    let mut components = [5; 16];
    components[15] = 4;
    let old = Chip { components, cpu_svn: components, ..Chip::default() };
    assert_eq!(agreed(&case(&Intel::new(old), &Wish::default())).status(), TcbStatus::OutOfDate);
    let old = Chip { pce_svn: 12, ..Chip::default() };
    assert_eq!(agreed(&case(&Intel::new(old), &Wish::default())).status(), TcbStatus::OutOfDate);
}

#[test]
fn levels_are_sorted_here_whatever_order_the_text_has() {
    let intel = Intel::new(Chip::default());
    let mut wish = Wish::default();
    wish.levels.reverse();
    wish.qe_levels.reverse();
    assert_eq!(case(&intel, &wish).ours().unwrap().status(), TcbStatus::UpToDate);
}

#[test]
fn old_quoting_enclave_makes_the_platform_out_of_date() {
    let intel = Intel::new(Chip { qe_svn: 7, ..Chip::default() });
    let verified = agreed(&case(&intel, &Wish::default()));
    assert_eq!(verified.status(), TcbStatus::OutOfDate);
    assert!(verified.advisories().contains("INTEL-SA-00477"));
    for status in
        ["SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate"]
    {
        agreed(&case(&intel, &Wish { levels: vec![([5; 16], 13, status)], ..Wish::default() }));
    }
}

#[test]
fn each_revoked_certificate_is_named() {
    let intel = Intel::new(Chip::default());
    let with = |wish: Wish| refused(&case(&intel, &wish));
    let revoked = |holder| NotVerified::Chain(holder, ChainError::Revoked);
    assert_eq!(with(Wish { revoke_processor: true, ..Wish::default() }), revoked(Holder::Processor));
    assert_eq!(with(Wish { revoke_authority: true, ..Wish::default() }), revoked(Holder::Processor));
    assert_eq!(with(Wish { revoke_signer: true, ..Wish::default() }), revoked(Holder::TcbInfoSigner));
}

#[test]
fn revoked_missing_and_foreign_levels_are_refused() {
    let with = |chip: Chip, wish: Wish| refused(&case(&Intel::new(chip), &wish));
    let chip =
        |svn: u8, pce_svn| Chip { components: [svn; 16], cpu_svn: [svn; 16], pce_svn, ..Chip::default() };
    assert_eq!(with(chip(1, 5), Wish::default()), NotVerified::Revoked);
    assert_eq!(with(chip(0, 5), Wish::default()), NotVerified::NoLevel);
    assert_eq!(with(Chip { qe_svn: 2, ..Chip::default() }, Wish::default()), NotVerified::Revoked);
    assert_eq!(
        with(Chip { qe_svn: 1, ..Chip::default() }, Wish::default()),
        NotVerified::QuotingEnclaveTooOld
    );
    let other = Wish { fmspc: [9; 6], ..Wish::default() };
    assert_eq!(with(Chip::default(), other), NotVerified::OtherProcessor);
    let tdx = Wish { id: "TDX", ..Wish::default() };
    assert!(matches!(with(Chip::default(), tdx), NotVerified::Text(Signed::TcbInfo, _)));
}

#[test]
fn collateral_is_good_from_its_issue_to_its_end_and_no_second_longer() {
    let intel = Intel::new(Chip::default());
    let at = |wish: &Wish, now| Case { now, ..case(&intel, wish) };
    let wish = Wish::default();
    // A list's last second is the one before the next list is due.
    let due = UnixSeconds(wish.issued.0 + wish.lives);
    let end = UnixSeconds(due.0 - 1);
    agreed(&at(&wish, wish.issued));
    agreed(&at(&wish, end));
    let early = refused(&at(&wish, UnixSeconds(wish.issued.0 - 1)));
    assert_eq!(early, NotVerified::Early(Signed::List, wish.issued));
    let late = refused(&at(&wish, due));
    assert_eq!(late, NotVerified::Chain(Holder::TcbInfoSigner, ChainError::ListExpired(due)));
    // The end of the processors' list counts alone, and so does that of the texts.
    let short = Wish { list_lives: 2 * DAY, ..Wish::default() };
    let end_of_list = UnixSeconds(NOW.0 + DAY - 1);
    assert_eq!(agreed(&at(&short, NOW)).good_until(), end_of_list);
    assert_eq!(refused(&at(&short, UnixSeconds(NOW.0 + DAY))), NotVerified::Late(Signed::List, end_of_list));
    let long = Wish { list_lives: 60 * DAY, ..Wish::default() };
    assert_eq!(agreed(&at(&long, end)).good_until(), end);
    let collateral = Collateral::parse(intel.collateral(&wish).json().as_bytes()).unwrap();
    let trusted = TrustedCollateral::check(&collateral, Root(Digest::of(&intel.root())), NOW).unwrap();
    assert_eq!((trusted.issued(), trusted.good_until()), (wish.issued, end));
    assert_eq!(trusted.processors(), [wish.fmspc]);
}

#[test]
fn edited_texts_and_quotes_lose_their_signature() {
    let intel = Intel::new(Chip::default());
    let enclave = intel::Enclave::default();
    let mut collateral = intel.collateral(&Wish::default());
    collateral.tcb_info = collateral.tcb_info.replace("OutOfDate", "UpToDate");
    let edited = refused(&case_of(&intel, &collateral, &enclave));
    assert_eq!(edited, NotVerified::Signature(Signed::TcbInfo));
    let mut collateral = intel.collateral(&Wish::default());
    collateral.qe_identity = collateral.qe_identity.replace("\"isvsvn\":6", "\"isvsvn\":1");
    let edited = refused(&case_of(&intel, &collateral, &enclave));
    assert_eq!(edited, NotVerified::Signature(Signed::QeIdentity));

    let good = case(&intel, &Wish::default());
    let changed = |at: usize, is: fn(&NotVerified) -> bool| {
        let mut quote = good.quote.clone();
        quote[at] ^= 1;
        let refusal =
            refused(&Case { quote, collateral: good.collateral.clone(), root: good.root.clone(), ..good });
        assert!(is(&refusal), "{at}: {refusal}");
    };
    // MRENCLAVE, the quote's signature, the attestation key, the quoting enclave's report and its signature.
    changed(48 + 64, |e| *e == NotVerified::Signature(Signed::Quote));
    changed(440, |e| *e == NotVerified::Signature(Signed::Quote));
    changed(500, |e| *e == NotVerified::OtherKey);
    changed(564 + 128, |e| *e == NotVerified::Signature(Signed::QeReport));
    changed(950, |e| *e == NotVerified::Signature(Signed::QeReport));
    changed(1014, |e| *e == NotVerified::OtherKey);
    changed(0, |e| matches!(e, NotVerified::Quote(QuoteError::Kind { version: 2, tee: 0 })));
    changed(2, |e| *e == NotVerified::Quote(QuoteError::KeyKind(3)));
    changed(12, |e| *e == NotVerified::Quote(QuoteError::Vendor));
}

#[test]
fn chains_of_others_and_signers_of_another_kind_are_refused() {
    let (intel, other) = (Intel::new(Chip::default()), Intel::new(Chip::default()));
    let enclave = intel::Enclave::default();
    let (ours, foreign) = (intel.collateral(&Wish::default()), other.collateral(&Wish::default()));
    let root = refused(&case_of(&intel, &foreign, &enclave));
    assert_eq!(root, NotVerified::Chain(Holder::TcbInfoSigner, ChainError::OtherRoot));
    let quote = Case { quote: other.quote(&enclave), ..case_of(&intel, &ours, &enclave) };
    assert_eq!(refused(&quote), NotVerified::Chain(Holder::Processor, ChainError::OtherRoot));
    // A processor's key signs the texts, under the right root.
    let processor = refused(&case_of(&intel, &intel.collateral_of_a_processor(&Wish::default()), &enclave));
    let number = ChainError::Number { found: 3, needed: 2 };
    assert_eq!(processor, NotVerified::Chain(Holder::TcbInfoSigner, number));
    // Right certificates around a list of another authority with the same name.
    let mixed = intel::Collateral { pck_crl: foreign.pck_crl.clone(), ..ours.clone() };
    let list = refused(&case_of(&intel, &mixed, &enclave));
    assert_eq!(list, NotVerified::Chain(Holder::Processor, ChainError::ListForged));
    // The root's list twice, and none of the processors' authority.
    let missing = intel::Collateral { pck_crl: ours.root_crl.clone(), ..ours };
    let list = refused(&case_of(&intel, &missing, &enclave));
    assert_eq!(list, NotVerified::Chain(Holder::Processor, ChainError::NoList));
}

#[test]
fn debug_is_refused_after_everything_else_was_verified() {
    let intel = Intel::new(Chip::default());
    let enclave = intel::Enclave { debug: true, ..intel::Enclave::default() };
    let error = refused(&case_of(&intel, &intel.collateral(&Wish::default()), &enclave));
    let NotVerified::Debug(verified) = error else { panic!("{error}") };
    assert_eq!(verified.status(), TcbStatus::UpToDate);
    let Measured::Sgx(enclave) = *verified.measured();
    assert_eq!((enclave.mrenclave, enclave.debug), (Digest([0xe1; 32]), true));
}

#[test]
fn only_the_quoting_enclave_that_intel_describes_may_vouch() {
    let with = |chip| refused(&case(&Intel::new(chip), &Wish::default()));
    assert_eq!(with(Chip { qe_signer: [0x8d; 32], ..Chip::default() }), NotVerified::QuotingEnclave);
    assert_eq!(with(Chip { qe_debug: true, ..Chip::default() }), NotVerified::QuotingEnclave);
}

/// What the other verifier accepts: it compares no PCE ids, and reads CPUSVN in one of its two places.
#[test]
fn another_pce_and_two_versions_in_one_certificate_are_refused_here() {
    let pce = case(&Intel::new(Chip { pce_id: [0, 1], ..Chip::default() }), &Wish::default());
    assert_eq!((pce.ours(), pce.theirs()), (Err(NotVerified::OtherPce), Ok("UpToDate".into())));
    let two = Chip { components: [9; 16], ..Chip::default() };
    let two = case(&Intel::new(two), &Wish::default());
    assert_eq!(two.ours(), Err(NotVerified::Processor(ProcessorError::TwoVersions)));
}

#[test]
fn quotes_that_are_cut_or_continued_are_refused() {
    let intel = Intel::new(Chip::default());
    let good = case(&intel, &Wish::default());
    let collateral = Collateral::parse(good.collateral.as_bytes()).unwrap();
    let trusted = TrustedCollateral::check(&collateral, Root(Digest::of(&good.root)), NOW).unwrap();
    for length in 0..good.quote.len() {
        let error = trusted.verify(&good.quote[..length], NOW);
        assert_eq!(error, Err(NotVerified::Quote(QuoteError::Short)), "{length}");
    }
    let longer = [&good.quote[..], &[0]].concat();
    assert_eq!(trusted.verify(&longer, NOW), Err(NotVerified::Quote(QuoteError::Trailing(1))));
    let long = vec![3; 8193];
    assert_eq!(trusted.verify(&long, NOW), Err(NotVerified::Quote(QuoteError::TooLong(8193))));

    // Bytes inside of the quote, after its certificates: the endings of real quotes, and no others.
    let ended = |ending: &str| {
        let quote = intel.quote_with(&intel::Enclave::default(), &intel.processors_chain(), ending);
        trusted.verify(&quote, NOW).map(|verified| verified.status())
    };
    for ending in ["", "\n", "\n\0"] {
        assert_eq!(ended(ending), Ok(TcbStatus::UpToDate), "{ending:?}");
    }
    for ending in ["\n\n", "\0\0", " ", "\r\n", "x"] {
        assert_eq!(ended(ending), Err(NotVerified::Chain(Holder::Processor, ChainError::Pem)), "{ending:?}");
    }
}

#[test]
fn quote_without_certificates_is_refused_by_name() {
    let intel = Intel::new(Chip::default());
    let good = case(&intel, &Wish::default());
    let mut quote = good.quote.clone();
    // After 32 bytes of authentication data.
    quote[1014 + 32] = 3;
    let error = refused(&Case { quote, ..good });
    assert_eq!(error, NotVerified::Quote(QuoteError::NoCertificates(3)));
    assert_eq!(error.reason(), "no_certificates");
}

/// The bound is for a debug build on a busy machine. A release build takes less than a millisecond.
#[test]
fn verification_of_a_quote_takes_few_milliseconds_and_its_collateral_is_checked_once() {
    let intel = Intel::new(Chip::default());
    let good = case(&intel, &Wish::default());
    let collateral = Collateral::parse(good.collateral.as_bytes()).unwrap();
    let root = Root(Digest::of(&good.root));
    let trusted = TrustedCollateral::check(&collateral, root, NOW).unwrap();
    let median = |work: &dyn Fn()| {
        let mut times: Vec<_> = (0..51)
            .map(|_| {
                let began = std::time::Instant::now();
                work();
                began.elapsed()
            })
            .collect();
        times.sort();
        times[25]
    };
    let quote = median(&|| drop(trusted.verify(&good.quote, NOW).unwrap()));
    let once = median(&|| drop(TrustedCollateral::check(&collateral, root, NOW).unwrap()));
    println!("one quote: {quote:?}; its collateral, once: {once:?}");
    assert!(quote.as_millis() < 20, "{quote:?}");
}
