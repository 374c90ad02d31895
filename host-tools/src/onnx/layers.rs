//! The layers of a plan, as an import appends them, with the shapes that pass between them.

use fl_engine::{
    limits,
    model::{self, Layer, ModelError, ModelSpec},
};

use super::error::OnnxError;

/// What passes between nodes: what a layer gives, perhaps in another shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flow {
    /// 0 is the sample, n is what the nth layer gives.
    pub(super) place: usize,
    /// The shape that the network means, without the batch. The elements are those of the place, in order.
    pub(super) shape: Vec<u32>,
}

/// What a place holds, in the axes that the network sees. All sides in order are those of the place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) place: usize,
    pub(super) axes: Vec<Axis>,
}

/// Sides that lie in one axis; `None` is the batch.
pub(super) type Axis = Vec<Option<u32>>;

impl View {
    pub(super) fn of(flow: &Flow) -> Self {
        let sides = flow.shape.iter().map(|side| vec![Some(*side)]);
        Self { place: flow.place, axes: std::iter::once(vec![None]).chain(sides).collect() }
    }

    /// The sides in order, the batch left out.
    pub(super) fn sides(&self) -> Vec<u32> {
        self.axes.iter().flatten().filter_map(|side| *side).collect()
    }

    /// The same values with the batch in front.
    pub(super) fn untwisted(&self) -> Flow {
        Flow { place: self.place, shape: self.sides() }
    }

    /// The only side of an axis.
    pub(super) fn side(&self, axis: usize) -> Option<u32> {
        match *self.axes.get(axis)?.as_slice() {
            [Some(side)] => Some(side),
            [] => Some(1),
            _ => None,
        }
    }

    /// The sides before an axis and behind it.
    pub(super) fn around(&self, axis: usize) -> [Vec<u32>; 2] {
        let flat = |axes: &[Axis]| axes.iter().flatten().filter_map(|side| *side).collect();
        [flat(&self.axes[..axis]), flat(&self.axes[axis + 1..])]
    }
}

/// A tensor of a layer, and the tensor of the file that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// `fc1.weight`.
    pub(super) name: String,
    /// Index of the tensor in the file.
    pub(super) tensor: usize,
    /// Whether the file has rows and columns the other way round.
    pub(super) transposed: bool,
}

/// The layers so far.
#[derive(Debug)]
pub(super) struct Layers {
    input: Vec<u32>,
    all: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    layer: Layer,
    from: Vec<usize>,
    output: Vec<u32>,
    sources: Vec<Source>,
}

impl Layers {
    pub(super) fn new(input: Vec<u32>) -> Self {
        Self { input, all: Vec::new() }
    }

    /// Shape of what a place holds.
    pub(super) fn shape(&self, place: usize) -> &[u32] {
        place
            .checked_sub(1)
            .and_then(|index| self.all.get(index))
            .map_or(&self.input, |placed| &placed.output)
    }

    /// The layer that gives what a place holds, and what it takes, if that is one place.
    pub(super) fn made(&self, place: usize) -> Option<(&Layer, usize)> {
        let placed = self.all.get(place.checked_sub(1)?)?;
        if let [from] = *placed.from.as_slice() { Some((&placed.layer, from)) } else { None }
    }

    /// Appends a layer. The inputs' shapes are those of their places.
    pub(super) fn push(
        &mut self,
        layer: Layer,
        from: Vec<usize>,
        sources: Vec<Source>,
    ) -> Result<Flow, ModelError> {
        if self.all.len() == MOST {
            return Err(ModelError::Layers(MOST as u64 + 1));
        }
        let inputs: Vec<&[u32]> = from.iter().map(|place| self.shape(*place)).collect();
        let output = model::layer_output(self.all.len(), &layer, &inputs)?;
        self.all.push(Placed { layer, from, output: output.clone(), sources });
        Ok(Flow { place: self.all.len(), shape: output })
    }

    /// The model that ends with this place: its layers without those that the output does not need, and
    /// where their tensors come from.
    pub(super) fn finish(self, output: usize) -> Result<(ModelSpec, Vec<Source>), OnnxError> {
        let mut needed = vec![false; self.all.len() + 1];
        if let Some(output) = needed.get_mut(output) {
            *output = true;
        }
        for (index, placed) in self.all.iter().enumerate().rev() {
            if needed[index + 1] {
                placed.from.iter().for_each(|place| needed[*place] = true);
            }
        }
        let (mut layers, mut from, mut sources) = (Vec::new(), Vec::new(), Vec::<Source>::new());
        let mut places = vec![0; needed.len()];
        for (index, placed) in self.all.into_iter().enumerate().filter(|(index, _)| needed[index + 1]) {
            layers.push(placed.layer);
            from.push(placed.from.iter().map(|place| places[*place] as u32).collect::<Vec<u32>>());
            sources.extend(placed.sources);
            places[index + 1] = layers.len();
        }
        if from.iter().zip(0..).all(|(from, n)| *from == [n]) {
            from.clear();
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(source) = sources.iter().find(|source| !seen.insert(source.tensor)) {
            return Err(OnnxError::Shared(source.name.clone()));
        }
        let spec = ModelSpec { input: self.input, layers, from };
        model::place(&spec)?;
        Ok((spec, sources))
    }
}

/// Most layers with those that a pattern makes needless: a pattern of nine nodes gives one layer.
const MOST: usize = 8 * limits::LAYERS;
