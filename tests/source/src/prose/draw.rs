//! Chooses sentences by a seed: the same seed and the same tree give the same sentences.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Kind, Text, sentences};

/// `count` sentences of what users read, as many of each kind as its share of all asks for, one at least.
#[must_use]
pub fn draw(texts: &[Text], seed: u64, count: usize) -> Vec<Text> {
    let mut of_kind: BTreeMap<Kind, BTreeMap<String, Text>> = BTreeMap::new();
    for text in texts.iter().filter(|text| Kind::READ_BY_USERS.contains(&text.kind)) {
        let is_comment = matches!(text.kind, Kind::Help | Kind::Readme | Kind::Manual);
        let mut before = text.before.clone();
        for (more, sentence) in sentences(&text.text) {
            let so_far = before.clone();
            if matches!(text.kind, Kind::Readme | Kind::Manual) {
                before.push(' ');
                before.push_str(&sentence);
            }
            if sentence.split_whitespace().filter(|word| word.starts_with(char::is_alphabetic)).count()
                >= FEWEST_WORDS
            {
                let line = text.line + if is_comment { more } else { 0 };
                let drawn = Text { text: sentence.clone(), line, before: so_far, ..text.clone() };
                of_kind.entry(text.kind).or_default().entry(sentence).or_insert(drawn);
            }
        }
    }
    let all: usize = of_kind.values().map(BTreeMap::len).sum();
    let count = count.min(all);
    let mut shares: Vec<(Kind, usize, usize)> = of_kind
        .iter()
        .map(|(kind, sentences)| {
            let (whole, rest) = (sentences.len() * count / all.max(1), sentences.len() * count % all.max(1));
            (*kind, whole.max(1), rest)
        })
        .collect();
    // The largest remainders fill what rounding down has left; a kind that got its one beyond its share takes
    // it from the largest.
    shares.sort_by_key(|(kind, _, rest)| (std::cmp::Reverse(*rest), *kind));
    let mut next = 0;
    while shares.iter().map(|share| share.1).sum::<usize>() < count {
        let at = next % shares.len();
        if shares[at].1 < of_kind[&shares[at].0].len() {
            shares[at].1 += 1;
        }
        next += 1;
    }
    while shares.iter().map(|share| share.1).sum::<usize>() > count {
        match shares.iter_mut().max_by_key(|share| share.1) {
            Some(largest) => largest.1 -= 1,
            None => break,
        }
    }

    let mut random = SplitMix64(seed);
    let mut drawn = Vec::new();
    for kind in Kind::READ_BY_USERS {
        let Some((_, share, _)) = shares.iter().find(|share| share.0 == kind) else { continue };
        let mut from: Vec<&Text> = of_kind[&kind].values().collect();
        for _ in 0..*share {
            let at = random.below(from.len());
            drawn.push(from.swap_remove(at).clone());
        }
    }
    drawn
}

/// The sentences as numbered text, without their places for readers who shall know nothing else.
#[must_use]
pub fn numbered(drawn: &[Text], with_places: bool) -> String {
    let mut out = String::new();
    for (index, text) in drawn.iter().enumerate() {
        let sentence = match text.kind {
            // Braces in a document are examples.
            Kind::Readme | Kind::Manual => text.text.clone(),
            _ => with_blanks(&text.text),
        };
        let _ = writeln!(out, "{:>3}. [{}] {sentence}", index + 1, text.kind.word());
        if with_places {
            let _ = writeln!(out, "     {}:{}", text.file.display(), text.line);
            if !text.before.is_empty() {
                let _ = writeln!(out, "     after: {}", text.before.trim_start());
            }
        }
    }
    out
}

/// `{}` and `{0:?}` as `{…}`, `{name:?}` as `{name}`: what stands there is filled in when the sentence is
/// shown.
fn with_blanks(sentence: &str) -> String {
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, tail)) = after.split_once('}') else { break };
        let name = inside.split(':').next().unwrap_or_default();
        let has_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let is_place = name.chars().all(|c| c == '_' || c == '.' || c.is_alphanumeric());
        let shown = if !is_place {
            inside
        } else if has_name {
            name
        } else {
            "…"
        };
        out.push_str(before);
        out.push_str(&format!("{{{shown}}}"));
        rest = tail;
    }
    out + rest
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = bound.max(1) as u64;
        usize::try_from((z ^ (z >> 31)) % bound).unwrap_or(0)
    }
}

/// Words that a drawn sentence has at least.
const FEWEST_WORDS: usize = 3;
