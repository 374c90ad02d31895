//! The memory that this process takes, and the memory that the machine has left, as Linux reports them.

use std::fs;

/// Resets the largest resident set. Where the kernel does not allow a reset, the next peak is that of the
/// whole run.
pub fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident set since [`reset_peak`], bytes; 0 if the number cannot be read.
#[must_use]
pub fn peak() -> u64 {
    kilobytes("/proc/self/status", "VmHWM:") * 1024
}

/// Bytes that are available without swapping; 0 if the number cannot be read.
#[must_use]
pub fn available() -> u64 {
    kilobytes("/proc/meminfo", "MemAvailable:") * 1024
}

fn kilobytes(file: &str, key: &str) -> u64 {
    let about = fs::read_to_string(file).unwrap_or_default();
    let line = about.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_grows_with_what_is_touched_and_is_forgotten() {
        const BYTES: usize = 64 << 20;
        reset_peak();
        let before = peak();
        drop(std::hint::black_box(vec![1_u8; BYTES]));
        assert!(peak() >= before + BYTES as u64 / 2, "{before} and then {}", peak());
        assert!(available() > 0);
    }
}
