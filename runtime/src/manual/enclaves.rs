//! Enclaves: what a manifest says, what is measured, how an enclave is signed, what to do when two measurements differ.
//!
//! # From a plan to a measurement
//!
//! ```text
//! plan ──┐
//! role's template ──> X.manifest.sgx ──┬──> MRENCLAVE ──┐
//! files' hashes ──┘        Gramine's libpal.so ┘        ├──> X.sig
//!                                        signing key ───┘ MRSIGNER
//! ```
//!
//! `fl-host workspace dockerize` does all of it; `fl-host sgx` does each step by itself, on a machine without SGX, Gramine's
//! tools or Python:
//!
//! ```sh
//! fl-host sgx key --output key.pem                                # once; `openssl genrsa -3 -out key.pem 3072` will do
//! fl-host sgx manifest --template X.manifest.template --output X.manifest.sgx -D role=aggregator
//! fl-host sgx measure --manifest X.manifest.sgx --libpal L        # MRENCLAVE
//! fl-host sgx sign --key key.pem --manifest X.manifest.sgx --libpal L --date 2026-01-02 --output X.sig
//! fl-host sgx view X.sig
//! fl-host sgx verify X.sig --manifest X.manifest.sgx --libpal L --signer MRSIGNER
//! ```
//!
//! A manifest is measured byte for byte. The text is written in one form, so the same inputs give the same bytes. The
//! same key, inputs and date give the same signature.
//!
//! # What an enclave takes from its host
//!
//! Each role has a template in `manifests/gramine/`, with a reason above every line.
//!
//! | | aggregator | collaborator |
//! |---|---|---|
//! | command line | fixed | fixed |
//! | environment | fixed | fixed, but for `FL_COLLABORATOR`: a name, which selects a certificate; the certificate decides |
//! | trusted, by hash | program, plan, CA, initial model | program, plan, CA |
//! | from the host, checked inside | site file, roster, certificate | site file, data map, rows, certificate, a roster where it is given one |
//! | to the host | requests for a certificate, logs | the same |
//! | sealed | the key in `cert/private`, `save/` | the same |
//!
//! Without SGX (gramine-direct) nothing can be sealed: `save/` and the key are plain files.
//!
//! # What is sealed, and to whom
//!
//! The processor derives the key for `save/` and `cert/private` from what runs. The plan chooses from what:
//!
//! | `enclave: {seal: …}` | readable by | a new image |
//! |---|---|---|
//! | `mrenclave`, the default | the same binary and configuration alone (MRENCLAVE) | does not read it, and says so: move `save/`, `cert/private` and the certificate away, and it begins anew, with a key that needs a certificate |
//! | `mrsigner` | what the same key signed (MRSIGNER) for the same role, of an equal or higher security version | goes on, if its plan is the same; so can any other enclave that the signing key's holder makes |
//!
//! Either way new microcode can change the key, and what was sealed is lost then: an aggregator's rounds are as good as
//! its last release. An old copy of the folder that the host puts back opens again.
//!
//! One folder is not sealed: `save/released`, and only at the role that the plan's `release` makes write there, a
//! collaborator for `members`, the aggregator for anybody else. The launcher makes it in the volume at `save`, and says so
//! when there is no such volume and released models go with the container.
//!
//! # Threads and memory
//!
//! An enclave's threads and size are part of its measurement, and fixed. Both are added up from the plan: `threads.link`,
//! `threads.cpu` and `limits.memory`, what the program and Gramine start and take besides, and a power of two. At a
//! collaborator `limits.memory` is the room for the site's rows. `fl-host plan check` shows both sums, for the Gramine that is
//! installed or that `--gramine` names.
//!
//! # System calls
//!
//! The programs are static, so Gramine cannot replace their C library: each `syscall` instruction of theirs is caught and
//! emulated, by a signal under gramine-direct, in an enclave by an exception that leaves it and comes back. The calls
//! that move every byte over the network, one or many datagrams each, therefore go another way under Gramine: a jump to
//! Gramine's own entry, within the process ([`fl_sys::syscall`]). Number, arguments, answer and errors are the same.
//! Files, memory, waiting and threads are called more rarely and keep the plain way.
//!
//! The way is chosen once, before any thread starts. The manifest fixes `FL_GRAMINE = "1"`, so an enclave's choice is part
//! of its measurement; the kernel is asked besides. Whoever sets the variable elsewhere gets a warning and the plain way.
//! Without the variable a program under Gramine works too, and is slower.
//!
//! Under gramine-direct (256 MiB over loopback in datagrams of 1200 bytes, both ends in one process, processor seconds per
//! GB, Gramine's start among them): 10.0 without the jump, 8.9 with it; where each datagram is a call of its own, 15.7 and
//! 10.2. `link` measures it.
//!
//! The programs are position-independent: every start puts them at other addresses. What a host makes of an enclave's own
//! addresses is Gramine's matter.
//!
//! # Two measurements differ
//!
//! ```sh
//! fl-host --json sgx measure --manifest X.manifest.sgx --libpal L --plan plan/plan.yaml > mine.json
//! fl-host sgx explain mine.json theirs.json
//! ```
//!
//! names each input that differs: a trusted file, a line of the plan, threads or size, a setting, a file or version of
//! Gramine.
//!
//! # The signing key
//!
//! MRSIGNER is known to every site, so the key is made once and kept off the machines that run enclaves. It is RSA with
//! 3072 bits and exponent 3, because the processor takes no other. The arithmetic that signs is not of constant time: sign
//! on a machine that nobody else uses at the time. Every signature is checked before it is written.
