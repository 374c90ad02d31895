//! Architecture: engine and shell, threads, who owns what, and the life of a round.
//!
//! # Engine and shell
//!
//! [`fl_engine`] decides and is pure: no clock, file, socket, thread or randomness; time is an argument.
//! [`RoundEngine::on`](fl_engine::round::RoundEngine::on) takes an [`Event`](fl_engine::round::Event) and returns
//! [`Effect`](fl_engine::round::Effect)s. This crate, the shell, turns what happens into events and carries effects
//! out.
//!
//! # Threads
//!
//! | threads | name | do |
//! |---|---|---|
//! | 1 | the main one | the actors: control plane |
//! | `threads.link` of the plan | `link` | QUIC, TLS, streams, receiving and checking updates |
//! | `threads.cpu` of the plan | `cpu-N` | [`pool`](crate::pool): summing, hashing, training |
//! | 1, aggregator | `store` | [`store`](crate::store): generations, history, copies |
//! | at most 2, for a moment | | resolving host names |
//!
//! The numbers never follow the machine's cores: an enclave's threads are fixed before it starts.
//!
//! # Who owns what
//!
//! ```text
//! aggregator                                        collaborator
//!  acceptor ── Guest ─▶ Aggregator (RoundEngine,     Dialler ── link up, down ─▶ Collaborator (verdict,
//!                        current model, slots)        │ back-off                   update not yet counted)
//!     Session, one a link:                            │                                │ one task at a time
//!       reader, writer, model sender                  ▼                                ▼
//!       uploads: slot, hasher                        reader, writer, models          Task desk ─▶ CPU pool
//!  sum desk ─▶ CPU pool      store thread             in, update out
//! ```
//!
//! Actors hold handles and pass messages of bounded size. Bytes move in tasks that own what they hold: dropping the
//! task gives slot and buffer back. A full mailbox rejects or blocks the sender. The bytes of a payload stay in the
//! network until a slot is free, because a slot is taken *before* a payload is read
//! ([`SlotStore`](crate::memory::SlotStore)).
//!
//! # The life of a round
//!
//! ```text
//! collaborator                 aggregator: link           engine             CPU pool       store thread
//!      │                             │       everybody here  │                   │                │
//!      │ ◀── Assign, model stream ── │ ◀───────── Assign ─── │                   │                │
//!   train                            │                       │                   │                │
//!      │ ── Report, Offer ─────────▶ │ ──────── Offered ───▶ │                   │                │
//!      │ ◀── Grant ───────────────── │ ◀───────── Grant ──── │                   │                │
//!      │ ══ update stream ═════════▶ │ slot; hash, check     │                   │                │
//!      │                             │ ───────── Staged ───▶ │                   │                │
//!      │ ◀── Received ────────────── │ ◀─────── Received ─── │ ── Absorb ──────▶ │ add exactly    │
//!      │                             │          quorum or    │                   │                │
//!      │                             │          deadline     │ ── Finalise ────▶ │ divide once    │
//!      │                             │                       │ ◀── Finalised ─── │                │
//!      │ ◀── RoundDone ───────────── │ ◀──── RoundClosed ─── │ ── Store ───────────────────────▶ │
//!      │ ◀── Assign (next round) ─── │ ◀───────── Assign ─── │                   │   write, sync  │
//!      │                             │                       │ ◀── Durable ───────────────────── │
//!      │ ◀── Counted ─────────────── │ ◀──────── Counted ─── │                   │                │
//! ```
//!
//! The next round opens before the last one is on disk; at most
//! [`STORES_UNDER_WAY`](fl_engine::limits::STORES_UNDER_WAY) rounds are being written. After the last round a closing
//! round measures the final model at every site that is there.
//!
//! That is the life of a mean. A rule that needs all updates of a round ([rules](super::aggregation)) keeps each in its
//! slot until `Finalise`, and a plan's threshold holds each back until its collaborator's report is there. The desk
//! knows one front for both ([`aggregation`](crate::aggregation)): a sum
//! ([`streaming`](crate::aggregation::streaming)) or all updates at the end
//! ([`buffered`](crate::aggregation::buffered)), either followed by the server's step
//! ([`server_step`](crate::aggregation::server_step)) in its last pass, run by run, before the run is hashed.
//!
//! The sum is exact ([`ExactMean`](fl_engine::aggregate::ExactMean)): each value times its integer weight is put on a
//! fixed grid, where sums do not round, and one division rounds once. So arrival order, batches and thread counts change
//! no bit ([`streaming`](crate::aggregation::streaming)), and the result is the correctly rounded mean unless a value is
//! tiny: below 3e-11 in the default range. Updates are added as they are staged, two or more a pass: one that is alone waits for the
//! next, unless that is the round's last, its slot is wanted or the round closes, because a pass is bound by reading and writing the sum. What everybody waits for is the pass that takes the last update in: it reads the sum once,
//! adds and divides in registers, writes the model alone, and hashes two leaves at a time, so it takes as long after 2
//! updates as after 128. The next round's first pass writes over the old sum. The loops are compiled for AVX-512, AVX2
//! and plain x86-64 and chosen when they first run; all give the same bits. The aggregator's memory is added up in [`Footprint`](fl_engine::aggregate::Footprint)
//! before anything starts.
