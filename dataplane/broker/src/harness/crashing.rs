//! A whole broker on a disk that can go down, as its clients see it.

use std::collections::BTreeMap;

use bolide_store::Clock;
use bolide_store::disk::FaultyDisk;
use bolide_wire::ids::{QueueId, QueueOffset};
use bolide_wire::message::records;

use super::*;
use crate::config::FlushDiskType;

pub(crate) struct Lab {
    pub(crate) broker: Arc<Broker>,
    serving: Serving,
    pub(crate) client: Client,
    pub(crate) address: String,
}

/// A broker on a disk in memory, with files of the log of this size.
pub(crate) fn config(flush: FlushDiskType, log_file_bytes: u64) -> BrokerConfig {
    BrokerConfig {
        bind_address: [127, 0, 0, 1].into(),
        broker_ip1: Some([127, 0, 0, 1].into()),
        listen_port: 0,
        fast_listen_port: Some(0),
        store_path_root_dir: "/store".into(),
        mapped_file_size_commit_log: log_file_bytes,
        max_message_size: 10_000,
        flush_disk_type: flush,
        ..BrokerConfig::default()
    }
}

impl Lab {
    pub(crate) async fn up(disk: &FaultyDisk, config: &BrokerConfig, clock: Arc<dyn Clock>) -> Lab {
        let registry = Registry::new();
        let broker = start(config.clone(), Arc::new(disk.clone()), clock, &registry).await.unwrap();
        let serving = Serving::begin(&broker, &registry).await.unwrap();
        let address = serving.address().to_string();
        Lab { broker, serving, client: Client::new(ClientConfig::default()), address }
    }

    pub(crate) async fn down(self) {
        self.client.close(Duration::ZERO).await;
        self.serving.end(&self.broker).await;
        // On a disk that is gone nothing can be saved.
        let _ = stop(&self.broker).await;
    }

    /// How often each body is in queue 0 of a topic.
    pub(crate) fn stored(&self, topic: &str) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let Some(queue) = self.broker.store.queue(topic, QueueId(0)) else { return found };
        let mut next = QueueOffset(0);
        while next < queue.max() {
            let limits = bolide_store::ReadLimits::default();
            let read = self.broker.store.read(&queue, next, &limits, &mut |_| true).unwrap();
            for record in read.slices.iter().flat_map(|slice| records(slice)) {
                let body = String::from_utf8(record.unwrap().body().to_vec()).unwrap();
                *found.entry(body).or_insert(0) += 1;
            }
            assert!(read.next > next, "{:?}", read.status);
            next = read.next;
        }
        found
    }
}
