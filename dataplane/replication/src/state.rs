//! Group state: who is master of a group and who may become it. One small value in a place that can compare and set: a
//! Lease in Kubernetes, a file in `bolide up`, memory in the simulator.
//!
//! Invariants of a valid state: `in_sync` has at least one member and no name twice; `master`, where there is one, is a
//! member of it; `successor` is a member of it and not the master. Each write raises `revision` by one, and a new master raises
//! `epoch` by one, so an answer from a stale cache is recognized.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Longest name of a replica, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Most replicas of one group.
pub const MAX_REPLICAS: usize = 16;
/// Longest JSON form of a group state that is read, in bytes.
pub const MAX_STATE_BYTES: usize = 16 * 1024;

/// Why a group state, or a part of it, is not one.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not a name: empty, too long, or with other characters than letters, digits, `.`, `_` and `-`.
    #[error("'{name}' is not a replica's name")]
    Name {
        /// The text as given, its beginning.
        name: String,
    },
    /// Not `name@incarnation` with a hexadecimal incarnation.
    #[error("'{text}' is not a member (name@incarnation)")]
    Member {
        /// The text as given, its beginning.
        text: String,
    },
    /// Longer than [`MAX_STATE_BYTES`].
    #[error("the group state has {len} bytes, more than it can have")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// Not the JSON of a group state.
    #[error("the group state cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Breaks an invariant of the type.
    #[error("the group state is not valid: {0}")]
    Invalid(&'static str),
}

fn beginning(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES).collect()
}

/// Name of a replica, unique in its group; in Kubernetes the pod's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaName(Arc<str>);

impl ReplicaName {
    /// A checked name: 1 to [`MAX_NAME_BYTES`] letters, digits, `.`, `_`, `-`.
    ///
    /// # Errors
    /// [`StateError::Name`].
    pub fn new(name: &str) -> Result<Self, StateError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(StateError::Name { name: beginning(name) });
        }
        Ok(Self(Arc::from(name)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReplicaName {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::new(text)
    }
}

/// What a replica's volume has kept without a gap since: changes whenever bytes may have been lost. 0 stands for the
/// replica that a new group begins with, or that a human has chosen, whatever its incarnation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Any incarnation of that name.
    pub const ANY: Self = Self(0);
}

/// A replica with the proof that it lost nothing since it became a member. Its text is `name@incarnation`, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Its name.
    pub name: ReplicaName,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl Member {
    /// A member of these parts.
    #[must_use]
    pub fn new(name: ReplicaName, incarnation: Incarnation) -> Self {
        Self { name, incarnation }
    }

    /// True when `other` is this member, or this one stands for any incarnation of that name.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.incarnation == other.incarnation || self.incarnation == Incarnation::ANY)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:x}", self.name, self.incarnation.0)
    }
}

impl FromStr for Member {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        let wrong = || StateError::Member { text: beginning(text) };
        let (name, incarnation) = text.rsplit_once('@').ok_or_else(wrong)?;
        let plain = incarnation.bytes().all(|byte| byte.is_ascii_hexdigit());
        let incarnation = u64::from_str_radix(incarnation, 16).ok().filter(|_| plain).ok_or_else(wrong)?;
        Ok(Self::new(ReplicaName::new(name)?, Incarnation(incarnation)))
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}
as_text!(ReplicaName);
as_text!(Member);

/// Grows by one at each change of master and at each start of a master process. 0: no replica was master yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which group state was seen; ordered, newest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its revision.
    pub revision: u64,
}

/// Who is master of a group and who may become it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// The newest claim.
    pub epoch: Epoch,
    /// Grows by one with every write.
    pub revision: u64,
    /// Who made that claim; none in a new group, or when a human has forced one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<Member>,
    /// Every member whose log holds all that was acknowledged.
    pub in_sync: Vec<Member>,
    /// The member that the master hands over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Member>,
}

impl GroupState {
    /// The state of a new group: `first` begins it, with whatever its store holds.
    #[must_use]
    pub fn new_group(first: ReplicaName) -> Self {
        Self {
            epoch: Epoch(0),
            revision: 1,
            master: None,
            in_sync: vec![Member::new(first, Incarnation::ANY)],
            successor: None,
        }
    }

    /// What a human writes to make `name` master whatever it has lost. `above`: the highest state that any replica is known
    /// to have seen (the default where none is known).
    #[must_use]
    pub fn forced(name: ReplicaName, above: Seen) -> Self {
        Self {
            epoch: above.epoch.next(),
            revision: above.revision.saturating_add(1),
            ..Self::new_group(name)
        }
    }

    /// Which state this is.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, revision: self.revision }
    }

    /// The member of that name in `in_sync`.
    #[must_use]
    pub fn member(&self, name: &ReplicaName) -> Option<&Member> {
        self.in_sync.iter().find(|member| member.name == *name)
    }

    /// True when this very member, without a loss since, is in `in_sync`.
    #[must_use]
    pub fn has(&self, member: &Member) -> bool {
        self.in_sync.iter().any(|found| found.covers(member))
    }

    /// Checks the invariants of the type.
    ///
    /// # Errors
    /// [`StateError::Invalid`].
    pub fn validate(&self) -> Result<(), StateError> {
        let wrong = |what| Err(StateError::Invalid(what));
        if self.in_sync.is_empty() {
            return wrong("nobody is in sync");
        }
        if self.in_sync.len() > MAX_REPLICAS {
            return wrong("more members than a group can have");
        }
        let twice = |(at, member): (usize, &Member)| {
            self.in_sync.iter().take(at).any(|before| before.name == member.name)
        };
        if self.in_sync.iter().enumerate().any(twice) {
            return wrong("a name is in sync twice");
        }
        if self.master.as_ref().is_some_and(|master| !self.in_sync.contains(master)) {
            return wrong("the master is not in sync");
        }
        if self.successor.as_ref().is_some_and(|next| !self.in_sync.contains(next)) {
            return wrong("the successor is not in sync");
        }
        if self.successor.is_some() && self.successor == self.master {
            return wrong("the successor is the master");
        }
        Ok(())
    }

    /// The JSON form.
    ///
    /// # Errors
    /// None for a state that can exist; the serializer's type has one.
    pub fn to_json(&self) -> Result<String, StateError> {
        Ok(serde_json::to_string(self)?)
    }

    /// Reads and validates the JSON form. Unknown fields are skipped.
    ///
    /// # Errors
    /// Too long, not JSON, not a group state, or not a valid one.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        if text.len() > MAX_STATE_BYTES {
            return Err(StateError::TooLong { len: text.len() });
        }
        let state: Self = serde_json::from_str(text)?;
        state.validate()?;
        Ok(state)
    }
}

/// A group state with what the place that holds it calls this version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The state.
    pub state: GroupState,
    /// Opaque: what a compare-and-set has to name.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(text: &str) -> Member {
        text.parse().expect("a member")
    }

    fn sample() -> GroupState {
        GroupState {
            epoch: Epoch(3),
            revision: 9,
            master: Some(member("a-0@1f")),
            in_sync: vec![member("a-0@1f"), member("a-1@ffffffffffffffff")],
            successor: Some(member("a-1@ffffffffffffffff")),
        }
    }

    #[test]
    fn a_state_comes_back_from_its_json() {
        let json = sample().to_json().expect("json");
        assert_eq!(
            json,
            r#"{"epoch":3,"revision":9,"master":"a-0@1f","inSync":["a-0@1f","a-1@ffffffffffffffff"],"successor":"a-1@ffffffffffffffff"}"#
        );
        assert_eq!(GroupState::from_json(&json).expect("valid"), sample());
        let new = GroupState::new_group(ReplicaName::new("a-0").expect("name"));
        assert_eq!(GroupState::from_json(&new.to_json().expect("json")).expect("valid"), new);
    }

    #[test]
    fn a_state_that_breaks_an_invariant_is_refused() {
        let broken = |change: &dyn Fn(&mut GroupState)| {
            let mut state = sample();
            change(&mut state);
            let json = state.to_json().expect("json");
            assert!(matches!(GroupState::from_json(&json), Err(StateError::Invalid(_))), "{json}");
        };
        broken(&|state| state.in_sync.clear());
        broken(&|state| state.in_sync.push(member("a-0@77")));
        broken(&|state| state.master = Some(member("a-0@20")));
        broken(&|state| state.successor = Some(member("a-2@1")));
        broken(&|state| state.successor = Some(member("a-0@1f")));
        broken(&|state| state.in_sync = (0..17).map(|at| member(&format!("r{at}@1"))).collect());
        assert!(GroupState::from_json("{}").is_err());
        assert!(GroupState::from_json(&" ".repeat(MAX_STATE_BYTES + 1)).is_err());
    }

    #[test]
    fn a_name_and_a_member_are_checked() {
        for wrong in ["", "a b", "a@1", "ä", &"x".repeat(129)] {
            assert!(ReplicaName::new(wrong).is_err(), "{wrong}");
        }
        for wrong in ["a", "a@", "a@+1", "a@g", "@1", "a@10000000000000000"] {
            assert!(wrong.parse::<Member>().is_err(), "{wrong}");
        }
        assert!(member("a@0").covers(&member("a@5")));
        assert!(!member("a@5").covers(&member("a@0")));
        assert!(!member("a@0").covers(&member("b@0")));
    }
}
