//! Why an operation failed.

use bolide_transport::CallError;
use bolide_wire::ResponseCode;
use bolide_wire::header::HeaderError;

/// Failure of an operation of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address is not `host:port`, or there is none.
    #[error("{text} is not a nameserver address such as 127.0.0.1:9876")]
    Address {
        /// As given.
        text: String,
    },
    /// None of the addresses answered.
    #[error("nothing answers at {addr}; is the cluster running there?")]
    Unreachable {
        /// Every address that was tried.
        addr: String,
        /// The last attempt.
        source: CallError,
    },
    /// A broker or nameserver that had answered does not any more.
    #[error("{addr}: {source}")]
    Call {
        /// Who was called.
        addr: String,
        /// What happened.
        source: CallError,
    },
    /// The request was answered with an error.
    #[error("{addr} refused {request}: {remark} ({code})")]
    Refused {
        /// Who answered.
        addr: String,
        /// What was asked.
        request: &'static str,
        /// The response code.
        code: ResponseCode,
        /// What the server said.
        remark: String,
    },
    /// No broker has the topic.
    #[error("there is no topic {topic}")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The topic has no queue that could be used.
    #[error("topic {topic} has no queue to {what}")]
    NoQueue {
        /// Its name.
        topic: String,
        /// `send to` or `read from`.
        what: &'static str,
    },
    /// The answer lacks a header field, or has a bad one.
    #[error("{addr} answered with a bad header: {source}")]
    Header {
        /// Who answered.
        addr: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// The body of the answer is not what it should be.
    #[error("{addr} answered with a bad body: {reason}")]
    Body {
        /// Who answered.
        addr: String,
        /// What is wrong.
        reason: String,
    },
    /// A request could not be written as JSON.
    #[error("a request cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

impl ClientError {
    /// The response code, when the request was answered.
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed elsewhere or a moment later, by the rule of the official producers.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Call { .. } => true,
            Self::Refused { code, .. } => matches!(
                *code,
                ResponseCode::SYSTEM_ERROR
                    | ResponseCode::SYSTEM_BUSY
                    | ResponseCode::SERVICE_NOT_AVAILABLE
                    | ResponseCode::NO_PERMISSION
                    | ResponseCode::TOPIC_NOT_EXIST
                    | ResponseCode::NO_BUYER_ID
                    | ResponseCode::NOT_IN_CURRENT_UNIT
                    | ResponseCode::GO_AWAY
            ),
            _ => false,
        }
    }
}
