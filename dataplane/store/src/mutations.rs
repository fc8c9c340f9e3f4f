//! Faults put in on purpose, so that the simulator can show that it would notice them. Only with the feature `mutations`;
//! without it [`is_on`] is the constant false.
//!
//! A fault is set for the thread that drives the steps.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Truncation leaves the bytes after the new end as they are.
    TruncateWithoutZeroing,
    /// Recovery takes a record wherever it lies.
    RecoverAnyPlace,
}

#[cfg(feature = "mutations")]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts one fault into all stores that this thread drives, or takes it out.
#[cfg(feature = "mutations")]
pub fn set(mutation: Option<Mutation>) {
    ON.set(mutation);
}

#[cfg(feature = "mutations")]
pub(crate) fn is_on(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

#[cfg(not(feature = "mutations"))]
pub(crate) const fn is_on(_mutation: Mutation) -> bool {
    false
}
