//! The collaborator against an aggregator that a test plays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use fl_engine::{
    Weight,
    plan::{Rule, TaskKind},
    round::Refusal,
    tensor::Layout,
    wire::{Assigned, Granted, VERSIONS, Welcome},
};
use fl_learn::{
    registry::Registry,
    task::{CustomJob, CustomTask, Runner, TaskOutput},
};
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    actors::{collaborator, collaborator::SiteWork, fixture::plan, mailbox::Mailbox},
    net::Link,
    observe::log::tests::caught,
    payload::Buffers,
    pool::Pool,
};

/// Sends its base back after a while, and counts how often.
struct Slow(Arc<AtomicU32>);

impl CustomTask for Slow {
    fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError> {
        self.0.fetch_add(1, Relaxed);
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(10));
            if (job.cancelled)() {
                return Err(TaskError::Cancelled);
            }
        }
        Ok(TaskOutput { update: Some((job.base.clone(), Weight::new(5)?)), samples: 5, metrics: Vec::new() })
    }
}

struct Rig {
    collaborator: Mailbox<CollaboratorMessage>,
    ended: oneshot::Receiver<Result<CollaboratorOutcome, Failure>>,
    runs: Arc<AtomicU32>,
    layout: Arc<Layout>,
    base: Payload,
}

/// The aggregator's end of a link.
struct Far {
    heard: mpsc::Receiver<Vec<u8>>,
    link: Link,
}

impl Rig {
    fn new() -> Self {
        let kind = TaskKind::Custom { name: "slow".to_owned(), rule: Some(Rule::WeightedMean) };
        let plan = plan(3).edited(|plan| plan.tasks[0].kind = kind).unwrap();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let registry = Registry::new().with_task("slow", move || Box::new(Slow(Arc::clone(&counted))));
        let layout = plan.layout().unwrap();
        let base = Payload::from_state(&plan.initial_state().unwrap());
        let name = "one".parse().unwrap();
        let custom = registry.tasks(&plan, &name).unwrap();
        let plan = Arc::new(plan);
        let runner = Runner::new(Arc::clone(&plan), Arc::clone(&layout), &name, None, custom).unwrap();
        let system = crate::system::System::real();
        let pool = Pool::new(&system.threads, 1).unwrap();
        let buffers = Buffers::new(Arc::clone(&layout));
        let running = collaborator::start(
            system.clock,
            plan,
            SiteWork::Ready(Box::new(runner)),
            AboutData::default(),
            Arc::clone(&layout),
            buffers,
            pool,
        );
        let (collaborator, ended) = (running.mailbox, running.outcome);
        Self { collaborator, ended, runs, layout, base }
    }

    fn tell(&self, message: CollaboratorMessage) {
        self.collaborator.tell(message).unwrap();
    }

    fn stamp(&self, round: u32) -> Stamp {
        Stamp { incarnation: 7, round: RoundNo(round), base: self.base.root() }
    }

    fn up(&self) -> Far {
        self.up_at(0)
    }

    /// A link to an aggregator whose next round is this one.
    fn up_at(&self, round: u32) -> Far {
        let (near, link) = Link::pair(Vec::new(), Vec::new());
        let appraised = Appraised::unchecked();
        let (outbox, heard) = mpsc::channel(64);
        let welcome = Welcome {
            version: VERSIONS.1,
            features: 0,
            incarnation: 7,
            name: "one".parse().unwrap(),
            roster_serial: 1,
            round: RoundNo(round),
            evidence: Vec::new(),
        };
        // The control stream's halves stay open as long as the link.
        let (sender, receiver, handle) = near.split();
        let closing = handle.clone();
        tokio::spawn(async move {
            closing.closed().await;
            drop((sender, receiver));
        });
        self.tell(CollaboratorMessage::LinkUp { outbox, handle, appraised, welcome });
        Far { heard, link }
    }

    fn down(&self) {
        self.tell(CollaboratorMessage::LinkDown { why: "pulled".to_owned() });
    }

    fn assign(&self, stamp: Stamp) {
        self.tell(CollaboratorMessage::Heard(Message::Assign(Assigned {
            stamp,
            tasks: vec!["send".parse().unwrap()],
        })));
    }

    fn refuse(&self, refusal: Refusal) {
        let task = "send".parse().unwrap();
        self.tell(CollaboratorMessage::Heard(Message::Refused(RefusedUpdate { task, refusal })));
    }

    fn model(&self, stamp: Stamp) {
        self.tell(CollaboratorMessage::Model { stamp, model: self.base.clone() });
    }
}

impl Far {
    async fn hear(&mut self) -> Message {
        let letter = timeout(Duration::from_secs(10), self.heard.recv()).await.expect("nothing is said");
        wire::decode(&letter.unwrap()).unwrap().unwrap()
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(200), self.heard.recv()).await.is_err()
    }

    async fn report_and_offer(&mut self) -> Offer {
        assert!(matches!(self.hear().await, Message::Report(_)));
        match self.hear().await {
            Message::Offer(offer) => offer,
            other => panic!("{other:?}"),
        }
    }
}

fn run(test: impl AsyncFnOnce(Rig)) {
    actix::System::new().block_on(async { test(Rig::new()).await });
}

#[test]
fn update_made_without_a_link_is_reported_and_offered_over_the_next_and_not_made_again() {
    run(async |rig| {
        let stamp = rig.stamp(0);
        let _first = rig.up();
        rig.assign(stamp);
        rig.model(stamp);
        rig.down();
        sleep(Duration::from_millis(400)).await;
        for _ in 0..2 {
            let mut far = rig.up();
            rig.assign(stamp);
            assert_eq!(far.report_and_offer().await.stamp, stamp);
            assert!(far.is_silent().await);
            rig.down();
        }
        assert_eq!(rig.runs.load(Relaxed), 1);
    });
}

#[test]
fn update_made_for_another_run_of_the_aggregator_is_dropped() {
    run(async |rig| {
        let stamp = rig.stamp(0);
        let mut far = rig.up();
        rig.assign(stamp);
        rig.model(stamp);
        far.report_and_offer().await;
        rig.down();
        let mut far = rig.up();
        let other = Stamp { incarnation: 8, ..stamp };
        rig.assign(other);
        assert_eq!(far.report_and_offer().await.stamp, other);
        assert_eq!(rig.runs.load(Relaxed), 2);
    });
}

#[test]
fn update_that_is_refused_again_and_again_is_given_up() {
    run(async |rig| {
        let stamp = rig.stamp(0);
        let mut far = rig.up();
        rig.assign(stamp);
        rig.model(stamp);
        far.report_and_offer().await;
        let mut offers = 1;
        loop {
            rig.refuse(Refusal::Internal("disk full".to_owned()));
            match far.hear().await {
                Message::Offer(_) => offers += 1,
                Message::Failed(failed) => {
                    assert_eq!(failed.stamp, stamp);
                    break;
                }
                other => panic!("{other:?}"),
            }
            assert!(offers < 100, "it goes on for ever");
        }
        assert_eq!(offers, OFFERS);
    });
}

#[test]
fn refusal_that_comes_late_does_not_cost_the_next_rounds_update() {
    run(async |rig| {
        let mut far = rig.up();
        let stamp = rig.stamp(1);
        rig.assign(stamp);
        rig.model(stamp);
        let offer = far.report_and_offer().await;
        rig.refuse(Refusal::Stale { open: RoundNo(1) });
        rig.refuse(Refusal::Late);
        rig.tell(CollaboratorMessage::Heard(Message::Grant(Granted { stamp, task: offer.task })));
        let stream = timeout(Duration::from_secs(2), far.link.handle().accept_uni()).await;
        assert!(stream.is_ok(), "the update is gone");
    });
}

#[test]
fn cancelled_training_says_nothing_and_the_next_round_is_run() {
    run(async |rig| {
        let mut far = rig.up();
        rig.assign(rig.stamp(0));
        rig.model(rig.stamp(0));
        sleep(Duration::from_millis(30)).await;
        rig.tell(CollaboratorMessage::Heard(Message::Cancel(fl_engine::wire::Cancelled {
            stamp: rig.stamp(0),
        })));
        assert!(far.is_silent().await);
        rig.assign(rig.stamp(1));
        assert_eq!(far.report_and_offer().await.stamp, rig.stamp(1));
    });
}

#[test]
fn stop_while_training_ends_at_once_with_the_model_that_is_held() {
    run(async |mut rig| {
        let mut far = rig.up();
        rig.assign(rig.stamp(2));
        rig.model(rig.stamp(2));
        sleep(Duration::from_millis(30)).await;
        rig.tell(CollaboratorMessage::Stop);
        let ended = timeout(Duration::from_millis(50), &mut rig.ended).await.unwrap().unwrap().unwrap();
        assert_eq!(ended.verdict, None);
        assert_eq!(ended.model.unwrap().0, RoundNo(2));
        assert!(matches!(far.hear().await, Message::Leaving(_)));
        assert_eq!(rig.layout.byte_len(), rig.base.len());
    });
}

#[test]
fn aggregator_that_goes_back_is_told_apart_from_the_owners_order() {
    let order = |round| {
        let without = vec!["three".parse().unwrap()];
        Message::Resumed(Resumed { round: RoundNo(round), without, serial: 8, proof: vec![0; 64] })
    };
    let by_owner = "the federation's owner has taken the run back to the model after round 3, without three (roster 8): round 4";
    let by_nobody = "the aggregator goes back to round 4, although it had saved later rounds";
    // Rounds of a crash that were open and not saved yet are no step back.
    let cases = [
        (4, Some(order(3)), by_owner),
        (4, Some(order(4)), by_nobody),
        (4, None, by_nobody),
        (7, Some(order(3)), ""),
    ];
    for (next, order, expected) in cases {
        let said = caught(false, || {
            run(async |rig| {
                let _first = rig.up_at(5);
                rig.tell(CollaboratorMessage::Heard(Message::Counted(wire::Counted { round: RoundNo(6) })));
                rig.down();
                let mut far = rig.up_at(next);
                order.into_iter().for_each(|order| rig.tell(CollaboratorMessage::Heard(order)));
                // Work goes on in each case.
                rig.assign(rig.stamp(next));
                rig.model(rig.stamp(next));
                assert_eq!(far.report_and_offer().await.stamp, rig.stamp(next));
            });
        });
        let told = said.contains("the run back") || said.contains("goes back");
        assert!(said.contains(expected) && told != expected.is_empty(), "{said}");
    }
}
