//! Why a request has no answer, and what its sender is told.

use bolide_wire::body::register::RegisterError as BodyError;
use bolide_wire::header::HeaderError;
use bolide_wire::json::JsonError;
use bolide_wire::{Command, RequestCode, ResponseCode};
use thiserror::Error;

use crate::kv::KvError;
use crate::routes::RegisterError;

#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("{}", RequestCode(*.code).not_supported())]
    NotSupported { code: i32 },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("No topic route info in name server for the topic: {topic}")]
    NoRoute { topic: String },
    #[error("name server not ready")]
    WarmingUp,
    #[error("crc32 not match")]
    Crc,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("the answer cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoValue { namespace: String, key: String },
    #[error("No config item, Namespace: {namespace}")]
    NoNamespace { namespace: String },
    #[error("cannot keep the change: {0}")]
    Kv(#[from] KvError),
    #[error("Can not update config in black list.")]
    Protected,
    #[error("the settings are not text")]
    NotText,
    #[error("{key} cannot be {value}")]
    Setting { key: String, value: String },
}

impl RequestError {
    /// Every error is decided here, without a catch-all.
    fn code(&self) -> ResponseCode {
        match self {
            Self::NotSupported { .. } => ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
            Self::NoRoute { .. } => ResponseCode::TOPIC_NOT_EXIST,
            Self::NoValue { .. } | Self::NoNamespace { .. } => ResponseCode::QUERY_NOT_FOUND,
            Self::Protected => ResponseCode::NO_PERMISSION,
            Self::Header(_)
            | Self::WarmingUp
            | Self::Crc
            | Self::Body(_)
            | Self::Json(_)
            | Self::Encode(_)
            | Self::Register(_)
            | Self::Kv(_)
            | Self::NotText
            | Self::Setting { .. } => ResponseCode::SYSTEM_ERROR,
        }
    }

    pub(crate) fn reply(&self, request: &Command) -> Command {
        request.response(self.code()).with_remark(self.to_string())
    }
}
