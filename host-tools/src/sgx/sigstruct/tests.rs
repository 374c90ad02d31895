//! Dates, what is refused, and that nothing panics.

use super::*;
use crate::sgx::tests::{NAMES, bytes, expected, test_key};

#[test]
fn vectors_are_read_back_and_say_what_was_signed() {
    for name in NAMES {
        let read = Sigstruct::parse(&bytes(&format!("{name}.sig"))).unwrap();
        assert_eq!(read.measurement().to_string(), expected(name, "mr_enclave"));
        assert_eq!(read.signer(), test_key().signer());
        assert_eq!(read.product().to_string(), expected(name, "isv_prod_id"));
        assert_eq!(read.svn().to_string(), expected(name, "isv_svn"));
        assert_eq!(read.date().to_string(), expected(name, "date"));
        assert_eq!(read.debug(), name == "debug");
        assert_eq!(read.exinfo(), name == "features");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let file = bytes("plain.sig");
    let mut kinds = std::collections::BTreeSet::new();
    // Each check of a signature takes some milliseconds.
    let places = (0..0x40).chain((0x80..LENGTH).step_by(29)).chain(0x380..0x412).chain([Q2, LENGTH - 1]);
    for at in places {
        let mut changed = file.clone();
        changed[at] ^= 0x20;
        let error = Sigstruct::parse(&changed).expect_err(&format!("byte {at:#x}"));
        kinds.insert(error.to_string().split(':').next().unwrap().to_owned());
    }
    // Fixed fields, date, modulus or signature, both quotients.
    for kind in ["0x0", "0x18", "0x204", "0x2c", "0x410", "0x590"] {
        let kind = &format!("byte {kind} of the signature");
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    assert_eq!(Sigstruct::parse(&file[1..]).unwrap_err(), SigstructError::Length(1807));
    let longer = [&file[..], &[0]].concat();
    assert_eq!(Sigstruct::parse(&longer).unwrap_err(), SigstructError::Length(1809));
    let mut dateless = file;
    dateless[DATE] = 0x32;
    assert_eq!(Sigstruct::parse(&dateless).unwrap_err(), SigstructError::Date);
    dateless[DATE] = 0x0a;
    assert_eq!(Sigstruct::parse(&dateless).unwrap_err(), SigstructError::Date);
}

/// The long form is `ci/long mutations`: FL_MUTATIONS says how many.
#[test]
fn nothing_makes_it_panic() {
    let seeds: Vec<Vec<u8>> = NAMES.map(|name| bytes(&format!("{name}.sig"))).to_vec();
    crate::sgx::tests::mutations(&seeds, LENGTH, |file| {
        if let Ok(read) = Sigstruct::parse(file) {
            assert!(seeds.iter().any(|seed| seed == file), "a changed file passes: {read:?}");
        }
    });
}

#[test]
fn days_are_those_of_the_calendar() {
    for good in ["2026-01-02", "2024-02-29", "2000-02-29", "0000-01-01", "9999-12-31"] {
        let date: Date = good.parse().unwrap();
        assert_eq!(date.to_string(), good);
        assert_eq!(Date::of_bcd(date.to_bcd()), Some(date));
    }
    assert_eq!("2026-01-02".parse::<Date>().unwrap().to_bcd(), [0x02, 0x01, 0x26, 0x20]);
    for bad in [
        "2026-02-29",
        "1900-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-01-00",
        "2026-1-2",
        "26-01-02",
        "+026-01-02",
        "",
        "2026-01-02-03",
        "2026-04-31",
    ] {
        assert!(bad.parse::<Date>().is_err(), "{bad}");
    }
    for (seconds, day) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (951_868_800, "2000-03-01"),
        (1_767_311_999, "2026-01-01"),
        (1_767_312_000, "2026-01-02"),
        (4_102_444_799, "2099-12-31"),
    ] {
        assert_eq!(Date::of_unix(seconds).to_string(), day);
    }
}
