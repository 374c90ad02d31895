//! The owner takes the run back to the model after a round, and leaves members out from there.

use fl_engine::{
    Name, RoundNo,
    aggregate::state_layout,
    limits,
    plan::{Plan, ReleaseTo, Released, roster::Resumption},
};
use fl_runtime::internal::trust::Role;

use super::owner::{Owner, of_reason};
use crate::exit::{Exit, Failure};

/// What the owner decides.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// The round whose model the run continues from.
    pub round: RoundNo,
    /// The members that are left out.
    pub without: Vec<Name>,
    /// Why; every member can read the reason on the roster.
    pub reason: String,
}

/// What [`resume`] did.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The roster's serial.
    pub serial: u64,
    /// The members whose keys this roster revokes first.
    pub revoked: Vec<Name>,
    /// What the owner should know.
    pub notes: Vec<String>,
}

/// Signs a roster that takes the run of `plan` back, and revokes the members that are left out.
///
/// # Errors
/// [`Exit::Usage`] for no member, a round that the plan does not have, or too few members that are left;
/// [`Exit::Trust`] for a member that the roster does not know; [`Exit::Plan`] for a plan of another
/// federation; [`Exit::File`].
pub fn resume(owner: &mut Owner, plan: &Plan, order: &Withdrawal) -> Result<Resumed, Failure> {
    let Withdrawal { round, without, reason } = order;
    check_round(owner, plan, *round)?;
    if without.is_empty() {
        return Err(Failure::new(Exit::Usage, "no member is named that is left out")
            .hint("give each member that is left out with --without NAME"));
    }
    if without.len() > limits::WITHDRAWN {
        let error = format!(
            "{} members are named; one order leaves out at most {}",
            without.len(),
            limits::WITHDRAWN
        );
        return Err(Failure::new(Exit::Usage, error)
            .hint("revoke the other members with `fl-host pki revoke` before this command"));
    }
    let mut draft = owner.roster().draft();
    let mut revoked = Vec::new();
    for name in without {
        let mut lines = draft.members.iter_mut().filter(|line| line.name == *name).peekable();
        if lines.peek().is_none() {
            return Err(owner.unknown(Role::Collaborator, name));
        }
        for line in lines.filter(|line| line.revoked.is_none()) {
            line.revoked = Some(reason.clone());
            revoked.push(name.clone());
        }
    }
    let left: Vec<&Name> =
        draft.members.iter().filter(|line| line.revoked.is_none()).map(|line| &line.name).collect();
    check_quorum(plan, &left)?;
    let mut notes = Vec::new();
    notes.extend(not_kept(plan, *round));
    notes.extend(owner.roster().resume().map(|before| {
        format!(
            "this order takes the place of the order of roster {}, which resumes after round {} without {}. If the aggregator \
             has not carried out that order, name the earlier of the two rounds",
            before.serial,
            before.round,
            before.names()
        )
    }));
    let mut unique = without.clone();
    unique.sort_unstable();
    unique.dedup();
    let serial = owner.roster().serial() + 1;
    let mut resume = Resumption { round: *round, without: unique, serial, proof: [0; 64] };
    resume.proof = owner.sign_bytes(&resume.signed_bytes(&draft.federation));
    draft.resume = Some(resume);
    let serial = owner.change_roster(draft).map_err(of_reason)?;
    Ok(Resumed { serial, revoked, notes })
}

fn check_round(owner: &Owner, plan: &Plan, round: RoundNo) -> Result<(), Failure> {
    if plan.federation != *owner.federation() {
        let error = format!(
            "plan/plan.yaml is of the federation {}, but the roster is of {}",
            plan.federation,
            owner.federation()
        );
        return Err(Failure::new(Exit::Plan, error)
            .hint("run this command in the owner's workspace of the federation, or give that folder with --workspace"));
    }
    if round.0 < plan.rounds {
        return Ok(());
    }
    let error = format!("the plan has no round {round}: its rounds are 0 to {}", plan.rounds - 1);
    Err(Failure::new(Exit::Usage, error)
        .hint("name the last round before the first one that the member spoilt; the history save/W_history.jsonl lists who contributed to each round"))
}

/// Whether enough members are left for a round.
fn check_quorum(plan: &Plan, left: &[&Name]) -> Result<(), Failure> {
    let sends = |name: &&&Name| {
        let group = plan.group_of(name);
        let mut tasks = plan.tasks.iter().filter(|task| group.is_some_and(|g| g.tasks.contains(&task.name)));
        tasks.any(|task| task.kind.sends_update())
    };
    let (have, need) = (left.iter().filter(sends).count(), plan.quorum.count_min as usize);
    if have >= need.max(1) {
        return Ok(());
    }
    let error = format!(
        "too few members would be left: {have} of them send updates, but a round needs {} (quorum.count.min)",
        need.max(1)
    );
    Err(Failure::new(Exit::Usage, error).hint(
        "approve other members first with `fl-host pki approve`; or end this run, and begin another one with a plan that needs fewer updates",
    ))
}

/// That the plan does not keep the round's model for good. A model that was released to the host is as good
/// as a kept one where the server's step has no state: no released model holds that state.
fn not_kept(plan: &Plan, round: RoundNo) -> Option<String> {
    let released = plan.release.is_some_and(|r| r.what == Released::Each && r.to == ReleaseTo::Host);
    if released && !keeps_state(plan) {
        return None;
    }
    let stateless = match released {
        true => ". The models in save/released do not help: they lack the state of the server's step",
        false => "",
    };
    match (plan.keep.filter(|keep| keep.keeps(round)), plan.keep) {
        (Some(keep), _) if keep.most.is_none() => None,
        (Some(_), _) => Some(format!(
            "the plan deletes old kept rounds: if round {round} is not in save/kept any more, the aggregator refuses this \
             roster{stateless}"
        )),
        (None, Some(keep)) => Some(format!(
            "the plan keeps round {}, not round {round}: if round {round} is not one of the last two, the aggregator refuses this \
             roster{stateless}",
            keep.at_or_before(round)
        )),
        (None, None) => Some(format!(
            "the plan has no key `keep`: if round {round} is not one of the last two, the aggregator refuses this roster{stateless}"
        )),
    }
}

/// Whether the plan's server step has a state. A layout that cannot be made has none: the run would not
/// begin.
fn keeps_state(plan: &Plan) -> bool {
    let server = plan.aggregation().and_then(|aggregation| aggregation.server);
    let state =
        server.zip(plan.layout().ok()).and_then(|(server, layout)| state_layout(server, &layout).ok()?);
    state.is_some()
}
