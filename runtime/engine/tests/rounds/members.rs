//! Members that come and go.

use crate::rig::{ABC, NOTHING, Rig, names, only_train, opened, quorum};

#[test]
fn a_member_that_joins_in_mid_round_is_asked() {
    let mut rig = Rig::new(&ABC, |_| {});
    rig.join_all(&["a", "b"]);
    rig.at(5_000);
    rig.now = 8_000;
    assert_eq!(rig.join("c"), ["assign c 0: check train tuned"]);
    rig.answer("a", 1);
    rig.answer("b", 1);
    assert_eq!(rig.answer("c", 1).last().unwrap(), "finalise 0", "and waited for");
}

#[test]
fn nobody_is_asked_once_there_are_enough_updates() {
    let mut rig = Rig::new(&ABC, |p| p.quorum = quorum(1, Some(1), 20_000, 60_000));
    rig.join_all(&["a", "b"]);
    rig.at(20_000);
    rig.answer("a", 1);
    assert_eq!(rig.join("c"), NOTHING);
}

#[test]
fn a_member_that_vanishes_is_not_waited_for() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    rig.answer("b", 1);
    assert_eq!(rig.leave("c"), ["best 0: 0.5", "finalise 0"]);
    rig.finalised(0);
    assert_eq!(rig.closed[0].missing, names(&["c"]));
}

#[test]
fn a_member_that_returns_is_asked_again_for_what_is_missing() {
    let mut rig = opened(|_| {});
    rig.report("c", "check", 10, 0.5);
    rig.leave("c");
    let stamp = rig.stamp;
    assert_eq!(rig.join("c"), ["assign c 0: train tuned"]);
    assert_eq!(rig.stamp, stamp);

    rig.update("c", 1);
    rig.leave("c");
    assert_eq!(rig.join("c"), ["assign c 0: tuned"], "the update stays counted");
    rig.report("c", "tuned", 10, 0.5);
    rig.leave("c");
    assert_eq!(rig.join("c"), NOTHING, "everything was answered");
    let offer = rig.offer_of("c", 1);
    let said = rig.offer("c", &offer);
    assert!(
        said[0].starts_with("refuse c: this collaborator already has an update in this round"),
        "{said:?}"
    );
    rig.answer("a", 1);
    assert_eq!(rig.answer("b", 1).last().unwrap(), "finalise 0");
}

#[test]
fn an_update_that_was_granted_on_a_broken_link_may_be_offered_again_and_counts_once() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("c", 4);
    rig.offer("c", &offer);
    rig.leave("c");
    rig.join("c");
    assert_eq!(
        rig.offer("c", &offer),
        ["grant c train"],
        "the old link's bytes are lost, or are being checked"
    );
    assert_eq!(rig.stage("c", &offer)[..2], ["received c", "absorb 1 x 4"]);
    let said = rig.stage("c", &offer);
    assert_eq!(said[0], "discard 2");
    assert!(said[1].starts_with("refuse c: this collaborator already has an update in this round"));
}

#[test]
fn an_update_that_an_old_link_delivered_spares_the_new_link_the_work() {
    let mut rig = opened(only_train);
    let offer = rig.offer_of("c", 4);
    rig.offer("c", &offer);
    rig.leave("c");
    assert_eq!(rig.join("c"), ["assign c 0: train"]);
    assert_eq!(rig.stage("c", &offer), ["received c", "absorb 1 x 4", "cancel c 0"]);
}

#[test]
fn an_update_that_arrived_before_its_link_broke_counts() {
    let mut rig = opened(only_train);
    let offer = rig.offer_of("c", 4);
    rig.offer("c", &offer);
    rig.leave("c");
    assert_eq!(rig.stage("c", &offer), ["received c", "absorb 1 x 4"]);
}

#[test]
fn a_new_link_without_the_old_ones_end_is_a_return() {
    let mut rig = opened(|_| {});
    assert_eq!(rig.join("a"), ["assign a 0: check train tuned"]);
    let offer = rig.offer_of("a", 4);
    rig.offer("a", &offer);
    rig.join("a");
    assert_eq!(rig.offer("a", &offer), ["grant a train"]);
}

#[test]
fn a_removed_member_is_gone_but_its_absorbed_update_stays() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    rig.answer("b", 1);
    let offer = rig.offer_of("c", 1);
    rig.offer("c", &offer);
    assert_eq!(rig.roster(&["a", "d"]), ["best 0: 0.5", "finalise 0"], "c is not waited for");
    let said = rig.stage("c", &offer);
    assert_eq!(said, ["discard 3", "refuse c: the collaborator is no longer on the roster"]);
    assert_eq!(rig.join("c"), NOTHING);
    assert_eq!(rig.join("b"), NOTHING);
    let said = rig.finalised(0);
    assert_eq!(said[0], "assign a 1: check train tuned");
    assert!(said[1].starts_with("closed 0"), "b and c are not asked: {said:?}");
    let by: Vec<&str> = rig.facts[0].contributions.iter().map(|c| c.collaborator.as_str()).collect();
    assert_eq!(by, ["a", "b"]);
    assert_eq!(rig.join("d"), ["assign d 1: check train tuned"], "the new member is asked");
}

#[test]
fn a_removed_members_update_under_way_is_refused_in_the_open_round() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("c", 1);
    rig.offer("c", &offer);
    rig.roster(&["a", "b"]);
    assert_eq!(
        rig.stage("c", &offer),
        ["discard 1", "refuse c: the collaborator is no longer on the roster"]
    );
    rig.roster(&ABC);
    let said = rig.stage("c", &offer);
    assert_eq!(said[0], "discard 2", "not granted to the member that it is now");
}
