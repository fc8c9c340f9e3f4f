//! The faults put in on purpose do what they say: the tests beside this one would notice them.

use bolide_store::mutations::{Mutation, set};

use super::truncation::{followed_by_a_record_of_another_place, grown_to_an_old_record};

#[test]
fn without_zeroing_old_records_come_back() {
    set(Some(Mutation::TruncateWithoutZeroing));
    let (wanted, found, _) = grown_to_an_old_record();
    set(None);
    assert!(found > wanted);
}

#[test]
fn without_a_look_at_its_place_a_record_is_taken_twice() {
    set(Some(Mutation::RecoverAnyPlace));
    let (wanted, found, _) = followed_by_a_record_of_another_place();
    set(None);
    assert!(found > wanted);
}
