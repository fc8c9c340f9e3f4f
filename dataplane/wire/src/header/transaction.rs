//! Transactions.

use super::macros::header;

header! {
    /// END_TRANSACTION (37). `commitOrRollback` has the transaction bits of `message::sys_flag`; 0 is unknown.
    pub struct EndTransaction {
        optional "topic" topic: String,
        required "producerGroup" producer_group: String,
        required "tranStateTableOffset" tran_state_table_offset: i64,
        required "commitLogOffset" commit_log_offset: i64,
        required "commitOrRollback" commit_or_rollback: i32,
        defaulted "fromTransactionCheck" from_transaction_check: bool = false,
        required "msgId" msg_id: String,
        optional "transactionId" transaction_id: String,
        optional "bname" broker_name: String,
    }
}

header! {
    /// CHECK_TRANSACTION_STATE (39), broker to client.
    pub struct CheckTransactionState {
        optional "topic" topic: String,
        required "tranStateTableOffset" tran_state_table_offset: i64,
        required "commitLogOffset" commit_log_offset: i64,
        optional "msgId" msg_id: String,
        optional "transactionId" transaction_id: String,
        optional "offsetMsgId" offset_msg_id: String,
        optional "bname" broker_name: String,
    }
}

header! {
    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHalfMessage {
        optional "msgId" msg_id: String,
        optional "topic" topic: String,
    }
}
