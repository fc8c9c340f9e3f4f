//! Lists of topics, and topics changed here by hand: 206, 224, 304, 311 to 313, 217, 216.

use std::collections::BTreeSet;

use bolide_wire::body::route::TopicRouteData;
use bolide_wire::body::topic::TopicList;
use bolide_wire::header::route::{DeleteTopicInNamesrv, GetTopicsByCluster, RegisterTopicInNamesrv};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, RequestCode, ResponseCode};

use super::{RequestError, Requests};
use crate::routes::UnitFilter;

fn list(
    request: &Command,
    topics: BTreeSet<String>,
    broker_addr: Option<String>,
) -> Result<Command, RequestError> {
    let list = TopicList { broker_addr, topic_list: topics.into_iter().collect() };
    Ok(request.response(ResponseCode::SUCCESS).with_body(json::to_vec(&list, IntegerKeys::Quoted)?))
}

pub(super) fn all(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let topics = requests.routes.read().topic_names();
    list(request, topics, None)
}

pub(super) fn of_cluster(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = GetTopicsByCluster::decode(&request.ext)?;
    let topics = requests.routes.read().topics_of_cluster(&header.cluster);
    list(request, topics, None)
}

pub(super) fn system(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let (topics, broker_addr) = requests.routes.read().system_topics();
    list(request, topics, broker_addr)
}

pub(super) fn unit(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let filter = match request.request_code() {
        RequestCode::GET_UNIT_TOPIC_LIST => UnitFilter::Unit,
        RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST => UnitFilter::UnitSub,
        _ => UnitFilter::UnitSubNotUnit,
    };
    let topics = requests.routes.read().unit_topics(filter);
    list(request, topics, None)
}

pub(super) fn register(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = RegisterTopicInNamesrv::decode(&request.ext)?;
    let route: TopicRouteData = json::from_slice(&request.body)?;
    requests.routes.write().register_topic(&header.topic, &route.queue_datas);
    requests.show_sizes();
    Ok(request.response(ResponseCode::SUCCESS))
}

pub(super) fn delete(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = DeleteTopicInNamesrv::decode(&request.ext)?;
    let cluster = header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
    requests.routes.write().delete_topic(&header.topic, cluster);
    requests.show_sizes();
    Ok(request.response(ResponseCode::SUCCESS))
}
