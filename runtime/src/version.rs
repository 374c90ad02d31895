//! Which build this is: version, commit, toolchain and route, for `--version` of both programs and for an
//! image's labels.
//!
//! `ci/build-static` states all of them while it compiles; an ordinary build states the version alone. The
//! commit is the last one that changed anything the binary is made of, so that a commit elsewhere leaves the
//! binary, and with it the measurement, alone.

/// The package's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that the binary was made of; `+changes` behind it when the tree differed from it.
pub const COMMIT: Option<&str> = option_env!("FL_BUILD_COMMIT");
/// The compiler's own word.
pub const TOOLCHAIN: Option<&str> = option_env!("FL_BUILD_TOOLCHAIN");
/// Which of `ci/build-static`'s routes: `rustup` or `distribution`.
pub const ROUTE: Option<&str> = option_env!("FL_BUILD_ROUTE");
/// Whether the binary trains (burn is linked).
pub const TRAINS: bool = cfg!(feature = "train");

/// What `--version` prints: four lines, or one JSON object.
#[must_use]
pub fn text(program: &str, commit: Option<&str>, toolchain: Option<&str>, json: bool) -> String {
    if json {
        let object = serde_json::json!({
            "program": program, "version": VERSION, "commit": commit, "toolchain": toolchain, "route": ROUTE, "trains": TRAINS,
        });
        return format!("{object}\n");
    }
    let said = |what: Option<&str>| what.unwrap_or("not stated").to_owned();
    format!(
        "{program} {VERSION}\ncommit     {}\ntoolchain  {}\nroute      {}\n",
        said(commit),
        said(toolchain),
        ROUTE.unwrap_or("cargo")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_stated_to_people_and_to_programs() {
        let text_lines = text("fl-runtime", Some("abc"), None, false);
        let words: Vec<&str> = text_lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(words, ["fl-runtime", "commit", "toolchain", "route"]);
        assert!(text_lines.contains("commit     abc\ntoolchain  not stated\nroute      cargo\n"));
        let object: serde_json::Value = serde_json::from_str(&text("fl-host", None, None, true)).unwrap();
        assert_eq!(
            (object["program"].as_str(), object["version"].as_str()),
            (Some("fl-host"), Some(VERSION))
        );
    }
}
