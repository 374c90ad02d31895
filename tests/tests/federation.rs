//! Whole federations: real processes over real links on loopback, real files.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{fs, sync::Arc, time::Duration};

use fl_engine::{RoundNo, Weight, model::safetensors, plan::Plan, tensor::ModelState};
use fl_learn::task::{CustomTasks, Runner};
use fl_tests::{
    federation::{
        Process, all_end_well, federation, federation_over, history, last_model, set_block, set_site, start,
        synthetic,
    },
    over_each_link,
};
use num_bigint::BigInt;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(60);

over_each_link! {
    federation_trains_and_everybody_keeps_the_same_model
    federated_model_is_the_exactly_rounded_mean_of_the_updates
    killed_collaborator_does_not_stop_the_others
    collaborator_that_comes_back_is_given_the_open_round
    collaborator_waits_for_its_aggregator_and_says_so
    sigterm_ends_an_aggregator_cleanly_and_the_next_start_goes_on
    finished_run_ends_well_when_it_is_stopped_again_and_fresh_gives_its_rounds_up
    another_plan_is_refused_until_it_is_accepted
    second_aggregator_of_a_folder_ends_before_it_touches_anything
}

fn federation_trains_and_everybody_keeps_the_same_model(link: &str) {
    let federation = federation_over(link, "trains", 3, &|plan| plan.replace("rounds: 10", "rounds: 3"));
    let (mut aggregator, mut collaborators) = start(&federation);
    for round in 0..3 {
        let line = aggregator.event("round", LATER);
        assert_eq!(line["round"], round);
        assert_eq!(line["updates"], 3, "{line}");
    }
    assert_eq!(aggregator.event("ended", SOON)["reason"], "completed");
    assert!(aggregator.ended(SOON).success());
    let last = last_model(&federation);
    for (name, process) in federation.names.iter().zip(&mut collaborators) {
        assert!(process.ended(SOON).success(), "{name}: {}", process.log());
        let path = federation.dir.join(name).join(format!("save/released/demo_{name}_final.safetensors"));
        let (kept, _) = safetensors::read(&fs::read(&path).unwrap(), last.layout()).unwrap();
        assert_eq!(kept, last, "{name}");
    }
    assert_eq!(history(&federation).len(), 3);
    for name in &federation.names {
        // The aggregator named the roster's serial, and these sites have no roster that proves the serial.
        assert!(!federation.dir.join(name).join("save/roster-serial").exists());
    }
}

/// The site file says how many threads compute; the plan allows seven.
#[test]
fn number_of_threads_changes_no_bit_of_the_model() {
    let models = [1, 2, 7].map(|threads: u32| {
        let federation = federation(&format!("threads-{threads}"), 2, &|plan| {
            set_block(&plan.replace("rounds: 10", "rounds: 2"), "threads", "{link: 1, cpu: 7}")
        });
        for name in &federation.names {
            set_site(&federation.dir.join(name), "threads", &threads.to_string());
        }
        set_site(&federation.aggregator, "threads", &threads.to_string());
        let (mut aggregator, mut collaborators) = start(&federation);
        all_end_well(&mut aggregator, &mut collaborators);
        last_model(&federation).f32.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    });
    assert!(models[0].len() > 100 && models.iter().all(|bits| *bits == models[0]));
}

/// A log on a full disk, a reader of rounds that has gone.
#[test]
fn run_goes_on_when_its_output_cannot_be_written() {
    let federation = federation("unheard", 2, &|plan| plan.replace("rounds: 10", "rounds: 2"));
    let unheard = ["sh", "-c", r#"exec "$0" "$@" >/dev/full 2>/dev/full"#];
    let mut processes = vec![Process::aggregator_in(&federation, &unheard)];
    for name in &federation.names {
        processes.push(Process::collaborator_in(&federation, name, &unheard));
    }
    for process in &mut processes {
        assert_eq!(process.ended(LATER).code(), Some(0));
    }
    last_model(&federation);
    let args = ["aggregator", "--wrong"];
    let mut mistaken = Process::start("mistaken", &federation.aggregator, &args, &unheard);
    assert_eq!(mistaken.ended(SOON).code(), Some(2));
}

/// The exact weighted mean of what the runners make, by integers of any size: shares no code with the
/// aggregation.
fn federated_model_is_the_exactly_rounded_mean_of_the_updates(link: &str) {
    let federation = federation_over(link, "exact", 3, &|plan| synthetic(plan, 3000, 2));
    let (mut aggregator, _collaborators) = start(&federation);
    assert_eq!(aggregator.event("ended", LATER)["reason"], "completed");
    assert!(aggregator.ended(SOON).success());

    let plan = Arc::new(federation.plan.clone());
    let layout = plan.layout().unwrap();
    let mut base = plan.initial_state().unwrap();
    for round in 0..2 {
        let updates: Vec<(ModelState, Weight)> = federation
            .names
            .iter()
            .map(|name| {
                let member = name.parse().unwrap();
                let mut runner =
                    Runner::new(Arc::clone(&plan), Arc::clone(&layout), &member, None, CustomTasks::new())
                        .unwrap();
                let task = "send".parse().unwrap();
                runner.run(&task, RoundNo(round), &base, &|| false).unwrap().update.unwrap()
            })
            .collect();
        let mut next = ModelState::zeros(Arc::clone(&layout));
        for (at, value) in next.f32.iter_mut().enumerate() {
            let terms: Vec<(f32, u32)> = updates.iter().map(|(u, w)| (u.f32[at], w.value())).collect();
            *value = exact_mean(&terms);
        }
        base = next;
    }
    let bits = |state: &ModelState| state.f32.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&last_model(&federation)), bits(&base));
}

/// Sum of value × weight over the sum of weights, rounded to the nearest f32, ties to even.
fn exact_mean(terms: &[(f32, u32)]) -> f32 {
    // Every finite f32 is a whole number of 2^-149.
    let whole = |value: f32| {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 23 & 0xff) as i32, i64::from(bits & 0x7f_ffff));
        let (mantissa, shift) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 23, exponent - 1) };
        let magnitude = BigInt::from(mantissa) << shift;
        if value.is_sign_negative() { -magnitude } else { magnitude }
    };
    let sum: BigInt = terms.iter().map(|(value, weight)| whole(*value) * *weight).sum();
    let total: BigInt = terms.iter().map(|(_, weight)| BigInt::from(*weight)).sum();
    let (mut low, mut high) = (-(f32::MAX.to_bits() as i64), f32::MAX.to_bits() as i64);
    // Ordered bits: find the float below or at the exact value by bisection, then the nearer of two
    // neighbours.
    let float = |ordered: i64| {
        if ordered < 0 { -f32::from_bits((-ordered) as u32) } else { f32::from_bits(ordered as u32) }
    };
    while low < high {
        let middle = (low + high + 1).div_euclid(2);
        if whole(float(middle)) * &total <= sum { low = middle } else { high = middle - 1 }
    }
    let (below, above) = (float(low), float(low + 1));
    let twice: BigInt = &sum * 2;
    let midpoint = (whole(below) + whole(above)) * &total;
    match twice.cmp(&midpoint) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Greater => above,
        std::cmp::Ordering::Equal if below.to_bits() % 2 == 0 => below,
        std::cmp::Ordering::Equal => above,
    }
}

fn killed_collaborator_does_not_stop_the_others(link: &str) {
    let federation = federation_over(link, "killed", 3, &|plan| plan.replace("rounds: 10", "rounds: 4"));
    let (mut aggregator, mut collaborators) = start(&federation);
    aggregator.event("round", LATER);
    collaborators[2].signal("KILL");
    let rest = aggregator.events_to_the_end("round");
    assert_eq!(rest.len(), 3);
    assert_eq!(rest[2]["updates"], 2);
    assert!(aggregator.ended(SOON).success(), "{}", aggregator.log());
    for process in &mut collaborators[..2] {
        assert!(process.ended(SOON).success());
    }
}

fn collaborator_that_comes_back_is_given_the_open_round(link: &str) {
    let federation = federation_over(link, "back", 2, &|plan| {
        plan.replace("rounds: 10", "rounds: 4").replace("count: {min: 1}", "count: {min: 2}")
    });
    let (mut aggregator, mut collaborators) = start(&federation);
    aggregator.event("round", LATER);
    collaborators.pop();
    let again = Process::collaborator(&federation, "two");
    let rest = aggregator.events_to_the_end("round");
    assert_eq!(rest.len(), 3, "{}", aggregator.log());
    assert!(rest.iter().all(|round| round["updates"] == 2), "{rest:?}");
    assert!(aggregator.ended(SOON).success());
    drop(again);
}

fn collaborator_waits_for_its_aggregator_and_says_so(link: &str) {
    let federation = federation_over(link, "early", 1, &|plan| synthetic(plan, 100, 1));
    let mut early = Process::collaborator(&federation, "one");
    early.says("no aggregator at 127.0.0.1", 1, SOON);
    let mut aggregator = Process::aggregator(&federation);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert!(early.ended(SOON).success(), "{}", early.log());
}

fn sigterm_ends_an_aggregator_cleanly_and_the_next_start_goes_on(link: &str) {
    // More than it runs before the signal gets there.
    let federation = federation_over(link, "stopped", 2, &|plan| plan.replace("rounds: 10", "rounds: 40"));
    let (mut aggregator, mut collaborators) = start(&federation);
    aggregator.event("round", LATER);
    aggregator.signal("TERM");
    assert_eq!(aggregator.event("ended", SOON)["reason"], "stopped");
    assert_eq!(aggregator.ended(SOON).code(), Some(14), "{}", aggregator.log());
    let done = history(&federation).len();
    assert!(done >= 1);

    // The collaborators wait for it to come back.
    let mut again = Process::aggregator(&federation);
    assert_eq!(again.event("listening", SOON)["round"], done);
    assert_eq!(again.events_to_the_end("round").len(), 40 - done);
    assert!(again.ended(SOON).success(), "{}", again.log());
    for process in &mut collaborators {
        assert!(process.ended(SOON).success(), "{}", process.log());
    }
}

#[test]
fn aggregator_that_is_stopped_before_anything_is_measured_says_so() {
    let measuring = |plan: &str| {
        let look = "{look: {kind: validate, model: aggregated, metrics: [accuracy], loss: cross_entropy}}";
        let best = "{task: look, metric: accuracy, direction: max}";
        set_block(&set_block(plan, "tasks", look), "best", best).replace("rounds: 10", "rounds: 1")
    };
    let federation = federation("unmeasured", 1, &measuring);
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    aggregator.signal("TERM");
    assert_eq!(aggregator.ended(SOON).code(), Some(14), "{}", aggregator.log());
    let words = "stopped before the collaborators had measured the model";
    assert!(aggregator.log().contains(words), "{}", aggregator.log());

    let (mut aggregator, mut collaborators) = start(&federation);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert!(aggregator.log().contains("the collaborators have measured the model"), "{}", aggregator.log());
    assert!(collaborators[0].ended(SOON).success(), "{}", collaborators[0].log());
}

fn finished_run_ends_well_when_it_is_stopped_again_and_fresh_gives_its_rounds_up(link: &str) {
    let federation = federation_over(link, "fresh", 1, &|plan| synthetic(plan, 100, 2));
    let (mut aggregator, mut collaborators) = start(&federation);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert!(collaborators[0].ended(SOON).success(), "{}", collaborators[0].log());

    let mut again = Process::aggregator(&federation);
    assert_eq!(again.event("listening", SOON)["round"], 2);
    again.signal("INT");
    assert!(again.ended(SOON).success(), "{}", again.log());
    assert!(again.log().contains("all rounds were run"), "{}", again.log());

    let args = ["--json", "aggregator", "--fresh"];
    let initial = federation.aggregator.join("save/demo_init.safetensors");
    fs::rename(&initial, initial.with_extension("away")).unwrap();
    let mut refused = Process::start("aggregator", &federation.aggregator, &args, &[]);
    assert_eq!(refused.ended(SOON).code(), Some(6), "{}", refused.log());
    fs::rename(initial.with_extension("away"), &initial).unwrap();
    let again = Process::aggregator(&federation);
    assert_eq!(
        again.event("listening", SOON)["round"],
        2,
        "nothing was given up for a model that is not there"
    );
    drop(again);
    let fresh = Process::start("aggregator", &federation.aggregator, &args, &[]);
    assert_eq!(fresh.event("listening", SOON)["round"], 0);
}

fn another_plan_is_refused_until_it_is_accepted(link: &str) {
    let federation = federation_over(link, "plans", 1, &|plan| synthetic(plan, 100, 1));
    let plan_file = federation.dir.join("one/plan/plan.yaml");
    let plan = fs::read_to_string(&plan_file).unwrap();
    fs::write(&plan_file, plan.replace("rounds: 1", "rounds: 2")).unwrap();
    let mut refused = Process::collaborator(&federation, "one");
    assert_eq!(refused.ended(SOON).code(), Some(10), "{}", refused.log());
    assert!(refused.log().contains("hint: ") || refused.log().contains("\"hint\""), "{}", refused.log());

    // Accepted here, but not the plan of the aggregator.
    let other = Plan::parse(&fs::read_to_string(&plan_file).unwrap()).unwrap();
    fs::write(federation.dir.join("one/save/accepted-plan"), format!("{}\n", other.hash())).unwrap();
    let _aggregator = Process::aggregator(&federation);
    let mut stranger = Process::collaborator(&federation, "one");
    assert_eq!(stranger.ended(SOON).code(), Some(12), "{}", stranger.log());
    assert!(stranger.log().contains("the aggregator runs plan"), "{}", stranger.log());
}

#[test]
fn aggregator_is_ready_within_fifty_milliseconds() {
    let federation = federation("ready", 1, &|plan| synthetic(plan, 100, 1));
    let ready = (0..3).map(|_| {
        let aggregator = Process::aggregator(&federation);
        aggregator.event("listening", SOON)["ready_ms"].as_f64().unwrap()
    });
    let best = ready.fold(f64::MAX, f64::min);
    assert!(best < 50.0, "{best} ms");
}

fn second_aggregator_of_a_folder_ends_before_it_touches_anything(link: &str) {
    let federation = federation_over(link, "second", 1, &|plan| synthetic(plan, 100, 1));
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let spilled = federation.aggregator.join("save/spill/slot-7.spill");
    fs::write(&spilled, b"an update of the one that runs").unwrap();
    let args = ["--json", "aggregator", "--fresh"];
    let mut second = Process::start("second", &federation.aggregator, &args, &[]);
    assert_eq!(second.ended(SOON).code(), Some(11), "{}", second.log());
    assert!(spilled.is_file(), "the second has swept the first's spilled updates away");
    let _one = Process::collaborator(&federation, "one");
    assert!(aggregator.ended(SOON).success(), "{}", aggregator.log());
}
