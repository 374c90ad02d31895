//! The aggregator's process, from its workspace to its exit code.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fl_engine::{
    Digest, RoundNo,
    aggregate::{Footprint, Method, footprint},
    plan::{EndsEarly, Plan, Released, Site},
    round::{Lost, LostCause, Reason},
    statistics::ColumnFault,
    tensor::Layout,
};
use fl_learn::registry::Registry;
use fl_sys::syscall::{self, Entry};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    carriers,
    fresh_hint::{FRESH, for_this_target},
    resumption, startup_trust,
    stop_signals::{self, StopSignals},
    workspace::Workspace,
};
use crate::{
    actors::{
        aggregator::{self, AggregatorMessage, AggregatorOutcome, Parts, Running},
        attestation::Attestation,
        greeting::RunStatus,
        mailbox::Mailbox,
    },
    exit::{Exit, Failure},
    memory::SlotStore,
    net::{Carrier, Endpoint, NetLimits, ResetKey},
    observe,
    pool::Pool,
    store::{Apart, Forgotten, LockError, Resume, SaveLock, Store, StoredRun, lock::BEAT},
    system::System,
    trust::{self, Admission, FlooredClock, Role, RosterRefused, Rosters, Term, evidence::Collaterals},
};

/// The options of the command line.
pub(crate) struct Options {
    pub(crate) workspace: PathBuf,
    pub(crate) fresh: bool,
    /// Whether a key may be made beside another member's certificate.
    pub(crate) new: bool,
    pub(crate) json: bool,
}

/// Runs the aggregator of a workspace until training is over.
pub(crate) fn run(system: &System, options: &Options, registry: &Registry) -> Result<Exit, Failure> {
    let mut fresh = options.fresh;
    loop {
        match run_once(system, options, fresh, registry)? {
            Some(exit) => return Ok(exit),
            // The owner takes the run back. All begins again, as in a new process.
            None => fresh = false,
        }
    }
}

/// One run. `None` when it has ended because the owner takes it back.
fn run_once(
    system: &System,
    options: &Options,
    fresh: bool,
    registry: &Registry,
) -> Result<Option<Exit>, Failure> {
    let started = system.clock.now();
    let Options { workspace: root, new, json, .. } = options;
    let json = *json;
    let workspace = Workspace::open(&system.files, root)?;
    let (plan, hash) = workspace.plan()?;
    let site = workspace.site()?;
    let layout = plan.layout().map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint()))?;
    let method = registry.method(&plan).map_err(|e| Failure::of(Exit::Data, &e).maybe_hint(e.hint()))?;
    let clock = FlooredClock::of(&system.clock);
    let credentials = startup_trust::credentials(&workspace, &plan, Role::Aggregator, None, *new, &clock)?;
    let rosters = Arc::new(startup_trust::rosters(&workspace, &plan, &credentials, &clock)?);
    let peers = u32::try_from(rosters.members().len()).unwrap_or(u32::MAX);
    let need = footprint(&plan, &layout, peers);
    if !need.fits(plan.memory_budget) {
        return Err(Failure::new(Exit::Plan, format!("the plan's memory budget is too small:\n{need}"))
            .hint("raise limits.memory or limits.spill in plan/plan.yaml"));
    }
    let of = Arc::clone(&rosters);
    let attestation = startup_trust::attestation(
        system,
        &workspace,
        (&plan, hash),
        &credentials,
        move || Some(of.roster()),
        &clock,
    )?;
    let tls = trust::server_config(&credentials, &clock).map_err(|e| Failure::of(Exit::Trust, &e))?;
    let link = plan.threads.link as usize;
    let setup = AggregatorSetup {
        system: system.clone(),
        workspace,
        plan,
        hash,
        site,
        layout,
        method,
        need,
        tls,
        resets: ResetKey::from_secret(&credentials.reset_secret()),
        rosters,
        attestation,
        terms: startup_trust::certificate_terms(&credentials),
        clock,
        fresh,
        json,
        started,
    };
    let outcome = system.threads.run(link, serve(setup));
    outcome.map_err(|e| {
        Failure::of(Exit::Failed, &e).hint("allow this user to start more threads: see `ulimit -u`")
    })?
}

/// What [`run`] has read and checked.
struct AggregatorSetup {
    system: System,
    workspace: Workspace,
    plan: Arc<Plan>,
    hash: Digest,
    site: Site,
    layout: Arc<Layout>,
    method: Method,
    need: Footprint,
    tls: rustls::ServerConfig,
    resets: ResetKey,
    rosters: Arc<Rosters>,
    attestation: Arc<Attestation>,
    clock: FlooredClock,
    /// When the certificates end.
    terms: Vec<Term>,
    fresh: bool,
    json: bool,
    started: Instant,
}

async fn serve(setup: AggregatorSetup) -> Result<Option<Exit>, Failure> {
    // Before any peer or operator can know that the aggregator runs.
    let signals = StopSignals::watch();
    // A second aggregator of the workspace ends at the port, or at the lock where it has another port.
    let endpoints = setup.open_ports()?;
    let lock = setup.lock_save()?;
    setup.workspace.place_initial_model(&setup.plan, setup.hash, &setup.layout)?;
    let (store, resume) = setup.open_store(&lock)?;
    let (round, model) = (resume.round, store.last_model_file());
    let parts = setup.parts(store, resume)?;
    let Running { mailbox, greeter, outcome, store, early } = aggregator::start(parts).await?;
    setup.announce(&endpoints, round, early);

    let status = greeter.status.clone();
    let accept = |endpoint: &Endpoint| {
        let (clock, endpoint) = (setup.system.clock.clone(), endpoint.clone());
        tokio::spawn(aggregator::accept(clock, endpoint, Arc::clone(&greeter), mailbox.clone()))
    };
    let accepting: Vec<_> = endpoints.iter().map(accept).collect();
    let ordered = Arc::new(Ordered::default());
    let watching = tokio::spawn(watch_files(
        (Arc::clone(&setup.rosters), Arc::clone(setup.attestation.appraiser().collaterals())),
        setup.stored_run(),
        mailbox.clone(),
        Arc::clone(&ordered),
    ));
    let holding = tokio::spawn(hold(Arc::clone(&lock), mailbox.clone()));
    let terms = setup.terms.clone();
    let (rosters, attestation) = (Arc::clone(&setup.rosters), Arc::clone(&setup.attestation));
    let reminding = tokio::spawn(startup_trust::remind_daily(setup.clock.clone(), move || {
        let mut terms = terms.clone();
        terms.push(startup_trust::roster_term(rosters.roster().not_after()));
        terms.extend(startup_trust::collateral_term(&attestation));
        terms
    }));
    let stopping = tokio::spawn(stop_signals::pass_on(signals, stop(mailbox, Arc::clone(&ordered))));
    let outcome = outcome.await.unwrap_or_else(|_| {
        Err(Failure::new(Exit::Failed, "internal error: the aggregator ended without an outcome"))
    });
    accepting.iter().for_each(JoinHandle::abort);
    watching.abort();
    reminding.abort();
    holding.abort();
    part(&endpoints, status).await;
    let stored = store.join().await;
    // The operator may stop the run until here, also one that goes back.
    stopping.abort();
    let mut outcome = outcome?;
    outcome.traffic.connections_refused = greeter.refused.load(Relaxed);
    let released = stored?;
    if ordered.goes_back.load(Relaxed) && !ordered.stops.load(Relaxed) {
        return Ok(None);
    }
    setup.conclude(&outcome, &model, released).map(Some)
}

/// Who has ended a run before its end.
#[derive(Default)]
struct Ordered {
    /// The owner, who takes the run back.
    goes_back: AtomicBool,
    /// The operator.
    stops: AtomicBool,
}

impl AggregatorSetup {
    /// The port with this number for each carrier.
    fn open_ports(&self) -> Result<Vec<Endpoint>, Failure> {
        let limits = NetLimits { mtu: self.site.mtu, ..NetLimits::server() };
        let limits = limits.with_members(self.rosters.members().len());
        let open = |carrier: Carrier| {
            let (tls, limits) = (self.tls.clone(), limits.clone());
            Endpoint::server_with(tls, self.bind(), carrier, limits, Some(&self.resets))
        };
        let opened: Result<Vec<_>, _> = carriers(&self.site).into_iter().map(open).collect();
        opened.map_err(|e| {
            Failure::of(Exit::Network, &e).hint(
                "in plan/site.yaml, set bind to an address of this machine, and port to a number that no other program uses for UDP or TCP",
            )
        })
    }

    fn lock_save(&self) -> Result<Arc<SaveLock>, Failure> {
        // Each process under Gramine has a kernel of its own.
        let apart = if syscall::entry() == Entry::Gramine { Apart::Beats } else { Apart::Kernel };
        let lock = SaveLock::take(&self.system, &self.workspace.path("save"), apart);
        lock.map(Arc::new).map_err(|e| Failure::of(Exit::File, &e).hint(e.hint()))
    }

    fn bind(&self) -> SocketAddr {
        SocketAddr::new(self.site.bind, self.site.port)
    }

    /// Opens the store. With `fresh`, deletes the stored rounds first.
    fn open_store(&self, lock: &Arc<SaveLock>) -> Result<(Store, Resume), Failure> {
        let (save, federation) = (self.workspace.path("save"), self.plan.federation.as_str());
        if self.fresh {
            // Rounds are deleted only if a run can begin with the initial model.
            Store::check_initial(
                &self.system.files,
                &save,
                federation,
                self.hash,
                self.plan.seed,
                &self.layout,
                self.plan.exact,
            )
            .map_err(resumption::refused)?;
            let Forgotten { rounds, history } =
                Store::forget(&self.system.files, &save, federation).map_err(resumption::refused)?;
            let history = history.map(|path| format!("; their history is now {}", path.display()));
            tracing::warn!(
                "--fresh: the run begins with the initial model. The models of {rounds} rounds are deleted{}",
                history.unwrap_or_default()
            );
        }
        resumption::carry_out(&self.stored_run(), &self.rosters.roster(), self.json)?;
        let opened = Store::open(&self.system, &save, federation, &self.plan, self.hash, &self.layout);
        opened.map(|(store, resume)| (store.under(Arc::clone(lock)), resume)).map_err(resumption::refused)
    }

    fn stored_run(&self) -> StoredRun {
        StoredRun {
            files: self.system.files.clone(),
            save: self.workspace.path("save"),
            plan: Arc::clone(&self.plan),
            plan_hash: self.hash,
            layout: Arc::clone(&self.layout),
        }
    }

    fn parts(&self, store: Store, resume: Resume) -> Result<Parts, Failure> {
        let (plan, layout) = (Arc::clone(&self.plan), Arc::clone(&self.layout));
        let spill = self.workspace.path("save/spill");
        let slots = SlotStore::new(
            &self.system,
            self.need.slot_memory(),
            plan.spill_budget,
            spill,
            layout.byte_len() as u64,
        );
        let slots = slots.map_err(|e| {
            Failure::of(Exit::Plan, &e).hint("raise limits.memory or limits.spill in plan/plan.yaml")
        })?;
        Ok(Parts {
            system: self.system.clone(),
            pool: Pool::new(
                &self.system.threads,
                self.system.threads.computing(plan.threads.cpu, self.site.threads),
            )
            .map_err(|e| Failure::of(Exit::Failed, &e))?,
            plan,
            plan_hash: self.hash,
            layout,
            method: self.method.clone(),
            slots,
            store,
            resume,
            members: self.rosters.members(),
            admission: Arc::clone(&self.rosters) as Arc<dyn Admission>,
            attestation: Arc::clone(&self.attestation),
            incarnation: u64::from_le_bytes(self.random()?),
            secret: self.random()?,
            json: self.json,
        })
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], Failure> {
        self.system.random.bytes().map_err(|e| Failure::of(Exit::Failed, &e))
    }

    /// Logs that the aggregator listens, and at which round the run begins. `early`: why no round is left
    /// although the plan has more.
    fn announce(&self, endpoints: &[Endpoint], round: RoundNo, early: Option<EndsEarly>) {
        let (plan, ready) = (&self.plan, self.system.clock.since(self.started));
        let local = endpoints.first().and_then(|endpoint| endpoint.local_addr().ok());
        let address = local.unwrap_or(self.bind());
        let socket = endpoints.iter().find_map(|endpoint| match endpoint.carrier() {
            Carrier::Quic(kind) => Some(kind.as_str()),
            Carrier::Tcp => None,
        });
        let tcp = endpoints.iter().any(|endpoint| endpoint.carrier() == Carrier::Tcp);
        if self.json {
            observe::say_event(&serde_json::json!({
                "event": "listening",
                "address": address.to_string(),
                "socket": socket,
                "tcp": tcp,
                "round": round,
                "plan": self.hash.to_string(),
                "ready_ms": ready.as_secs_f64() * 1000.0,
            }));
        }
        let ports = match (socket, tcp) {
            (Some(socket), true) => {
                format!("udp and tcp {address} (socket of plan/site.yaml: {socket})")
            }
            (Some(socket), false) => format!("udp {address} (socket of plan/site.yaml: {socket})"),
            (None, _) => format!("tcp {address}"),
        };
        tracing::info!(
            "aggregator of {} listens on {ports}, ready after {} ms",
            plan.federation,
            ready.as_millis()
        );
        tracing::info!(
            "plan {}, next round {round} of {}, {} collaborators on roster {}",
            self.hash.short(),
            plan.rounds,
            self.rosters.members().len(),
            self.rosters.serial()
        );
        startup_trust::log_measurements(self.rosters.measurements().as_ref());
        if plan.training_rounds() == 0 {
            tracing::info!(
                "no task of the plan trains: the collaborators measure the initial model, and the run ends"
            );
        } else if early.is_some() || round.0 >= plan.rounds {
            let over = early.map_or_else(
                || "all rounds were run".to_owned(),
                |why| format!("the run ended early: {}", observe::why_early(plan, why)),
            );
            tracing::info!(
                "{over}. Collaborators that connect now receive the final model; the aggregator ends when none \
                 has come for {} s. To run more rounds, use a new plan, or {}",
                fl_engine::limits::SERVING.0 / 1000,
                for_this_target(FRESH.to_owned())
            );
        }
    }

    /// Logs how the run ended, and returns the exit code. `model` is the file of the last model, `released`
    /// the file that the plan releases at the end.
    fn conclude(
        &self,
        outcome: &AggregatorOutcome,
        model: &Path,
        released: Option<PathBuf>,
    ) -> Result<Exit, Failure> {
        let plan = &self.plan;
        let all_run = outcome.round.0 >= outcome.rounds;
        if let Some(release) = plan.release.filter(|release| !all_run && release.what != Released::Each) {
            tracing::info!(
                "the plan releases the {} model only after the last round, and the run ended before the last round",
                release.what.word()
            );
        }
        if self.json {
            observe::say_event(&serde_json::json!({
                "event": "ended",
                "reason": match outcome.reason {
                    Reason::Completed => "completed",
                    Reason::QuorumMissed { .. } => "quorum_missed",
                    Reason::NoUpdate { .. } => "no_update",
                    Reason::TooFewSites { .. } => "quorum_missed",
                    Reason::NoStatistics(_) => "no_statistics",
                    _ => "stopped",
                },
                "rounds": outcome.round.0.min(outcome.rounds),
                "stopped_early": outcome.early.map(|why| match why {
                    EndsEarly::Target => "target",
                    _ => "patience",
                }),
                "root": outcome.root.to_string(),
                "lost": outcome.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "model": model,
                "released": released,
                "traffic": outcome.traffic,
            }));
        }
        tracing::info!("{}", outcome.traffic);
        match outcome.reason {
            Reason::Completed => {
                tracing::info!("{}", outcome.over(plan, model));
                Ok(Exit::Done)
            }
            Reason::QuorumMissed { round, have, need } => {
                let error = format!("round {round} had {have} updates, but needs at least {need}");
                Err(Failure::new(Exit::QuorumMissed, with_causes(error, &outcome.lost)).hint(
                    "finished rounds are saved: start again when the collaborators are back. With `quorum: {short: wait}` in \
                     the plan, a round waits for them",
                ))
            }
            Reason::NoUpdate { round } => {
                let error = format!("round {round}: every site failed, or its update was refused");
                Err(Failure::new(Exit::NoUpdate, with_causes(error, &outcome.lost)).hint(cure(&outcome.lost)))
            }
            Reason::TooFewSites { have, need } => {
                let error =
                    format!("{have} sites have sent the sums of their data, but the plan needs at least {need}");
                Err(Failure::new(Exit::QuorumMissed, error).hint(
                    "start again when the collaborators are back. With `quorum: {short: wait}` in the plan, the aggregator waits \
                     for them",
                ))
            }
            Reason::NoStatistics(none) => {
                Err(Failure::new(Exit::Data, format!("{} (standardise: federated)", none.words(plan))).hint(
                    match none.why {
                        ColumnFault::Constant => {
                            "leave the column out of the plan's data with `features` or `ignore`: a constant tells nothing"
                        }
                        _ => {
                            "lower data.standardise.federated.least in the plan, leave the column out, or invite sites with \
                             more rows"
                        }
                    },
                ))
            }
            _ if outcome.rounds == 0 => {
                tracing::info!(
                    "stopped before the collaborators had measured the model. To measure the model, start the aggregator again"
                );
                Ok(Exit::Stopped)
            }
            _ if all_run => {
                tracing::info!("stopped; {}", outcome.over(plan, model));
                Ok(Exit::Done)
            }
            _ => {
                tracing::info!(
                    "stopped before round {}; finished rounds are saved. To continue the run, start the aggregator again",
                    outcome.round
                );
                Ok(Exit::Stopped)
            }
        }
    }
}

/// The error with why the round got no update, site by site.
fn with_causes(error: String, lost: &[Lost]) -> String {
    let mut causes: Vec<String> = lost.iter().take(CAUSES).map(ToString::to_string).collect();
    if lost.len() > CAUSES {
        causes.push(format!("and {} more", lost.len() - CAUSES));
    }
    if causes.is_empty() { error } else { format!("{error}: {}", causes.join("; ")) }
}

/// What to do about the causes. Each site's own log has the cure of a failed task.
fn cure(lost: &[Lost]) -> String {
    let of_refusal = lost.iter().find_map(|lost| match &lost.cause {
        LostCause::Refused(refusal) => refusal.cure(),
        _ => None,
    });
    let first = of_refusal.unwrap_or("read each site's log, which names the cause and its cure");
    format!("{first}; then start the aggregator and the sites again: finished rounds are saved")
}

/// Waits until the sessions have sent their last messages, then closes the ports.
async fn part(endpoints: &[Endpoint], mut status: watch::Receiver<RunStatus>) {
    // The coordinator lives as long as its sessions. An error means that it is gone, and its sessions with
    // it.
    let _ = timeout(FAREWELL, status.wait_for(|now| now.links == 0)).await;
    let idle = async {
        for endpoint in endpoints {
            endpoint.wait_idle().await;
        }
    };
    endpoints.iter().for_each(|endpoint| endpoint.close(0, "the aggregator ends"));
    let _ = timeout(CLOSING, idle).await;
}

/// Reads the roster again every [`ROSTER_LOOK`]: an enclave is not notified when a file changes. Every
/// [`CLOCK_LOOK`] reads, the aggregator also looks at the clock: links end with their certificate and with
/// the roster.
/// A new roster may take the run back.
async fn watch_files(
    (rosters, collaterals): (Arc<Rosters>, Arc<Collaterals>),
    run: StoredRun,
    aggregator: Mailbox<AggregatorMessage>,
    ordered: Arc<Ordered>,
) {
    let mut ticks = tokio::time::interval(ROSTER_LOOK);
    for look in 1_u32.. {
        ticks.tick().await;
        if look.is_multiple_of(CLOCK_LOOK) && aggregator.deliver(AggregatorMessage::ClockLook).await.is_err()
        {
            return;
        }
        collaterals.look();
        let before = rosters.measurements();
        let changed = match rosters.reload_if_changed() {
            Ok(changed) => changed,
            Err(error) => {
                let in_force = matches!(error, RosterRefused::Seen(..));
                let what = match error {
                    RosterRefused::Seen(..) => startup_trust::UNSAVED,
                    RosterRefused::File(..) => {
                        "the file of the roster is gone; the roster stays in force until a restart"
                    }
                    _ => "the new roster is refused and the old one stays in force",
                };
                tracing::warn!("{what}: {}", Failure::of(Exit::Trust, &error).error);
                in_force
            }
        };
        let now = rosters.measurements();
        if now != before {
            startup_trust::log_measurements(now.as_ref());
        }
        if !changed {
            continue;
        }
        if aggregator.deliver(AggregatorMessage::RosterChanged(rosters.members())).await.is_err() {
            return;
        }
        if resumption::is_due(run.clone(), rosters.roster()).await {
            ordered.goes_back.store(true, Relaxed);
            // The aggregator is gone only when the process ends.
            let _ = aggregator.deliver(AggregatorMessage::GoBack).await;
            return;
        }
    }
}

/// Keeps the lock of `save/`, and ends the run when another aggregator has taken the folder over.
async fn hold(lock: Arc<SaveLock>, aggregator: Mailbox<AggregatorMessage>) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        // The next write to the folder reports any other failure, if it lasts.
        if let Err(error @ LockError::Lost { .. }) = lock.beat() {
            let failure = Failure::of(Exit::File, &error).hint(error.hint());
            // The aggregator is gone only when the process ends.
            let _ = aggregator.deliver(AggregatorMessage::StoreFailed(failure)).await;
            return;
        }
    }
}

async fn stop(aggregator: Mailbox<AggregatorMessage>, ordered: Arc<Ordered>) {
    ordered.stops.store(true, Relaxed);
    // The aggregator is gone only when the process ends.
    let _ = aggregator.deliver(AggregatorMessage::Stop).await;
}

/// Longest wait for collaborators to receive the final model and the last messages.
const FAREWELL: Duration = Duration::from_secs(65);
/// Longest wait for collaborators to hear that the links are closed. On a slow line the last bytes are sent
/// again after a few seconds.
const CLOSING: Duration = Duration::from_secs(10);
/// Most sites that an error names.
const CAUSES: usize = 5;
/// Time between two reads of the roster file.
const ROSTER_LOOK: Duration = Duration::from_secs(2);
/// Reads of the roster file from one look at the clock to the next.
const CLOCK_LOOK: u32 = 5;
