//! Whom a round waits for: deadlines with too few updates, lost updates, silent members, a machine that stood
//! still.

use fl_engine::{
    Millis, limits,
    plan::{PlanDraft, Short},
    round::{LostCause, Refusal, Waiting},
};

use crate::rig::{ABC, NOTHING, Rig, names, only_train, opened, quorum};

/// One training task, an update of at least two collaborators.
fn two_of_three(plan: &mut PlanDraft) {
    only_train(plan);
    plan.quorum.count_min = 2;
}

fn train(rig: &mut Rig, peer: &str) -> Vec<String> {
    rig.report(peer, "train", 10, 0.5);
    rig.update(peer, 1)
}

/// A round to its end, of those that answer; the others are silent until the deadline.
fn round(rig: &mut Rig, number: u32, answering: &[&str]) -> Vec<String> {
    let mut said: Vec<String> = answering.iter().flat_map(|peer| train(rig, peer)).collect();
    if said.last().is_none_or(|last| !last.starts_with("finalise")) {
        let deadline = rig.deadline().0;
        said.extend(rig.at(deadline));
    }
    assert_eq!(said.last().unwrap(), &format!("finalise {number}"));
    rig.finalised(number);
    rig.durable(number);
    said
}

#[test]
fn a_deadline_with_too_few_updates_opens_the_round_again_and_keeps_what_it_has() {
    let mut rig = opened(two_of_three);
    train(&mut rig, "a");
    assert_eq!(rig.at(59_999), NOTHING);
    assert_eq!(rig.at(60_000), ["reopened 0: 1, 1 of 2"]);
    assert_eq!(rig.deadline(), Millis(120_000));
    assert_eq!(rig.at(120_000), ["reopened 0: 2, 1 of 2", "unawaited b: 2", "unawaited c: 2"]);
    let said = train(&mut rig, "b");
    assert_eq!(said[..3], ["grant b train", "received b", "absorb 2 x 1"]);
    assert_eq!(said[3..], ["awaited b", "cancel c 0", "finalise 0"], "not c's third deadline");
    rig.finalised(0);
    assert_eq!(rig.facts[0].contributions.len(), 2);
    assert_eq!((rig.closed[0].reopened, rig.closed[0].missing.clone()), (2, names(&["c"])));
}

#[test]
fn nobody_is_there_for_hours_and_the_round_is_still_open() {
    let mut rig = opened(two_of_three);
    ABC.iter().for_each(|peer| drop(rig.leave(peer)));
    let said = rig.at(3_600_000);
    assert_eq!(said.len(), 60);
    assert_eq!(said.last().unwrap(), "reopened 0: 60, 0 of 2");
    assert_eq!(rig.join("a"), ["assign a 0: train"]);
    assert_eq!(rig.join("b"), ["assign b 0: train"]);
    train(&mut rig, "a");
    assert_eq!(train(&mut rig, "b").last().unwrap(), "finalise 0");
}

#[test]
fn a_run_ends_at_once_when_every_site_has_failed_or_was_refused() {
    for short in [Short::Wait, Short::End] {
        let mut rig = opened(|plan| {
            two_of_three(plan);
            plan.quorum.short = short;
        });
        assert_eq!(rig.fail("a", "train"), NOTHING);
        let bad = rig.offer_of("b", 1);
        rig.offer("b", &bad);
        rig.report("b", "train", 10, 0.5);
        let range = Refusal::OutOfRange { tensor: "w".to_owned(), element: 3 };
        assert_eq!(rig.refuse("b", &bad, range.clone()).len(), 1);
        let said = rig.fail("c", "train");
        assert_eq!(said, ["closed 0: Everybody", "finished NoUpdate { round: RoundNo(0) }"]);
        let lost: Vec<_> = rig.closed[0].lost.iter().map(|lost| lost.cause.clone()).collect();
        let failed = || LostCause::Failed("no luck".to_owned());
        assert_eq!(lost, [failed(), LostCause::Refused(range), failed()]);
        assert_eq!(rig.closed[0].lost[0].to_string(), "a: its task train failed: no luck");
    }
}

#[test]
fn a_site_that_left_the_roster_keeps_no_run_open_whose_other_sites_have_failed() {
    let mut rig = opened(two_of_three);
    rig.fail("a", "train");
    rig.fail("b", "train");
    let said = rig.roster(&["a", "b"]);
    assert_eq!(said, ["closed 0: Everybody", "finished NoUpdate { round: RoundNo(0) }"]);
    assert_eq!(rig.closed[0].lost[2].cause, LostCause::Refused(Refusal::NotOnRoster));

    // A site that is listed again is asked again.
    let mut rig = opened(two_of_three);
    train(&mut rig, "a");
    assert_eq!(rig.roster(&["a", "b"]), NOTHING);
    rig.roster(&ABC);
    assert_eq!(rig.join("c"), ["assign c 0: train"]);
    assert_eq!(train(&mut rig, "c")[..3], ["grant c train", "received c", "absorb 2 x 1"]);
}

#[test]
fn a_deadline_is_missed_once_by_a_site_that_leaves_late_and_comes_back() {
    let mut rig = opened(two_of_three);
    train(&mut rig, "a");
    rig.at(40_000);
    rig.leave("b");
    rig.join("b");
    assert_eq!(rig.at(60_000), ["reopened 0: 1, 1 of 2"]);
    assert_eq!(rig.at(120_000), ["reopened 0: 2, 1 of 2", "unawaited b: 2", "unawaited c: 2"]);
}

#[test]
fn one_failing_site_ends_nothing_while_others_may_still_come() {
    let mut rig = Rig::new(&ABC, only_train);
    rig.join("a");
    rig.at(limits::OPENING_GRACE.0);
    assert_eq!(rig.fail("a", "train"), NOTHING, "b and c may come until the deadline");
    assert_eq!(rig.join("b"), ["assign b 0: train"]);
    assert_eq!(train(&mut rig, "b").last().unwrap(), "finalise 0");

    let mut rig = Rig::new(&ABC, only_train);
    rig.join("a");
    rig.at(limits::OPENING_GRACE.0);
    rig.fail("a", "train");
    let said = rig.at(limits::OPENING_GRACE.0 + 60_000);
    assert_eq!(said, ["closed 0: Deadline", "finished NoUpdate { round: RoundNo(0) }"]);
}

#[test]
fn some_updates_and_some_failures_wait_for_a_repaired_site() {
    let mut rig = opened(|plan| {
        two_of_three(plan);
        plan.quorum.count_min = 3;
    });
    train(&mut rig, "a");
    train(&mut rig, "b");
    assert_eq!(rig.fail("c", "train"), NOTHING);
    let Some(Waiting::Answers { have: 2, need: 3, awaited, lost, .. }) = rig.engine.waiting() else {
        panic!()
    };
    assert_eq!((awaited.len(), lost[0].collaborator.as_str()), (0, "c"));
    assert_eq!(rig.at(60_000), ["reopened 0: 1, 2 of 3", "assign c 0: train"], "asked again");
    rig.fail("c", "train");
    rig.leave("c");
    assert_eq!(rig.join("c"), ["assign c 0: train"], "its operator has started it again");
    assert_eq!(train(&mut rig, "c").last().unwrap(), "finalise 0");
}

#[test]
fn a_plan_that_ends_does_so_once_no_open_answer_can_change_it() {
    let mut rig = opened(|plan| {
        two_of_three(plan);
        (plan.quorum.count_min, plan.quorum.short) = (3, Short::End);
    });
    train(&mut rig, "a");
    train(&mut rig, "b");
    let end = "finished QuorumMissed { round: RoundNo(0), have: 2, need: 3 }";
    assert_eq!(rig.fail("c", "train"), ["closed 0: Everybody", end]);
    assert_eq!(rig.closed[0].lost.len(), 1);
}

#[test]
fn a_sample_asks_others_in_place_of_those_that_fail() {
    let mut rig = Rig::new(&ABC, |plan| {
        only_train(plan);
        plan.sample = Some(1);
    });
    let asked = |said: &[String]| {
        said.iter().find_map(|s| s.strip_prefix("assign ")?.strip_suffix(" 0: train")).map(str::to_owned)
    };
    let first = asked(&rig.join_all(&ABC)).unwrap();
    let second = asked(&rig.fail(&first, "train")).unwrap();
    assert_ne!(first, second);
    let third = asked(&rig.fail(&second, "train")).unwrap();
    assert_eq!(train(&mut rig, &third).last().unwrap(), "finalise 0");
}

#[test]
fn a_silent_member_costs_two_deadlines_and_then_now_and_again_one() {
    let mut rig = opened(|plan| {
        two_of_three(plan);
        plan.rounds = 200;
    });
    let mut waited = Vec::new();
    for number in 0..200 {
        let said = round(&mut rig, number, &["a", "b"]);
        if rig.closed.last().is_some_and(|closed| format!("{:?}", closed.why) == "Deadline") {
            waited.push(number);
        }
        assert_eq!(said.contains(&"unawaited c: 2".to_owned()), number == 1);
        assert!(said.contains(&format!("cancel c {number}")), "it was asked: {said:?}");
    }
    assert_eq!(waited, [0, 1, 18, 51, 116]);
}

#[test]
fn a_member_that_answers_is_waited_for_again() {
    let mut rig = opened(|plan| {
        two_of_three(plan);
        plan.rounds = 20;
    });
    round(&mut rig, 0, &["a", "b"]);
    round(&mut rig, 1, &["a", "b"]);
    assert_eq!(round(&mut rig, 2, &["a", "b"]).last().unwrap(), "finalise 2", "not waited for");
    let said = round(&mut rig, 3, &["c", "a", "b"]);
    assert!(said.contains(&"awaited c".to_owned()), "{said:?}");
    assert_eq!(rig.facts[3].contributions.len(), 3);
    round(&mut rig, 4, &["a", "b"]);
    assert_eq!(format!("{:?}", rig.closed[4].why), "Deadline", "waited for");
}

#[test]
fn one_missed_deadline_or_a_new_link_changes_nothing() {
    let mut rig = opened(|plan| {
        two_of_three(plan);
        plan.rounds = 20;
    });
    for number in 0..6 {
        let answering: &[&str] = if number % 2 == 0 { &["a", "b"] } else { &["a", "b", "c"] };
        assert!(!round(&mut rig, number, answering).iter().any(|said| said.starts_with("unawaited")));
    }
    round(&mut rig, 6, &["a", "b"]);
    round(&mut rig, 7, &["a", "b"]);
    rig.leave("c");
    assert_eq!(rig.join("c"), ["assign c 8: train"]);
    round(&mut rig, 8, &["a", "b"]);
    assert_eq!(format!("{:?}", rig.closed[8].why), "Everybody", "a new link is no answer");
}

#[test]
fn a_member_that_leaves_late_is_as_bad_as_a_silent_one() {
    let mut rig = opened(two_of_three);
    for number in 0..2 {
        train(&mut rig, "a");
        train(&mut rig, "b");
        let half = rig.now + 30_000;
        rig.at(half);
        let said = rig.leave("c");
        assert_eq!(said.contains(&"unawaited c: 2".to_owned()), number == 1, "{said:?}");
        rig.finalised(number);
        rig.durable(number);
        rig.join("c");
    }
}

#[test]
fn time_in_which_the_machine_stood_still_does_not_count() {
    let mut rig = opened(two_of_three);
    train(&mut rig, "a");
    rig.at(50_000);
    rig.now = 80_000;
    assert_eq!(rig.on(fl_engine::round::Event::Tick), ["stood still 30000"]);
    assert_eq!(rig.deadline(), Millis(90_000));
    rig.now = 82_900;
    assert_eq!(rig.on(fl_engine::round::Event::Tick), NOTHING, "a late call is no pause");
    assert_eq!(rig.deadline(), Millis(90_000));
    assert_eq!(train(&mut rig, "b").last().unwrap(), "absorb 2 x 1");
    assert_eq!(train(&mut rig, "c").last().unwrap(), "finalise 0");
}

#[test]
fn what_a_run_waits_for_is_known() {
    let mut rig = Rig::new(&ABC, two_of_three);
    rig.join("b");
    let Some(Waiting::Members { here: 1, need: 2, absent }) = rig.engine.waiting() else { panic!() };
    assert_eq!(absent, names(&["a", "c"]));
    rig.join("a");
    rig.at(limits::OPENING_GRACE.0);
    train(&mut rig, "b");
    let Some(Waiting::Answers { have: 1, need: 2, awaited, absent, .. }) = rig.engine.waiting() else {
        panic!()
    };
    assert_eq!((awaited, absent), (names(&["a"]), names(&["c"])));
    let mut rig = opened(|plan| plan.quorum = quorum(1, None, 0, 60_000));
    ABC.iter().for_each(|peer| drop(rig.answer(peer, 1)));
    assert_eq!(rig.engine.waiting(), None, "the sum is finished");
}
