//! From the kinds to what the difference of `bolide_client::desired` works on: the one place where a Topic or a ConsumerGroup becomes
//! broker settings, for the operator and for `bolide up` alike. Pure.

#![forbid(unsafe_code)]

mod group;
mod topic;

pub use group::wanted_group;
pub use topic::{order_configuration, wanted_topic};

/// The schema keeps these numbers far below the limit.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
