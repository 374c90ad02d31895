//! The order to take a run back: what the owner checks before it is signed.

use fl_engine::{
    RoundNo,
    plan::{Plan, Release, ReleaseTo, Released, Server},
};

use super::*;
use crate::pki;

#[test]
fn owner_takes_a_run_back_without_members_that_the_roster_knows_while_enough_are_left() {
    let rig = Rig::new("resume");
    for of in ["one", "two", "three"] {
        rig.approve(Role::Collaborator, of);
    }
    let template = include_str!("../../templates/breast_cancer/plan.yaml");
    let plan = |more: &str| {
        let text = template.replace("federation: breast-cancer", "federation: w");
        Plan::parse(&format!("{text}{more}")).unwrap()
    };
    let (plain, keeping) = (plan(""), plan("keep: {every: 2}\n"));
    let order = |round, without: &[&str]| Withdrawal {
        round: RoundNo(round),
        without: without.iter().map(|of| name(of)).collect(),
        reason: "withdrawn".to_owned(),
    };
    let before = rig.owner().roster().serial();
    let refused = |plan: &Plan, order: &Withdrawal| {
        let failure = pki::resume(&mut rig.owner(), plan, order).unwrap_err();
        (failure.exit, format!("{} | {}", failure.error, failure.hint.unwrap()))
    };
    let (exit, said) = refused(&keeping, &order(10, &["three"]));
    assert_eq!(exit, Exit::Usage);
    assert!(
        said.starts_with("the plan has no round 10: its rounds are 0 to 9 | name the last round before"),
        "{said}"
    );
    let (exit, said) = refused(&keeping, &order(4, &["four"]));
    assert_eq!(exit, Exit::Trust);
    assert!(said.ends_with("| the roster has: one, two, three"), "{said}");
    assert_eq!(refused(&keeping, &order(4, &[])).0, Exit::Usage);
    let (exit, said) = refused(&keeping, &order(4, &["two", "three"]));
    assert_eq!(exit, Exit::Usage);
    assert!(
        said.starts_with("too few members would be left: 1 of them send updates, but a round needs 2"),
        "{said}"
    );
    let painted = Withdrawal { reason: "\u{202e}".to_owned(), ..order(4, &["three"]) };
    let (exit, said) = refused(&keeping, &painted);
    assert!(exit == Exit::Usage && said.contains("| give --reason a text"), "{said}");
    let other = plan("").edited(|plan| plan.federation = name("v")).unwrap();
    assert_eq!(refused(&other, &order(4, &["three"])).0, Exit::Plan);
    assert_eq!(rig.owner().roster().serial(), before, "a refused order signs nothing");

    let made = pki::resume(&mut rig.owner(), &keeping, &order(4, &["three"])).unwrap();
    assert_eq!((made.serial, &made.revoked[..], made.notes.len()), (before + 1, &[name("three")][..], 0));
    let owner = rig.owner();
    let held = owner.roster().resume().unwrap();
    assert_eq!((held.round.0, held.serial, held.names()), (4, before + 1, "three".to_owned()));
    assert!(owner.authority().has_signed(&held.signed_bytes(owner.federation()), &held.proof));
    assert_eq!(owner.roster().names().map(Name::as_str).collect::<Vec<_>>(), ["one", "two"]);

    // Another roster repeats the order; another order takes its place, also for a member that is revoked.
    let serial = sign(&mut rig.owner(), None, None).unwrap();
    assert_eq!(rig.owner().roster().resume().unwrap().serial, before + 1);
    for (plan, round, words) in [
        (&keeping, 3, "the plan keeps round 2, not round 3"),
        (&plain, 3, "the plan has no key `keep`"),
        (&plan("keep: {every: 3, most: 1}\n"), 3, "the plan deletes old kept rounds"),
    ] {
        let made = pki::resume(&mut rig.owner(), plan, &order(round, &["three"])).unwrap();
        assert!(made.serial > serial && made.revoked.is_empty());
        assert!(made.notes[0].contains(words), "{:?}", made.notes);
        assert!(made.notes[1].contains("takes the place of the order of roster"), "{:?}", made.notes);
    }

    // Released models are as good as kept ones, unless the server's step has a state.
    let released = |more: &str| {
        let released = plan(more).edited(|plan| {
            plan.release = Some(Release { what: Released::Each, to: ReleaseTo::Host });
        });
        released.unwrap()
    };
    let stateful = |plan: Plan| {
        let momentum = Server::FedAvgM { learning_rate: 1.0, momentum: 0.9 };
        let edited = plan.edited(|plan| {
            plan.tasks.iter_mut().filter(|t| t.kind.sends_update()).for_each(|t| t.server = Some(momentum));
        });
        edited.unwrap()
    };
    let notes = |plan: &Plan| {
        let mut notes = pki::resume(&mut rig.owner(), plan, &order(3, &["three"])).unwrap().notes;
        notes.retain(|note| !note.contains("takes the place of the order of roster"));
        notes.join("\n")
    };
    for more in ["", "keep: {every: 2}\n", "keep: {every: 3, most: 1}\n"] {
        assert_eq!(notes(&released(more)), "", "{more}");
        let said = notes(&stateful(released(more)));
        assert!(
            said.contains("refuses this roster. The models in save/released do not help"),
            "{more}: {said}"
        );
        assert!(!notes(&stateful(plan(more))).contains("save/released"), "{more}");
    }
    assert_eq!(notes(&stateful(released("keep: {every: 3}\n"))), "");
}
