//! NumPy arrays: `.npy` files of versions 1 and 2, and the arrays of an `.npz` archive (`file.npz:array`).
//!
//! NEP 1 (numpy.lib.format) defines the format. This loader reads little-endian f4, f8, i4, i8 and u1 in C
//! order. The loader refuses everything else, above all pickled objects.

use std::{
    io::{Read, Seek},
    path::Path,
};

use ndarray::{ArrayD, IxDyn};

use super::{error::DataError, folder};

/// Reads the file `name` (`x.npy`) in `dir`, or one array of an archive (`x.npz:array`). Values become f32; a
/// value that f32 cannot hold is rounded.
pub(super) fn load(dir: &Path, name: &str) -> Result<ArrayD<f32>, DataError> {
    match name.split_once(".npz:") {
        Some((stem, member)) => {
            let archive = format!("{stem}.npz");
            from_archive(folder::open(dir, &archive)?.input, member, name)
        }
        None => {
            let file = folder::open(dir, name)?;
            read(file.input, file.bytes, name)
        }
    }
}

fn from_archive(archive: impl Read + Seek, member: &str, name: &str) -> Result<ArrayD<f32>, DataError> {
    let refused = |e: zip::result::ZipError| DataError::File { file: name.to_owned(), what: e.to_string() };
    let mut archive = zip::ZipArchive::new(archive).map_err(refused)?;
    let inside = format!("{member}.npy");
    let Some(at) = archive.index_for_name(&inside) else {
        let shown = |n: &str| n.strip_suffix(".npy").unwrap_or(n).to_owned();
        let mut names: Vec<String> = archive.file_names().flatten().map(|n| shown(&n)).collect();
        names.sort_unstable();
        names.truncate(16);
        let what = format!("the archive has no array {member:?}; its arrays are {}", names.join(", "));
        return Err(DataError::File { file: name.to_owned(), what });
    };
    let member = archive.by_index(at).map_err(refused)?;
    let length = member.size();
    read(member, length, name)
}

/// An element type.
#[derive(Clone, Copy)]
enum Element {
    F4,
    F8,
    I4,
    I8,
    U1,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U1 => 1,
            Self::F4 | Self::I4 => 4,
            Self::F8 | Self::I8 => 8,
        }
    }

    /// `raw` has [`Self::bytes`] bytes.
    fn value(self, raw: &[u8]) -> f32 {
        let mut eight = [0; 8];
        eight[..raw.len()].copy_from_slice(raw);
        let four = [eight[0], eight[1], eight[2], eight[3]];
        match self {
            Self::F4 => f32::from_le_bytes(four),
            Self::F8 => f64::from_le_bytes(eight) as f32,
            Self::I4 => i32::from_le_bytes(four) as f32,
            Self::I8 => i64::from_le_bytes(eight) as f32,
            Self::U1 => f32::from(four[0]),
        }
    }
}

fn read(mut input: impl Read, length: u64, file: &str) -> Result<ArrayD<f32>, DataError> {
    let refused = |what: String| DataError::File { file: file.to_owned(), what };
    let broken = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => refused("the file is cut short".to_owned()),
        _ => refused(e.to_string()),
    };
    let mut start = [0; 8];
    input.read_exact(&mut start).map_err(broken)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(refused("the file is not a NumPy array".to_owned()));
    }
    let (prefix, header_bytes) = match start[6] {
        1 => {
            let mut size = [0; 2];
            input.read_exact(&mut size).map_err(broken)?;
            (10, usize::from(u16::from_le_bytes(size)))
        }
        2 => {
            let mut size = [0; 4];
            input.read_exact(&mut size).map_err(broken)?;
            (12, u32::from_le_bytes(size) as usize)
        }
        version => {
            return Err(refused(format!("the file has format version {version}; this loader reads 1 and 2")));
        }
    };
    if header_bytes > HEADER_BYTES {
        return Err(refused(format!(
            "the header has {header_bytes} bytes; this loader reads at most {HEADER_BYTES}"
        )));
    }
    let mut header = vec![0; header_bytes];
    input.read_exact(&mut header).map_err(broken)?;
    let (element, shape) = parse_header(&header).map_err(refused)?;

    let volume = folder::volume(&shape).ok_or_else(|| refused(format!("shape {shape:?} is too large")))?;
    let expected = prefix + header_bytes as u64 + volume * element.bytes() as u64;
    if length != expected {
        return Err(refused(format!("the file has {length} bytes, but shape {shape:?} needs {expected}")));
    }
    let mut values = Vec::new();
    let mut raw = vec![0; 8192];
    let mut left = volume as usize;
    while left > 0 {
        let take = left.min(raw.len() / element.bytes());
        let chunk = &mut raw[..take * element.bytes()];
        input.read_exact(chunk).map_err(broken)?;
        for cell in chunk.chunks_exact(element.bytes()) {
            let value = element.value(cell);
            if !value.is_finite() {
                let columns = shape.iter().skip(1).product::<u64>().max(1);
                let at = values.len() as u64;
                return Err(DataError::Cell {
                    file: file.to_owned(),
                    row: at / columns + 1,
                    column: (at % columns) as usize + 1,
                    what: format!("{value} is not a finite number"),
                });
            }
            values.push(value);
        }
        left -= take;
    }
    let shape: Vec<usize> = shape.iter().map(|&side| side as usize).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|e| refused(e.to_string()))
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`: keys in any order, no nesting.
fn parse_header(header: &[u8]) -> Result<(Element, Vec<u64>), String> {
    let malformed = || "the array's header cannot be read".to_owned();
    let text = std::str::from_utf8(header).map_err(|_| malformed())?.trim();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?;
    let value_of = |key: &str| -> Result<&str, String> {
        let quoted = format!("'{key}':");
        let mut found = inner.match_indices(&quoted);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(inner[at + quoted.len()..].trim_start()),
            _ => Err(malformed()),
        }
    };
    let descr = value_of("descr")?
        .strip_prefix('\'')
        .and_then(|t| t.split_once('\''))
        .map(|(descr, _)| descr)
        .ok_or_else(|| "the array holds records or objects; this loader reads numbers".to_owned())?;
    let element = match descr {
        "<f4" => Element::F4,
        "<f8" => Element::F8,
        "<i4" => Element::I4,
        "<i8" => Element::I8,
        "|u1" | "<u1" => Element::U1,
        other => {
            return Err(format!(
                "the values have the type {other:?}; this loader reads <f4, <f8, <i4, <i8 and |u1"
            ));
        }
    };
    let order = value_of("fortran_order")?;
    if order.starts_with("True") {
        return Err("the array is column-major: save it with numpy.ascontiguousarray".to_owned());
    }
    if !order.starts_with("False") {
        return Err(malformed());
    }
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
        return Err(format!(
            "the array has {} dimensions; this loader reads 1 to {}",
            shape.len(),
            fl_engine::limits::TENSOR_RANK
        ));
    }
    Ok((element, shape))
}

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
        read(bytes, bytes.len() as u64, "t.npy")
    }

    fn refusal(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_element_type_and_both_versions_are_read() {
        let cases: [(&str, Vec<u8>); 5] = [
            ("<f4", [1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("<f8", [1.0f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("<i4", [1i32, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("<i8", [1i64, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("|u1", vec![1, 254]),
        ];
        for (version, (descr, data)) in [1, 2].into_iter().flat_map(|v| cases.iter().map(move |c| (v, c))) {
            let array = parse(&npy(version, &header(descr, "(2, 1)"), data)).unwrap();
            assert_eq!(array.shape(), [2, 1], "{descr}");
            let second = if *descr == "|u1" { 254.0 } else { -2.0 };
            assert_eq!(array.as_slice().unwrap(), [1.0, second], "{descr}");
        }
        assert_eq!(parse(&npy(1, &header("|u1", "(3,)"), &[1, 2, 3])).unwrap().shape(), [3]);
    }

    #[test]
    fn hostile_arrays_are_refused() {
        let one = 1.0f32.to_le_bytes();
        assert_eq!(refusal(b"PK\x03\x04aaaaaaaa"), "t.npy: the file is not a NumPy array");
        assert_eq!(refusal(b"\x93NU"), "t.npy: the file is cut short");
        assert_eq!(
            refusal(&npy(3, &header("<f4", "(1,)"), &one)),
            "t.npy: the file has format version 3; this loader reads 1 and 2"
        );
        assert_eq!(
            refusal(&npy(1, &header("|O", "(1,)"), &one)),
            "t.npy: the values have the type \"|O\"; this loader reads <f4, <f8, <i4, <i8 and |u1"
        );
        assert_eq!(
            refusal(&npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &one)),
            "t.npy: the array holds records or objects; this loader reads numbers"
        );
        assert!(
            refusal(&npy(1, &header("<f4", "(1,)").replace("False", "True"), &one)).contains("column-major")
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
            "t.npy: row 2, column 1: NaN is not a finite number"
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
        archive.finish().unwrap();
        for name in ["a.npz:x", "a.npz:y"] {
            assert_eq!(load(&dir, name).unwrap().as_slice().unwrap(), [1.0, 2.0, 3.0]);
        }
        let refusal = load(&dir, "a.npz:z").unwrap_err().to_string();
        assert_eq!(refusal, "a.npz:z: the archive has no array \"z\"; its arrays are x, y");
    }
}
