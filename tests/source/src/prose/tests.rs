use std::path::Path;

use super::*;

/// Texts of a source as `line kind: text`.
fn read(file: &str, content: &str) -> Vec<String> {
    let shown =
        |text: Text| format!("{} {}: {}", text.line, text.kind.word(), text.text.replace('\n', " / "));
    texts(Path::new(file), content).into_iter().map(shown).collect()
}

fn refused(file: &str, content: &str) -> Vec<String> {
    let shown = |offence: Offence| format!("{} {}: {}", offence.line, offence.rule, offence.cure);
    offences(Path::new(file), content).into_iter().map(shown).collect()
}

#[test]
fn strings_are_told_apart_by_what_they_are_given_to() {
    let source = r##"
#[derive(thiserror::Error)]
enum E {
    #[error("{0} is not a plan: \"{1}\" \
             is missing")]
    Plan(String),
}
impl E {
    fn hint(&self) -> &'static str {
        match self {
            Self::Plan(_) => "run this command again",
        }
    }
}
fn f() {
    tracing::info!(peer = %name, "{peer} is here now");
    let error = format!("{} is too long", 1);
    Failure::new(Exit::File, format!("cannot read {}", 1)).hint(format!("give {{a}} another file"));
    Failure::file(&format!("there is no {}", a(1, 2)), "mount the folder there");
    assert!(ok, "this never happens here");
    println!("a line of text");
    short("two words");
}
const HINT: &str = r#"a "raw" hint here"#;
#[cfg(test)]
mod tests {
    const T: &str = "words of a test";
}
"##;
    assert_eq!(
        read("a.rs", source),
        [
            "4 error: {0} is not a plan: \"{1}\" is missing",
            "11 hint: run this command again",
            "16 log line: {peer} is here now",
            "17 error: {} is too long",
            "18 error: cannot read {}",
            "18 hint: give {a} another file",
            "19 error: there is no {}",
            "19 hint: mount the folder there",
            "21 text: a line of text",
            "24 hint: a \"raw\" hint here",
        ]
    );
}

#[test]
fn documentation_of_a_command_line_is_help_and_other_comments_are_comments() {
    let source = "//! About this file.\n\n/// Makes a plan.\n/// And checks it.\n#[derive(FromArgs)]\n#[argh(subcommand, \
                  name = \"a b c\", note = \"Read the plan first.\")]\nstruct Make {\n    /// the folder of it\n    \
                  // no help\n    folder: u8,\n}\n\n/// A number.\nstruct N;\n";
    assert_eq!(
        read("a.rs", source),
        [
            "1 comment: About this file.",
            "3 help: Makes a plan. / And checks it.",
            "6 help: Read the plan first.",
            "8 help: the folder of it",
            "9 comment: no help",
            "13 comment: A number.",
        ]
    );
}

#[test]
fn page_gives_its_paragraphs_without_code_headings_and_addresses() {
    let page = "# Title\n\nOne [two](http://three) four.\nFive.\n\n```sh\ncode here now\n```\n- item [one][two]\n\n| a b | c |\n|---|---|\n\n\
                [two]: http://four\n";
    assert_eq!(
        read("README.md", page),
        ["3 README: One two four. / Five.", "9 README: item one", "11 text: a b", "11 text: c"]
    );
    assert_eq!(read("runtime/src/manual/a.md", "Words.\n"), ["1 manual: Words."]);
    assert_eq!(read("runtime/src/manual/a.rs", "//! Words.\n"), ["1 manual: Words."]);
    assert_eq!(
        read("a.yaml", "# One\n# two\nkey: 1 # three\n#\n# four\n"),
        ["1 comment: One / two", "5 comment: four"]
    );
}

#[test]
fn drawn_sentence_of_a_page_has_its_headings_and_its_paragraph_so_far() {
    let page = "# Keys\n\n## Old\n\n### Older\n\n## Files\n\nThe site has a folder. Two files lie\nthere. They are small.\n";
    let texts = texts(Path::new("README.md"), page);
    let drawn = draw(&texts, 3, 3);
    let last = drawn.iter().find(|text| text.text == "They are small.").unwrap();
    assert_eq!(
        (last.line, last.before.as_str()),
        (10, "Keys > Files: The site has a folder. Two files lie there.")
    );
    let first = drawn.iter().find(|text| text.text == "The site has a folder.").unwrap();
    assert_eq!(first.before, "Keys > Files:");
    let shown = numbered(&drawn, true);
    assert!(
        shown.contains("     after: Keys > Files: The site has a folder. Two files lie there.\n"),
        "{shown}"
    );
    assert!(!numbered(&drawn, false).contains("after"));
}

#[test]
fn sentences_end_before_a_new_one_begins() {
    assert_eq!(
        sentences("Set `a.b` to 1.5, e.g. here. It\nworks (twice.) 3 runs? yes; `x` too"),
        [
            (0, "Set `a.b` to 1.5, e.g. here.".to_owned()),
            (0, "It works (twice.)".to_owned()),
            (1, "3 runs? yes; `x` too".to_owned())
        ]
    );
}

/// A tree with ten errors, twenty sentences of the manual and one hint.
fn tree() -> Vec<Text> {
    let text = |kind, n: usize, text: String| Text {
        kind,
        file: "a.rs".into(),
        line: n,
        text,
        before: String::new(),
    };
    let mut texts = vec![text(Kind::Hint, 1, "run the command again".into())];
    texts.extend(
        (0..10).map(|n| {
            text(Kind::Error, n, format!("file number {n} is too long: {{}} of {{0:?}} {{file:?}}"))
        }),
    );
    texts.extend(
        (0..10).map(|n| {
            text(Kind::Manual, n, format!("First sentence number {n}.\nSecond sentence number {n}."))
        }),
    );
    texts.extend((0..50).map(|n| text(Kind::Comment, n, format!("Comment number {n}."))));
    texts.push(text(Kind::Error, 99, "two words".into()));
    texts
}

#[test]
fn draw_is_the_same_for_a_seed_and_another_for_another_seed() {
    let drawn = draw(&tree(), 7, 12);
    assert_eq!(drawn, draw(&tree(), 7, 12));
    assert_ne!(drawn, draw(&tree(), 8, 12));
}

#[test]
fn draw_takes_each_kind_by_its_share_and_no_sentence_twice() {
    for seed in 0..50 {
        let drawn = draw(&tree(), seed, 12);
        let of = |kind| drawn.iter().filter(|text| text.kind == kind).count();
        assert_eq!((of(Kind::Error), of(Kind::Hint), of(Kind::Manual)), (4, 1, 7), "{drawn:?}");
        let texts: std::collections::BTreeSet<_> = drawn.iter().map(|text| &text.text).collect();
        assert_eq!(texts.len(), 12);
    }
    assert_eq!(draw(&tree(), 1, 1000).len(), 31, "all there are");
}

#[test]
fn drawn_sentences_have_numbers_places_and_blanks() {
    let mut drawn = draw(&tree(), 3, 31);
    drawn.retain(|text| text.text.contains("number 4"));
    assert_eq!(
        numbered(&drawn, true),
        "  1. [error] file number 4 is too long: {…} of {…} {file}\n     a.rs:4\n  2. [manual] Second sentence number 4.\n     a.rs:5\n     after: First sentence number 4.\n  \
         3. [manual] First sentence number 4.\n     a.rs:4\n"
    );
    assert_eq!(numbered(&drawn[..1], false), "  1. [error] file number 4 is too long: {…} of {…} {file}\n");
}

#[test]
fn refused_constructs_are_found_across_lines_and_in_every_kind_of_text() {
    let source = "//! The one\n//! that is\n//! none, Whoever.\nfn f() { Failure::new(e, \"it is no plan, once more\") }\n// There is no plan; is no longer\n";
    assert_eq!(
        refused("a.rs", source),
        [
            "2 construct: `that is none` (comment): say what it is not: an invalid …, not a …",
            "3 construct: `whoever` (comment): name who: the user, the owner, the site",
            "4 construct: `is no` (error): is not a, has no",
            "4 construct: `once more` (error): again",
        ]
    );
    assert_eq!(refused("README.md", "All the\nsame.\n").len(), 1);
    assert!(refused("a.rs", "/// This is no plan.\nfn f() {}\n").is_empty(), "comments may say `is no`");
}

#[test]
fn long_sentences_of_errors_and_hints_are_refused() {
    let words = |count: usize| vec!["word"; count].join(" ");
    let hint = |text: &str| refused("a.rs", &format!("fn f() {{ e.hint(\"{text}\") }}"));
    assert!(hint(&words(30)).is_empty());
    assert!(hint(&format!("{}. W{}", words(30), words(29))).is_empty());
    assert_eq!(hint(&words(31)).len(), 1);
    assert!(refused("a.rs", &format!("// {}\n// {}\n", words(16), words(16))).is_empty());
}

#[test]
fn comments_beyond_the_columns_are_refused() {
    let line = |mark: &str, width: usize| format!("    {mark} a {}\n", "w".repeat(width - mark.len() - 7));
    assert!(refused("a.rs", &line("//", 110)).is_empty());
    assert_eq!(
        refused("a.rs", &line("///", 111)),
        ["1 wide: comment of 111 columns: wrap it, 110 are the most"]
    );
    assert!(refused("a.rs", &format!("const A: &str = \"{}\";\n", "w ".repeat(70))).is_empty(), "a string");
    assert!(refused("a.rs", &format!("// {}\n", "w".repeat(120))).is_empty(), "one word cannot be wrapped");
}

#[test]
fn possessive_names_of_tests_are_refused() {
    let source = "#[test]\nfn image_s_model_is_read() {}\n#[tokio::test]\nasync fn plan_s_hash() {}\nfn gb_per_s_of(x: u8) {}\n#[test]\nfn images() {}\n";
    let refused = refused("a.rs", source);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].starts_with("2 name: `image_s_model_is_read`"), "{refused:?}");
}

#[test]
fn second_use_of_a_root_is_refused() {
    let source = "pub use std::fmt;\nuse std::io;\nuse crate::{\n    a,\n};\n#[cfg(unix)]\nuse std::os;\nuse crate::b;\nmod c {\n    use std::io;\n}\n";
    assert_eq!(refused("a.rs", source), ["8 import: a second `use crate`: merge it into the first"]);
}

#[test]
fn constant_above_a_type_or_function_is_refused_in_sources() {
    let source = "use a::b;\npub(crate) const A: [u8; 2] = [1, 2];\n/// S.\n#[derive(Debug)]\nstruct S {}\nconst fn f() {}\nconst B: u8 = 1;\n\
                  static C: u8 = 2;\n#[cfg(test)]\nmod tests { fn g() {} }\n";
    let found = refused("x/src/a.rs", source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("2 constant: `A` stands above"), "{found:?}");
    assert!(refused("tests/a.rs", source).is_empty());
}
