use std::{collections::BTreeMap, path::Path};

use super::{Imports, imports, loops};

/// A crate of these files, given as name and text.
fn read(files: &[(&str, &str)]) -> Imports {
    let files: BTreeMap<_, _> = files.iter().copied().collect();
    let read = |path: &Path| files.get(path.to_str().unwrap_or_default()).map(|text| (*text).to_owned());
    imports(Path::new("lib.rs"), &read)
}

/// Each import as `from:line path to`.
fn lines(imports: &Imports) -> Vec<String> {
    let line = |import: &super::Import| {
        format!("{}:{} {} {}", import.from.display(), import.line, import.path, import.to.display())
    };
    imports.found.iter().map(line).collect()
}

fn groups(imports: &Imports) -> Vec<Vec<String>> {
    let names =
        |group: Vec<std::path::PathBuf>| group.iter().map(|file| file.display().to_string()).collect();
    loops(&imports.found).into_iter().map(names).collect()
}

#[test]
fn loop_of_two_files_is_found() {
    let found = read(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;"),
        ("a.rs", "use crate::b::B;\npub struct A;"),
        ("b.rs", "pub struct B;\nfn f(a: &super::a::A) {}"),
        ("c.rs", "use crate::{a::A, b::B};"),
    ]);
    assert_eq!(
        lines(&found),
        [
            "a.rs:1 crate::b::B b.rs",
            "b.rs:2 super::a::A a.rs",
            "c.rs:1 crate::a::A a.rs",
            "c.rs:1 crate::b::B b.rs"
        ]
    );
    assert_eq!(groups(&found), [["a.rs", "b.rs"]]);
}

#[test]
fn re_export_of_an_item_that_has_the_name_of_its_module_is_followed() {
    let found = read(&[
        ("lib.rs", "mod plan;\nmod user;"),
        ("plan.rs", "mod load;\npub use load::load;"),
        ("plan/load.rs", "pub fn load() {}"),
        ("user.rs", "use crate::plan;\nfn f() { plan::load() }"),
    ]);
    assert_eq!(lines(&found), ["user.rs:2 plan::load plan/load.rs"]);
}

#[test]
fn loop_through_a_re_export_is_found() {
    let found = read(&[
        ("lib.rs", "mod deep;\nmod other;\npub use deep::Renamed as Public;"),
        ("deep.rs", "mod inner;\npub use self::inner::Inner as Renamed;"),
        ("deep/inner.rs", "use crate::other::*;\npub struct Inner;"),
        ("other.rs", "use crate::Public;\npub struct Other(Public);"),
    ]);
    assert_eq!(
        lines(&found),
        ["deep/inner.rs:1 crate::other::* other.rs", "other.rs:1 crate::Public deep/inner.rs"]
    );
    assert_eq!(groups(&found), [["deep/inner.rs", "other.rs"]]);
}

#[test]
fn nested_groups_and_modules_named_in_paths_are_followed() {
    let found = read(&[
        ("lib.rs", "mod a;\nmod b;"),
        (
            "a.rs",
            "use crate::{b::{self as other, part::{Part, LIMIT as MOST}}, };\nfn f() { other::go(MOST) }",
        ),
        ("b.rs", "pub mod part;\npub fn go() {}"),
        ("b/part.rs", "pub const LIMIT: u8 = 1;\npub enum Part { One }\nuse self::Part::One;"),
    ]);
    assert_eq!(
        lines(&found),
        [
            "a.rs:1 crate::b::part::LIMIT b/part.rs",
            "a.rs:1 crate::b::part::Part b/part.rs",
            "a.rs:2 other::go b.rs"
        ]
    );
}

#[test]
fn child_may_use_what_its_parent_defines_but_not_what_its_grandparent_does() {
    let parent = "mod child;\nuse child::run;\npub struct Error;\nfn f() { run() }";
    let found = read(&[
        ("lib.rs", "mod parent;\npub struct Top;"),
        ("parent.rs", parent),
        ("parent/child.rs", "use super::Error;\nuse crate::Top;\npub fn run() {}"),
    ]);
    assert_eq!(
        lines(&found),
        ["parent/child.rs:2 crate::Top lib.rs", "parent.rs:2 child::run parent/child.rs"]
    );
    assert!(groups(&found).is_empty());
}

#[test]
fn re_export_of_a_child_counts_only_where_its_name_is_used() {
    let files = |code: &'static str| [("lib.rs", code), ("child.rs", "pub struct Child;")];
    assert!(lines(&read(&files("mod child;\npub(crate) use child::Child;"))).is_empty());
    assert_eq!(
        lines(&read(&files("mod child;\npub(crate) use child::Child;\nfn f(_: Child) {}"))),
        ["lib.rs:2 child::Child child.rs"]
    );
}

#[test]
fn inline_modules_belong_to_their_file() {
    let found = read(&[
        ("lib.rs", "mod a;\npub mod words {\n pub fn word() { super::a::f() }\n pub mod far;\n}"),
        ("a.rs", "use crate::words::{word, far::Far};\npub fn f() {}"),
        ("words/far.rs", "pub struct Far;"),
    ]);
    assert_eq!(
        lines(&found),
        ["a.rs:1 crate::words::far::Far words/far.rs", "lib.rs:3 super::a::f a.rs"],
        "`word` is what the parent of a.rs defines"
    );
}

#[test]
fn tests_comments_and_literals_import_nothing() {
    let code = "// crate::b::B\nconst A: &str = \"crate::b::B\";\n#[cfg(test)]\nmod tests {\n use crate::b::B;\n}\n#[cfg(test)]\nuse crate::b::B;";
    let found = read(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", code), ("b.rs", "pub struct B;")]);
    assert!(lines(&found).is_empty());
}

#[test]
fn other_crates_are_told_from_paths_that_lead_nowhere() {
    let found = read(&[
        ("lib.rs", "mod a;\npub use engine::Plan;\npub use std::fs;"),
        ("a.rs", "use crate::{Plan, Missing};\nuse super::fs;\nfn f() { fs::read(); ring::rand() }"),
    ]);
    assert_eq!(found.unresolved, ["a.rs:1: crate::Missing"]);
    let outside: Vec<_> = found.outside.iter().map(|(_, line, name)| format!("{line} {name}")).collect();
    assert_eq!(outside, ["2 engine", "3 std", "3 ring"]);
}

#[test]
fn re_exports_in_a_circle_end() {
    let found = read(&[
        ("lib.rs", "mod a;\nmod b;\nuse a::Nothing;"),
        ("a.rs", "pub use crate::b::*;\npub use crate::b::Nothing;"),
        ("b.rs", "pub use crate::a::*;\npub use crate::a::Nothing;"),
    ]);
    assert_eq!(groups(&found), [["a.rs", "b.rs"]]);
}

#[test]
fn two_loops_are_two_groups_and_the_larger_stands_first() {
    let found = read(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\nmod e;"),
        ("a.rs", "use crate::b::B;\npub struct A;"),
        ("b.rs", "use crate::a::A;\npub struct B;"),
        ("c.rs", "use crate::d::D;\npub struct C;"),
        ("d.rs", "use crate::e::E;\npub struct D;"),
        ("e.rs", "use crate::{a::A, c::C};\npub struct E;"),
    ]);
    assert_eq!(groups(&found), [vec!["c.rs", "d.rs", "e.rs"], vec!["a.rs", "b.rs"]]);
}
