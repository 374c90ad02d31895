//! What this program can do wrong, in groups that each have a function of their own in
//! [`deeds`](super::deeds).

use std::{fmt, str::FromStr};

/// Declares the groups, and [`Misdeed`] over them, with the word of each misdeed on the command line. Each
/// match over a group names every misdeed of the group, so that the compiler finds one that nobody commits.
macro_rules! misdeeds {
    ($($(#[$doc:meta])* $group:ident { $($misdeed:ident: $word:literal),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub(crate) enum $group { $($misdeed),+ }
        )+

        /// One thing done wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Misdeed { $($group($group)),+ }

        const WORDS: &[(&str, Misdeed)] =
            &[$($(($word, Misdeed::$group($group::$misdeed))),+),+];
    };
}

misdeeds! {
    /// A hello that the aggregator rejects.
    WrongHello {
        Plan: "wrong-plan",
        Federation: "wrong-federation",
        Version: "wrong-version",
        LaterRoster: "later-roster",
        MostEvidence: "most-evidence",
        LongEvidence: "long-evidence",
        NoFeatures: "no-features",
    }
    /// Nothing is said, or nothing is read.
    Silence {
        Silent: "silent",
        Streamless: "streamless",
        Idle: "idle",
        Sluggish: "sluggish",
        Deaf: "deaf",
    }
    /// Sums of the site's data that no data has.
    WrongSums {
        TooWide: "too-wide-sums",
        OfNone: "sums-of-none",
        TooMany: "sums-of-too-many",
        Impossible: "impossible-sums",
        TooLong: "too-long-sums",
    }
    /// An offer that is refused before a byte of the update is sent.
    WrongOffer {
        LyingLength: "lying-length",
        WrongLayout: "wrong-layout",
        Heavy: "heavy",
        StaleRound: "stale-round",
        StaleIncarnation: "stale-incarnation",
        WrongBase: "wrong-base",
        UnknownTask: "unknown-task",
    }
    /// An update that is refused for its bytes.
    WrongPayload {
        Truncated: "truncated",
        Oversized: "oversized",
        Nan: "nan",
        Infinity: "infinity",
        MinusInfinity: "minus-infinity",
        OutOfRange: "out-of-range",
        WrongRoot: "wrong-root",
        OtherHeader: "other-header",
        Dropped: "dropped",
    }
    /// An update that does not end in time.
    SlowPayload {
        Vanishing: "vanishing",
        Drip: "drip",
    }
    /// An update that counts, and something odd beside it.
    Counted {
        Duplicate: "duplicate",
        UnknownOdd: "unknown-odd",
        OddMetrics: "odd-metrics",
    }
    /// Thousands of messages or streams.
    Flood {
        Offers: "offer-flood",
        Reports: "report-flood",
        Failures: "failed-flood",
        Ungranted: "ungranted",
        AbandonedStreams: "abandoned-streams",
    }
    /// Bytes that break the protocol.
    Broken {
        ZeroWeight: "zero-weight",
        HugeWeight: "huge-weight",
        Undecodable: "undecodable",
        Trailing: "trailing",
        EmptyEnvelope: "empty-envelope",
        UnknownEven: "unknown-even",
        BigEnvelope: "big-envelope",
        SecondHello: "second-hello",
        AggregatorsWords: "aggregators-words",
        ModelHeader: "model-header",
        BadHeader: "bad-header",
        BigHeader: "big-header",
        HalfOpen: "half-open",
    }
}

impl FromStr for Misdeed {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = WORDS.iter().find(|(of, _)| *of == word);
        found.map(|(_, misdeed)| *misdeed).ok_or_else(|| format!("no such misdeed: {word}"))
    }
}

impl fmt::Display for Misdeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = WORDS.iter().find(|(_, of)| of == self);
        f.write_str(found.map_or("", |(word, _)| word))
    }
}
