//! One member's tasks, round after round.
//!
//! A task that fails or is cancelled leaves the runner as it was, apart from the model that the member tuned
//! in this round.
//!
//! Tensors that the plan holds out of aggregation (`Combine::Keep`) stay with the site: the member's own
//! values go into every later round's tasks, as in FedBN (Li et al., arXiv:2102.07623), and the update
//! carries the base's values in their place. The same holds for the optimiser's state of such tensors where
//! the plan has that state travel with the model (`optimiser_state: continue_global`,
//! [`fl_engine::plan::Plan::layout`]).

use std::{borrow::Cow, sync::Arc};

use fl_engine::{
    Name, RoundNo, Weight,
    plan::{Metric, ModelUnderTest, Plan, Rows, TaskKind, TaskSpec, TrainSpec},
    tensor::{Combine, Dtype, Layout, ModelState},
};

use super::{
    custom::{CustomJob, CustomTasks},
    error::TaskError,
    output::{TaskOutput, finite},
    progress::Progress,
    seed::Seed,
    synthetic,
    team::{Team, alone},
    trainer::{Fit, Trainer},
};
use crate::data::{Dataset, SplitData};

/// Runs one collaborator's tasks, round after round.
pub struct Runner {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    member: Name,
    data: Option<SplitData>,
    /// `None` if the member neither trains nor validates.
    trainer: Option<Trainer>,
    custom: CustomTasks,
    tuned: Option<Tuned>,
}

/// How the caller follows a task.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked before every batch; the task ends soon after it returned true.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Called after every epoch of a training that has several.
    pub progress: &'a dyn Fn(&Progress),
    /// The threads that train and measure the model.
    pub team: Team<'a>,
}

/// The member's own model.
struct Tuned {
    /// The round whose training made it; `None` once another training has begun.
    round: Option<RoundNo>,
    model: ModelState,
}

impl Runner {
    /// Whether `member`'s tasks may read rows: always, unless all of them are synthetic.
    #[must_use]
    pub fn needs_data(plan: &Plan, member: &Name) -> bool {
        tasks_of(plan, member).any(|task| !matches!(task.kind, TaskKind::Synthetic { .. }))
    }

    /// Checks that every task of `member`'s group can run here, on this data and in this program.
    ///
    /// `data` is `None` for a member whose tasks are all synthetic, or custom ones that need no data.
    /// `custom` holds the member's custom tasks ([`crate::registry::Registry::tasks`]).
    ///
    /// # Errors
    /// [`TaskError`] names the first task that cannot run.
    pub fn new(
        plan: Arc<Plan>,
        layout: Arc<Layout>,
        member: &Name,
        data: Option<SplitData>,
        mut custom: CustomTasks,
    ) -> Result<Self, TaskError> {
        if data.is_some() {
            crate::data::has_statistics(&plan.data)?;
        }
        let mut computes = false;
        for task in tasks_of(&plan, member) {
            let part = match &task.kind {
                TaskKind::Train(_) => Some("train"),
                TaskKind::Validate(_) => Some(task.rows.word()),
                TaskKind::Synthetic { .. } => None,
                TaskKind::Custom { name, .. } => {
                    let own = custom.get_mut(&task.name).ok_or_else(|| TaskError::Custom {
                        task: task.name.clone(),
                        name: name.clone(),
                        nearest: None,
                    })?;
                    own.check(&plan, data.as_ref())
                        .map_err(|what| TaskError::Failed { task: task.name.clone(), what })?;
                    None
                }
                other => return Err(TaskError::Foreign(format!("task {other:?}"))),
            };
            let Some(part) = part else { continue };
            computes = true;
            let data = data.as_ref().ok_or_else(|| TaskError::NoData(task.name.clone()))?;
            let rows = if part == "train" { &data.train } else { part_of(data, task.rows) };
            if rows.rows() == 0 {
                return Err(TaskError::NoRows { task: task.name.clone(), part });
            }
        }
        if computes && plan.layout()?.hash() != layout.hash() {
            return Err(TaskError::Layout);
        }
        let trainer = if computes { Some(Trainer::new(&plan, &layout)?) } else { None };
        Ok(Self { plan, layout, member: member.clone(), data, trainer, custom, tuned: None })
    }

    /// Why the member's model is computed by another backend than the plan's, in one line; `None` if it is
    /// the plan's.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.trainer.as_ref().and_then(Trainer::note)
    }

    /// Forgets what earlier rounds have left: the tuned model with the member's own values of tensors that
    /// are held out of aggregation, and optimiser state. For a run that goes back to an earlier round. Custom
    /// tasks keep their own state.
    pub fn forget(&mut self) {
        self.tuned = None;
        if let Some(trainer) = &mut self.trainer {
            trainer.forget();
        }
    }

    /// Runs one task on the calling (pool) thread.
    ///
    /// The runner keeps the tuned model for later tasks of the round, and optimiser state for later rounds
    /// where the plan says so. The task asks `cancelled` before every batch.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] after `cancelled` returned true; any other error says why there is no result.
    pub fn run(
        &mut self,
        task: &Name,
        round: RoundNo,
        base: &ModelState,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<TaskOutput, TaskError> {
        self.run_from(task, round, base.clone(), cancelled)
    }

    /// [`Self::run`] with a base that the caller gives away: the task may work on that base in place.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_from(
        &mut self,
        task: &Name,
        round: RoundNo,
        base: ModelState,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<TaskOutput, TaskError> {
        self.run_watched(task, round, base, Watch { cancelled, progress: &|_| {}, team: &alone })
    }

    /// [`Self::run_from`], which tells of every epoch of a training that has several.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_watched(
        &mut self,
        task: &Name,
        round: RoundNo,
        base: ModelState,
        watch: Watch<'_>,
    ) -> Result<TaskOutput, TaskError> {
        let cancelled = watch.cancelled;
        if base.layout().hash() != self.layout.hash() {
            return Err(TaskError::Layout);
        }
        let plan = Arc::clone(&self.plan);
        let spec = tasks_of(&plan, &self.member)
            .find(|t| t.name == *task)
            .ok_or_else(|| TaskError::Unknown(task.clone()))?;
        let seed = Seed::new(plan.seed).with(&self.member).with(task).round(round);
        match &spec.kind {
            TaskKind::Synthetic { weight, .. } => {
                let update = synthetic::perturbed(base, seed, cancelled)?;
                let weight = Weight::new(u64::from(*weight))?;
                Ok(TaskOutput {
                    update: Some((update, weight)),
                    samples: weight.value().into(),
                    metrics: vec![],
                })
            }
            TaskKind::Train(train) => self.train(spec, train, round, &base, seed, watch),
            TaskKind::Custom { .. } => self.custom(spec, round, &base, seed, cancelled),
            TaskKind::Validate(model) => self.validate(spec, *model, round, &base, watch),
            _ => Err(TaskError::Unknown(task.clone())),
        }
    }

    fn train(
        &mut self,
        task: &TaskSpec,
        spec: &TrainSpec,
        round: RoundNo,
        base: &ModelState,
        seed: Seed,
        watch: Watch<'_>,
    ) -> Result<TaskOutput, TaskError> {
        let start = self.begin(base, true);
        let none = || TaskError::NoData(task.name.clone());
        let data = &self.data.as_ref().ok_or_else(none)?.train;
        let trainer = self.trainer.as_mut().ok_or_else(none)?;
        let weight = Weight::new(data.rows() as u64)?;
        let (name, rounds, Watch { cancelled, progress, team }) = (&task.name, self.plan.rounds, watch);
        let fit =
            Fit { task: name, spec, data, start: &start, round, rounds, seed, cancelled, progress, team };
        let (model, scores) = trainer.fit(&fit)?;
        let update = with_kept(&model, base);
        self.tuned = Some(Tuned { round: Some(round), model });
        TaskOutput::new(task, &scores, data.rows(), Some((update, weight)))
    }

    fn validate(
        &self,
        task: &TaskSpec,
        which: ModelUnderTest,
        round: RoundNo,
        base: &ModelState,
        watch: Watch<'_>,
    ) -> Result<TaskOutput, TaskError> {
        let model = match which {
            ModelUnderTest::Aggregated => self.own(base),
            ModelUnderTest::LocallyTuned => {
                let tuned = self.tuned.as_ref().filter(|tuned| tuned.round == Some(round));
                let none = || TaskError::NotTrained { task: task.name.clone(), round };
                Cow::Borrowed(&tuned.ok_or_else(none)?.model)
            }
        };
        let none = || TaskError::NoData(task.name.clone());
        let data = part_of(self.data.as_ref().ok_or_else(none)?, task.rows);
        let trainer = self.trainer.as_ref().ok_or_else(none)?;
        let scores = trainer.score(&model, data, watch.cancelled, watch.team)?;
        TaskOutput::new(task, &scores, data.rows(), None)
    }

    fn custom(
        &mut self,
        task: &TaskSpec,
        round: RoundNo,
        base: &ModelState,
        seed: Seed,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<TaskOutput, TaskError> {
        let updates = task.kind.sends_update();
        let start = self.begin(base, updates);
        let own = self.custom.get_mut(&task.name).ok_or_else(|| TaskError::Unknown(task.name.clone()))?;
        let output = own.run(&CustomJob {
            plan: &self.plan,
            task,
            member: &self.member,
            round,
            base: &start,
            data: self.data.as_ref(),
            seed: seed.word("custom"),
            cancelled,
        })?;
        let failed = |what: &str| TaskError::Failed { task: task.name.clone(), what: what.to_owned() };
        let update = match output.update {
            Some(_) if !updates => {
                return Err(failed("the task returned an update, but the plan gives this task no rule"));
            }
            None if updates => {
                return Err(failed("the task returned no update, but the plan gives this task a rule"));
            }
            Some((model, _)) if model.layout().hash() != self.layout.hash() => return Err(TaskError::Layout),
            Some((model, weight)) => {
                if model.f32.iter().any(|v| !v.is_finite()) {
                    return Err(TaskError::NotFinite {
                        task: task.name.clone(),
                        what: "a value of the update".to_owned(),
                    });
                }
                let update = with_kept(&model, base);
                self.tuned = Some(Tuned { round: Some(round), model });
                Some((update, weight))
            }
            None => None,
        };
        let found =
            |metric: Metric| output.metrics.iter().find(|(m, _)| *m == metric).map(|(_, value)| *value);
        let metrics = finite(task, task.metrics.iter().filter_map(|m| Some((*m, found(*m)?))).collect())?;
        Ok(TaskOutput { update, samples: output.samples, metrics })
    }

    /// The model that a task starts from. A task that `trains` takes the tuned model away from later tasks,
    /// until the training has ended.
    fn begin<'a>(&mut self, base: &'a ModelState, trains: bool) -> Cow<'a, ModelState> {
        let start = self.own(base);
        if let Some(tuned) = self.tuned.as_mut().filter(|_| trains) {
            tuned.round = None;
        }
        start
    }

    /// `base` with the member's own values in the tensors that are held out of aggregation.
    fn own<'a>(&self, base: &'a ModelState) -> Cow<'a, ModelState> {
        match &self.tuned {
            Some(tuned) if holds_out(&self.layout) => Cow::Owned(with_kept(base, &tuned.model)),
            _ => Cow::Borrowed(base),
        }
    }
}

/// The tasks of the group that takes the member ([`Plan::group_of`]).
pub(crate) fn tasks_of<'a>(plan: &'a Plan, member: &Name) -> impl Iterator<Item = &'a TaskSpec> {
    let group = plan.group_of(member);
    plan.tasks.iter().filter(move |task| group.is_some_and(|g| g.tasks.contains(&task.name)))
}

/// The rows that a validation measures on.
fn part_of(data: &SplitData, rows: Rows) -> &Dataset {
    match rows {
        Rows::Validation => &data.validation,
        Rows::Test => &data.test,
    }
}

fn holds_out(layout: &Layout) -> bool {
    layout.tensors().iter().any(|t| t.combine == Combine::Keep)
}

/// `state` with the values of `from` in the tensors that are held out of aggregation.
fn with_kept(state: &ModelState, from: &ModelState) -> ModelState {
    let layout = state.layout();
    let mut state = state.clone();
    let kept = |dtype| {
        layout
            .segments(dtype)
            .filter(|s| layout.tensors()[s.tensor].combine == Combine::Keep)
            .map(|s| s.range)
    };
    kept(Dtype::F32).for_each(|range| state.f32[range.clone()].copy_from_slice(&from.f32[range]));
    kept(Dtype::I64).for_each(|range| state.i64[range.clone()].copy_from_slice(&from.i64[range]));
    state
}

/// The most rows that a training or a validation computes at a time, and the bytes that they take beside the
/// model: values, gradients and partial sums, in the buffers that are planned from the model's graph. `None`
/// where burn computes, and in a build without training.
#[must_use]
pub fn planned_memory(plan: &Plan) -> Option<(u64, u64)> {
    Trainer::planned_memory(plan)
}

#[cfg(test)]
mod tests;
