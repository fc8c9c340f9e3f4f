//! Owns the JSON files of a snapshot: Apache RocketMQ's form of what it has too, and our own of the rest.

use std::collections::BTreeMap;
use std::path::Path;

use bolide_wire::body::assignment::MessageRequestModeTable;
use bolide_wire::body::group::SubscriptionGroupTable;
use bolide_wire::body::offset::{ConsumerOffsetTable, DelayOffsetTable};
use bolide_wire::body::topic::{DataVersion, TopicConfigTable};
use bolide_wire::json::{self, IntegerKeys};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Snapshot, SnapshotError};
use crate::state::grants::Grant;
use crate::state::pops::change::QueueChange;

const TOPICS: &str = "topics.json";
const GROUPS: &str = "subscriptionGroup.json";
const OFFSETS: &str = "consumerOffset.json";
const DELAYS: &str = "delayOffset.json";
const TRANSACTIONS: &str = "bolideTransactions.json";
const MODES: &str = "messageRequestMode.json";
const POPS: &str = "bolidePops.json";
const LOCKS: &str = "bolideLocks.json";

/// Names of the files.
pub(super) const NAMES: &[&str] = &[TOPICS, GROUPS, OFFSETS, DELAYS, TRANSACTIONS, MODES, POPS, LOCKS];

/// Pop consumption on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PopFile {
    queues: Vec<QueueChange>,
}

/// Owners of queues on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LockFile {
    grants: Vec<Grant>,
}

/// The files of a snapshot.
pub(super) fn encode(
    folder: &Path,
    snapshot: &Snapshot,
) -> Result<Vec<(&'static str, Vec<u8>)>, SnapshotError> {
    let topics = TopicConfigTable {
        data_version: Some(snapshot.topics_version),
        topic_config_table: snapshot
            .topics
            .iter()
            .map(|topic| (topic.topic_name.clone(), topic.clone()))
            .collect(),
        ..TopicConfigTable::default()
    };
    let groups = SubscriptionGroupTable {
        data_version: Some(snapshot.groups_version),
        forbidden_table: snapshot.forbidden.clone(),
        subscription_group_table: snapshot.groups.iter().map(|g| (g.group_name.clone(), g.clone())).collect(),
    };
    let offsets = ConsumerOffsetTable {
        data_version: Some(DataVersion::default()),
        offset_table: snapshot.offsets.clone(),
    };
    let delays = snapshot
        .delays
        .iter()
        .filter_map(|(level, next)| Some((i32::try_from(*level).ok()?, *next)))
        .collect();
    let delays = DelayOffsetTable { data_version: Some(DataVersion::default()), offset_table: delays };
    Ok(vec![
        (TOPICS, write(folder, TOPICS, &topics)?),
        (GROUPS, write(folder, GROUPS, &groups)?),
        (OFFSETS, write(folder, OFFSETS, &offsets)?),
        (DELAYS, write(folder, DELAYS, &delays)?),
        (TRANSACTIONS, write(folder, TRANSACTIONS, &snapshot.transactions)?),
        (MODES, write(folder, MODES, &MessageRequestModeTable::of(&snapshot.modes))?),
        (POPS, write(folder, POPS, &PopFile { queues: snapshot.pops.clone() })?),
        (LOCKS, write(folder, LOCKS, &LockFile { grants: snapshot.grants.clone() })?),
    ])
}

/// The snapshot in the files found; an absent file counts as empty.
pub(super) fn decode(folder: &Path, bytes: &BTreeMap<String, Vec<u8>>) -> Result<Snapshot, SnapshotError> {
    let topics: TopicConfigTable = parse(folder, TOPICS, bytes)?;
    let groups: SubscriptionGroupTable = parse(folder, GROUPS, bytes)?;
    let offsets: ConsumerOffsetTable = parse(folder, OFFSETS, bytes)?;
    let delays: DelayOffsetTable = parse(folder, DELAYS, bytes)?;
    let transactions = parse(folder, TRANSACTIONS, bytes)?;
    let modes: MessageRequestModeTable = parse(folder, MODES, bytes)?;
    let pops: PopFile = parse(folder, POPS, bytes)?;
    let locks: LockFile = parse(folder, LOCKS, bytes)?;
    Ok(Snapshot {
        topics_version: topics.data_version.unwrap_or_default(),
        topics: topics.topic_config_table.into_values().collect(),
        groups_version: groups.data_version.unwrap_or_default(),
        groups: groups.subscription_group_table.into_values().collect(),
        forbidden: groups.forbidden_table,
        offsets: offsets.offset_table,
        delays: delays
            .offset_table
            .into_iter()
            .filter_map(|(level, at)| Some((u32::try_from(level).ok()?, at)))
            .collect(),
        transactions,
        pops: pops.queues,
        grants: locks.grants,
        modes: modes.into_modes(),
        ..Snapshot::default()
    })
}

fn write<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<Vec<u8>, SnapshotError> {
    json::to_vec(value, IntegerKeys::Unquoted)
        .map_err(|source| SnapshotError::Form { path: folder.join(name), source: source.into() })
}

fn parse<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
    bytes: &BTreeMap<String, Vec<u8>>,
) -> Result<T, SnapshotError> {
    let bytes = bytes.get(name).map(Vec::as_slice).unwrap_or_default();
    json::from_slice(bytes).map_err(|source| SnapshotError::Form { path: folder.join(name), source })
}
