//! Slots in memory and on disk, aborted ones, and a host that changes spill files.

use std::{fs, time::Duration};

use fl_engine::limits;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fl-slots-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A store with `memory` and `disk` slots.
fn store(folder: &Folder, memory: u64, disk: u64) -> SlotStore {
    let stored = spill::stored_len(LEN).unwrap();
    SlotStore::new(
        &crate::system::System::real(),
        ByteCount(memory * LEN),
        ByteCount(disk * stored),
        folder.0.clone(),
        LEN,
    )
    .unwrap()
}

fn payload(seed: u64) -> Vec<u8> {
    (0..LEN).map(|n| (n.wrapping_mul(seed + 3) >> 5) as u8).collect()
}

fn staged(store: &SlotStore, body: &[u8]) -> StagedSlot {
    let mut writer = store.try_reserve().unwrap().unwrap();
    for piece in body.chunks(70_000) {
        writer.write(piece).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn memory_comes_first_then_disk_and_both_read_back() {
    let folder = Folder::new("both");
    let store = store(&folder, 1, 2);
    let slots: Vec<_> = (0..3).map(|seed| (staged(&store, &payload(seed)), payload(seed))).collect();
    assert_eq!((store.free(), folder.files().len()), ((0, 0), 2));
    assert!(store.try_reserve().unwrap().is_none());
    let mut scratch = Vec::new();
    for (n, (slot, body)) in slots.iter().enumerate() {
        assert_eq!(slot.in_memory().is_some(), n == 0);
        let odd = [0..LEN, 0..0, 5..9, 65_535..65_537, 65_536..196_608, 524_287..LEN, 589_823..LEN, LEN..LEN];
        for range in odd {
            let want = &body[range.start as usize..range.end as usize];
            assert!(slot.read(range.clone(), &mut scratch).unwrap() == want, "slot {n}, {range:?}");
        }
        assert!(matches!(slot.read(0..LEN + 1, &mut scratch), Err(MemoryError::OutOfRange { .. })));
    }
    drop(slots);
    assert_eq!((store.free(), folder.files().len()), ((1, 2), 0));
}

#[test]
fn spill_file_shows_nothing_of_the_payload() {
    let folder = Folder::new("secret");
    let store = store(&folder, 0, 1);
    let _slot = staged(&store, &vec![b'A'; LEN as usize]);
    let on_disk = fs::read(&folder.files()[0]).unwrap();
    assert_eq!(on_disk.len() as u64, spill::stored_len(LEN).unwrap());
    assert!(!on_disk.windows(8).any(|eight| eight == b"AAAAAAAA"));
}

#[test]
fn aborted_upload_gives_everything_back() {
    let folder = Folder::new("abort");
    let store = store(&folder, 1, 1);
    let mut in_memory = store.try_reserve().unwrap().unwrap();
    let mut on_disk = store.try_reserve().unwrap().unwrap();
    in_memory.write(&payload(1)[..400_000]).unwrap();
    on_disk.write(&payload(1)[..400_000]).unwrap();
    assert_eq!((store.free(), folder.files().len()), ((0, 0), 1));
    drop(in_memory);
    assert!(matches!(on_disk.finish(), Err(MemoryError::Short { got: 400_000, expected: LEN })));
    assert_eq!((store.free(), folder.files().len()), ((1, 1), 0));
    // A reused buffer shows nothing of what was in it.
    let body = payload(2);
    let slot = staged(&store, &body);
    assert!(slot.in_memory().unwrap() == body);
}

#[test]
fn buffers_are_reused_not_allocated_again() {
    let folder = Folder::new("reuse");
    let store = store(&folder, 1, 0);
    let first = staged(&store, &payload(1)).in_memory().unwrap().as_ptr();
    let second = staged(&store, &payload(2)).in_memory().unwrap().as_ptr();
    assert_eq!(first, second);
    assert!(!folder.0.exists(), "a store without spill made a folder");
}

#[test]
fn writing_past_the_end_is_refused() {
    let folder = Folder::new("long");
    let store = store(&folder, 1, 0);
    let mut writer = store.try_reserve().unwrap().unwrap();
    writer.write(&payload(1)[..600_000]).unwrap();
    assert!(matches!(writer.write(&[1, 2]), Err(MemoryError::Overflow(_))));
    assert_eq!(writer.written(), 600_000);
    writer.write(&[1]).unwrap();
    writer.finish().unwrap();
}

#[tokio::test]
async fn reservation_waits_for_whichever_slot_is_freed() {
    let folder = Folder::new("wait");
    let store = store(&folder, 1, 1);
    let (memory, disk) = (staged(&store, &payload(1)), staged(&store, &payload(2)));
    let mut waiting = Box::pin(store.reserve());
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    drop(disk);
    let writer = waiting.await.unwrap();
    assert_eq!((store.free(), folder.files().len()), ((0, 0), 1));
    drop((writer, memory));
    assert_eq!(store.free(), (1, 1));
}

#[test]
fn changed_cut_or_swapped_spill_file_is_refused() {
    let folder = Folder::new("tamper");
    let store = store(&folder, 0, 2);
    let (one, two) = (staged(&store, &payload(1)), staged(&store, &payload(2)));
    let (files, mut scratch) = (folder.files(), Vec::new());
    let good = fs::read(&files[0]).unwrap();
    let stride = CHUNK + 16;
    let mut attack = |bytes: &[u8], slot: u64, chunk: u32| {
        fs::write(&files[0], bytes).unwrap();
        let read = one.read(0..LEN, &mut scratch);
        let named =
            matches!(read, Err(MemoryError::Tampered { slot: s, chunk: c }) if (s, c) == (slot, chunk));
        assert!(named, "{:?}", read.map(<[u8]>::len));
    };
    let mut flipped = good.clone();
    flipped[stride + 7] ^= 1;
    attack(&flipped, 0, 1);
    let mut exchanged = good.clone();
    exchanged[..2 * stride].rotate_left(stride);
    attack(&exchanged, 0, 0);
    attack(&good[..good.len() - 1], 0, 9);
    attack(&fs::read(&files[1]).unwrap(), 0, 0);
    fs::write(&files[0], &good).unwrap();
    assert!(one.read(0..LEN, &mut scratch).unwrap() == payload(1));
    drop(two);
}

#[test]
fn aligned_range_needs_one_chunk_of_scratch() {
    let folder = Folder::new("aligned");
    let store = store(&folder, 0, 1);
    let slot = staged(&store, &payload(1));
    let mut scratch = Vec::new();
    for start in (0..LEN).step_by(CHUNK) {
        let end = LEN.min(start + CHUNK as u64);
        assert!(slot.read(start..end, &mut scratch).unwrap() == &payload(1)[start as usize..end as usize]);
    }
    assert_eq!(scratch.len(), limits::SPILL_CHUNK_BYTES + 16);
}

#[test]
fn leftovers_of_a_crash_are_removed_and_other_files_are_not() {
    let folder = Folder::new("crash");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("slot-0.spill"), b"old").unwrap();
    fs::write(folder.0.join("notes.txt"), b"mine").unwrap();
    let store = store(&folder, 0, 1);
    assert_eq!(folder.files(), [folder.0.join("notes.txt")]);
    drop(staged(&store, &payload(1)));
}

#[test]
fn store_without_room_for_one_payload_is_refused() {
    let folder = Folder::new("none");
    let refused = SlotStore::new(
        &crate::system::System::real(),
        ByteCount(LEN - 1),
        ByteCount(LEN),
        folder.0.clone(),
        LEN,
    );
    assert!(matches!(refused, Err(MemoryError::NoSlot { .. })));
}

const LEN: u64 = 600_001;
