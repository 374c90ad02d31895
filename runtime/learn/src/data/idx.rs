//! The IDX format of MNIST, bytes only: `00 00 08 rank`, then the sides (big-endian u32), then the values.

use std::{io::Read, path::Path};

use ndarray::ArrayD;

use super::{
    array::{Body, Wanted},
    error::DataError,
    folder, signature,
};

/// Reads the file `name` in `dir`. Values are bytes, 0 to 255; the plan's `standardise` scales them.
pub(super) fn load(dir: &Path, name: &str, wanted: Wanted<'_>) -> Result<ArrayD<f32>, DataError> {
    let file = folder::open(dir, name)?;
    read(file.input, file.bytes, name, wanted)
}

fn read(
    mut input: impl Read,
    length: Option<u64>,
    file: &str,
    wanted: Wanted<'_>,
) -> Result<ArrayD<f32>, DataError> {
    let refused = |what: String| DataError::file(file, what, AGAIN);
    let broken = |e: std::io::Error| folder::unreadable(file, &e);
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(broken)?;
    let rank = match magic {
        [0, 0, 0x08, rank @ 1..=4] => usize::from(rank),
        [0, 0, 0x08, rank] => {
            return Err(refused(format!("the array has {rank} dimensions; this loader reads 1 to 4")));
        }
        [0, 0, kind, _] => {
            return Err(refused(format!(
                "the values have the type {kind:#04x}; this loader reads bytes (0x08)"
            )));
        }
        _ => {
            let found = signature::of(&magic).map(|found| format!("{}, ", found.what)).unwrap_or_default();
            return Err(refused(format!("the file is {found}not an IDX file")));
        }
    };
    let mut shape = Vec::with_capacity(rank);
    for _ in 0..rank {
        let mut side = [0; 4];
        input.read_exact(&mut side).map_err(broken)?;
        shape.push(u64::from(u32::from_be_bytes(side)));
    }
    let body = Body {
        file,
        hint: AGAIN,
        start: 4 + 4 * rank as u64,
        length,
        shape: &shape,
        column_major: false,
        element: 1,
    };
    body.read(input, |cell| f64::from(cell[0]), wanted)
}

const AGAIN: &str = "take the file as MNIST's page has it, or save the arrays with numpy.save";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<ArrayD<f32>, DataError> {
        read(bytes, Some(bytes.len() as u64), "t.idx", Wanted::Labels { shape: &[] })
    }

    fn refusal(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn images_of_bytes_are_read() {
        let bytes = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 7, 128, 255];
        let wanted = Wanted::Samples { input: &[1, 2, 2], scaling: crate::data::scale::Scaling::AsIs };
        let array = read(&bytes[..], None, "t.idx", wanted).unwrap();
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
        assert!(
            refusal(&[0x1f, 0x8b, 8, 0]).starts_with("t.idx: the file is a gzip file inside a gzip file")
        );
        let huge = [&[0, 0, 8, 4][..], &[0xff; 16]].concat();
        assert!(refusal(&huge).ends_with("is too large"));
        let claims = [0, 0, 8, 1, 0, 0xff, 0xff, 0xff, 1];
        assert_eq!(refusal(&claims), "t.idx: the file has 9 bytes, but shape [16777215] needs 16777223");
        let extra = [0, 0, 8, 1, 0, 0, 0, 1, 1, 1];
        assert_eq!(refusal(&extra), "t.idx: the file has 10 bytes, but shape [1] needs 9");
    }
}
