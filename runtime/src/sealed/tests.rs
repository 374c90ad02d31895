//! Sealed files: opened as they are, and by no means otherwise.

use std::cell::Cell;

use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::*;
use crate::system::System;

/// The Diffie-Hellman value of a private key with a public one.
pub(super) fn x25519(private: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    StaticSecret::from(*private).diffie_hellman(&Point::from(*public)).to_bytes()
}

fn public(private: [u8; 32]) -> PublicKey {
    PublicKey(Point::from(&StaticSecret::from(private)).to_bytes())
}

fn label(length: usize) -> Label {
    Label {
        plan: Digest([1; 32]),
        rounds: 7,
        root: Digest([2; 32]),
        length: length as u64,
        recipient: public(PRIVATE),
        note: "[]".to_owned(),
    }
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

/// Sealed in pieces of uneven lengths.
fn sealed(length: usize) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), &label(length), &System::real().random).unwrap();
    let plain = plain(length);
    let (mut rest, mut piece) = (&plain[..], 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        sealer.write(now).unwrap();
        (rest, piece) = (later, piece * 3 + 1);
    }
    sealer.finish().unwrap()
}

fn open_with(file: &[u8], private: [u8; 32]) -> Result<(Label, Vec<u8>), OpenError> {
    let opener = Opener::new(file, file.len() as u64)?;
    let mut out = Vec::new();
    let label = opener.open(&public(private), |point| x25519(&private, point), &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((label, out))
}

fn open(file: &[u8]) -> Result<(Label, Vec<u8>), OpenError> {
    open_with(file, PRIVATE)
}

#[test]
fn file_opens_to_what_was_sealed_whatever_its_length() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17] {
        let file = sealed(length);
        assert_eq!(file.len() as u64, label(length).file_length(), "{length}");
        let (found, opened) = open(&file).unwrap();
        assert!(opened == plain(length), "{length}");
        assert_eq!(found, label(length));
    }
    assert_ne!(sealed(1), sealed(1), "every file has an ephemeral key of its own");
}

#[test]
fn no_changed_bit_opens() {
    let file = sealed(CHUNK + 40);
    let head = FIXED + 2 + KEY;
    let second = head + CHUNK + TAG;
    let places = (0..head + 3).chain(second - TAG - 2..second + 2).chain(file.len() - TAG - 1..file.len());
    let tried = Cell::new(0);
    for at in places {
        for bit in [1, 0x80] {
            let mut other = file.clone();
            other[at] ^= bit;
            // X25519 leaves the highest bit of a public key out of account; the key schedule does not.
            assert!(open(&other).is_err(), "byte {at}, bit {bit:#x}");
            tried.set(tried.get() + 1);
        }
    }
    assert!(tried.get() > 300);
}

#[test]
fn cut_extended_and_reordered_files_are_refused_by_name() {
    let file = sealed(3 * CHUNK);
    let head = FIXED + 2 + KEY;
    for length in [head, head + 1, head + CHUNK + TAG, file.len() - TAG, file.len() - 1] {
        let refusal = open(&file[..length]).unwrap_err();
        assert!(matches!(refusal, OpenError::Length { .. }), "{length}: {refusal}");
    }
    for length in 0..head {
        let refusal = open(&file[..length]).unwrap_err();
        assert!(matches!(refusal, OpenError::Form | OpenError::Length { .. }), "{length}: {refusal}");
    }
    let longer = [&file[..], &[0]].concat();
    let refusal = open(&longer).unwrap_err().to_string();
    let (found, expected) = (longer.len(), file.len());
    assert_eq!(
        refusal,
        format!("the file is {found} bytes long, but a sealed model with this head has {expected}")
    );
    let mut swapped = file.clone();
    let chunk = CHUNK + TAG;
    swapped[head..head + 2 * chunk].rotate_left(chunk);
    assert_eq!(
        open(&swapped).unwrap_err().to_string(),
        "part 1 of 3 of the model was changed after the model was sealed"
    );
    let mut repeated = file.clone();
    repeated.copy_within(head..head + chunk, head + 2 * chunk);
    assert_eq!(
        open(&repeated).unwrap_err().to_string(),
        "part 3 of 3 of the model was changed after the model was sealed"
    );
    // A chunk of another file to the same key.
    let mut mixed = file;
    mixed[head + chunk..head + 2 * chunk].copy_from_slice(&sealed(3 * CHUNK)[head + chunk..head + 2 * chunk]);
    assert_eq!(
        open(&mixed).unwrap_err().to_string(),
        "part 2 of 3 of the model was changed after the model was sealed"
    );
}

#[test]
fn other_keys_and_other_files_are_refused_by_name() {
    let refusal = open_with(&sealed(5), [8; 32]).unwrap_err();
    let [sealed_to, given] = [PRIVATE, [8; 32]].map(public);
    assert_eq!(
        refusal.to_string(),
        format!("the model was sealed to the key {sealed_to}, but the given key is {given}")
    );
    let file = sealed(5);
    let opener = Opener::new(&file[..], file.len() as u64).unwrap();
    let lied = opener.open(&public(PRIVATE), |point| x25519(&[8; 32], point), &mut |_| Ok(()));
    assert_eq!(
        lied.unwrap_err().to_string(),
        "part 1 of 1 of the model was changed after the model was sealed"
    );
    let mut later = sealed(5);
    later[MAGIC.len()] = 2;
    assert!(matches!(open(&later), Err(OpenError::Version(2))));
    assert!(matches!(open(&[0; 200]), Err(OpenError::Form)));
    assert!(matches!(open(b""), Err(OpenError::Form)));
}

#[test]
fn length_that_no_file_has_reserves_nothing() {
    let mut lying = sealed(5);
    lying[FIXED - 4 - KEY - 8..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(open(&lying), Err(OpenError::Length { expected: u64::MAX, .. })));
    let mut lying = sealed(5);
    lying[FIXED - 4..][..4].copy_from_slice(&(limits::MODEL_HEADER_BYTES as u32).to_le_bytes());
    assert!(matches!(open(&lying), Err(OpenError::Length { .. })));
}

#[test]
fn sealing_says_when_it_cannot() {
    let mut sealer = Sealer::new(Vec::new(), &label(3), &System::real().random).unwrap();
    sealer.write(&[0; 2]).unwrap();
    assert_eq!(sealer.finish().unwrap_err().to_string(), "2 bytes were sealed, but the label promises 3");
    // Points of small order give the value of zeros with any private key.
    for weak in [
        PublicKey([0; 32]),
        PublicKey({
            let mut one = [0; 32];
            one[0] = 1;
            one
        }),
    ] {
        assert_eq!(check_key(&weak, &System::real().random), Err(SealError::Key(weak)));
    }
    assert_eq!(check_key(&public(PRIVATE), &System::real().random), Ok(()));
}

const PRIVATE: [u8; 32] = [9; 32];
