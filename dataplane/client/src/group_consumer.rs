//! A simple member of a consumer group, for the command line and tests: it shares the queues with all other members, reads its part,
//! and commits what the user has finished.
//!
//! Invariants: an offset is committed only up to the last message passed to [`GroupConsumer::done`]; a queue that moved to another
//! member gives no further messages here.

mod member;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::member::Member;
use crate::ClientError;
use crate::message::Received;
use crate::pull::StartAt;

/// Messages read ahead of the user.
const AHEAD: usize = 256;

/// Settings of a [`GroupConsumer`].
#[derive(Clone, Debug)]
pub struct GroupConsumerConfig {
    /// Name of the group.
    pub group: String,
    /// Topic to read.
    pub topic: String,
    /// `*`, or tags separated by `||`; the same for all members.
    pub tags: String,
    /// Where the group begins in queues that it has not read before.
    pub start: StartAt,
    /// Limit of each request.
    pub timeout: Duration,
}

/// A queue as the group knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueKey {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
}

/// What is read and finished of the queues that are ours.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    queues: Mutex<HashMap<QueueKey, Position>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// The next offset to consume.
    pub(crate) next: i64,
    /// What the broker knows.
    pub(crate) committed: Option<i64>,
}

impl Progress {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut HashMap<QueueKey, Position>) -> T) -> T {
        act(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A member of a group. Leave it with [`GroupConsumer::leave`]; dropping it leaves without a last commit.
#[derive(Debug)]
pub struct GroupConsumer {
    messages: mpsc::Receiver<Received>,
    progress: Arc<Progress>,
    member: Arc<Member>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl GroupConsumer {
    /// Joins the group: connects to every broker of the topic and takes a share of its queues.
    ///
    /// # Errors
    /// The topic does not exist, or a broker does not answer or refuses.
    pub async fn join(namesrv: &str, config: GroupConsumerConfig) -> Result<Self, ClientError> {
        let (sender, messages) = mpsc::channel(AHEAD);
        let progress = Arc::new(Progress::default());
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let member = Arc::new(Member::new(namesrv, config, progress.clone(), sender)?);
        member.join().await?;
        tracker.spawn(member.clone().keep_up(tracker.clone(), stop.clone()));
        Ok(Self { messages, progress, member, stop, tracker })
    }

    /// The next message of one of our queues; `None` after [`GroupConsumer::leave`].
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            let message = self.messages.recv().await?;
            let ours = self
                .progress
                .with(|queues| queues.get(&key(&message)).is_some_and(|at| message.offset >= at.next));
            if ours {
                return Some(message);
            }
        }
    }

    /// The user has finished this message and all before it in its queue. Committed within 5 s, and by [`GroupConsumer::leave`].
    pub fn done(&self, message: &Received) {
        self.progress.with(|queues| {
            if let Some(at) = queues.get_mut(&key(message)) {
                at.next = at.next.max(message.offset.saturating_add(1));
            }
        });
    }

    /// Commits, and leaves the group, so that the other members take over at once.
    ///
    /// # Errors
    /// A broker does not answer, or refuses the last commit.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        self.stop.cancel();
        self.messages.close();
        self.tracker.close();
        self.tracker.wait().await;
        let committed = self.member.commit().await;
        self.member.leave().await;
        committed
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn key(message: &Received) -> QueueKey {
    QueueKey { topic: message.queue_topic.clone(), broker: message.broker.clone(), queue: message.queue }
}
