//! The tables of keys against the reader: every example is read, every default is what an absent key means,
//! and the reference has every key that the reader knows.

use crate::{
    plan::{keys::KEYS, read::*, reference},
    settings::{Absent, Key, Tagged, Word},
};

/// One key in a plan that has beside it what it needs.
struct Place<'a> {
    path: String,
    key: &'a Key,
    /// The plan with this text in place of the key and its value.
    plan: Box<dyn Fn(&str) -> String + 'a>,
}

/// Every key of the tables, wherever it may stand.
fn places() -> Vec<Place<'static>> {
    let mut all = Vec::new();
    section(String::new(), KEYS, &|text| text.to_owned(), &mut all);
    all
}

type Plans<'a> = &'a (dyn Fn(&str) -> String + 'a);

/// `inside` makes a plan of the section's text.
fn section(path: String, keys: &'static [Key], inside: Plans<'_>, all: &mut Vec<Place<'static>>) {
    for key in keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let around = |text: &str| {
            format!(
                "{{{}}}",
                needed(keys, key.name).into_iter().chain(some(text)).collect::<Vec<_>>().join(", ")
            )
        };
        // The plan's text around the key is fixed now: closures over closures would borrow from each other.
        let frame = inside(&around(HOLE));
        let fill = move |text: &str| frame.replace(HOLE, text).replace(", ,", ",");
        below(path.clone(), key, &|value| fill(&format!("{}: {value}", key.name)), all);
        all.push(Place { path, key, plan: Box::new(fill) });
    }
}

fn below(path: String, key: &'static Key, inside: Plans<'_>, all: &mut Vec<Place<'static>>) {
    takes(path, &key.takes, inside, all);
}

fn takes(path: String, takes_: &'static Takes, inside: Plans<'_>, all: &mut Vec<Place<'static>>) {
    match takes_ {
        Takes::Section(keys) => section(path, keys, inside, all),
        Takes::Variant(words) | Takes::Entry { words, .. } => {
            for Word { word, keys, .. } in *words {
                section(format!("{path}.{word}"), keys, &|text| inside(&format!("{{{word}: {text}}}")), all);
            }
        }
        Takes::Tagged(Tagged { tag, common, untagged }) => {
            for word in tag.words() {
                let keys: Vec<Key> = word.keys.iter().chain(*common).copied().collect();
                let tagged = |text: &str| inside(&format!("{{{}: {}, {}", tag.name, word.word, &text[1..]));
                section(path.clone(), keys.leak(), &tagged, all);
            }
            if let Some(keys) = untagged {
                let keys: Vec<Key> = common.iter().chain(*keys).copied().collect();
                section(path, keys.leak(), inside, all);
            }
        }
        Takes::Names { of, .. } => {
            takes(format!("{path}.*"), of, &|text| inside(&format!("{{x: {text}}}")), all)
        }
        Takes::List { of, .. } => takes(format!("{path}[]"), of, &|text| inside(&format!("[{text}]")), all),
        _ => {}
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The other keys that a section with the key `name` has to have, with their examples.
fn needed(keys: &[Key], name: &str) -> Vec<String> {
    let has = |name: &str| keys.iter().any(|key| key.name == name && matches!(key.absent, Absent::Means(_)));
    // A training has either of these, a threshold too.
    let either = [("epochs", "steps"), ("min", "max")];
    let either = either.iter().find(|(one, other)| has(one) && has(other) && ![*one, *other].contains(&name));
    let is_needed = |key: &&Key| {
        // Statistics are a mean and a deviation.
        let both = [("mean", "std"), ("std", "mean")].contains(&(name, key.name));
        let either = either.is_some_and(|(one, _)| *one == key.name);
        key.name != name && (key.absent == Absent::Refused || either || both)
    };
    keys.iter().filter(is_needed).map(|key| format!("{}: {}", key.name, key.example)).collect()
}

#[test]
fn every_example_is_read() {
    let places = places();
    assert!(places.len() > 150, "{}", places.len());
    for Place { path, key, plan } in places {
        let text = plan(&format!("{}: {}", key.name, key.example));
        PlanDraft::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}\n{text}"));
        for word in key.words() {
            // `key:PUBLIC_KEY` stands for a key.
            let example = word.example().replace("PUBLIC_KEY", &"7".repeat(64));
            let tagged = matches!(key.takes, Takes::Word(_)) && !word.keys.is_empty();
            if !tagged {
                let list = matches!(key.takes, Takes::List { .. });
                let example = if list { format!("[{example}]") } else { example };
                let text = plan(&format!("{}: {example}", key.name));
                PlanDraft::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}\n{text}"));
            }
        }
    }
}

#[test]
fn every_default_is_what_an_absent_key_means() {
    let mut found = 0;
    for Place { path, key, plan } in places() {
        let without = PlanDraft::parse(&plan(""));
        match key.absent {
            Absent::Default(value) => {
                let text = plan(&format!("{}: {value}", key.name));
                let with = PlanDraft::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}\n{text}"));
                assert_eq!(without, Ok(with.clone()), "{path}");
                assert_eq!(with.canonical(), without.unwrap().canonical(), "{path}");
                let other = PlanDraft::parse(&plan(&format!("{}: {}", key.name, key.example))).unwrap();
                assert!(key.example == value || other != with, "{path}: the example changes nothing");
                found += 1;
            }
            Absent::Refused => {
                let refusal = without.expect_err(&path).to_string();
                assert!(
                    refusal.contains(&format!("{:?} is missing", key.name)) || refusal.contains(" needs "),
                    "{path}: {refusal}"
                );
            }
            Absent::Means(_) => {}
        }
    }
    assert!(found > 40, "{found}");
}

#[test]
fn reference_has_every_key_that_the_reader_knows() {
    let known: Vec<String> = reference().into_iter().map(|key| key.path).collect();
    let mut maps = 0;
    for Place { path, plan, .. } in places() {
        assert!(known.contains(&path), "{path}");
        // The reader tells which keys it knows where it meets one that it does not.
        let refusal = PlanDraft::parse(&plan("no_such_key: 1")).expect_err(&path).to_string();
        let Some((_, list)) = refusal.split_once("unknown key \"no_such_key\"; allowed here: ") else {
            panic!("{path}: {refusal}");
        };
        let inside = path.rsplit_once('.').map_or(String::new(), |(inside, _)| format!("{inside}."));
        for name in list.split(", ") {
            assert!(known.contains(&format!("{inside}{name}")), "{inside}{name}");
        }
        maps += 1;
    }
    assert!(maps > 150, "{maps}");
}

#[test]
fn reference_tells_what_a_key_takes() {
    let all = reference();
    let of = |path: &str| all.iter().filter(|key| key.path == path).collect::<Vec<_>>();
    let [trim] = of("tasks.*.rule.trimmed_mean.trim")[..] else {
        panic!("{:?}", of("tasks.*.rule.trimmed_mean.trim"))
    };
    assert_eq!(
        (trim.kind, trim.range.as_deref(), trim.absent),
        ("number", Some("from 0, below 0.5"), Absent::Refused)
    );
    assert_eq!((trim.only_with.len(), trim.example), (3, "0.2"));
    let [link] = of("threads.link")[..] else { panic!("{:?}", of("threads.link")) };
    assert_eq!((link.unit, link.absent), (Some("threads"), Absent::Default("2")));
    let [metrics] = of("metrics")[..] else { panic!("{:?}", of("metrics")) };
    assert_eq!(metrics.words.iter().map(|word| word.word).collect::<Vec<_>>(), ["host", "members", "none"]);
    let [rule, ..] = of("tasks.*.rule")[..] else { panic!("{:?}", of("tasks.*.rule")) };
    assert_eq!(rule.words[6].example, "{krum: {byzantine: 1}}");
    let [input] = of("model.input")[..] else { panic!("{:?}", of("model.input")) };
    assert!(input.only_with.is_empty());
    assert!(all.iter().all(|key| !key.meaning.is_empty() && !key.example.is_empty()));
}

/// Stands for a key and its value, which may be nothing.
const HOLE: &str = "HOLE";
