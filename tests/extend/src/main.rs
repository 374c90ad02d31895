//! A user's crate: fl-runtime with an own task, an own data loader, and two own rules.
//!
//! Each site has readings of one instrument. The sites fit a line through their readings and the federation
//! combines the lines. All that this crate uses of fl-runtime is [`fl_runtime::extend`].

mod line;
mod readings;
mod rules;

use std::{process::ExitCode, sync::Arc};

use fl_runtime::extend::{Registry, run};

use self::{
    line::FitLine,
    rules::{Midrange, WithoutTheFarthest},
};

fn main() -> ExitCode {
    let registry = Registry::new()
        .with_loader("readings", readings::load)
        .with_task("fit_line", || Box::new(FitLine))
        .with_rule("midrange", Arc::new(Midrange))
        .with_score_rule("without_the_farthest", Arc::new(WithoutTheFarthest));
    run(&registry)
}
