//! Which updates count.

use fl_engine::{ByteCount, RoundNo, Weight, aggregate, limits, plan::ExactRange, round::Refusal};

use crate::rig::{ABC, NOTHING, Rig, group, name, only_train, opened, root};

#[test]
fn an_offer_for_other_work_is_stale() {
    let mut rig = opened(|_| {});
    let good = rig.offer_of("a", 1);
    let mut other_run = good.clone();
    other_run.stamp.incarnation += 1;
    let mut other_round = good.clone();
    other_round.stamp.round = RoundNo(7);
    let mut other_base = good.clone();
    other_base.stamp.base = root("model 9");
    for offer in [other_run, other_round, other_base] {
        assert_eq!(
            rig.offer("a", &offer),
            ["refuse a: the update is for another round: the open round is 0"]
        );
        assert_eq!(
            rig.stage("a", &offer)[1],
            "refuse a: the update is for another round: the open round is 0"
        );
    }
    assert_eq!(rig.offer("a", &good), ["grant a train"], "none of them took its place");
}

#[test]
fn an_offer_for_the_round_before_is_stale_and_an_upload_for_it_late() {
    let mut rig = opened(|_| {});
    let (asked, under_way) = (rig.offer_of("b", 1), rig.offer_of("c", 1));
    rig.offer("c", &under_way);
    rig.answer("a", 1);
    rig.at(60_000);
    rig.finalised(0);
    assert_eq!(rig.offer("b", &asked), ["refuse b: the update is for another round: the open round is 1"]);
    assert_eq!(
        rig.stage("c", &under_way),
        ["discard 2", "refuse c: the update came too late: the round has closed"]
    );
}

#[test]
fn an_offer_for_a_task_that_was_not_assigned_is_refused() {
    let mut rig = Rig::new(&["a", "judge"], |p| {
        p.groups.insert(0, group("judges", Some(&["judge"]), &["check"]));
    });
    rig.join_all(&["a", "judge"]);
    let mut offer = rig.offer_of("a", 1);
    assert!(rig.offer("judge", &offer)[0].contains("task train is not assigned"));
    offer.task = name("check");
    assert!(rig.offer("a", &offer)[0].contains("task check is not assigned"), "it sends no update");
    offer.task = name("other");
    assert!(rig.offer("a", &offer)[0].contains("task other is not assigned"));
}

#[test]
fn a_second_offer_is_a_duplicate_while_the_first_is_under_way_and_after_it_is_in() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("a", 1);
    rig.offer("a", &offer);
    assert!(
        rig.offer("a", &offer)[0]
            .starts_with("refuse a: this collaborator already has an update in this round")
    );
    rig.stage("a", &offer);
    assert!(
        rig.offer("a", &offer)[0]
            .starts_with("refuse a: this collaborator already has an update in this round")
    );
    assert_eq!(rig.stage("a", &offer)[0], "discard 2");
}

#[test]
fn an_update_that_was_never_granted_is_discarded() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("a", 1);
    let said = rig.stage("a", &offer);
    assert_eq!(said[0], "discard 1");
    assert!(said[1].starts_with("refuse a: the update was not asked for"));
    rig.offer("a", &offer);
    let mut other = offer.clone();
    other.weight = Weight::new(2).unwrap();
    assert_eq!(rig.stage("a", &other)[0], "discard 2", "not what was granted");
    assert_eq!(rig.stage("a", &offer)[1], "absorb 3 x 1");
}

#[test]
fn a_weight_past_the_plans_bound_is_refused_for_good() {
    let mut rig = opened(|_| {});
    let most = (1 << 20) - 1;
    let heavy = rig.offer_of("a", most + 1);
    assert_eq!(
        rig.offer("a", &heavy),
        [
            "refuse a: the update's weight 1048576 is outside the plan's range (limits.rows, exact.weight_bits)"
        ]
    );
    let light = rig.offer_of("a", 1);
    assert_eq!(
        rig.offer("a", &light),
        [
            "refuse a: the update's weight 1048576 is outside the plan's range (limits.rows, exact.weight_bits)"
        ]
    );
    let bound = rig.offer_of("b", most);
    assert_eq!(rig.offer("b", &bound), ["grant b train"]);
}

#[test]
fn another_length_than_the_layouts_is_refused() {
    let mut rig = opened(|_| {});
    for (peer, bytes) in [("a", 0), ("b", 3_999), ("c", u64::MAX)] {
        let mut offer = rig.offer_of(peer, 1);
        offer.bytes = ByteCount(bytes);
        let said = rig.offer(peer, &offer);
        assert!(said[0].contains("; an update of this plan has"), "{said:?}");
    }
}

#[test]
fn weights_that_the_sum_would_not_hold_are_refused_before_they_are_sent() {
    let most_each = (1u64 << 20) - 1;
    let members: Vec<String> = (0..2049).map(|i| format!("p{i:04}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&members, only_train);
    rig.join_all(&members);
    let fit = aggregate::most_total(ExactRange { value_bits: 16, weight_bits: 20 }) / most_each;
    assert_eq!(fit, 2048);
    for peer in &members[..2048] {
        let offer = rig.offer_of(peer, most_each);
        assert_eq!(rig.offer(peer, &offer), [format!("grant {peer} train")]);
    }
    let offer = rig.offer_of("p2048", most_each);
    let said = rig.offer("p2048", &offer);
    assert!(said[0].contains("add up to more than the exact sum can hold"), "{said:?}");
}

#[test]
fn a_grant_that_came_to_nothing_gives_its_share_of_the_weights_back() {
    let most_each = (1u64 << 20) - 1;
    let members: Vec<String> = (0..2049).map(|i| format!("p{i:04}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&members, only_train);
    rig.join_all(&members);
    for peer in &members[..2048] {
        let offer = rig.offer_of(peer, most_each);
        rig.offer(peer, &offer);
    }
    let failed = rig.offer_of("p0000", most_each);
    rig.refuse("p0000", &failed, Refusal::Root);
    let offer = rig.offer_of("p2048", most_each);
    assert_eq!(rig.offer("p2048", &offer), ["grant p2048 train"]);
}

#[test]
fn an_update_that_was_dropped_may_be_offered_again() {
    let mut rig = opened(only_train);
    let offer = rig.offer_of("a", 1);
    let dropped = Refusal::Dropped { got: ByteCount(5), expected: ByteCount(10) };
    for _ in 0..3 {
        assert_eq!(rig.offer("a", &offer), ["grant a train"]);
        assert_eq!(
            rig.refuse("a", &offer, dropped.clone()),
            ["refuse a: the collaborator stopped sending the update after 5 B of 10 B"]
        );
    }
    rig.report("a", "train", 1, 0.5);
    rig.update("a", 1);
    rig.leave("b");
    assert_eq!(rig.leave("c"), ["finalise 0"]);
    rig.finalised(0);
    assert_eq!(rig.facts[0].refused.len(), 3);
}

#[test]
fn an_update_that_failed_a_check_may_not_be_offered_again() {
    let mut rig = opened(|_| {});
    let offer = rig.offer_of("a", 1);
    rig.offer("a", &offer);
    let nan = Refusal::NotFinite { tensor: "fc1.weight".into(), element: 3 };
    rig.refuse("a", &offer, nan);
    assert!(rig.offer("a", &offer)[0].contains("not finite"));
}

#[test]
fn an_upload_that_closing_cut_off_is_nobodys_fault() {
    let mut rig = opened(|_| {});
    rig.answer("a", 1);
    let offer = rig.offer_of("b", 1);
    rig.offer("b", &offer);
    rig.at(60_000);
    let dropped = Refusal::Dropped { got: ByteCount(5), expected: ByteCount(10) };
    assert_eq!(rig.refuse("b", &offer, dropped), NOTHING);
    rig.finalised(0);
    assert_eq!(rig.facts[0].refused, []);
}

#[test]
fn a_thousand_bad_offers_are_answered_and_not_remembered() {
    let mut rig = opened(only_train);
    let mut stale = rig.offer_of("a", 1);
    stale.stamp.incarnation = 0;
    for _ in 0..1000 {
        assert_eq!(rig.offer("a", &stale).len(), 1);
    }
    let mut other = rig.offer_of("b", 1);
    other.task = name("other");
    rig.offer("b", &other);
    for peer in ABC {
        rig.report(peer, "train", 1, 0.5);
        rig.update(peer, 1);
    }
    rig.finalised(0);
    let refused = &rig.facts[0].refused;
    assert_eq!(refused.len(), limits::REFUSALS_NOTED as usize + 1);
    assert_eq!(refused.last().unwrap().collaborator, name("b"), "in order of arrival");
    assert_eq!(rig.closed[0].refused.len(), refused.len());
}
