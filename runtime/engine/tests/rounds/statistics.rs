//! `standardise: federated`: the step before the first round.

use std::sync::Arc;

use fl_engine::{
    plan::{Federated, PlanDraft, Short, Standardise},
    round::{Event, Reason, Start, Waiting},
    statistics::{ColumnFault, ColumnSums, SiteSums},
};

use crate::rig::{ABC, NOTHING, Rig, name, plan, quorum, root, start};

fn federated(plan: &mut PlanDraft) {
    plan.data.federated = Some(Federated { least: 2 });
}

/// Rows `(value, 2 × value, …)` of four features.
fn sums(values: &[f64]) -> Vec<ColumnSums> {
    let mut sums = SiteSums::new(&[4]);
    for value in values {
        (0..4).for_each(|at| assert!(sums.add(at, value * (at + 1) as f64)));
    }
    sums.to_send(2)
}

fn send(rig: &mut Rig, peer: &str, columns: Vec<ColumnSums>) -> Vec<String> {
    rig.on(Event::Sums { peer: name(peer), incarnation: 9, first: 0, columns })
}

fn durable(rig: &mut Rig) -> Vec<String> {
    rig.on(Event::StatisticsDurable)
}

#[test]
fn sites_are_asked_and_told_before_the_first_task_and_only_when_the_answer_is_on_disk() {
    let mut rig = Rig::new(&ABC, federated);
    assert_eq!(rig.join_all(&ABC), ["ask a", "ask b", "ask c"]);
    assert_eq!(send(&mut rig, "a", sums(&[1.0, 2.0])), NOTHING);
    // Another run's answer, an answer that comes twice, and one of nobody.
    let late = Event::Sums { peer: name("b"), incarnation: 8, first: 0, columns: sums(&[9.0, 9.0]) };
    assert_eq!(rig.on(late), NOTHING);
    assert_eq!(send(&mut rig, "a", sums(&[9.0, 9.0])), NOTHING);
    assert_eq!(send(&mut rig, "d", sums(&[9.0, 9.0])), NOTHING);
    let [one, rest] = [0..1, 1..4].map(|range| sums(&[3.0, 4.0])[range].to_vec());
    assert_eq!(send(&mut rig, "b", one), NOTHING);
    assert_eq!(rig.on(Event::Sums { peer: name("b"), incarnation: 9, first: 1, columns: rest }), NOTHING);
    assert!(
        matches!(rig.engine.waiting(), Some(Waiting::Sums { have: 2, need: 1, awaited, .. }) if awaited == [name("c")])
    );
    assert_eq!(send(&mut rig, "c", sums(&[5.0, 6.0])), ["store statistics 3.5 of a b c"]);
    // A member that comes now waits, too.
    assert_eq!(rig.leave("c"), NOTHING);
    assert_eq!(rig.join("c"), NOTHING);
    let told = durable(&mut rig);
    assert_eq!(told[..3], ["statistics a 3.5", "statistics b 3.5", "statistics c 3.5"]);
    assert_eq!(told[3], "assign a 0: check train tuned");
    assert_eq!(durable(&mut rig), NOTHING);
    // A new link is told first.
    rig.leave("b");
    assert_eq!(rig.join("b"), ["statistics b 3.5", "assign b 0: check train tuned"]);
}

#[test]
fn run_that_knows_the_statistics_does_not_ask_again() {
    let known = Standardise::from_values(&[7.0; 4], &[1.0; 4]).map(Arc::new);
    let plan = plan().edited(federated).unwrap();
    let mut rig = Rig::with(plan, Start { statistics: known, ..start(&["a"]) });
    assert_eq!(rig.join("a"), ["statistics a 7", "assign a 0: check train tuned"]);
}

#[test]
fn deadline_with_enough_sites_goes_on_without_the_silent_ones() {
    let mut rig = Rig::new(&ABC, |plan| {
        federated(plan);
        plan.quorum = quorum(2, None, 0, 60_000);
    });
    rig.join_all(&ABC);
    send(&mut rig, "a", sums(&[1.0, 2.0]));
    assert_eq!(rig.at(60_000), ["again 1, 1 of 2 without 2"]);
    send(&mut rig, "b", sums(&[3.0, 4.0]));
    assert_eq!(rig.at(119_999), NOTHING);
    assert_eq!(rig.at(120_000), ["store statistics 2.5 of a b"]);
    // Its sums come too late, and it is told as everybody.
    assert_eq!(send(&mut rig, "c", sums(&[1e9, 1e9])), NOTHING);
    assert_eq!(durable(&mut rig)[2], "statistics c 2.5");
}

#[test]
fn deadline_with_too_few_sites_ends_a_run_where_the_plan_says_so() {
    let mut rig = Rig::new(&ABC, |plan| {
        federated(plan);
        plan.quorum = quorum(2, None, 0, 60_000);
        plan.quorum.short = Short::End;
    });
    rig.join_all(&ABC);
    send(&mut rig, "a", sums(&[1.0, 2.0]));
    let ended = format!("finished {:?}", Reason::TooFewSites { have: 1, need: 2 });
    assert_eq!(rig.at(60_000), [ended]);
}

#[test]
fn refused_sums_do_not_count_and_a_new_link_may_send_better_ones() {
    let mut rig = Rig::new(&["a", "b"], federated);
    rig.join_all(&["a", "b"]);
    let wrong = sums(&[1.0, 2.0])[..3].to_vec();
    let too_many = [wrong.clone(), wrong.clone()].concat();
    assert_eq!(
        send(&mut rig, "a", too_many),
        ["sums of a refused: the sums have 6 columns; the plan's data has 4"]
    );
    assert_eq!(send(&mut rig, "a", sums(&[1.0, 2.0])), NOTHING);
    rig.leave("a");
    assert_eq!(rig.join("a"), ["ask a"]);
    assert_eq!(send(&mut rig, "a", sums(&[1.0, 2.0])), NOTHING);
    assert_eq!(send(&mut rig, "b", sums(&[3.0, 4.0])), ["store statistics 2.5 of a b"]);
}

#[test]
fn sums_of_two_orders_of_columns_are_never_added_up() {
    let mut rig = Rig::new(&ABC, federated);
    rig.join_all(&ABC);
    for (peer, digest) in [("a", "x"), ("b", "y"), ("c", "y")] {
        rig.on(Event::Columns { peer: name(peer), digest: root(digest) });
    }
    assert_eq!(
        send(&mut rig, "a", sums(&[1.0, 2.0])),
        ["sums of a refused: the names of its columns have another digest than those of the other sites"]
    );
    send(&mut rig, "b", sums(&[3.0, 4.0]));
    assert_eq!(send(&mut rig, "c", sums(&[5.0, 6.0])), ["store statistics 4.5 of b c"]);
}

fn columns(rig: &mut Rig, peer: &str, digest: &str) -> Vec<String> {
    rig.on(Event::Columns { peer: name(peer), digest: root(digest) })
}

/// Needs the sums of two sites.
fn of_two() -> Rig {
    Rig::new(&ABC, |plan| {
        federated(plan);
        plan.quorum = quorum(2, None, 0, 60_000);
    })
}

#[test]
fn site_that_was_refused_for_its_columns_is_asked_again_when_they_are_those_of_the_most() {
    let mut rig = of_two();
    rig.join_all(&ABC);
    columns(&mut rig, "a", "x");
    columns(&mut rig, "b", "y");
    for peer in ["a", "b"] {
        assert_eq!(send(&mut rig, peer, sums(&[1.0, 2.0])), [refused(peer)]);
    }
    assert_eq!(columns(&mut rig, "c", "y"), ["ask b"]);
    assert_eq!(columns(&mut rig, "c", "y"), NOTHING);
    assert_eq!(send(&mut rig, "b", sums(&[3.0, 4.0])), NOTHING);
    assert_eq!(send(&mut rig, "c", sums(&[5.0, 6.0])), ["store statistics 4.5 of b c"]);
}

#[test]
fn rest_of_a_refused_answer_does_not_spoil_the_next_one() {
    let mut rig = of_two();
    rig.join_all(&ABC);
    columns(&mut rig, "a", "x");
    columns(&mut rig, "b", "y");
    let [one, rest] = [0..1, 1..4].map(|range| sums(&[3.0, 4.0])[range].to_vec());
    assert_eq!(send(&mut rig, "b", one), [refused("b")]);
    assert_eq!(columns(&mut rig, "c", "y"), ["ask b"]);
    assert_eq!(rig.on(Event::Sums { peer: name("b"), incarnation: 9, first: 1, columns: rest }), NOTHING);
    assert_eq!(send(&mut rig, "b", sums(&[3.0, 4.0])), NOTHING);
    assert_eq!(send(&mut rig, "a", sums(&[1.0, 2.0])), [refused("a")]);
    assert_eq!(send(&mut rig, "c", sums(&[5.0, 6.0])), ["store statistics 4.5 of b c"]);
}

#[test]
fn site_that_was_refused_for_its_columns_is_asked_again_when_the_others_leave_the_roster() {
    let mut rig = Rig::new(&ABC, federated);
    rig.join_all(&["a", "b"]);
    columns(&mut rig, "a", "x");
    columns(&mut rig, "b", "y");
    rig.join("c");
    for peer in ["a", "b"] {
        assert_eq!(send(&mut rig, peer, sums(&[1.0, 2.0])), [refused(peer)]);
    }
    assert_eq!(rig.roster(&["b", "c"]), ["ask b"]);
}

#[test]
fn sums_that_counted_before_most_told_other_columns_are_dropped_at_the_deadline() {
    let mut rig = of_two();
    rig.join_all(&ABC);
    columns(&mut rig, "a", "x");
    assert_eq!(send(&mut rig, "a", sums(&[1e9, 1e9])), NOTHING);
    columns(&mut rig, "b", "y");
    columns(&mut rig, "c", "y");
    for peer in ["b", "c"] {
        assert_eq!(send(&mut rig, peer, sums(&[1.0, 2.0])), [refused(peer)]);
    }
    assert_eq!(rig.at(60_000), ["again 1, 1 of 2 without 0, refused 2", "ask b", "ask c"]);
    assert_eq!(send(&mut rig, "a", sums(&[1e9, 1e9])), NOTHING);
    assert_eq!(send(&mut rig, "b", sums(&[3.0, 4.0])), NOTHING);
    assert_eq!(send(&mut rig, "c", sums(&[5.0, 6.0])), ["store statistics 4.5 of b c"]);
}

#[test]
fn who_was_refused_is_named_beside_who_has_not_answered() {
    let mut rig = of_two();
    rig.join_all(&ABC);
    columns(&mut rig, "a", "x");
    columns(&mut rig, "b", "y");
    send(&mut rig, "a", sums(&[1.0, 2.0]));
    send(&mut rig, "b", sums(&[1.0, 2.0])[..3].to_vec());
    let Some(Waiting::Sums { awaited, refused, .. }) = rig.engine.waiting() else { panic!() };
    assert_eq!((awaited, refused), (vec![name("c")], vec![name("a"), name("b")]));
    assert_eq!(rig.at(60_000), ["again 1, 0 of 2 without 1, refused 2"]);
}

fn refused(peer: &str) -> String {
    format!(
        "sums of {peer} refused: the names of its columns have another digest than those of the other sites"
    )
}

#[test]
fn column_without_statistics_ends_the_run_by_its_number() {
    let mut rig = Rig::new(&["a"], federated);
    rig.join("a");
    let said = send(&mut rig, "a", sums(&[0.0, 0.0]));
    assert!(said[0].starts_with("finished NoStatistics(") && said[0].contains("Constant"), "{said:?}");
    let mut rig = Rig::new(&["a"], federated);
    rig.join("a");
    let said = send(&mut rig, "a", sums(&[1.0]));
    assert!(said[0].contains(&format!("{:?}", ColumnFault::Few { least: 2 })), "{said:?}");
}

#[test]
fn stop_before_the_first_round_ends_at_once() {
    let mut rig = Rig::new(&["a"], federated);
    rig.join("a");
    assert_eq!(rig.stop(), ["finished Stopped"]);
}
