use super::*;

fn all() -> Vec<Frame> {
    vec![
        Frame::Finish(1),
        Frame::Reset(2),
        Frame::Stop(u32::MAX),
        Frame::Credit(0, u64::MAX),
        Frame::Limits { window: 8 << 20, streams: 4 },
        Frame::Delivered(7),
        Frame::Done(7),
        Frame::Close { code: 5, reason: b"off the roster".to_vec() },
        Frame::Ping,
        Frame::Pong,
    ]
}

/// Every part that comes out of `bytes` when they arrive in pieces of `step`; data in one row.
fn decoded(bytes: &[u8], step: usize) -> Result<(Vec<Frame>, Vec<u8>), Fault> {
    let (mut decoder, mut frames, mut data) = (Decoder::default(), Vec::new(), Vec::new());
    for mut piece in bytes.chunks(step) {
        while let Some(arrived) = decoder.next(&mut piece)? {
            match arrived {
                Arrived::Data(3, bytes) => data.extend_from_slice(bytes),
                Arrived::Data(other, _) => panic!("stream {other}"),
                Arrived::Frame(frame) => frames.push(frame),
            }
        }
        assert!(piece.is_empty());
    }
    Ok((frames, data))
}

#[test]
fn frames_come_out_as_they_went_in_however_they_are_cut() {
    let mut bytes = Vec::new();
    for frame in all() {
        frame.encode(&mut bytes);
        bytes.extend_from_slice(&data_header(3, 5));
        bytes.extend_from_slice(b"bytes");
        // A kind of a later version, which is skipped.
        bytes.extend_from_slice(&[OPTIONAL, 2, 0, 0, 9, 9, 9, 9, 1, 2]);
    }
    for step in (1..40).chain([bytes.len()]) {
        let (frames, data) = decoded(&bytes, step).unwrap();
        assert_eq!(frames, all(), "pieces of {step}");
        assert_eq!(data, b"bytes".repeat(all().len()));
    }
}

#[test]
fn bytes_of_every_frame_stay_what_they_are() {
    let bytes = |frame: Frame| {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out
    };
    assert_eq!(bytes(Frame::Finish(0x0102_0304)), [1, 0, 0, 0, 4, 3, 2, 1]);
    assert_eq!(bytes(Frame::Credit(3, 0x0506)), [4, 8, 0, 0, 3, 0, 0, 0, 6, 5, 0, 0, 0, 0, 0, 0]);
    let limits = [5, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    assert_eq!(bytes(Frame::Limits { window: 1, streams: 4 }), limits);
    let close = [8, 6, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, b'n', b'o'];
    assert_eq!(bytes(Frame::Close { code: 5, reason: b"no".to_vec() }), close);
    assert_eq!(data_header(3, 0x3ff8), [0, 0xf8, 0x3f, 0, 3, 0, 0, 0]);
    let kinds: Vec<u8> = all().into_iter().map(|frame| bytes(frame)[0]).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn wrong_lengths_and_kinds_are_refused_with_the_header() {
    let refused = |head: [u8; 8]| decoded(&head, 8).unwrap_err().0;
    for kind in 0..OPTIONAL {
        assert!(refused([kind, 0xff, 0xff, 0xff, 3, 0, 0, 0]).starts_with("a frame of "), "{kind}");
    }
    assert_eq!(refused([11, 0, 0, 0, 0, 0, 0, 0]), "a frame of an unknown kind");
    assert_eq!(refused([DATA, 0, 0, 0, 3, 0, 0, 0]), "a frame of a wrong length");
    assert_eq!(refused([DATA, 0xf9, 0x3f, 0, 3, 0, 0, 0]), "a frame of a wrong length");
    assert_eq!(refused([PING, 0, 0, 0, 3, 0, 0, 0]), "a stream's number in a frame that has none");
}
