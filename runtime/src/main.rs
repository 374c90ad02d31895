//! fl-runtime: an aggregator or a collaborator, by its first argument.

fn main() {}
