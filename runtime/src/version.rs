//! The build's version, commit, toolchain and route, for `--version` of both programs and for an image's
//! labels.
//!
//! `ci/build-static` passes all of them to the compiler; an ordinary build knows the version only. The commit
//! is the last one that changed a source of the binary: a commit of other files changes neither the binary
//! nor its measurement.

use serde_json::{Value, json};

/// The output of `--version`, four lines.
#[must_use]
pub fn text(program: &str, commit: Option<&str>, toolchain: Option<&str>) -> String {
    let said = |what: Option<&str>| what.unwrap_or("not stated").to_owned();
    format!(
        "{program} {VERSION}\ncommit     {}\ntoolchain  {}\nroute      {}\n",
        said(commit),
        said(toolchain),
        ROUTE.unwrap_or("cargo")
    )
}

/// The output of `--json --version`.
#[must_use]
pub fn json(program: &str, commit: Option<&str>, toolchain: Option<&str>) -> Value {
    json!({
        "program": program, "version": VERSION, "commit": commit, "toolchain": toolchain, "route": ROUTE, "trains": TRAINS,
    })
}

/// The package's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that the binary was built from, with `+changes` when the tree had uncommitted changes.
pub const COMMIT: Option<&str> = option_env!("FL_BUILD_COMMIT");
/// The compiler's name and version, as the compiler prints them.
pub const TOOLCHAIN: Option<&str> = option_env!("FL_BUILD_TOOLCHAIN");
/// The route of `ci/build-static`: `rustup` or `distribution`.
pub const ROUTE: Option<&str> = option_env!("FL_BUILD_ROUTE");
/// Whether the binary can train: whether burn is linked.
pub const TRAINS: bool = cfg!(feature = "train");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_stated_to_people_and_to_programs() {
        let text_lines = text("fl-runtime", Some("abc"), None);
        let words: Vec<&str> = text_lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(words, ["fl-runtime", "commit", "toolchain", "route"]);
        assert!(text_lines.contains("commit     abc\ntoolchain  not stated\nroute      cargo\n"));
        let object = json("fl-host", None, None);
        assert_eq!(
            (object["program"].as_str(), object["version"].as_str()),
            (Some("fl-host"), Some(VERSION))
        );
    }
}
