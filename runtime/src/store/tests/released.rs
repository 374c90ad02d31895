//! What the plan lets out, to whom, and when.

use fl_engine::plan::{PublicKey, Release, ReleaseTo, Released};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::*;
use crate::{sealed::Opener, store::released::MemberCopies};

fn secret() -> StaticSecret {
    StaticSecret::from([9; 32])
}

fn key() -> ReleaseTo {
    ReleaseTo::Key(PublicKey(Point::from(&secret()).to_bytes()))
}

/// The store of a plan of two rounds that releases this.
fn opening(dir: &Scratch, layout: &Arc<Layout>, what: Released, to: ReleaseTo) -> Store {
    let released = |plan: &mut PlanDraft| (plan.rounds, plan.release) = (2, Some(Release { what, to }));
    let plan = plan().edited(released).unwrap();
    Store::open(&System::real(), &dir.0, "w", &plan, PLAN, layout).unwrap().0
}

fn store(what: Released, to: ReleaseTo) -> (Store, Scratch, Arc<Layout>) {
    let (dir, layout) = prepared();
    (opening(&dir, &layout, what, to), dir, layout)
}

/// Two rounds, of which the base of the second is the best, and the end: the file that is released then.
fn run(store: &mut Store, layout: &Layout) -> Option<PathBuf> {
    run_measuring(store, layout, true)
}

fn run_measuring(store: &mut Store, layout: &Layout, measures: bool) -> Option<PathBuf> {
    for n in 0..2 {
        if n == 1 && measures {
            let metrics = facts(layout, 0).metrics;
            store.put_best(RoundNo(1), root(layout, 0), 0.9, &metrics, &model(layout, 0)).unwrap();
        }
        let facts = facts(layout, n);
        store.put_round(&facts, &model(layout, n), None).unwrap();
        store.release_round(facts.round, facts.root, Some(&facts.metrics), &model(layout, n)).unwrap();
    }
    store.put_final(root(layout, 1), &facts(layout, 1).metrics, &model(layout, 1)).unwrap();
    store.release_at_the_end(root(layout, 1), &model(layout, 1)).unwrap()
}

fn root(layout: &Layout, n: u32) -> Digest {
    root_of(layout.hash(), &model(layout, n))
}

fn names(dir: &Scratch) -> Vec<String> {
    files(&dir.path("released"))
}

/// Payload and texts of a plain file.
fn plain(bytes: &[u8], layout: &Arc<Layout>) -> (Vec<u8>, safetensors::Texts) {
    let (state, texts) = safetensors::read(bytes, layout).unwrap();
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    (payload, texts)
}

fn opened(path: &Path) -> (crate::sealed::Label, Vec<u8>) {
    let file = fs::read(path).unwrap();
    let mut out = Vec::new();
    let opener = Opener::new(&file[..], file.len() as u64).unwrap();
    let public = PublicKey(Point::from(&secret()).to_bytes());
    let agree = |point: &[u8; 32]| secret().diffie_hellman(&Point::from(*point)).to_bytes();
    let label = opener.open(&public, agree, &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    });
    (label.unwrap(), out)
}

#[test]
fn last_model_is_released_once_all_rounds_are_run_and_no_other() {
    for (to, file) in [(ReleaseTo::Host, "w_last.safetensors"), (key(), "w_last.sealed")] {
        let (mut store, dir, layout) = store(Released::Last, to);
        let first = facts(&layout, 0);
        store.put_round(&first, &model(&layout, 0), None).unwrap();
        store.release_round(first.round, first.root, Some(&first.metrics), &model(&layout, 0)).unwrap();
        assert_eq!(names(&dir), [""; 0], "the first of two rounds");
        let (mut store, dir, layout) = self::store(Released::Last, to);
        let ended = run(&mut store, &layout);
        assert_eq!(names(&dir), [file]);
        let path = dir.path("released").join(file);
        assert_eq!(ended.unwrap(), path);
        let bytes = match to {
            ReleaseTo::Host => fs::read(&path).unwrap(),
            _ => {
                let (label, bytes) = opened(&path);
                assert_eq!((label.plan, label.rounds, label.root), (PLAN, 2, root(&layout, 1)));
                let tensors: Vec<TensorSpec> = serde_json::from_str(&label.note).unwrap();
                assert_eq!(tensors, layout.tensors());
                bytes
            }
        };
        assert_eq!(bytes, fs::read(dir.path("w_last.safetensors")).unwrap(), "texts too");
        assert_eq!(plain(&bytes, &layout).0, model(&layout, 1));
    }
}

#[test]
fn best_model_is_released_with_its_own_round_and_root() {
    for (to, file) in [(ReleaseTo::Host, "w_best.safetensors"), (key(), "w_best.sealed")] {
        let (mut store, dir, layout) = store(Released::Best, to);
        let ended = run(&mut store, &layout);
        assert_eq!(names(&dir), [file]);
        let path = dir.path("released").join(file);
        assert_eq!(ended.as_ref(), Some(&path));
        let bytes = match to {
            ReleaseTo::Host => fs::read(&path).unwrap(),
            _ => {
                let (label, bytes) = opened(&path);
                assert_eq!((label.rounds, label.root), (1, root(&layout, 0)));
                bytes
            }
        };
        let (payload, texts) = plain(&bytes, &layout);
        assert_eq!(payload, model(&layout, 0));
        assert_eq!(texts[text::VALUE], "0.9");
    }
    // Members are sent it: the file's tensors, if they are still those that were kept.
    let (mut store, dir, layout) = store(Released::Best, ReleaseTo::Members);
    assert_eq!(store.best_model().unwrap(), None);
    assert_eq!(run(&mut store, &layout), None);
    assert_eq!(store.best_model().unwrap(), Some((RoundNo(1), root(&layout, 0), model(&layout, 0))));
    assert!(!dir.path("released").exists());
    let path = dir.path("w_best.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    assert!(matches!(store.best_model(), Err(StoreError::BestChanged { .. })));
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(store.best_model(), Err(StoreError::BestChanged { .. })));
    fs::write(&path, &whole[..4]).unwrap();
    assert!(matches!(store.best_model(), Err(StoreError::Read { .. })));
}

#[test]
fn last_model_is_released_where_nothing_measured_the_best() {
    for (to, file) in [(ReleaseTo::Host, "w_last.safetensors"), (key(), "w_last.sealed")] {
        let (mut store, dir, layout) = store(Released::Best, to);
        let path = run_measuring(&mut store, &layout, false).unwrap();
        assert_eq!((names(&dir), &path), (vec![file.to_owned()], &dir.path("released").join(file)));
        let bytes = if to == ReleaseTo::Host { fs::read(&path).unwrap() } else { opened(&path).1 };
        let (payload, texts) = plain(&bytes, &layout);
        assert_eq!((payload, texts.get(text::VALUE)), (model(&layout, 1), None));
    }
}

#[test]
fn each_rounds_model_is_released_and_a_crash_in_between_loses_none() {
    for (to, ending) in [(ReleaseTo::Host, "safetensors"), (key(), "sealed")] {
        let (mut store, dir, layout) = store(Released::Each, to);
        let ended = run(&mut store, &layout).unwrap();
        let files = [1, 2].map(|n| format!("w_round_000000{n}.{ending}"));
        assert_eq!(names(&dir), files);
        assert_eq!(ended, dir.path("released").join(&files[1]));
        // As if the process had died between the round and its release.
        fs::remove_file(dir.path("released").join(&files[1])).unwrap();
        drop(store);
        let _open = opening(&dir, &layout, Released::Each, to);
        assert_eq!(names(&dir), files);
        let path = dir.path("released").join(&files[1]);
        let bytes = if to == ReleaseTo::Host { fs::read(&path).unwrap() } else { opened(&path).1 };
        assert_eq!(plain(&bytes, &layout).0, model(&layout, 1));
    }
}

#[test]
fn members_keep_what_the_plan_gives_them() {
    let dir = Scratch::new();
    let layout = plan().layout().unwrap();
    let member = name("one");
    let of = |release| {
        let plan = plan().edited(|plan| plan.release = release).unwrap();
        MemberCopies::new(&System::real().files, &dir.0, "w", &member, (&plan, PLAN), &layout)
    };
    let copies = |what, to| of(Some(Release { what, to }));
    assert!(of(None).is_none());
    assert!(copies(Released::Last, ReleaseTo::Host).is_none());
    assert!(copies(Released::Each, key()).is_none());
    let last = copies(Released::Last, ReleaseTo::Members).unwrap();
    let path = last.put(RoundNo(2), root(&layout, 1), None, &model(&layout, 1)).unwrap();
    assert_eq!(path, dir.path("released/w_one_final.safetensors"));
    let (payload, texts) = plain(&fs::read(path).unwrap(), &layout);
    assert_eq!((payload, texts[text::ROUND].as_str()), (model(&layout, 1), "2"));
    let stated = Plan::from_canonical_text(&texts[text::CANONICAL_PLAN]).unwrap();
    assert_eq!(stated.release, Some(Release { what: Released::Last, to: ReleaseTo::Members }));
    let best = copies(Released::Best, ReleaseTo::Members).unwrap();
    let path = best.put(RoundNo(1), root(&layout, 0), None, &model(&layout, 0)).unwrap();
    assert_eq!(path, dir.path("released/w_one_best.safetensors"));
    let each = copies(Released::Each, ReleaseTo::Members).unwrap();
    let path = each.put(RoundNo(1), root(&layout, 0), None, &model(&layout, 0)).unwrap();
    assert_eq!(path, dir.path("released/w_one_round_0000001.safetensors"));
}

#[test]
fn key_that_nothing_can_be_sealed_to_is_refused_before_the_run() {
    let (dir, layout) = prepared();
    // A point of small order: every private key gives the same value with it.
    let mut weak = [0; 32];
    weak[0] = 1;
    let release = Release { what: Released::Last, to: ReleaseTo::Key(PublicKey(weak)) };
    let plan = plan().edited(|plan| plan.release = Some(release)).unwrap();
    let refusal = Store::open(&System::real(), &dir.0, "w", &plan, PLAN, &layout).unwrap_err();
    assert!(matches!(refusal, StoreError::Seal(_)), "{refusal}");
}
