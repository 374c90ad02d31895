//! Random changes of the pictures that are trained on, as the plan's `data.augment` says.
//!
//! The trainer calls this for each sample of a batch, with a seed for the sample. Nothing else decides: the
//! order of the batches and the number of threads do not.

use fl_engine::{
    Draws,
    plan::{Augment, DataSpec, Loader, PictureLabel, picture_size},
};

use super::{
    error::DataError,
    scale::{Known, Scale, Scaling, channels},
};

/// Changes pictures, and masks with them.
pub(crate) struct Augmenter {
    how: Augment,
    height: usize,
    width: usize,
    /// Whether labels are masks, which move with their pictures.
    masks: bool,
    scale: Known,
    /// Each feature's value of a black pixel.
    black: Vec<f32>,
}

/// What happens to one picture.
struct Change {
    mirrored: bool,
    upside_down: bool,
    /// Quarter turns, counterclockwise.
    turns: u64,
    /// Pixels to the bottom and to the right.
    moved: (i64, i64),
    brightness: f64,
}

impl Augmenter {
    /// What the plan's data asks for; `None` where pictures are trained on as they are.
    pub(crate) fn of(data: &DataSpec, input: &[u32]) -> Result<Option<Self>, DataError> {
        let (Loader::Pictures(spec), Some((_, height, width))) = (&data.loader, picture_size(input)) else {
            return Ok(None);
        };
        if spec.augment == Augment::default() {
            return Ok(None);
        }
        let (height, width) = (height as usize, width as usize);
        let features = input.iter().map(|side| *side as usize).product();
        let scaling = data.standardise.as_ref().map_or(Scaling::AsIs, Scaling::By);
        let scale = Scale::new(scaling, features, channels(input))?.known();
        let black = (0..features).map(|feature| scale.apply(feature, 0.0)).collect();
        let masks = matches!(spec.label, PictureLabel::Masks { .. });
        Ok(Some(Self { how: spec.augment, height, width, masks, scale, black }))
    }

    /// Changes the samples of a batch in place: the rows `rows`, whose pictures and labels lie end to end.
    pub(crate) fn apply_all(
        &self,
        pictures: &mut [f32],
        labels: &mut [f32],
        rows: &[usize],
        seed: impl Fn(usize) -> u64,
    ) {
        let (picture, label) = (pictures.len() / rows.len().max(1), labels.len() / rows.len().max(1));
        let samples = pictures.chunks_exact_mut(picture.max(1)).zip(labels.chunks_exact_mut(label.max(1)));
        samples.zip(rows).for_each(|((picture, label), row)| self.apply(picture, label, seed(*row)));
    }

    /// Changes one sample in place: its picture and, if labels are masks, its label.
    fn apply(&self, picture: &mut [f32], label: &mut [f32], seed: u64) {
        let change = self.change(seed);
        let from = self.sources(&change);
        let area = self.height * self.width;
        for (plane, black) in picture.chunks_exact_mut(area).zip(self.black.chunks_exact(area)) {
            moved(plane, &from, |at| black[at]);
        }
        if self.masks {
            label.chunks_exact_mut(area).for_each(|plane| moved(plane, &from, |_| 0.0));
        }
        if self.how.brightness > 0.0 {
            for (feature, value) in picture.iter_mut().enumerate() {
                let bright = self.scale.undo(feature, *value) * change.brightness;
                *value = self.scale.apply(feature, bright.clamp(0.0, 1.0));
            }
        }
    }

    fn change(&self, seed: u64) -> Change {
        let Augment { flip_horizontal, flip_vertical, quarter_turns, shift, brightness } = self.how;
        let mut draws = Draws::new(seed);
        let mut below = |bound: u64| draws.below(bound);
        // Each change has a draw of its own, whether the plan asks for the change or not.
        let (mirrored, upside_down, turns) = (below(2) == 1, below(2) == 1, below(4));
        let ways = 2 * u64::from(shift) + 1;
        let (down, right) = (below(ways) as i64 - i64::from(shift), below(ways) as i64 - i64::from(shift));
        Change {
            mirrored: flip_horizontal && mirrored,
            upside_down: flip_vertical && upside_down,
            turns: if quarter_turns { turns } else { 0 },
            moved: (down, right),
            brightness: 1.0 + brightness * (2.0 * draws.unit() - 1.0),
        }
    }

    /// For each pixel of the result, the pixel of the picture; `None` where black moves in.
    fn sources(&self, change: &Change) -> Vec<Option<usize>> {
        let (height, width) = (self.height, self.width);
        let source = |at: usize| {
            let inside = |place: usize, by: i64, side: usize| {
                usize::try_from(place as i64 - by).ok().filter(|place| *place < side)
            };
            let (mut y, mut x) =
                (inside(at / width, change.moved.0, height)?, inside(at % width, change.moved.1, width)?);
            for _ in 0..change.turns {
                // Only squares are turned.
                (y, x) = (x, width - 1 - y);
            }
            let y = if change.upside_down { height - 1 - y } else { y };
            let x = if change.mirrored { width - 1 - x } else { x };
            Some(y * width + x)
        };
        (0..height * width).map(source).collect()
    }
}

/// Moves the values of a plane: `from` says where each of them comes from.
fn moved(plane: &mut [f32], from: &[Option<usize>], black: impl Fn(usize) -> f32) {
    let before = plane.to_vec();
    for (at, (value, from)) in plane.iter_mut().zip(from).enumerate() {
        *value = from.map_or_else(|| black(at), |from| before[from]);
    }
}

#[cfg(test)]
mod tests {
    use fl_engine::plan::{PictureSpec, Split, Standardise};

    use super::*;

    fn augmenter(how: Augment, input: &[u32], standardise: Option<Standardise>) -> Augmenter {
        let label = PictureLabel::Masks { folder: "masks".to_owned(), channel: None };
        let spec = PictureSpec { augment: how, ..PictureSpec::new(label) };
        let split = Split { train: 1.0, validation: 0.0, test: 0.0 };
        let loader = Loader::Pictures(spec);
        let data = DataSpec { loader, standardise, split, classes: None, federated: None };
        Augmenter::of(&data, input).unwrap().unwrap()
    }

    /// Every different result for the picture 0 1 2 / 3 4 5 / 6 7 8 with itself as its mask.
    fn results(how: Augment) -> Vec<Vec<f32>> {
        let augmenter = augmenter(how, &[1, 3, 3], None);
        let mut all: Vec<Vec<f32>> = (0..400)
            .map(|seed| {
                let mut picture: Vec<f32> = (0..9).map(|value| value as f32 / 8.0).collect();
                let mut mask = picture.clone();
                augmenter.apply(&mut picture, &mut mask, Draws::nth(7, seed));
                assert_eq!(picture, mask);
                picture.iter().map(|value| value * 8.0).collect()
            })
            .collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all.dedup();
        all
    }

    #[test]
    fn flips_turns_and_shifts_move_pictures_and_masks_alike() {
        let none = Augment::default();
        let flips = results(Augment { flip_horizontal: true, ..none });
        assert_eq!(
            flips,
            [[0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 0, 5, 4, 3, 8, 7, 6]].map(|p| p.map(|v| v as f32))
        );
        let flips = results(Augment { flip_vertical: true, ..none });
        assert_eq!(
            flips,
            [[0, 1, 2, 3, 4, 5, 6, 7, 8], [6, 7, 8, 3, 4, 5, 0, 1, 2]].map(|p| p.map(|v| v as f32))
        );
        let turns = results(Augment { quarter_turns: true, ..none });
        let expected = [
            [0, 1, 2, 3, 4, 5, 6, 7, 8],
            [2, 5, 8, 1, 4, 7, 0, 3, 6],
            [6, 3, 0, 7, 4, 1, 8, 5, 2],
            [8, 7, 6, 5, 4, 3, 2, 1, 0],
        ];
        assert_eq!(turns, expected.map(|picture| picture.map(|value| value as f32)));
        let shifts = results(Augment { shift: 1, ..none });
        assert_eq!(shifts.len(), 9);
        assert!(shifts.contains(&vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0, 4.0]), "{shifts:?}");
    }

    #[test]
    fn black_and_brightness_are_those_of_the_picture_before_it_was_scaled() {
        let statistics = Some(Standardise::new(&[0.5], &[0.25]));
        let how = Augment { shift: 1, brightness: 0.5, ..Augment::default() };
        let augmenter = augmenter(how, &[1, 2, 2], statistics);
        let mut seen = [false; 2];
        for seed in 0..50 {
            // 0.8, scaled.
            let (mut picture, mut mask) = (vec![1.2; 4], vec![1.0; 4]);
            augmenter.apply(&mut picture, &mut mask, seed);
            let values: Vec<f32> = picture.iter().map(|value| value * 0.25 + 0.5).collect();
            let inside = values.iter().copied().fold(0.0, f32::max);
            assert!((0.4 - 1e-6..=1.0 + 1e-6).contains(&inside), "{values:?}");
            assert!(values.iter().all(|v| v.abs() < 1e-6 || (v - inside).abs() < 1e-6), "{values:?}");
            assert_eq!(values.iter().map(|v| f32::from(*v > 0.1)).collect::<Vec<_>>(), mask);
            seen[0] |= values.iter().any(|value| value.abs() < 1e-6);
            seen[1] |= (inside - 1.0).abs() < 1e-6;
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn one_seed_gives_one_result_and_another_seed_another() {
        let how = Augment { flip_horizontal: true, quarter_turns: true, shift: 3, ..Augment::default() };
        let augmenter = augmenter(how, &[3, 8, 8], None);
        let result = |seed: u64| {
            let (mut picture, mut mask) =
                ((0..192).map(|v| v as f32 / 192.0).collect::<Vec<_>>(), vec![0.0; 64]);
            augmenter.apply(&mut picture, &mut mask, seed);
            picture
        };
        assert_eq!(result(1), result(1));
        assert_ne!(result(1), result(2));
    }
}
