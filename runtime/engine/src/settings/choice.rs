//! Closed choices: an enum whose words, settings and meanings are one table.

use super::{
    error::{At, PlanError},
    field::{Field, Section},
    key::{Absent, Takes, Word, names},
    tree::{Value, did_you_mean, quoted},
};

/// A word of a file with its settings, if it has any: `median`, `{trimmed_mean: {trim: 0.2}}`.
#[derive(Debug)]
pub(crate) struct Chosen<'f, 'a> {
    field: &'f Field<'a>,
    word: &'a str,
    place: At,
    settings: Option<Field<'a>>,
}

impl<'f, 'a> Chosen<'f, 'a> {
    /// The word of a field, whatever it is.
    pub(crate) fn of(field: &'f Field<'a>) -> Result<Self, PlanError> {
        match (field.value(), field.takes()) {
            (Value::Text(word), _) => Ok(Self { field, word, place: field.place(), settings: None }),
            (Value::Map(entries), Takes::Variant(_)) => match entries.as_slice() {
                [(key, node)] => {
                    let settings = field.child(&key.text, key.at, node, Takes::Section(&[]));
                    let settings = Some(settings).filter(|settings| !matches!(settings.value(), Value::Null));
                    Ok(Self { field, word: &key.text, place: key.at, settings })
                }
                _ => {
                    let (path, count) = (field.path(), entries.len());
                    Err(field.error(format!("{path} has {count} keys; it takes {}", field.takes())))
                }
            },
            _ => Err(field.refused()),
        }
    }

    /// The settings of `word`, if that is the word.
    pub(crate) fn settings(&self, word: &Word) -> Result<Option<Section<'a>>, PlanError> {
        if self.word != word.word {
            return Ok(None);
        }
        if matches!(self.field.takes(), Takes::Word(_)) {
            return Ok(Some(self.field.without_entries(Vec::new())));
        }
        let (name, path) = (self.word, self.field.path());
        let Some(settings) = &self.settings else {
            let needed = || word.keys.iter().filter(|key| key.absent == Absent::Refused);
            if needed().next().is_some() {
                let message = format!("{path} is {name}, which needs the keys {}", names(needed()));
                return Err(self.field.error(message).with_hint(Some(format!("write {}", word.example()))));
            }
            return Ok(Some(self.field.without_entries(word.keys.to_vec())));
        };
        let section = settings.with_keys(word.keys.to_vec());
        if word.keys.is_empty() {
            let hint = Some(format!("write the word alone: {name}"));
            let refused =
                |_| settings.error(format!("{path} is {name}, which takes no settings")).with_hint(hint);
            return section.map(Some).map_err(refused);
        }
        section.map(Some)
    }

    /// The refusal of a word that is not in the table.
    pub(crate) fn unknown(&self, words: &[&str]) -> PlanError {
        let message =
            format!("{} is {}; it takes {}", self.field.path(), quoted(self.word), self.field.takes());
        let hint = did_you_mean(self.word, words.iter().copied());
        self.field.error_at(self.place, message).with_hint(hint)
    }
}

/// Defines an enum, which derives `Serialize`, as a table: each variant with its word and its meaning, each
/// setting with what it takes, what its absence means, an example and its meaning. The comments are the
/// meanings. Where the settings are read apart, `=> KEYS` names their table. All arms are written out: a
/// variant that is not wired somewhere does not compile.
///
/// ```text
/// words! {
///     pub enum Rule {
///         /// The mean.
///         Mean = "mean",
///         /// The mean of each element without its largest and smallest values.
///         TrimmedMean = "trimmed_mean" {
///             /// Share of the updates left out at each end: of the largest and of the smallest values.
///             trim: f64 = Takes::Number(Range::FromZeroBelowHalf), Absent::Refused, "0.2";
///         },
///     }
/// }
/// ```
macro_rules! words {
    (
        $(#[$outer:meta])*
        $visibility:vis enum $name:ident {$(
            $(#[doc = $meaning:literal])+
            $variant:ident = $word:literal $(=> $keys:ident)? $({$(
                $(#[doc = $about:literal])+
                $key:ident: $type:ty = $takes:expr, $absent:expr, $example:literal;
            )+})?
        ),+ $(,)?}
    ) => {
        $(#[$outer])*
        $visibility enum $name {$(
            $(#[doc = $meaning])+
            // JSON has the plan's word. Bytes have the variant's number, whatever its name.
            #[serde(rename = $word)]
            $variant $({$(
                $(#[doc = $about])+
                $key: $type
            ),+})?
        ),+}

        impl $name {
            /// Every word, in the order in which refusals and the reference list them.
            pub(crate) const TABLE: &'static [$crate::settings::Word] = &[$($crate::settings::Word {
                word: $word,
                meaning: concat!($($meaning),+),
                keys: words!(@keys $($keys)? $({$($crate::settings::Key {
                    name: stringify!($key),
                    takes: $takes,
                    absent: $absent,
                    meaning: concat!($($about),+),
                    example: $example,
                }),+})?),
            }),+];

            /// Every word, as a plan spells it.
            $visibility const WORDS: &'static [&'static str] = &[$($word),+];

            /// As a plan spells it, without its settings.
            #[must_use]
            $visibility fn word(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word),+
                }
            }
        }

        impl $crate::settings::Choice for $name {
            fn keys(&self) -> &'static [$crate::settings::Key] {
                Self::TABLE.iter().find(|word| word.word == self.word()).map_or(&[], |word| word.keys)
            }
        }

        impl $crate::settings::Setting for $name {
            fn read(field: &$crate::settings::Field<'_>) -> Result<Self, $crate::settings::PlanError> {
                let chosen = $crate::settings::Chosen::of(field)?;
                let mut table = Self::TABLE.iter();
                $(if let Some(word) = table.next()
                    && let Some(_settings) = chosen.settings(word)?
                {
                    return Ok(Self::$variant {$($($key: _settings.get(stringify!($key))?),+)?});
                })+
                Err(chosen.unknown(Self::WORDS))
            }

            fn check(&self, _: &$crate::settings::Takes, _path: &str) -> $crate::settings::Checked {
                let _keys = $crate::settings::Choice::keys(self);
                match self {
                    $(Self::$variant {$($($key),+)?} => {
                        $($($crate::settings::check(
                            _keys,
                            &format!("{_path}/{}/{}", $word, stringify!($key)),
                            $key,
                        )?;)+)?
                        Ok(())
                    })+
                }
            }
        }
    };
    (@keys) => { &[] };
    (@keys $keys:ident) => { $keys };
    (@keys {$($key:expr),+}) => { &[$($key),+] };
}

pub(crate) use words;
