//! The place that holds the group state, and the Service that follows the role: an API server that is away at times, answers
//! late or never, and reads from old caches.

use bolide_replication::{CasOutcome, Epoch, GroupState, Member, ReplicaName, Versioned};

use crate::random::Random;

/// Old states that a stale read may give.
const REMEMBERED: usize = 6;

/// The Service of the role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    pub(crate) epoch: Epoch,
    pub(crate) target: Option<ReplicaName>,
    pub(crate) version: u64,
}

pub(crate) struct ApiServer {
    object: Versioned,
    versions: u64,
    old: Vec<Versioned>,
    /// Highest epoch that was ever set.
    highest: Epoch,
    /// Size of `in_sync` in the newest state of each epoch.
    sizes: Vec<(Epoch, usize)>,
    /// What a careless human has replaced.
    replaced: Option<GroupState>,
    pub(crate) service: Service,
    /// Nobody reaches it.
    pub(crate) away: bool,
    /// These do not.
    pub(crate) cut_off: Vec<bool>,
}

impl ApiServer {
    pub(crate) fn new(first: ReplicaName, replicas: usize) -> Self {
        let object = Versioned { state: GroupState::new_group(first), version: "1".to_owned() };
        Self {
            object,
            versions: 1,
            old: Vec::new(),
            highest: Epoch(0),
            sizes: Vec::new(),
            replaced: None,
            service: Service::default(),
            away: false,
            cut_off: vec![false; replicas],
        }
    }

    pub(crate) fn reachable(&self, node: usize) -> bool {
        !self.away && !self.cut_off[node]
    }

    pub(crate) fn state(&self) -> &GroupState {
        &self.object.state
    }

    /// Members of `in_sync` in the newest state of an epoch.
    pub(crate) fn in_sync_in(&self, epoch: Epoch) -> usize {
        self.sizes.iter().rev().find(|(found, _)| *found == epoch).map_or(0, |(_, size)| *size)
    }

    pub(crate) fn load(&self, random: &mut Random, stale_per_mille: u64) -> Versioned {
        if !self.old.is_empty() && random.chance(stale_per_mille) {
            return self.old[random.index(self.old.len())].clone();
        }
        self.object.clone()
    }

    /// Sets the state if the version fits, and says which invariant that breaks.
    pub(crate) fn compare_and_set(
        &mut self,
        by: &Member,
        version: &str,
        new: GroupState,
    ) -> Result<CasOutcome, String> {
        if self.object.version != version {
            return Ok(CasOutcome::Conflict);
        }
        let old = self.object.state.clone();
        check_change(&old, &new, by, self.highest)?;
        self.highest = self.highest.max(new.epoch);
        self.sizes.push((new.epoch, new.in_sync.len()));
        self.put(new);
        Ok(CasOutcome::Set { version: self.object.version.clone() })
    }

    fn put(&mut self, state: GroupState) {
        self.versions += 1;
        let new = Versioned { state, version: self.versions.to_string() };
        self.old.push(std::mem::replace(&mut self.object, new));
        if self.old.len() > REMEMBERED {
            self.old.remove(0);
        }
    }

    /// Somebody deletes the state, and makes that of a new group.
    pub(crate) fn recreate(&mut self, first: ReplicaName) {
        if self.replaced.is_none() {
            self.replaced = Some(self.object.state.clone());
            self.put(GroupState::new_group(first));
        }
    }

    /// A human puts back what was deleted.
    pub(crate) fn restore(&mut self) {
        if let Some(mut state) = self.replaced.take() {
            state.revision += 1;
            self.put(state);
        }
    }
}

/// I2, I3 and I7, as far as one change of the state shows them.
fn check_change(old: &GroupState, new: &GroupState, by: &Member, highest: Epoch) -> Result<(), String> {
    new.validate().map_err(|error| format!("{by} sets a state that is not valid: {error}"))?;
    if new.epoch < highest {
        return Err(format!("I7: {by} sets epoch {} though {highest} has existed", new.epoch));
    }
    if new.revision != old.revision + 1 {
        return Err(format!("{by} sets revision {} after {}", new.revision, old.revision));
    }
    if new.epoch == old.epoch {
        if old.master.as_ref() != Some(by) || new.master != old.master {
            return Err(format!("I2: {by} changes in_sync, and is not the master of {old:?}"));
        }
        return Ok(());
    }
    if new.epoch != old.epoch.next() || new.master.as_ref() != Some(by) {
        return Err(format!("I3: {by} sets {new:?} after {old:?}"));
    }
    if old.member(&by.name).is_none() {
        return Err(format!("I3: {by} was not in sync in {old:?}"));
    }
    let kept = old.master.as_ref().filter(|master| master.name != by.name && new.has(master));
    if let Some(kept) = kept {
        return Err(format!("I3: {by} keeps the old master {kept} in sync"));
    }
    let others = new.in_sync.iter().filter(|member| *member != by);
    for member in others {
        if !old.in_sync.contains(member) {
            return Err(format!("I3: {by} adds {member} in a claim"));
        }
    }
    if !old.has(by) && new.in_sync.len() > 1 {
        return Err(format!("I3: {by} lost what made it a member, and keeps others in sync"));
    }
    Ok(())
}
