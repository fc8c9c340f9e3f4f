//! Owns what a handler answers with, and the only way from an error to a response code.

use bolide_store::{AppendError, Refusal};
use bolide_transport::Outgoing;
use bolide_wire::header::EncodeHeader;
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, Ext, ResponseCode};
use bytes::Bytes;
use serde::Serialize;

use crate::error::{Failure, Forbidden};

/// An answer before it becomes a frame.
#[derive(Debug)]
pub(crate) struct Reply {
    code: ResponseCode,
    remark: Option<String>,
    ext: Ext,
    body: ReplyBody,
}

#[derive(Debug)]
enum ReplyBody {
    Inline(Bytes),
    Slices(Vec<Bytes>),
}

impl Reply {
    /// Success without header and body.
    pub(crate) fn ok() -> Reply {
        Reply::code(ResponseCode::SUCCESS)
    }

    /// Any code, without header and body.
    pub(crate) fn code(code: ResponseCode) -> Reply {
        Reply { code, remark: None, ext: Ext::new(), body: ReplyBody::Inline(Bytes::new()) }
    }

    /// Success with a typed header.
    pub(crate) fn header(header: &impl EncodeHeader) -> Reply {
        Reply::ok().with_header(header)
    }

    /// Success with a JSON body, integer keys without quotes as the original writes them.
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Reply, Failure> {
        Ok(Reply::ok().with_body(json::to_vec(value, IntegerKeys::Unquoted)?))
    }

    /// Adds a typed header.
    pub(crate) fn with_header(mut self, header: &impl EncodeHeader) -> Reply {
        header.encode(&mut self.ext);
        self
    }

    /// Adds one field.
    pub(crate) fn with_ext(mut self, key: &str, value: &str) -> Reply {
        self.ext.insert(key, value);
        self
    }

    /// Sets the remark.
    pub(crate) fn with_remark(mut self, remark: impl Into<String>) -> Reply {
        self.remark = Some(remark.into());
        self
    }

    /// Sets the body.
    pub(crate) fn with_body(mut self, body: impl Into<Bytes>) -> Reply {
        self.body = ReplyBody::Inline(body.into());
        self
    }

    /// Sets the body as slices that are sent without being copied.
    pub(crate) fn with_slices(mut self, slices: Vec<Bytes>) -> Reply {
        self.body = ReplyBody::Slices(slices);
        self
    }

    /// The frame that answers `request`.
    pub(crate) fn answer(self, request: &Command) -> Outgoing {
        let mut command = request.response(self.code);
        command.remark = self.remark;
        command.ext = self.ext;
        match self.body {
            ReplyBody::Inline(body) => {
                command.body = body;
                Outgoing::from(command)
            }
            ReplyBody::Slices(slices) => Outgoing::with_slices(command, slices),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        let mut reply = Reply::code(code_of(&failure)).with_remark(failure.to_string());
        let forbidden = match failure {
            Failure::Forbidden { what, .. } => Some(what),
            Failure::ForbiddenTopic { .. } => Some(Forbidden::Subscription),
            _ => None,
        };
        if let Some(what) = forbidden {
            reply = reply.with_ext("forbiddenType", &what.number().to_string());
        }
        reply
    }
}

/// The frame that answers `request` with the outcome of its handler.
pub(crate) fn answer(request: &Command, outcome: Result<Reply, Failure>) -> Outgoing {
    outcome.unwrap_or_else(Reply::from).answer(request)
}

/// The response code of a failure.
pub(crate) fn code_of(failure: &Failure) -> ResponseCode {
    match failure {
        Failure::UnknownCode(_) => ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
        Failure::Header(_) | Failure::Body(_) | Failure::Encode(_) | Failure::FilterDisabled => {
            ResponseCode::SYSTEM_ERROR
        }
        Failure::Internal(_) | Failure::Missing(_) | Failure::Read(_) => ResponseCode::SYSTEM_ERROR,
        Failure::Name(_) | Failure::Parameter(_) | Failure::Config(_) => ResponseCode::INVALID_PARAMETER,
        Failure::NoReplicas | Failure::NoSwitchover(_) | Failure::TooFewReplicas => {
            ResponseCode::SYSTEM_ERROR
        }
        Failure::NoTopic(_) => ResponseCode::TOPIC_NOT_EXIST,
        Failure::NoGroup(_) => ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
        Failure::Forbidden { .. } | Failure::ForbiddenTopic { .. } | Failure::ProtectedTopic(_) => {
            ResponseCode::NO_PERMISSION
        }
        Failure::MessageIllegal(_) | Failure::TimerIllegal { .. } => ResponseCode::MESSAGE_ILLEGAL,
        Failure::TimersDisabled => ResponseCode::SYSTEM_ERROR,
        Failure::RecallForbidden => ResponseCode::NO_PERMISSION,
        Failure::RecallUnavailable => ResponseCode::SERVICE_NOT_AVAILABLE,
        Failure::Recall(_) => ResponseCode::ILLEGAL_OPERATION,
        Failure::NoSubscription => ResponseCode::SUBSCRIPTION_NOT_EXIST,
        Failure::OldSubscription => ResponseCode::SUBSCRIPTION_NOT_LATEST,
        Failure::BadFilter(_) => ResponseCode::FILTER_DATA_NOT_EXIST,
        Failure::BadSubscription(_) => ResponseCode::SUBSCRIPTION_PARSE_FAILED,
        Failure::NoMessage(_) => ResponseCode::NO_MESSAGE,
        Failure::Handle(_) => ResponseCode::MESSAGE_ILLEGAL,
        Failure::NotOnline(_) => ResponseCode::CONSUMER_NOT_ONLINE,
        Failure::ClientTimeout(_) => ResponseCode::CONSUME_MSG_TIMEOUT,
        Failure::NotFound(_) => ResponseCode::QUERY_NOT_FOUND,
        Failure::TooLate(_) => ResponseCode::ILLEGAL_OPERATION,
        Failure::Refused(refusal) => match refusal {
            Refusal::Busy => ResponseCode::SYSTEM_BUSY,
            Refusal::DiskFull | Refusal::Poisoned | Refusal::Closed | Refusal::NotMaster => {
                ResponseCode::SERVICE_NOT_AVAILABLE
            }
            Refusal::Invalid => ResponseCode::MESSAGE_ILLEGAL,
        },
        Failure::Append(error) => match error {
            AppendError::DiskFull | AppendError::Poisoned | AppendError::Closed | AppendError::NotMaster => {
                ResponseCode::SERVICE_NOT_AVAILABLE
            }
            AppendError::NoSegment => ResponseCode::SYSTEM_ERROR,
        },
        Failure::Busy | Failure::NotMaster => ResponseCode::SYSTEM_BUSY,
        Failure::Stopping => ResponseCode::SERVICE_NOT_AVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_text_and_a_permission_its_kind() {
        let request = Command::request(bolide_wire::RequestCode::PULL_MESSAGE);
        let failure =
            Failure::Forbidden { what: Forbidden::Group, name: "g".into(), verb: "pulling message" };
        let answer = answer(&request, Err(failure)).command;
        assert_eq!(answer.code, 16);
        assert_eq!(answer.ext.get("forbiddenType").as_deref(), Some("2"));
        assert_eq!(answer.remark.as_deref(), Some("the consumer group [g] pulling message is forbidden"));
    }

    #[test]
    fn a_full_disk_and_a_busy_writer_are_told_apart() {
        assert_eq!(code_of(&Failure::Refused(Refusal::DiskFull)).0, 14);
        assert_eq!(code_of(&Failure::Refused(Refusal::Busy)).0, 2);
        assert_eq!(code_of(&Failure::UnknownCode(99)).0, 3);
    }
}
