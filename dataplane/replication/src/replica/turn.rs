//! One call of `Replica::handle`: the time, what is to be done, and when to look again.

use std::time::Duration;

use crate::event::{Effect, LinkId};
use crate::message::Message;

pub(super) struct Turn<'a> {
    pub(super) now: Duration,
    wake_at: Duration,
    effects: &'a mut Vec<Effect>,
}

impl<'a> Turn<'a> {
    /// `latest`: when to look again if nobody asks for an earlier time.
    pub(super) fn new(now: Duration, latest: Duration, effects: &'a mut Vec<Effect>) -> Self {
        Self { now, wake_at: latest, effects }
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.push(Effect::Send { link, message });
    }

    /// True when that time has come; otherwise asks to be called then.
    pub(super) fn due(&mut self, at: Duration) -> bool {
        if at > self.now {
            self.wake_at = self.wake_at.min(at);
        }
        at <= self.now
    }

    pub(super) fn wake_at(&self) -> Duration {
        self.wake_at
    }
}
