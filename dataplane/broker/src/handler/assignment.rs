//! Owns the assignment of queues by the broker, and whether a group pulls or pops.

use bolide_wire::body::MessageQueue;
use bolide_wire::body::assignment::{
    MessageRequestMode, MessageRequestModeTable, QueryAssignmentRequest, QueryAssignmentResponse,
    QueueAssignment, SetMessageRequestMode,
};
use bolide_wire::body::heartbeat::MessageModel;
use bolide_wire::ids::{QueueId, RETRY_PREFIX};
use bolide_wire::json;

use super::Call;
use crate::assignments::Strategy;
use crate::broker::Broker;
use crate::error::{Failure, Forbidden};
use crate::reply::Reply;
use crate::state::record::StateRecord;

/// Code 400. Without an assignment in the answer the client keeps what it has.
pub(crate) async fn query(call: Call) -> Result<Reply, Failure> {
    let request: QueryAssignmentRequest = json::from_slice(&call.command.body)?;
    let broker = &call.broker;
    let mode = mode_of(broker, &request);
    let queues = queues(broker, &request.topic).await;
    let assigned = queues.and_then(|queues| assigned(broker, &request, &mode, queues));
    let assigned = assigned.map(|queues| {
        let assignment =
            |message_queue| QueueAssignment { attachments: None, message_queue, mode: mode.mode };
        queues.into_iter().map(assignment).collect()
    });
    Reply::json(&QueryAssignmentResponse { message_queue_assignments: assigned })
}

/// The mode that was set, or the broker's default. Retry topics of groups that pull are pulled.
fn mode_of(broker: &Broker, request: &QueryAssignmentRequest) -> SetMessageRequestMode {
    if let Some(mode) = broker.state.modes.lock().find(&request.topic, &request.consumer_group) {
        return mode;
    }
    let live = broker.live.load();
    let retry = request.topic.starts_with(RETRY_PREFIX);
    SetMessageRequestMode {
        consumer_group: request.consumer_group.clone(),
        topic: request.topic.clone(),
        mode: if retry { MessageRequestMode::Pull } else { live.config.default_message_request_mode },
        pop_share_queue_num: live.config.default_pop_share_queue_num,
    }
}

/// The topic's queues in the cluster; those of this broker when no nameserver can be asked.
async fn queues(broker: &Broker, topic: &str) -> Option<Vec<MessageQueue>> {
    if let Some(queues) = broker.assignments.queues(topic, broker.monotonic_ms()).await {
        return Some(queues);
    }
    let own = broker.state.topics.find(topic).filter(|topic| topic.readable())?;
    let count = u32::try_from(own.config.read_queue_nums).unwrap_or(0);
    Some((0..count).map(|queue| broker.message_queue(topic, QueueId(queue))).collect())
}

fn assigned(
    broker: &Broker,
    request: &QueryAssignmentRequest,
    mode: &SetMessageRequestMode,
    queues: Vec<MessageQueue>,
) -> Option<Vec<MessageQueue>> {
    if request.message_model == MessageModel::Broadcasting {
        return Some(queues);
    }
    let strategy = Strategy::parse(&request.strategy_name)?;
    let mut members: Vec<String> = {
        let clients = broker.clients.read();
        let group = clients.consumer_group(&request.consumer_group)?;
        group.members.values().map(|client| client.id.to_string()).collect()
    };
    members.sort();
    members.dedup();
    Some(match mode.mode {
        MessageRequestMode::Pop => {
            strategy.share_pops(&queues, &members, &request.client_id, mode.pop_share_queue_num)
        }
        _ => strategy.share(&queues, &members, &request.client_id),
    })
}

/// Code 401.
pub(crate) async fn set_mode(call: Call) -> Result<Reply, Failure> {
    let request: SetMessageRequestMode = json::from_slice(&call.command.body)?;
    let broker = &call.broker;
    if request.topic.starts_with(RETRY_PREFIX) {
        let name = request.topic.clone();
        return Err(Failure::Forbidden { what: Forbidden::Topic, name, verb: "setting the request mode" });
    }
    if broker.state.topics.find(&request.topic).is_none() {
        return Err(Failure::NoTopic(request.topic));
    }
    if broker.state.groups.find(&request.consumer_group).is_none() {
        return Err(Failure::NoGroup(request.consumer_group));
    }
    let placed = broker.append_state(&StateRecord::RequestModes { put: vec![request] })?;
    broker.applied(placed).await?;
    Ok(Reply::ok())
}

/// Code 402.
pub(crate) fn modes(call: &Call) -> Result<Reply, Failure> {
    Reply::json(&MessageRequestModeTable::of(&call.broker.state.modes.lock().all()))
}
