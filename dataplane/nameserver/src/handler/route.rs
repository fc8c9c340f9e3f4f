//! Where topics and brokers are: 105, 106, 901.

use bolide_wire::body::route::{BrokerMemberGroupResponse, route_keys};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};

use super::{Fields, RequestError, Requests};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::routes::Acting;

pub(super) fn route(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    if requests.warming_up() {
        return Err(RequestError::WarmingUp);
    }
    let fields = Fields::of(request);
    let topic = fields.text("topic")?;
    let (acting, ordered) = {
        let config = requests.config.read();
        (if config.support_acting_master { Acting::Yes } else { Acting::No }, config.order_message_enable)
    };
    let mut route = requests
        .routes
        .read()
        .route(&topic, acting)
        .ok_or_else(|| RequestError::NoRoute { topic: topic.clone().into_owned() })?;
    if ordered {
        route.order_topic_conf = requests.kv.get(ORDER_TOPIC_CONFIG, &topic);
    }
    let keys = route_keys(request.version, fields.flag("acceptStandardJsonOnly"));
    Ok(request.response(ResponseCode::SUCCESS).with_body(json::to_vec(&route, keys)?))
}

pub(super) fn cluster_info(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let info = requests.routes.read().cluster_info();
    Ok(request.response(ResponseCode::SUCCESS).with_body(json::to_vec(&info, IntegerKeys::Unquoted)?))
}

pub(super) fn member_group(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let fields = Fields::of(request);
    let broker_member_group =
        requests.routes.read().member_group(&fields.text("clusterName")?, &fields.text("brokerName")?);
    let body = json::to_vec(&BrokerMemberGroupResponse { broker_member_group }, IntegerKeys::Unquoted)?;
    Ok(request.response(ResponseCode::SUCCESS).with_body(body))
}
