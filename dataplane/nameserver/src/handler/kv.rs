//! The key-value table, and the write permissions kept in it: 100, 101, 102, 219, 205, 327.

use std::collections::BTreeMap;

use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, ResponseCode};

use super::{Fields, RequestError, Requests};
use crate::kv::WRITE_PERM_WIPED;

pub(super) fn put(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let fields = Fields::of(request);
    requests.kv.put(&fields.text("namespace")?, &fields.text("key")?, &fields.text("value")?)?;
    Ok(request.response(ResponseCode::SUCCESS))
}

pub(super) fn get(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let fields = Fields::of(request);
    let (namespace, key) = (fields.text("namespace")?, fields.text("key")?);
    let value = requests
        .kv
        .get(&namespace, &key)
        .ok_or_else(|| RequestError::NoValue { namespace: namespace.into_owned(), key: key.into_owned() })?;
    Ok(request.response(ResponseCode::SUCCESS).with_ext("value", &value))
}

pub(super) fn delete(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let fields = Fields::of(request);
    requests.kv.delete(&fields.text("namespace")?, &fields.text("key")?)?;
    Ok(request.response(ResponseCode::SUCCESS))
}

pub(super) fn list(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let namespace = Fields::of(request).text("namespace")?;
    let table = requests
        .kv
        .namespace(&namespace)
        .ok_or_else(|| RequestError::NoNamespace { namespace: namespace.into_owned() })?;
    let body = json::to_vec(&BTreeMap::from([("table", table)]), IntegerKeys::Quoted)?;
    Ok(request.response(ResponseCode::SUCCESS).with_body(body))
}

pub(super) fn wipe_write(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let broker = Fields::of(request).text("brokerName")?;
    requests.kv.put(WRITE_PERM_WIPED, &broker, "true")?;
    let topics = requests.routes.write().wipe_write(&broker);
    Ok(request.response(ResponseCode::SUCCESS).with_ext("wipeTopicCount", &topics.to_string()))
}

pub(super) fn add_write(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let broker = Fields::of(request).text("brokerName")?;
    requests.kv.delete(WRITE_PERM_WIPED, &broker)?;
    let topics = requests.routes.write().add_write(&broker);
    Ok(request.response(ResponseCode::SUCCESS).with_ext("addTopicCount", &topics.to_string()))
}
