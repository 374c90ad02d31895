//! The memory of a step: images that are not in use at the same time lie in the same buffer.
//!
//! Which image lies where is planned once, from the graph. A pass moves buffers between images, and reserves
//! nothing once every buffer has had its largest image.

use fl_kernels::{Image, Lanes};

/// The steps between which an image is used, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Buffers, and the images that they hold in turn. Images are those of values and those of gradients.
pub(super) struct Arena {
    buffers: Vec<Vec<Lanes>>,
    tenants: Vec<Tenant>,
    /// Bytes that a sample takes in each buffer.
    bytes: Vec<usize>,
}

/// An image with its buffer.
struct Tenant {
    life: Life,
    /// Values or gradients, and which.
    image: [usize; 2],
    buffer: usize,
}

impl Arena {
    /// Plans buffers for images with these lives; an image without a life is never used.
    pub(super) fn new(lives: [Vec<Option<Life>>; 2], images: [&[Image]; 2]) -> Self {
        let mut tenants = Vec::new();
        for (kind, lives) in lives.iter().enumerate() {
            for (index, life) in lives.iter().enumerate() {
                if let Some(life) = *life {
                    tenants.push(Tenant { life, image: [kind, index], buffer: 0 });
                }
            }
        }
        let size = |tenant: &Tenant| images[tenant.image[0]][tenant.image[1]].bytes_of_sample();
        // The largest first, so that a buffer is as large as its first image.
        tenants.sort_by_key(|tenant| std::cmp::Reverse(size(tenant)));
        let (mut held, mut bytes): (Vec<Vec<Life>>, Vec<usize>) = (Vec::new(), Vec::new());
        for tenant in &mut tenants {
            let apart = |other: &Life| other.last < tenant.life.first || tenant.life.last < other.first;
            let free = held.iter().rposition(|lives| lives.iter().all(apart));
            tenant.buffer = free.unwrap_or(held.len());
            if free.is_none() {
                held.push(Vec::new());
                bytes.push(size(tenant));
            }
            held[tenant.buffer].push(tenant.life);
        }
        Self { buffers: vec![Vec::new(); held.len()], tenants, bytes }
    }

    /// Bytes that a sample takes; `usize::MAX` for more than a `usize` counts.
    pub(super) fn bytes_of_sample(&self) -> usize {
        self.bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes))
    }

    /// Takes back what images still hold.
    pub(super) fn begin(&mut self, images: [&mut [Image]; 2]) {
        self.take_back(images, |_| true);
    }

    /// Gives memory for `rows` samples to the images whose first use is this step.
    pub(super) fn enter(&mut self, step: usize, rows: usize, images: [&mut [Image]; 2]) {
        for tenant in self.tenants.iter().filter(|tenant| tenant.life.first == step) {
            let [kind, index] = tenant.image;
            let mut memory = std::mem::take(&mut self.buffers[tenant.buffer]);
            let needed = self.bytes[tenant.buffer] / size_of::<Lanes>() * rows;
            memory.reserve_exact(needed.saturating_sub(memory.len()));
            images[kind][index].take(memory, rows);
        }
    }

    /// Takes back the memory of the images whose last use was this step.
    pub(super) fn leave(&mut self, step: usize, images: [&mut [Image]; 2]) {
        self.take_back(images, |life| life.last == step);
    }

    fn take_back(&mut self, images: [&mut [Image]; 2], of: impl Fn(&Life) -> bool) {
        for tenant in self.tenants.iter().filter(|tenant| of(&tenant.life)) {
            let [kind, index] = tenant.image;
            let memory = images[kind][index].give();
            if !memory.is_empty() {
                self.buffers[tenant.buffer] = memory;
            }
        }
    }

    /// Pixels that all buffers have room for, after [`Self::begin`].
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.buffers.iter().map(Vec::capacity).sum()
    }
}
