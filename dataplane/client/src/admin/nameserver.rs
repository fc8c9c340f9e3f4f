//! Operations on nameservers: routes, clusters, topic lists, key-value configuration.

use bolide_wire::body::route::{ClusterInfo, MASTER_ID, TopicRouteData};
use bolide_wire::body::topic::TopicList;
use bolide_wire::{Command, RequestCode, ResponseCode};

use super::{Admin, body};
use crate::ClientError;
use crate::desired::OrderChange;
use crate::remote::{refused, succeeded};

/// Namespace of the key-value configuration that tells clients the queues of ordered topics, by topic.
const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The master of a broker group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Master {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker group.
    pub broker: String,
    /// `host:port`.
    pub address: String,
}

/// Broker name and address of the master of each broker group in a route, in order of name.
pub fn masters_of(route: &TopicRouteData) -> Vec<(String, String)> {
    let mut masters: Vec<(String, String)> = route
        .broker_datas
        .iter()
        .filter_map(|data| Some((data.broker_name.clone(), data.broker_addrs.get(&MASTER_ID)?.clone())))
        .collect();
    masters.sort();
    masters
}

impl Admin {
    /// Every broker that a nameserver knows.
    ///
    /// # Errors
    /// No nameserver answers, or not with a cluster table.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        let (addr, answer) =
            self.remote.call_namesrv(&Command::request(RequestCode::GET_BROKER_CLUSTER_INFO)).await?;
        body(&addr, &succeeded(&addr, "GET_BROKER_CLUSTER_INFO", answer)?)
    }

    /// Every broker that the nameserver at `namesrv` knows.
    ///
    /// # Errors
    /// It does not answer, or not with a cluster table.
    pub async fn cluster_info_of(&self, namesrv: &str) -> Result<ClusterInfo, ClientError> {
        let answer = self.remote.ask(namesrv, Command::request(RequestCode::GET_BROKER_CLUSTER_INFO)).await?;
        body(namesrv, &answer)
    }

    /// The master of every broker group, in order of name; groups without a master are left out.
    ///
    /// # Errors
    /// As [`Admin::cluster_info`].
    pub async fn masters(&self) -> Result<Vec<Master>, ClientError> {
        let info = self.cluster_info().await?;
        let mut masters: Vec<Master> = info
            .broker_addr_table
            .into_iter()
            .filter_map(|(broker, data)| {
                let address = data.broker_addrs.get(&MASTER_ID)?.clone();
                Some(Master { cluster: data.cluster, broker, address })
            })
            .collect();
        masters.sort();
        Ok(masters)
    }

    /// Where a topic is; `None` when no broker has it.
    ///
    /// # Errors
    /// No nameserver answers, or it refuses.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRouteData>, ClientError> {
        let command = Command::request(RequestCode::GET_ROUTEINFO_BY_TOPIC)
            .with_ext("topic", topic)
            .with_ext("acceptStandardJsonOnly", "true");
        let (addr, answer) = self.remote.call_namesrv(&command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(Some(body(&addr, &answer)?)),
            ResponseCode::TOPIC_NOT_EXIST => Ok(None),
            code => Err(refused(&addr, "GET_ROUTEINFO_BY_TOPIC", code, &answer)),
        }
    }

    /// Where a topic is.
    ///
    /// # Errors
    /// As [`Admin::route`]; [`ClientError::NoTopic`] when no broker has it.
    pub async fn route_of(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        self.route(topic).await?.ok_or_else(|| ClientError::NoTopic { topic: topic.to_owned() })
    }

    /// Names of all topics that the nameserver knows.
    ///
    /// # Errors
    /// No nameserver answers, or it refuses.
    pub async fn topic_names(&self) -> Result<Vec<String>, ClientError> {
        let command = Command::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let (addr, answer) = self.remote.call_namesrv(&command).await?;
        let list: TopicList = body(&addr, &succeeded(&addr, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", answer)?)?;
        Ok(list.topic_list)
    }

    /// Makes every nameserver forget a topic that has been deleted from the brokers; `cluster` limits it to one cluster's brokers.
    ///
    /// # Errors
    /// None of them answers, or one refuses. One that is away learns it from the brokers.
    pub async fn forget_topic(&self, topic: &str, cluster: Option<&str>) -> Result<(), ClientError> {
        let mut command = Command::request(RequestCode::DELETE_TOPIC_IN_NAMESRV).with_ext("topic", topic);
        if let Some(cluster) = cluster {
            command = command.with_ext("clusterName", cluster);
        }
        self.tell_nameservers(command).await
    }

    /// The order configuration of a topic on the nameserver at `namesrv`; `None` when it has none.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn order_of(&self, namesrv: &str, topic: &str) -> Result<Option<String>, ClientError> {
        let command = Command::request(RequestCode::GET_KV_CONFIG)
            .with_ext("namespace", ORDER_TOPIC_CONFIG)
            .with_ext("key", topic);
        let answer = self.remote.call(namesrv, command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(answer.ext.get("value").map(|value| value.into_owned())),
            ResponseCode::QUERY_NOT_FOUND => Ok(None),
            code => Err(refused(namesrv, "GET_KV_CONFIG", code, &answer)),
        }
    }

    /// Changes the order configuration of a topic on the nameserver at `namesrv`. Nameservers share nothing: each is told by itself.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn change_order(
        &self,
        namesrv: &str,
        topic: &str,
        change: &OrderChange,
    ) -> Result<(), ClientError> {
        let command = match change {
            OrderChange::Put(value) => {
                Command::request(RequestCode::PUT_KV_CONFIG).with_ext("value", value.as_str())
            }
            OrderChange::Delete => Command::request(RequestCode::DELETE_KV_CONFIG),
        };
        let command = command.with_ext("namespace", ORDER_TOPIC_CONFIG).with_ext("key", topic);
        self.remote.ask(namesrv, command).await.map(|_| ())
    }

    /// Takes the write permission from all topics of a broker (or gives it back), on every nameserver.
    ///
    /// # Errors
    /// None of them answers, or one refuses.
    pub async fn set_broker_writable(&self, broker: &str, writable: bool) -> Result<(), ClientError> {
        let code = if writable {
            RequestCode::ADD_WRITE_PERM_OF_BROKER
        } else {
            RequestCode::WIPE_WRITE_PERM_OF_BROKER
        };
        self.tell_nameservers(Command::request(code).with_ext("brokerName", broker)).await
    }

    /// Sends a request to every nameserver. It succeeds when one took it and none refused; they share nothing.
    async fn tell_nameservers(&self, command: Command) -> Result<(), ClientError> {
        let mut told = false;
        let mut silent = None;
        for addr in self.remote.nameservers() {
            match self.remote.ask(addr, command.clone()).await {
                Ok(_) => told = true,
                Err(error @ ClientError::Call { .. }) => silent = Some(error),
                Err(error) => return Err(error),
            }
        }
        match silent {
            Some(error) if !told => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bolide_wire::body::route::BrokerData;

    use super::*;

    #[test]
    fn only_masters_are_taken_from_a_route() {
        let group = |name: &str, id: i64| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: [(id, format!("{name}:1"))].into(),
            ..BrokerData::default()
        };
        let route = TopicRouteData {
            broker_datas: vec![group("b", 0), group("c", 1), group("a", 0)],
            ..Default::default()
        };
        let names: Vec<String> = masters_of(&route).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
