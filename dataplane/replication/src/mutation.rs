//! Deliberate mistakes, one for each rule whose breach loses messages, so that the simulator can show that it would notice.
//! Without the feature `mutations` there is no way to
//! switch one on.

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A new member of `in_sync` is waited for only after its compare-and-set.
    GrowthBindsLate,
    /// A restarted replica keeps its incarnation after losing unsynced bytes.
    KeepsMembershipAfterLoss,
    /// A follower's position counts from its hello on, before it has truncated.
    CountsBeforeTruncation,
    /// A claim leaves the old master in `in_sync`.
    KeepsOldMaster,
    /// The Service of the role is written over any epoch.
    PointsWithoutEpoch,
    /// `minInSync` is not looked at when the confirm offset advances.
    MinInSyncAtAdmission,
    /// A follower takes all it has written as confirmed.
    SnapshotBeyondConfirm,
    /// The epoch table lies beside the log, and is not cut with it.
    EpochTableBesideLog,
    /// A group state older than what was seen is believed.
    BelievesRecreatedState,
}

#[cfg(feature = "mutations")]
mod switch {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Breaks a rule for everything that runs on this thread.
    pub fn set_mutation(mutation: Option<Mutation>) {
        ACTIVE.set(mutation);
    }

    pub(crate) fn mutated(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub(crate) use switch::mutated;
#[cfg(feature = "mutations")]
pub use switch::set_mutation;

#[cfg(not(feature = "mutations"))]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}
