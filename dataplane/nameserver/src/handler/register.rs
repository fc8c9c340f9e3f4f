//! Brokers come, report and leave: 103, 30001, 904, 322, 104.

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_transport::ConnId;
use bolide_wire::body::register::{RegisterBrokerBody, RegisterDeltaBody};
use bolide_wire::body::topic::DataVersion;
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};

use super::{Fields, RequestError, Requests};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::routes::{Extent, Known, Member, Profile};

/// Bound on what a compressed registration unpacks to: 64 MiB is some 300,000 topics.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

/// Our brokers say whether a registration is their whole table; for others it is guessed.
const EXTENT_FIELD: &str = "bolideExtent";

fn member(fields: Fields<'_>) -> Result<Member, RequestError> {
    Ok(Member {
        cluster: fields.text("clusterName")?.into_owned(),
        broker: fields.text("brokerName")?.into_owned(),
        id: fields.number("brokerId")?.unwrap_or(0),
        addr: fields.text("brokerAddr")?.into_owned(),
    })
}

pub(super) fn register(
    requests: &Requests,
    conn: ConnId,
    request: &Command,
) -> Result<Command, RequestError> {
    let fields = Fields::of(request);
    let member = member(fields)?;
    let expected_crc: u32 = fields.number("bodyCrc32")?.unwrap_or(0);
    if expected_crc != 0 && crc32fast::hash(&request.body) & 0x7FFF_FFFF != expected_crc {
        return Err(RequestError::Crc);
    }
    let body = RegisterBrokerBody::decode(
        &request.body,
        fields.flag("compressed"),
        request.version,
        MAX_UNPACKED_BYTES,
    )?;
    let table = &body.topic_config_serialize_wrapper;
    let timeout_ms: Option<u64> = fields.number("heartbeatTimeoutMillis")?;
    let profile = Profile {
        ha_addr: fields.optional_text("haServerAddr").unwrap_or_default().into_owned(),
        zone: fields.optional_text("__ZONE_NAME").or(fields.optional_text("zoneName")).map(Into::into),
        enable_acting_master: fields.flag("enableActingMaster"),
        timeout: timeout_ms.filter(|timeout| *timeout > 0).map(Duration::from_millis),
    };
    let removes_missing = requests.config.read().delete_topic_with_broker_registration;
    let registered = {
        let mut routes = requests.routes.write();
        let extent = match fields.optional_text(EXTENT_FIELD).as_deref() {
            _ if !removes_missing => Extent::Partial,
            Some("full") => Extent::Full,
            Some(_) => Extent::Partial,
            None => routes.extent_of(&member, table),
        };
        let outcome = routes.register(&member, profile, table, extent, conn, requests.now());
        requests.metrics.on_registration(match extent {
            Extent::Full => "full",
            Extent::Partial => "partial",
        });
        outcome.inspect_err(|_| requests.metrics.on_refusal())?
    };
    requests.show_sizes();
    let mut reply = request.response(ResponseCode::SUCCESS);
    if let Some((master_addr, ha_addr)) = registered.master {
        reply = reply.with_ext("masterAddr", &master_addr).with_ext("haServerAddr", &ha_addr);
    }
    with_order_config(requests, reply)
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
    let fields = Fields::of(request);
    let member = member(fields)?;
    let base: DataVersion = json::from_slice(fields.text("baseVersion")?.as_bytes())?;
    let new: DataVersion = json::from_slice(fields.text("newVersion")?.as_bytes())?;
    let delta: RegisterDeltaBody = json::from_slice(&request.body)?;
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
    let fields = Fields::of(request);
    let member = member(fields)?;
    let version =
        fields.optional_text("dataVersion").map(|text| json::from_slice(text.as_bytes())).transpose()?;
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
    let member = member(Fields::of(request))?;
    let offered: DataVersion = json::from_slice(&request.body)?;
    let known = requests.routes.write().query_version(&member, requests.now());
    let changed = if known == Some(offered) { "false" } else { "true" };
    let reply = request.response(ResponseCode::SUCCESS).with_ext("changed", changed);
    match known {
        Some(version) => Ok(reply.with_body(json::to_vec(&version, IntegerKeys::Quoted)?)),
        None => Ok(reply),
    }
}

pub(super) fn unregister(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let member = member(Fields::of(request))?;
    if requests.routes.write().unregister(&member) {
        tracing::info!(broker = member.broker, id = member.id, addr = member.addr, "broker said goodbye");
    }
    requests.show_sizes();
    Ok(request.response(ResponseCode::SUCCESS))
}
