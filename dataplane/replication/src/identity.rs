//! What a replica remembers of itself, in a small file in its store's root (`replica.json`): its incarnation, and the highest
//! group state it saw.
//!
//! Invariant: the incarnation is kept only when nothing can have been lost since it was written: the last run ended cleanly, or the
//! machine (by its boot id) has not been down.

use serde::{Deserialize, Serialize};

use crate::{
    mutation::{Mutation, mutated},
    state::{Incarnation, Member, ReplicaName, Seen, StateError},
};

/// Name of the file in the store's root.
pub const REPLICA_FILE: &str = "replica.json";

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaFile {
    /// Hexadecimal, as in a member's text.
    incarnation: String,
    /// The machine's start in which it was written.
    boot_id: String,
    /// The store was closed cleanly, with everything on disk.
    clean: bool,
    /// Highest group state that was seen; none when the replica never was part of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
}

impl ReplicaFile {
    /// What a starting process has to write, durably, before it makes its `Replica`. `found`: the file of before; `fresh`: a
    /// random incarnation, not 0, taken when the old one cannot be kept.
    #[must_use]
    pub fn start(found: Option<Self>, boot_id: &str, fresh: Incarnation) -> Self {
        let fresh = format!("{:x}", fresh.0.max(1));
        let boot_id = boot_id.to_owned();
        match found {
            Some(old)
                if old.clean
                    || (!boot_id.is_empty() && old.boot_id == boot_id)
                    || mutated(Mutation::KeepsMembershipAfterLoss) =>
            {
                Self { boot_id, clean: false, ..old }
            }
            Some(old) => Self { incarnation: fresh, boot_id, clean: false, seen: old.seen },
            None => Self { incarnation: fresh, boot_id, clean: false, seen: None },
        }
    }

    /// The form for a higher state seen.
    #[must_use]
    pub fn with_seen(self, seen: Seen) -> Self {
        Self { seen: self.seen.max(Some(seen)), ..self }
    }

    /// The form for a store that was closed with everything on disk.
    #[must_use]
    pub fn closed(self) -> Self {
        Self { clean: true, ..self }
    }

    /// Who the replica is.
    ///
    /// # Errors
    /// The incarnation is not a number.
    pub fn identity(&self, name: ReplicaName) -> Result<Identity, StateError> {
        let incarnation = u64::from_str_radix(&self.incarnation, 16).ok().filter(|number| *number != 0);
        let incarnation =
            incarnation.ok_or(StateError::Invalid("the replica's incarnation is not a number"))?;
        Ok(Identity { member: Member::new(name, Incarnation(incarnation)), seen: self.seen })
    }

    /// The JSON form.
    ///
    /// # Errors
    /// None that can happen; the serializer's type has one.
    pub fn to_json(&self) -> Result<String, StateError> {
        Ok(serde_json::to_string(self)?)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// Too long or not such a file.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        if text.len() > crate::state::MAX_STATE_BYTES {
            return Err(StateError::TooLong { len: text.len() });
        }
        Ok(serde_json::from_str(text)?)
    }
}

/// Who a replica is, for the life of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name and incarnation.
    pub member: Member,
    /// Highest group state it saw; none when it never was part of a group.
    pub seen: Option<Seen>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Epoch;

    fn incarnation(file: &ReplicaFile) -> u64 {
        let name = ReplicaName::new("a").expect("name");
        file.identity(name).expect("identity").member.incarnation.0
    }

    #[test]
    fn an_incarnation_is_kept_only_when_nothing_was_lost() {
        let first = ReplicaFile::start(None, "boot-1", Incarnation(7));
        assert_eq!(incarnation(&first), 7);
        let killed = ReplicaFile::start(Some(first.clone()), "boot-1", Incarnation(8));
        assert_eq!(incarnation(&killed), 7, "the page cache lives as long as the machine");
        let crashed = ReplicaFile::start(Some(killed.clone()), "boot-2", Incarnation(9));
        assert_eq!(incarnation(&crashed), 9);
        let unknown =
            ReplicaFile::start(Some(ReplicaFile::start(None, "", Incarnation(7))), "", Incarnation(8));
        assert_eq!(incarnation(&unknown), 8, "no boot id proves nothing");
        let stopped = ReplicaFile::start(Some(killed.closed()), "boot-2", Incarnation(9));
        assert_eq!(incarnation(&stopped), 7);
        let crashed = ReplicaFile::start(Some(stopped), "boot-3", Incarnation(10));
        assert_eq!(incarnation(&crashed), 10, "the mark of a clean stop is good for one start");
    }

    #[test]
    fn the_highest_state_seen_only_grows_and_survives_a_renewal() {
        let seen = |epoch, revision| Seen { epoch: Epoch(epoch), revision };
        let file = ReplicaFile::start(None, "b", Incarnation(7)).with_seen(seen(3, 9)).with_seen(seen(2, 11));
        let json = file.to_json().expect("json");
        let read = ReplicaFile::from_json(&json).expect("valid");
        let renewed = ReplicaFile::start(Some(read), "c", Incarnation(8));
        let name = ReplicaName::new("a").expect("name");
        assert_eq!(renewed.identity(name).expect("identity").seen, Some(seen(3, 9)));
        assert!(ReplicaFile::from_json("[]").is_err());
    }
}
