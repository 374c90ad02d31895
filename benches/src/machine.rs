//! The line that says where figures were measured.

use std::fs;

/// Processor model, the number of processors this process may use, and the kernel, as Linux reports them.
#[must_use]
pub fn line() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = about.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cores = about.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = value("model name").unwrap_or_else(|| "unknown processor".to_owned());
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
