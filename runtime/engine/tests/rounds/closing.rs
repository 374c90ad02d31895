//! When a round closes, and what it says of itself.

use fl_engine::{
    Millis, RoundNo,
    plan::{Metric, Plan, Rows, Short, Split, Stop, TaskSpec, When},
    round::{Event, Refusal, Report, Start},
};

use crate::rig::{ABC, NOTHING, Rig, name, names, only_train, opened, plan, quorum, root, start};

#[test]
fn a_whole_run() {
    let mut rig = opened(|p| p.rounds = 1);
    rig.now = 100;
    for peer in ABC {
        rig.report(peer, "check", 10, 0.25);
        rig.report(peer, "train", 10, 0.25);
        rig.report(peer, "tuned", 10, 0.75);
    }
    assert_eq!(rig.update("b", 20), ["grant b train", "received b", "absorb 1 x 20"]);
    assert_eq!(rig.update("a", 10), ["grant a train", "received a", "absorb 2 x 10"]);
    rig.now = 200;
    let last = ["grant c train", "received c", "absorb 3 x 30", "best 0: 0.25", "finalise 0"];
    assert_eq!(rig.update("c", 30), last);
    rig.now = 250;
    let next =
        ["assign a 1: check", "assign b 1: check", "assign c 1: check", "closed 0: Everybody", "store 0"];
    assert_eq!(rig.finalised(0), next);

    let facts = &rig.facts[0];
    assert_eq!((facts.round, facts.incarnation, facts.plan), (RoundNo(0), 9, root("plan")));
    assert_eq!((facts.base, facts.root), (root("model 0"), root("model 1")));
    let contributors: Vec<_> =
        facts.contributions.iter().map(|c| (c.collaborator.as_str(), c.weight.value())).collect();
    assert_eq!(contributors, [("a", 10), ("b", 20), ("c", 30)]);
    assert_eq!(facts.contributions[1].root, root("b 0"));
    assert_eq!(
        facts.metrics.iter().map(|m| (m.task.as_str(), m.value)).collect::<Vec<_>>(),
        [("check", 0.25), ("train", 0.25), ("tuned", 0.75)]
    );
    let summary = &rig.closed[0];
    assert_eq!((summary.opened, summary.first_staged), (Millis(0), Some(Millis(100))));
    assert_eq!((summary.closed, summary.finalised), (Millis(200), Millis(250)));
    assert_eq!((summary.missing.len(), summary.refused.len()), (0, 0));

    assert_eq!(rig.stamp.round, RoundNo(1), "the plan's number of rounds");
    assert_eq!(rig.stamp.base, root("model 1"));
    assert_eq!(rig.durable(0), ["counted a 0", "counted b 0", "counted c 0"]);
    rig.report("a", "check", 10, 0.5);
    rig.report("b", "check", 10, 0.5);
    let end = ["best 1: 0.5", "closing 1: Everybody", "finished Completed"];
    assert_eq!(rig.report("c", "check", 10, 0.5), end);
    assert!(rig.engine.is_finished());
    assert!(rig.closed[1].closing && rig.closed[1].contributors.is_empty());
    assert_eq!(rig.facts.len(), 1, "the closing round has no facts");
}

#[test]
fn awaited_updates_are_those_before_it_can_close() {
    let mut rig = opened(|_| {});
    let mut awaited = vec![rig.engine.updates_awaited()];
    for peer in ABC {
        rig.update(peer, 1);
        awaited.push(rig.engine.updates_awaited());
    }
    assert_eq!(awaited, [3, 2, 1, 0]);

    let mut rig = opened(|p| p.quorum.count_max = Some(2));
    assert_eq!(rig.engine.updates_awaited(), 2, "two will do");
    rig.update("a", 1);
    assert_eq!(rig.engine.updates_awaited(), 1);
    assert_eq!(Rig::new(&ABC, |_| {}).engine.updates_awaited(), 0, "no round is open");
}

#[test]
fn a_round_waits_for_the_last_report_of_a_collaborator_whose_update_is_in() {
    let mut rig = Rig::new(&["a"], |_| {});
    rig.join("a");
    rig.update("a", 1);
    rig.report("a", "train", 10, 0.5);
    assert_eq!(rig.report("a", "check", 10, 0.5), NOTHING);
    assert_eq!(rig.report("a", "tuned", 10, 0.5), ["best 0: 0.5", "finalise 0"]);
}

#[test]
fn a_failed_task_is_an_answer() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    for task in ["check", "train", "tuned"] {
        assert_eq!(rig.fail("b", task), NOTHING);
    }
    rig.report("c", "check", 1, 0.5);
    rig.report("c", "train", 1, 0.5);
    rig.update("c", 5);
    assert_eq!(rig.fail("c", "tuned"), ["best 0: 0.5", "finalise 0"]);
    rig.finalised(0);
    assert_eq!(rig.facts[0].contributions.len(), 2);
    assert_eq!(rig.closed[0].missing, [], "b has answered");
}

#[test]
fn samples_that_a_contributor_left_out_are_in_the_facts() {
    let mut rig = opened(|p| p.rounds = 1);
    let told = |peer: &str, samples| Event::LeftOut {
        peer: name(peer),
        samples,
        names: vec![format!("{peer}.jpg")],
    };
    for event in [told("a", 3), told("b", 1), told("b", 2), told("stranger", 7)] {
        assert_eq!(rig.on(event), NOTHING);
    }
    for peer in ABC {
        rig.report(peer, "check", 10, 0.25);
        rig.report(peer, "train", 10, 0.25);
        rig.report(peer, "tuned", 10, 0.75);
    }
    for peer in ["b", "a", "c"] {
        rig.update(peer, 10);
    }
    rig.finalised(0);
    let left_out: Vec<_> = rig.facts[0]
        .left_out
        .iter()
        .map(|l| (l.collaborator.as_str(), l.samples, l.names.join(" ")))
        .collect();
    assert_eq!(left_out, [("a", 3, "a.jpg".to_owned()), ("b", 2, "b.jpg".to_owned())]);
}

#[test]
fn a_refused_update_is_an_answer_and_is_named_in_the_facts() {
    let mut rig = opened(|p| {
        only_train(p);
        p.rounds = 1;
    });
    for peer in ABC {
        rig.report(peer, "train", 10, 0.5);
    }
    let bad = rig.offer_of("b", 1);
    rig.offer("b", &bad);
    rig.update("a", 1);
    rig.update("c", 1);
    let said = rig.refuse("b", &bad, Refusal::Root);
    assert_eq!(said, ["refuse b: the hash of the update is not the hash that was offered", "finalise 0"]);
    rig.finalised(0);
    let refused = &rig.facts[0].refused;
    assert_eq!(
        (refused.len(), refused[0].collaborator.as_str(), refused[0].task.as_str()),
        (1, "b", "train")
    );
    assert!(refused[0].reason.contains("hash of the update"));
    assert_eq!(rig.closed[0].refused, [(name("b"), Refusal::Root)]);
}

#[test]
fn too_few_updates_wait_for_returns_and_joiners_although_everybody_has_answered() {
    let mut rig = Rig::new(&ABC, |p| {
        only_train(p);
        p.quorum.count_min = 2;
    });
    rig.join_all(&["a", "b"]);
    rig.at(5_000);
    rig.fail("a", "train");
    rig.report("b", "train", 1, 0.5);
    assert_eq!(rig.update("b", 1).len(), 3);
    assert_eq!(rig.join("c"), ["assign c 0: train"]);
    rig.report("c", "train", 1, 0.5);
    assert_eq!(rig.update("c", 1)[3..], ["finalise 0"]);
}

#[test]
fn count_max_closes_the_round_and_cancels_the_others() {
    let mut rig = opened(|p| p.quorum = quorum(1, Some(2), 0, 60_000));
    rig.answer("a", 1);
    let said = rig.update("b", 1);
    assert_eq!(said[3..], ["cancel b 0", "cancel c 0", "best 0: 0.5", "finalise 0"], "b owes reports");
    rig.finalised(0);
    assert_eq!(format!("{:?}", rig.closed[0].why), "Enough");
    assert_eq!(rig.closed[0].missing, names(&["c"]));
}

#[test]
fn enough_updates_wait_for_time_min() {
    let mut rig = opened(|p| p.quorum = quorum(1, Some(1), 10_000, 60_000));
    rig.answer("a", 1);
    assert_eq!(rig.update("b", 2).len(), 3, "one more than enough still counts");
    assert_eq!(rig.at(9_999), NOTHING);
    assert_eq!(rig.at(10_000), ["cancel b 0", "cancel c 0", "best 0: 0.5", "finalise 0"]);
    rig.finalised(0);
    assert_eq!(rig.facts[0].contributions.len(), 2);
}

#[test]
fn everybodys_answer_does_not_wait_for_time_min() {
    let mut rig = opened(|p| p.quorum = quorum(1, None, 10_000, 60_000));
    rig.answer("a", 1);
    rig.answer("b", 1);
    assert_eq!(rig.answer("c", 1).last().unwrap(), "finalise 0");
}

#[test]
fn the_deadline_closes_a_round_with_a_quorum_and_cancels_the_rest() {
    let mut rig = opened(|p| p.quorum.count_min = 2);
    rig.answer("a", 1);
    rig.answer("b", 1);
    assert_eq!(rig.at(59_999), NOTHING);
    assert_eq!(rig.at(60_000), ["cancel c 0", "best 0: 0.5", "finalise 0"]);
    let offer = rig.offer_of("c", 1);
    assert_eq!(rig.offer("c", &offer), ["refuse c: the update came too late: the round has closed"]);
    rig.finalised(0);
    assert_eq!(format!("{:?}", rig.closed[0].why), "Deadline");
    assert_eq!(rig.closed[0].missing, names(&["c"]));
    assert_eq!(rig.facts[0].refused.len(), 1, "named in its round's facts");
}

#[test]
fn a_deadline_that_nobody_ticked_counts_before_the_update_that_came_after_it() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    let offer = rig.offer_of("b", 1);
    rig.offer("b", &offer);
    assert_eq!(rig.at(59_500), NOTHING);
    rig.now = 60_400;
    let said = rig.stage("b", &offer);
    let late = [
        "cancel b 0",
        "cancel c 0",
        "best 0: 0.5",
        "discard 2",
        "refuse b: the update came too late: the round has closed",
        "finalise 0",
    ];
    assert_eq!(said, late);
}

#[test]
fn a_deadline_with_too_few_updates_ends_training_where_the_plan_says_so() {
    let mut rig = opened(|p| {
        p.quorum.count_min = 3;
        p.quorum.short = Short::End;
    });
    rig.answer("a", 1);
    let said = rig.at(60_000);
    let end = "finished QuorumMissed { round: RoundNo(0), have: 1, need: 3 }";
    assert_eq!(said, ["cancel b 0", "cancel c 0", "closed 0: Deadline", end]);
    assert_eq!(rig.facts.len(), 0);
    assert_eq!(rig.closed[0].missing, names(&["b", "c"]));
}

#[test]
fn a_missed_quorum_waits_for_what_was_stored_before() {
    let mut rig = opened(|p| {
        only_train(p);
        p.quorum.short = Short::End;
    });
    for peer in ABC {
        rig.report(peer, "train", 1, 0.5);
        rig.update(peer, 1);
    }
    rig.finalised(0);
    assert_eq!(rig.at(60_000), ["cancel a 1", "cancel b 1", "cancel c 1", "closed 1: Deadline"]);
    let said = rig.durable(0);
    assert_eq!(said[..3], ["counted a 0", "counted b 0", "counted c 0"]);
    assert!(said[3].starts_with("finished QuorumMissed"));
}

#[test]
fn a_report_counts_once_and_only_for_its_work() {
    let mut rig = opened(|p| p.rounds = 1);
    let report = |rig: &Rig, task: &str, value: f64| Report {
        stamp: rig.stamp,
        task: name(task),
        samples: 10,
        metrics: vec![(Metric::Accuracy, value)],
    };
    let mut stale = report(&rig, "check", 0.9);
    stale.stamp.base = root("other");
    rig.on(Event::Reported { peer: name("a"), report: stale });
    let unasked = report(&rig, "other", 0.9);
    rig.on(Event::Reported { peer: name("a"), report: unasked });
    let stranger = report(&rig, "check", 0.9);
    rig.on(Event::Reported { peer: name("mallory"), report: stranger });
    rig.report("a", "check", 10, 0.5);
    rig.report("a", "check", 10, 0.9);
    rig.answer("a", 1);
    rig.leave("b");
    rig.leave("c");
    rig.finalised(0);
    let check = &rig.facts[0].metrics[0];
    assert_eq!((check.task.as_str(), check.value, check.collaborators), ("check", 0.5, 1));
    assert_eq!(rig.facts[0].metrics.len(), 3);
}

#[test]
fn best_is_announced_when_a_base_improves_on_it() {
    let plan = plan().edited(|plan| plan.rounds = 4).unwrap();
    let mut rig = Rig::with(plan, Start { best: Some(0.5), ..start(&["a"]) });
    rig.join("a");
    let mut best = Vec::new();
    for (round, value) in [(0, 0.4), (1, 0.6), (2, 0.6), (3, 0.7)] {
        rig.report("a", "check", 10, value);
        let said = rig.answer("a", 1);
        best.extend(said.into_iter().filter(|s| s.starts_with("best")));
        rig.finalised(round);
        rig.durable(round);
    }
    assert_eq!(best, ["best 1: 0.6", "best 3: 0.7"]);
    assert_eq!(rig.report("a", "check", 10, 0.8)[0], "best 4: 0.8", "the final model may be the best");
}

#[test]
fn a_plan_that_only_measures_is_one_closing_round() {
    let measuring = |rounds: u32| {
        plan().edited(|plan| {
            plan.rounds = rounds;
            plan.tasks.retain(|task| task.name.as_str() == "check");
            plan.groups[0].tasks = names(&["check"]);
        })
    };
    let refused = measuring(3).unwrap_err();
    assert_eq!(refused.message, "all tasks are validations, and rounds is 3");
    let mut rig = Rig::with(measuring(1).unwrap(), start(&["a", "b"]));
    assert_eq!(rig.join("a"), ["assign a 0: check"]);
    assert_eq!(rig.report("a", "check", 10, 0.5), NOTHING, "b is still on its way");
    assert_eq!(rig.join("b"), ["assign b 0: check"]);
    let said = rig.report("b", "check", 30, 0.9);
    assert_eq!(said, ["best 0: 0.8", "closing 0: Everybody", "finished Completed"]);
}

#[test]
fn a_task_of_the_end_measures_the_final_model_alone() {
    let mut rig = Rig::with(
        plan()
            .edited(|plan| {
                plan.rounds = 1;
                plan.data.split = Split { train: 0.6, validation: 0.2, test: 0.2 };
                let last = TaskSpec {
                    name: name("last"),
                    rows: Rows::Test,
                    when: When::End,
                    ..plan.tasks[0].clone()
                };
                plan.tasks.push(last);
                plan.groups[0].tasks.push(name("last"));
            })
            .unwrap(),
        start(&["a"]),
    );
    assert_eq!(rig.join("a"), ["assign a 0: check train tuned"]);
    rig.answer("a", 1);
    assert_eq!(rig.finalised(0)[0], "assign a 1: check last");
    rig.durable(0);
    rig.report("a", "check", 10, 0.5);
    assert_eq!(rig.report("a", "last", 10, 0.75).last().unwrap(), "finished Completed");
    let measured = rig.closed.last().unwrap().metrics.iter().find(|m| m.task.as_str() == "last").unwrap();
    assert_eq!((measured.value, measured.collaborators), (0.75, 1));
}

#[test]
fn a_run_ends_early_with_its_closing_round_and_stays_over_after_a_restart() {
    let stopping = |patience: Option<u32>, target: Option<f64>| {
        let plan = plan().edited(|plan| {
            plan.rounds = 50;
            plan.stop = Some(Stop { patience, target });
        });
        plan.unwrap()
    };
    let run = |plan: &Plan, values: &[f64]| {
        let mut rig = Rig::with(plan.clone(), start(&["a"]));
        let mut said = rig.join("a");
        for (round, value) in (0..).zip(values) {
            rig.report("a", "check", 10, *value);
            said = rig.answer("a", 1);
            let early: Vec<String> = said.iter().filter(|s| s.starts_with("EndsEarly")).cloned().collect();
            said = rig.finalised(round);
            said.extend(early);
            rig.durable(round);
        }
        said.retain(|s| s.starts_with("assign") || s.starts_with("EndsEarly"));
        (rig, said)
    };
    // Two rounds without a better model.
    let patient = stopping(Some(2), None);
    let (_, said) = run(&patient, &[0.4, 0.6, 0.5]);
    assert_eq!(said, ["assign a 3: check train tuned"]);
    let (mut rig, said) = run(&patient, &[0.4, 0.6, 0.5, 0.6]);
    assert_eq!(said, ["assign a 4: check", "EndsEarly { round: RoundNo(3), why: Patience }"]);
    let ended = rig.report("a", "check", 10, 0.5);
    assert_eq!(ended.last().unwrap(), "finished Completed");
    let (_, said) = run(&stopping(None, Some(0.6)), &[0.4, 0.6]);
    assert_eq!(said, ["assign a 2: check", "EndsEarly { round: RoundNo(1), why: Target }"]);
    // Again from the disk: the closing round, and nothing else, is left.
    let begin = Start { round: RoundNo(4), best: Some(0.6), best_round: RoundNo(1), ..start(&["a"]) };
    let mut rig = Rig::with(patient.clone(), begin.clone());
    assert_eq!(rig.join("a"), ["assign a 4: check"]);
    let mut rig = Rig::with(patient.clone(), Start { measured: true, ..begin.clone() });
    assert_eq!(rig.join("a"), ["serve a"]);
    let mut rig = Rig::with(patient, Start { best_round: RoundNo(2), ..begin });
    assert_eq!(rig.join("a"), ["assign a 4: check train tuned"], "patience is not over");
}

#[test]
fn a_report_that_cannot_be_true_is_left_out_by_name_and_decides_nothing() {
    let report = |rig: &Rig, samples: u64, metric, value| {
        let metrics = vec![(Metric::Accuracy, 0.5), (metric, value)];
        Report { stamp: rig.stamp, task: name("check"), samples, metrics }
    };
    let (most, past_most) = ((1 << 20) - 1, 1 << 20);
    let wrong = [
        (u64::MAX, Metric::Auc, 1.0),
        (past_most, Metric::Auc, 1.0),
        (10, Metric::Accuracy, 99.0),
        (10, Metric::Auc, 1.0 + f64::EPSILON),
        (10, Metric::Accuracy, -1e300),
        (10, Metric::Loss, -1.0 - f64::EPSILON),
        (10, Metric::Dice, 2.5),
        (10, Metric::R2, 1.5),
        (10, Metric::Mae, -1e-300),
        (10, Metric::Loss, 1e39),
        (10, Metric::Rmse, f64::INFINITY),
        (10, Metric::Rmse, f64::NAN),
    ];
    for (samples, metric, value) in wrong {
        let mut rig = opened(|plan| plan.best.task = name("check"));
        let said = rig.on(Event::Reported { peer: name("c"), report: report(&rig, samples, metric, value) });
        assert_eq!(said, NOTHING);
        for peer in ["a", "b"] {
            rig.report(peer, "check", 10, 0.25);
        }
        for peer in ABC {
            rig.report(peer, "train", 10, 0.5);
            rig.report(peer, "tuned", 10, 0.5);
            rig.update(peer, 1);
        }
        rig.finalised(0);
        assert_eq!(rig.facts[0].contributions.len(), 3, "the update counts");
        let check = &rig.facts[0].metrics[0];
        assert_eq!((check.value, check.samples, check.collaborators), (0.25, 20, 2), "{metric:?} {value}");
        let [(who, task, _)] = &rig.closed[0].ignored[..] else { panic!("{metric:?} {value}") };
        assert_eq!((who.as_str(), task.as_str()), ("c", "check"));
    }
    for (metric, value) in [(Metric::Auc, 0.0), (Metric::Loss, 3e38), (Metric::Rmse, 0.0)] {
        let mut rig = opened(|_| {});
        rig.on(Event::Reported { peer: name("c"), report: report(&rig, most, metric, value) });
        rig.answer("a", 1);
        rig.at(60_000);
        rig.finalised(0);
        assert_eq!(rig.closed[0].ignored, [], "{metric:?} {value}");
    }

    // A best model that an earlier version kept for a metric that cannot be true.
    let mut rig = Rig::with(plan(), Start { best: Some(99.0), ..start(&["a"]) });
    rig.join("a");
    assert!(rig.answer("a", 1).contains(&"best 0: 0.5".to_owned()));
}

#[test]
fn a_weight_over_the_plans_rows_is_refused() {
    let mut rig = opened(|plan| plan.row_limit = Some(1000));
    let offer = rig.offer_of("a", 1001);
    let refused =
        "refuse a: the update's weight 1001 is outside the plan's range (limits.rows, exact.weight_bits)";
    assert_eq!(rig.offer("a", &offer), [refused]);
    assert_eq!(rig.offer("b", &rig.offer_of("b", 1000)), ["grant b train"]);
}
