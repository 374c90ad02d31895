use std::task::Waker;

use fl_engine::Draws;

use super::{
    super::frame::{Decoder, RECORD_BYTES},
    *,
};

/// Two sides, and the bytes under way from each to the other.
struct Pair {
    sides: [Side; 2],
}

struct Side {
    mux: Mux,
    decoder: Decoder,
    under_way: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let side = || Side { mux: Mux::new(BOUNDS), decoder: Decoder::default(), under_way: Vec::new() };
        let mut pair = Self { sides: [side(), side()] };
        pair.settle();
        pair
    }

    /// Puts one record of side `from` under way; returns whether there was one.
    fn send(&mut self, from: usize) -> bool {
        let side = &mut self.sides[from];
        let mut head = Vec::new();
        let body = side.mux.fill(&mut head);
        assert!(head.len() + body.len() <= RECORD_BYTES, "more than one record");
        assert!(!head.is_empty() || body.is_empty());
        side.under_way.extend_from_slice(&head);
        side.under_way.extend_from_slice(&body);
        !head.is_empty()
    }

    /// Lets `len` bytes arrive at the side `to`.
    fn arrive(&mut self, to: usize, len: usize) -> Result<(), Fault> {
        let from = &mut self.sides[1 - to].under_way;
        let bytes: Vec<u8> = from.drain(..len.min(from.len())).collect();
        let side = &mut self.sides[to];
        let mut input = &bytes[..];
        while let Some(arrived) = side.decoder.next(&mut input)? {
            side.mux.receive(arrived)?;
        }
        Ok(())
    }

    /// Until nothing is under way and nobody has anything to send.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                while self.send(side) {
                    moved = true;
                }
                self.arrive(1 - side, usize::MAX).unwrap();
            }
            if !moved {
                return;
            }
        }
    }

    fn write(&mut self, side: usize, key: u32, len: usize) -> usize {
        let mut piece = Bytes::from(vec![key as u8; len]);
        let context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(())) = self.sides[side].mux.poll_write(key, &mut piece, &context) {
            if piece.is_empty() {
                break;
            }
        }
        len - piece.len()
    }

    fn read(&mut self, side: usize, number: u32, most: usize) -> Poll<Result<Option<usize>, LinkError>> {
        let mut pieces = [const { Bytes::new() }; 8];
        let context = Context::from_waker(Waker::noop());
        let read = self.sides[side].mux.poll_read(number, &mut pieces, most, &context);
        read.map_ok(|filled| filled.map(|filled| pieces[..filled].iter().map(Bytes::len).sum()))
    }

    fn drain(&mut self, side: usize, number: u32) -> usize {
        let mut all = 0;
        while let Poll::Ready(Ok(Some(len))) = self.read(side, number, usize::MAX) {
            all += len;
        }
        all
    }
}

#[test]
fn window_bounds_what_is_unread_and_credit_opens_it_again() {
    let mut pair = Pair::new();
    let key = pair.sides[0].mux.open().unwrap().unwrap();
    let most = (BOUNDS.window - BOUNDS.window / 8) as usize;
    assert_eq!(pair.write(0, key, 1 << 20), most, "one stream takes seven eighths");
    pair.settle();
    assert_eq!(pair.write(0, key, 1), 0);
    let other = pair.sides[0].mux.open().unwrap().unwrap();
    assert_eq!(pair.write(0, other, 1 << 20) as u64, BOUNDS.window / 8, "another stream has the rest");
    pair.settle();
    let number = pair.sides[1].mux.accept().unwrap().unwrap();
    assert_eq!(pair.drain(1, number), most);
    pair.settle();
    assert_eq!(pair.write(0, key, 1 << 20), most);
    // The control stream has a window of its own.
    assert_eq!(pair.write(0, CONTROL, 1 << 20) as u64, CONTROL_WINDOW);
}

#[test]
fn smaller_window_holds_from_the_next_byte_on_and_takes_nothing_back() {
    let mut pair = Pair::new();
    let key = pair.sides[0].mux.open().unwrap().unwrap();
    pair.sides[1].mux.set_window(8 << 20);
    pair.settle();
    assert_eq!(pair.write(0, key, 700_000), 700_000);
    pair.sides[1].mux.set_window(BOUNDS.window);
    pair.settle();
    let number = pair.sides[1].mux.accept().unwrap().unwrap();
    assert_eq!(pair.drain(1, number), 700_000);
    pair.settle();
    let most = BOUNDS.window - BOUNDS.window / 8;
    assert_eq!(pair.write(0, key, 8 << 20) as u64, most);
}

#[test]
fn place_of_a_stream_is_free_when_its_end_was_read_and_not_before() {
    let mut pair = Pair::new();
    let keys: Vec<u32> = (0..4).map(|_| pair.sides[0].mux.open().unwrap().unwrap()).collect();
    assert!(pair.sides[0].mux.open().is_none(), "a fifth stream");
    for key in keys {
        pair.write(0, key, 10);
        pair.sides[0].mux.finish(key).unwrap();
        pair.settle();
        let context = Context::from_waker(Waker::noop());
        let delivered = pair.sides[0].mux.poll_delivered(key, &context);
        assert_eq!(delivered, Poll::Ready(Ok(())), "the peer holds everything");
        pair.sides[0].mux.leave(key, true);
    }
    assert!(pair.sides[0].mux.open().is_none(), "the peer has read nothing");
    let number = pair.sides[1].mux.accept().unwrap().unwrap();
    assert_eq!(pair.drain(1, number), 10);
    assert_eq!(pair.read(1, number, 1), Poll::Ready(Ok(None)));
    pair.settle();
    assert!(pair.sides[0].mux.open().is_some());
}

#[test]
fn stream_that_was_given_up_costs_nothing_and_is_no_finished_one() {
    let mut pair = Pair::new();
    // One that the peer has not heard of, and one that it has.
    for heard in [false, true] {
        let key = pair.sides[0].mux.open().unwrap().unwrap();
        assert_eq!(pair.write(0, key, 50_000), 50_000);
        if heard {
            pair.send(0);
        }
        pair.sides[0].mux.leave(key, false);
        pair.settle();
        if heard {
            let number = pair.sides[1].mux.accept().unwrap().unwrap();
            assert_eq!(pair.read(1, number, 1), Poll::Ready(Err(LinkError::Abandoned)));
            pair.settle();
        } else {
            assert!(pair.sides[1].mux.accept().is_none());
        }
    }
    let key = pair.sides[0].mux.open().unwrap().unwrap();
    let most = BOUNDS.window - BOUNDS.window / 8;
    assert_eq!(pair.write(0, key, 1 << 20) as u64, most, "the window is whole again");
}

#[test]
fn control_goes_first_and_others_take_turns() {
    let mut pair = Pair::new();
    pair.sides[0].mux.set_priority(CONTROL, 1);
    let keys: Vec<u32> = (0..2).map(|_| pair.sides[0].mux.open().unwrap().unwrap()).collect();
    for key in &keys {
        pair.write(0, *key, 40_000);
    }
    pair.write(0, CONTROL, 100);
    let mut order = Vec::new();
    let mut head = Vec::new();
    loop {
        head.clear();
        let body = pair.sides[0].mux.fill(&mut head);
        let Some(first) = body.first() else { break };
        order.push(*first);
    }
    assert_eq!(order, [0, 1, 2, 1, 2, 1, 2].map(|key| key as u8));
}

#[test]
fn close_goes_first_and_reaches_the_peer_with_its_reason() {
    let mut pair = Pair::new();
    let key = pair.sides[0].mux.open().unwrap().unwrap();
    pair.write(0, key, 100_000);
    pair.sides[0].mux.close(5, "off the roster");
    pair.settle();
    let why = LinkError::Closed { code: 5, reason: "off the roster".into() };
    assert_eq!(pair.sides[1].mux.ended(), Some(&why));
    assert_eq!(pair.sides[0].mux.ended(), Some(&LinkError::ClosedHere));
    assert!(pair.sides.iter().all(|side| side.mux.is_over()));
}

#[test]
fn each_broken_rule_ends_the_link_and_the_peer_hears_which_one() {
    let data = |number, len| Arrived::Data(number, &[0; 20_000][..len]);
    let twice = |first: Frame, second: Frame| vec![Arrived::Frame(first), Arrived::Frame(second)];
    let cases: Vec<(Vec<Arrived<'_>>, &str)> = vec![
        ((0..9).map(|_| data(1, 20_000)).collect(), "more bytes than the window allows"),
        ((0..4).map(|_| data(0, 20_000)).collect(), "more bytes than the window allows"),
        (vec![data(2, 1)], "a frame of a stream that is not open"),
        ((1..=5).map(|number| data(number, 1)).collect(), "too many open streams"),
        ((1..=5).map(|number| Arrived::Frame(Frame::Finish(number))).collect(), "too many open streams"),
        (twice(Frame::Finish(1), Frame::Finish(1)), "a frame after the end of its stream"),
        (twice(Frame::Finish(0), Frame::Reset(0)), "a frame after the end of its stream"),
        (vec![Arrived::Frame(Frame::Stop(9))], "a frame of a stream that is not open"),
        (vec![Arrived::Frame(Frame::Credit(0, 1))], "credit for bytes that were not sent"),
        (vec![Arrived::Frame(Frame::Delivered(0))], "an answer that came too early"),
        (vec![Arrived::Frame(Frame::Done(0))], "an answer that came too early"),
    ];
    for (arrived, rule) in cases {
        let mut pair = Pair::new();
        let broken = arrived.into_iter().find_map(|one| pair.sides[0].mux.receive(one).err());
        assert_eq!(broken, Some(Fault(rule)));
        pair.settle();
        let why = |side: &Side| side.mux.ended().map(ToString::to_string).unwrap_or_default();
        assert_eq!(
            why(&pair.sides[0]),
            format!("the connection failed: the peer broke a rule of the link: {rule}")
        );
        assert_eq!(why(&pair.sides[1]), format!("the connection failed: the peer ended the link: {rule}"));
    }
}

#[test]
fn single_bytes_do_not_cost_a_piece_each() {
    let mut mux = Mux::new(BOUNDS);
    mux.fill(&mut Vec::new());
    (0..100_000).for_each(|_| mux.receive(Arrived::Data(1, &[7])).unwrap());
    let mut pieces = vec![Bytes::new(); 1000];
    let context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(Some(filled))) = mux.poll_read(1, &mut pieces, usize::MAX, &context) else { panic!() };
    assert!(filled < 20, "{filled} pieces");
}

/// Random deeds of both sides over a path that cuts everything into random pieces: no bytes are lost, mixed
/// up or held up for good, and no rule is broken.
#[test]
fn random_deeds_of_two_honest_sides_lose_nothing() {
    for seed in 0..rounds(300) {
        let mut draws = Draws::new(seed);
        let mut below = |most: u64| usize::try_from(draws.next_u64() % most).unwrap();
        let mut pair = Pair::new();
        // Of each side: open streams as (key, bytes written), and streams that it reads.
        let mut writing: [Vec<(u32, usize)>; 2] = Default::default();
        let mut reading: [Vec<u32>; 2] = Default::default();
        for _ in 0..400 {
            let side = below(2);
            match below(12) {
                0 => {
                    if let Some(Ok(key)) = pair.sides[side].mux.open() {
                        writing[side].push((key, 0));
                    }
                }
                1..=3 if !writing[side].is_empty() => {
                    let at = below(writing[side].len() as u64);
                    let len = below(100_000);
                    writing[side][at].1 += pair.write(side, writing[side][at].0, len);
                }
                4 if !writing[side].is_empty() => {
                    let (key, _) = writing[side].swap_remove(below(writing[side].len() as u64));
                    let kept = below(2) == 0 && pair.sides[side].mux.finish(key).is_ok();
                    pair.sides[side].mux.leave(key, kept);
                }
                5 => {
                    if let Some(Ok(number)) = pair.sides[side].mux.accept() {
                        reading[side].push(number);
                    }
                }
                6 | 7 if !reading[side].is_empty() => {
                    let at = below(reading[side].len() as u64);
                    let most = 1 + below(60_000);
                    match pair.read(side, reading[side][at], most) {
                        Poll::Ready(Ok(None) | Err(LinkError::Abandoned)) => {
                            reading[side].swap_remove(at);
                        }
                        Poll::Ready(Err(other)) => panic!("seed {seed}: {other}"),
                        Poll::Ready(Ok(Some(_))) | Poll::Pending => {}
                    }
                }
                8 if !reading[side].is_empty() && below(4) == 0 => {
                    let number = reading[side].swap_remove(below(reading[side].len() as u64));
                    pair.sides[side].mux.stop(number);
                }
                9 => pair.sides[side].mux.set_window(below(1 << 20) as u64),
                10 => drop(pair.send(side)),
                _ => {
                    let len = below(40_000);
                    pair.arrive(side, len).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
                }
            }
        }
        // Everything that is still open comes to its end.
        for side in [0, 1] {
            pair.sides[side].mux.set_window(256 * 1024);
            for (key, _) in writing[side].drain(..) {
                // A stream that the peer has stopped is refused.
                let kept = pair.sides[side].mux.finish(key).is_ok();
                pair.sides[side].mux.leave(key, kept);
            }
        }
        for _ in 0..100 {
            pair.settle();
            for (side, reading) in reading.iter_mut().enumerate() {
                while let Some(Ok(number)) = pair.sides[side].mux.accept() {
                    reading.push(number);
                }
                reading.retain(|number| {
                    pair.drain(side, *number);
                    pair.read(side, *number, 1).is_pending()
                });
            }
        }
        for side in [0, 1] {
            let mux = &pair.sides[side].mux;
            let (streams, open) = (mux.incoming.len() - 1, mux.outgoing.len() - 1);
            assert_eq!((reading[side].len(), streams, open, mux.queued), (0, 0, 0, 0), "seed {seed}");
            assert_eq!((mux.accepted, mux.received), (mux.taken_there, mux.taken), "seed {seed}");
        }
        let key = pair.sides[0].mux.open().unwrap().unwrap();
        assert!(pair.write(0, key, 1 << 20) >= 200_000, "seed {seed}: the window is not whole again");
    }
}

/// What a hostile peer may send: changed, cut and random bytes. Nothing panics, and no more is kept than the
/// windows allow.
#[test]
fn hostile_bytes_cause_no_panic_and_no_memory() {
    for seed in 0..rounds(2_000) {
        let mut draws = Draws::new(seed);
        let mut below = |most: u64| usize::try_from(draws.next_u64() % most).unwrap();
        let mut pair = Pair::new();
        for _ in 0..2 {
            let key = pair.sides[0].mux.open().unwrap().unwrap();
            pair.write(0, key, below(50_000));
        }
        while pair.send(0) && below(20) > 0 {}
        pair.sides[0].mux.ping();
        pair.send(0);
        let bytes = &mut pair.sides[0].under_way;
        for _ in 0..below(6) {
            let at = below(bytes.len() as u64);
            match below(4) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                // Headers are rare among the bytes: one is put in.
                2 => drop(
                    bytes.splice(at..at, [below(12) as u8, below(20) as u8, 0, 0, below(6) as u8, 0, 0, 0]),
                ),
                _ => drop(bytes.drain(at..(at + below(300)).min(bytes.len()))),
            }
            if bytes.is_empty() {
                break;
            }
        }
        while !pair.sides[0].under_way.is_empty() {
            let len = 1 + below(9000);
            if pair.arrive(1, len).is_err() {
                break;
            }
            let mux = &pair.sides[1].mux;
            let unread: u64 = mux.incoming.values().map(|stream| stream.unread).sum();
            assert!(unread <= BOUNDS.window + CONTROL_WINDOW && mux.incoming.len() <= 5, "seed {seed}");
            let mut head = Vec::new();
            pair.sides[1].mux.fill(&mut head);
            assert!(head.len() < 400, "seed {seed}: {} bytes of answers", head.len());
        }
    }
}

/// `FL_MUTATIONS` asks for more than a test of every day runs.
fn rounds(usual: u64) -> u64 {
    std::env::var("FL_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

const BOUNDS: Bounds = Bounds { window: 128 * 1024, streams: 4, send_window: 1 << 20 };
