//! The text, pinned.

use fl_engine::{
    Digest, Millis, Name, RoundNo, Weight,
    model::{Layer, ModelSpec},
    plan::{DataSpec, Loader, Metric, PlanDraft, Rule, Split, TaskKind},
    round::{AggregatedMetric, Refusal, ReportFault, Stamp},
};

use super::*;

fn plan() -> Plan {
    let data = DataSpec {
        loader: Loader::Custom { name: "none".to_owned() },
        standardise: None,
        split: Split { train: 0.8, validation: 0.2, test: 0.0 },
        classes: Some(2),
        federated: None,
    };
    let layers = vec![Layer::Linear { name: "fc".to_owned(), out: 2, bias: true }];
    let draft = PlanDraft::trial("trial", ModelSpec::chain(vec![1], layers), data).unwrap();
    draft.check().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn summary() -> RoundSummary {
    let metric = |task: &str, metric, value| AggregatedMetric {
        task: name(task),
        metric,
        value,
        samples: 284,
        collaborators: 3,
    };
    let weight = |n| Weight::new(n).unwrap();
    RoundSummary {
        stamp: Stamp { incarnation: 1, round: RoundNo(3), base: Digest([9; 32]) },
        closing: false,
        contributors: vec![
            (name("one"), weight(1000)),
            (name("two"), weight(38)),
            (name("three"), weight(400)),
        ],
        refused: Vec::new(),
        missing: Vec::new(),
        ignored: Vec::new(),
        lost: Vec::new(),
        reopened: 0,
        metrics: vec![
            metric("aggregated_model_validation", Metric::Accuracy, 0.9621),
            metric("aggregated_model_validation", Metric::Loss, 0.10449),
            metric("train", Metric::Loss, 0.08),
        ],
        why: WhyClosed::Everybody,
        opened: Millis(1000),
        first_staged: Some(Millis(2200)),
        closed: Millis(2300),
        finalised: Millis(2302),
    }
}

fn times() -> Timeline {
    let micros = |n| Some(Duration::from_micros(n));
    Timeline {
        receive: micros(8_000),
        absorb: micros(3_400),
        store: micros(12_000),
        broadcast: micros(410),
        turnaround: micros(2_100),
        whole: micros(1_215_000),
        ..Timeline::of(&summary())
    }
}

#[test]
fn a_round_is_a_line() {
    let (summary, plan) = (summary(), plan());
    let line = RoundLine { summary: &summary, times: times(), best: true, plan: &plan };
    assert_eq!(
        line.text(),
        "round 3  3 updates of 1 438 rows  accuracy 0.962 loss 0.104  wait 1.2 s receive 8 ms absorb 3 ms finalise 2 ms \
         store 12 ms broadcast 0.4 ms  turnaround 2 ms  best so far"
    );
    assert!(line.notes().is_empty());
}

#[test]
fn what_is_not_known_is_left_out() {
    let (mut summary, plan) = (summary(), plan());
    summary.contributors.truncate(1);
    summary.metrics.clear();
    let line = RoundLine { summary: &summary, times: Timeline::default(), best: false, plan: &plan };
    assert_eq!(line.text(), "round 3  1 update of 1 000 rows");
}

#[test]
fn refused_and_missing_collaborators_are_named_with_the_reason() {
    let (mut summary, plan) = (summary(), plan());
    let refused = Refusal::NotFinite { tensor: "fc1.weight".to_owned(), element: 7 };
    summary.refused =
        vec![(name("two"), refused), (name("four"), Refusal::Internal("disk\n\u{1b}[2J".to_owned()))];
    summary.missing = vec![name("three")];
    summary.why = WhyClosed::Deadline;
    let line = RoundLine { summary: &summary, times: Timeline::default(), best: false, plan: &plan };
    assert!(line.text().ends_with("  closed at its deadline"), "{}", line.text());
    assert_eq!(
        line.notes(),
        [
            "round 3  refused two: the update has a value that is not finite, in tensor \"fc1.weight\" at element 7",
            "round 3  refused four: the aggregator could not keep the update: disk\\u{a}\\u{1b}[2J",
            "round 3  missing three: no answer before the deadline",
        ]
    );
    let fault = ReportFault::Samples { given: u64::MAX, most: 1000 };
    summary.ignored = vec![
        (name("two"), name("check"), fault),
        (name("four"), name("train"), ReportFault::Value(Metric::Accuracy)),
    ];
    let line = RoundLine { summary: &summary, times: Timeline::default(), best: false, plan: &plan };
    assert_eq!(
        line.notes()[2..4],
        [
            "round 3  ignored the metrics of two for task check: it claims 18446744073709551615 rows; one collaborator may \
             claim 1000 (limits.rows, exact.weight_bits)",
            "round 3  ignored the metrics of four for task train: its accuracy is not a number from 0 to 1",
        ]
    );
    assert_eq!(line.json()["ignored"][1]["collaborator"], "four");
    let mut reasons = Vec::new();
    for why in [WhyClosed::Enough, WhyClosed::Everybody] {
        summary.why = why;
        let line = RoundLine { summary: &summary, times: Timeline::default(), best: false, plan: &plan };
        reasons.extend(line.notes().pop());
    }
    assert_eq!(
        reasons,
        [
            "round 3  missing three: enough others had answered first",
            "round 3  missing three: disconnected before it answered",
        ]
    );
}

#[test]
fn closing_round_tells_of_the_final_model() {
    let (mut summary, plan) = (summary(), plan());
    summary.closing = true;
    summary.contributors.clear();
    summary.first_staged = None;
    let line = RoundLine { summary: &summary, times: Timeline::of(&summary), best: true, plan: &plan };
    assert_eq!(line.text(), "final model  accuracy 0.962 loss 0.104  best so far");
    assert_eq!(line.json()["event"], "final");
}

#[test]
fn metrics_are_shown_to_whom_the_plan_says() {
    let summary = summary();
    for (to, shown) in [(MetricsTo::Host, true), (MetricsTo::Members, true), (MetricsTo::None, false)] {
        let plan = plan().edited(|plan| plan.metrics = to).unwrap();
        let line = RoundLine { summary: &summary, times: Timeline::default(), best: false, plan: &plan };
        assert_eq!(line.text().contains("accuracy"), shown, "{to:?}");
        assert_eq!(line.json().to_string().contains("0.9621"), shown, "{to:?}");
    }
}

#[test]
fn json_says_the_same() {
    let (mut summary, plan) = (summary(), plan());
    summary.refused = vec![(name("four"), Refusal::Late)];
    summary.missing = vec![name("five")];
    summary.metrics.truncate(1);
    let line = RoundLine { summary: &summary, times: times(), best: true, plan: &plan };
    assert_eq!(
        line.json(),
        json!({
            "event": "round", "round": 3, "base": "09".repeat(32), "updates": 3, "rows": 1438,
            "contributors": [
                {"collaborator": "one", "weight": 1000},
                {"collaborator": "two", "weight": 38},
                {"collaborator": "three", "weight": 400},
            ],
            "refused": [{"collaborator": "four", "reason": "the update came too late: the round has closed"}],
            "missing": ["five"],
            "failed": [],
            "ignored": [],
            "reopened": 0,
            "closed": "everybody",
            "millis": {
                "wait": 1200.0, "receive": 8.0, "absorb": 3.4, "finalise": 2.0, "store": 12.0, "broadcast": 0.41,
                "turnaround": 2.1, "whole": 1215.0,
            },
            "metrics": [
                {"task": "aggregated_model_validation", "metric": "accuracy", "value": 0.9621, "samples": 284,
                 "collaborators": 3},
            ],
            "best": true,
        })
    );
}

#[test]
fn durations_and_numbers_have_the_digits_that_people_read() {
    let micros = [
        0,
        410,
        949,
        950,
        7_600,
        999_499,
        999_500,
        9_949_999,
        9_950_000,
        59_499_999,
        59_500_000,
        200_000_000,
    ];
    let shown: Vec<String> = micros.iter().map(|n| duration(Duration::from_micros(*n))).collect();
    assert_eq!(
        shown,
        [
            "0.0 ms",
            "0.4 ms",
            "0.9 ms",
            "1 ms",
            "8 ms",
            "999 ms",
            "1.0 s",
            "9.9 s",
            "10 s",
            "59 s",
            "1 min",
            "3 min 20 s"
        ]
    );
    let shown = [0.0, 0.96249, -1.5, 0.0004, 123_456.0, f64::MAX].map(number);
    assert_eq!(shown, ["0.000", "0.962", "-1.500", "4.000e-4", "1.235e5", "1.798e308"]);
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
}

#[test]
fn a_collaborator_with_over_half_of_the_weight_is_told_where_weights_count() {
    let (mut summary, plan) = (summary(), plan());
    let heaviest = |summary: &RoundSummary, plan: &Plan| {
        let line = RoundLine { summary, times: Timeline::default(), best: false, plan };
        line.heaviest().map(|name| line.heavy(name))
    };
    let told = "round 3  one claims 1 000 of the round's 1 438 rows, over half: one has more influence on the model than all \
                other collaborators together. `limits.rows` in the plan bounds what one collaborator may claim";
    assert_eq!(heaviest(&summary, &plan).as_deref(), Some(told));
    summary.contributors[0].1 = Weight::new(438).unwrap();
    assert_eq!(heaviest(&summary, &plan), None, "exactly half");
    summary.contributors.truncate(1);
    assert_eq!(heaviest(&summary, &plan), None, "there is no other");
    summary = self::summary();
    let plan = plan.edited(|plan| {
        if let TaskKind::Train(spec) = &mut plan.tasks[1].kind {
            spec.rule = Rule::Median;
        }
    });
    let plan = plan.unwrap();
    assert_eq!(heaviest(&summary, &plan), None, "weights do not count");
}
