//! Owns the form of the open transactions in a snapshot: names once, one row of numbers a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bolide_wire::ids::{EpochMillis, LogOffset, QueueOffset};
use serde::{Deserialize, Serialize};

use super::{HalfId, Open, Transactions};

/// Every open transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OpenTable {
    names: Vec<Arc<str>>,
    /// In the order of their places.
    open: Vec<Row>,
}

/// Place, id, queue offset, stored, checks, checked, immunity, group and topic as positions among the names.
type Row = (u64, HalfId, i64, i64, u32, i64, Option<i64>, usize, usize);

impl OpenTable {
    /// The transactions as the applied log says.
    pub(crate) fn of(transactions: &Transactions) -> OpenTable {
        let mut names: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut listed = Vec::new();
        let mut position = |name: &Arc<str>| {
            *names.entry(name.clone()).or_insert_with(|| {
                listed.push(name.clone());
                listed.len().saturating_sub(1)
            })
        };
        let rows = transactions.open.iter().map(|(place, open)| {
            let (group, topic) = (position(&open.group), position(&open.topic));
            let (stored, checked) = (open.stored.0, open.checked.0);
            (
                place.0,
                open.id,
                open.queue_offset.0,
                stored,
                open.checks,
                checked,
                open.immunity_ms,
                group,
                topic,
            )
        });
        let open = rows.collect();
        OpenTable { names: listed, open }
    }

    /// The transactions again; rows that name nothing are left out.
    pub(crate) fn restore(&self) -> Transactions {
        let mut transactions = Transactions::default();
        for (place, id, queue_offset, stored, checks, checked, immunity_ms, group, topic) in &self.open {
            let (Some(group), Some(topic)) = (self.names.get(*group), self.names.get(*topic)) else {
                continue;
            };
            let open = Open {
                id: *id,
                queue_offset: QueueOffset(*queue_offset),
                stored: EpochMillis(*stored),
                checks: *checks,
                checked: EpochMillis(*checked),
                immunity_ms: *immunity_ms,
                group: transactions.groups.take(group),
                topic: transactions.topics.take(topic),
                claimed: false,
            };
            transactions.insert(LogOffset(*place), open);
        }
        transactions
    }
}
