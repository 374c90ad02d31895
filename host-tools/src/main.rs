//! fl-host: workspaces, plans, keys and reports.

fn main() {}
