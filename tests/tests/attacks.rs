//! Hostile collaborators against the aggregation rules: real data, real training, updates that are made to harm.
//!
//! Eleven collaborators train; two of them send what an attack asks for. The attackers know every honest update of the
//! round. What each rule leaves of the accuracy on held-out rows is compared with a federation in which all are honest.


use std::{path::PathBuf, sync::Arc};

use fl_engine::{
    Name, RoundNo, Weight, model,
    plan::{Loader, Metric, Plan, Rule, Scope, TaskKind},
    tensor::{Layout, ModelState},
};
use fl_host_tools::templates;
use fl_runtime::{
    data::{self, Dataset, shard::Sharding},
    registry::Registry,
    task::{Runner, evaluate, load_data},
};

const COLLABORATORS: usize = 11;
const HOSTILE: usize = 2;

/// What the hostile collaborators send.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Attack {
    None,
    /// The opposite of what they learnt, ten times as far.
    SignFlip,
    /// Model replacement (Bagdasaryan et al., arXiv:1807.00459): what they learnt from rows with wrong labels, twenty times
    /// as far.
    Scaling,
    /// A little is enough (Baruch et al., arXiv:1902.06635): the honest mean, less as many standard deviations as pass
    /// for honest.
    Alie,
    /// Both send one and the same point, far from the honest ones: each is the other's nearest neighbour.
    Pair,
}

struct Trial {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    members: Vec<Name>,
    dirs: Vec<PathBuf>,
    held_out: Dataset,
    rounds: u32,
}

impl Trial {
    fn new(template: &str, rounds: u32) -> Self {
        let template = templates::find(template).unwrap();
        let dir = std::env::temp_dir().join(format!("fl-attacks-{}-{}", std::process::id(), template.name));
        let members: Vec<Name> = (0..COLLABORATORS).map(|n| format!("c{n:02}").parse().unwrap()).collect();
        let dirs: Vec<PathBuf> = members.iter().map(|name| dir.join(name.as_str())).collect();
        templates::materialise_shards(template, &Sharding::Iid, 7, &dirs, &dir).unwrap();
        let plan = Plan::parse(template.plan).unwrap();
        let mut test = plan.data.clone();
        if let Loader::Csv { file, .. } = &mut test.loader {
            "test.csv".clone_into(file);
        }
        let held_out = data::load(&test, &plan.model.input, &dir).unwrap();
        let layout = model::plan_layout(&plan).unwrap();
        Self { plan: Arc::new(plan), layout, members, dirs, held_out, rounds }
    }

    /// Accuracy after every round was run.
    fn accuracy(&self, rule: &Rule, attack: Attack) -> f64 {
        let train: Name = "train".parse().unwrap();
        let registry = Registry::new();
        let mut runners: Vec<Runner> = (self.members.iter().zip(&self.dirs))
            .map(|(name, dir)| {
                let mut data = load_data(&self.plan, dir, name, &registry).unwrap();
                let hostile = self.members[COLLABORATORS - HOSTILE..].contains(name);
                if hostile && attack == Attack::Scaling {
                    let classes = self.plan.data.classes.unwrap() as f32;
                    data.train.labels.iter_mut().for_each(|label| *label = classes - 1.0 - *label);
                }
                Runner::new(Arc::clone(&self.plan), Arc::clone(&self.layout), name, Some(data), &registry).unwrap()
            })
            .collect();
        let mut base = model::plan_init(&self.plan).unwrap();
        for round in 0..self.rounds {
            let mut updates: Vec<(ModelState, Weight)> = runners
                .iter_mut()
                .map(|runner| runner.run(&train, RoundNo(round), &base, &|| false).unwrap().update.unwrap())
                .collect();
            harm(attack, &base, &mut updates);
            base = aggregate(rule, &self.plan, &base, &updates);
        }
        let metrics = evaluate(&self.plan, &base, &self.held_out).unwrap();
        metrics.into_iter().find(|(metric, _)| *metric == Metric::Accuracy).unwrap().1
    }
}

/// Replaces the last [`HOSTILE`] updates.
fn harm(attack: Attack, base: &ModelState, updates: &mut [(ModelState, Weight)]) {
    let honest = updates.len() - HOSTILE;
    let (honest, hostile) = updates.split_at_mut(honest);
    let stray = |i: usize| if (i * 2_654_435_761) >> 13 & 1 == 0 { 1.0 } else { -1.0 };
    for i in 0..base.f32.len() {
        let from = base.f32[i];
        let column: Vec<f64> = honest.iter().map(|(state, _)| f64::from(state.f32[i])).collect();
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let spread = (column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64).sqrt();
        for (state, _) in hostile.iter_mut() {
            let own = state.f32[i] - from;
            // In the plan's range: an update outside is refused before any rule sees it.
            let bound = |x: f32| x.clamp(-60_000.0, 60_000.0);
            match attack {
                Attack::None => {}
                Attack::SignFlip => state.f32[i] = bound(from - 10.0 * own),
                Attack::Scaling => state.f32[i] = bound(from + 20.0 * own),
                Attack::Alie => state.f32[i] = (mean - 1.0 * spread) as f32,
                Attack::Pair => state.f32[i] = from + 100.0 * stray(i),
            }
        }
    }
}

fn aggregate(_rule: &Rule, _plan: &Plan, base: &ModelState, updates: &[(ModelState, Weight)]) -> ModelState {
    let mut next = base.clone();
    for i in 0..next.f32.len() {
        let total: f64 = updates.iter().map(|(_, w)| f64::from(w.value())).sum();
        next.f32[i] = (updates.iter().map(|(s, w)| f64::from(s.f32[i]) * f64::from(w.value())).sum::<f64>() / total) as f32;
    }
    next
}

#[test]
fn probe() {
    for (template, rounds) in [("breast_cancer", 10), ("digits", 10)] {
        let trial = Trial::new(template, rounds);
        for attack in [Attack::None, Attack::SignFlip, Attack::Scaling, Attack::Alie, Attack::Pair] {
            let t = std::time::Instant::now();
            eprintln!("{template} {attack:?} {:.3} {:?}", trial.accuracy(&Rule::WeightedMean, attack), t.elapsed());
        }
    }
    let _ = (Scope::Model, TaskKind::Synthetic { weight: 1, rule: None });
}
