//! Owns what administrators ask of a replica: how its group stands (30002), and to hand over (30003).

use bolide_replication::ReplicaName;
use bolide_wire::header::replica::Switchover;

use super::Call;
use crate::error::Failure;
use crate::replicas::status;
use crate::reply::Reply;

/// Code 30002. An empty body from a broker without replicas.
pub(crate) fn status(call: &Call) -> Result<Reply, Failure> {
    match call.broker.replication.get() {
        Some(replication) => Reply::json(&status::of(&call.broker, &replication.status())),
        None => Ok(Reply::ok()),
    }
}

/// Code 30003. The work does not end with the connection, which the switchover itself may close.
pub(crate) async fn switch_over(call: Call) -> Result<Reply, Failure> {
    let header = Switchover::decode(&call.command.ext)?;
    let to = header.replica_name.as_deref().map(ReplicaName::new).transpose();
    let to = to.map_err(|error| Failure::Parameter(error.to_string()))?;
    let replication = call.broker.replication.get().ok_or(Failure::NoReplicas)?;
    let master = replication.switch_over(to).await?;
    Ok(Reply::header(&Switchover { replica_name: Some(master.to_string()) }))
}
