//! Rosters written, read, torn and changed. The "signature" is a digest twice: this module holds no
//! cryptography.

use super::*;
use crate::RoundNo;

fn seal(bytes: &[u8]) -> [u8; 64] {
    let half = Digest::of(bytes).0;
    [half, half].concat().try_into().unwrap()
}

fn open(text: &str) -> Result<Roster, RosterError> {
    Roster::open(text, |bytes, signature| seal(bytes) == *signature)
}

fn member(name: &str, key: &str) -> Member {
    Member { name: name.parse().unwrap(), key: Digest::of(key.as_bytes()), revoked: None }
}

fn draft() -> RosterDraft {
    let ca = Digest::of(b"ca");
    let mut draft = RosterDraft::new("w".parse().unwrap(), ca, UnixSeconds(1_827_088_274));
    draft.serial = 3;
    let revoked = Some("laptop \"stolen\" \\ lost: # ä".to_owned());
    draft.members =
        vec![member("one", "1"), Member { revoked, ..member("two", "2") }, member("two", "2 again")];
    draft
}

/// `body` with a signature under it.
fn signed(body: &str) -> String {
    let hex: String = seal(&signed_bytes(body)).iter().map(|b| format!("{b:02x}")).collect();
    format!("{body}signature: \"{hex}\"\n")
}

#[test]
fn roster_reads_back_as_it_was_written() {
    let text = draft().seal(seal).unwrap();
    assert!(text.starts_with(
        "# The roster of federation \"w\": who takes part. Serial 3, good until 2027-11-24T20:31:14Z.\n\
         # Made by `fl-host pki`; do not edit: it is signed.\nschema: 1\n"
    ));
    let roster = open(&text).unwrap();
    assert_eq!(roster.draft(), draft());
    assert_eq!(roster.draft().seal(seal).unwrap(), text);
    assert_eq!(roster.names().map(Name::as_str).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(roster.by_name(&"two".parse().unwrap()).unwrap().key, Digest::of(b"2 again"));
    assert!(roster.by_key(&Digest::of(b"2")).unwrap().revoked.is_some());
    let empty = RosterDraft::new("w".parse().unwrap(), Digest::of(b""), UnixSeconds(0));
    assert_eq!(open(&empty.seal(seal).unwrap()).unwrap().draft(), empty);
}

#[test]
fn aggregators_are_signed_with_the_rest_and_no_key_has_two_roles() {
    let mut draft = draft();
    let gone = Member { revoked: Some("moved".to_owned()), ..member("aggregator", "old") };
    draft.aggregators = vec![gone, member("aggregator", "new")];
    let text = draft.seal(seal).unwrap();
    assert!(text.contains("\naggregators:\n  - name: \"aggregator\"\n    key: "), "{text}");
    let roster = open(&text).unwrap();
    assert_eq!((roster.draft(), roster.aggregators()), (draft.clone(), &draft.aggregators[..]));
    assert_eq!(roster.names().count(), 2, "an aggregator is not a collaborator");
    // A program of before keeps the section and says nothing of it.
    assert!(!super::tests::draft().seal(seal).unwrap().contains("aggregators"));
    draft.aggregators.push(member("other", "1"));
    assert_eq!(draft.seal(seal), Err(RosterError::SameKey(Digest::of(b"1"))));
    *draft.aggregators.last_mut().unwrap() = member("aggregator", "third");
    assert_eq!(draft.seal(seal), Err(RosterError::SameName("aggregator".parse().unwrap())));
}

#[test]
fn line_ends_of_windows_are_named_and_control_characters_are_refused() {
    let text = draft().seal(seal).unwrap();
    let refused = open(&text.replace('\n', "\r\n")).unwrap_err();
    assert_eq!(refused, RosterError::LineEnds);
    assert!(refused.hint().contains("dos2unix"));
    let painted = text[..text.rfind("signature").unwrap()].replacen("# Made", "# \u{1b}[2JMade", 1);
    let refused = open(&signed(&painted)).unwrap_err();
    assert_eq!(refused.to_string(), "the roster cannot be read: it contains the control character \\u{1b}");
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let text = draft().seal(seal).unwrap();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            assert!(
                matches!(open(&changed), Err(RosterError::Unsigned | RosterError::Signature)),
                "byte {at} was changed and the roster accepted"
            );
        }
        if text.is_char_boundary(at) {
            assert_eq!(open(&text[..at]), Err(RosterError::Unsigned), "cut at {at}");
        }
    }
    assert_eq!(open(&format!("{text}\n")), Err(RosterError::Unsigned));
}

#[test]
fn roster_caught_between_two_writings_is_refused() {
    let old = draft().seal(seal).unwrap();
    let mut next = draft();
    next.serial = 4;
    next.members.push(member("three", "3"));
    let new = next.seal(seal).unwrap();
    for at in (0..old.len()).filter(|&at| old.is_char_boundary(at) && new.is_char_boundary(at)) {
        let torn = format!("{}{}", &new[..at], &old[at..]);
        if torn != old {
            assert!(
                open(&torn).unwrap_err().hint().contains("the file may be incomplete for a moment"),
                "torn at {at}"
            );
        }
    }
}

fn measurement(of: &str, product: u16) -> Measurement {
    let (enclave, signer) = (Digest::of(of.as_bytes()), Digest::of(b"signer"));
    Measurement { enclave, signer, product, svn: 3 }
}

#[test]
fn measurements_are_signed_with_the_rest_and_read_back() {
    let (plain, mut draft) = (draft(), draft());
    let of = Measurements { aggregator: measurement("a", 1), collaborator: measurement("c", 2) };
    draft.measurements = Some(of);
    let text = draft.seal(seal).unwrap();
    assert_eq!(open(&text).unwrap().measurements(), Some(&of));
    assert_eq!(open(&text).unwrap().draft().seal(seal).unwrap(), text);
    // A roster without them is as it was.
    let without = plain.seal(seal).unwrap();
    assert!(!without.contains("measurements"));
    assert_eq!(open(&without).unwrap().measurements(), None);
    let section = &text[without.rfind("signature").unwrap()..text.rfind("signature").unwrap()];
    let (a, c, s) = (of.aggregator.enclave, of.collaborator.enclave, of.aggregator.signer);
    assert_eq!(
        section,
        format!(
            "measurements:\n  aggregator:\n    mrenclave: \"{a}\"\n    mrsigner: \"{s}\"\n    product: 1\n    svn: 3\n  \
             collaborator:\n    mrenclave: \"{c}\"\n    mrsigner: \"{s}\"\n    product: 2\n    svn: 3\n"
        )
    );
    assert_eq!(open(&text.replacen("svn: 3", "svn: 2", 1)), Err(RosterError::Signature));
}

#[test]
fn measurements_that_cannot_be_are_neither_signed_nor_read() {
    type Change = fn(&mut Measurements);
    let good = Measurements { aggregator: measurement("a", 1), collaborator: measurement("c", 2) };
    let changes: [Change; 4] = [
        |of| of.collaborator.enclave = of.aggregator.enclave,
        |of| of.collaborator.product = 1,
        |of| of.aggregator.enclave = Digest([0; 32]),
        |of| of.collaborator.signer = Digest([0; 32]),
    ];
    for change in changes {
        let mut draft = draft();
        let mut of = good;
        change(&mut of);
        draft.measurements = Some(of);
        assert!(matches!(draft.seal(|_| panic!("signed")), Err(RosterError::Measurements(_))), "{of:?}");
        assert!(matches!(open(&signed(&draft.render())), Err(RosterError::Measurements(_))), "{of:?}");
    }
    let mut draft = draft();
    draft.measurements = Some(good);
    for (from, to) in [
        ("product: 1", "product: 65536"),
        ("product: 1", "product: -1"),
        ("    svn: 3\n", ""),
        ("svn: 3", "level: 3"),
        ("mrsigner", "signer"),
        ("  collaborator:\n", "  other:\n"),
        (&good.aggregator.enclave.to_string()[..], "ab"),
    ] {
        let text = draft.render();
        assert!(text.contains(from));
        let refused = open(&signed(&text.replacen(from, to, 1)));
        assert!(matches!(refused, Err(RosterError::Malformed(_))), "{to}: {refused:?}");
    }
}

/// The draft, which takes the run back to round 4 without `two`.
fn resuming() -> RosterDraft {
    let mut draft = draft();
    let without = vec!["two".parse().unwrap()];
    let mut resume = Resumption { round: RoundNo(4), without, serial: 3, proof: [0; 64] };
    resume.proof = seal(&resume.signed_bytes(&draft.federation));
    draft.resume = Some(resume);
    draft
}

#[test]
fn order_to_resume_is_signed_with_the_rest_and_alone() {
    let draft = resuming();
    let text = draft.seal(seal).unwrap();
    let section = "\nresume:\n  round: 4\n  without: [\"two\"]\n  serial: 3\n  proof: \"";
    assert!(text.contains(section), "{text}");
    let roster = open(&text).unwrap();
    assert_eq!((roster.resume(), roster.draft()), (draft.resume.as_ref(), draft.clone()));
    assert_eq!(open(&text.replacen("round: 4", "round: 3", 1)), Err(RosterError::Signature));
    // A later roster repeats the section; a roster without it is as it was.
    let later = RosterDraft { serial: 9, ..draft.clone() };
    assert_eq!(open(&later.seal(seal).unwrap()).unwrap().resume(), draft.resume.as_ref());
    assert!(!super::tests::draft().seal(seal).unwrap().contains("resume"));
    // The proof covers the federation and each field.
    let resume = draft.resume.unwrap();
    let bytes = |of: &Resumption, federation: &str| of.signed_bytes(&federation.parse().unwrap());
    let mut all = vec![bytes(&resume, "w"), bytes(&resume, "v")];
    all.push(bytes(&Resumption { round: RoundNo(5), ..resume.clone() }, "w"));
    all.push(bytes(&Resumption { serial: 4, ..resume.clone() }, "w"));
    all.push(bytes(&Resumption { without: vec!["one".parse().unwrap()], ..resume.clone() }, "w"));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn order_to_resume_that_no_owner_means_is_neither_signed_nor_read() {
    type Change = fn(&mut Resumption);
    let changes: [(Change, &str); 6] = [
        (|of| of.without.clear(), "it leaves out 0 members, not 1 to 64"),
        (
            |of| of.without = vec!["one".parse().unwrap()],
            "it leaves out one, whom the roster does not revoke",
        ),
        (
            |of| of.without = vec!["who".parse().unwrap()],
            "it leaves out who, whom the roster does not revoke",
        ),
        (|of| of.without.push("two".parse().unwrap()), "it names two twice"),
        (|of| of.serial = 4, "its serial is 4, but the roster's is 3"),
        (|of| of.serial = 0, "its serial is 0, but the roster's is 3"),
    ];
    for (change, why) in changes {
        let mut draft = resuming();
        draft.resume.as_mut().map(change);
        let refused = Err(RosterError::Resume(why.to_owned()));
        assert_eq!(draft.seal(|_| panic!("signed")).map(drop), refused);
        assert_eq!(open(&signed(&draft.render())).map(drop), refused);
    }
    let text = resuming().render();
    for (from, to) in [("round: 4", "round: -1"), ("  serial: 3\n", ""), ("  proof", "  prove")] {
        assert!(text.contains(from));
        let refused = open(&signed(&text.replacen(from, to, 1)));
        assert!(matches!(refused, Err(RosterError::Malformed(_))), "{to}: {refused:?}");
    }
    let short = text.replacen("proof: \"", "proof: \"ab", 1);
    assert!(matches!(open(&signed(&short)), Err(RosterError::Resume(_))));
}

#[test]
fn sections_of_later_versions_are_signed_and_kept() {
    let body = draft().render() + "quorums:\n  # one line a region\n  - north: \"ab\"\nnotes: x\n";
    let roster = open(&signed(&body)).unwrap();
    assert_eq!(roster.members(), draft().members);
    let mut next = roster.draft();
    next.members.pop();
    let text = next.seal(seal).unwrap();
    assert!(text.contains("\nquorums:\n  # one line a region\n  - north: \"ab\"\nnotes: x\nsignature:"));
    let changed = text.replace("north: \"ab\"", "north: \"ac\"");
    assert_eq!(open(&changed), Err(RosterError::Signature));
}

#[test]
fn signed_nonsense_is_refused_by_name() {
    let good = draft().render();
    let refusal = |from: &str, to: &str| {
        assert!(good.contains(from));
        open(&signed(&good.replacen(from, to, 1))).unwrap_err()
    };
    assert_eq!(refusal("schema: 1", "schema: 2"), RosterError::Schema(2));
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(refusal(&two.to_string(), &one.to_string()), RosterError::SameKey(one));
    assert_eq!(refusal("name: \"one\"", "name: \"two\""), RosterError::SameName("two".parse().unwrap()));
    for (from, to) in [
        ("serial: 3", "serial: -3"),
        ("serial: 3\n", ""),
        ("name: \"one\"", "name: \"One\""),
        (&one.to_string()[..], "12"),
        ("    revoked:", "    retired:"),
        ("collaborators:", "collaborators: 3\nx:"),
    ] {
        assert!(matches!(refusal(from, to), RosterError::Malformed(_)), "{to}");
    }
    assert_eq!(open(&"#".repeat((1 << 20) + 1)), Err(RosterError::TooLong((1 << 20) + 1)));
}

#[test]
fn drafts_that_no_reader_takes_are_not_signed() {
    let refused = |change: fn(&mut RosterDraft)| {
        let mut draft = draft();
        change(&mut draft);
        draft.seal(|_| panic!("signed")).unwrap_err()
    };
    assert!(matches!(refused(|d| d.members[0].key = d.members[1].key), RosterError::SameKey(_)));
    assert!(matches!(refused(|d| d.members[1].revoked = None), RosterError::SameName(_)));
    assert!(matches!(refused(|d| d.members[1].revoked = Some(String::new())), RosterError::Reason(_)));
    assert!(matches!(refused(|d| d.members[1].revoked = Some("a\nb".into())), RosterError::Reason(_)));
}

#[test]
fn a_thousand_members_are_read() {
    let mut draft = draft();
    draft.members = (0..1000).map(|n| member(&format!("site-{n}"), &n.to_string())).collect();
    assert_eq!(open(&draft.seal(seal).unwrap()).unwrap().members().len(), 1000);
}

#[test]
fn instants_are_shown_as_dates() {
    for (seconds, date) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
        (1_795_552_274, "2026-11-24T20:31:14Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(UnixSeconds(seconds).to_string(), date);
    }
}

#[test]
fn section_attestation_takes_the_place_of_measurements() {
    let digest = |byte| Digest([byte; 32]);
    let of = |byte, product| Measurement { enclave: digest(byte), signer: digest(9), product, svn: 0 };
    let old = Measurements { aggregator: of(1, 1), collaborator: of(2, 2) };
    let mut draft = RosterDraft { measurements: Some(old), ..draft() };
    assert_eq!(open(&draft.seal(seal).unwrap()).unwrap().accepted().as_deref(), Some(&Accepted::of(&old)));
    let mut accepted = Accepted::of(&old);
    accepted.collaborators.push(Program {
        mrenclave: Some(digest(3)),
        mrsigner: None,
        product: None,
        least_svn: 0,
    });
    accepted.platforms.insert(digest(7));
    draft.attestation = Some(accepted.clone());
    let roster = open(&draft.seal(seal).unwrap()).unwrap();
    assert_eq!((roster.draft(), roster.accepted().as_deref()), (draft.clone(), Some(&accepted)));
    assert_eq!(roster.measurements(), Some(&old));
    accepted.aggregator.push(accepted.collaborators[1]);
    draft.attestation = Some(accepted);
    assert!(matches!(draft.seal(seal), Err(RosterError::Attestation(_))));
}
