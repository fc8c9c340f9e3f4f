//! The address that follows a role (a Kubernetes Service): who holds the role points it at itself, with its epoch, and only over a lower
//! one.

use crate::{
    mutation::{Mutation, mutated},
    state::Epoch,
};

/// What the holder of a role has to do about its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointing {
    /// It points here: nothing.
    Held,
    /// Write it, together with the epoch, on the version that was read.
    Write,
    /// A later holder has it: this one has lost the role.
    Lost,
}

/// `found`: the epoch written at the address; `here`: it points at the one who asks, who holds the role in epoch `ours`.
#[must_use]
pub fn point(found: Epoch, here: bool, ours: Epoch) -> Pointing {
    if found > ours && !mutated(Mutation::PointsWithoutEpoch) {
        Pointing::Lost
    } else if here && found == ours {
        Pointing::Held
    } else {
        Pointing::Write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_only_over_a_lower_epoch_or_by_its_holder() {
        assert_eq!(point(Epoch(3), false, Epoch(4)), Pointing::Write);
        assert_eq!(point(Epoch(3), true, Epoch(4)), Pointing::Write, "the epoch is part of it");
        assert_eq!(point(Epoch(4), true, Epoch(4)), Pointing::Held);
        assert_eq!(point(Epoch(4), false, Epoch(4)), Pointing::Write, "something else has changed it");
        assert_eq!(point(Epoch(5), true, Epoch(4)), Pointing::Lost);
    }
}
