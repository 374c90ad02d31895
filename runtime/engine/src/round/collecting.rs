//! The step before the first round of a plan with `standardise: federated`: the sites' sums come in.

use std::collections::BTreeMap;

use crate::{
    Millis, Name,
    statistics::{ColumnSums, Pool, SumsFault},
};

/// The sums that have come so far.
pub(super) struct Collecting {
    /// Its deadline counts from here.
    pub(super) since: Millis,
    pub(super) opened: Millis,
    /// Deadlines that have passed.
    pub(super) times: u32,
    pool: Pool,
    sites: BTreeMap<Name, Site>,
}

enum Site {
    /// The parts that have come.
    Asked(Vec<ColumnSums>),
    /// Its sums are in the pool.
    Counted,
    /// Its sums were refused.
    Refused,
    /// Its sums were refused for its columns alone: they may be the others' later.
    OtherColumns,
}

impl Collecting {
    pub(super) fn new(pool: Pool, now: Millis) -> Self {
        Self { since: now, opened: now, times: 0, pool, sites: BTreeMap::new() }
    }

    /// Whether the site has to be asked: a new link begins anew, and sums count once.
    pub(super) fn ask(&mut self, peer: &Name) -> bool {
        let counted = matches!(self.sites.get(peer), Some(Site::Counted));
        if !counted {
            self.sites.insert(peer.clone(), Site::Asked(Vec::new()));
        }
        !counted
    }

    /// Takes columns from `first` on. Returns whether the site's sums count now. A site that was not asked,
    /// or has answered, changes nothing.
    pub(super) fn take(
        &mut self,
        peer: &Name,
        first: u32,
        columns: Vec<ColumnSums>,
    ) -> Result<bool, SumsFault> {
        let Some(site) = self.sites.get_mut(peer) else { return Ok(false) };
        let Site::Asked(parts) = site else { return Ok(false) };
        if parts.is_empty() && first > 0 {
            // The rest of an answer whose beginning was refused, before the site was asked again.
            return Ok(false);
        }
        let (width, given) = (self.pool.width(), parts.len() + columns.len());
        let in_order = usize::try_from(first).is_ok_and(|first| first == parts.len());
        if !in_order || columns.is_empty() || given > width {
            *site = Site::Refused;
            return Err(SumsFault::Columns { given, expected: width });
        }
        parts.extend(columns);
        if given < width {
            return Ok(false);
        }
        let added = self.pool.add(parts);
        *site = if added.is_ok() { Site::Counted } else { Site::Refused };
        added.map(|()| true)
    }

    /// Nothing of this site counts: its columns are not those of the others.
    pub(super) fn refuse(&mut self, peer: &Name) -> Result<bool, SumsFault> {
        match self.sites.get_mut(peer) {
            Some(site @ Site::Asked(_)) => *site = Site::OtherColumns,
            _ => return Ok(false),
        }
        Err(SumsFault::OtherColumns)
    }

    /// Nothing counts any more: `pool` is an empty one, and the sites whose sums were in the last one are
    /// among those with [`Self::other_columns`].
    pub(super) fn drop_counted(&mut self, pool: Pool) {
        self.pool = pool;
        for site in self.sites.values_mut().filter(|site| matches!(site, Site::Counted)) {
            *site = Site::OtherColumns;
        }
    }

    /// Sites whose sums count, by name.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Name> {
        self.names(|site| matches!(site, Site::Counted))
    }

    /// Sites that were asked and have not answered, by name.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Name> {
        self.names(|site| matches!(site, Site::Asked(_)))
    }

    /// Sites whose sums were refused, by name.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Name> {
        self.names(|site| matches!(site, Site::Refused | Site::OtherColumns))
    }

    /// Those of them that were refused for their columns, by name.
    pub(super) fn other_columns(&self) -> impl Iterator<Item = &Name> {
        self.names(|site| matches!(site, Site::OtherColumns))
    }

    fn names(&self, of: impl Fn(&Site) -> bool) -> impl Iterator<Item = &Name> {
        self.sites.iter().filter(move |(_, site)| of(site)).map(|(peer, _)| peer)
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }
}
