//! Tasks of a user's crate.

use fl_engine::plan::Rule;

use super::*;
use crate::{registry::Registry, task::CustomTask};

/// Adds one to every value, and remembers how often.
struct Increment(u32);

impl CustomTask for Increment {
    fn check(&mut self, plan: &Plan, _: Option<&SplitData>) -> Result<(), String> {
        if plan.seed == 13 { Err("the seed is unlucky".to_owned()) } else { Ok(()) }
    }

    fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError> {
        if (job.cancelled)() {
            return Err(TaskError::Cancelled);
        }
        self.0 += 1;
        let mut model = job.base.clone();
        model.f32.iter_mut().for_each(|v| *v += 1.0);
        let update = Some((model, Weight::new(5)?));
        let metrics = vec![(Metric::Rmse, 1.0), (Metric::Loss, f64::from(self.0))];
        Ok(TaskOutput { update, samples: 5, metrics })
    }
}

/// A plan of one custom task, and a registry that has it.
fn custom(rule: Option<Rule>) -> (Plan, Registry) {
    let plan = edited(|plan| {
        only_send(plan, TaskKind::Custom { name: "increment".to_owned(), rule });
        plan.tasks[0].metrics = vec![Metric::Loss];
    });
    (plan, Registry::new().with_task("increment", || Box::new(Increment(0))))
}

fn custom_runner(plan: &Plan, registry: &Registry) -> Result<Runner, TaskError> {
    let custom = registry.tasks(plan, &name("one"))?;
    Runner::new(Arc::new(plan.clone()), plan.layout()?, &name("one"), None, custom)
}

#[test]
fn registered_task_runs_remembers_and_sends_what_is_not_held_out() {
    let (plan, registry) = custom(Some(Rule::WeightedMean));
    let plan = plan.edited(|plan| plan.hold_out = vec!["fc2.bias".to_owned()]).unwrap();
    let base = plan.initial_state().unwrap();
    let mut runner = custom_runner(&plan, &registry).unwrap();
    let cancelled = runner.run(&name("send"), RoundNo(0), &base, &|| true);
    assert!(matches!(cancelled, Err(TaskError::Cancelled)));
    for round in 0..2 {
        let output = go(&mut runner, "send", round, &base).unwrap();
        assert_eq!((output.samples, output.metrics), (5, vec![(Metric::Loss, f64::from(round + 1))]));
        let (update, weight) = output.update.unwrap();
        assert_eq!((weight.value(), update.f32[0]), (5, base.f32[0] + 1.0));
        assert_eq!(update.f32.last(), base.f32.last());
        assert_eq!(runner.own(&base).f32.last(), Some(&(base.f32.last().unwrap() + (round + 1) as f32)));
    }
}

#[test]
fn custom_task_that_is_unknown_unwilling_or_breaks_the_plan_is_refused() {
    let (plan, registry) = custom(None);
    let base = plan.initial_state().unwrap();
    let refusal = go(&mut custom_runner(&plan, &registry).unwrap(), "send", 0, &base).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "task send: the task returned an update, but the plan gives this task no rule"
    );
    let unknown = custom_runner(&plan, &Registry::new()).err().unwrap();
    assert!(unknown.hint().unwrap().contains("with_task"));
    let plan = plan.edited(|plan| plan.seed = 13).unwrap();
    let unwilling = custom_runner(&plan, &registry).err().unwrap();
    assert_eq!(unwilling.to_string(), "task send: the seed is unlucky");
    let kind = TaskKind::Custom { name: "incremnt".to_owned(), rule: None };
    let plan = plan.edited(|plan| plan.tasks[0].kind = kind).unwrap();
    let unknown = custom_runner(&plan, &registry).err().unwrap();
    assert_eq!(
        unknown.to_string(),
        "task send needs the custom task \"incremnt\", which this program does not have"
    );
    assert_eq!(unknown.hint().unwrap(), "did you mean \"increment\", a custom task that this program has?");
}
