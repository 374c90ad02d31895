//! Members whose tables have other columns than the others' do not count, and no single member decides that.

use fl_engine::round::{Event, ReportFault};

use crate::rig::{NOTHING, Rig, name, only_train, opened, quorum, root};

const DIFFER: &str = "the columns of the sites differ";

impl Rig {
    fn tells(&mut self, peer: &str, columns: &str) -> Vec<String> {
        self.on(Event::Columns { peer: name(peer), digest: root(columns) })
    }

    /// Whether an offer of this member is let in.
    fn may_come(&mut self, peer: &str) -> bool {
        let offer = self.offer_of(peer, 1);
        let said = self.offer(peer, &offer);
        assert!(said[0].starts_with("grant") || said[0].contains(DIFFER), "{said:?}");
        said[0].starts_with("grant")
    }
}

#[test]
fn member_with_other_columns_than_most_is_refused_by_name_and_the_others_go_on() {
    let mut rig = opened(only_train);
    for (peer, columns) in [("a", "x y"), ("b", "y x"), ("c", "x y")] {
        assert_eq!(rig.tells(peer, columns), NOTHING);
    }
    rig.report("b", "train", 10, 0.5);
    let offer = rig.offer_of("b", 1);
    let said = rig.offer("b", &offer);
    let (own, others) = (root("y x").short(), root("x y").short());
    assert_eq!(
        said,
        [format!(
            "refuse b: {DIFFER}: the names at this site have the digest {own}, those at the other sites {others}"
        )]
    );
    rig.report("a", "train", 10, 0.5);
    rig.update("a", 1);
    rig.report("c", "train", 10, 0.5);
    rig.update("c", 1);
    rig.finalised(0);
    let closed = &rig.closed[0];
    assert_eq!(closed.contributors.len(), 2);
    assert_eq!(closed.ignored, [(name("b"), name("train"), ReportFault::Columns)]);
    // The member was repaired: its new link tells other columns.
    rig.leave("b");
    rig.join("b");
    rig.tells("b", "x y");
    assert!(rig.may_come("b"));
}

#[test]
fn two_members_that_differ_end_the_run_with_both_causes() {
    let mut rig = Rig::new(&["a", "b"], |plan| {
        only_train(plan);
        plan.quorum = quorum(2, None, 0, 60_000);
    });
    rig.join_all(&["a", "b"]);
    rig.tells("a", "x y");
    rig.tells("b", "y x");
    rig.report("a", "train", 10, 0.5);
    rig.report("b", "train", 10, 0.5);
    assert!(!rig.may_come("a") && rig.closed.is_empty());
    let offer = rig.offer_of("b", 1);
    let said = rig.offer("b", &offer);
    assert!(said[0].contains("no digest is that of more than half of the sites"), "{said:?}");
    assert!(said.last().unwrap().starts_with("finished NoUpdate"), "{said:?}");
    assert_eq!(rig.closed[0].lost.len(), 2);
}

#[test]
fn refused_members_are_asked_again_when_a_further_voice_decides_for_them() {
    let mut rig = Rig::new(&["a", "b", "c"], |plan| {
        only_train(plan);
        plan.quorum = quorum(2, None, 0, 60_000);
    });
    rig.join_all(&["a", "b"]);
    rig.tells("a", "x y");
    rig.tells("b", "y x");
    rig.at(30_000);
    for peer in ["a", "b"] {
        rig.report(peer, "train", 10, 0.5);
        assert!(!rig.may_come(peer));
    }
    rig.join("c");
    assert_eq!(rig.tells("c", "x y"), ["assign a 0: train"]);
    assert!(rig.may_come("a") && rig.may_come("c") && !rig.may_come("b"));
}

#[test]
fn one_member_that_comes_later_stops_nobody_and_two_outvote_the_first() {
    let mut rig = opened(only_train);
    rig.tells("a", "x y");
    rig.report("a", "train", 10, 0.5);
    rig.update("a", 1);
    // The round holds an update of the other columns: nothing is mixed with that update.
    rig.tells("b", "y x");
    rig.report("b", "train", 10, 0.5);
    assert!(!rig.may_come("b"));
    rig.tells("c", "y x");
    rig.report("c", "train", 10, 0.5);
    assert!(!rig.may_come("c"));
    rig.finalised(0);
    assert_eq!(rig.closed[0].contributors.len(), 1);
    // In the next round, the columns of most members count.
    assert!(!rig.may_come("a") && rig.may_come("b") && rig.may_come("c"));
    // One of the two left the roster: the last columns stay in force.
    rig.roster(&["a", "b"]);
    assert!(!rig.may_come("a"));
}

#[test]
fn update_that_arrives_after_the_others_have_outvoted_its_columns_is_refused() {
    let mut rig = opened(only_train);
    rig.tells("a", "x y");
    let offer = rig.offer_of("a", 1);
    assert_eq!(rig.offer("a", &offer), ["grant a train"]);
    rig.tells("b", "y x");
    rig.tells("c", "y x");
    let said = rig.stage("a", &offer);
    assert!(said[0] == "discard 1" && said[1].contains(DIFFER), "{said:?}");
    assert!(rig.may_come("b"));
}

#[test]
fn members_without_a_digest_and_strangers_have_no_voice() {
    let mut rig = opened(only_train);
    rig.tells("stranger", "z");
    rig.tells("a", "x y");
    assert!(rig.may_come("a") && rig.may_come("b") && rig.may_come("c"));
}
