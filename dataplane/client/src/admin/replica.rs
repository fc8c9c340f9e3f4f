//! The replicas of a broker group: who leads, and handing over.

use bolide_wire::body::replica::ReplicaStatus;
use bolide_wire::header::replica::Switchover;
use bolide_wire::{Command, RequestCode};

use super::{Admin, body};
use crate::ClientError;

impl Admin {
    /// What a broker says of its role and of the other replicas of its group; none from a broker that has no replicas.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn replica_status(&self, addr: &str) -> Result<Option<ReplicaStatus>, ClientError> {
        use bolide_wire::ResponseCode;
        let answer = self.remote.ask(addr, Command::request(RequestCode::BOLIDE_REPLICA_STATUS)).await;
        match answer {
            Ok(answer) if answer.body.is_empty() => Ok(None),
            Ok(answer) => body(addr, &answer).map(Some),
            Err(ClientError::Refused { code: ResponseCode::REQUEST_CODE_NOT_SUPPORTED, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the master at `addr` to hand over to the replica named `to`, or to the one that is best prepared. Returns the name
    /// of the replica that leads then.
    ///
    /// # Errors
    /// The broker does not answer, does not lead, or cannot hand over: it then goes on as before.
    pub async fn switchover(&self, addr: &str, to: Option<&str>) -> Result<String, ClientError> {
        let header = Switchover { replica_name: to.map(str::to_owned) };
        let command = Command::request(RequestCode::BOLIDE_SWITCHOVER).with_header(&header);
        let answer = self.remote.ask(addr, command).await?;
        Ok(answer.ext.get("replicaName").map(|name| name.into_owned()).unwrap_or_default())
    }
}
