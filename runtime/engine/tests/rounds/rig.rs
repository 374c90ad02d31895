//! A round engine with virtual time, and effects as text.

use std::sync::Arc;

use fl_engine::{
    ByteCount, Digest, Millis, Name, RoundNo, Weight,
    model::{Layer, ModelSpec},
    plan::{
        BestModel, Column, CsvSpec, DataSpec, Direction, ExactRange, Loader, Metric, Plan, PlanDraft, Quorum,
        Short, Split, TaskGroup, TaskKind,
    },
    round::{
        Effect, Event, Offer, Refusal, Report, RoundEngine, RoundFacts, RoundSummary, SlotId, Stamp, Start,
        Waiting,
    },
};

pub(crate) const NOTHING: [&str; 0] = [];
pub(crate) const ABC: [&str; 3] = ["a", "b", "c"];
pub(crate) const LAYOUT: ByteCount = ByteCount(4_000);

pub(crate) struct Rig {
    pub(crate) engine: RoundEngine,
    pub(crate) now: u64,
    /// Of the newest assignment.
    pub(crate) stamp: Stamp,
    /// Every summary and all facts so far.
    pub(crate) closed: Vec<RoundSummary>,
    pub(crate) facts: Vec<RoundFacts>,
    slots: u64,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|t| name(t)).collect()
}

pub(crate) fn root(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Three rounds of `check`, `train`, `tuned` for everybody; at least one update; a deadline of a minute.
pub(crate) fn plan() -> Plan {
    let data = DataSpec {
        loader: Loader::Csv(CsvSpec { header: false, ..CsvSpec::new("x.csv", Column::Index(-1)) }),
        standardise: None,
        split: Split { train: 0.8, validation: 0.1, test: 0.1 },
        classes: Some(2),
        federated: None,
    };
    let layers = vec![Layer::Linear { name: "fc".to_owned(), out: 2, bias: true }];
    let mut plan = PlanDraft::trial("trial", ModelSpec::chain(vec![4], layers), data).unwrap();
    plan.rounds = 3;
    for (task, short) in plan.tasks.iter_mut().zip(["check", "train", "tuned"]) {
        task.name = name(short);
    }
    plan.groups[0].tasks = names(&["check", "train", "tuned"]);
    plan.best.task = name("check");
    plan.quorum = quorum(1, None, 0, 60_000);
    plan.exact = ExactRange { value_bits: 16, weight_bits: 20 };
    plan.check().unwrap()
}

pub(crate) fn quorum(count_min: u32, count_max: Option<u32>, time_min: u64, time_max: u64) -> Quorum {
    let (time_min, time_max) = (Millis(time_min), Millis(time_max));
    Quorum { count_min, count_max, time_min, time_max, short: Short::Wait }
}

pub(crate) fn group(name_of: &str, collaborators: Option<&[&str]>, tasks: &[&str]) -> TaskGroup {
    TaskGroup { name: name(name_of), collaborators: collaborators.map(names), tasks: names(tasks) }
}

/// Validation of the base is out: a round is one training.
pub(crate) fn only_train(plan: &mut PlanDraft) {
    plan.tasks.retain(|t| !matches!(t.kind, TaskKind::Validate(_)));
    plan.groups[0].tasks = names(&["train"]);
    let (metric, direction) = (Metric::Loss, Direction::Min);
    plan.best = BestModel { task: name("train"), metric, direction, against_habit: false };
}

pub(crate) fn start(members: &[&str]) -> Start {
    Start {
        incarnation: 9,
        round: RoundNo(0),
        base: root("model 0"),
        members: names(members),
        secret: [5; 32],
        best: None,
        best_round: RoundNo(0),
        measured: false,
        layout_bytes: LAYOUT,
        plan_hash: root("plan"),
        statistics: None,
    }
}

/// A rig whose first round is open for `a`, `b` and `c`.
pub(crate) fn opened(change: impl FnOnce(&mut PlanDraft)) -> Rig {
    let mut rig = Rig::new(&ABC, change);
    rig.join_all(&ABC);
    rig
}

impl Rig {
    pub(crate) fn new(members: &[&str], change: impl FnOnce(&mut PlanDraft)) -> Self {
        Self::with(plan().edited(change).unwrap(), start(members))
    }

    pub(crate) fn with(plan: Plan, start: Start) -> Self {
        let stamp = Stamp { incarnation: start.incarnation, round: start.round, base: start.base };
        let engine = RoundEngine::new(Arc::new(plan), start);
        Self { engine, now: 0, stamp, closed: Vec::new(), facts: Vec::new(), slots: 0 }
    }

    /// Feeds an event and returns what the engine answers, one line an effect.
    pub(crate) fn on(&mut self, event: Event) -> Vec<String> {
        let effects = self.engine.on(event, Millis(self.now));
        effects.iter().map(|e| self.show(e)).collect()
    }

    /// The clock moves on to `now`; it ticks when the engine had asked for it.
    pub(crate) fn at(&mut self, now: u64) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(due) = self.engine.wake().filter(|w| w.0 <= now) {
            self.now = self.now.max(due.0);
            said.extend(self.on(Event::Tick));
        }
        self.now = now;
        said
    }

    /// The open round's deadline.
    pub(crate) fn deadline(&self) -> Millis {
        match self.engine.waiting() {
            Some(Waiting::Answers { deadline, .. }) => deadline,
            other => panic!("no round is open: {other:?}"),
        }
    }

    pub(crate) fn join(&mut self, peer: &str) -> Vec<String> {
        self.on(Event::Joined { peer: name(peer) })
    }

    pub(crate) fn join_all(&mut self, peers: &[&str]) -> Vec<String> {
        peers.iter().flat_map(|peer| self.join(peer)).collect()
    }

    pub(crate) fn leave(&mut self, peer: &str) -> Vec<String> {
        self.on(Event::Left { peer: name(peer) })
    }

    pub(crate) fn roster(&mut self, members: &[&str]) -> Vec<String> {
        self.on(Event::RosterChanged { members: names(members) })
    }

    /// What `peer` would offer in the newest round.
    pub(crate) fn offer_of(&self, peer: &str, weight: u64) -> Offer {
        Offer {
            stamp: self.stamp,
            task: name("train"),
            weight: Weight::new(weight).unwrap(),
            bytes: LAYOUT,
            root: root(&format!("{peer} {}", self.stamp.round)),
        }
    }

    pub(crate) fn offer(&mut self, peer: &str, offer: &Offer) -> Vec<String> {
        self.on(Event::Offered { peer: name(peer), offer: offer.clone() })
    }

    pub(crate) fn stage(&mut self, peer: &str, offer: &Offer) -> Vec<String> {
        self.slots += 1;
        self.on(Event::Staged { peer: name(peer), offer: offer.clone(), slot: SlotId(self.slots) })
    }

    pub(crate) fn refuse(&mut self, peer: &str, offer: &Offer, refusal: Refusal) -> Vec<String> {
        self.on(Event::Refused { peer: name(peer), offer: offer.clone(), refusal })
    }

    /// Offers an update and delivers it.
    pub(crate) fn update(&mut self, peer: &str, weight: u64) -> Vec<String> {
        let offer = self.offer_of(peer, weight);
        let mut said = self.offer(peer, &offer);
        assert_eq!(said, [format!("grant {peer} train")]);
        said.extend(self.stage(peer, &offer));
        said
    }

    pub(crate) fn report(&mut self, peer: &str, task: &str, samples: u64, value: f64) -> Vec<String> {
        let metrics = vec![(Metric::Accuracy, value)];
        let report = Report { stamp: self.stamp, task: name(task), samples, metrics };
        self.on(Event::Reported { peer: name(peer), report })
    }

    pub(crate) fn fail(&mut self, peer: &str, task: &str) -> Vec<String> {
        let (peer, why) = (name(peer), "no luck".to_owned());
        self.on(Event::Failed { peer, stamp: self.stamp, task: name(task), why })
    }

    /// Does all that a round of `check`, `train`, `tuned` asks for.
    pub(crate) fn answer(&mut self, peer: &str, weight: u64) -> Vec<String> {
        let mut said = self.report(peer, "check", 10, 0.5);
        said.extend(self.report(peer, "train", 10, 0.5));
        said.extend(self.report(peer, "tuned", 10, 0.5));
        said.extend(self.update(peer, weight));
        said
    }

    pub(crate) fn finalised(&mut self, round: u32) -> Vec<String> {
        let root = root(&format!("model {}", round + 1));
        self.on(Event::Finalised { round: RoundNo(round), root })
    }

    pub(crate) fn durable(&mut self, round: u32) -> Vec<String> {
        self.on(Event::Durable { round: RoundNo(round) })
    }

    pub(crate) fn stop(&mut self) -> Vec<String> {
        self.on(Event::Stop)
    }

    fn show(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Assign { peer, stamp, tasks } => {
                self.stamp = *stamp;
                let tasks: Vec<&str> = tasks.iter().map(Name::as_str).collect();
                format!("assign {peer} {}: {}", stamp.round, tasks.join(" "))
            }
            Effect::AskSums { peer } => format!("ask {peer}"),
            Effect::SumsRefused { peer, fault } => format!("sums of {peer} refused: {fault}"),
            Effect::CollectingAgain { times, have, need, missing, refused } => {
                let refused = match refused.len() {
                    0 => String::new(),
                    some => format!(", refused {some}"),
                };
                format!("again {times}, {have} of {need} without {}{refused}", missing.len())
            }
            Effect::StoreStatistics(facts) => {
                let from: Vec<&str> = facts.collaborators.iter().map(Name::as_str).collect();
                format!("store statistics {} of {}", facts.statistics.mean_of(0), from.join(" "))
            }
            Effect::Statistics { peer, statistics } => format!("statistics {peer} {}", statistics.mean_of(0)),
            Effect::Grant { peer, task, .. } => format!("grant {peer} {task}"),
            Effect::Refuse { peer, refusal, .. } => format!("refuse {peer}: {refusal}"),
            Effect::Received { peer, .. } => format!("received {peer}"),
            Effect::Absorb { slot, weight, .. } => format!("absorb {} x {}", slot.0, weight.value()),
            Effect::Discard { slot } => format!("discard {}", slot.0),
            Effect::Cancel { peer, stamp } => format!("cancel {peer} {}", stamp.round),
            Effect::Finalise { round } => format!("finalise {round}"),
            Effect::Best { round, value, .. } => format!("best {round}: {value}"),
            Effect::Reopened { round, times, have, need, .. } => {
                format!("reopened {round}: {times}, {have} of {need}")
            }
            Effect::StoodStill { by } => format!("stood still {}", by.0),
            Effect::Unawaited { peer, missed } => format!("unawaited {peer}: {missed}"),
            Effect::AwaitedAgain { peer } => format!("awaited {peer}"),
            Effect::Serve { peer } => format!("serve {peer}"),
            Effect::RoundClosed(summary) => {
                self.closed.push((**summary).clone());
                let word = if summary.closing { "closing" } else { "closed" };
                format!("{word} {}: {:?}", summary.stamp.round, summary.why)
            }
            Effect::Store { facts } => {
                self.facts.push((**facts).clone());
                format!("store {}", facts.round)
            }
            Effect::Counted { peer, round } => format!("counted {peer} {round}"),
            Effect::Finished(reason) => format!("finished {reason:?}"),
            other => format!("{other:?}"),
        }
    }
}
