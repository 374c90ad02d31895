//! `limits` and `threads`: what a role may take of its machine.

use serde::Serialize;

use crate::{
    ByteCount,
    settings::{Absent, Checked, Field, Key, PlanError, Setting, Takes, check},
};

/// Fixed thread counts, never derived from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// Link threads.
    pub link: u32,
    /// CPU pool: digests, absorption, training.
    pub cpu: u32,
}

/// The two budgets of `limits`.
pub(super) struct Budgets {
    pub(super) memory: ByteCount,
    pub(super) spill: ByteCount,
}

impl Setting for Budgets {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let limits = field.section()?;
        Ok(Self { memory: limits.get("memory")?, spill: limits.get("spill")? })
    }
}

impl Setting for Threads {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let threads = field.section()?;
        Ok(Self { link: threads.get("link")?, cpu: threads.get("cpu")? })
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
        meaning: "Disk that the aggregator may take for updates that have no room in memory. They are encrypted there.",
        example: "16GiB",
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
