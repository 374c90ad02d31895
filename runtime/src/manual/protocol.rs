//! Protocol: greeting, messages, payloads, close codes, versions.
//!
//! # The link
//!
//! QUIC with TLS 1.3, a certificate on both sides, ALPN [`fl/1`](crate::net::ALPN), no resumption and no early data.
//! The collaborator dials and opens one bidirectional *control stream*, which begins with the four bytes `fl/1`;
//! envelopes follow in both directions: a length (u32, little-endian, at most
//! [`ENVELOPE_BYTES`](fl_engine::limits::ENVELOPE_BYTES)), a [`Kind`](fl_engine::wire::Kind) (u16, little-endian), and
//! the message in [postcard](https://postcard.jamesmunns.com/wire-format)'s encoding. Models and updates come on
//! unidirectional streams.
//!
//! # The greeting
//!
//! ```text
//! collaborator                       aggregator
//!   Hello ─────────────────────────▶ certificate on the roster? versions, federation, plan hash, roster serial?
//!   ◀───────────────────── Welcome   or Rejected, and close code 1
//! ```
//!
//! Nothing else is read before it. The name is the certificate's; `Hello` carries none. The reserved field `evidence`
//! is for a quote over the channel and is empty today.
//!
//! # Messages
//!
//! "a" is the aggregator, "c" the collaborator.
//!
//! | kind | message | from | says |
//! |---|---|---|---|
//! | 0 | [`Hello`](fl_engine::wire::Hello) | c | versions, features, federation, plan hash, roster serial, model held |
//! | 2 | [`Welcome`](fl_engine::wire::Welcome) | a | version, features, incarnation, name, roster serial, round |
//! | 4 | [`Rejected`](fl_engine::wire::Rejection) | a | why not; the link closes |
//! | 6 | [`Assign`](fl_engine::wire::Assigned) | a | tasks of a round; its base model follows unless it is held |
//! | 8 | [`Offer`](fl_engine::round::Offer) | c | an update is ready: task, weight, length, root |
//! | 10 | [`Grant`](fl_engine::wire::Granted) | a | the update may come |
//! | 12 | [`Refused`](fl_engine::wire::RefusedUpdate) | a | the update does not count, and [why](fl_engine::round::Refusal) |
//! | 14 | [`Received`](fl_engine::wire::Received) | a | it arrived in full and passed every check; it counts unless a [threshold](super::aggregation) leaves it out |
//! | 16 | [`Counted`](fl_engine::wire::Counted) | a | the round it counted in is on the aggregator's disk |
//! | 18 | [`Report`](fl_engine::round::Report) | c | metrics of one task |
//! | 20 | [`Failed`](fl_engine::wire::Failed) | c | a task failed at the site |
//! | 22 | [`Cancel`](fl_engine::wire::Cancelled) | a | the round's work is not wanted any more |
//! | 24 | [`Finished`](fl_engine::wire::Verdict) | a | the run is over: completed, stopped, or a quorum missed |
//! | 26 | [`Leaving`](fl_engine::wire::Leaving) | c | the link is closed on purpose |
//! | 1 | [`RoundDone`](fl_engine::wire::RoundDone) | a | optional: how a round went |
//!
//! `Received` is a promise of this process: after a crash of the aggregator the round may be run again. `Counted` is
//! one of the disk: the round's model and facts are synced. Whatever a collaborator sends about a round carries its
//! [`Stamp`](fl_engine::round::Stamp) (incarnation, round, root of the base model); another stamp than the open round's
//! is refused as stale, so work from before a crash cannot slip into a later sum.
//!
//! # Payloads
//!
//! A unidirectional stream holds a length (u32, little-endian), a [`PayloadHeader`](fl_engine::wire::PayloadHeader) of
//! at most [`HEADER_BYTES`](crate::net::payload::HEADER_BYTES), and the values: the f32 segment, then the i64 segment,
//! little-endian, in the order of the layout. Its length is the layout's, known to both sides; a byte more or less is
//! refused. An update's header repeats the granted offer, which is good for one stream. Receivers hash while they read
//! and compare [roots](fl_engine::tensor::RootHasher): SHA-256 of each 256 KiB, then over those, the length and the
//! layout's hash. A sender that moves fewer than [`PROGRESS_BYTES`](fl_engine::limits::PROGRESS_BYTES) in
//! [`PROGRESS_WINDOW`](fl_engine::limits::PROGRESS_WINDOW) is cut off.
//!
//! # Close codes
//!
//! | code | means | the collaborator |
//! |---|---|---|
//! | 0 | the run is over, or the good-bye was heard | ends with its verdict, or dials again |
//! | 1 | not admitted; `Rejected` went ahead | dials again after a broken protocol, ends otherwise |
//! | 2 | a newer link of this name took its place | ends with exit code 12 |
//! | 3 | the peer broke the protocol | dials again |
//! | 4 | the peer does not read what it is sent | dials again |
//! | 5 | no longer on the roster | ends with exit code 12 |
//! | 6 | the process ends, or something in it failed | dials again |
//!
//! # Versions
//!
//! ALPN carries the major version. Within it, `Hello` names the least and greatest version spoken
//! ([`VERSIONS`](fl_engine::wire::VERSIONS)); `Welcome` picks the greatest of both. An unknown odd kind is skipped, an
//! unknown even one ends the link. Enums only ever grow at their end. `runtime/engine/tests/wire/golden.hex` pins every
//! message's bytes.
