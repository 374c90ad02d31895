//! The manual: what the program is made of, what travels, who is trusted with what, and how a federation is run.
//!
//! Each chapter is a Markdown file in `manual/`: a repository's browser shows it, rustdoc includes it, and
//! [`CHAPTERS`] holds it for programs that print it. Where a chapter and the code differ, the chapter is wrong.
//!
//! A chapter's links name files, so that they work in a browser. The definitions above a chapter below come first, so
//! rustdoc takes those: they lead to the documentation of the item itself.

/// One chapter of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chapter {
    /// Its file's name without `.md`.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

macro_rules! chapters {
    ($($(#[$links:meta])* $name:ident;)*) => {
        $(
            $(#[$links])*
            #[doc = include_str!(concat!("manual/", stringify!($name), ".md"))]
            pub mod $name {}
        )*

        /// Every chapter, in the order in which a newcomer reads them.
        pub const CHAPTERS: &[Chapter] = &[$(Chapter {
            name: stringify!($name),
            text: include_str!(concat!("manual/", stringify!($name), ".md")),
        },)*];
    };
}

chapters! {
    /// [`RoundEngine::on`]: fl_engine::round::RoundEngine::on
    /// [`Event`]: fl_engine::round::Event
    /// [`Effect`]: fl_engine::round::Effect
    /// [`STORES_UNDER_WAY`]: fl_engine::limits::STORES_UNDER_WAY
    /// [aggregation]: aggregation
    /// [`ExactMean`]: fl_engine::aggregate::ExactMean
    /// [`Footprint`]: fl_engine::aggregate::Footprint
    architecture;

    /// [`Footprint`]: fl_engine::aggregate::Footprint
    aggregation;

    enclaves;

    /// [`PLAN_FILE_BYTES`]: fl_engine::limits::PLAN_FILE_BYTES
    /// [`Plan`]: fl_engine::plan::Plan
    /// [`Site`]: fl_engine::plan::Site
    /// [`Roster`]: fl_engine::plan::roster::Roster
    /// [`DataMap`]: fl_engine::plan::DataMap
    files;

    /// [`Counted`]: fl_engine::wire::Counted
    /// [aggregation]: aggregation
    /// [enclaves]: enclaves
    operating;

    /// [`ENVELOPE_BYTES`]: fl_engine::limits::ENVELOPE_BYTES
    /// [`Kind`]: fl_engine::wire::Kind
    /// [`Hello`]: fl_engine::wire::Hello
    /// [`Welcome`]: fl_engine::wire::Welcome
    /// [`Rejected`]: fl_engine::wire::Rejection
    /// [`Assign`]: fl_engine::wire::Assigned
    /// [`Offer`]: fl_engine::round::Offer
    /// [`Grant`]: fl_engine::wire::Granted
    /// [`Refused`]: fl_engine::wire::RefusedUpdate
    /// [why]: fl_engine::round::Refusal
    /// [`Received`]: fl_engine::wire::Received
    /// [aggregation]: aggregation
    /// [`Counted`]: fl_engine::wire::Counted
    /// [`Report`]: fl_engine::round::Report
    /// [`Failed`]: fl_engine::wire::Failed
    /// [`Cancel`]: fl_engine::wire::Cancelled
    /// [`Finished`]: fl_engine::wire::Verdict
    /// [`Leaving`]: fl_engine::wire::Leaving
    /// [`RoundDone`]: fl_engine::wire::RoundDone
    /// [`Stamp`]: fl_engine::round::Stamp
    /// [`PayloadHeader`]: fl_engine::wire::PayloadHeader
    /// [roots]: fl_engine::tensor::RootHasher
    /// [`PROGRESS_BYTES`]: fl_engine::limits::PROGRESS_BYTES
    /// [`PROGRESS_WINDOW`]: fl_engine::limits::PROGRESS_WINDOW
    /// [`VERSIONS`]: fl_engine::wire::VERSIONS
    protocol;

    /// [aggregation]: aggregation
    threat_model;
}
