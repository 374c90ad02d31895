//! Which vector instructions the processor has.

use crate::isa::Scalar;

/// The instructions that kernels use. Results have the same bits with each.
#[derive(Clone, Copy, Debug)]
pub struct Level(pub(crate) Kind);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    Scalar(Scalar),
}

impl Level {
    /// The widest that this processor has.
    #[must_use]
    pub fn best() -> Self {
        let mut all = Self::all();
        all.next().unwrap_or(Self(Kind::Scalar(Scalar)))
    }

    /// All that this processor has, the widest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [pulp::x86::V4::try_new().map(Kind::V4), pulp::x86::V3::try_new().map(Kind::V3)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Kind>; 0] = [];
        vectors.into_iter().flatten().chain([Kind::Scalar(Scalar)]).map(Self)
    }

    /// `AVX-512`, `AVX2` or `scalar`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::V4(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::V3(_) => "AVX2",
            Kind::Scalar(_) => "scalar",
        }
    }

    /// Whether a multiply-add is one instruction. Without it, training takes some hundred times as long.
    #[must_use]
    pub fn is_fast(self) -> bool {
        !matches!(self.0, Kind::Scalar(_)) || cfg!(not(target_arch = "x86_64"))
    }
}

/// Calls a function with the instructions of a [`Level`].
macro_rules! with_level {
    ($level:expr, $isa:ident => $call:expr) => {
        match $level.0 {
            #[cfg(target_arch = "x86_64")]
            $crate::level::Kind::V4($isa) => $call,
            #[cfg(target_arch = "x86_64")]
            $crate::level::Kind::V3($isa) => $call,
            $crate::level::Kind::Scalar($isa) => $call,
        }
    };
}
pub(crate) use with_level;
