//! The IDX format of MNIST, bytes only: `00 00 08 rank`, then the sides (big-endian u32), then the values.

use std::{io::Read, path::Path};

use ndarray::{ArrayD, IxDyn};

use super::{error::DataError, folder};

/// Reads the file `name` in `dir`. Values are bytes, 0 to 255; the plan's `standardise` scales them.
pub(super) fn load(dir: &Path, name: &str) -> Result<ArrayD<f32>, DataError> {
    let file = folder::open(dir, name)?;
    read(file.input, file.bytes, name)
}

fn read(mut input: impl Read, length: u64, file: &str) -> Result<ArrayD<f32>, DataError> {
    let refused = |what: String| DataError::File { file: file.to_owned(), what };
    let short = |_| refused("the file is cut short".to_owned());
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(short)?;
    let rank = match magic {
        [0x1f, 0x8b, ..] => {
            return Err(refused("the file is compressed: unpack it first (gunzip)".to_owned()));
        }
        [0, 0, 0x08, rank @ 1..=4] => usize::from(rank),
        [0, 0, 0x08, rank] => {
            return Err(refused(format!("the array has {rank} dimensions; this loader reads 1 to 4")));
        }
        [0, 0, kind, _] => {
            return Err(refused(format!(
                "the values have the type {kind:#04x}; this loader reads bytes (0x08)"
            )));
        }
        _ => return Err(refused("the file is not an IDX file".to_owned())),
    };
    let mut shape = Vec::with_capacity(rank);
    for _ in 0..rank {
        let mut side = [0; 4];
        input.read_exact(&mut side).map_err(short)?;
        shape.push(u64::from(u32::from_be_bytes(side)));
    }
    let volume = folder::volume(&shape).ok_or_else(|| refused(format!("shape {shape:?} is too large")))?;
    let expected = 4 + 4 * rank as u64 + volume;
    if length != expected {
        return Err(refused(format!("the file has {length} bytes, but shape {shape:?} needs {expected}")));
    }
    let mut bytes = Vec::new();
    input.take(volume).read_to_end(&mut bytes).map_err(short)?;
    let shape: Vec<usize> = shape.iter().map(|&side| side as usize).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), bytes.into_iter().map(f32::from).collect())
        .map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<ArrayD<f32>, DataError> {
        read(bytes, bytes.len() as u64, "t.idx")
    }

    fn refusal(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn images_of_bytes_are_read() {
        let array = parse(&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 7, 128, 255]).unwrap();
        assert_eq!(array.shape(), [1, 2, 2]);
        assert_eq!(array.as_slice().unwrap(), [0.0, 7.0, 128.0, 255.0]);
    }

    #[test]
    fn hostile_files_are_refused_before_anything_is_allocated() {
        assert_eq!(refusal(&[0, 0]), "t.idx: the file is cut short");
        assert_eq!(refusal(&[1, 2, 3, 4]), "t.idx: the file is not an IDX file");
        assert_eq!(
            refusal(&[0, 0, 0x0d, 1]),
            "t.idx: the values have the type 0x0d; this loader reads bytes (0x08)"
        );
        assert_eq!(refusal(&[0, 0, 8, 200]), "t.idx: the array has 200 dimensions; this loader reads 1 to 4");
        assert_eq!(refusal(&[0x1f, 0x8b, 8, 0]), "t.idx: the file is compressed: unpack it first (gunzip)");
        let huge = [&[0, 0, 8, 4][..], &[0xff; 16]].concat();
        assert!(refusal(&huge).ends_with("is too large"));
        let claims = [0, 0, 8, 1, 0, 0xff, 0xff, 0xff, 1];
        assert_eq!(refusal(&claims), "t.idx: the file has 9 bytes, but shape [16777215] needs 16777223");
        let extra = [0, 0, 8, 1, 0, 0, 0, 1, 1, 1];
        assert_eq!(refusal(&extra), "t.idx: the file has 10 bytes, but shape [1] needs 9");
    }
}
