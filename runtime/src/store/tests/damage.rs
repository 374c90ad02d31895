//! Files that are not as they were left.

use super::*;

fn generation(dir: &Scratch, n: u32) -> PathBuf {
    dir.path("generations").join(format!("w-{n:07}.fl"))
}

/// Rounds 0 to 2 kept, generations 1 and 2 on the disk.
fn three_rounds() -> (Scratch, Arc<Layout>) {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    put(&mut store, &layout, 0..3);
    (dir, layout)
}

#[test]
fn generation_cut_at_any_length_falls_back_to_the_one_before() {
    let (dir, layout) = three_rounds();
    let whole = fs::read(generation(&dir, 2)).unwrap();
    for length in [0, 7, 8, 23, 24, 100, 184, 300, whole.len() / 2, whole.len() - 33, whole.len() - 1] {
        fs::write(generation(&dir, 2), &whole[..length]).unwrap();
        resumes_after(&dir, &layout, 1);
    }
    fs::write(generation(&dir, 2), [whole.as_slice(), &[0]].concat()).unwrap();
    resumes_after(&dir, &layout, 1);
    fs::write(generation(&dir, 2), &whole).unwrap();
    resumes_after(&dir, &layout, 2);
}

#[test]
fn flipped_bit_anywhere_falls_back_and_the_round_can_be_put_again() {
    let (dir, layout) = three_rounds();
    let whole = fs::read(generation(&dir, 2)).unwrap();
    for at in (0..whole.len()).step_by(37).chain(whole.len() - 33..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(generation(&dir, 2), bytes).unwrap();
        resumes_after(&dir, &layout, 1);
    }
    let mut store = resumes_after(&dir, &layout, 1);
    put(&mut store, &layout, 2..3);
    resumes_after(&dir, &layout, 2);
    // The round was finished twice, and the history says so.
    let rounds: Vec<_> = history(&dir).iter().map(|line| line["round"].as_u64().unwrap()).collect();
    assert_eq!(rounds, [0, 1, 2, 2]);
}

#[test]
fn generation_under_another_number_is_not_taken_for_newer() {
    let (dir, layout) = three_rounds();
    fs::copy(generation(&dir, 1), generation(&dir, 7)).unwrap();
    put(&mut resumes_after(&dir, &layout, 2), &layout, 3..4);
    assert_eq!(files(&dir.path("generations")), ["w-0000002.fl", "w-0000003.fl"]);
}

#[test]
fn no_whole_generation_is_not_a_new_run_unless_asked_for() {
    let (dir, layout) = three_rounds();
    for n in [1, 2] {
        fs::write(generation(&dir, n), b"fl-state").unwrap();
    }
    let error = open(&dir, &layout).unwrap_err();
    assert_eq!(
        said(&error).replace(dir.0.to_str().unwrap(), "save"),
        "all 2 stored rounds in save/generations are damaged | restore save/generations from a backup, or start the \
         aggregator with --fresh to begin with the initial model"
    );
    let aside = dir.path("w_history.1.jsonl");
    let given_up = Forgotten { rounds: 3, history: Some(aside.clone()) };
    assert_eq!(Store::forget(&System::real().files, &dir.0, "w").unwrap(), given_up);
    assert_eq!(open(&dir, &layout).unwrap().1.from, ResumedFrom::Init);
    assert_eq!(fs::read_to_string(aside).unwrap().lines().count(), 3);
    assert_eq!(history(&dir).len(), 0, "of the next run");
    let given_up = Store::forget(&System::real().files, &dir.0, "w").unwrap();
    assert_eq!(given_up, Forgotten { rounds: 0, history: Some(dir.path("w_history.2.jsonl")) });
}

#[test]
fn rounds_of_the_history_without_a_stored_model_are_not_a_new_run() {
    let (dir, layout) = three_rounds();
    fs::remove_dir_all(dir.path("generations")).unwrap();
    let error = open(&dir, &layout).unwrap_err();
    assert_eq!(
        said(&error).replace(dir.0.to_str().unwrap(), "save"),
        "save/generations has no stored round, but the history says that 3 rounds were run | restore save/generations \
         from a backup, or start the aggregator with --fresh to begin with the initial model"
    );
    assert_eq!(history(&dir).len(), 3);
}

#[test]
fn a_history_says_which_rounds_it_lacks() {
    let (dir, layout) = three_rounds();
    let path = dir.path("w_history.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines = |wanted: &[usize]| {
        let all: Vec<&str> = text.lines().collect();
        wanted.iter().map(|at| format!("{}\n", all[*at])).collect::<String>()
    };
    let lacks = |wanted: &[usize]| {
        fs::write(&path, lines(wanted)).unwrap();
        let (_, found) = History::open(&System::real().files, path.clone(), PLAN, None).unwrap();
        (found.last, found.missing)
    };
    assert_eq!(lacks(&[0, 1, 2]), (Some(RoundNo(2)), vec![]));
    assert_eq!(lacks(&[0]), (Some(RoundNo(0)), vec![]));
    assert_eq!(lacks(&[]), (None, vec![]));
    // The newest round's line is written again, and the ones between are missed at every start.
    fs::write(&path, lines(&[0])).unwrap();
    resumes_after(&dir, &layout, 2);
    let (_, found) = History::open(&System::real().files, path.clone(), PLAN, None).unwrap();
    assert_eq!((found.last, found.missing), (Some(RoundNo(2)), vec![(1, 1)]));
}

#[test]
fn crash_in_the_middle_of_the_first_round_starts_over() {
    let (dir, layout) = prepared();
    put(&mut open(&dir, &layout).unwrap().0, &layout, 0..1);
    let whole = fs::read(generation(&dir, 0)).unwrap();
    fs::write(generation(&dir, 0), &whole[..whole.len() / 2]).unwrap();
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!((resume.round, resume.from), (RoundNo(0), ResumedFrom::Init));
    put(&mut store, &layout, 0..1);
    resumes_after(&dir, &layout, 0);
}

#[test]
fn scraps_are_removed_and_strangers_are_left_alone() {
    let (dir, layout) = three_rounds();
    fs::write(dir.path("w_last.safetensors.new"), b"scrap").unwrap();
    fs::write(dir.path("w_best.safetensors.new"), b"scrap").unwrap();
    for stranger in ["notes.txt", "other-0000009.fl", "w-9.fl", "w-0000009.fl.new"] {
        fs::write(dir.path("generations").join(stranger), b"kept").unwrap();
    }
    put(&mut resumes_after(&dir, &layout, 2), &layout, 3..4);
    assert_eq!(files(&dir.path("generations")).len(), 6);
    assert!(!files(&dir.0).iter().any(|name| name.ends_with(".new")));
}

#[test]
fn rounds_of_another_plan_are_refused() {
    let (dir, layout) = three_rounds();
    let other = Digest([8; 32]);
    let error = Store::open(&System::real(), &dir.0, "w", &plan(), other, &layout).unwrap_err();
    assert_eq!(
        said(&error).replace(dir.0.to_str().unwrap(), "save"),
        format!(
            "save/generations/w-0000002.fl is a round of plan {PLAN}, but this plan is {other} | to begin with the \
             initial model, start the aggregator with --fresh, which deletes the stored rounds; copy save/ first to keep them"
        )
    );
    resumes_after(&dir, &layout, 2);
}

#[test]
fn initial_model_that_is_missing_changed_or_of_another_plan_is_refused() {
    let (dir, layout) = (Scratch::new(), plan().layout().unwrap());
    let refused = || said(&open(&dir, &layout).unwrap_err()).replace(dir.0.to_str().unwrap(), "save");
    assert_eq!(
        refused(),
        "there is no initial model save/w_init.safetensors | make the model with `fl-host plan initialize`, then copy \
         the file to save/ on the aggregator's machine"
    );
    let again = "| make the model again with `fl-host plan initialize`, then copy the file to save/ on the aggregator's machine";
    write_init(&dir, &layout, &[("plan", "abc".to_owned())]);
    assert_eq!(
        refused(),
        format!("save/w_init.safetensors was made for plan abc, but this plan is {PLAN} {again}")
    );
    write_init(&dir, &layout, &[("root", "abc".to_owned())]);
    let root = root_of(layout.hash(), &model(&layout, 1000));
    assert_eq!(
        refused(),
        format!(
            "save/w_init.safetensors states the root abc (the hash of all tensors), but its tensors have the root {root} {again}"
        )
    );
    write_init(&dir, &Layout::new(vec![TensorSpec::f32("a", [2])]).unwrap(), &[]);
    assert!(
        refused()
            .contains("w_init.safetensors is refused: the tensors of the file are not those of the model"),
        "{}",
        refused()
    );
    assert!(!dir.path("w_history.jsonl").exists());
    // The values of the plan's own seed begin every plan of this layout; those of another seed do not.
    let made = |seed: u64| [("plan", "abc".to_owned()), ("seed", seed.to_string())];
    write_init(&dir, &layout, &made(plan().seed + 1));
    assert!(refused().contains("was made for plan abc"), "{}", refused());
    write_init(&dir, &layout, &made(plan().seed));
    open(&dir, &layout).unwrap();
}

#[test]
fn torn_last_line_of_the_history_is_cut_and_written_again() {
    let (dir, layout) = three_rounds();
    let path = dir.path("w_history.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let before_last = whole.trim_end().rfind('\n').unwrap() + 1;
    for length in [before_last, before_last + 1, (before_last + whole.len()) / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        resumes_after(&dir, &layout, 2);
        // The generation holds the facts.
        assert_eq!(fs::read_to_string(&path).unwrap(), whole, "cut at {length}");
    }
    fs::write(&path, format!("{whole}{{\"previous\":\"0")).unwrap();
    resumes_after(&dir, &layout, 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    fs::remove_file(&path).unwrap();
    resumes_after(&dir, &layout, 2);
    assert_eq!(history(&dir).len(), 1);
}

#[test]
fn history_that_was_changed_is_refused_and_left_as_it_is() {
    let (dir, layout) = three_rounds();
    let path = dir.path("w_history.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let changed = whole.replacen("\"weight\":300", "\"weight\":999", 1);
    let gone: String = whole.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let garbled = whole.replacen("{\"previous\"", "garbled", 1);
    for text in [changed, gone, garbled] {
        fs::write(&path, &text).unwrap();
        let error = open(&dir, &layout).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("line 1 of ")
                && error.ends_with("w_history.jsonl was changed after the line was written"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn lost_or_stale_copy_is_made_again() {
    let (dir, layout) = three_rounds();
    let last = dir.path("w_last.safetensors");
    let whole = fs::read(&last).unwrap();
    for bytes in
        [b"".as_slice(), &whole[..whole.len() - 4], &fs::read(dir.path("w_init.safetensors")).unwrap()]
    {
        fs::write(&last, bytes).unwrap();
        resumes_after(&dir, &layout, 2);
        assert_eq!(texts_of(&dir, "w_last.safetensors")["root"], facts(&layout, 2).root.to_string());
    }
}

#[test]
fn initial_model_outside_the_range_of_the_plan_is_refused_with_tensor_value_and_key() {
    let (dir, layout) = (Scratch::new(), plan().layout().unwrap());
    let mut state = ModelState::from_bytes(Arc::clone(&layout), &model(&layout, 1000)).unwrap();
    state.f32[1] = 1.1e30;
    let init = safetensors::write(&state, &safetensors::Texts::new());
    fs::write(dir.path("w_init.safetensors"), init).unwrap();
    let refused = said(&open(&dir, &layout).unwrap_err()).replace(dir.0.to_str().unwrap(), "save");
    let words = "initial model save/w_init.safetensors is refused: 1.1e30 in tensor";
    assert!(refused.starts_with(words) && refused.contains("exact.value_bits"), "{refused}");
}

#[test]
fn store_whose_folder_was_taken_over_writes_nothing_more() {
    let (dir, layout) = prepared();
    let lock = Arc::new(SaveLock::take(&System::real(), &dir.0, Apart::Beats).unwrap());
    let mut store = open(&dir, &layout).unwrap().0.under(Arc::clone(&lock));
    put(&mut store, &layout, 0..2);
    let before = files(&dir.0);
    // The first holder does not beat: it stands still, as a machine does that sleeps.
    let next = SaveLock::take(&System::real(), &dir.0, Apart::Beats).unwrap();
    let (facts, model) = (facts(&layout, 2), model(&layout, 2));
    let refused = store.put_round(&facts, &model, None).unwrap_err();
    assert!(matches!(refused, StoreError::Lock(LockError::Lost { .. })), "{refused}");
    assert!(store.put_best(RoundNo(2), facts.root, 1.0, &[], &model).is_err());
    assert!(store.put_final(facts.root, &[], &model).is_err());
    assert_eq!(files(&dir.0), before);
    next.check().unwrap();
    drop(next);
    resumes_after(&dir, &layout, 1);
}
