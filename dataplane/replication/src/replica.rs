//! The state machine of one replica.

use std::time::Duration;

use crate::{
    config::Config,
    event::{Effect, Event},
    history::LogView,
    identity::Identity,
    status::{RoleName, Status},
};

/// One replica of a group. Owned by one task or thread; never blocks.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    identity: Identity,
    log: LogView,
    wake_at: Duration,
}

impl Replica {
    /// A replica that has just started: its store is open and follows, `log` is what recovery found. The first effects come with the
    /// first event, which should be `Event::Tick` at once.
    #[must_use]
    pub fn new(config: Config, identity: Identity, log: LogView, now: Duration) -> Self {
        Self { config, identity, log, wake_at: now }
    }

    /// Takes one event and adds what is to be done. `now` is the monotonic clock; it never goes back.
    pub fn handle(&mut self, now: Duration, event: Event, effects: &mut Vec<Effect>) {
        if matches!(event, Event::Tick) {
            effects.push(Effect::LoadState);
        }
        self.wake_at = now.saturating_add(self.config.timing.heartbeat);
    }

    /// When the next `Event::Tick` is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Duration {
        self.wake_at
    }

    /// How it looks from outside.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            member: self.identity.member.clone(),
            role: RoleName::Waiting,
            master: None,
            epoch: self.identity.seen.unwrap_or_default().epoch,
            in_sync: Vec::new(),
            confirmed: 0,
            end: self.log.end.0,
            peers: Vec::new(),
            reasons: Vec::new(),
        }
    }
}
