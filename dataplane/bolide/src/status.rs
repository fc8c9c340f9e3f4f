//! `bolide status`: the brokers of the cluster and what they do.

use bolide_client::{Admin, ClientError};
use bolide_wire::body::replica::ReplicaStatus;
use serde::Serialize;

use crate::args::{Connect, Print};
use crate::output::{self, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

/// One broker process.
#[derive(Debug, Default, Serialize)]
pub(crate) struct BrokerStatus {
    pub(crate) cluster: String,
    pub(crate) broker: String,
    pub(crate) id: u64,
    pub(crate) address: String,
    /// What it calls its version; empty when it does not answer.
    pub(crate) version: String,
    /// Messages a second, over the last 10 s.
    pub(crate) sent_per_second: f64,
    pub(crate) read_per_second: f64,
    /// Messages taken since the broker started.
    pub(crate) sent_total: u64,
    /// How full its disk is, 0 to 1.
    pub(crate) disk_used: f64,
    /// Its part in a group of several replicas.
    pub(crate) replica: Option<ReplicaStatus>,
    /// Why it did not answer.
    pub(crate) error: Option<String>,
}

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let brokers = brokers(&admin).await?;
    output::print(args.print.output, &brokers, |brokers| table(brokers))?;
    let silent: Vec<&str> =
        brokers.iter().filter(|broker| broker.error.is_some()).map(|broker| broker.broker.as_str()).collect();
    if brokers.is_empty() {
        anyhow::bail!("no broker is registered at {}", args.connect.namesrv);
    }
    if !silent.is_empty() {
        anyhow::bail!("no answer from {}", silent.join(", "));
    }
    Ok(())
}

/// Asks every broker that the nameserver knows.
pub(crate) async fn brokers(admin: &Admin) -> anyhow::Result<Vec<BrokerStatus>> {
    let mut found = Vec::new();
    let info = admin.cluster_info().await?;
    for (broker, data) in &info.broker_addr_table {
        for (id, address) in &data.broker_addrs {
            let mut status = BrokerStatus {
                cluster: data.cluster.clone(),
                broker: broker.clone(),
                id: u64::try_from(*id).unwrap_or_default(),
                address: address.clone(),
                ..BrokerStatus::default()
            };
            match admin.runtime_info(address).await {
                Ok(table) => {
                    let text = |key: &str| table.get(key).map(String::as_str).unwrap_or_default();
                    // three numbers: over 10 s, 1 min, 10 min
                    let rate = |key: &str| text(key).split(' ').next().and_then(|first| first.parse().ok());
                    status.version = text("brokerVersionDesc").to_owned();
                    status.sent_per_second = rate("putTps").unwrap_or_default();
                    status.read_per_second = rate("getTransferredTps").unwrap_or_default();
                    status.sent_total = text("putMessageTimesTotal").parse().unwrap_or_default();
                    status.disk_used = text("commitLogDiskRatio").parse().unwrap_or_default();
                }
                // it answers, and so it serves; it only does not tell these figures
                Err(ClientError::Refused { .. }) => {}
                Err(error) => status.error = Some(error.to_string()),
            }
            if status.error.is_none() {
                match admin.replica_status(address).await {
                    Ok(replica) => status.replica = replica,
                    Err(error) => status.error = Some(error.to_string()),
                }
            }
            found.push(status);
        }
    }
    found.sort_by(|a, b| (&a.cluster, &a.broker, a.id).cmp(&(&b.cluster, &b.broker, b.id)));
    Ok(found)
}

pub(crate) fn table(brokers: &[BrokerStatus]) -> String {
    let mut table = Table::new(&[
        "CLUSTER", "BROKER", "ROLE", "ADDRESS", "VERSION", "SENT/S", "READ/S", "SENT", "DISK", "STATE",
    ]);
    for broker in brokers {
        table.row([
            broker.cluster.clone(),
            broker.broker.clone(),
            if broker.id == 0 { "master".to_owned() } else { format!("slave {}", broker.id) },
            broker.address.clone(),
            broker.version.clone(),
            format!("{:.0}", broker.sent_per_second),
            format!("{:.0}", broker.read_per_second),
            broker.sent_total.to_string(),
            format!("{:.0}%", broker.disk_used * 100.0),
            if broker.error.is_some() { "no answer".to_owned() } else { "serving".to_owned() },
        ]);
    }
    let replicas = replica_table(brokers);
    if replicas.is_empty() { table.render() } else { format!("{}\n{replicas}", table.render()) }
}

/// The replicas of each group as its master sees them; empty when no group has several.
fn replica_table(brokers: &[BrokerStatus]) -> String {
    let mut table = Table::new(&["BROKER", "REPLICA", "EPOCH", "ROLE", "IN SYNC", "BEHIND", "REMARKS"]);
    let masters = brokers.iter().filter(|broker| broker.id == 0).filter_map(|broker| broker.replica.as_ref());
    let mut any = false;
    for master in masters {
        any = true;
        let in_sync = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        table.row([
            master.broker_name.clone(),
            master.replica_name.clone(),
            master.epoch.to_string(),
            "master".to_owned(),
            in_sync(master.in_sync.contains(&master.replica_name)),
            "-".to_owned(),
            master.reasons.join("; "),
        ]);
        for peer in &master.replicas {
            let role = if peer.connected { "slave" } else { "away" };
            table.row([
                master.broker_name.clone(),
                peer.name.clone(),
                master.epoch.to_string(),
                role.to_owned(),
                in_sync(peer.in_sync),
                peer.lag_bytes.map_or("-".to_owned(), |bytes| format!("{bytes} bytes")),
                String::new(),
            ]);
        }
    }
    if any { table.render() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use bolide_wire::body::replica::PeerStatus;

    use super::*;

    #[test]
    fn replicas_are_shown_only_where_there_are_several() {
        let single = BrokerStatus { broker: "demo-broker-0".into(), ..BrokerStatus::default() };
        assert!(!table(std::slice::from_ref(&single)).contains("IN SYNC"));
        let peer =
            PeerStatus { name: "b-1".into(), in_sync: true, lag_bytes: Some(17), ..PeerStatus::default() };
        let replica = ReplicaStatus {
            replica_name: "b-0".into(),
            epoch: 4,
            in_sync: vec!["b-0".into(), "b-1".into()],
            replicas: vec![peer],
            ..ReplicaStatus::default()
        };
        let text = table(&[BrokerStatus { replica: Some(replica), ..single }]);
        let line = text.lines().find(|line| line.contains("b-1")).unwrap();
        assert!(line.contains("away") && line.contains("yes") && line.contains("17 bytes"), "{text}");
    }
}
