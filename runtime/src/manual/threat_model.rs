//! Threat model: who is not trusted, with what, and the test that enforces it.
//!
//! "Prepared" means that the design leaves room and nothing enforces it yet. Until attestation is there, **the
//! aggregator's host is trusted**: it can read updates and models in the process's memory.
//!
//! # The host of the aggregator
//!
//! It may stop the process, and see sizes and times. "Enforced" here means by this program, or by the sites; that the
//! host runs this program and no other is what attestation is for.
//!
//! | must not be able to | state |
//! |---|---|
//! | read updates or models in memory | prepared, not enforced: needs the enclave |
//! | read a model that is released to a key | enforced for the released file: `sealed/tests.rs`, `no_changed_bit_opens`; `tests/tests/release.rs`, `model_sealed_to_a_key_is_the_runs_last_and_opens_with_that_key_alone`; `save/` itself is plain outside of an enclave |
//! | read updates that were spilled to disk | enforced: `memory/slots/tests.rs`, `spill_file_shows_nothing_of_the_payload` |
//! | change spilled updates | enforced: `memory/slots/tests.rs`, `changed_cut_or_swapped_spill_file_is_refused` |
//! | choose arguments or environment | prepared, not enforced: fixed per role in the enclave's manifest |
//! | run another plan with the sites | enforced: `tests/tests/federation.rs`, `another_plan_is_refused_until_it_is_accepted`; a site that runs an image has accepted the plan in it, see below |
//! | swap the roster | enforced: `trust/rosters.rs`, `changed_torn_and_foreign_rosters_leave_the_held_one_in_force` |
//! | bring an old roster back | enforced while `save/` or a site remembers the newer one: `trust/rosters.rs`, `lower_serial_is_refused_in_a_run_and_after_it` |
//! | swap the initial weights | prepared, not enforced: the file names plan and root, but nobody outside checks the root |
//! | replay old state unnoticed | prepared, not enforced: a changed history is noticed (`store/tests/damage.rs`), an old folder as a whole is not |
//! | read what an enclave saved | prepared, not enforced: sealed to the image or, if the plan says `seal: mrsigner`, to whatever its signer signs |
//! | impersonate the enclave | prepared, not enforced: `evidence` in `Hello` and `Welcome` is reserved |
//! | turn the clock back to revive a certificate | enforced: `trust/tls/tests.rs`, `clock_turned_back_brings_no_certificate_to_life`; back to the CA's beginning at most |
//!
//! # A collaborator
//!
//! It may send a bad update. Values inside the plan's range are taken as they are: a mean is not robust against
//! poisoning. [Other rules](super::aggregation) are, up to the number of hostile collaborators that they are told.
//!
//! | must not be able to | enforced by |
//! |---|---|
//! | read another's update | no message carries one; `wire.rs`, `every_message_has_its_golden_bytes_and_comes_back` pins them all |
//! | count twice | `rounds/offers.rs`, `a_second_offer_is_a_duplicate_while_the_first_is_under_way_and_after_it_is_in` |
//! | be counted under another name | `trust/admission.rs`, `only_lines_with_name_and_key_admit`; `Hello` carries no name |
//! | count without a grant, or for other work | `rounds/offers.rs`, `an_update_that_was_never_granted_is_discarded`, `an_offer_for_other_work_is_stale` |
//! | crash the aggregator, or hold the others up | `tests/tests/hostile.rs`, `bad_updates_and_broken_protocol_are_refused_by_name_and_hold_nobody_up`, `slow_silent_and_vanishing_peers_cost_a_round_its_deadline_and_no_more`; `tests/tests/federation.rs`, `killed_collaborator_does_not_stop_the_others` |
//! | hang a round past its deadline | `rounds/closing.rs`, `the_deadline_closes_a_round_with_a_quorum_and_cancels_the_rest` |
//! | make it use unbounded memory | `wire.rs`, `lying_counts_reserve_nothing`; `tests/tests/memory.rs`, `thirty_collaborators_live_in_the_same_memory`; `rounds/offers.rs`, `a_thousand_bad_offers_are_answered_and_not_remembered` |
//! | push NaN, infinities or huge values into the model | `actors/aggregator/upload/tests.rs`, `every_bad_update_is_refused_by_name_and_frees_its_slot` |
//! | fill the log | `tests/tests/hostile.rs`, `update_counts_once_and_floods_are_neither_loud_nor_large` |
//! | come back after it was revoked | `trust/tls/tests.rs`, `revoked_and_unlisted_collaborators_pass_the_handshake_and_no_further` |
//!
//! # The network
//!
//! It may drop, reorder and replay. TLS 1.3 does the rest: `trust/tls/tests.rs` has certificates of other authorities,
//! roles, federations and times refused, and `nothing_is_resumed_or_early`.
//!
//! # A stranger with a UDP socket
//!
//! It may be refused, and must not cost more than a handshake: the number of handshakes under way, their time, and
//! bytes out of order are bounded ([`NetLimits`](crate::net::NetLimits)), and under load an address has to be proved
//! first. `net/quic/endpoint/tests.rs`; `tests/tests/admission.rs`,
//! `running_aggregator_follows_its_roster_and_turns_strangers_away`.
//!
//! # Whoever gives a site its image
//!
//! Without an image a collaborator refuses every plan that its operator has not accepted by its hash. An image carries its
//! plan, and its manifest starts `collaborator --accept-first`: **to start the image is to accept the plan in it**, once
//! a folder, without a question. So the look at the plan comes before: `fl-host image inspect` shows the hash, which an
//! enclave's measurement covers, and it is to be compared with the one that came by another way. A site whose folder
//! `save/` remembers another plan is asked again: that start ends with an error until the old `save/accepted-plan` is gone.
//!
//! # The federation owner
//!
//! Whoever holds `cert/ca/ca.key` can admit anybody. Keep it off the aggregator's host: `fl-host pki list` warns when
//! it lies there.
