//! Whose update counts, by the plan's threshold. Every script runs with the metric of the task `tuned`, which
//! is reported after the update; 0.7 is good enough.

use std::collections::BTreeSet;

use fl_engine::{
    limits,
    plan::{Direction, Metric, PlanDraft, Threshold},
    round::{Event, Report},
};

use crate::rig::{ABC, NOTHING, Rig, group, name, names, opened, quorum};

const LEFT_OUT: &str =
    "the update does not count: the collaborator's metric does not pass the plan's threshold";

fn threshold(plan: &mut PlanDraft, task: &str) {
    let direction = Direction::Max;
    let threshold = Threshold { task: name(task), metric: Metric::Accuracy, bound: 0.7, direction };
    plan.tasks[1].threshold = Some(threshold);
}

/// A round of `a`, `b` and `c` that have reported all but `tuned`.
fn judged(change: impl FnOnce(&mut PlanDraft)) -> Rig {
    let mut rig = opened(|plan| {
        threshold(plan, "tuned");
        change(plan);
    });
    for peer in ABC {
        assert_eq!(rig.report(peer, "check", 10, 0.5), NOTHING);
        assert_eq!(rig.report(peer, "train", 10, 0.5), NOTHING);
    }
    rig
}

fn left_out(peer: &str) -> String {
    format!("refuse {peer}: {LEFT_OUT}")
}

fn contributors(rig: &Rig) -> Vec<&str> {
    rig.facts[0].contributions.iter().map(|c| c.collaborator.as_str()).collect()
}

/// What a shell that does as it is told ends with.
#[derive(Default)]
struct Shell {
    sum: BTreeSet<u64>,
    freed: BTreeSet<u64>,
}

impl Shell {
    fn obey(&mut self, effects: &[String]) {
        for effect in effects {
            let words: Vec<&str> = effect.split(' ').collect();
            match words[..] {
                ["absorb", slot, "x", _] => assert!(self.sum.insert(slot.parse().unwrap())),
                ["discard", slot] => assert!(self.freed.insert(slot.parse().unwrap())),
                _ => {}
            }
        }
    }
}

/// All orders of `0 .. n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |order: Vec<usize>| {
        (0..n).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, last);
            longer
        })
    };
    orders(last).into_iter().flat_map(insert).collect()
}

#[test]
fn every_order_of_updates_and_reports_counts_the_same() {
    for (least, passing) in (1..=3_u32).flat_map(|least| (0..8_u32).map(move |passing| (least, passing))) {
        let passes = |peer: usize| passing >> peer & 1 == 1;
        let passing = (0..3).filter(|peer| passes(*peer)).map(|peer| ABC[peer]);
        let expected: Vec<&str> =
            if (passing.clone().count() as u32) < least { ABC.to_vec() } else { passing.collect() };
        for order in orders(6) {
            let mut rig = judged(|plan| plan.quorum.count_min = least);
            let mut shell = Shell::default();
            let mut said = Vec::new();
            for step in &order {
                let peer = ABC[step % 3];
                let value = if passes(step % 3) { 0.7 } else { 0.69 };
                said = match step / 3 {
                    0 => rig.update(peer, 1),
                    _ => rig.report(peer, "tuned", 10, value),
                };
                shell.obey(&said);
            }
            assert_eq!(said.last().unwrap(), "finalise 0", "{order:?}");
            rig.finalised(0);
            assert_eq!(contributors(&rig), expected, "{order:?}");
            assert_eq!(shell.sum.len(), expected.len(), "{order:?}");
            assert_eq!(shell.sum.len() + shell.freed.len(), 3, "a place did not come back: {order:?}");
            let refused = &rig.facts[0].refused;
            assert_eq!(refused.len(), 3 - expected.len(), "{order:?}");
            assert!(
                refused.iter().all(|r| r.reason == LEFT_OUT && !expected.contains(&r.collaborator.as_str()))
            );
        }
    }
}

#[test]
fn an_update_is_held_until_its_metric_is_known() {
    let mut rig = judged(|_| {});
    assert_eq!(rig.update("a", 2), ["grant a train", "received a"]);
    assert!(
        rig.offer("a", &rig.offer_of("a", 2))[0]
            .starts_with("refuse a: this collaborator already has an update in this round")
    );
    assert_eq!(rig.report("a", "tuned", 10, 0.1), NOTHING, "nobody has passed");
    assert_eq!(rig.report("b", "tuned", 10, 0.9), NOTHING, "no update yet");
    let applies = ["grant b train", "received b", "discard 1", &left_out("a"), "absorb 2 x 3"];
    assert_eq!(rig.update("b", 3), applies);
    assert_eq!(rig.update("c", 4), ["grant c train", "received c"]);
    let last = rig.report("c", "tuned", 10, 0.2);
    assert_eq!(last[..2], ["discard 3".to_owned(), left_out("c")]);
    assert_eq!(last.last().unwrap(), "finalise 0");
}

#[test]
fn the_one_that_was_left_out_may_not_offer_again() {
    let mut rig = judged(|_| {});
    rig.report("a", "tuned", 10, 0.1);
    rig.update("a", 1);
    rig.report("b", "tuned", 10, 0.9);
    rig.update("b", 1);
    let offer = rig.offer_of("a", 1);
    assert_eq!(rig.offer("a", &offer), [left_out("a")]);
    rig.leave("a");
    assert_eq!(rig.join("a"), NOTHING, "and has nothing left to do");
}

#[test]
fn smaller_is_better_for_a_loss_and_the_bound_itself_is_good_enough() {
    let mut rig = judged(|plan| {
        let threshold = plan.tasks[1].threshold.as_mut().unwrap();
        (threshold.metric, threshold.direction) = (Metric::Loss, Direction::Min);
        plan.tasks[2].metrics.push(Metric::Loss);
    });
    for (peer, value) in [("a", 0.7001), ("b", 0.7), ("c", 0.1)] {
        let metrics = vec![(Metric::Loss, value)];
        let report = Report { stamp: rig.stamp, task: name("tuned"), samples: 10, metrics };
        rig.on(Event::Reported { peer: name(peer), report });
        rig.update(peer, 1);
    }
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["b", "c"]);
}

#[test]
fn a_report_that_says_nothing_does_not_pass() {
    let mut rig = judged(|_| {});
    let report = |rig: &Rig, samples: u64, metrics: Vec<(Metric, f64)>| Report {
        stamp: rig.stamp,
        task: name("tuned"),
        samples,
        metrics,
    };
    let good = (Metric::Accuracy, 0.9);
    let no_rows = report(&rig, 0, vec![good]);
    rig.on(Event::Reported { peer: name("a"), report: no_rows });
    let other_metric = report(&rig, 10, vec![(Metric::Auc, 0.9), (Metric::Accuracy, f64::NAN)]);
    rig.on(Event::Reported { peer: name("b"), report: other_metric });
    let past_the_bound: Vec<_> = (0..limits::METRICS).map(|_| (Metric::Loss, 0.0)).chain([good]).collect();
    let past_the_bound = report(&rig, 10, past_the_bound);
    rig.on(Event::Reported { peer: name("c"), report: past_the_bound });
    rig.update("a", 1);
    rig.update("b", 1);
    assert_eq!(rig.update("c", 1)[2..5], ["absorb 1 x 1", "absorb 2 x 1", "absorb 3 x 1"]);
    rig.finalised(0);
    assert_eq!(contributors(&rig), ABC, "nobody passes, so all count");
}

#[test]
fn a_second_report_changes_nothing() {
    let mut rig = judged(|_| {});
    rig.report("a", "tuned", 10, 0.1);
    rig.report("a", "tuned", 10, 0.9);
    rig.update("a", 1);
    rig.report("b", "tuned", 10, 0.9);
    assert!(rig.update("b", 1).contains(&left_out("a")));
}

#[test]
fn a_failed_measurement_does_not_pass() {
    let mut rig = judged(|_| {});
    rig.update("a", 1);
    assert_eq!(rig.fail("a", "tuned"), NOTHING);
    rig.report("b", "tuned", 10, 0.9);
    rig.update("b", 1);
    rig.update("c", 1);
    let said = rig.fail("c", "tuned");
    assert_eq!(said[..2], ["discard 3".to_owned(), left_out("c")]);
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["b"]);
}

#[test]
fn what_is_held_at_the_deadline_counts_when_nobody_passed() {
    let mut rig = judged(|plan| plan.quorum.count_min = 2);
    rig.update("b", 1);
    rig.update("a", 2);
    let said = rig.at(60_000);
    assert_eq!(said[..2], ["absorb 2 x 2", "absorb 1 x 1"], "by name");
    assert_eq!(said.last().unwrap(), "finalise 0");
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["a", "b"]);
}

#[test]
fn what_is_held_at_the_deadline_is_left_out_when_somebody_passed() {
    let mut rig = judged(|_| {});
    rig.report("b", "tuned", 10, 0.9);
    rig.update("b", 1);
    rig.update("a", 1);
    let said = rig.at(60_000);
    assert_eq!(said[..2], ["discard 2".to_owned(), left_out("a")]);
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["b"]);
    assert_eq!(rig.closed[0].missing, names(&["c"]));
}

#[test]
fn a_repaired_site_may_pass_in_the_round_in_which_its_tasks_failed() {
    let mut rig = judged(|plan| plan.quorum.count_min = 2);
    rig.report("a", "tuned", 10, 0.9);
    rig.update("a", 1);
    rig.fail("b", "train");
    rig.fail("b", "tuned");
    let said = rig.at(60_000);
    assert!(said.last().unwrap().starts_with("assign b 0: "), "{said:?}");
    rig.report("b", "tuned", 10, 0.9);
    let said = rig.update("b", 1);
    assert_eq!(said[2..4], ["absorb 1 x 1", "absorb 2 x 1"]);
}

#[test]
fn a_good_metric_of_fewer_than_the_quorum_leaves_nobody_out() {
    let mut rig = judged(|plan| plan.quorum.count_min = 2);
    rig.report("a", "tuned", 10, 1.0);
    assert_eq!(rig.update("a", 1).last().unwrap(), "received a", "one claim alone decides nothing");
    rig.answer("b", 1);
    let said = rig.answer("c", 1);
    assert_eq!(said[2..5], ["absorb 1 x 1", "absorb 2 x 1", "absorb 3 x 1"]);
    assert_eq!(said.last().unwrap(), "finalise 0");
    rig.finalised(0);
    assert_eq!(contributors(&rig), ABC);
    assert_eq!(rig.facts[0].refused, []);
}

#[test]
fn a_round_with_one_good_and_one_poor_metric_counts_both_at_its_deadline() {
    let mut rig = judged(|plan| plan.quorum.count_min = 2);
    rig.answer("b", 1);
    rig.report("a", "tuned", 10, 0.9);
    rig.update("a", 1);
    assert_eq!(rig.at(60_000)[..2], ["absorb 2 x 1", "absorb 1 x 1"]);
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["a", "b"]);
}

#[test]
fn enough_counts_what_is_in_the_sum_and_turns_away_what_is_held() {
    let mut rig = judged(|plan| plan.quorum = quorum(1, Some(2), 0, 60_000));
    rig.report("a", "tuned", 10, 0.1);
    rig.update("a", 1);
    rig.update("b", 1);
    rig.report("c", "tuned", 10, 0.9);
    let said = rig.update("c", 1);
    assert!(said.contains(&"absorb 3 x 1".to_owned()), "{said:?}");
    assert!(!said.contains(&"finalise 0".to_owned()), "{said:?}");
    let said = rig.report("b", "tuned", 10, 0.8);
    assert_eq!(said.first().unwrap(), "absorb 2 x 1");
    assert_eq!(said.last().unwrap(), "finalise 0");
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["b", "c"]);

    let mut rig = judged(|plan| plan.quorum = quorum(1, Some(1), 0, 60_000));
    rig.update("a", 1);
    rig.report("b", "tuned", 10, 0.9);
    let said = rig.update("b", 1);
    assert_eq!(
        said[2..5],
        ["absorb 2 x 1", "discard 1", "refuse a: the update came too late: the round has closed"]
    );
    rig.finalised(0);
    assert_eq!(format!("{:?}", rig.closed[0].why), "Enough");
    assert_eq!(contributors(&rig), ["b"]);
}

#[test]
fn a_lost_link_leaves_an_update_held_for_the_next_one() {
    let mut rig = judged(|_| {});
    rig.update("a", 1);
    assert_eq!(rig.leave("a"), NOTHING);
    assert_eq!(rig.join("a"), ["assign a 0: tuned"]);
    assert_eq!(rig.report("a", "tuned", 10, 0.9), ["absorb 1 x 1"]);
    rig.report("b", "tuned", 10, 0.1);
    assert_eq!(rig.update("b", 1)[2..], ["discard 2".to_owned(), left_out("b")]);
    rig.leave("c");
    rig.finalised(0);
    assert_eq!(contributors(&rig), ["a"]);
}

#[test]
fn a_round_waits_for_nobody_that_is_gone_and_counts_what_it_left() {
    let mut rig = judged(|plan| plan.quorum.count_min = 3);
    for peer in ABC {
        rig.update(peer, 1);
    }
    rig.leave("a");
    rig.report("b", "tuned", 10, 0.1);
    let said = rig.report("c", "tuned", 10, 0.1);
    assert_eq!(said[..3], ["absorb 1 x 1", "absorb 2 x 1", "absorb 3 x 1"]);
    assert_eq!(said.last().unwrap(), "finalise 0", "with a's, three are in");
}

#[test]
fn the_report_of_the_updates_own_task_is_not_given_up_with_its_link() {
    let mut rig = opened(|plan| {
        threshold(plan, "train");
        plan.tasks[1].metrics.push(Metric::Accuracy);
    });
    let offer = rig.offer_of("a", 1);
    rig.report("a", "check", 10, 0.5);
    rig.report("a", "tuned", 10, 0.5);
    rig.offer("a", &offer);
    rig.leave("a");
    assert_eq!(rig.join("a"), ["assign a 0: train"]);
    // The earlier link had brought it in full.
    assert_eq!(rig.stage("a", &offer), ["received a"]);
    assert_eq!(rig.report("a", "train", 10, 0.9), ["absorb 1 x 1"], "done again");
    rig.leave("b");
    assert_eq!(rig.leave("c").last().unwrap(), "finalise 0");
}

#[test]
fn a_held_update_of_a_stranger_is_given_up() {
    let mut rig = judged(|_| {});
    rig.update("a", 1);
    let said = rig.roster(&["b", "c"]);
    assert_eq!(said, ["discard 1", "refuse a: the collaborator is no longer on the roster"]);
    assert_eq!(rig.report("a", "tuned", 10, 0.9), NOTHING);
    rig.roster(&ABC);
    let said = rig.join("a");
    assert_eq!(said, ["assign a 0: train tuned"], "back, it starts again");
    assert_eq!(rig.update("a", 1), ["grant a train", "received a"]);
}

#[test]
fn a_stop_gives_back_what_is_held() {
    let mut rig = judged(|_| {});
    rig.update("a", 1);
    rig.update("b", 1);
    rig.report("b", "tuned", 10, 0.9);
    let said = rig.stop();
    assert_eq!(said[3..], ["discard 1", "finished Stopped"]);
}

#[test]
fn nobody_waits_for_the_metric_of_a_collaborator_that_sends_no_update() {
    let mut rig = opened(|plan| {
        threshold(plan, "tuned");
        plan.groups =
            vec![group("look", Some(&["c"]), &["check"]), group("rest", None, &["check", "train", "tuned"])];
    });
    assert_eq!(rig.report("c", "check", 10, 0.5), NOTHING);
    rig.answer("a", 1);
    assert_eq!(rig.answer("b", 1).last().unwrap(), "finalise 0");
}

#[test]
fn the_next_round_begins_anew() {
    let mut rig = judged(|_| {});
    for (peer, value) in [("a", 0.9), ("b", 0.1), ("c", 0.1)] {
        rig.report(peer, "tuned", 10, value);
        rig.update(peer, 1);
    }
    rig.finalised(0);
    rig.durable(0);
    rig.report("b", "tuned", 10, 0.1);
    assert_eq!(rig.update("b", 1).len(), 2, "the threshold does not apply yet");
}
