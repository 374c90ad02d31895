//! What a run waits for, in a line for its operator.

use std::time::Duration;

use fl_engine::{
    Millis, Name,
    round::{Lost, Waiting},
};

use super::round_line::duration;

/// The line, `waited` after the wait began; `now` is on the engine's clock.
#[must_use]
pub fn waiting_line(waiting: &Waiting, waited: Duration, now: Millis) -> String {
    let waited = duration(waited);
    match waiting {
        Waiting::Members { here, need, absent } => {
            let absent = if absent.is_empty() { "nobody".to_owned() } else { names(absent) };
            format!(
                "waiting for collaborators for {waited}: {here} connected, a round needs {need}; not connected: {absent}"
            )
        }
        Waiting::Sums { deadline, have, need, awaited, refused, .. } => {
            let left = Duration::from_millis(deadline.0.saturating_sub(now.0));
            let whom = match (awaited.is_empty(), refused.is_empty()) {
                (false, _) => format!(" for {}", names(awaited)),
                (true, true) => " for sites to connect".to_owned(),
                (true, false) => String::new(),
            };
            let refused = after_words("refused: ", refused);
            format!(
                "statistics of the data: waiting for {waited}{whom}{refused}; sums of {have} sites, needed: {need}; deadline in {}",
                duration(left)
            )
        }
        Waiting::Answers { round, closing, deadline, have, need, awaited, absent, lost, .. } => {
            let left = Duration::from_millis(deadline.0.saturating_sub(now.0));
            let what = if *closing { "final model".to_owned() } else { format!("round {round}") };
            let mut parts = vec![match awaited.as_slice() {
                [] => format!("{what}: waiting for {waited}; all connected collaborators have answered"),
                some => format!("{what}: waiting for {waited} for {}", names(some)),
            }];
            if !absent.is_empty() {
                parts.push(format!("not connected: {}", names(absent)));
            }
            if !closing {
                parts.push(format!("updates: {have}, needed: {need}"));
            }
            parts.extend(lost.iter().take(NAMED).map(|lost: &Lost| format!("no update of {lost}")));
            parts.push(format!("deadline in {}", duration(left)));
            parts.join("; ")
        }
        _ => format!("waiting for {waited}"),
    }
}

/// The words and the first few names, after a semicolon; nothing where there are no names.
#[must_use]
pub fn after_words(words: &str, these: &[Name]) -> String {
    if these.is_empty() { String::new() } else { format!("; {words}{}", names(these)) }
}

/// The first few names.
#[must_use]
pub fn names(names: &[Name]) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).map(Name::as_str).collect();
    match names.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Most names in a line.
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use fl_engine::{
        RoundNo,
        round::{LostCause, Refusal},
    };

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_wait_says_for_whom_how_long_and_until_when() {
        let members = Waiting::Members { here: 1, need: 2, absent: vec![name("one"), name("two")] };
        assert_eq!(
            waiting_line(&members, Duration::from_secs(30), Millis(0)),
            "waiting for collaborators for 30 s: 1 connected, a round needs 2; not connected: one, two"
        );
        let lost = |cause| Lost { collaborator: name("four"), task: name("train"), cause };
        let answers = |awaited: &[&str], absent: &[&str], lost| Waiting::Answers {
            round: RoundNo(3),
            closing: false,
            opened: Millis(1_000),
            deadline: Millis(601_000),
            have: 1,
            need: 2,
            awaited: awaited.iter().map(|n| name(n)).collect(),
            absent: absent.iter().map(|n| name(n)).collect(),
            lost,
        };
        let line = |waiting: &Waiting| waiting_line(waiting, Duration::from_secs(90), Millis(91_000));
        assert_eq!(
            line(&answers(&["one", "two"], &[], Vec::new())),
            "round 3: waiting for 1 min 30 s for one, two; updates: 1, needed: 2; deadline in 8 min 30 s"
        );
        assert_eq!(
            line(&answers(&[], &["three"], vec![lost(LostCause::Refused(Refusal::Root))])),
            "round 3: waiting for 1 min 30 s; all connected collaborators have answered; not connected: three; \
             updates: 1, needed: 2; no update of four: its update was refused: the hash of the update is not the hash \
             that was offered; deadline in 8 min 30 s"
        );
        let sums = |awaited: &[&str], refused: &[&str]| {
            line(&Waiting::Sums {
                opened: Millis(1_000),
                deadline: Millis(601_000),
                have: 1,
                need: 2,
                awaited: awaited.iter().map(|n| name(n)).collect(),
                refused: refused.iter().map(|n| name(n)).collect(),
            })
        };
        for (line, between) in [
            (sums(&[], &[]), " for sites to connect"),
            (sums(&["one"], &[]), " for one"),
            (sums(&["one"], &["two", "three"]), " for one; refused: two, three"),
            (sums(&[], &["two", "three"]), "; refused: two, three"),
        ] {
            assert_eq!(
                line,
                format!(
                    "statistics of the data: waiting for 1 min 30 s{between}; sums of 1 sites, needed: 2; deadline in \
                     8 min 30 s"
                )
            );
        }
        let many: Vec<Name> = (0..20).map(|n| name(&format!("s{n}"))).collect();
        assert_eq!(names(&many), "s0, s1, s2, s3, s4, s5, s6, s7 and 12 more");
    }
}
