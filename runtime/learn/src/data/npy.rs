//! NumPy arrays: `.npy` files, and the arrays of an `.npz` archive (`file.npz:array`).
//!
//! NEP 1 (numpy.lib.format) defines the format. This loader reads arrays of numbers and of truth values in
//! any byte order and memory order. The loader refuses everything else, above all pickled objects.

mod element;

use std::{
    io::{BufRead, Read, Seek},
    path::Path,
};

use ndarray::ArrayD;

use self::element::Element;
use super::{
    array::{Body, Wanted},
    error::DataError,
    folder, signature,
};

/// Reads the file `name` (`x.npy`) in `dir`, or one array of an archive (`x.npz:array`).
pub(super) fn load(dir: &Path, name: &str, wanted: Wanted<'_>) -> Result<ArrayD<f32>, DataError> {
    match name.split_once(".npz:") {
        Some((stem, member)) => {
            let archive = format!("{stem}.npz");
            from_archive(folder::open_archive(dir, &archive)?, member, name, wanted)
        }
        None => {
            let file = folder::open(dir, name)?;
            read(file.input, file.bytes, name, wanted)
        }
    }
}

fn from_archive(
    mut archive: impl BufRead + Seek,
    member: &str,
    name: &str,
    wanted: Wanted<'_>,
) -> Result<ArrayD<f32>, DataError> {
    let refused = |e: zip::result::ZipError| {
        DataError::file(name, format!("the archive cannot be read: {e}"), folder::SAVEZ)
    };
    let start = archive.fill_buf().map_err(|e| folder::unreadable(name, &e))?;
    if let Some(found) = signature::of(start).filter(|_| !start.starts_with(b"PK")) {
        let what = format!("the file is {}, not an archive of numpy.savez", found.what);
        let hint = if start.starts_with(b"\x93NUMPY") {
            "write `loader: npy` and both files' names into the plan's data"
        } else {
            folder::SAVEZ
        };
        return Err(DataError::file(name, what, hint));
    }
    let mut archive = zip::ZipArchive::new(archive).map_err(refused)?;
    let inside = format!("{member}.npy");
    let Some(at) = archive.index_for_name(&inside) else {
        let shown = |n: &str| n.strip_suffix(".npy").map(str::to_owned);
        let mut names: Vec<String> = archive.file_names().flatten().filter_map(|n| shown(&n)).collect();
        names.sort_unstable();
        names.truncate(16);
        let what = format!("the archive has no array {member:?}; its arrays are {}", names.join(", "));
        return Err(DataError::file(name, what, "write the array's name into the plan's data"));
    };
    let member = archive.by_index(at).map_err(refused)?;
    let length = member.size();
    read(member, Some(length), name, wanted)
}

/// Reads an array. `length` is the number of its bytes, where that is known before they are read.
fn read(
    mut input: impl Read,
    length: Option<u64>,
    file: &str,
    wanted: Wanted<'_>,
) -> Result<ArrayD<f32>, DataError> {
    let broken = |e: std::io::Error| folder::unreadable(file, &e);
    let again = "in Python, save the array again with numpy.save";
    let refused = |what: String| DataError::file(file, what, again);
    let mut start = [0; 8];
    input.read_exact(&mut start).map_err(broken)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(match signature::of(&start) {
            Some(found) => {
                DataError::file(file, format!("the file is {}, not a NumPy array", found.what), NOT_AN_ARRAY)
            }
            None => DataError::file(file, "the file is not a NumPy array", NOT_AN_ARRAY),
        });
    }
    let (prefix, header_bytes) = match start[6] {
        1 => {
            let mut size = [0; 2];
            input.read_exact(&mut size).map_err(broken)?;
            (10, usize::from(u16::from_le_bytes(size)))
        }
        2 | 3 => {
            let mut size = [0; 4];
            input.read_exact(&mut size).map_err(broken)?;
            (12, u32::from_le_bytes(size) as usize)
        }
        version => {
            return Err(refused(format!("the file has format version {version}; this loader reads 1 to 3")));
        }
    };
    if header_bytes > HEADER_BYTES {
        return Err(refused(format!(
            "the header has {header_bytes} bytes; this loader reads at most {HEADER_BYTES}"
        )));
    }
    let mut header = vec![0; header_bytes];
    input.read_exact(&mut header).map_err(broken)?;
    let Header { element, column_major, shape } =
        parse_header(&header).map_err(|(what, hint)| DataError::file(file, what, hint))?;

    let start = prefix + header_bytes as u64;
    let body =
        Body { file, hint: again, start, length, shape: &shape, column_major, element: element.bytes() };
    body.read(input, |cell| element.value(cell), wanted)
}

/// What the text at the start of a file says of its array.
struct Header {
    element: Element,
    /// Fortran's order: the first axis changes fastest.
    column_major: bool,
    /// 1 to [`fl_engine::limits::TENSOR_RANK`] sides.
    shape: Vec<u64>,
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`: keys in any order, no nesting. The
/// error is what is wrong, and the cure.
fn parse_header(header: &[u8]) -> Result<Header, (String, &'static str)> {
    let malformed =
        || ("the array's header cannot be read".to_owned(), "save the array again with numpy.save");
    let text = std::str::from_utf8(header).map_err(|_| malformed())?.trim();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?;
    let value_of = |key: &str| -> Result<&str, (String, &'static str)> {
        let quoted = format!("'{key}':");
        let mut found = inner.match_indices(&quoted);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(inner[at + quoted.len()..].trim_start()),
            _ => Err(malformed()),
        }
    };
    let descr =
        value_of("descr")?.strip_prefix('\'').and_then(|t| t.split_once('\'')).map(|(descr, _)| descr);
    let element = Element::of(descr)?;
    let column_major = match value_of("fortran_order")? {
        order if order.starts_with("True") => true,
        order if order.starts_with("False") => false,
        _ => return Err(malformed()),
    };
    let sides = value_of("shape")?
        .strip_prefix('(')
        .and_then(|t| t.split_once(')'))
        .map(|(sides, _)| sides.trim().trim_end_matches(','))
        .ok_or_else(malformed)?;
    let shape: Vec<u64> = if sides.is_empty() {
        Vec::new()
    } else {
        sides.split(',').map(|side| side.trim().parse().map_err(|_| malformed())).collect::<Result<_, _>>()?
    };
    if shape.is_empty() || shape.len() > fl_engine::limits::TENSOR_RANK {
        let (sides, most) = (shape.len(), fl_engine::limits::TENSOR_RANK);
        let what = format!("the array has {sides} dimensions; this loader reads 1 to {most}");
        return Err((what, "save an array whose first axis counts the samples"));
    }
    Ok(Header { element, column_major, shape })
}

const NOT_AN_ARRAY: &str = "in Python, save the array with numpy.save; for an archive of numpy.savez write `loader: npz` in the plan";
/// Longest header, bytes. The header of an array of numbers has about 100.
const HEADER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY".to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    fn parse(bytes: &[u8]) -> Result<ArrayD<f32>, DataError> {
        read(bytes, Some(bytes.len() as u64), "t.npy", Wanted::Labels { shape: &[] })
    }

    fn refusal(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_version_is_read() {
        let data: Vec<u8> = [1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        for version in [1, 2, 3] {
            let array = parse(&npy(version, &header("<f4", "(2, 1)"), &data)).unwrap();
            assert_eq!((array.shape(), array.as_slice().unwrap()), (&[2, 1][..], &[1.0, -2.0][..]));
        }
        assert_eq!(parse(&npy(1, &header("|u1", "(3,)"), &[1, 2, 3])).unwrap().shape(), [3]);
    }

    #[test]
    fn column_major_array_is_the_same_array() {
        let of = |order: &str, data: &[u8], shape: &str, input: &[u32]| {
            let bytes = npy(1, &header("|u1", shape).replace("False", order), data);
            read(
                &bytes[..],
                Some(bytes.len() as u64),
                "t.npy",
                Wanted::Samples { input, scaling: crate::data::scale::Scaling::AsIs },
            )
            .unwrap()
        };
        let rows = of("False", &[1, 2, 3, 4, 5, 6], "(2, 3)", &[3]);
        assert_eq!(of("True", &[1, 4, 2, 5, 3, 6], "(2, 3)", &[3]), rows);
        let images = of("False", &(0..12).collect::<Vec<u8>>(), "(2, 3, 2)", &[3, 2]);
        let columns: Vec<u8> = images.t().iter().map(|value| *value as u8).collect();
        assert_eq!(of("True", &columns, "(2, 3, 2)", &[3, 2]), images);
    }

    #[test]
    fn hostile_arrays_are_refused() {
        let one = 1.0f32.to_le_bytes();
        assert_eq!(refusal(b"aaaaaaaaaaaa"), "t.npy: the file is not a NumPy array");
        assert!(refusal(b"PK\x03\x04aaaaaaaa").starts_with("t.npy: the file is a ZIP archive"));
        assert_eq!(refusal(b"\x93NU"), "t.npy: the file is cut short");
        assert_eq!(
            refusal(&npy(4, &header("<f4", "(1,)"), &one)),
            "t.npy: the file has format version 4; this loader reads 1 to 3"
        );
        assert_eq!(
            refusal(&npy(1, &header("|O", "(1,)"), &one)),
            "t.npy: the array holds Python objects; this loader reads numbers"
        );
        assert_eq!(
            refusal(&npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &one)),
            "t.npy: the array holds records; this loader reads numbers"
        );
        assert_eq!(
            refusal(&npy(1, &header("<f4", "()"), &one)),
            "t.npy: the array has 0 dimensions; this loader reads 1 to 8"
        );
        assert!(refusal(&npy(1, &header("<f4", "(4294967296, 4294967296)"), &one)).ends_with("is too large"));
        assert!(refusal(&npy(1, &header("<f4", "(-1,)"), &one)).ends_with("header cannot be read"));
        assert!(refusal(&npy(1, &header("<f4", "(2,)"), &one)).contains("needs"));
        assert!(refusal(&npy(1, "{", &one)).ends_with("header cannot be read"));
        let mut claims = b"\x93NUMPY\x02\x00".to_vec();
        claims.extend(u32::MAX.to_le_bytes());
        assert!(refusal(&claims).contains("this loader reads at most 65536"));
        let bad: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        assert_eq!(
            refusal(&npy(1, &header("<f4", "(2, 1)"), &bad)),
            "t.npy: 1 values are not finite, first NaN in row 2, value 1 of the row"
        );
    }

    #[test]
    fn stored_and_deflated_members_of_an_archive_are_read() {
        let dir = super::super::tests::scratch("npz");
        let mut archive = zip::ZipWriter::new(File::create(dir.join("a.npz")).unwrap());
        let bytes = npy(1, &header("|u1", "(3,)"), &[1, 2, 3]);
        for (name, method) in
            [("x.npy", zip::CompressionMethod::Stored), ("y.npy", zip::CompressionMethod::Deflated)]
        {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            archive.start_file(name, options).unwrap();
            archive.write_all(&bytes).unwrap();
        }
        archive.start_file("z", zip::write::SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap();
        for name in ["a.npz:x", "a.npz:y"] {
            assert_eq!(
                load(&dir, name, Wanted::Labels { shape: &[] }).unwrap().as_slice().unwrap(),
                [1.0, 2.0, 3.0]
            );
        }
        let refusal = load(&dir, "a.npz:z", Wanted::Labels { shape: &[] }).unwrap_err().to_string();
        assert_eq!(refusal, "a.npz:z: the archive has no array \"z\"; its arrays are x, y");
        std::fs::write(dir.join("b.npz"), &bytes).unwrap();
        let refused = load(&dir, "b.npz:x", Wanted::Labels { shape: &[] }).unwrap_err();
        assert_eq!(refused.to_string(), "b.npz:x: the file is a NumPy array, not an archive of numpy.savez");
        assert!(refused.hint().unwrap().starts_with("write `loader: npy`"));
    }
}
