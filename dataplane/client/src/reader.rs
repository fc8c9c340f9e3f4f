//! Reads all queues of a topic at once, one task a queue, into one bounded channel.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::ClientError;
use crate::message::Received;
use crate::pull::{PullStatus, Puller, StartAt, matches};
use crate::route::Queue;

/// Messages read ahead of the user.
const AHEAD: usize = 256;
/// Messages asked for in each pull.
const BATCH: u16 = 32;
/// How long a broker may hold a pull at the end of a queue.
const HOLD: Duration = Duration::from_secs(15);
/// Pause after a failure while following.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Messages of a topic; within a queue in order, between queues as they come.
#[derive(Debug)]
pub struct Reader {
    messages: mpsc::Receiver<Result<Received, ClientError>>,
    /// Ends the tasks when the reader is dropped.
    _stop: DropGuard,
}

impl Reader {
    pub(crate) async fn open(
        puller: &Puller,
        topic: &str,
        tags: &str,
        start: StartAt,
        follow: bool,
    ) -> Result<Self, ClientError> {
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (sender, messages) = mpsc::channel(AHEAD);
        for queue in puller.queues(topic).await? {
            let from = puller.start_offset(&queue, start).await?;
            let until = if follow {
                i64::MAX
            } else {
                puller.admin().max_offset(&queue.address, &queue.topic, queue.id).await?
            };
            let task =
                Task { puller: puller.clone(), queue, tags: tags.to_owned(), until, sender: sender.clone() };
            let stop = stop.clone();
            tracker.spawn(async move {
                tokio::select! {
                    () = task.run(from) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        tracker.close();
        Ok(Self { messages, _stop: stop.drop_guard() })
    }

    /// The next message; `None` when every queue has been read to its end.
    ///
    /// # Errors
    /// A broker does not answer, or refuses. While following, brokers that do not answer are tried again instead.
    pub async fn next(&mut self) -> Result<Option<Received>, ClientError> {
        self.messages.recv().await.transpose()
    }
}

struct Task {
    puller: Puller,
    queue: Queue,
    tags: String,
    until: i64,
    sender: mpsc::Sender<Result<Received, ClientError>>,
}

impl Task {
    async fn run(self, mut offset: i64) {
        let follow = self.until == i64::MAX;
        while offset < self.until {
            let pulled =
                self.puller.pull(&self.queue, offset, BATCH, follow.then_some(HOLD), &self.tags).await;
            let outcome = match pulled {
                Ok(pulled) => {
                    let found = pulled.status == PullStatus::Found;
                    let messages = if found { pulled.messages(&self.queue.broker) } else { Ok(Vec::new()) };
                    if pulled.status == PullStatus::NotFound && !follow {
                        return;
                    }
                    offset = pulled.next;
                    messages
                }
                Err(error) if follow && error.is_retryable() => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(messages) => {
                    for message in messages.into_iter().filter(|message| matches(&self.tags, message)) {
                        if message.offset < self.until && self.sender.send(Ok(message)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    // the user is told; one that is gone needs no telling
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            }
        }
    }
}
