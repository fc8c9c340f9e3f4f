//! What must hold at every moment, and at the end.

use std::time::Duration;

use bolide_replication::Role;
use bolide_store::Flush;
use bolide_wire::LogOffset;

use crate::{
    clients::{QUEUES, message_at},
    world::World,
};

/// Time in which a mended group must be whole again.
const CONVERGENCE: Duration = Duration::from_secs(60);

impl World {
    /// I1, I5: what a client is told or shown is held by every member of the group state as it is, not as somebody believes it
    /// to be.
    pub(crate) fn check_held(&mut self, by: usize, id: u64, at: LogOffset, how: &str) {
        let state = self.api.state().clone();
        for member in &state.in_sync {
            let Some(node) = self.index_of(&member.name) else { continue };
            let Some(process) = &self.nodes[node].process else { continue };
            if !member.covers(&process.member) {
                continue;
            }
            let found = message_at(process, at);
            let flushed = process.store.watermarks().flushed;
            match found {
                Some((held, end)) if held == id => {
                    if self.plan.flush == Flush::Sync && flushed.0 < end && how == "acknowledged" {
                        let text =
                            format!("I1: r{by} {how} {id} at {at}, not flushed by {member} ({flushed})");
                        self.history.fail(text);
                    }
                }
                found => {
                    let text = format!(
                        "I1/I5: message {id} at {at} is {how} by r{by}, and {member} holds {found:?} there"
                    );
                    self.history.fail(text);
                }
            }
        }
    }

    /// I6: acknowledged only with enough members.
    pub(crate) fn check_enough(&mut self, by: usize, id: u64) {
        let Some(process) = &self.nodes[by].process else { return };
        let Role::Master { epoch, .. } = process.role else { return };
        let members = self.api.in_sync_in(epoch);
        if members < self.plan.min_in_sync {
            let text = format!("I6: r{by} acknowledged {id} with {members} members in sync in epoch {epoch}");
            self.history.fail(text);
        }
    }

    /// Everything works again: waits until the group is whole.
    pub(crate) fn converge(&mut self) {
        self.mend();
        let deadline = self.now + CONVERGENCE;
        while self.now < deadline && self.history.failure().is_none() {
            let next = self.now + Duration::from_millis(100);
            self.run_to(next);
            if self.is_whole() {
                return;
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].process.is_none() {
                    self.start(node);
                }
            }
        }
        if self.history.failure().is_none() {
            let statuses: Vec<_> = self
                .nodes
                .iter()
                .map(|node| {
                    node.process
                        .as_ref()
                        .map(|process| (process.replica.status(), process.store.watermarks()))
                })
                .collect();
            self.history.fail(format!("the group does not get well: {:?}; {statuses:?}", self.api.state()));
        }
    }

    fn is_whole(&self) -> bool {
        let state = self.api.state();
        let mut ends = Vec::new();
        let mut masters = 0;
        for node in &self.nodes {
            let Some(process) = &node.process else { return false };
            let marks = process.store.watermarks();
            ends.push((marks.appended, marks.dispatched));
            let serves = matches!(process.role, Role::Master { serving: true, acknowledging: true, .. });
            masters += usize::from(serves);
            let pointed = self.api.service.target.as_ref() == Some(&node.name);
            if !state.in_sync.contains(&process.member) || (serves && !pointed) {
                return false;
            }
        }
        masters == 1
            && ends.iter().all(|(appended, dispatched)| (*appended, *appended) == (ends[0].0, *dispatched))
    }

    /// At the end: what was acknowledged or shown is there, on every replica, and all of them hold the same.
    pub(crate) fn check_end(&mut self) {
        for node in 0..self.nodes.len() {
            for queue in 0..QUEUES {
                let mut next = 0;
                loop {
                    let after = self.read(node, queue, next);
                    if after == next || self.history.failure().is_some() {
                        break;
                    }
                    next = after;
                }
                let missing = self.history.places.range((queue, next)..(queue + 1, 0)).next();
                if let Some(((_, offset), (id, at))) = missing {
                    let process = self.nodes[node].process.as_ref();
                    let holds = process.and_then(|process| message_at(process, *at));
                    let marks = process.map(|process| process.store.watermarks());
                    let text = format!(
                        "lost: message {id} was at offset {offset} of queue {queue} (log {at}); r{node} ends at {next}, \
                         holds {holds:?} there, {marks:?}"
                    );
                    self.history.fail(text);
                }
            }
        }
        self.check_logs();
        self.check_offsets();
        if self.plan.sync {
            let lost = self.history.acked.iter().find(|(id, acked)| {
                self.history.places.get(&(acked.queue, acked.offset.0)) != Some(&(**id, acked.at))
            });
            if let Some((id, acked)) = lost {
                let text = format!("lost: message {id} was acknowledged at {acked:?}");
                self.history.fail(text);
            }
        }
    }

    fn check_logs(&mut self) {
        let log = |node: &crate::node::Node| {
            let process = node.process.as_ref()?;
            let (mut bytes, mut at) = (Vec::new(), process.store.watermarks().min);
            loop {
                let part = process.store.log_slice(at, 1 << 20).ok()?;
                if part.is_empty() {
                    return Some((bytes, process.store.epochs(), process.projection.offsets()));
                }
                at = LogOffset(at.0 + part.len() as u64);
                bytes.extend_from_slice(&part);
            }
        };
        let logs: Vec<_> = self.nodes.iter().map(log).collect();
        for (node, found) in logs.iter().enumerate() {
            let (Some(found), Some(first)) = (found, &logs[0]) else {
                self.history.fail(format!("the log of r{node} or r0 cannot be read"));
                return;
            };
            if let Some(at) = found.0.iter().zip(&first.0).position(|(a, b)| a != b) {
                let end = (at + 8).min(found.0.len()).min(first.0.len());
                let (a, b) = (&found.0[at..end], &first.0[at..end]);
                self.history.fail(format!("r{node} and r0 do not hold the same at {at}: {a:?}, {b:?}"));
            } else if found != first {
                let what =
                    |log: &(Vec<u8>, Vec<_>, _)| format!("{} bytes, {:?}, {:?}", log.0.len(), log.1, log.2);
                self.history.fail(format!(
                    "r{node} and r0 are not the same: {}; {}",
                    what(found),
                    what(first)
                ));
            }
        }
    }

    /// A committed offset never lies beyond what its consumer has read.
    fn check_offsets(&mut self) {
        let Some(process) = &self.nodes[0].process else { return };
        for (key, offset) in process.projection.offsets() {
            let read = self.history.read.get(&key).copied().unwrap_or(0);
            if offset > read {
                self.history.fail(format!("consumer and queue {key:?}: committed {offset}, read {read}"));
            }
        }
    }
}
