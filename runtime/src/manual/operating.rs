//! Operating: starting, exit codes, log lines, memory, ports, what to back up.
//!
//! # Starting and stopping
//!
//! `fl-runtime aggregator` and `fl-runtime collaborator -n NAME` run in a workspace's folder. Any order will do: a
//! collaborator dials until somebody answers, with growing pauses of at most ten seconds, and says so every
//! half minute. SIGINT or SIGTERM ends a run cleanly; a second one at once. An aggregator that is started again goes on
//! after the last round on disk; collaborators reconnect by themselves, except when another attempt could not end
//! differently (exit codes 5 and 12).
//!
//! A collaborator that leaves says good-bye, and nobody waits for it. One that dies without a word is noticed after 30
//! seconds of silence: until then the open round waits for it, unless `quorum.count.max` updates are there or `time.max`
//! has passed.
//!
//! # In a container
//!
//! The words behind the image's name are `aggregator start` or `collaborator start -n NAME`, and `--version`. The image's
//! launcher says with `error:` and `hint:` what the container lacks: a volume at `cert`, a file where an engine made a
//! folder, an enclave's device or its service. Options of the program may be given before the role or after it; where a
//! manifest fixes the command line they are refused. Whoever starts an image has agreed to the plan in it, unless `save/`
//! remembers another. `docker stop` sends SIGTERM: a clean end.
//!
//! # Exit codes
//!
//! Those of [`Exit`](crate::exit::Exit); a script may rely on them. `--json` puts failures on standard error as
//! `{"error", "exit", "hint"}`, and events on standard output, one object a line, told apart by `event`.
//!
//! | code | what to do |
//! |---|---|
//! | 0 | nothing: every round was run |
//! | 2 to 8 | correct what `error:` names; `hint:` says how |
//! | 9 | send the request in `cert/` to the owner, read the fingerprint to them, import what they send, start again |
//! | 10 | read the plan, `fl-host plan accept` |
//! | 11 | look at `bind` and `port` in `plan/site.yaml` |
//! | 12 | ask the owner, or stop the other process of this name |
//! | 13 | start again when enough collaborators are there |
//! | 14 | start again to go on |
//! | 1 | a defect, or the system gave no threads; the log says more |
//!
//! # Log lines
//!
//! Lines go to standard error: time (UTC, the host's clock), level, words. The aggregator's line of a round:
//!
//! ```text
//! round 7  3 updates of 365 rows  accuracy 0.978 loss 0.060  wait 4 ms receive 1 ms absorb 0.3 ms finalise 0.1 ms
//!   store 4 ms broadcast 0.4 ms  turnaround 0.2 ms
//! ```
//!
//! | word | is the time |
//! |---|---|
//! | wait | from the round's opening until the first update was in: training, for the most part |
//! | receive | from the first byte of the first update until the last was in |
//! | absorb | adding updates |
//! | finalise | dividing: the sum becomes a model |
//! | store | generation and history, until the round is durable |
//! | broadcast | sending the model to everybody |
//! | turnaround | from the last update until the next round's first task went out |
//!
//! Spans overlap. With `--json` there is `whole` too: from the round's first task to the next round's. Metrics are
//! measured on the model that the round *started* from. A refused or missing collaborator has a line of its own. A
//! collaborator logs `the aggregator has counted this site's update and saved the round` when it receives
//! [`Counted`](fl_engine::wire::Counted).
//!
//! # Memory
//!
//! `limits.memory` of the plan bounds the aggregator's process: two models, what the [rule](super::aggregation) needs,
//! 256 KiB a peer (64 for its link, 192 for what it may send unasked), 30 MB; the rest holds whole updates, and further
//! ones go encrypted to `save/spill` up to `limits.spill`. `fl-host plan check` prints the sum; a plan that does not fit
//! is refused at the start. The disk needs room for seven models beside the spill.
//!
//! # Ports
//!
//! One UDP port, `port` in `plan/site.yaml`, at the aggregator; collaborators open none. `mtu` is the largest UDP
//! payload; 1200 passes everywhere. `socket: portable` takes the socket that also opens under Gramine; `auto` falls
//! back to it. `FL_GRAMINE` in the environment belongs to Gramine's manifests ([enclaves](super::enclaves)); leave it
//! unset elsewhere.
//!
//! # What to back up
//!
//! | who | what | if it is lost |
//! |---|---|---|
//! | owner | `cert/`, with `cert/ca/ca.key` | nobody can be approved, renewed or revoked: a new federation |
//! | owner | `plan/` | it is at every site too |
//! | aggregator | `save/` | the run begins anew at the initial model |
//! | owner | the key file of `fl-host model key` | models that were sealed to it stay closed |
//! | site | `cert/*.key` | a new key, and a new approval (`--replace`) |
//!
//! Keys are never sent anywhere. A copy of an old `save/` put back loses rounds: collaborators are asked to do them
//! again.
