//! Rows of figures: a table for people, JSON lines for scripts.

use crate::{machine, timing::Timing};

/// Rows over the same number of bytes.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    bytes: usize,
    json: bool,
    limits: Vec<(&'static str, Timing)>,
}

impl Report {
    /// Prints the head: the machine's line and `settings`.
    #[must_use]
    pub fn new(bench: &'static str, bytes: usize, json: bool, settings: &str) -> Self {
        let machine = machine::line();
        if json {
            let quoted = machine.replace(['"', '\\'], "'");
            println!("{{\"bench\":\"{bench}\",\"machine\":\"{quoted}\",\"settings\":\"{settings}\"}}");
        } else {
            println!("{machine}\n{bench}: {settings}\n");
            println!("{:<42} {:>8} {:>8} {:>8}  ratios of cpu time", "", "wall ms", "cpu ms", "GB/cpu s");
        }
        Self { bench, bytes, json, limits: Vec::new() }
    }

    /// A limit of the machine, against which every later row is set.
    pub fn limit(&mut self, name: &'static str, timing: Timing) {
        self.row(name, timing);
        self.limits.push((name, timing));
    }

    /// One figure.
    pub fn row(&self, name: &str, timing: Timing) {
        let Timing { wall, cpu } = timing;
        let speed = self.bytes as f64 / cpu / 1e6;
        let ratios = self.limits.iter().map(|(limit, of)| (limit, cpu / of.cpu));
        if self.json {
            let ratios: Vec<_> = ratios.map(|(limit, ratio)| format!("\"{limit}\":{ratio:.3}")).collect();
            println!(
                "{{\"bench\":\"{}\",\"row\":\"{name}\",\"wall_ms\":{wall:.3},\"cpu_ms\":{cpu:.3},\
                 \"gb_per_cpu_s\":{speed:.3},\"ratios\":{{{}}}}}",
                self.bench,
                ratios.join(",")
            );
        } else {
            let ratios: Vec<_> = ratios.map(|(limit, ratio)| format!("{ratio:.2} {limit}")).collect();
            let digits = if cpu < 1.0 { 4 } else { 2 };
            println!("{name:<42} {wall:>8.digits$} {cpu:>8.digits$} {speed:>8.2}  {}", ratios.join(", "));
        }
    }
}
