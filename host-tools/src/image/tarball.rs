//! A tar archive from anywhere, read member by member.
//!
//! The reader holds one name at a time and never a file: each length is compared with a bound before memory
//! is taken for it. At the end the archive is read to its last byte, so that gzip's checksum and length are
//! compared.

use std::{
    fs::File,
    io::{self, Read, Seek as _},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

/// What an archive may contain at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Files, folders and other members.
    pub(crate) members: usize,
    /// Bytes, unpacked.
    pub(crate) bytes: u64,
}

/// A file, folder or other thing in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A link, device, pipe or sparse file.
    Other,
}

/// Opens an archive, compressed or not.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] for anything but a plain file.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    // Opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a plain file"));
    }
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Calls `take` with each member and its contents, in the archive's order. What `take` leaves unread is
/// skipped.
///
/// # Errors
/// What is wrong with the archive, in words that follow "the archive …:"; the error of `take`.
pub(crate) fn each(
    reader: impl Read,
    bounds: Bounds,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<(), String>,
) -> Result<(), String> {
    let mut source = Bounded { reader, left: bounds.bytes, most: bounds.bytes };
    let mut archive = Archive::new(&mut source);
    let (mut long, mut members, mut total) = (None, 0, 0_u64);
    for entry in archive.entries().map_err(|e| words(&e))?.raw(true) {
        let mut entry = entry.map_err(|e| words(&e))?;
        members += 1;
        total = total.saturating_add(entry.size());
        if members > bounds.members || total > bounds.bytes {
            return Err(format!(
                "the archive contains more than {} files or {} bytes",
                bounds.members, bounds.bytes
            ));
        }
        let kind = match entry.header().entry_type() {
            EntryType::GNULongName => {
                let name = extension(&mut entry)?;
                long = Some(text(name.strip_suffix(b"\0").unwrap_or(&name))?);
                continue;
            }
            EntryType::XHeader => {
                long = pax_path(&extension(&mut entry)?)?.or(long);
                continue;
            }
            // Of the whole archive: no name, and nothing that is used here.
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            EntryType::Directory => Kind::Folder,
            EntryType::Regular => Kind::File,
            _ => Kind::Other,
        };
        let path = match long.take() {
            Some(path) => path,
            None => text(&entry.path_bytes())?,
        };
        if path.len() > PATH_BYTES {
            return Err(format!(
                "the archive contains a name of {} bytes; at most {PATH_BYTES} are read",
                path.len()
            ));
        }
        if let Some(c) = fl_engine::printable::unprintable(&path) {
            return Err(format!("the name {path:?} contains the control character {}", c.escape_unicode()));
        }
        let member = Member { path, size: entry.size(), kind };
        let mut contents = Counted { reader: &mut entry, read: 0 };
        take(&member, &mut contents)?;
        io::copy(&mut contents, &mut io::sink()).map_err(|e| words(&e))?;
        if contents.read != member.size {
            return Err(format!("{:?} is cut short", member.path));
        }
    }
    to_the_end(&mut source)
}

/// Reads all of a member, which may have at most `most` bytes.
///
/// # Errors
/// A message that names the member.
pub(crate) fn whole(member: &Member, contents: &mut dyn Read, most: usize) -> Result<Vec<u8>, String> {
    if member.size > most as u64 {
        return Err(format!(
            "{:?} has {} bytes; this file may have at most {most}",
            member.path, member.size
        ));
    }
    let mut bytes = Vec::new();
    contents.read_to_end(&mut bytes).map_err(|e| words(&e))?;
    Ok(bytes)
}

/// The rest of the archive, which is nothing but zeros.
fn to_the_end(source: &mut impl Read) -> Result<(), String> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match source.read(&mut piece).map_err(|e| words(&e))? {
            0 => return Ok(()),
            read if piece[..read].iter().any(|byte| *byte != 0) => {
                return Err("bytes follow the archive's end".to_owned());
            }
            _ => {}
        }
    }
}

/// The contents of a member that describes the next one.
fn extension(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, String> {
    if entry.size() > EXTENSION_BYTES {
        return Err(format!(
            "the archive contains a name of {} bytes; at most {EXTENSION_BYTES} are read",
            entry.size()
        ));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|e| words(&e))?;
    Ok(bytes)
}

/// The path that an extended header (POSIX pax, `LENGTH KEY=VALUE\n`) gives to the next member.
fn pax_path(mut records: &[u8]) -> Result<Option<String>, String> {
    let broken = || "the archive contains an extended header that cannot be read".to_owned();
    let mut path = None;
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length = std::str::from_utf8(&records[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let record = length.and_then(|length| records.get(space + 1..length)).ok_or_else(broken)?;
        records = &records[space + 1 + record.len()..];
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let (key, value) =
            record.iter().position(|byte| *byte == b'=').map(|at| record.split_at(at)).ok_or_else(broken)?;
        match key {
            b"path" => path = Some(text(&value[1..])?),
            b"size" => return Err("the archive contains a file of 8 GiB or more".to_owned()),
            _ => {}
        }
    }
    Ok(path)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("the archive contains a name that is not UTF-8".to_owned()),
    }
}

/// An error of a reader, in words of the archive.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the archive is cut short".to_owned(),
        _ => error.to_string(),
    }
}

/// Ends with an error where more bytes come than the bound allows.
struct Bounded<R> {
    reader: R,
    left: u64,
    most: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left
            .ok_or_else(|| io::Error::other(format!("the archive contains more than {} bytes", self.most)))?;
        Ok(read)
    }
}

struct Counted<R> {
    reader: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Longest path, bytes, as Linux has it.
const PATH_BYTES: usize = 4096;
/// Longest extended header, bytes.
const EXTENSION_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn member(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8]) {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn names(tar: &[u8]) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        each(tar, Bounds { members: 10, bytes: 1 << 20 }, &mut |member, _| {
            names.push(member.path.clone());
            Ok(())
        })?;
        Ok(names)
    }

    #[test]
    fn long_names_of_both_kinds_are_read_and_bounded() {
        let long = format!("src/{}", "a".repeat(200));
        let mut gnu = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        gnu.append_data(&mut header, &long, &b""[..]).unwrap();
        assert_eq!(names(&gnu.into_inner().unwrap()), Ok(vec![long.clone()]));
        let record = format!(" path={long}\n");
        let record = format!("{}{record}", record.len() + 3);
        let mut pax = Builder::new(Vec::new());
        member(&mut pax, EntryType::XHeader, "x", record.as_bytes());
        member(&mut pax, EntryType::Regular, "short", b"");
        assert_eq!(names(&pax.into_inner().unwrap()), Ok(vec![long]));
        for (kind, bytes, words) in [
            (EntryType::GNULongName, vec![b'a'; 20 << 10], "a name of 20480 bytes; at most 16384"),
            (EntryType::XHeader, vec![b'a'; 20 << 10], "a name of 20480 bytes; at most 16384"),
            (EntryType::XHeader, b"no record".to_vec(), "an extended header that cannot be read"),
            (EntryType::XHeader, b"99999 path=a\n".to_vec(), "an extended header that cannot be read"),
            (EntryType::XHeader, b"3 path=a\n".to_vec(), "an extended header that cannot be read"),
            (EntryType::XHeader, b"14 size=99999\n".to_vec(), "a file of 8 GiB or more"),
            (EntryType::XHeader, b"9 path=\xff\n".to_vec(), "a name that is not UTF-8"),
            (EntryType::XHeader, b"11 path=a\x1b\n".to_vec(), "the control character \\u{1b}"),
        ] {
            let mut tar = Builder::new(Vec::new());
            member(&mut tar, kind, "x", &bytes);
            member(&mut tar, EntryType::Regular, "short", b"");
            let refused = names(&tar.into_inner().unwrap()).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn archive_is_read_to_its_end() {
        let mut tar = Builder::new(Vec::new());
        member(&mut tar, EntryType::Regular, "a", b"contents");
        let tar = tar.into_inner().unwrap();
        assert_eq!(names(&tar), Ok(vec!["a".to_owned()]));
        assert_eq!(names(&[&tar[..], &[0; 4096]].concat()), Ok(vec!["a".to_owned()]));
        let refused = names(&[&tar[..], &[0; 512], b"more"].concat()).unwrap_err();
        assert_eq!(refused, "bytes follow the archive's end");
        assert!(names(&tar[..516]).is_err());
    }
}
