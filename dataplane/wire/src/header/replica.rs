//! Headers of the requests between an administrator and a replica. Both requests are this implementation's own.

use super::macros::header;

header! {
    /// BOLIDE_SWITCHOVER (30003): the master hands over to another replica, and answers when that leads. The answer has the
    /// same field.
    pub struct Switchover {
        /// Name of the replica that shall lead; the one that is best prepared when absent.
        optional "replicaName" replica_name: String,
    }
}
