//! Sums, stores, acknowledgements, and the end.

use fl_engine::{
    Millis, RoundNo, limits,
    round::{Event, Start},
};

use crate::rig::{ABC, NOTHING, Rig, group, only_train, opened, plan, start};

#[test]
fn while_the_sum_is_finished_offers_are_late_and_members_come_and_go() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    rig.at(60_000);
    let offer = rig.offer_of("b", 1);
    assert_eq!(rig.offer("b", &offer), ["refuse b: the update came too late: the round has closed"]);
    assert_eq!(rig.leave("b"), NOTHING);
    assert_eq!(rig.join("b"), NOTHING);
    assert_eq!(rig.leave("c"), NOTHING);
    assert_eq!(rig.finalised(7), NOTHING, "not this round's");
    let next =
        ["assign a 1: check train tuned", "assign b 1: check train tuned", "closed 0: Deadline", "store 0"];
    assert_eq!(rig.finalised(0), next);
    assert_eq!(rig.finalised(0), NOTHING);
}

#[test]
fn counted_follows_durable_and_only_for_contributors_that_are_here() {
    let mut rig = opened(only_train);
    rig.report("a", "train", 1, 0.5);
    rig.update("a", 1);
    rig.report("b", "train", 1, 0.5);
    rig.update("b", 1);
    assert_eq!(rig.durable(0), NOTHING, "nothing was stored yet");
    rig.leave("c");
    rig.finalised(0);
    rig.join("c");
    rig.leave("a");
    assert_eq!(rig.durable(3), NOTHING);
    assert_eq!(rig.durable(0), ["counted b 0"]);
    assert_eq!(rig.durable(0), NOTHING, "once");
}

#[test]
fn a_slow_disk_holds_up_the_third_sum_and_nothing_before() {
    let mut rig = Rig::new(&["a"], |p| {
        only_train(p);
        p.rounds = 5;
    });
    rig.join("a");
    let round = |rig: &mut Rig| {
        rig.report("a", "train", 1, 0.5);
        rig.update("a", 1)
    };
    assert_eq!(round(&mut rig).last().unwrap(), "finalise 0");
    assert_eq!(rig.finalised(0), ["assign a 1: train", "closed 0: Everybody", "store 0"]);
    assert_eq!(round(&mut rig).last().unwrap(), "finalise 1");
    assert_eq!(rig.finalised(1), ["assign a 2: train", "closed 1: Everybody", "store 1"]);
    assert_eq!(round(&mut rig).last().unwrap(), "absorb 3 x 1", "two stores are under way");
    assert_eq!(rig.durable(0), ["counted a 0", "finalise 2"]);
    assert_eq!(rig.finalised(2)[0], "assign a 3: train");
    assert_eq!(rig.durable(1), ["counted a 1"]);
}

#[test]
fn the_closing_round_asks_everybody_here_even_with_nothing_to_measure() {
    let mut rig = Rig::new(&["a", "b", "idle"], |p| {
        p.rounds = 1;
        p.groups = vec![group("all", Some(&["a", "b"]), &["check", "train"])];
    });
    rig.join_all(&["idle", "a", "b"]);
    rig.leave("b");
    rig.report("a", "check", 1, 0.5);
    rig.report("a", "train", 1, 0.5);
    rig.update("a", 1);
    let said = rig.finalised(0);
    assert_eq!(said, ["assign a 1: check", "assign idle 1: ", "closed 0: Everybody", "store 0"]);
    assert_eq!(rig.join("b"), ["assign b 1: check"], "so is who joins");
    assert_eq!(rig.join("idle"), ["assign idle 1: "], "who may have missed the final model");
    let offer = rig.offer_of("a", 1);
    assert!(rig.offer("a", &offer)[0].contains("not asked for"));
    rig.durable(0);
    rig.report("b", "check", 1, 0.25);
    assert_eq!(rig.report("a", "check", 1, 0.25), ["closing 1: Everybody", "finished Completed"]);
}

#[test]
fn the_closing_round_has_a_deadline_of_its_own() {
    let mut rig = Rig::new(&["a"], |p| {
        p.rounds = 1;
        p.quorum.time_max = Millis(1_000_000);
    });
    rig.join("a");
    rig.answer("a", 1);
    rig.finalised(0);
    assert_eq!(rig.deadline(), limits::CLOSING_TIME);
    assert_eq!(rig.at(limits::CLOSING_TIME.0), ["cancel a 1", "closing 1: Deadline"]);
    assert_eq!(rig.durable(0), ["counted a 0", "finished Completed"]);
}

#[test]
fn a_closing_round_with_nothing_to_ask_ends_at_once() {
    let mut rig = Rig::new(&["a"], |p| {
        only_train(p);
        p.rounds = 1;
    });
    rig.join("a");
    rig.report("a", "train", 1, 0.5);
    rig.update("a", 1);
    assert_eq!(rig.finalised(0), ["assign a 1: ", "closed 0: Everybody", "store 0", "closing 1: Everybody"]);
    assert_eq!(rig.durable(0), ["counted a 0", "finished Completed"]);
}

#[test]
fn a_restart_after_the_last_round_only_closes_and_waits_for_the_members_to_come_back() {
    let begin = Start { round: RoundNo(3), ..start(&["a", "b"]) };
    let mut rig = Rig::with(plan(), begin.clone());
    assert_eq!(rig.engine.wake(), Some(Millis(0)), "at once");
    assert_eq!(rig.on(Event::Tick), NOTHING);
    assert_eq!(rig.join("a"), ["assign a 3: check"]);
    assert_eq!(rig.report("a", "check", 1, 0.5), NOTHING, "b is on its way");
    assert_eq!(rig.join("b"), ["assign b 3: check"]);
    let end = ["best 3: 0.5", "closing 3: Everybody", "finished Completed"];
    assert_eq!(rig.report("b", "check", 1, 0.5), end);

    let mut rig = Rig::with(plan(), begin);
    assert_eq!(rig.at(limits::SERVING.0 - 1), NOTHING);
    assert_eq!(rig.at(limits::SERVING.0), ["closing 3: Everybody", "finished Completed"], "nobody came");
}

#[test]
fn a_run_that_was_measured_measures_nothing_again_and_serves_members_at_once() {
    let begin = Start { round: RoundNo(3), measured: true, ..start(&["a", "b"]) };
    let mut rig = Rig::with(plan(), begin.clone());
    assert_eq!(rig.on(Event::Tick), NOTHING);
    rig.at(10_000);
    assert_eq!(rig.join("a"), ["serve a"]);
    assert_eq!(rig.at(40_000), NOTHING, "a takes its time");
    assert_eq!(rig.join("b"), ["serve b"]);
    rig.leave("b");
    rig.at(41_000);
    assert_eq!(rig.leave("a"), NOTHING);
    assert_eq!(rig.at(41_000 + limits::SERVING.0 - 1), NOTHING);
    assert_eq!(rig.at(41_000 + limits::SERVING.0), ["finished Completed"]);

    let mut rig = Rig::with(plan(), begin.clone());
    rig.on(Event::Tick);
    assert_eq!(rig.at(limits::SERVING.0), ["finished Completed"], "nobody needs the model");
    assert_eq!((rig.closed.len(), rig.facts.len()), (0, 0));
    let mut rig = Rig::with(plan(), begin);
    assert_eq!(rig.stop(), ["finished Stopped"]);
    let mut rig = Rig::with(plan(), Start { measured: true, ..start(&["a"]) });
    assert_eq!(rig.join("a"), ["assign a 0: check train tuned"], "rounds are left");
}

#[test]
fn one_site_alone_makes_no_model_the_best() {
    let plan = plan().edited(|plan| plan.quorum.count_min = 2).unwrap();
    let begin = Start { round: RoundNo(3), best: Some(0.5), ..start(&["a", "b"]) };
    let mut rig = Rig::with(plan, begin);
    rig.join("a");
    rig.report("a", "check", 1, 1.0);
    let said = rig.at(limits::SERVING.0);
    assert_eq!(said, ["closing 3: Everybody", "finished Completed"], "no `best 3`");
    assert_eq!(rig.closed[0].metrics[0].value, 1.0, "it is measured nevertheless");
}

#[test]
fn a_restart_goes_on_with_the_round_after_the_last_durable() {
    let begin = Start { round: RoundNo(2), incarnation: 10, ..start(&["a"]) };
    let mut rig = Rig::with(plan(), begin);
    let mut before = rig.offer_of("a", 1);
    before.stamp.incarnation = 9;
    assert_eq!(rig.join("a"), ["assign a 2: check train tuned"]);
    assert_eq!(
        rig.offer("a", &before),
        ["refuse a: the update is for another round: the open round is 2"],
        "from before the crash"
    );
}

#[test]
fn stop_before_anything_opened_is_the_end() {
    let mut rig = Rig::new(&ABC, |_| {});
    rig.join("a");
    assert_eq!(rig.stop(), ["finished Stopped"]);
}

#[test]
fn stop_abandons_the_open_round() {
    let mut rig = opened(only_train);
    for peer in ABC {
        rig.report(peer, "train", 1, 0.5);
        rig.update(peer, 1);
    }
    rig.finalised(0);
    rig.update("a", 1);
    let offer = rig.offer_of("b", 1);
    rig.offer("b", &offer);
    rig.leave("c");
    assert_eq!(rig.stop(), ["cancel a 1", "cancel b 1"], "no sum, no facts");
    assert_eq!(
        rig.stage("b", &offer),
        ["discard 5", "refuse b: the update came too late: the round has closed"]
    );
    assert_eq!(rig.stop(), NOTHING);
    assert_eq!(rig.join("c"), NOTHING);
    let said = rig.durable(0);
    assert_eq!(said, ["counted a 0", "counted b 0", "counted c 0", "finished Stopped"]);
}

#[test]
fn stop_while_the_sum_is_finished_waits_for_the_model() {
    let mut rig = Rig::new(&["a"], only_train);
    rig.join("a");
    rig.report("a", "train", 1, 0.5);
    rig.update("a", 1);
    assert_eq!(rig.stop(), NOTHING);
    assert_eq!(rig.finalised(0), ["closed 0: Everybody", "store 0"]);
    assert_eq!(rig.durable(0), ["counted a 0", "finished Stopped"]);
}

#[test]
fn after_the_end_nothing_is_answered_and_slots_are_freed() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("a", 1);
    rig.offer("a", &offer);
    rig.stop();
    assert!(rig.engine.is_finished());
    assert_eq!(rig.stage("a", &offer), ["discard 1"]);
    assert_eq!(rig.offer("a", &offer), NOTHING);
    assert_eq!(rig.join("b"), NOTHING);
    assert_eq!(rig.stop(), NOTHING);
    assert_eq!(rig.at(1 << 40), NOTHING);
    assert_eq!(rig.engine.wake(), None);
}

#[test]
#[expect(clippy::disallowed_types, reason = "what is measured is this test's own time")]
fn a_thousand_rounds_in_under_a_second() {
    let members: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&members, |p| p.rounds = 1000);
    rig.join_all(&members);
    let begun = std::time::Instant::now();
    for round in 0..1000 {
        for peer in &members {
            rig.answer(peer, 100);
            rig.now += 1;
        }
        rig.finalised(round);
        rig.durable(round);
    }
    assert_eq!((rig.engine.round(), rig.facts.len()), (RoundNo(1000), 1000));
    assert!(rig.facts.iter().all(|f| f.contributions.len() == 10 && f.metrics.len() == 3));
    assert!(begun.elapsed().as_secs_f64() < 1.0, "{:?}", begun.elapsed());
}
