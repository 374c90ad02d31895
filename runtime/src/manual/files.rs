//! Files: what lies in a workspace, who writes it, what is checked when it is read.
//!
//! `W` is the federation's name, as the plan has it. Files of `plan/` are at most
//! [`PLAN_FILE_BYTES`](fl_engine::limits::PLAN_FILE_BYTES).
//!
//! | file | where | written by | is |
//! |---|---|---|---|
//! | `plan/plan.yaml` | everywhere | owner | the experiment; its hash is agreed on ([`Plan`](fl_engine::plan::Plan)) |
//! | `plan/plan.bin` | an image, in place of `plan.yaml` | `fl-host` | the plan's canonical bytes |
//! | `plan/site.yaml` | everywhere | owner | address, port, bind, MTU, socket; in no hash ([`Site`](fl_engine::plan::Site)) |
//! | `plan/cols.yaml` | owner, aggregator; a collaborator may have it | `fl-host pki` | the roster ([`Roster`](fl_engine::plan::roster::Roster)): signed, may grow |
//! | `plan/data.yaml` | collaborator | its operator | name to data folder ([`DataMap`](fl_engine::plan::DataMap)); local |
//! | `cert/ca.crt` | everywhere | `fl-host pki init` | the authority's certificate; its hash is in the plan |
//! | `cert/ca/ca.key` | owner | `fl-host pki init` | the authority's key: secret |
//! | `cert/issued/` | owner | `fl-host pki` | certificates, and the roster's master copy |
//! | `cert/aggregator.*`, `cert/col_NAME.*` | a site | the role, `fl-host pki import` | `.key` (mode 0600), `.csr`, `.crt` |
//! | `cert/private/` | a site, where there is such a folder | the role | the `.key`, in place of `cert/`: sealed in an enclave |
//! | `logs/aggregator.log`, `logs/col_NAME.log` | a site, where there is such a folder | the role | what it says on standard error; at 10 MiB it becomes `.log.1`, in place of the one before |
//! | `save/accepted-plan` | collaborator | `fl-host plan accept` | the plan hash that this site has agreed to |
//! | `save/roster-serial` | a site | the role | the highest roster serial seen, and of which CA |
//! | `save/W_init.safetensors` | owner, aggregator | `fl-host plan initialize` | the model that round 0 starts from |
//! | `save/generations/W-NNNNNNN.fl` | aggregator | the role | state: the last two finished rounds |
//! | `save/W_history.jsonl` | aggregator | the role | one line a round, chained |
//! | `save/W_last.safetensors` | aggregator | the role | the model of the newest finished round |
//! | `save/W_best.safetensors` | aggregator | the role | the best so far, by the plan's metric |
//! | `save/spill/` | aggregator | the role | updates that memory has no room for, encrypted; removed at the next start |
//! | `save/W_NAME_final.safetensors` | collaborator | the role | the model that it held at the end, if the plan has no `release` |
//! | `save/released/W_last`, `W_best`, `W_round_NNNNNNN` | aggregator | the role | what the plan releases: `.safetensors` to the host, `.sealed` to a key |
//! | `save/released/W_NAME_final`, `W_NAME_best`, `W_NAME_round_NNNNNNN` | collaborator | the role | what the plan releases to members, `.safetensors` |
//!
//! # In an image
//!
//! `fl-host workspace dockerize` writes these; an image has nothing else, and no shell.
//!
//! | file | is |
//! |---|---|
//! | `/fl/fl-launcher` | the entry point: picks the role, checks the container, becomes the program |
//! | `/fl/fl-runtime` | the program |
//! | `/fl/ROLE.manifest`, `/fl/ROLE.manifest.sgx`, `/fl/ROLE.sig` | a role's manifest, and an enclave's signature |
//! | `/fl/fl-runtime.cdx.json`, `/fl/licences.txt` | what the program was linked from, and under which licences |
//! | `/gramine/` | Gramine's files, its licence, and where its source is; the licences of its loader's libraries |
//! | `/workspace/plan/plan.bin` | the plan's canonical bytes, in place of `plan/plan.yaml` |
//! | `/workspace/plan/ca.crt` | the authority's certificate, in place of `cert/ca.crt` |
//! | `/workspace/plan/init.safetensors` | the initial model, only where it is not the one that the plan's seed makes |
//! | `/workspace/plan/site.yaml` | the owner's site file; a volume may cover it |
//! | `/workspace/plan/cols.yaml` | empty, and only for Gramine's targets: no roster, until a volume covers it |
//!
//! Volumes: `cert` for both roles, and `logs` if the log should outlive the container; `plan/cols.yaml` and `save` for the
//! aggregator; `plan/data.yaml` and `data` for a collaborator, with `save` if it should remember or keep released models,
//! and `plan/cols.yaml` if it was given the roster. In an image the aggregator puts `save/W_init` there at each start, from
//! the plan's seed or the image's model: what lies there otherwise counts for nothing.
//!
//! # The plan's hash
//!
//! SHA-256 of the plan's canonical bytes: every field resolved, defaults filled in, floats as bits. Comments, the order
//! of keys and spelled-out defaults change nothing; the order of tasks does, and so does the CA's hash.
//!
//! # The roster
//!
//! Each collaborator's name and the SHA-256 of its public key, a serial, an end; and, where the owner gave them, what each
//! role's enclave has to say of itself: MRENCLAVE, MRSIGNER, product and security version, from `W.measurement.json`. They
//! are shown and told, and not compared with an enclave yet. The last line is the CA's Ed25519
//! signature over every byte before it. A running aggregator looks for a changed file every two seconds, takes it if
//! the signature holds and the serial is not lower, and keeps the old one otherwise. It is rewritten in place, so that
//! it can be a single-file mount.
//!
//! A collaborator needs no roster. One that was given it checks it at its start in the same way, tells what it says of
//! enclaves, and refuses an aggregator whose roster is older; a roster that is refused is passed over with a warning.
//!
//! # Generations
//!
//! One file a finished round: magic `fl-state`, version, lengths, a head (plan, layout, root, best), the round's facts,
//! the payload, and a SHA-256 of all of it. It is written under its own name and synced, and then the round is durable;
//! older ones are deleted after that. The newest that is whole wins at the next start
//! ([`Store::open`](crate::store::Store::open)). Rounds of another plan are refused; `fl-runtime aggregator --fresh`
//! gives them up.
//!
//! # The history
//!
//! One JSON object a line: round, incarnation, plan, base and root, who contributed with what weight and root, what was
//! refused and why, metrics if the plan shows them. `previous` is the SHA-256 of the line before without its line feed,
//! 64 zeros in the first:
//!
//! ```sh
//! sed -n 3p save/W_history.jsonl | tr -d '\n' | sha256sum   # what `previous` of line 4 says
//! ```
//!
//! A round that had to be run again has two lines; the later one counts.
//!
//! # Models
//!
//! [safetensors](https://github.com/safetensors/safetensors), F32 and I64, with the texts `plan`, `round`, `root` and,
//! where the plan shows them, `metrics` or `round_metrics` ([`store::text`](crate::store::text)). Python reads them
//! with `safetensors.numpy.load_file`; what it saves is taken by `fl-host plan initialize --init-model FILE` if names,
//! shapes and types are the plan's.
//!
//! # Released models
//!
//! `save/` is each role's own, and in an enclave encrypted: nobody reads there. `release` of the plan says what is put
//! where people can take it, `save/released/`:
//!
//! | `what` | is | when |
//! |---|---|---|
//! | `last` | the last round's model | once all rounds are run |
//! | `best` | the best by the plan's metric, measured in the closing round too; the last, where no round has measured one | once all rounds are run |
//! | `each` | every round's | once the round is on disk; at a member, once it has received it |
//!
//! | `to` | who can read it |
//! |---|---|
//! | `members` | every collaborator: each checks the root of what it is sent and keeps it; the `best` is sent at the end |
//! | `key:PUBLIC_KEY` | who holds the private key of `fl-host model key`; the aggregator writes `.sealed` files |
//! | `host` | the aggregator's host: plain files |
//!
//! Where the last model stands for the best the aggregator warns, and its file is `W_last`; a member's is `W_NAME_best` all
//! the same. A plan that can measure no best is refused.
//!
//! A run that is stopped before its last round releases no `last` and no `best`; it does when it is started again and
//! ends. `each` takes a model's room on the disk a round: nothing deletes released files, and they may be taken away
//! while the run goes on, all but the newest. A collaborator that was not
//! drawn for a round was not sent its model. `--fresh` leaves released files
//! until later ones replace them. To anybody but members, collaborators keep nothing. Without `release` nothing is put
//! there, and models stay in `save/`: readable outside of an enclave, lost inside; `fl-host plan check` warns. Outside of
//! an enclave the host reads `save/` whatever the plan says.
//!
//! `.sealed` is a safetensors file under HPKE (RFC 9180; X25519, HKDF-SHA256, AES-256-GCM) in chunks
//! ([`sealed`](crate::sealed) has the bytes). Plan, round, root and length are in its head in the clear, and bound:
//! `fl-host model open` refuses a file that was cut, reordered or relabelled, and a model that has not the root that its
//! head states. Whether that root is the run's is what the history says: compare it.
