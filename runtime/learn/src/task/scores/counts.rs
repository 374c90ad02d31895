//! Right and wrong answers by class.

use fl_engine::plan::Metric;

/// Answers and labels, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    labels: u64,
    right: u64,
    /// Labels by the number of outputs before their own: the first entry is those of the largest output.
    places: Vec<u64>,
    /// By class. Where labels are yes or no: of yes alone.
    classes: Vec<Class>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// Labels of the class that the model gives the class.
    found: u64,
    /// Labels of other classes that the model gives the class.
    claimed: u64,
    /// Labels of the class that the model gives another class.
    missed: u64,
}

impl Counts {
    /// A label that is a class. `before` is the number of outputs that are larger than the label's own.
    pub(super) fn add_class(&mut self, answer: usize, truth: usize, before: usize, classes: usize) {
        self.labels += 1;
        self.right += u64::from(answer == truth);
        self.places.resize(classes, 0);
        self.classes.resize(classes, Class::default());
        if let Some(place) = self.places.get_mut(before) {
            *place += 1;
        }
        if let Some(class) = self.classes.get_mut(truth) {
            if answer == truth { class.found += 1 } else { class.missed += 1 }
        }
        if let Some(class) = self.classes.get_mut(answer).filter(|_| answer != truth) {
            class.claimed += 1;
        }
    }

    /// A label that is yes or no.
    pub(super) fn add_answer(&mut self, answer: bool, truth: bool) {
        self.labels += 1;
        self.right += u64::from(answer == truth);
        self.classes.resize(1, Class::default());
        match (answer, truth) {
            (true, true) => self.classes[0].found += 1,
            (true, false) => self.classes[0].claimed += 1,
            (false, true) => self.classes[0].missed += 1,
            (false, false) => {}
        }
    }

    /// `None` where the labels do not define the metric.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        let of_labels = |count: u64| (self.labels > 0).then(|| count as f64 / self.labels as f64);
        if let Some(among) = metric.among() {
            return of_labels(self.places.iter().take(among).sum()).filter(|_| !self.places.is_empty());
        }
        // Of two classes, the second is yes.
        let counted = match self.classes.as_slice() {
            [_, yes] => std::slice::from_ref(yes),
            all => all,
        };
        let of = |class: &Class| {
            let Class { found, claimed, missed } = *class;
            let others = self.labels - found - claimed - missed;
            let (part, whole, defined) = match metric {
                Metric::F1 => (2 * found, 2 * found + claimed + missed, found + claimed + missed > 0),
                // No yes among the answers, although a label is one: 0, as scikit-learn says.
                Metric::Precision => (found, found + claimed, found + claimed + missed > 0),
                Metric::Sensitivity => (found, found + missed, found + missed > 0),
                Metric::Specificity => (others, others + claimed, others + claimed > 0),
                _ => return None,
            };
            defined.then(|| part as f64 / whole.max(1) as f64)
        };
        match metric {
            Metric::Accuracy => of_labels(self.right),
            _ => {
                let values: Vec<f64> = counted.iter().filter_map(of).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            }
        }
    }
}
