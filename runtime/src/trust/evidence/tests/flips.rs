//! One wrong bit: of all that our verifier accepts, the other one accepts too. What the other one alone
//! accepts is counted by the part in which the bit is.
//!
//! CI tries one bit in 61. `FL_FLIPS=all` tries every bit, as `ci/long` does.

use std::{collections::BTreeMap, ops::Range};

use dcap_qvl::QuoteCollateralV3;
use fl_engine::{Digest, hex::digits};
use fl_quotes::{self as intel, Chip, Intel, NOW, Wish, real};

use super::{Case, Collateral, Root, TrustedCollateral, theirs};

/// Bits that our verifier accepts and bits that the other one alone accepts, by part.
#[derive(Default)]
struct Count {
    tried: usize,
    ours: BTreeMap<&'static str, usize>,
    theirs_alone: BTreeMap<&'static str, usize>,
}

#[test]
fn quote_with_a_wrong_bit_is_accepted_only_where_no_key_signed_the_bit() {
    let mut cases = vec![{
        let intel = Intel::new(Chip::default());
        let collateral = intel.collateral(&Wish::default()).json();
        Case { quote: intel.quote(&intel::Enclave::default()), collateral, root: intel.root(), now: NOW }
    }];
    let is_usable =
        |real: &real::Real| real.name.starts_with("phala_sgx") && real.name.ends_with("1751328000");
    cases.extend(real::cases().into_iter().filter(is_usable).map(|real| Case {
        quote: real.quote,
        collateral: real.collateral,
        root: real::root(),
        now: real.now,
    }));
    for case in cases {
        let collateral = Collateral::parse(case.collateral.as_bytes()).unwrap();
        let trusted = TrustedCollateral::check(&collateral, Root(Digest::of(&case.root)), case.now).unwrap();
        let other: QuoteCollateralV3 = serde_json::from_str(&case.collateral).unwrap();
        let mut count = Count::default();
        for bit in sampled(case.quote.len() * 8) {
            let mut quote = case.quote.clone();
            quote[bit / 8] ^= 1 << (bit % 8);
            let ours = trusted.verify(&quote, case.now).is_ok();
            let theirs = theirs(&quote, &other, &case.root, case.now).is_ok();
            count.add(part_of_quote(bit / 8), ours, theirs);
        }
        // Line ends of PEM, the last byte: no key signs how a certificate is spelt.
        assert!(count.ours.keys().all(|part| *part == "certificates"), "{:?}", count.ours);
        count.print("quote");
    }
}

#[test]
fn collateral_with_a_wrong_bit_is_accepted_only_where_no_key_signed_the_bit() {
    let intel = Intel::new(Chip::default());
    let good = intel.collateral(&Wish::default());
    let quote = intel.quote(&intel::Enclave::default());
    let mut count = Count::default();
    let lengths = [
        ("root list", good.root_crl.len()),
        ("processors list", good.pck_crl.len()),
        ("TCB info", good.tcb_info.len()),
        ("signature", good.tcb_info_signature.len()),
        ("QE identity", good.qe_identity.len()),
        ("signature", good.qe_identity_signature.len()),
        ("certificates", good.issuer_chain.len()),
    ];
    for (field, (part, length)) in lengths.into_iter().enumerate() {
        for bit in sampled(length * 8) {
            let mut changed = good.clone();
            let text = |text: &String, bit: usize| {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                String::from_utf8(bytes).ok()
            };
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            match field {
                0 => flip(&mut changed.root_crl),
                1 => flip(&mut changed.pck_crl),
                2 => changed.tcb_info = text(&good.tcb_info, bit).unwrap_or_default(),
                3 => flip(&mut changed.tcb_info_signature),
                4 => changed.qe_identity = text(&good.qe_identity, bit).unwrap_or_default(),
                5 => flip(&mut changed.qe_identity_signature),
                _ => changed.issuer_chain = text(&good.issuer_chain, bit).unwrap_or_default(),
            }
            let json = serde_json::json!({
                "pck_crl_issuer_chain": good.issuer_chain,
                "root_ca_crl": digits(&changed.root_crl),
                "pck_crl": digits(&changed.pck_crl),
                "tcb_info_issuer_chain": changed.issuer_chain,
                "tcb_info": changed.tcb_info,
                "tcb_info_signature": digits(&changed.tcb_info_signature),
                "qe_identity_issuer_chain": changed.issuer_chain,
                "qe_identity": changed.qe_identity,
                "qe_identity_signature": digits(&changed.qe_identity_signature),
            });
            let case =
                Case { quote: quote.clone(), collateral: json.to_string(), root: intel.root(), now: NOW };
            count.add(part, case.ours().is_ok(), case.theirs().is_ok());
        }
    }
    assert!(count.ours.keys().all(|part| *part == "certificates"), "{:?}", count.ours);
    count.print("collateral");
}

impl Count {
    fn add(&mut self, part: &'static str, ours: bool, theirs: bool) {
        self.tried += 1;
        match (ours, theirs) {
            (true, true) => *self.ours.entry(part).or_default() += 1,
            (true, false) => panic!("our verifier alone accepts a wrong bit in the {part}"),
            (false, true) => *self.theirs_alone.entry(part).or_default() += 1,
            (false, false) => {}
        }
    }

    fn print(&self, what: &str) {
        let Self { tried, ours, theirs_alone } = self;
        println!(
            "{what}: {tried} wrong bits; accepted by both {ours:?}, by the other alone {theirs_alone:?}"
        );
    }
}

/// Bits to try. The step is prime, so that every bit of a byte comes up.
fn sampled(bits: usize) -> impl Iterator<Item = usize> {
    let all = std::env::var("FL_FLIPS").is_ok_and(|which| which == "all");
    (0..bits).step_by(if all { 1 } else { 61 })
}

fn part_of_quote(byte: usize) -> &'static str {
    const PARTS: [(Range<usize>, &str); 8] = [
        (0..48, "header"),
        (48..432, "report"),
        (432..436, "lengths"),
        (436..564, "signature and key"),
        (564..1012, "quoting enclave"),
        (1012..1046, "authentication data"),
        (1046..1052, "type and length"),
        (1052..usize::MAX, "certificates"),
    ];
    PARTS.iter().find(|(range, _)| range.contains(&byte)).map_or("", |(_, part)| part)
}
