//! A collaborator's process, from its workspace to its exit code.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fl_engine::{
    Digest, Name,
    plan::{Federated, Plan, Proxy, ReleaseTo, Site, Standardise, host_and_port},
    statistics::SiteSums,
    tensor::Layout,
    wire::{LeftOut, Verdict},
};
use fl_learn::{
    data::{DataError, Loaded, SplitData},
    registry::Registry,
    task::Runner,
};
use tokio::time::timeout;

use super::{
    carriers, proxy, startup_trust,
    stop_signals::{self, StopSignals},
    workspace::Workspace,
};
use crate::{
    actors::{
        attestation::Attestation,
        collaborator::{
            self, AboutData, CollaboratorMessage, CollaboratorOutcome, Destination, Dialler, Part, Running,
            SiteWork,
        },
        mailbox::Mailbox,
    },
    environment::ProxyVariables,
    exit::{Exit, Failure},
    net::{Carrier, NetLimits, Sockets, Tunnel, backoff::Backoff},
    observe,
    payload::Buffers,
    pool::Pool,
    store::{self, MemberCopies},
    system::{Random, System},
    trust::{self, Authority, FlooredClock, OwnValidity, Role, Serials, SiteRoster, Term},
};

/// The options of the command line.
pub(crate) struct Options {
    pub(crate) name: Name,
    pub(crate) workspace: PathBuf,
    pub(crate) accept_first: bool,
    /// Whether a key may be made beside another member's certificate.
    pub(crate) new: bool,
    pub(crate) json: bool,
    /// What the environment says of proxies.
    pub(crate) proxies: ProxyVariables,
}

/// Runs a collaborator until training is over.
pub(crate) fn run(system: &System, options: &Options, registry: &Registry) -> Result<Exit, Failure> {
    let workspace = Workspace::open(&system.files, &options.workspace)?;
    let (plan, hash) = workspace.plan()?;
    let site = workspace.site()?;
    let proxy = proxy::choose(&site, &options.proxies)?;
    let clock = FlooredClock::of(&system.clock);
    let credentials = startup_trust::credentials(
        &workspace,
        &plan,
        Role::Collaborator,
        Some(&options.name),
        options.new,
        &clock,
    )?;
    let serials = Arc::new(startup_trust::serials(&workspace, &credentials));
    workspace.check_accepted(hash, options.accept_first)?;
    let site_roster = startup_trust::site_roster(&workspace, &plan, &credentials, &serials, &clock);
    let roster = site_roster.roster();
    let aggregators = roster.as_ref().map_or(&[][..], |roster| roster.aggregators());
    let mut tls =
        trust::client_config(&credentials, &clock, aggregators).map_err(|e| Failure::of(Exit::Trust, &e))?;
    tls.enable_sni = site.server_name.is_some();
    let terms = startup_trust::certificate_terms(&credentials);
    let of = Arc::clone(&site_roster);
    let attestation = startup_trust::attestation(
        system,
        &workspace,
        (&plan, hash),
        &credentials,
        move || of.roster(),
        &clock,
    )?;
    try_save(&workspace, &plan)?;
    let layout = plan.layout().map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint()))?;
    let (work, about) = work(&workspace, &plan, &layout, &options.name, registry)?;
    let link = plan.threads.link as usize;
    let own = OwnValidity::new(&clock, credentials.validity());
    let authority = credentials.authority().clone();
    let setup = CollaboratorSetup {
        system,
        workspace,
        options,
        plan,
        site,
        proxy,
        hash,
        layout,
        tls,
        serials,
        work,
        about,
        own,
        authority,
        terms,
        site_roster,
        attestation,
    };
    let outcome = system.threads.run(link, serve(setup));
    outcome.map_err(|e| {
        Failure::of(Exit::Failed, &e).hint("allow this user to start more threads: see `ulimit -u`")
    })?
}

/// Finds out at the start whether this site can keep the model that the plan gives it at the end.
fn try_save(workspace: &Workspace, plan: &Plan) -> Result<(), Failure> {
    let folder = match plan.release {
        None => workspace.path("save"),
        Some(release) if release.to == ReleaseTo::Members => workspace.path("save/released"),
        Some(_) => return Ok(()),
    };
    workspace.files().try_folder(&folder).map_err(|error| {
        let why =
            format!("this site keeps the model in {}, but cannot write there: {error}", folder.display());
        Failure::new(Exit::File, why).hint(
            "allow this user to write to the folder save/; in a container, mount a volume at /workspace/save",
        )
    })
}

/// What [`run`] has read and checked.
struct CollaboratorSetup<'a> {
    system: &'a System,
    workspace: Workspace,
    options: &'a Options,
    plan: Arc<Plan>,
    site: Site,
    /// The proxy, and who names it.
    proxy: Option<(Proxy, String)>,
    hash: Digest,
    layout: Arc<Layout>,
    tls: rustls::ClientConfig,
    serials: Arc<Serials>,
    work: SiteWork,
    about: AboutData,
    own: OwnValidity,
    authority: Authority,
    terms: Vec<Term>,
    site_roster: Arc<SiteRoster>,
    attestation: Arc<Attestation>,
}

/// What this site computes with, and what it says of its data.
fn work(
    workspace: &Workspace,
    plan: &Arc<Plan>,
    layout: &Arc<Layout>,
    name: &Name,
    registry: &Registry,
) -> Result<(SiteWork, AboutData), Failure> {
    let ready = |runner, about| (SiteWork::Ready(Box::new(runner)), about);
    if !Runner::needs_data(plan, name) {
        return runner(plan, layout, name, None, registry).map(|runner| ready(runner, AboutData::default()));
    }
    let folder = workspace.data_of(name)?;
    let loaded = load(plan, &folder, registry)?;
    loaded.facts.iter().for_each(|fact| tracing::info!("{fact}"));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let left_out = LeftOut::of(&loaded.left_out);
    let Rows { data, sums, columns } = split(plan, loaded, name)?;
    let about = AboutData { columns, left_out };
    tracing::info!(
        "loaded {} rows to train on and {} rows to validate on",
        data.train.rows(),
        data.validation.rows()
    );
    let (Some(Federated { least }), Some(sums)) = (plan.data.federated, sums) else {
        return runner(plan, layout, name, Some(data), registry).map(|runner| ready(runner, about));
    };
    // The rows are not scaled yet: they are read again then.
    let rows = data.train.rows() + data.validation.rows() + data.test.rows();
    check_rows(plan, rows as u64)?;
    drop(data);
    let sums = sums.to_send(least);
    let (plan, layout, name, registry) =
        (Arc::clone(plan), Arc::clone(layout), name.clone(), registry.clone());
    let prepare = move |statistics: &Standardise| {
        let scaled = plan.edited(|plan| plan.data = plan.data.scaled_by(statistics));
        let scaled = Arc::new(scaled.map_err(|fault| Failure::new(Exit::Data, fault.message))?);
        // The log has what the first reading found.
        let Rows { data, .. } = split(&scaled, load(&scaled, &folder, &registry)?, &name)?;
        runner(&scaled, &layout, &name, Some(data), &registry)
    };
    Ok((SiteWork::Later { sums, prepare: Box::new(prepare) }, about))
}

/// A site's rows.
struct Rows {
    data: SplitData,
    /// Where the plan asks for them.
    sums: Option<SiteSums>,
    /// The digest of the columns of its table, where the sites compare them.
    columns: Option<Digest>,
}

/// Reads the site's rows.
fn load(plan: &Plan, folder: &Path, registry: &Registry) -> Result<Loaded, Failure> {
    registry.read_data(plan, folder).map_err(unusable)
}

/// Splits the site's rows, and checks how many there are.
fn split(plan: &Plan, loaded: Loaded, name: &Name) -> Result<Rows, Failure> {
    let data = Registry::split_data(plan, &loaded, name).map_err(unusable)?;
    check_rows(plan, data.train.rows().max(data.validation.rows()) as u64)?;
    Ok(Rows { data, sums: loaded.sums, columns: loaded.columns })
}

fn unusable(error: DataError) -> Failure {
    Failure::of(Exit::Data, &error).maybe_hint(error.hint())
}

fn runner(
    plan: &Arc<Plan>,
    layout: &Arc<Layout>,
    name: &Name,
    data: Option<SplitData>,
    registry: &Registry,
) -> Result<Runner, Failure> {
    registry
        .tasks(plan, name)
        .and_then(|custom| Runner::new(Arc::clone(plan), Arc::clone(layout), name, data, custom))
        .inspect(|runner| runner.note().into_iter().for_each(|note| tracing::info!("{note}")))
        .map_err(|e| Failure::of(Exit::Data, &e).maybe_hint(e.hint()))
}

/// The aggregator would refuse every update of a site with more rows.
fn check_rows(plan: &Plan, rows: u64) -> Result<(), Failure> {
    let (most, key) =
        (plan.most_rows(), if plan.row_limit.is_some() { "limits.rows" } else { "exact.weight_bits" });
    if rows <= most.into() {
        return Ok(());
    }
    let error = format!("this site has {rows} rows; {key} of the plan allows one site at most {most} rows");
    Err(Failure::new(Exit::Data, error)
        .hint(format!("ask the federation's owner to raise {key} in plan/plan.yaml, or use fewer rows")))
}

async fn serve(setup: CollaboratorSetup<'_>) -> Result<Exit, Failure> {
    // Before any peer or operator can know that the collaborator runs.
    let signals = StopSignals::watch();
    let CollaboratorSetup {
        system,
        workspace,
        options,
        plan,
        site,
        proxy,
        hash,
        layout,
        tls,
        serials,
        work,
        about,
        own,
        authority,
        terms,
        site_roster,
        attestation,
    } = setup;
    let collaterals = Arc::clone(attestation.appraiser().collaterals());
    let threads = system.threads.computing(plan.threads.cpu, site.threads);
    let pool = Pool::new(&system.threads, threads).map_err(|e| Failure::of(Exit::Failed, &e))?;
    let limits = NetLimits { mtu: site.mtu, ..NetLimits::client() };
    let carriers = if proxy.is_some() { vec![Carrier::Tcp] } else { carriers(&site) };
    let sockets = Sockets::open(&tls, &carriers, &limits);
    let sockets = Arc::new(sockets.map_err(|e| Failure::of(Exit::Network, &e))?);

    let buffers = Buffers::new(Arc::clone(&layout));
    let (clock, for_tasks) = (system.clock.clone(), Arc::clone(&plan));
    let Running { mailbox, held, statistics, outcome } =
        collaborator::start(clock, for_tasks, work, about, Arc::clone(&layout), buffers.clone(), pool);
    let (save, federation) = (workspace.path("save"), plan.federation.as_str());
    let copies =
        MemberCopies::new(&system.files, &save, federation, &options.name, (plan.as_ref(), hash), &layout)
            .map(Arc::new);
    let through = proxy.as_ref().map(|(proxy, _)| format!(" through the proxy {proxy}")).unwrap_or_default();
    let dialler = Dialler {
        clock: system.clock.clone(),
        sockets: Arc::clone(&sockets),
        destination: Arc::new(Destination {
            host: site.address.clone(),
            port: site.port,
            server_name: site.server_name.clone(),
            proxy: proxy.map(|(proxy, by)| (Tunnel::new(proxy, &site.address, site.port), by)),
        }),
        federation: plan.federation.clone(),
        plan: hash,
        serials,
        held,
        layout: Arc::clone(&layout),
        buffers,
        copies: copies.clone(),
        statistics,
        collaborator: mailbox.clone(),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed(&system.random)),
        own: own.clone(),
        carrier: None,
        authority,
        attestation: Arc::clone(&attestation),
        look: Box::new({
            let (site_roster, collaterals) = (Arc::clone(&site_roster), Arc::clone(&collaterals));
            move || {
                startup_trust::look_at_roster(&site_roster);
                collaterals.look();
            }
        }),
        receive: Box::new({
            let site_roster = Arc::clone(&site_roster);
            move |file, text| startup_trust::take_newer(&site_roster, &collaterals, file, text)
        }),
    };
    tracing::info!(
        "collaborator {} of the federation {}, plan {}",
        options.name,
        plan.federation,
        hash.short()
    );
    tracing::info!("connecting to {}{through}", host_and_port(&site.address, site.port));
    let reminding = tokio::spawn(startup_trust::remind_daily(own.clock().clone(), move || {
        let mut terms = terms.clone();
        terms.extend(site_roster.ends().map(startup_trust::roster_term));
        terms.extend(startup_trust::collateral_term(&attestation));
        terms
    }));
    let dialling = tokio::spawn(dialler.run());
    let stopping = tokio::spawn(stop_signals::pass_on(signals, stop(mailbox)));
    let outcome = outcome.await.unwrap_or_else(|_| {
        Err(Failure::new(Exit::Failed, "internal error: the collaborator ended without an outcome"))
    });
    // The aggregator closes the link once it has heard the good-bye.
    let _ = timeout(Duration::from_secs(1), dialling).await;
    stopping.abort();
    reminding.abort();
    sockets.close(0, "the collaborator ends");
    let _ = timeout(Duration::from_secs(1), sockets.wait_idle()).await;
    let ended = outcome?;
    let kept = keep(&workspace, options, &plan, hash, &layout, copies.as_deref(), &ended);
    conclude(options, &plan, &ended, kept)
}

async fn stop(collaborator: Mailbox<CollaboratorMessage>) {
    tracing::info!("stopping");
    // The collaborator is gone only when the process ends.
    let _ = collaborator.deliver(CollaboratorMessage::Stop).await;
}

/// Writes the model that the collaborator holds at the end to a file, where the plan allows that.
fn keep(
    workspace: &Workspace,
    options: &Options,
    plan: &Plan,
    hash: Digest,
    layout: &Arc<Layout>,
    copies: Option<&MemberCopies>,
    ended: &CollaboratorOutcome,
) -> Option<PathBuf> {
    let (round, model) = ended.model.as_ref()?;
    let kept = match (copies, plan.release) {
        // The plan releases the final model. The last model received may be an earlier one.
        (Some(copies), _) => match ended.verdict {
            Some(Verdict::Completed { root, .. }) if root == model.root() => {
                copies.put(*round, root, ended.statistics.as_deref(), model.as_slice())
            }
            _ => return None,
        },
        (None, Some(_)) => return None,
        (None, None) => {
            let about = store::About { plan: hash, rounds: round.0, root: model.root() };
            let (save, federation) = (workspace.path("save"), plan.federation.as_str());
            store::keep_final(
                workspace.files(),
                &save,
                federation,
                &options.name,
                (about, plan, ended.statistics.as_deref()),
                layout,
                model.as_slice(),
            )
        }
    };
    // The folder may be read-only. The run has succeeded nevertheless.
    kept.map_err(|error| tracing::warn!("cannot save the model: {error}")).ok()
}

fn conclude(
    options: &Options,
    plan: &Plan,
    ended: &CollaboratorOutcome,
    kept: Option<PathBuf>,
) -> Result<Exit, Failure> {
    if options.json {
        let verdict = match &ended.verdict {
            Some(Verdict::Completed { .. }) => "completed",
            Some(Verdict::QuorumMissed { .. }) => "quorum_missed",
            Some(Verdict::NoStatistics(_)) => "no_statistics",
            _ => "stopped",
        };
        observe::say_event(&serde_json::json!({
            "event": "ended", "reason": verdict, "model": kept,
            "asked": ended.part.asked, "counted": ended.part.counted,
        }));
    }
    if ended.part.asked > 0 {
        tracing::info!("{}", ended.part.line());
    }
    match ended.verdict.clone() {
        Some(Verdict::Completed { rounds, root }) => {
            tracing::info!("training is over after {rounds} rounds");
            let older = ended.model.as_ref().is_some_and(|(_, model)| model.root() != root);
            match (&kept, plan.release) {
                (Some(path), _) => tracing::info!("the model is saved as {}", path.display()),
                (None, Some(release)) if release.to != ReleaseTo::Members => {
                    tracing::info!(
                        "the plan releases no model to collaborators, so no model file is written on this machine"
                    );
                }
                _ => {}
            }
            if older && kept.is_some() {
                tracing::warn!(
                    "the connection broke before the final model arrived: the saved model file holds an older model. To get the final model, start this collaborator again"
                );
            } else if older {
                tracing::warn!(
                    "the connection broke before the final model arrived. To get the final model, start this collaborator again"
                );
            }
            if ended.part.is_empty() {
                return Err(no_part(&ended.part, "training is over"));
            }
            Ok(Exit::Done)
        }
        Some(Verdict::QuorumMissed { .. }) if ended.part.is_empty() => {
            Err(no_part(&ended.part, "the aggregator ended the run"))
        }
        Some(Verdict::NoStatistics(why)) => Err(Failure::new(
            Exit::Data,
            format!("the aggregator ended the run: {why} (standardise: federated)"),
        )
        .hint("ask the federation's owner to change `features` or `standardise` below `data` in the plan")),
        Some(Verdict::QuorumMissed { round }) => Err(Failure::new(
            Exit::QuorumMissed,
            format!("the aggregator ended the run: round {round} had too few updates"),
        )
        .hint(
            "when the aggregator's operator has started the aggregator again, start this collaborator again",
        )),
        _ => Ok(Exit::Stopped),
    }
}

/// The failure of a site that tried and took part in no round.
fn no_part(part: &Part, over: &str) -> Failure {
    let why = part.failure.as_deref().unwrap_or("no update came");
    Failure::new(Exit::NoUpdate, format!("{over}, and no update of this site counted: {why}")).hint(
        "the lines above name the cause and its cure; repair it before this site takes part in another run",
    )
}

/// A seed for the waits between attempts to connect, so that collaborators do not connect in step.
fn seed(random: &Random) -> u64 {
    // Without random bytes all collaborators wait alike, which is bearable.
    u64::from_le_bytes(random.bytes().unwrap_or_default())
}

/// First wait between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between attempts to connect.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
