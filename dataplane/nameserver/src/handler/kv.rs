//! The key-value table, and the write permissions kept in it: 100, 101, 102, 219, 205, 327.

use std::collections::BTreeMap;

use bolide_wire::header::route::{
    AddWritePermResponse, BrokerPermission, GetKvConfigResponse, GetKvListByNamespace, KvConfigKey,
    PutKvConfig, WipeWritePermResponse,
};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};

use super::{RequestError, Requests};
use crate::kv::WRITE_PERM_WIPED;

pub(super) fn put(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = PutKvConfig::decode(&request.ext)?;
    requests.kv.put(&header.namespace, &header.key, &header.value)?;
    Ok(request.response(ResponseCode::SUCCESS))
}

pub(super) fn get(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let KvConfigKey { namespace, key } = KvConfigKey::decode(&request.ext)?;
    match requests.kv.get(&namespace, &key) {
        Some(value) => {
            let header = GetKvConfigResponse { value: Some(value) };
            Ok(request.response(ResponseCode::SUCCESS).with_header(&header))
        }
        None => Err(RequestError::NoValue { namespace, key }),
    }
}

pub(super) fn delete(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = KvConfigKey::decode(&request.ext)?;
    requests.kv.delete(&header.namespace, &header.key)?;
    Ok(request.response(ResponseCode::SUCCESS))
}

pub(super) fn list(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let GetKvListByNamespace { namespace } = GetKvListByNamespace::decode(&request.ext)?;
    match requests.kv.namespace(&namespace) {
        Some(table) => {
            let body = json::to_vec(&BTreeMap::from([("table", table)]), IntegerKeys::Quoted)?;
            Ok(request.response(ResponseCode::SUCCESS).with_body(body))
        }
        None => Err(RequestError::NoNamespace { namespace }),
    }
}

pub(super) fn wipe_write(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = BrokerPermission::decode(&request.ext)?;
    requests.kv.put(WRITE_PERM_WIPED, &header.broker_name, "true")?;
    let wipe_topic_count = requests.routes.write().wipe_write(&header.broker_name);
    Ok(request.response(ResponseCode::SUCCESS).with_header(&WipeWritePermResponse { wipe_topic_count }))
}

pub(super) fn add_write(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let header = BrokerPermission::decode(&request.ext)?;
    requests.kv.delete(WRITE_PERM_WIPED, &header.broker_name)?;
    let add_topic_count = requests.routes.write().add_write(&header.broker_name);
    Ok(request.response(ResponseCode::SUCCESS).with_header(&AddWritePermResponse { add_topic_count }))
}
