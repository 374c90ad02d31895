//! Processor time of other processes, as Linux reports it.

use std::{fs, time::Duration};

use crate::Failure;

/// Processor time so far, both modes, all threads, in steps of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name stands in parentheses and may contain any character.
    let fields = stat.rsplit_once(") ").ok_or("unreadable /proc/PID/stat")?.1;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(Duration::from_secs_f64(ticks.sum::<Result<f64, _>>()? / TICKS))
}

/// Clock ticks of /proc/PID/stat in a second: fixed on Linux, whatever the kernel's own clock.
const TICKS: f64 = 100.0;
