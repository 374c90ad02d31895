//! The few facts about a 64-bit little-endian ELF file that the promises about the binary rest on.
//!
//! Used by `tests/static_binary.rs`. Anything else in the file is ignored.

/// What [`Elf::parse`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// `ET_DYN`: can be loaded at any address.
    pub position_independent: bool,
    /// `PT_INTERP`: asks for a dynamic linker.
    pub has_interpreter: bool,
    /// `DF_1_PIE` in the dynamic section: an executable, not a shared library.
    pub declares_pie: bool,
    /// Number of `DT_NEEDED` entries: shared libraries it asks for.
    pub needed: usize,
    /// `PT_GNU_STACK` allows execution, or is missing.
    pub executable_stack: bool,
    /// A segment that is writable and executable at once.
    pub writable_code: bool,
    /// `PT_GNU_RELRO`: relocated data turns read-only before main.
    pub relro: bool,
    /// A full symbol table (`SHT_SYMTAB`) is left in the file.
    pub symbols: bool,
}

impl Elf {
    /// Reads the headers; none if `file` is not a 64-bit little-endian ELF file for x86-64, or is cut short.
    pub fn parse(file: &[u8]) -> Option<Self> {
        const X86_64: u64 = 62;
        if file.get(..6)? != b"\x7fELF\x02\x01" || number(file, 18, 2)? != X86_64 {
            return None;
        }
        let mut elf = Self {
            position_independent: number(file, 16, 2)? == 3,
            has_interpreter: false,
            declares_pie: false,
            needed: 0,
            executable_stack: true,
            writable_code: false,
            relro: false,
            symbols: false,
        };
        for header in table(file, 32, 54)? {
            let flags = number(file, header + 4, 4)?;
            match number(file, header, 4)? {
                PT_LOAD => elf.writable_code |= flags & WRITE_EXECUTE == WRITE_EXECUTE,
                PT_INTERP => elf.has_interpreter = true,
                PT_GNU_STACK => elf.executable_stack = flags & 1 == 1,
                PT_GNU_RELRO => elf.relro = true,
                PT_DYNAMIC => {
                    let start = usize::try_from(number(file, header + 8, 8)?).ok()?;
                    let len = usize::try_from(number(file, header + 32, 8)?).ok()?;
                    elf.read_dynamic(file.get(start..start.checked_add(len)?)?)?;
                }
                _ => {}
            }
        }
        for header in table(file, 40, 58)? {
            elf.symbols |= number(file, header + 4, 4)? == SHT_SYMTAB;
        }
        Some(elf)
    }

    fn read_dynamic(&mut self, section: &[u8]) -> Option<()> {
        for entry in section.chunks_exact(16) {
            match number(entry, 0, 8)? {
                0 => break,
                DT_NEEDED => self.needed += 1,
                DT_FLAGS_1 => self.declares_pie = number(entry, 8, 8)? & DF_1_PIE != 0,
                _ => {}
            }
        }
        Some(())
    }
}

/// Offsets of a header table's entries: its offset is 8 bytes at `offset_at`, then entry size and count at
/// `size_at`.
fn table(file: &[u8], offset_at: usize, size_at: usize) -> Option<Vec<usize>> {
    let offset = usize::try_from(number(file, offset_at, 8)?).ok()?;
    let size = usize::try_from(number(file, size_at, 2)?).ok()?;
    let count = usize::try_from(number(file, size_at + 2, 2)?).ok()?;
    (0..count).map(|index| offset.checked_add(index * size)).collect()
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_LOAD: u64 = 1;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const DT_NEEDED: u64 = 1;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
const SHT_SYMTAB: u64 = 2;
const WRITE_EXECUTE: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_no_static_binary() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&me).unwrap();
        assert!(
            elf.position_independent && elf.symbols && !elf.executable_stack && !elf.writable_code,
            "{elf:?}"
        );
        if cfg!(target_env = "gnu") {
            assert!(elf.has_interpreter && elf.needed > 0, "{elf:?}");
        }
    }

    #[test]
    fn short_or_foreign_file_is_refused() {
        assert_eq!(Elf::parse(b""), None);
        assert_eq!(Elf::parse(b"\x7fELF\x02\x01"), None);
        assert_eq!(Elf::parse(&[0; 4096]), None);
    }
}
