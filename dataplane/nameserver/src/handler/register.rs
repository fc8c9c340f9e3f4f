//! Brokers come, report and leave: 103, 30001, 904, 322, 104.

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_transport::ConnId;
use bolide_wire::body::register::{RegisterBrokerBody, RegisterDeltaBody};
use bolide_wire::body::route::MASTER_ID;
use bolide_wire::body::topic::DataVersion;
use bolide_wire::header::route::{
    BrokerHeartbeat, EPOCH_FIELD, QueryDataVersion, QueryDataVersionResponse, RegisterBroker,
    RegisterBrokerResponse, RegisterDelta, UnregisterBroker,
};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};
use tracing::info;

use super::{RequestError, Requests};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::routes::{Extent, Known, Member, Profile};

/// Bound on what a compressed registration unpacks to: 64 MiB is some 300,000 topics.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

/// The zone of a broker; any request may carry it beside its header.
const ZONE_FIELD: &str = "__ZONE_NAME";

pub(super) fn register(
    requests: &Requests,
    conn: ConnId,
    request: &Command,
) -> Result<Command, RequestError> {
    let header = RegisterBroker::decode(&request.ext)?;
    let expected_crc = header.body_crc32.cast_unsigned();
    if expected_crc != 0 && crc32fast::hash(&request.body) & 0x7FFF_FFFF != expected_crc {
        return Err(RequestError::Crc);
    }
    let body =
        RegisterBrokerBody::decode(&request.body, header.compressed, request.version, MAX_UNPACKED_BYTES)?;
    let table = &body.topic_config_serialize_wrapper;
    let profile = Profile {
        ha_addr: header.ha_server_addr,
        zone: request.ext.get(ZONE_FIELD).map(Into::into),
        enable_acting_master: header.enable_acting_master.unwrap_or(false),
        timeout: timeout(header.heartbeat_timeout_millis),
    };
    let member = Member {
        cluster: header.cluster_name,
        broker: header.broker_name,
        id: header.broker_id,
        addr: header.broker_addr,
        epoch: epoch(request),
    };
    let removes_missing = requests.config.read().delete_topic_with_broker_registration;
    let (extent, outcome) = {
        let mut routes = requests.routes.write();
        let extent = if removes_missing { routes.extent_of(&member, table) } else { Extent::Partial };
        (extent, routes.register(&member, profile, table, extent, conn, requests.now()))
    };
    let registered = outcome.inspect_err(|_| requests.metrics.on_refusal())?;
    requests.metrics.on_registration(match extent {
        Extent::Full => "full",
        Extent::Partial => "partial",
    });
    requests.show_sizes();
    let (master_addr, ha_server_addr) = registered.master.unzip();
    let header = RegisterBrokerResponse { ha_server_addr, master_addr };
    with_order_config(requests, request.response(ResponseCode::SUCCESS).with_header(&header))
}

/// The epoch of a member whose role is decided by its group; other brokers have none.
fn epoch(request: &Command) -> u64 {
    request.ext.get(EPOCH_FIELD).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn timeout(millis: Option<i64>) -> Option<Duration> {
    let millis = millis.and_then(|millis| u64::try_from(millis).ok());
    millis.filter(|millis| *millis > 0).map(Duration::from_millis)
}

fn with_order_config(requests: &Requests, reply: Command) -> Result<Command, RequestError> {
    if !requests.config.read().return_order_topic_config_to_broker {
        return Ok(reply);
    }
    match requests.kv.namespace(ORDER_TOPIC_CONFIG).filter(|table| !table.is_empty()) {
        Some(table) => {
            Ok(reply.with_body(json::to_vec(&BTreeMap::from([("table", table)]), IntegerKeys::Quoted)?))
        }
        None => Ok(reply),
    }
}

pub(super) fn register_delta(
    requests: &Requests,
    conn: ConnId,
    request: &Command,
) -> Result<Command, RequestError> {
    let header = RegisterDelta::decode(&request.ext)?;
    let base: DataVersion = json::from_slice(header.base_version.as_bytes())?;
    let new: DataVersion = json::from_slice(header.new_version.as_bytes())?;
    let delta: RegisterDeltaBody = json::from_slice(&request.body)?;
    let member = Member {
        cluster: header.cluster_name,
        broker: header.broker_name,
        id: header.broker_id,
        addr: header.broker_addr,
        epoch: epoch(request),
    };
    let known = requests.routes.write().register_delta(&member, base, new, &delta, conn, requests.now());
    requests.metrics.on_registration("delta");
    requests.show_sizes();
    Ok(answer(request, known))
}

pub(super) fn heartbeat(
    requests: &Requests,
    conn: ConnId,
    request: &Command,
) -> Result<Command, RequestError> {
    let header = BrokerHeartbeat::decode(&request.ext)?;
    let version = header.data_version.map(|text| json::from_slice(text.as_bytes())).transpose()?;
    let member = Member {
        cluster: header.cluster_name,
        broker: header.broker_name,
        id: header.broker_id.unwrap_or(MASTER_ID),
        addr: header.broker_addr,
        epoch: epoch(request),
    };
    let known = requests.routes.write().heartbeat(&member, version, conn, requests.now());
    // Other brokers' heartbeats carry no version, and know no other answer than success.
    Ok(answer(request, if version.is_some() { known } else { Known::UpToDate }))
}

fn answer(request: &Command, known: Known) -> Command {
    request.response(match known {
        Known::UpToDate => ResponseCode::SUCCESS,
        Known::NeedFull => ResponseCode::NEED_FULL,
    })
}

pub(super) fn query_version(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = QueryDataVersion::decode(&request.ext)?;
    let offered: DataVersion = json::from_slice(&request.body)?;
    let member = Member {
        cluster: header.cluster_name,
        broker: header.broker_name,
        id: header.broker_id,
        addr: header.broker_addr,
        epoch: epoch(request),
    };
    let known = requests.routes.write().query_version(&member, requests.now());
    let header = QueryDataVersionResponse { changed: known != Some(offered) };
    let reply = request.response(ResponseCode::SUCCESS).with_header(&header);
    match known {
        Some(version) => Ok(reply.with_body(json::to_vec(&version, IntegerKeys::Quoted)?)),
        None => Ok(reply),
    }
}

pub(super) fn unregister(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = UnregisterBroker::decode(&request.ext)?;
    let member = Member {
        cluster: header.cluster_name,
        broker: header.broker_name,
        id: header.broker_id,
        addr: header.broker_addr,
        epoch: epoch(request),
    };
    if requests.routes.write().unregister(&member) {
        info!(broker = member.broker, id = member.id, addr = member.addr, "broker said goodbye");
    }
    requests.show_sizes();
    Ok(request.response(ResponseCode::SUCCESS))
}
