//! Rules of the repository that no compiler checks: its top level, the engine's purity, where `unsafe` may
//! stand, how many packages are trusted, that each dependency says why it is there, which crates and rooms
//! may import which, that no files import each other in a loop, and which files may touch the machine.

#[path = "repository/loops.rs"]
mod loops;
#[path = "repository/map.rs"]
mod map;
#[path = "repository/system.rs"]
mod system;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use fl_source::code::{code_only, lines_with_word, paths_from, test_modules, without_tests};

/// What may lie at the top. Dotfiles may too.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "ci",
    "host-tools",
    "manifests",
    "runtime",
    // rustup accepts no hidden name.
    "rust-toolchain.toml",
    "tests",
];

/// Packages linked into fl-runtime, with our own and without macros: an enclave trusts them. Another number
/// needs a decision.
const PACKAGES_LEAN: usize = 102;
/// The same with training.
const PACKAGES_TRAIN: usize = 185;

/// What must not be reachable from the engine: sockets, clocks, threads, randomness, the operating system.
const NOT_IN_ENGINE: [&str; 17] = [
    "actix",
    "async-std",
    "burn",
    "chrono",
    "crossbeam",
    "getrandom",
    "libc",
    "mio",
    "quinn",
    "rand",
    "rand_core",
    "rayon",
    "ring",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
];

/// What must not be reachable from the learning crate: network, TLS, actors.
const NOT_IN_LEARN: [&str; 8] =
    ["actix", "actix-rt", "mio", "quinn", "quinn-proto", "rustls", "socket2", "tokio"];

/// Paths of the standard library that act, or that depend on the machine or the moment.
const IMPURE: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];
/// Paths that would hide one of the above behind a shorter name.
const HIDING: [&str; 3] = ["std::*", "std::time", "std::time::*"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Files git tracks, relative to the root, that exist.
fn tracked() -> Vec<PathBuf> {
    let files = run("git", &["ls-files", "-z"]);
    files
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|path| root().join(path).exists())
        .collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    tracked().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// `name version` of every package linked into `package`, as cargo resolves them.
fn linked(package: &str, more: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut arguments = vec!["tree", "--locked", "-p", package, "--target", "x86_64-unknown-linux-musl"];
    arguments.extend(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    arguments.extend(more);
    let tree = run(&cargo, &arguments);
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect()
}

#[test]
fn top_level_is_exactly_what_was_agreed() {
    let tops: BTreeSet<String> = tracked()
        .iter()
        .filter_map(|path| path.components().next())
        .map(|first| first.as_os_str().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let strangers: Vec<_> = tops.iter().filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "not part of the top level: {strangers:?}");
    // git keeps no empty folder.
    let missing: Vec<_> =
        TOP_LEVEL.iter().filter(|name| **name != "manifests" && !tops.contains(**name)).collect();
    assert!(missing.is_empty(), "missing from the top level: {missing:?}");
}

#[test]
fn engine_reaches_no_socket_clock_thread_or_random_source_through_a_dependency() {
    let linked = linked("fl-engine", &[]);
    assert!(linked.iter().any(|package| package.starts_with("serde ")), "the tree was not read: {linked:?}");
    for package in linked {
        let name = package.split(' ').next().unwrap_or_default();
        let family = NOT_IN_ENGINE.iter().any(|refused| {
            name == *refused || name.strip_prefix(refused).is_some_and(|rest| rest.starts_with(['-', '_']))
        });
        assert!(!family, "fl-engine links {package}");
    }
}

#[test]
fn learning_reaches_no_network_and_no_actor_and_of_our_crates_engine_and_kernels_alone() {
    let linked = linked("fl-learn", &[]);
    let names: Vec<&str> = linked.iter().filter_map(|package| package.split(' ').next()).collect();
    assert!(names.contains(&"burn-tensor"), "the tree was not read: {names:?}");
    let ours: Vec<&&str> = names.iter().filter(|name| name.starts_with("fl-")).collect();
    assert_eq!(ours, [&"fl-engine", &"fl-kernels", &"fl-learn"]);
    let refused: Vec<&&str> = names.iter().filter(|name| NOT_IN_LEARN.contains(name)).collect();
    assert!(refused.is_empty(), "fl-learn links {refused:?}");
}

#[test]
fn engine_source_names_no_clock_file_environment_thread_or_socket() {
    let sources: Vec<(PathBuf, String)> = rust_files()
        .into_iter()
        .filter(|path| path.starts_with("runtime/engine/src"))
        .map(|path| (path.clone(), code_only(&read(&path))))
        .collect();
    assert!(sources.len() > 5, "the engine's source was not found");
    let tests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|(path, code)| test_modules(code).into_iter().map(move |name| module_file(path, &name)))
        .collect();
    let mut refused = Vec::new();
    for (path, code) in sources.iter().filter(|(path, _)| !tests.contains(path)) {
        for (line, name) in paths_from(&without_tests(code), "std") {
            let under = |impure: &&str| name == **impure || name.starts_with(&format!("{impure}::"));
            if IMPURE.iter().any(under) || HIDING.contains(&name.as_str()) {
                refused.push(format!("{}:{line}: {name}", path.display()));
            }
        }
    }
    assert!(refused.is_empty(), "the engine must not use:\n{}", refused.join("\n"));
}

/// Where `mod name;` in the file `parent` lives.
fn module_file(parent: &Path, name: &str) -> PathBuf {
    let folder = if parent.ends_with("lib.rs") || parent.ends_with("main.rs") {
        parent.parent().unwrap_or(parent).to_owned()
    } else {
        parent.with_extension("")
    };
    folder.join(format!("{name}.rs"))
}

#[test]
fn number_of_trusted_packages_is_a_decision() {
    for (more, expected) in [(&["--no-default-features"][..], PACKAGES_LEAN), (&[][..], PACKAGES_TRAIN)] {
        let linked = linked("fl-runtime", more);
        let list = linked.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let found = linked.len();
        assert_eq!(
            found, expected,
            "fl-runtime {more:?} links {found} packages, {expected} were agreed:\n{list}"
        );
    }
}

#[test]
fn lean_runtime_links_no_burn() {
    let burn: Vec<_> = linked("fl-runtime", &["--no-default-features"])
        .into_iter()
        .filter(|name| name.starts_with("burn"))
        .collect();
    assert!(burn.is_empty(), "{burn:?}");
}

#[test]
fn unsafe_stands_in_runtime_sys_alone() {
    let mut refused = Vec::new();
    for path in rust_files().into_iter().filter(|path| !path.starts_with("runtime/sys")) {
        for line in lines_with_word(&code_only(&read(&path)), "unsafe") {
            refused.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(refused.is_empty(), "`unsafe` outside runtime/sys:\n{}", refused.join("\n"));
}

#[test]
fn every_dependency_states_its_duty() {
    let mut silent = Vec::new();
    for path in tracked().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        silent.extend(
            silent_dependencies(&read(&path)).into_iter().map(|name| format!("{}: {name}", path.display())),
        );
    }
    assert!(silent.is_empty(), "no comment above or beside:\n{}", silent.join("\n"));
}

#[test]
fn silent_dependency_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# Errors.\nthiserror = \"2\"\nserde = \"1\" # Types.\nrand = \"1\"\n\
                    fl-sys.workspace = true\n[dev-dependencies]\n# A.\ntar = { version = \"1\", features = [\n  \"b\",\n] }\nproptest = \"1\"\n\
                    [target.'cfg(unix)'.dependencies.libc]\nversion = \"1\"\n";
    assert_eq!(silent_dependencies(manifest), ["rand", "proptest", "libc"]);
}

/// Dependencies without a comment on their line or on the one above. Our own crates need none.
fn silent_dependencies(manifest: &str) -> Vec<String> {
    let mut silent = Vec::new();
    let mut in_dependencies = false;
    let mut open_brackets = 0;
    let mut above = "";
    for line in manifest.lines().map(str::trim) {
        let described = line.contains('#') || above.starts_with('#');
        if open_brackets == 0 && line.starts_with('[') {
            let header = line.trim_matches(['[', ']']);
            in_dependencies = header.ends_with("dependencies");
            let single = header.rsplit_once("dependencies.").map(|(_, name)| name);
            silent.extend(single.filter(|_| !described).map(str::to_owned));
        } else if in_dependencies {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim();
            let is_entry = open_brackets == 0 && line.contains('=') && !line.starts_with('#');
            if is_entry && !described && !name.starts_with("fl-") {
                silent.push(name.to_owned());
            }
            let count = |brackets: [char; 2]| line.matches(brackets).count();
            open_brackets = (open_brackets + count(['[', '{'])).saturating_sub(count([']', '}']));
        }
        above = line;
    }
    silent
}

#[test]
fn chapters_name_tests_that_exist() {
    names_tests("threat_model", 15);
    names_tests("who_waits", 20);
}

fn names_tests(chapter: &str, least: usize) {
    let chapter = read(&Path::new("runtime/src/manual").join(format!("{chapter}.md")));
    // Every second piece stands between backticks.
    let words = chapter.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let named: Vec<&str> = words.filter(is_test).collect();
    assert!(named.len() >= least, "{named:?}");
    let sources: String = rust_files().iter().map(|path| read(path)).collect();
    let missing: Vec<&str> =
        named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
