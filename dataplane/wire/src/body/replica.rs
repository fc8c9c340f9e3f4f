//! What a replica says of itself and its group: the answer to this implementation's BOLIDE_REPLICA_STATUS (30002).

body! {
    /// The answer to BOLIDE_REPLICA_STATUS.
    pub struct ReplicaStatus {
        /// 0 while it leads, else its id as a slave; -1 while it has no role.
        pub broker_id: i64,
        pub broker_name: String,
        pub cluster_name: String,
        /// Log offset up to which messages are visible here.
        pub confirm: u64,
        /// One past the last byte of its log.
        pub end: u64,
        /// The newest epoch that it takes part in.
        pub epoch: u64,
        /// Names of the replicas that hold every acknowledged message.
        pub in_sync: Vec<String>,
        /// Name of the replica that leads, as far as it knows.
        pub master: Option<String>,
        /// First byte of its log.
        pub min: u64,
        /// Sends are refused while fewer replicas are in sync.
        pub min_in_sync: u32,
        /// Why it is not (only) what it should be, in sentences; empty when all is well.
        pub reasons: Vec<String>,
        /// Its name in the group.
        pub replica_name: String,
        /// The others, as far as it knows them.
        pub replicas: Vec<PeerStatus>,
        /// `Sync` or `Async`.
        pub replication_mode: String,
        /// `MASTER`, `SLAVE` or `WAITING`.
        pub role: String,
        /// It leads and takes messages, or it is a slave that is in sync.
        pub serving: bool,
        /// Replica that takes over in a planned switchover that is under way.
        pub successor: Option<String>,
    }
}

body! {
    /// Another replica of the group.
    pub struct PeerStatus {
        /// The link to it is open.
        pub connected: bool,
        /// Log offset up to which it has acknowledged, told by a master only.
        pub end: Option<u64>,
        /// It belongs to the group's in-sync set.
        pub in_sync: bool,
        /// Bytes that it still lacks.
        pub lag_bytes: Option<u64>,
        /// Age of the oldest byte that it lacks, in milliseconds.
        pub lag_ms: Option<u64>,
        pub name: String,
    }
}
