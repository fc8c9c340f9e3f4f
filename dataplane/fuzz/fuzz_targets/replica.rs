//! Messages between replicas: any bytes are decoded or refused, what was decoded comes back from its own bytes, and a replica that is
//! told it neither panics nor asks for the impossible.
#![no_main]

use std::time::Duration;

use bolide_replication::{
    Config, Event, GroupState, Identity, LinkId, LogView, Replica, ReplicaFile, ReplicaName, codec,
};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(state) = GroupState::from_json(text) {
            assert_eq!(GroupState::from_json(&state.to_json().expect("json")).expect("valid"), state);
        }
        let _ = ReplicaFile::from_json(text);
    }
    let peer = ReplicaName::new("a-0").expect("a name");
    let member = "a-1@5".parse().expect("a member");
    let config = Config::new("c", "g", vec![peer.clone()]);
    let mut replica = Replica::new(config, Identity { member, seen: None }, LogView::empty(), Duration::ZERO);
    let mut effects = Vec::new();
    replica.handle(Duration::ZERO, Event::Dialed { peer, link: LinkId(0) }, &mut effects);
    replica.handle(Duration::ZERO, Event::Accepted { link: LinkId(1) }, &mut effects);
    let mut stream = BytesMut::from(data);
    let mut now = Duration::ZERO;
    while let Ok(Some(message)) = codec::decode(&mut stream) {
        let (head, payload) = codec::encode(&message);
        let mut again = BytesMut::from(&head[..]);
        again.extend_from_slice(&payload);
        assert_eq!(codec::decode(&mut again), Ok(Some(message.clone())));
        now += Duration::from_millis(300);
        for link in [LinkId(0), LinkId(1)] {
            replica.handle(now, Event::Received { link, message: message.clone() }, &mut effects);
        }
        effects.clear();
    }
});
