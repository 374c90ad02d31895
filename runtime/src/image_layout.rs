//! Where an image has the files that it fixes for a run, as paths inside the workspace's folder.
//!
//! `fl-host workspace dockerize` puts the files there, and a role reads them in place of the workspace's own.
//! A container's volumes cover none of them. Where an image has the workspace itself is the launcher's to say
//! (`fl_launcher::image`).

/// The plan's canonical bytes.
pub const PLAN: &str = "plan/plan.bin";
/// The federation CA's certificate.
pub const CA: &str = "plan/ca.crt";
/// The initial model, only where its values are not those that the plan's seed gives.
pub const INITIAL_MODEL: &str = "plan/init.safetensors";
