//! What is refused, what a page holds, and that nothing panics.

use super::*;
use crate::sgx::tests::bytes;

fn with(file: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut changed = file.to_vec();
    changed[at..at + value.len()].copy_from_slice(value);
    changed
}

#[test]
fn segments_of_the_vectors_are_read() {
    let file = bytes("pal-b.elf");
    let image = Image::parse(&file).unwrap();
    assert_eq!((image.entry(), image.segments().len(), image.span()), (0x1070, 4, 0xd000));
    let data = image.segments()[3];
    assert_eq!((data.address, data.memory, data.bytes.len()), (0x3f30, 0x8f58, 0x4130));
    assert_eq!((data.read, data.write, data.execute), (true, true, false));
    assert_eq!(data.pages(), 0x3000..0xd000);
    // The first page holds zeros up to the segment; the last of the file's bytes are followed by zeros.
    let page = data.page(0x3000);
    assert!(page[..0xf30].iter().all(|byte| *byte == 0));
    assert_eq!(page[0xf30..], data.bytes[..0xd0]);
    let page = data.page(0x8000);
    assert_eq!(page[..0x60], data.bytes[0x40d0..]);
    assert!(page[0x60..].iter().all(|byte| *byte == 0));
    assert_eq!(data.page(0xc000), [0; PAGE as usize]);
}

#[test]
fn what_is_not_such_a_file_is_refused_with_the_place() {
    let file = bytes("pal-a.elf");
    let said = |bytes: &[u8]| Image::parse(bytes).unwrap_err().to_string();
    assert_eq!(said(b""), "the file is not an ELF file");
    assert_eq!(said(&file[..63]), "the file is not an ELF file");
    assert_eq!(said(b"#!/bin/sh\n"), "the file is not an ELF file");
    assert!(said(&with(&file, 4, &[1])).starts_with("byte 0x4 is 0x1, not 2 (64 bits)"));
    assert!(said(&with(&file, 16, &[2])).starts_with("byte 0x10 is 0x2, not 3 (shared object)"));
    assert!(said(&with(&file, 18, &[183])).starts_with("byte 0x12 is 0xb7, not 62 (x86-64)"));
    assert!(said(&with(&file, 32, &[0xff; 8])).contains("outside the file"));
    assert!(said(&with(&file, 54, &[57])).contains("7 of 57 bytes at 0x40"));
    assert!(said(&with(&file, 56, &[0xff, 0xff])).contains("65535 of 56 bytes"));
    assert!(said(&file[..64 + 7 * 56 - 1]).contains("outside the file"));
    // Fields of the program headers, which begin at 64.
    let second = 64 + 56;
    assert_eq!(
        said(&with(&file, second + 8, &[0, 0x10, 0, 0, 1])),
        "segment 1: the segment is outside the file"
    );
    assert_eq!(
        said(&with(&file, second + 8, &[1])),
        "segment 1: offset and address of the segment differ within a page"
    );
    assert_eq!(
        said(&with(&file, second + 32, &[0xff; 7])),
        "segment 1: the segment is longer in the file than in memory"
    );
    assert_eq!(
        said(&with(&file, second + 16, &[0, 0, 0, 0x80])),
        "segment 1: the segment reaches beyond the first GiB"
    );
    assert_eq!(
        said(&with(&file, second + 16, &[0xff; 8])),
        "segment 1: the segment reaches beyond the first GiB"
    );
    assert!(said(&with(&file, second + 40, &[0, 0x20])).starts_with("segment 2: the segment overlaps"));
    assert_eq!(said(&with(&file, 64 + 16, &[0, 0x10])), "segment 0: the lowest address is not 0");
    assert_eq!(said(&with(&file, 24, &[0, 0x20])), "the entry point 0x2000 is in no executable segment");
    let no_segment = (0..7).fold(file.clone(), |file, n| with(&file, 64 + 56 * n, &[6]));
    assert_eq!(said(&no_segment), "the file has no loadable segment");
}

/// Reads a file, and every page of it if it is taken.
fn walk(file: &[u8]) {
    if let Ok(image) = Image::parse(file) {
        assert!(image.span() <= SPAN.next_multiple_of(PAGE));
        let mut before = 0;
        for segment in image.segments() {
            assert!(segment.pages().start >= before);
            before = segment.pages().end;
            for page in segment.pages().step_by(PAGE as usize).take(20) {
                let _ = segment.page(page);
            }
            let _ = segment.page(segment.pages().end.saturating_sub(PAGE));
        }
    }
}

#[test]
fn no_byte_of_the_headers_makes_it_panic() {
    for name in ["pal-a.elf", "pal-b.elf"] {
        let file = bytes(name);
        for at in 0..64 + 8 * 56 {
            for value in [0, 1, 0x7f, 0x80, 0xff, file[at].wrapping_add(1), file[at] ^ 0x10] {
                walk(&with(&file, at, &[value]));
            }
            walk(&file[..at]);
        }
    }
}

/// The long form is `ci/long mutations`: FL_MUTATIONS says how many.
#[test]
fn nothing_makes_it_panic() {
    let seeds = [bytes("pal-a.elf"), bytes("pal-b.elf")];
    crate::sgx::tests::mutations(&seeds, 64 + 8 * 56, walk);
}
