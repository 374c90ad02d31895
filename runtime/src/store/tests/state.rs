//! The state of the server's step beside the model it belongs to.

use fl_engine::plan::{Rows, Server, TaskKind, TaskSpec, When};

use super::*;

/// A plan whose server remembers one number a parameter.
fn remembering() -> Plan {
    let send = TaskSpec {
        name: name("send"),
        kind: TaskKind::Synthetic { weight: 1, rule: None },
        metrics: vec![],
        server: Some(Server::FedAvgM { learning_rate: 1.0, momentum: 0.9 }),
        threshold: None,
        rows: Rows::Validation,
        when: When::Always,
        loss: None,
    };
    let one_task = |plan: &mut PlanDraft| {
        plan.groups[0].tasks = vec![send.name.clone()];
        plan.best.task = send.name.clone();
        plan.tasks = vec![send];
    };
    plan().edited(one_task).unwrap()
}

/// The state after round `n`; no two are alike.
fn state(layout: &Layout, n: u32) -> Vec<u8> {
    (0..layout.f32_len()).flat_map(|i| (n as f32 - i as f32 / 64.0).to_le_bytes()).collect()
}

fn open(dir: &Scratch, layout: &Arc<Layout>) -> Result<(Store, Resume), StoreError> {
    Store::open(&System::real(), &dir.0, "w", &remembering(), PLAN, layout)
}

/// Rounds 0 to 2 kept with their state.
fn three_rounds() -> (Scratch, Arc<Layout>) {
    let (dir, layout) = prepared();
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!(resume.state, None);
    for n in 0..3 {
        store.put_round(&facts(&layout, n), &model(&layout, n), Some(&state(&layout, n))).unwrap();
    }
    (dir, layout)
}

fn generation(dir: &Scratch, n: u32) -> PathBuf {
    dir.path("generations").join(format!("w-{n:07}.fl"))
}

fn resumes_after(dir: &Scratch, layout: &Arc<Layout>, n: u32) {
    let (_, resume) = open(dir, layout).unwrap();
    assert_eq!((resume.round, resume.from), (RoundNo(n + 1), ResumedFrom::Generation));
    assert!(resume.payload == model(layout, n) && resume.state == Some(state(layout, n)));
}

#[test]
fn model_and_state_of_a_round_come_back_together() {
    let (dir, layout) = three_rounds();
    resumes_after(&dir, &layout, 2);
    // The copy is the model alone.
    let (last, _) = safetensors::read(&fs::read(dir.path("w_last.safetensors")).unwrap(), &layout).unwrap();
    assert_eq!(last, ModelState::from_bytes(Arc::clone(&layout), &model(&layout, 2)).unwrap());
    let whole = fs::read(generation(&dir, 2)).unwrap();
    for length in [23, 300, whole.len() / 2, whole.len() - 33, whole.len() - 1] {
        fs::write(generation(&dir, 2), &whole[..length]).unwrap();
        resumes_after(&dir, &layout, 1);
    }
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(generation(&dir, 2), bytes).unwrap();
        resumes_after(&dir, &layout, 1);
    }
}

#[test]
fn round_without_its_state_is_neither_kept_nor_gone_on_from() {
    let (dir, layout) = three_rounds();
    let mut store = open(&dir, &layout).unwrap().0;
    for wrong in [None, Some(&state(&layout, 3)[4..])] {
        let refused = store.put_round(&facts(&layout, 3), &model(&layout, 3), wrong).unwrap_err();
        assert!(matches!(refused, StoreError::StateLength { .. }), "{refused}");
    }
    drop(store);
    // A state that this plan has no use for is another plan's.
    let plain = || Store::open(&System::real(), &dir.0, "w", &plan(), PLAN, &layout);
    assert!(matches!(plain().unwrap_err(), StoreError::OtherPlan { .. }));
    Store::forget(&System::real().files, &dir.0, "w").unwrap();
    let (mut plain, _) = plain().unwrap();
    let refused =
        plain.put_round(&facts(&layout, 0), &model(&layout, 0), Some(&state(&layout, 0))).unwrap_err();
    assert!(matches!(refused, StoreError::StateLength { .. }), "{refused}");
    put(&mut plain, &layout, 0..2);
    drop(plain);
    let error = open(&dir, &layout).unwrap_err();
    assert_eq!(
        said(&error).replace(dir.0.to_str().unwrap(), "save"),
        "save/generations/w-0000001.fl has no state for the plan's server step | restore save/generations from a \
         backup, or start the aggregator with --fresh to begin with the initial model"
    );
    assert_eq!(files(&dir.path("generations")).len(), 2, "nothing is lost");
}
