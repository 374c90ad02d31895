//! A table of the rounds: what each round reached, and how long its parts took.

use super::watch::{Round, before_loss};

/// One line for each round. `task` is the validation whose metrics show how good the round's base model is:
/// `metric`, and the loss.
pub(super) fn of(rounds: &[Round], task: &str, metric: &str) -> String {
    let first = before_loss(metric);
    let mut rows = vec![
        ["round", "updates", "rows", first, "loss", "train ms", "aggregate ms", "store ms", "next task ms"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for round in rounds {
        let value = |name| round.metric(task, name).map_or("-".to_owned(), |v| format!("{v:.3}"));
        let millis = |span| round.millis(span).map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let aggregate = match (round.millis("absorb"), round.millis("finalise")) {
            (Some(absorb), Some(finalise)) => format!("{:.1}", absorb + finalise),
            _ => "-".to_owned(),
        };
        rows.push(vec![
            round.number("round").to_string(),
            round.number("updates").to_string(),
            round.number("rows").to_string(),
            value(first),
            value("loss"),
            millis("wait"),
            aggregate,
            millis("store"),
            millis("turnaround"),
        ]);
    }
    aligned(&rows)
}

/// Columns aligned right, two spaces between them.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:>w$}")).collect();
        format!("{}\n", cells.join("  "))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_shows_what_is_known_and_a_dash_for_the_rest() {
        let metric = |metric: &str, value: f64| json!({"task": "measure", "metric": metric, "value": value});
        let rounds = [
            json!({"round": 0, "updates": 3, "rows": 366, "metrics": [metric("accuracy", 0.5)],
                "millis": {"wait": 12.34, "absorb": 0.1, "finalise": 0.25}}),
            json!({"round": 10, "updates": 2, "rows": 300, "metrics": [metric("accuracy", 0.9), metric("loss", 0.1)],
                "millis": {"turnaround": 1.5}}),
        ];
        let table = of(&rounds.map(Round), "measure", "accuracy");
        assert_eq!(
            table,
            "round  updates  rows  accuracy   loss  train ms  aggregate ms  store ms  next task ms\n\
             \x20   0        3   366     0.500      -      12.3           0.3         -             -\n\
             \x20  10        2   300     0.900  0.100         -             -         -           1.5\n"
        );
    }
}
