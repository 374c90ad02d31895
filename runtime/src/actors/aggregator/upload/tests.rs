use std::{future::poll_fn, task::Poll, time::Duration};

use fl_engine::{
    Digest, RoundNo, Weight,
    round::Stamp,
    tensor::{TensorSpec, root_of},
};
use tokio::task::JoinHandle;

use super::*;
use crate::net::Link;

fn intake(name: &str, memory: bool) -> Intake {
    let layout = Layout::new(vec![TensorSpec::f32("w", [ELEMENTS])]).unwrap();
    let length = layout.byte_len() as u64;
    let dir = std::env::temp_dir().join(format!("fl-upload-{}-{name}", std::process::id()));
    let (memory, spill) =
        if memory { (ByteCount(2 * length), ByteCount(0)) } else { (ByteCount(0), ByteCount(3 * length)) };
    Intake::new(
        SlotStore::new(&crate::system::System::real(), memory, spill, dir, length).unwrap(),
        layout,
        RANGE,
    )
}

fn body(value: f32) -> Vec<u8> {
    (0..ELEMENTS).flat_map(|_| value.to_le_bytes()).collect()
}

fn offer(intake: &Intake, body: &[u8]) -> Offer {
    Offer {
        stamp: Stamp { incarnation: 1, round: RoundNo(2), base: Digest([3; 32]) },
        task: "train".parse().unwrap(),
        weight: Weight::new(5).unwrap(),
        bytes: ByteCount(intake.layout.byte_len() as u64),
        root: root_of(intake.layout.hash(), body),
    }
}

/// A sender that writes `header` and `body` in pieces, and finishes or drops the stream.
fn send(link: &Link, header: Vec<u8>, body: Vec<u8>, finish: bool) -> JoinHandle<()> {
    let handle = link.handle().clone();
    tokio::spawn(async move {
        let Ok(mut stream) = handle.open_uni().await else { return };
        let framed = [&(header.len() as u32).to_le_bytes(), header.as_slice()].concat();
        let mut pieces = vec![framed];
        pieces.extend(body.chunks(20_000).map(<[u8]>::to_vec));
        for piece in pieces {
            if stream.write_chunks(&mut [piece.into()]).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if finish {
            // Refused streams fail here, as they should.
            let _ = stream.finish();
            let _ = stream.delivered().await;
        }
    })
}

/// What becomes of an upload of `body` under `offered`, when `granted` was granted.
async fn outcome(
    intake: &Intake,
    granted: Option<&Offer>,
    offered: &Offer,
    body: &[u8],
    finish: bool,
) -> UploadOutcome {
    let (there, here) = Link::pair(Vec::new(), Vec::new());
    let grants = Grants::default();
    granted.into_iter().for_each(|offer| grants.add(offer.clone()));
    let sender = send(&there, PayloadHeader::Update(offered.clone()).encode(), body.to_vec(), finish);
    let stream = here.handle().accept_uni().await.unwrap();
    let upload = receive(stream, here.handle(), &grants, intake).await;
    sender.abort();
    upload
}

fn refusal_of(upload: UploadOutcome) -> Refusal {
    match upload {
        UploadOutcome::Refused { refusal, .. } => refusal,
        UploadOutcome::Staged { .. } => panic!("it was taken"),
        UploadOutcome::Abandoned => panic!("it was abandoned"),
        UploadOutcome::Unnamed(why) => panic!("unnamed: {why}"),
    }
}

fn all_free(intake: &Intake) -> bool {
    intake.slots.free().0 + intake.slots.free().1 == 2
}

#[tokio::test]
async fn granted_update_is_staged_in_full() {
    for memory in [true, false] {
        let intake = intake(&format!("staged-{memory}"), memory);
        let body = body(1.5);
        let offer = offer(&intake, &body);
        let UploadOutcome::Staged { offer: staged, slot } =
            outcome(&intake, Some(&offer), &offer, &body, true).await
        else {
            panic!("it was not taken")
        };
        assert_eq!(staged, offer);
        assert_eq!(slot.read(0..body.len() as u64, &mut Vec::new()).unwrap(), body);
        drop(slot);
        assert!(all_free(&intake));
    }
}

#[tokio::test]
async fn every_bad_update_is_refused_by_name_and_frees_its_slot() {
    let intake = intake("refused", true);
    let good = body(1.5);
    let offer = offer(&intake, &good);
    let with = |at: usize, value: f32| {
        let mut bad = good.clone();
        bad[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        bad
    };
    let length = good.len() as u64;
    let (tensor, element) = ("w".to_owned(), 74_999);
    let cases: [(Vec<u8>, bool, Refusal); 8] = [
        (with(74_999, f32::NAN), true, Refusal::NotFinite { tensor: tensor.clone(), element }),
        (with(74_999, f32::NEG_INFINITY), true, Refusal::NotFinite { tensor: tensor.clone(), element }),
        (with(74_999, 65536.0), true, Refusal::OutOfRange { tensor, element }),
        (with(0, 1.25), true, Refusal::Root),
        (
            good[..1000].to_vec(),
            true,
            Refusal::Length { given: ByteCount(1000), expected: ByteCount(length) },
        ),
        (vec![], true, Refusal::Length { given: ByteCount(0), expected: ByteCount(length) }),
        (
            [good.as_slice(), &[0]].concat(),
            true,
            Refusal::Length { given: ByteCount(length + 1), expected: ByteCount(length) },
        ),
        (
            good[..40_000].to_vec(),
            false,
            Refusal::Dropped { got: ByteCount(40_000), expected: ByteCount(length) },
        ),
    ];
    for (body, finish, expected) in cases {
        assert_eq!(refusal_of(outcome(&intake, Some(&offer), &offer, &body, finish).await), expected);
        assert!(all_free(&intake), "{expected}");
    }
    let lying = Offer { bytes: ByteCount(8), ..offer.clone() };
    let refused = refusal_of(outcome(&intake, Some(&lying), &lying, &good, true).await);
    assert_eq!(refused, Refusal::Length { given: ByteCount(8), expected: ByteCount(length) });
}

#[tokio::test]
async fn only_the_granted_offer_may_come_and_only_once() {
    let intake = intake("grants", true);
    let good = body(1.5);
    let offer = offer(&intake, &good);
    let heavier = Offer { weight: Weight::new(1000).unwrap(), ..offer.clone() };
    let not_assigned = Refusal::NotAssigned("train".parse().unwrap());
    assert_eq!(refusal_of(outcome(&intake, None, &offer, &good, true).await), not_assigned);
    assert_eq!(refusal_of(outcome(&intake, Some(&offer), &heavier, &good, true).await), not_assigned);
    let grants = Grants::default();
    grants.add(offer.clone());
    assert!(grants.take(&offer) && !grants.take(&offer));
    grants.add(offer.clone());
    grants.clear();
    assert!(!grants.take(&offer));
}

#[tokio::test]
async fn stream_without_an_update_header_breaks_the_protocol() {
    let intake = intake("header", true);
    let (there, here) = Link::pair(Vec::new(), Vec::new());
    let model = PayloadHeader::Model(offer(&intake, &[]).stamp).encode();
    for header in [b"\xff\xff".to_vec(), model] {
        let sender = send(&there, header, vec![0; 10], true);
        let stream = here.handle().accept_uni().await.unwrap();
        let upload = receive(stream, here.handle(), &Grants::default(), &intake).await;
        assert!(matches!(upload, UploadOutcome::Unnamed(_)));
        sender.abort();
    }
}

#[tokio::test]
async fn upload_that_is_aborted_at_any_await_gives_its_slot_back() {
    for memory in [true, false] {
        let intake = intake(&format!("abort-{memory}"), memory);
        let body = body(1.5);
        let offer = offer(&intake, &body);
        let mut polls = 0;
        loop {
            let mut left = polls;
            let upload = outcome(&intake, Some(&offer), &offer, &body, true);
            let mut upload = Box::pin(upload);
            let aborted = poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(true);
                }
                left -= 1;
                match upload.as_mut().poll(cx) {
                    Poll::Ready(UploadOutcome::Staged { .. }) => Poll::Ready(false),
                    Poll::Ready(_) => panic!("not staged"),
                    Poll::Pending => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                }
            });
            let aborted = aborted.await;
            drop(upload);
            assert!(all_free(&intake), "after {polls} polls");
            if !aborted {
                break;
            }
            polls += 1;
        }
        assert!(polls > 5, "the upload had no middle: {polls}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slot_ends_with_the_link() {
    let intake = intake("full", true);
    let held = [intake.slots.reserve().await.unwrap(), intake.slots.reserve().await.unwrap()];
    let good = body(1.5);
    let offer = offer(&intake, &good);
    let (there, here) = Link::pair(Vec::new(), Vec::new());
    let grants = Grants::default();
    grants.add(offer.clone());
    let sender = send(&there, PayloadHeader::Update(offer.clone()).encode(), good, true);
    let stream = here.handle().accept_uni().await.unwrap();
    let closing = there.handle().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        closing.close(0, "");
    });
    let refused = refusal_of(receive(stream, here.handle(), &grants, &intake).await);
    assert!(matches!(refused, Refusal::Dropped { got: ByteCount(0), .. }));
    drop(held);
    sender.abort();
}

#[tokio::test]
async fn stream_that_is_given_up_before_its_header_costs_its_sender_nothing() {
    let intake = intake("abandoned", true);
    let (there, here) = Link::pair(Vec::new(), Vec::new());
    let mut begun = there.handle().open_uni().await.unwrap();
    begun.write_chunks(&mut [vec![9].into()]).await.unwrap();
    drop(begun);
    let stream = here.handle().accept_uni().await.unwrap();
    let upload = receive(stream, here.handle(), &Grants::default(), &intake).await;
    assert!(matches!(upload, UploadOutcome::Abandoned));
}

/// 300,000 bytes: more than one read, so that an upload has a middle.
const ELEMENTS: u32 = 75_000;
const RANGE: ExactRange = ExactRange { value_bits: 16, weight_bits: 20 };
