//! Which elements of a layout a rule combines together.

use std::ops::Range;

use crate::{
    plan::Scope,
    tensor::{Combine, Dtype, Layout},
};

/// The f32 segment cut where the part changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spans {
    spans: Vec<Span>,
    parts: usize,
}

/// Elements of the f32 segment that are treated alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) range: Range<usize>,
    /// The index of the choice for these elements; `None` for elements held out.
    pub(super) part: Option<usize>,
}

impl Spans {
    /// One part for the whole model, or one a combined tensor.
    pub(super) fn new(layout: &Layout, scope: Scope) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        let mut parts = 0;
        for segment in layout.segments(Dtype::F32).filter(|s| !s.range.is_empty()) {
            let part = match (layout.tensors()[segment.tensor].combine, scope) {
                (Combine::Keep | Combine::Max | Combine::Sum, _) => None,
                (Combine::Rule, Scope::Model) => Some(0),
                (Combine::Rule, Scope::Tensor) => Some(parts),
            };
            parts = part.map_or(parts, |part| part + 1);
            match spans.last_mut() {
                Some(last) if last.part == part => last.range.end = segment.range.end,
                _ => spans.push(Span { range: segment.range, part }),
            }
        }
        Self { spans, parts }
    }

    /// How many choices there are.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// The spans of a run of elements, cut to it.
    pub(super) fn within(&self, run: Range<usize>) -> impl Iterator<Item = Span> + '_ {
        let cut = run.clone();
        let first = self.spans.partition_point(|span| span.range.end <= run.start);
        let reached = move |span: &&Span| span.range.start < run.end && run.start < run.end;
        self.spans[first..].iter().take_while(reached).map(move |span| Span {
            range: span.range.start.max(cut.start)..span.range.end.min(cut.end),
            part: span.part,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorSpec;

    #[test]
    fn tensors_held_out_part_the_others() {
        let keep = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("c", [5]) };
        let tensors = vec![
            TensorSpec::f32("a", [3]),
            TensorSpec::f32("b", [4]),
            TensorSpec::f32("empty", [0]),
            keep,
            TensorSpec::f32("d", [2]),
        ];
        let layout = Layout::new(tensors).unwrap();
        let span = |range, part| Span { range, part };
        let of = |scope, run| Spans::new(&layout, scope).within(run).collect::<Vec<_>>();
        let model = [span(0..7, Some(0)), span(7..12, None), span(12..14, Some(0))];
        assert_eq!(of(Scope::Model, 0..14), model);
        assert_eq!(of(Scope::Model, 6..8), [span(6..7, Some(0)), span(7..8, None)]);
        assert_eq!(of(Scope::Model, 3..3), []);
        let tensor = [span(0..3, Some(0)), span(3..7, Some(1)), span(7..12, None), span(12..14, Some(2))];
        assert_eq!(of(Scope::Tensor, 0..14), tensor);
        let parts = [Scope::Model, Scope::Tensor].map(|scope| Spans::new(&layout, scope).parts());
        assert_eq!(parts, [1, 3]);
    }
}
