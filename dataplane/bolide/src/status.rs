//! `bolide status`: the brokers of the cluster and what they do.

use bolide_client::{Admin, ClientError};
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
    table.render()
}
