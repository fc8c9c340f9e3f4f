//! Where topics and brokers are: 105, 106, 901.

use bolide_wire::body::route::{BrokerMemberGroupResponse, route_keys};
use bolide_wire::header::route::{GetBrokerMemberGroup, GetRouteInfo};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};

use super::{RequestError, Requests};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::routes::Acting;

pub(super) fn route(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    if requests.warming_up() {
        return Err(RequestError::WarmingUp);
    }
    let header = GetRouteInfo::decode(&request.ext)?;
    let (acting, ordered) = {
        let config = requests.config.read();
        (if config.support_acting_master { Acting::Yes } else { Acting::No }, config.order_message_enable)
    };
    let route = requests.routes.read().route(&header.topic, acting);
    let Some(mut route) = route else { return Err(RequestError::NoRoute { topic: header.topic }) };
    if ordered {
        route.order_topic_conf = requests.kv.get(ORDER_TOPIC_CONFIG, &header.topic);
    }
    let keys = route_keys(request.version, header.accept_standard_json_only.unwrap_or(false));
    Ok(request.response(ResponseCode::SUCCESS).with_body(json::to_vec(&route, keys)?))
}

pub(super) fn cluster_info(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let info = requests.routes.read().cluster_info();
    Ok(request.response(ResponseCode::SUCCESS).with_body(json::to_vec(&info, IntegerKeys::Unquoted)?))
}

pub(super) fn member_group(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = GetBrokerMemberGroup::decode(&request.ext)?;
    let broker_member_group = requests.routes.read().member_group(&header.cluster_name, &header.broker_name);
    let body = json::to_vec(&BrokerMemberGroupResponse { broker_member_group }, IntegerKeys::Unquoted)?;
    Ok(request.response(ResponseCode::SUCCESS).with_body(body))
}
