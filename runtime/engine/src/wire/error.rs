//! Why bytes from a link are not a message or a payload header.

/// What is wrong with an envelope or a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// No room for a kind.
    #[error("a message of {0} bytes is too short to have a kind")]
    NoKind(usize),
    /// A kind that has to be understood and is not.
    #[error("a message of kind {0} is not known to this version")]
    UnknownKind(u16),
    /// The bytes are not the message that the kind announces.
    #[error("message of kind {kind} cannot be decoded: {what}")]
    Malformed {
        /// The kind.
        kind: u16,
        /// The decoder's message.
        what: String,
    },
    /// Bytes after the message.
    #[error("the message of kind {kind} has {bytes} bytes too many")]
    Trailing {
        /// The kind.
        kind: u16,
        /// Number of bytes.
        bytes: usize,
    },
    /// A list or text longer than its bound.
    #[error("a message has {given} {what}; at most {limit} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many the peer sent.
        given: usize,
        /// The bound.
        limit: usize,
    },
    /// A list or text that has to have something in it.
    #[error("a message has {0} without a byte in it")]
    Empty(&'static str),
}
