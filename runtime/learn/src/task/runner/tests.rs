//! A member's rounds on a small problem, and the refusals.

use fl_engine::{
    plan::{PlanDraft, TaskGroup},
    tensor::TensorSpec,
};

use super::*;
use crate::{
    fixture::{name, only_send, plan, rows},
    task::{evaluate, majority_baseline},
};

mod custom;

fn data() -> SplitData {
    SplitData { train: rows(200, 1), validation: rows(50, 2), test: rows(0, 3) }
}

fn runner(plan: &Plan) -> Result<Runner, TaskError> {
    let layout = plan.layout()?;
    Runner::new(Arc::new(plan.clone()), layout, &name("one"), Some(data()), CustomTasks::new())
}

fn synthetic(weight: u32) -> Plan {
    edited(|plan| only_send(plan, TaskKind::Synthetic { weight, rule: None }))
}

fn edited(change: impl FnOnce(&mut PlanDraft)) -> Plan {
    plan().edited(change).unwrap()
}

fn go(runner: &mut Runner, task: &str, round: u32, base: &ModelState) -> Result<TaskOutput, TaskError> {
    runner.run(&name(task), RoundNo(round), base, &|| false)
}

#[test]
fn synthetic_update_is_small_derived_and_needs_no_data() {
    let plan = Arc::new(synthetic(12));
    let base = plan.initial_state().unwrap();
    let update = |member: &str, round: u32| {
        let mut runner = Runner::new(
            Arc::clone(&plan),
            Arc::clone(base.layout()),
            &name(member),
            None,
            CustomTasks::new(),
        )
        .unwrap();
        let output = go(&mut runner, "send", round, &base).unwrap();
        assert_eq!((output.samples, output.metrics.len()), (12, 0));
        let (update, weight) = output.update.unwrap();
        assert_eq!(weight.value(), 12);
        update
    };
    let one = update("one", 0);
    assert!(one.f32.iter().zip(&base.f32).all(|(a, b)| a != b && (a - b).abs() <= 1.0 / 128.0));
    assert_eq!(one, update("one", 0));
    assert_ne!(one, update("one", 1));
    assert_ne!(one, update("two", 0));
}

#[test]
fn synthetic_task_stops_when_cancelled_and_knows_its_layout() {
    let plan = synthetic(1);
    let base = plan.initial_state().unwrap();
    let mut runner = runner(&plan).unwrap();
    let cancelled = runner.run(&name("send"), RoundNo(0), &base, &|| true);
    assert!(matches!(cancelled, Err(TaskError::Cancelled)));
    let other = ModelState::zeros(Layout::new(vec![TensorSpec::f32("a", [1])]).unwrap());
    assert!(matches!(go(&mut runner, "send", 0, &other), Err(TaskError::Layout)));
    assert!(matches!(go(&mut runner, "train", 0, &base), Err(TaskError::Unknown(_))));
}

#[test]
fn majority_is_the_share_of_the_most_frequent_label() {
    let mut rows = rows(5, 1);
    rows.labels = ndarray::arr1(&[2.0, 0.0, 2.0, 1.0, 2.0]).into_dyn();
    assert_eq!(majority_baseline(&rows), 0.6);
    assert_eq!(majority_baseline(&rows.select(&[])), 0.0);
}

#[test]
fn members_of_a_named_group_run_its_tasks_alone() {
    let plan = edited(|plan| {
        plan.groups[0].collaborators = Some(vec![name("two")]);
        let tasks = vec![name(VALIDATE)];
        plan.groups.push(TaskGroup { name: name("rest"), collaborators: None, tasks });
    });
    let of = |member: &str| tasks_of(&plan, &name(member)).map(|t| t.name.to_string()).collect::<Vec<_>>();
    assert_eq!(of("one"), [VALIDATE]);
    assert_eq!(of("two"), [VALIDATE, "train", TUNED]);
    let plan = plan.edited(|plan| plan.groups.truncate(1)).unwrap();
    assert_eq!(tasks_of(&plan, &name("one")).count(), 0);
}

#[cfg(not(feature = "train"))]
#[test]
fn build_without_training_says_so() {
    assert!(matches!(runner(&plan()), Err(TaskError::NoTraining)));
    let base = plan().initial_state().unwrap();
    let error = evaluate(&plan(), &base, &rows(5, 1)).unwrap_err();
    assert_eq!(error.to_string(), "this program can neither train nor validate");
    assert!(error.hint().unwrap().contains("feature `train`"));
}

#[cfg(not(feature = "tables"))]
#[test]
fn build_without_loaders_says_so() {
    let error = crate::data::load(&plan().data, &[1], &[], std::path::Path::new(".")).unwrap_err();
    assert_eq!(error.to_string(), "this program cannot read data files");
    assert!(error.hint().unwrap().contains("feature `tables`"));
}

#[cfg(feature = "train")]
mod with_training {
    use fl_engine::{
        model::Layer,
        plan::{By, Loss, Optimiser, OptimiserState, Schedule, Split, TrainLength},
    };

    use super::*;

    mod masks;
    mod travelling;

    fn linear(name: &str, out: u32) -> Layer {
        Layer::Linear { name: name.to_owned(), out, bias: true }
    }

    fn edit_train(plan: &mut PlanDraft, edit: impl Fn(&mut TrainSpec)) {
        for task in &mut plan.tasks {
            if let TaskKind::Train(spec) = &mut task.kind {
                edit(spec);
            }
        }
    }

    /// Final model and validation loss after `rounds`, each of which starts from the update of the last.
    fn alone(plan: &Plan, rounds: u32) -> (ModelState, Vec<f64>) {
        let mut runner = runner(plan).unwrap();
        let mut base = plan.initial_state().unwrap();
        let mut losses = Vec::new();
        for round in 0..rounds {
            losses.push(metric(&go(&mut runner, VALIDATE, round, &base).unwrap(), Metric::Loss));
            base = go(&mut runner, "train", round, &base).unwrap().update.unwrap().0;
        }
        (base, losses)
    }

    fn metric(output: &TaskOutput, metric: Metric) -> f64 {
        output.metrics.iter().find(|(m, _)| *m == metric).unwrap().1
    }

    fn bits(state: &ModelState) -> Vec<u32> {
        state.f32.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn training_learns_and_reports_what_it_did() {
        let plan = plan();
        let (model, losses) = alone(&plan, 5);
        assert!(losses[4] < 0.5 * losses[0], "{losses:?}");
        let measured = evaluate(&plan, &model, &rows(500, 9)).unwrap();
        let named: Vec<Metric> = measured.iter().map(|(m, _)| *m).collect();
        assert_eq!(named, [Metric::Accuracy, Metric::Loss, Metric::Auc]);
        assert!(measured[0].1 > 0.93 && measured[2].1 > 0.97, "{measured:?}");

        let mut runner = runner(&plan).unwrap();
        let base = plan.initial_state().unwrap();
        let output = go(&mut runner, "train", 0, &base).unwrap();
        assert_eq!((output.samples, output.update.unwrap().1.value()), (200, 200));
        let before = go(&mut runner, VALIDATE, 0, &base).unwrap();
        let after = go(&mut runner, TUNED, 0, &base).unwrap();
        assert!(before.samples == 50 && before.update.is_none());
        assert!(metric(&after, Metric::Accuracy) > metric(&before, Metric::Accuracy));
    }

    #[test]
    fn same_task_gives_the_same_bits_and_another_round_others() {
        let plan = plan();
        let base = plan.initial_state().unwrap();
        let update = |round: u32| {
            let output = go(&mut runner(&plan).unwrap(), "train", round, &base).unwrap();
            bits(&output.update.unwrap().0)
        };
        assert_eq!(update(0), update(0));
        assert_ne!(update(0), update(1));
        let elsewhere = std::thread::spawn({
            let (plan, base) = (plan.clone(), base.clone());
            move || bits(&go(&mut runner(&plan).unwrap(), "train", 0, &base).unwrap().update.unwrap().0)
        });
        assert_eq!(elsewhere.join().unwrap(), update(0));
    }

    #[test]
    fn every_optimiser_reduces_the_loss() {
        let optimisers = [
            Optimiser::Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 1e-4 },
            Optimiser::Adam { learning_rate: 0.01 },
            Optimiser::AdamW { learning_rate: 0.01, weight_decay: 0.01 },
        ];
        for optimiser in optimisers {
            let plan = edited(|plan| edit_train(plan, |spec| spec.optimiser = optimiser));
            let (_, losses) = alone(&plan, 5);
            assert!(losses[4] < 0.7 * losses[0], "{optimiser:?}: {losses:?}");
        }
    }

    #[test]
    fn a_regression_and_a_binary_loss_are_trained_on() {
        for loss in [Loss::Mse, Loss::BinaryCrossEntropy] {
            let plan = edited(|plan| {
                *plan.model.layers.last_mut().unwrap() = linear("fc2", 1);
                edit_train(plan, |spec| {
                    spec.loss = loss.clone();
                    spec.optimiser = Optimiser::Adam { learning_rate: 0.02 };
                });
                for task in &mut plan.tasks {
                    task.metrics = vec![Metric::Loss];
                }
                (plan.best.metric, plan.best.direction) = (Metric::Loss, Metric::Loss.better());
                plan.data.classes = (loss == Loss::BinaryCrossEntropy).then_some(2);
            });
            let (_, losses) = alone(&plan, 6);
            assert!(losses[5] < 0.5 * losses[0], "{loss:?}: {losses:?}");
        }
    }

    #[test]
    fn a_validation_measures_on_the_rows_that_it_names() {
        let plan = edited(|plan| {
            plan.data.split = Split { train: 0.6, validation: 0.2, test: 0.2 };
            plan.tasks[0].rows = Rows::Test;
        });
        let layout = plan.layout().unwrap();
        let base = plan.initial_state().unwrap();
        let parts = SplitData { test: rows(30, 3), ..data() };
        let runner = |data| {
            Runner::new(
                Arc::new(plan.clone()),
                Arc::clone(&layout),
                &name("one"),
                Some(data),
                CustomTasks::new(),
            )
        };
        let found = go(&mut runner(parts.clone()).unwrap(), VALIDATE, 0, &base).unwrap();
        assert_eq!(found.samples, 30);
        let expected = evaluate(&plan, &base, &parts.test).unwrap();
        assert_eq!(
            metric(&found, Metric::Loss),
            expected.iter().find(|(m, _)| *m == Metric::Loss).unwrap().1
        );
        assert!(matches!(runner(data()), Err(TaskError::NoRows { part: "test", .. })));
    }

    #[test]
    fn every_epoch_of_several_is_told_with_its_rows_and_loss() {
        let told = |length: TrainLength| {
            let plan = edited(|plan| edit_train(plan, |spec| spec.length = length));
            let base = plan.initial_state().unwrap();
            let told = std::cell::RefCell::new(Vec::new());
            let progress = |epoch: &Progress| told.borrow_mut().push(*epoch);
            let watch = Watch { cancelled: &|| false, progress: &progress, team: &crate::task::alone };
            runner(&plan).unwrap().run_watched(&name("train"), RoundNo(0), base, watch).unwrap();
            told.into_inner()
        };
        let epochs = told(TrainLength::Epochs(3));
        assert_eq!(
            epochs.iter().map(|p| (p.epoch, p.epochs, p.rows)).collect::<Vec<_>>(),
            [(1, 3, 200), (2, 3, 200), (3, 3, 200)]
        );
        assert!(epochs[2].loss < epochs[0].loss, "{epochs:?}");
        assert_eq!(told(TrainLength::Epochs(1)), []);
        // Thirteen batches an epoch: the second epoch is cut short.
        assert_eq!(
            told(TrainLength::Steps(20)).iter().map(|p| (p.epoch, p.epochs)).collect::<Vec<_>>(),
            [(1, 2)]
        );
    }

    #[test]
    fn frozen_tensors_keep_their_bits_and_the_others_learn() {
        let plan = edited(|plan| {
            edit_train(plan, |spec| {
                spec.freeze = vec!["fc1.*".to_owned(), "norm.running*".to_owned()];
                spec.optimiser = Optimiser::AdamW { learning_rate: 0.05, weight_decay: 0.1 };
                spec.fedprox_mu = 0.1;
            });
        });
        let start = plan.initial_state().unwrap();
        let (model, losses) = alone(&plan, 4);
        let layout = start.layout();
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let range = layout.place(index);
            let kept = tensor.name.starts_with("fc1.") || tensor.name.contains("running");
            assert_eq!(model.f32[range.clone()] == start.f32[range], kept, "{}", tensor.name);
        }
        assert!(losses[3] < losses[0], "{losses:?}");
    }

    #[test]
    fn accumulated_batches_make_the_step_of_one_large_batch() {
        let update = |batch: u32, steps: u32, accumulate: u32, clip_norm: Option<f64>| {
            let plan = edited(|plan| {
                // The statistics of a batch normalisation are those of each batch.
                plan.model.layers = vec![linear("fc1", 8), Layer::Relu, linear("fc2", 2)];
                edit_train(plan, |spec| {
                    (spec.batch, spec.accumulate, spec.clip_norm) = (batch, accumulate, clip_norm);
                    spec.length = TrainLength::Steps(steps);
                    spec.optimiser = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 };
                });
            });
            let base = plan.initial_state().unwrap();
            go(&mut runner(&plan).unwrap(), "train", 0, &base).unwrap().update.unwrap().0
        };
        let near =
            |a: &ModelState, b: &ModelState| a.f32.iter().zip(&b.f32).all(|(a, b)| (a - b).abs() < 1e-6);
        let large = update(40, 5, 1, None);
        assert!(near(&large, &update(10, 20, 4, None)));
        assert!(!near(&large, &update(10, 20, 1, None)));
        // The last step has the batches that are left.
        assert!(!near(&update(10, 20, 4, None), &update(10, 18, 4, None)));
        assert!(near(&large, &update(40, 5, 1, Some(1e9))), "no gradient is that long");
        assert!(!near(&large, &update(40, 5, 1, Some(1e-3))));
    }

    #[test]
    fn a_schedule_changes_the_learning_rate_by_rounds_or_by_steps() {
        let update = |schedule: Option<Schedule>, rate: f64, round: u32| {
            let plan = edited(|plan| {
                plan.rounds = 10;
                edit_train(plan, |spec| {
                    spec.length = TrainLength::Steps(4);
                    spec.schedule = schedule;
                    spec.optimiser = Optimiser::Sgd { learning_rate: rate, momentum: 0.0, weight_decay: 0.0 };
                });
            });
            let base = plan.initial_state().unwrap();
            bits(&go(&mut runner(&plan).unwrap(), "train", round, &base).unwrap().update.unwrap().0)
        };
        let half = Schedule::Step { every: 3, factor: 0.5, warm_up: 0, by: By::Rounds };
        assert_eq!(update(Some(half), 0.1, 2), update(None, 0.1, 2));
        assert_eq!(update(Some(half), 0.1, 3), update(None, 0.05, 3));
        let by_steps = Schedule::Step { every: 3, factor: 0.5, warm_up: 0, by: By::Steps };
        assert_ne!(update(Some(by_steps), 0.1, 0), update(None, 0.1, 0));
        let later = Schedule::Step { every: 4, factor: 0.5, warm_up: 0, by: By::Steps };
        assert_eq!(update(Some(later), 0.1, 7), update(None, 0.1, 7), "each round begins it again");
    }

    #[test]
    fn steps_end_in_the_middle_of_an_epoch() {
        let plan = plan();
        let update = |plan: &Plan| {
            let base = plan.initial_state().unwrap();
            let asked = std::cell::Cell::new(0);
            let count = || {
                asked.set(asked.get() + 1);
                false
            };
            runner(plan).unwrap().run(&name("train"), RoundNo(0), &base, &count).unwrap();
            asked.get()
        };
        assert_eq!(update(&plan), 13);
        let plan = edited(|plan| edit_train(plan, |spec| spec.length = TrainLength::Steps(20)));
        assert_eq!(update(&plan), 20);
    }

    #[test]
    fn cancel_is_seen_at_the_next_batch_and_leaves_no_tuned_model() {
        let plan = plan();
        let base = plan.initial_state().unwrap();
        let mut runner = runner(&plan).unwrap();
        go(&mut runner, "train", 0, &base).unwrap();
        let left = std::cell::Cell::new(3);
        let cancelled = || left.replace(left.get() - 1) == 0;
        let stopped = runner.run(&name("train"), RoundNo(0), &base, &cancelled);
        assert!(matches!(stopped, Err(TaskError::Cancelled)));
        assert_eq!(left.get(), -1, "asked again after the yes");
        assert!(matches!(go(&mut runner, TUNED, 0, &base), Err(TaskError::NotTrained { .. })));
        let stopped = runner.run(&name(VALIDATE), RoundNo(0), &base, &|| true);
        assert!(matches!(stopped, Err(TaskError::Cancelled)));
    }

    #[test]
    fn tuned_model_belongs_to_its_round() {
        let plan = plan();
        let base = plan.initial_state().unwrap();
        let mut runner = runner(&plan).unwrap();
        assert!(matches!(go(&mut runner, TUNED, 0, &base), Err(TaskError::NotTrained { .. })));
        go(&mut runner, "train", 0, &base).unwrap();
        go(&mut runner, TUNED, 0, &base).unwrap();
        assert!(matches!(go(&mut runner, TUNED, 1, &base), Err(TaskError::NotTrained { .. })));
    }

    #[test]
    fn optimiser_state_is_reset_or_goes_on_as_the_plan_says() {
        let plan = plan();
        let base = plan.initial_state().unwrap();
        let second = |plan: &Plan, first: bool| {
            let mut runner = runner(plan).unwrap();
            if first {
                go(&mut runner, "train", 0, &base).unwrap();
                let cancelled = runner.run(&name("train"), RoundNo(1), &base, &{
                    let left = std::cell::Cell::new(3);
                    move || left.replace(left.get() - 1) == 0
                });
                assert!(cancelled.is_err());
            }
            bits(&go(&mut runner, "train", 1, &base).unwrap().update.unwrap().0)
        };
        assert_eq!(second(&plan, true), second(&plan, false));
        let on = edited(|plan| plan.optimiser_state = OptimiserState::ContinueLocal);
        assert_ne!(second(&on, true), second(&on, false));
        assert_eq!(second(&on, true), second(&on, true));
        assert_eq!(second(&on, false), second(&plan, false));
    }

    #[test]
    fn fedprox_keeps_the_model_near_the_base() {
        let distance = |mu: f32| {
            let train = |spec: &mut TrainSpec| {
                spec.fedprox_mu = mu;
                spec.optimiser = Optimiser::Sgd { learning_rate: 0.05, momentum: 0.0, weight_decay: 0.0 };
                spec.length = TrainLength::Epochs(5);
            };
            let plan = edited(|plan| edit_train(plan, train));
            let base = plan.initial_state().unwrap();
            let update = go(&mut runner(&plan).unwrap(), "train", 0, &base).unwrap().update.unwrap().0;
            let weight = update.layout().place(0);
            let squares = weight.map(|i| (update.f32[i] - base.f32[i]).powi(2));
            squares.sum::<f32>().sqrt()
        };
        let (free, pulled) = (distance(0.0), distance(5.0));
        assert!(pulled < 0.3 * free, "{pulled} and {free}");
    }

    #[test]
    fn held_out_tensors_stay_with_the_site() {
        let plan = edited(|plan| plan.hold_out = vec!["norm.*".to_owned()]);
        let base = plan.initial_state().unwrap();
        let norm = |state: &ModelState| {
            let places = (0..6).filter(|i| state.layout().tensors()[*i].name.starts_with("norm"));
            places.flat_map(|i| state.f32[state.layout().place(i)].to_vec()).collect::<Vec<_>>()
        };
        let mut runner = runner(&plan).unwrap();
        let update = go(&mut runner, "train", 0, &base).unwrap().update.unwrap().0;
        assert_eq!(norm(&update), norm(&base));
        assert_ne!(update, base);
        let own = runner.own(&base).into_owned();
        assert_ne!(norm(&own), norm(&base));
        assert_eq!(with_kept(&own, &base), base);
        let kept = go(&mut runner, VALIDATE, 1, &update).unwrap();
        let fresh = go(&mut super::runner(&plan).unwrap(), VALIDATE, 1, &update).unwrap();
        assert_ne!(kept.metrics, fresh.metrics);
    }

    #[test]
    fn diverging_training_is_an_error_that_says_what_to_do() {
        let optimiser = Optimiser::Sgd { learning_rate: 1e38, momentum: 0.9, weight_decay: 0.0 };
        let plan = edited(|plan| edit_train(plan, |spec| spec.optimiser = optimiser));
        let base = plan.initial_state().unwrap();
        let error = go(&mut runner(&plan).unwrap(), "train", 0, &base).unwrap_err();
        assert!(matches!(error, TaskError::NotFinite { .. }), "{error}");
        assert_eq!(error.hint().unwrap(), "lower the learning rate, or standardise the features");
    }

    #[test]
    fn auc_of_rows_of_one_class_is_left_out() {
        let plan = edited(|plan| {
            plan.tasks[0].metrics = vec![Metric::Auc, Metric::Loss];
            plan.best.metric = Metric::Auc;
        });
        let mut data = data();
        data.validation.labels.fill(1.0);
        let layout = plan.layout().unwrap();
        let base = plan.initial_state().unwrap();
        let mut runner =
            Runner::new(Arc::new(plan), layout, &name("one"), Some(data), CustomTasks::new()).unwrap();
        let metrics = go(&mut runner, VALIDATE, 0, &base).unwrap().metrics;
        assert_eq!(metrics.iter().map(|(m, _)| *m).collect::<Vec<_>>(), [Metric::Loss]);
    }

    #[test]
    fn model_with_other_outputs_than_the_classes_is_not_measured() {
        let last = |plan: &mut PlanDraft| *plan.model.layers.last_mut().unwrap() = linear("fc2", 3);
        // A plan without training and validation may have any model.
        let plan = synthetic(1).edited(last).unwrap();
        let error = evaluate(&plan, &plan.initial_state().unwrap(), &rows(5, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model outputs [3] values per sample, but cross_entropy over 2 classes takes [2]"
        );
    }

    #[test]
    fn tasks_that_cannot_run_here_are_refused_before_the_first_round() {
        let kind = TaskKind::Custom { name: "mine".to_owned(), rule: None };
        let refusal = |plan: Plan| runner(&plan).err().unwrap().to_string();
        assert_eq!(
            refusal(edited(|plan| plan.tasks[1].kind = kind)),
            "task train needs the custom task \"mine\", which this program does not have"
        );
        let plan = Arc::new(plan());
        let layout = plan.layout().unwrap();
        let with = |data| {
            Runner::new(Arc::clone(&plan), Arc::clone(&layout), &name("one"), data, CustomTasks::new())
                .err()
                .unwrap()
        };
        assert!(matches!(with(None), TaskError::NoData(_)));
        let data = SplitData { validation: rows(0, 1), ..data() };
        let expected =
            "task aggregated_model_validation needs validation rows, but the plan's split leaves none";
        assert_eq!(with(Some(data)).to_string(), expected);
    }
}

const VALIDATE: &str = "aggregated_model_validation";
const TUNED: &str = "locally_tuned_model_validation";
