//! Labels of a classification: each is the index of a class.

use ndarray::ArrayD;

use super::error::DataError;

/// Looks at labels one after another and remembers those that are not the index of a class.
pub(super) struct Labels {
    /// `None`: a regression, whose labels may be any number.
    classes: Option<u32>,
    count: u64,
    bad: u64,
    /// Row and value.
    first: Option<(u64, f64)>,
    least: f64,
    most: f64,
    whole: bool,
    /// The first three different labels.
    kinds: Vec<f64>,
}

impl Labels {
    pub(super) fn new(classes: Option<u32>) -> Self {
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { classes, count: 0, bad: 0, first: None, least, most, whole: true, kinds: Vec::new() }
    }

    /// Refuses a file whose labels, in the order of its rows, are not all the index of a class.
    pub(super) fn check(classes: Option<u32>, labels: &ArrayD<f32>, file: &str) -> Result<(), DataError> {
        let mut seen = Self::new(classes);
        for (row, label) in (1..).zip(labels.outer_iter()) {
            label.iter().for_each(|value| seen.see(row, f64::from(*value)));
        }
        seen.finish(file, false)
    }

    /// Looks at the label of a row, which is counted from 1.
    pub(super) fn see(&mut self, row: u64, label: f64) {
        let Some(classes) = self.classes else { return };
        self.count += 1;
        self.least = self.least.min(label);
        self.most = self.most.max(label);
        self.whole &= label.fract() == 0.0;
        if self.kinds.len() < 3 && !self.kinds.contains(&label) {
            self.kinds.push(label);
        }
        if !(label >= 0.0 && label < f64::from(classes) && label.fract() == 0.0) {
            self.bad += 1;
            self.first.get_or_insert((row, label));
        }
    }

    /// Refuses the file if one of its labels is not the index of a class. `map` says whether the plan can
    /// give this file's labels other numbers.
    pub(super) fn finish(self, file: &str, map: bool) -> Result<(), DataError> {
        let (Some(classes), Some((row, label))) = (self.classes, self.first) else { return Ok(()) };
        let Self { count, bad, least, most, .. } = self;
        let most_class = classes - 1;
        let what = format!(
            "row {row} has the label {}, but the plan's classes are 0 to {most_class}; {bad} of {count} labels are outside of this range",
            number(label)
        );
        let mapped = |labels: [f64; 2]| {
            let pairs = format!("{}: 0, {}: 1", labels[0], labels[1]);
            let more = if classes > 2 { ", …" } else { "" };
            if map {
                format!(", or write `labels: {{{pairs}{more}}}` into the plan's data")
            } else {
                String::new()
            }
        };
        let hint = if !self.whole {
            "a label is the index of its class, a whole number from 0; a plan without `classes` is a regression".to_owned()
        } else if least == 1.0 && most == f64::from(classes) {
            format!("the labels count from 1: subtract 1 from each{}", mapped([1.0, 2.0]))
        } else if classes == 2 && self.kinds.len() <= 2 {
            format!("the labels are {least} to {most}: change them to 0 and 1{}", mapped([least, most]))
        } else if least >= 0.0 {
            format!("set data.classes to {}, or correct the labels in the file", most + 1.0)
        } else {
            format!(
                "the labels are {least} to {most}: change them to 0 to {most_class}{}",
                mapped([least, least + 1.0])
            )
        };
        Err(DataError::file(file, what, hint))
    }
}

/// Small and large numbers with an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        size if value != 0.0 && !(1e-5..1e16).contains(&size) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(classes: u32, labels: &[f64]) -> (String, String) {
        let mut seen = Labels::new(Some(classes));
        (2..).zip(labels).for_each(|(row, label)| seen.see(row, *label));
        let refused = seen.finish("y.csv", true).unwrap_err();
        (refused.to_string(), refused.hint().unwrap())
    }

    #[test]
    fn labels_from_one_are_told_with_row_and_cure() {
        let (what, cure) = hint(2, &[1.0, 2.0, 2.0]);
        assert_eq!(
            what,
            "y.csv: row 3 has the label 2, but the plan's classes are 0 to 1; 2 of 3 labels are outside of this range"
        );
        assert_eq!(
            cure,
            "the labels count from 1: subtract 1 from each, or write `labels: {1: 0, 2: 1}` into the plan's data"
        );
        assert!(hint(2, &[-1.0, 1.0]).1.ends_with("`labels: {-1: 0, 1: 1}` into the plan's data"));
        assert!(hint(3, &[0.0, 3.0]).1.starts_with("set data.classes to 4,"));
        assert!(
            hint(2, &[0.0, 1.0, 2.0]).1.starts_with("set data.classes to 3,"),
            "a map of two labels would not do"
        );
        assert!(hint(3, &[0.5]).1.contains("a plan without `classes` is a regression"));
        let mut regression = Labels::new(None);
        regression.see(1, -7.5);
        assert!(regression.finish("y.csv", true).is_ok());
    }
}
