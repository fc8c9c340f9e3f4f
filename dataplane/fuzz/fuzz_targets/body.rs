//! JSON bodies in the original's dialect, and registrations plain and compressed.
#![no_main]

use bolide_wire::body::heartbeat::HeartbeatData;
use bolide_wire::body::lock::LockBatchRequest;
use bolide_wire::body::offset::{ConsumeStats, ConsumerOffsetTable};
use bolide_wire::body::register::RegisterBrokerBody;
use bolide_wire::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = json::from_slice::<HeartbeatData>(data);
    let _ = json::from_slice::<LockBatchRequest>(data);
    let _ = json::from_slice::<ConsumeStats>(data);
    let _ = json::from_slice::<ConsumerOffsetTable>(data);
    let _ = json::from_slice::<serde_json::Value>(data);
    let _ = RegisterBrokerBody::decode(data, false, 479, 1 << 20);
    let _ = RegisterBrokerBody::decode(data, true, 479, 1 << 20);
});
