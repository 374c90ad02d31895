//! The wire format: golden bytes of every message, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fl_engine::{
    ByteCount, Digest, Name, RoundNo, Weight,
    plan::{Metric, roster::Resumption},
    round::{AggregatedMetric, Offer, Refusal, Report, Stamp},
    statistics::SiteSums as Rows,
    wire::{self, *},
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn stamp() -> Stamp {
    Stamp { incarnation: 7, round: RoundNo(3), base: Digest([0xab; 32]) }
}

fn offer() -> Offer {
    Offer {
        stamp: stamp(),
        task: name("train"),
        weight: Weight::new(300).unwrap(),
        bytes: ByteCount(4_000_000),
        root: Digest([0xcd; 32]),
    }
}

/// One of every kind, in the order of the golden file.
fn messages() -> Vec<Message> {
    let metric = AggregatedMetric {
        task: name("train"),
        metric: Metric::Loss,
        value: 0.25,
        samples: 400,
        collaborators: 3,
    };
    vec![
        Message::Hello(Hello {
            versions: wire::VERSIONS,
            features: 0,
            federation: name("f"),
            plan: Digest([1; 32]),
            roster_serial: 9,
            holds: Some(Digest([2; 32])),
            evidence: vec![],
        }),
        Message::Welcome(Welcome {
            version: 1,
            features: 0,
            incarnation: 7,
            name: name("one"),
            roster_serial: 9,
            round: RoundNo(3),
            evidence: vec![],
        }),
        Message::Rejected(Rejection::Plan(Digest([3; 32]))),
        Message::Assign(Assigned { stamp: stamp(), tasks: vec![name("train")] }),
        Message::Offer(offer()),
        Message::Grant(Granted { stamp: stamp(), task: name("train") }),
        Message::Refused(RefusedUpdate {
            task: name("train"),
            refusal: Refusal::NotFinite { tensor: "fc1.bias".into(), element: 5 },
        }),
        Message::Received(Received { stamp: stamp(), task: name("train") }),
        Message::Counted(Counted { round: RoundNo(3) }),
        Message::Report(Report {
            stamp: stamp(),
            task: name("train"),
            samples: 400,
            metrics: vec![(Metric::Accuracy, 0.5)],
        }),
        Message::Failed(Failed { stamp: stamp(), task: name("train"), why: "no rows".into() }),
        Message::Cancel(Cancelled { stamp: stamp() }),
        Message::RoundDone(RoundDone { round: RoundNo(3), contributors: 3, metrics: vec![metric] }),
        Message::Finished(Verdict::Completed { rounds: 10, root: Digest([4; 32]) }),
        Message::Leaving(Leaving {}),
        Message::Refused(RefusedUpdate { task: name("train"), refusal: Refusal::BelowThreshold }),
        Message::Rejected(Rejection::Ended("the roster expired".into())),
        Message::Columns(Columns { digest: Digest([5; 32]) }),
        Message::Refused(RefusedUpdate {
            task: name("train"),
            refusal: Refusal::Columns { own: Digest([5; 32]), others: Some(Digest([6; 32])) },
        }),
        Message::Resumed(Resumed {
            round: RoundNo(4),
            without: vec![name("three")],
            serial: 8,
            proof: vec![0xee; 64],
        }),
        Message::AskSums(AskSums { incarnation: 7 }),
        Message::Sums(SiteSums { incarnation: 7, first: 2, columns: sums() }),
        Message::Statistics(Statistics { first: 2, columns: vec![(1.5, 0.25)] }),
        Message::Finished(Verdict::NoStatistics("feature 3 is constant".into())),
        Message::LeftOut(LeftOut { samples: 21, names: vec!["a.jpg".into()] }),
        Message::Rejected(Rejection::Evidence("no quote".into())),
        Message::Newer(Newer { file: NewerFile::Collateral, ends: true, part: vec![7, 8] }),
    ]
}

/// Of -1.5, 2^-160 and 3.
fn sums() -> Vec<fl_engine::statistics::ColumnSums> {
    let mut rows = Rows::new(&[1]);
    [-1.5, f64::from_bits((1023 - 160) << 52), 3.0].into_iter().for_each(|value| assert!(rows.add(0, value)));
    rows.to_send(2)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_message_has_its_golden_bytes_and_comes_back() {
    let mut lines = Vec::new();
    for message in messages() {
        let bytes = encode(&message);
        assert_eq!(decode(&bytes).unwrap().as_ref(), Some(&message));
        lines.push(hex(&bytes));
    }
    for header in [PayloadHeader::Model(stamp()), PayloadHeader::Update(offer())] {
        let bytes = header.encode();
        assert_eq!(PayloadHeader::decode(&bytes).as_ref(), Ok(&header));
        lines.push(hex(&bytes));
    }
    let golden = include_str!("wire/golden.hex");
    assert_eq!(lines.join("\n"), golden.trim_end(), "the wire format changed: old peers cannot read it");
}

#[test]
fn every_cut_and_every_trailing_byte_is_refused() {
    for message in messages() {
        let mut bytes = encode(&message);
        for end in 0..bytes.len() {
            // A cut inside the kind, or inside a message that is not empty.
            assert!(decode(&bytes[..end]).is_err(), "{message:?} cut at {end}");
        }
        bytes.push(0);
        assert!(matches!(decode(&bytes), Err(WireError::Trailing { bytes: 1, .. })), "{message:?}");
    }
}

#[test]
fn unknown_optional_messages_are_skipped_and_unknown_required_ones_are_not() {
    assert_eq!(decode(&[0xff, 0x7f, 1, 2, 3]), Ok(None));
    assert_eq!(decode(&[0xfe, 0x7f, 1, 2, 3]), Err(WireError::UnknownKind(0x7ffe)));
}

#[test]
fn names_of_samples_that_are_left_out_are_few_and_short() {
    let names: Vec<String> = (0..30).map(|n| format!("{n}{}", "ä".repeat(200))).collect();
    let message = LeftOut::of(&names).unwrap();
    assert_eq!((message.samples, message.names.len()), (30, 20));
    assert!(message.names.iter().all(|name| name.len() <= 256 && name.ends_with('ä')));
    assert!(decode(&encode(&Message::LeftOut(message))).is_ok());
    assert_eq!(LeftOut::of(&[]), None);
    for names in [vec![String::new(); 21], vec!["x".repeat(257)]] {
        let refused = decode(&encode(&Message::LeftOut(LeftOut { samples: 1, names })));
        assert!(matches!(refused, Err(WireError::TooMany { .. })), "{refused:?}");
    }
}

#[test]
fn file_that_is_handed_on_goes_out_in_parts_with_bytes() {
    let text = vec![5; 2 * (32 << 10) + 1];
    let parts: Vec<Newer> = Newer::parts(NewerFile::Roster, &text).collect();
    let shape: Vec<(usize, bool)> = parts.iter().map(|part| (part.part.len(), part.ends)).collect();
    assert_eq!(shape, [(32 << 10, false), (32 << 10, false), (1, true)]);
    assert_eq!(Newer::parts(NewerFile::Roster, &text[1..]).count(), 2);
    assert_eq!(Newer::parts(NewerFile::Roster, &[]).count(), 0);
    let sent = |part| decode(&encode(&Message::Newer(Newer { part, ..parts[0].clone() })));
    assert!(sent(vec![1]).is_ok());
    assert!(matches!(sent(Vec::new()), Err(WireError::Empty(_))));
    assert!(matches!(sent(vec![1; (32 << 10) + 1]), Err(WireError::TooMany { .. })));
}

#[test]
fn lists_past_their_bounds_are_refused() {
    let report =
        Report { stamp: stamp(), task: name("t"), samples: 1, metrics: vec![(Metric::Loss, 0.0); 65] };
    let refused = decode(&encode(&Message::Report(report)));
    assert_eq!(refused, Err(WireError::TooMany { what: "metrics", given: 65, limit: 64 }));
    let Message::Hello(mut hello) = messages().remove(0) else { panic!() };
    hello.evidence = vec![0; (32 << 10) + 1];
    assert!(matches!(decode(&encode(&Message::Hello(hello))), Err(WireError::TooMany { .. })));
    let failed = |why: String| encode(&Message::Failed(Failed { stamp: stamp(), task: name("t"), why }));
    assert!(decode(&failed("x".repeat(513))).is_err());
    assert!(decode(&failed(cut_text(&"ä".repeat(513)))).is_ok());
}

#[test]
fn sums_with_more_digits_than_any_data_have_are_refused() {
    let sent = |sum: usize, squares: usize| {
        let column = postcard::to_stdvec(&(3u64, vec![0i64; sum], vec![0i64; squares])).unwrap();
        let columns = vec![sums()[0].clone(), postcard::from_bytes(&column).unwrap()];
        decode(&encode(&Message::Sums(SiteSums { incarnation: 7, first: 0, columns })))
    };
    assert!(sent(12, 21).is_ok());
    let refused = |what, given, limit| Err(WireError::TooMany { what, given, limit });
    assert_eq!(sent(13, 21), refused("digits of a sum", 13, 12));
    assert_eq!(sent(12, 22), refused("digits of a sum of squares", 22, 21));
    // As long as an envelope may be: eight times as much in memory.
    assert_eq!(sent(65_000, 0), refused("digits of a sum", 65_000, 12));
    assert_eq!(sent(0, 65_000), refused("digits of a sum of squares", 65_000, 21));
}

#[test]
fn statistics_of_many_columns_go_out_in_parts_that_follow_each_other() {
    let lengths = |columns: usize| -> Vec<(u32, usize)> {
        let sums = vec![sums()[0].clone(); columns];
        let told = vec![(0.5, 1.0); columns];
        let told: Vec<_> = Statistics::parts(&told).map(|part| (part.first, part.columns.len())).collect();
        let sent = SiteSums::parts(7, &sums).inspect(|part| assert_eq!(part.incarnation, 7));
        let sent: Vec<_> = sent.map(|part| (part.first, part.columns.len())).collect();
        assert_eq!(sent, told);
        sent
    };
    assert_eq!(lengths(0), []);
    assert_eq!(lengths(256), [(0, 256)]);
    assert_eq!(lengths(600), [(0, 256), (256, 256), (512, 88)]);
}

#[test]
fn order_to_take_the_run_back_comes_back_from_the_wire_unless_its_proof_is_no_signature() {
    let order = Resumption { round: RoundNo(4), without: vec![name("three")], serial: 8, proof: [0xee; 64] };
    let mut sent = Resumed::from(order.clone());
    assert_eq!(Resumption::try_from(sent.clone()), Ok(order));
    sent.proof.pop();
    assert_eq!(Resumption::try_from(sent.clone()), Err(sent));
}

#[test]
fn lying_counts_reserve_nothing() {
    // An Assign whose task list announces 2^60 entries.
    let mut bytes = encode(&Message::Assign(Assigned { stamp: stamp(), tasks: vec![] }));
    bytes.pop();
    bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    assert!(matches!(decode(&bytes), Err(WireError::Malformed { kind: 6, .. })));
}

#[test]
fn zero_and_huge_weights_do_not_decode() {
    let bytes = encode(&Message::Offer(offer()));
    // The weight 300 is the varint ac 02 behind the task's name.
    let at = bytes.windows(2).position(|w| w == [0xac, 0x02]).unwrap();
    let with = |weight: [u8; 2]| {
        let mut bytes = bytes.clone();
        bytes[at..at + 2].copy_from_slice(&weight);
        bytes
    };
    assert!(decode(&with([0xad, 0x02])).is_ok());
    assert!(matches!(decode(&with([0x80, 0x00])), Err(WireError::Malformed { .. })));
    let mut huge = bytes[..at].to_vec();
    huge.extend([0x80, 0x80, 0x80, 0x80, 0x02]);
    huge.extend(&bytes[at + 2..]);
    assert!(matches!(decode(&huge), Err(WireError::Malformed { .. })));
}
