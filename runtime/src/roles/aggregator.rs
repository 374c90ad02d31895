//! The aggregator's process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use fl_engine::{
    Bytes, Digest, Name,
    aggregate::{Footprint, Method, footprint},
    model,
    plan::{Plan, Released, Site},
    round::{Reason, RoundEngine, Start},
    tensor::Layout,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    socket_kind,
    threads::{self, StopSignals},
    trusted,
};
use crate::{
    actors::{
        aggregator::{
            aggregation_task,
            coordinator::{Aggregator, Beginning, Desks, Ended, News},
            log_ration::Ration,
            store_thread,
            upload::Intake,
        },
        greeting::{self, Gate, Roll, Standing},
        mailbox::{self, Mailbox},
    },
    aggregation::{Aggregation, server_step::Stepping},
    exit::{Exit, Failure},
    folder::Folder,
    memory::SlotStore,
    net::{Endpoint, NetLimits},
    observe::{self, Counters},
    payload::PayloadPool,
    pool::Pool,
    registry::Registry,
    store::{Resume, Store, StoreError},
    trust::{self, Clock, Role, RosterRefused, Rosters},
};

/// Runs the aggregator of the workspace at `root` until training is over.
pub(crate) fn run(root: &Path, fresh: bool, json: bool, registry: &Registry) -> Result<Exit, Failure> {
    let started = Instant::now();
    let folder = Folder::open(root)?;
    let (plan, hash) = folder.plan()?;
    let site = folder.site()?;
    let layout = model::plan_layout(&plan).map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint()))?;
    let method = registry.method(&plan).map_err(|e| Failure::of(Exit::Data, &e).maybe_hint(e.hint()))?;
    let clock = Clock::system();
    let credentials = trusted::credentials(&folder, &plan, Role::Aggregator, None, &clock)?;
    let rosters = Arc::new(trusted::rosters(&folder, &plan, &credentials, &clock)?);
    let peers = u32::try_from(rosters.members().len()).unwrap_or(u32::MAX);
    let need = footprint(&plan, &layout, peers);
    if !need.fits(plan.memory_budget) {
        return Err(Failure::new(Exit::Plan, format!("the plan's memory budget is too small:\n{need}"))
            .hint("raise limits.memory or limits.spill in plan/plan.yaml"));
    }
    let tls = trust::server_config(&credentials, &clock).map_err(|e| Failure::of(Exit::Trust, &e))?;
    let setup = Setup { folder, plan, hash, site, layout, method, need, tls, rosters, fresh, json, started };
    let threads = setup.plan.threads;
    threads::run(threads, serve(setup))?
}

/// Everything that was checked.
struct Setup {
    folder: Folder,
    plan: Arc<Plan>,
    hash: Digest,
    site: Site,
    layout: Arc<Layout>,
    method: Method,
    need: Footprint,
    tls: rustls::ServerConfig,
    rosters: Arc<Rosters>,
    fresh: bool,
    json: bool,
    started: Instant,
}

async fn serve(setup: Setup) -> Result<Exit, Failure> {
    // Before anybody is told that it runs.
    let signals = StopSignals::watch();
    let Setup { folder, plan, hash, site, layout, method, need, tls, rosters, fresh, json, started } = setup;
    // The port first: it is the lock on the folder's state. A second aggregator gets no further.
    let bind = SocketAddr::new(site.bind, site.port);
    let limits = NetLimits { mtu: site.mtu, ..NetLimits::server() }.with_members(rosters.members().len());
    let endpoint = Endpoint::server(tls, bind, socket_kind(site.socket), limits).map_err(|e| {
        Failure::of(Exit::Network, &e).hint(
            "in plan/site.yaml, bind has to be an address of this machine and port one that no other program uses",
        )
    })?;
    folder.place_initial_model(&plan, hash)?;
    let (store, resume) = open_store(&folder, &plan, hash, &layout, fresh)?;
    let slots = SlotStore::new(
        need.slot_memory(),
        plan.spill_budget,
        folder.path("save/spill"),
        layout.byte_len() as u64,
    )
    .map_err(|e| Failure::of(Exit::Plan, &e).hint("raise limits.memory or limits.spill in plan/plan.yaml"))?;
    let intake = Arc::new(Intake::new(slots, Arc::clone(&layout), plan.exact));
    let pool = Pool::new(plan.threads.cpu as usize).map_err(|e| Failure::of(Exit::Failed, &e))?;
    let payloads = PayloadPool::new(Arc::clone(&layout));
    let mut draft = payloads.take().await;
    draft.as_mut_slice().copy_from_slice(&resume.payload);
    // The store has checked length and root: hashing a large model once more would only delay the start.
    let base = draft.finish_with(resume.root);
    drop(resume.payload);
    let stepping = match plan.aggregation().and_then(|aggregation| aggregation.server) {
        Some(server) => {
            let stepping = Stepping::new(server, Arc::clone(&layout), plan.exact, resume.state.as_deref());
            Some(stepping.await.map_err(|e| Failure::of(Exit::Plan, &e))?)
        }
        None => None,
    };
    drop(resume.state);
    let aggregation = Aggregation::new(pool, payloads, plan.exact, method, stepping);

    let start = Start {
        incarnation: u64::from_le_bytes(random()?),
        round: resume.round,
        base: base.root(),
        members: rosters.members(),
        secret: random()?,
        best: resume.best,
        layout_bytes: Bytes(layout.byte_len() as u64),
        plan_hash: hash,
    };
    let incarnation = start.incarnation;
    let engine = RoundEngine::new(Arc::clone(&plan), start);
    let counters = Arc::new(Counters::default());
    let standing = Standing { round: engine.round(), over: false, links: 0 };
    let (standing, watched) = watch::channel(standing);
    let (outcome, ended) = oneshot::channel();
    let slots = intake.slots.clone();
    let beginning = Beginning {
        plan: Arc::clone(&plan),
        engine,
        base,
        intake,
        roll: Arc::clone(&rosters) as Arc<dyn Roll>,
        standing,
        counters: Arc::clone(&counters),
        json,
        outcome,
    };
    let aggregator = mailbox::open(Aggregator::new(beginning), MAILBOX);
    let keeper = store_thread::start(store, aggregator.clone()).map_err(|e| Failure::of(Exit::Failed, &e))?;
    let (jobs, todo) = mpsc::unbounded_channel();
    let desk = tokio::spawn(aggregation_task::run(aggregation, todo, slots, aggregator.clone()));
    tokio::spawn(tell_of_panic(desk, aggregator.clone()));
    let desks = Desks { sum: jobs, keeper: keeper.jobs.clone() };
    // The mailbox is empty.
    let _ = aggregator.tell(News::Begin(desks));

    let address = endpoint.local_addr().unwrap_or(bind);
    if json {
        observe::say_event(&serde_json::json!({
            "event": "listening",
            "address": address.to_string(),
            "socket": endpoint.socket_kind().as_str(),
            "round": resume.round,
            "plan": hash.to_string(),
            "ready_ms": started.elapsed().as_secs_f64() * 1000.0,
        }));
    }
    tracing::info!(
        "aggregator of {} listens on udp {address} ({} socket), ready after {} ms",
        plan.federation,
        endpoint.socket_kind().as_str(),
        started.elapsed().as_millis()
    );
    tracing::info!(
        "plan {}, round {} of {}, {} collaborators on roster {}",
        hash.short(),
        resume.round,
        plan.rounds,
        rosters.members().len(),
        rosters.serial()
    );
    trusted::tell_measurements(rosters.measurements().as_ref());
    if resume.round.0 >= plan.rounds {
        tracing::info!(
            "every round was run: who comes gets the final model; more rounds need a new plan, or --fresh"
        );
    }
    let gate = Arc::new(Gate {
        federation: plan.federation.clone(),
        plan: hash,
        incarnation,
        roll: Arc::clone(&rosters) as Arc<dyn Roll>,
        standing: watched.clone(),
    });
    let accepting = tokio::spawn(accept(endpoint.clone(), gate, aggregator.clone(), counters));
    let watching = tokio::spawn(watch_roster(rosters, aggregator.clone()));
    let stopping = tokio::spawn(threads::pass_on(signals, stop(aggregator)));

    let outcome =
        ended.await.unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "the aggregator actor has ended")));
    accepting.abort();
    watching.abort();
    part(&endpoint, watched).await;
    stopping.abort();
    let kept = keeper.join().await;
    let outcome = outcome.and_then(|ended| kept.map(|released| (ended, released)));
    conclude(&folder, &plan, outcome, json)
}

/// Opens the folder's state; with `fresh`, without the rounds that it keeps.
fn open_store(
    folder: &Folder,
    plan: &Plan,
    hash: Digest,
    layout: &Arc<Layout>,
    fresh: bool,
) -> Result<(Store, Resume), Failure> {
    let refused = |e: StoreError| Failure::of(Exit::Model, &e).maybe_hint(e.hint());
    let (save, federation) = (folder.path("save"), plan.federation.as_str());
    if fresh {
        // Rounds are given up only for a model that a run can begin with.
        Store::check_initial(&save, federation, hash, layout).map_err(refused)?;
        let given_up = Store::forget(&save, federation).map_err(refused)?;
        tracing::warn!("{given_up} kept rounds are given up; the run begins at the initial model");
    }
    Store::open(&save, federation, plan, hash, layout).map_err(refused)
}

/// Lets sessions say their last words, then closes the port.
async fn part(endpoint: &Endpoint, mut standing: watch::Receiver<Standing>) {
    // The actor lives as long as its sessions; without it there is nobody to wait for.
    let _ = timeout(FAREWELL, standing.wait_for(|now| now.links == 0)).await;
    endpoint.close(0, "the aggregator ends");
    let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}

fn conclude(
    folder: &Folder,
    plan: &Plan,
    outcome: Result<(Ended, Option<PathBuf>), Failure>,
    json: bool,
) -> Result<Exit, Failure> {
    let (ended, released) = outcome?;
    let save = folder.path("save");
    let model = save.join(format!("{}_last.safetensors", plan.federation));
    let all_run = ended.round.0 >= plan.rounds;
    if let Some(release) = plan.release.filter(|release| !all_run && release.what != Released::Each) {
        tracing::info!("the {} model is released after the last round, not before", release.what.word());
    }
    if json {
        observe::say_event(&serde_json::json!({
            "event": "ended",
            "reason": match ended.reason {
                Reason::Completed => "completed",
                Reason::QuorumMissed { .. } => "quorum_missed",
                _ => "stopped",
            },
            "rounds": ended.round.0.min(plan.rounds),
            "root": ended.root.to_string(),
            "model": model,
            "released": released,
        }));
    }
    match ended.reason {
        Reason::Completed => {
            tracing::info!("all {} rounds were run; the model is {}", plan.rounds, model.display());
            Ok(Exit::Done)
        }
        Reason::QuorumMissed { round, have, need } => Err(Failure::new(
            Exit::QuorumMissed,
            format!("round {round} had {have} of at least {need} updates at its deadline"),
        )
        .hint("finished rounds are saved: start again when the collaborators are back, or change quorum in the plan")),
        _ if ended.round.0 >= plan.rounds => {
            tracing::info!("stopped; all {} rounds were run, the model is {}", plan.rounds, model.display());
            Ok(Exit::Done)
        }
        _ => {
            tracing::info!("stopped before round {}; finished rounds are saved, start again to go on", ended.round);
            Ok(Exit::Stopped)
        }
    }
}

async fn accept(
    endpoint: Endpoint,
    gate: Arc<Gate>,
    aggregator: Mailbox<Aggregator>,
    counters: Arc<Counters>,
) {
    let ration = Arc::new(Mutex::new(Ration::default()));
    while let Some(incoming) = endpoint.accept().await {
        let (gate, aggregator, counters) = (Arc::clone(&gate), aggregator.clone(), Arc::clone(&counters));
        let ration = Arc::clone(&ration);
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let link = match incoming.admit().await {
                Ok(link) => link,
                Err(error) => {
                    counters.handshakes_refused.fetch_add(1, Relaxed);
                    tracing::debug!("handshake with {address} failed: {error}");
                    return;
                }
            };
            match greeting::welcome(link, &gate).await {
                // The aggregator is gone only when the process ends.
                Ok(guest) => drop(aggregator.deliver(News::Came(guest)).await),
                Err(why) => {
                    counters.handshakes_refused.fetch_add(1, Relaxed);
                    let spoken = ration.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
                    match spoken {
                        Some(0) => tracing::warn!("{address} was turned away: {why}"),
                        Some(unsaid) => {
                            tracing::warn!("{address} was turned away, and {unsaid} before: {why}")
                        }
                        None => {}
                    }
                }
            }
        });
    }
}

/// Looks for a new roster now and then: an enclave has no way to be told of a changed file.
async fn watch_roster(rosters: Arc<Rosters>, aggregator: Mailbox<Aggregator>) {
    let mut ticks = tokio::time::interval(ROSTER_LOOK);
    loop {
        ticks.tick().await;
        let before = rosters.measurements();
        let changed = match rosters.reload_if_changed() {
            Ok(changed) => changed,
            Err(error) => {
                let in_force = matches!(error, RosterRefused::Seen(..));
                let what = match in_force {
                    true => "the new roster is in force, but not remembered past this run",
                    false => "the new roster is not taken, the old one stays",
                };
                tracing::warn!("{what}: {}", Failure::of(Exit::Trust, &error).error);
                in_force
            }
        };
        let now = rosters.measurements();
        if now != before {
            trusted::tell_measurements(now.as_ref());
        }
        if changed && aggregator.deliver(News::Roster(rosters.members())).await.is_err() {
            return;
        }
    }
}

/// A desk that has panicked answers nobody: the run would wait for ever.
async fn tell_of_panic(desk: JoinHandle<()>, aggregator: Mailbox<Aggregator>) {
    if let Err(error) = desk.await {
        // The aggregator is gone only when the process ends.
        let _ = aggregator.deliver(News::Broken(format!("the sum's desk failed: {error}"))).await;
    }
}

async fn stop(aggregator: Mailbox<Aggregator>) {
    // The aggregator is gone only when the process ends.
    let _ = aggregator.deliver(News::Stop).await;
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(Exit::Failed, "the system gives no random numbers"))?;
    Ok(bytes)
}

impl Roll for Rosters {
    fn admit(&self, certificates: &[rustls::pki_types::CertificateDer<'static>]) -> Result<Name, String> {
        Rosters::admit(self, certificates).map(|peer| peer.name().clone()).map_err(|e| e.to_string())
    }

    fn serial(&self) -> u64 {
        Rosters::serial(self)
    }
}

/// Letters that wait for the aggregator. Whoever has more to say waits.
const MAILBOX: usize = 1024;
/// Longest wait for collaborators to take the final model and their last words.
const FAREWELL: Duration = Duration::from_secs(65);
/// Between two looks at the roster file.
const ROSTER_LOOK: Duration = Duration::from_secs(2);
