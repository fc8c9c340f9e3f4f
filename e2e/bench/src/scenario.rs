//! The features that are measured beside the plain loads: one file and one line of [`ALL`] each.
//!
//! A scenario starts its brokers itself, runs the same work on each system, and adds rows and figures to the report. Its goals
//! are computed from that report alone.

use crate::compare::Plan;
use crate::report::{Goal, Report};
use crate::systems::System;
use crate::{filter, pop, replication, timers, transactions};

/// One feature under load.
pub(crate) struct Scenario {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// Measures one system.
    pub(crate) run: fn(&Plan, &System, &mut Report) -> anyhow::Result<()>,
    /// The goals whose figures are in the report.
    pub(crate) goals: fn(&Report) -> Vec<Goal>,
}

/// Every scenario, in order of running.
pub(crate) const ALL: &[Scenario] =
    &[replication::SCENARIO, filter::SCENARIO, timers::SCENARIO, transactions::SCENARIO, pop::SCENARIO];

/// The name under which the plain sends, pulls and restarts are chosen.
pub(crate) const LOADS: &str = "loads";

/// Whether `name` is a scenario or [`LOADS`].
pub(crate) fn exists(name: &str) -> bool {
    name == LOADS || ALL.iter().any(|scenario| scenario.name == name)
}

/// What people may choose from, for an error message.
pub(crate) fn names() -> String {
    let mut names = vec![LOADS];
    names.extend(ALL.iter().map(|scenario| scenario.name));
    names.join(", ")
}
