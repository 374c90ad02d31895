//! `limits` and `threads`: what a role may take of its machine, and what one collaborator may claim.

use serde::Serialize;

use super::PlanDraft;
use crate::{
    ByteCount, Weight,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Setting, Takes, check},
};

/// Fixed thread counts, never derived from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// Link threads.
    pub link: u32,
    /// CPU pool: digests, absorption, training.
    pub cpu: u32,
}

/// The section `limits`.
pub(super) struct Limits {
    pub(super) memory: ByteCount,
    pub(super) spill: ByteCount,
    pub(super) rows: Option<u32>,
}

impl Setting for Limits {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let limits = field.section()?;
        Ok(Self { memory: limits.get("memory")?, spill: limits.get("spill")?, rows: limits.get("rows")? })
    }
}

impl Setting for Threads {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let threads = field.section()?;
        Ok(Self { link: threads.get("link")?, cpu: threads.get("cpu")? })
    }
}

/// Checks that every weight up to the limit fits into the accumulator.
pub(super) fn check_rows(plan: &PlanDraft) -> Checked {
    check(LIMITS, "limits/rows", &plan.row_limit)?;
    let most = plan.exact.most_weight();
    match plan.row_limit {
        Some(rows) if rows > most => {
            let bits = plan.exact.weight_bits;
            let message = format!("limits.rows is {rows}; exact.weight_bits {bits} allows at most {most}");
            let hint = "lower limits.rows, or raise exact.weight_bits".to_owned();
            Err(Fault::new("limits/rows", message).hint(Some(hint)))
        }
        _ => Ok(()),
    }
}

/// Checks both numbers.
pub(super) fn check_threads(threads: Threads) -> Checked {
    check(THREADS, "threads/link", &threads.link)?;
    check(THREADS, "threads/cpu", &threads.cpu)
}

pub(super) const LIMITS: &[Key] = &[
    Key {
        name: "memory",
        takes: Takes::Size,
        absent: Absent::Default("512MiB"),
        meaning: "Memory that the aggregator may take. `fl-host plan check` shows how much the plan needs.",
        example: "1GiB",
    },
    Key {
        name: "spill",
        takes: Takes::Size,
        absent: Absent::Default("4GiB"),
        meaning: "Disk that the aggregator may take for updates that have no room in memory. Updates on disk are encrypted.",
        example: "16GiB",
    },
    Key {
        name: "rows",
        takes: Takes::Whole { least: 1, most: (1 << Weight::BITS) - 1, unit: "rows" },
        absent: Absent::Means("as many as exact.weight_bits allows: 536870911 by default"),
        meaning: "The largest number of rows that one collaborator may claim in a round, for its update and for its metrics. Set the \
                  limit a little above the rows of the largest site: a collaborator can claim rows that it does not have. \
                  `fl-host plan check` shows the largest share of a round that one collaborator can get.",
        example: "1000",
    },
];

pub(super) const THREADS: &[Key] = &[
    Key {
        name: "link",
        takes: Takes::Whole { least: 1, most: 64, unit: "threads" },
        absent: Absent::Default("2"),
        meaning: "Threads that carry the links to peers.",
        example: "1",
    },
    Key {
        name: "cpu",
        takes: Takes::Whole { least: 1, most: 64, unit: "threads" },
        absent: Absent::Default("2"),
        meaning: "Threads that compute: sums and digests at the aggregator, training at a collaborator.",
        example: "4",
    },
];
