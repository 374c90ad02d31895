//! When a round opens, and whom it asks.

use std::collections::BTreeSet;

use fl_engine::{Millis, limits};

use crate::rig::{ABC, NOTHING, Rig, group, opened};

#[test]
fn a_round_opens_once_everybody_on_the_roster_is_here() {
    let mut rig = Rig::new(&ABC, |_| {});
    assert_eq!(rig.join("a"), NOTHING);
    assert_eq!(rig.join("c"), NOTHING);
    let everybody =
        ["assign a 0: check train tuned", "assign b 0: check train tuned", "assign c 0: check train tuned"];
    assert_eq!(rig.join("b"), everybody);
    assert_eq!((rig.deadline(), rig.engine.wake()), (Millis(60_000), Some(limits::HEARTBEAT)));
}

#[test]
fn the_first_round_waits_for_the_rest_of_the_roster_but_not_for_ever() {
    let mut rig = Rig::new(&ABC, |p| p.quorum.count_min = 2);
    assert_eq!(rig.engine.wake(), None);
    rig.join("a");
    assert_eq!(rig.at(90_000), NOTHING, "too few: nothing to wait with");
    assert_eq!(rig.join("b"), NOTHING);
    assert_eq!(rig.engine.wake(), Some(Millis(90_000 + limits::OPENING_GRACE.0)));
    assert_eq!(rig.at(94_999), NOTHING);
    assert_eq!(rig.at(95_000), ["assign a 0: check train tuned", "assign b 0: check train tuned"]);
}

#[test]
fn a_longer_time_min_is_the_grace_of_the_first_round() {
    let mut rig = Rig::new(&ABC, |p| p.quorum.time_min = Millis(7_000));
    rig.join("a");
    assert_eq!(rig.engine.wake(), Some(Millis(7_000)));
}

#[test]
fn enough_members_that_leave_again_open_nothing() {
    let mut rig = Rig::new(&ABC, |p| p.quorum.count_min = 2);
    rig.join_all(&["a", "b"]);
    rig.leave("b");
    assert_eq!(rig.engine.wake(), None);
    assert_eq!(rig.at(20_000), NOTHING);
    assert_eq!(rig.join("b").len(), 2, "the grace counts from the first time");
}

#[test]
fn later_rounds_open_at_once_with_whoever_is_here() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    rig.answer("b", 1);
    assert_eq!(rig.leave("c"), ["best 0: 0.5", "finalise 0"]);
    let said = rig.finalised(0);
    assert_eq!(said[..2], ["assign a 1: check train tuned", "assign b 1: check train tuned"]);
}

#[test]
fn a_later_round_waits_for_a_quorum_of_members() {
    let mut rig = opened(|p| p.quorum.count_min = 2);
    rig.answer("a", 1);
    rig.answer("b", 1);
    rig.answer("c", 1);
    rig.leave("a");
    rig.leave("b");
    assert_eq!(rig.finalised(0), ["closed 0: Everybody", "store 0"]);
    assert_eq!(rig.engine.wake(), None);
    assert_eq!(rig.join("a"), ["assign a 1: check train tuned", "assign c 1: check train tuned"]);
}

#[test]
fn each_collaborator_gets_its_groups_tasks_in_the_plans_order() {
    let mut rig = Rig::new(&["a", "b", "c", "d"], |p| {
        p.groups = vec![
            group("judges", Some(&["b"]), &["check"]),
            group("second", Some(&["c"]), &["train", "check"]),
        ];
    });
    assert_eq!(rig.join_all(&["d", "a", "b"]), NOTHING, "no update can come yet");
    assert_eq!(rig.join("c"), ["assign b 0: check", "assign c 0: check train"], "a and d are asked nothing");

    let mut rig = Rig::new(&["a", "b"], |p| {
        p.groups = vec![group("all", None, &["check", "train"]), group("judges", Some(&["b"]), &["check"])];
    });
    rig.join("a");
    assert_eq!(
        rig.join("b"),
        ["assign a 0: check train", "assign b 0: check"],
        "the group that names it first"
    );
}

#[test]
fn a_stranger_to_the_roster_is_not_asked() {
    let mut rig = opened(|_| {});
    assert_eq!(rig.join("mallory"), NOTHING);
    let offer = rig.offer_of("mallory", 1);
    assert_eq!(rig.offer("mallory", &offer), ["refuse mallory: the collaborator is no longer on the roster"]);
}

#[test]
fn a_sample_is_drawn_of_those_who_are_here_and_the_same_every_time() {
    let members = ["a", "b", "c", "d", "e", "f"];
    let draw = |order: &[&str]| {
        let mut rig = Rig::new(&members, |p| p.sample = Some(2));
        rig.join_all(order)
    };
    let drawn = draw(&members);
    assert_eq!(drawn.len(), 2);
    assert_eq!(draw(&["f", "e", "d", "c", "b", "a"]), drawn);
}

#[test]
fn another_round_draws_others_in_the_end() {
    let mut rig = Rig::new(&["a", "b", "c", "d"], |p| {
        (p.sample, p.rounds) = (Some(1), 30);
    });
    let mut said = rig.join_all(&["a", "b", "c", "d"]);
    let mut seen = BTreeSet::new();
    for round in 0..30 {
        let peer = said[0].split(' ').nth(1).unwrap().to_owned();
        assert_eq!(rig.answer(&peer, 1).last().unwrap(), &format!("finalise {round}"));
        seen.insert(peer);
        said = rig.finalised(round);
        rig.durable(round);
    }
    assert_eq!(seen.len(), 4, "in thirty rounds everybody's turn comes");
}

#[test]
fn who_was_not_drawn_is_not_asked_when_it_joins_and_who_was_is_asked_again() {
    let mut rig = Rig::new(&ABC, |p| p.sample = Some(1));
    let drawn = rig.join_all(&ABC);
    assert_eq!(drawn.len(), 1);
    let peer = drawn[0].split(' ').nth(1).unwrap().to_owned();
    let other = ABC.into_iter().find(|p| *p != peer).unwrap();
    rig.leave(other);
    assert_eq!(rig.join(other), NOTHING);
    let offer = rig.offer_of(other, 1);
    let said = rig.offer(other, &offer);
    assert!(said[0].contains("not asked for"), "{said:?}");
    rig.leave(&peer);
    assert_eq!(rig.join(&peer), drawn);
}

#[test]
fn a_joiner_fills_a_sample_that_had_too_few_to_draw_from() {
    let mut rig = Rig::new(&["a", "b", "c", "d"], |p| p.sample = Some(3));
    rig.join_all(&["a", "b"]);
    assert_eq!(rig.at(5_000).len(), 2);
    assert_eq!(rig.join("c"), ["assign c 0: check train tuned"]);
    assert_eq!(rig.join("d"), NOTHING, "three are asked");
}

#[test]
fn whoever_only_measures_is_asked_beside_the_sample() {
    let mut rig = Rig::new(&["a", "b", "judge"], |p| {
        p.sample = Some(1);
        p.groups.insert(0, group("judges", Some(&["judge"]), &["check"]));
    });
    let said = rig.join_all(&["a", "b", "judge"]);
    assert_eq!(said.len(), 2);
    assert_eq!(said[1], "assign judge 0: check");
}
