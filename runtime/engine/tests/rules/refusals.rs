//! Answers that there are not.

use std::sync::Arc;

use fl_engine::{
    Weight,
    aggregate::{
        Block, Chosen, ColumnRule, Method, Products, RuleError, ScoreRule, ServerStep, Then, combine,
    },
    plan::{Rule, Server},
    tensor::{Layout, TensorSpec},
};

use super::{EXACT, bytes, method_of};

fn refusal(method: &Method, updates: usize) -> String {
    let update = [1.0f32, 2.0];
    combine(method, &vec![update.as_slice(); updates], &vec![1; updates], &[0.0; 2]).unwrap_err().to_string()
}

#[test]
fn rules_against_hostile_updates_say_how_many_they_need() {
    let refusal = |rule: Rule, updates| refusal(&method_of(&rule), updates);
    let krum = refusal(Rule::Krum { byzantine: 1 }, 4);
    assert_eq!(krum, "the rule krum with 1 byzantine needs 5 updates or more, and this round has 4");
    let multi = refusal(Rule::MultiKrum { byzantine: 2, keep: Some(1) }, 6);
    assert_eq!(multi, "the rule multi_krum with 2 byzantine needs 7 updates or more, and this round has 6");
    let bulyan = refusal(Rule::Bulyan { byzantine: 1 }, 6);
    assert_eq!(bulyan, "the rule bulyan with 1 byzantine needs 7 updates or more, and this round has 6");
}

#[test]
fn a_round_without_an_update_has_no_answer() {
    let choice = "the aggregation rule chose no update";
    assert_eq!(refusal(&method_of(&Rule::Median), 0), choice);
    assert_eq!(refusal(&method_of(&Rule::Mean), 0), choice);
}

/// Answers one value everywhere.
#[derive(Debug)]
struct Always(f32);

impl ColumnRule for Always {
    fn combine(&self, _: &mut Block<'_>, out: &mut [f32]) {
        out.fill(self.0);
    }
}

#[test]
fn answers_that_are_not_finite_or_out_of_range_are_named() {
    let always = |value: f32| refusal(&Method::Columns(Arc::new(Always(value))), 3);
    let (nan, infinite) = (always(f32::NAN), always(f32::NEG_INFINITY));
    assert_eq!(nan, "the result of the aggregation rule is not finite, in tensor \"x\" at element 0");
    assert_eq!(infinite, nan);
    assert_eq!(
        always(65536.0),
        "the result of the aggregation rule is outside the plan's range (exact.value_bits), in tensor \"x\" at element 0"
    );
}

/// Chooses with these weights.
#[derive(Debug)]
struct Fixed(Vec<u32>);

impl ScoreRule for Fixed {
    fn choose(&self, _: &Products, _: &[Weight]) -> Result<Chosen, RuleError> {
        Ok(Chosen { weights: self.0.clone(), then: Then::Mean })
    }
}

#[test]
fn choices_that_cannot_be_summed_are_refused() {
    let fixed = |weights: &[u32]| refusal(&Method::Scored(Arc::new(Fixed(weights.to_vec()))), 2);
    assert_eq!(fixed(&[0, 0]), "the aggregation rule chose no update");
    assert_eq!(fixed(&[1, 1, 1]), "the aggregation rule chose 3 weights for 2 updates");
    let large =
        "the aggregation rule chose weights up to 536870912 that sum to 536870913, with 2^29 as bound";
    assert_eq!(fixed(&[1 << 29, 1]), large);
}

#[test]
fn a_step_out_of_the_plans_range_is_named() {
    let layout = Layout::new(vec![TensorSpec::f32("a", [2]), TensorSpec::f32("b", [3])]).unwrap();
    let server = Server::FedAvgM { learning_rate: 1e6, momentum: 0.9 };
    let step = ServerStep::new(server, layout, EXACT).unwrap();
    let mut answer = bytes(&[0.0, 0.0, 0.0, 1.0, 0.0]);
    let refusal = step.run(0, &[0; 20], &mut answer, [&[0; 20], &[]], [&mut [0; 20], &mut []]).unwrap_err();
    assert_eq!(refusal, RuleError::OutOfRange { tensor: "b".to_owned(), element: 1 });
}
