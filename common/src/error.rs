//! The one error that users and peers see: a kind that says what to do, a message, and a code where
//! somebody does something particular about it.
//!
//! All of them survive the wire. A message names the thing that was wrong and the choices; it never
//! holds a credential (see [`redact`]).

mod code;
mod secrets;
mod words;

use std::{fmt, sync::Arc};

use datafusion::{error::DataFusionError, parquet::errors::ParquetError};
use serde::{Deserialize, Serialize};

pub use code::ErrorCode;
pub use secrets::{holds_credentials, may_be_secret, redact, shown_option, uri_has_user};
pub use words::in_users_words;

/// What went wrong, in the terms of what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request is wrong and will stay wrong: change it.
    Invalid,
    /// Something named by the request does not exist.
    NotFound,
    /// Whoever asks may not have it, or did not show who it is.
    PermissionDenied,
    /// A store or an input could not be read; trying again may help.
    Store,
    /// A peer is not there; trying again may help.
    Unavailable,
    /// The job was cancelled.
    Cancelled,
    /// A bound on waiting was reached; trying again may help.
    Timeout,
    /// A bound on memory, disk or size was reached.
    ResourceExhausted,
    /// A defect of Keyloom itself.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::NotFound,
        Self::PermissionDenied,
        Self::Store,
        Self::Unavailable,
        Self::Cancelled,
        Self::Timeout,
        Self::ResourceExhausted,
        Self::Internal,
    ];

    /// Whether another attempt of the same work may succeed.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Store | Self::Unavailable | Self::Timeout)
    }

    /// The kind's name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::Store => "store",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Internal => "internal",
        }
    }
}

/// An error with its kind and its message, and perhaps a code. Two are equal if kind and message
/// are.
///
/// The message says all that is to be told. Where the error was made of another in this process,
/// that one is its source, for programs to look at; it does not cross the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    code: Option<ErrorCode>,
    #[serde(skip)]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // What thiserror makes of a shared source is the sharing, and not what is shared.
        self.source.as_deref().map(|source| source as _)
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.message) == (other.kind, &other.message)
    }
}

impl Eq for Error {}

/// A result whose error is Keyloom's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {$(
        #[doc = concat!("An error of the kind [`ErrorKind::", stringify!($kind), "`].")]
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(ErrorKind::$kind, message)
        }
    )*};
}

impl Error {
    /// An error of the given kind. A message that is too long loses its middle: messages quote keys
    /// and values, and must pass through a frame whatever these are.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: bounded(message.into()), code: None, source: None }
    }

    /// What became of work on another thread that gave no answer.
    pub fn from_join(error: tokio::task::JoinError) -> Self {
        if error.is_cancelled() {
            return Self::cancelled("the work was stopped");
        }
        Self::internal(error.to_string())
    }

    constructors! {
        invalid => Invalid,
        not_found => NotFound,
        permission_denied => PermissionDenied,
        store => Store,
        unavailable => Unavailable,
        cancelled => Cancelled,
        timeout => Timeout,
        resource_exhausted => ResourceExhausted,
        internal => Internal,
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Which error it is, if somebody does something particular about it.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The same error, known by a code.
    #[must_use]
    pub fn with_code(self, code: ErrorCode) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same error in other words. It has no source any more, whose words may be those that were
    /// not to be told.
    #[must_use]
    pub fn reworded(self, message: impl Into<String>) -> Self {
        Self { message: bounded(message.into()), source: None, ..self }
    }

    /// The same error, its message preceded by what was being done.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self { message: bounded(format!("{doing}: {}", self.message)), ..self }
    }

    /// Finds the Keyloom error that travelled through DataFusion, or classifies DataFusion's own.
    pub fn from_datafusion(error: DataFusionError) -> Self {
        if let Some(own) = find_own(&error) {
            return own.clone();
        }
        let kind = match error.find_root() {
            DataFusionError::Plan(_)
            | DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Configuration(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..) => ErrorKind::Invalid,
            DataFusionError::ObjectStore(error) => of_object_store(error),
            DataFusionError::ParquetError(error) => match error.as_ref() {
                ParquetError::External(error) => {
                    error.downcast_ref().map_or(ErrorKind::Store, of_object_store)
                }
                // The file is not what its name says.
                _ => ErrorKind::Invalid,
            },
            DataFusionError::IoError(_) => ErrorKind::Store,
            DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
            _ => ErrorKind::Internal,
        };
        let message = bounded(error.strip_backtrace());
        let code = names_no_table(error.find_root()).then_some(ErrorCode::TableNotFound);
        Self { kind, message, code, source: Some(Arc::new(error)) }
    }
}

/// The most bytes of a message.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

fn bounded(message: String) -> String {
    if message.len() <= MAX_MESSAGE_BYTES {
        return message;
    }
    let half = MAX_MESSAGE_BYTES / 2;
    let start = &message[..message.floor_char_boundary(half)];
    let end = &message[message.ceil_char_boundary(message.len() - half)..];
    let left_out = message.len() - start.len() - end.len();
    format!("{start} … ({left_out} bytes left out) … {end}")
}

/// Whether a statement names a table that is not there. DataFusion says so in words alone.
fn names_no_table(error: &DataFusionError) -> bool {
    let table = match error {
        DataFusionError::Plan(message) => message.strip_prefix("table '"),
        _ => None,
    };
    table.is_some_and(|table| table.ends_with("' not found"))
}

fn of_object_store(error: &object_store::Error) -> ErrorKind {
    match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::NotSupported { .. } | object_store::Error::InvalidPath { .. } => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Store,
    }
}

fn find_own<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own);
        }
        // DataFusion shares an error between partitions behind an `Arc`, and keeps an external one
        // in a box: neither shows in `source()` as the type it is.
        match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => current = Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => current = Some(inner.as_ref()),
            Some(DataFusionError::Context(_, inner)) => current = Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => match inner.as_ref() {
                arrow::error::ArrowError::ExternalError(inner) => current = Some(inner.as_ref()),
                _ => return None,
            },
            _ => current = error.source(),
        }
    }
    None
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::from_datafusion(error)
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::from_datafusion(DataFusionError::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_survives_datafusion() {
        let own = Error::store("store 'emb': disk on fire");
        let through = DataFusionError::Context(
            "while polling".to_owned(),
            Box::new(DataFusionError::Shared(Arc::new(own.clone().into()))),
        );
        assert_eq!(Error::from_datafusion(through), own);
    }

    #[test]
    fn kind_survives_an_arrow_reader() {
        let own = Error::not_found("no such column");
        let arrow = arrow::error::ArrowError::ExternalError(Box::new(own.clone()));
        assert_eq!(Error::from(arrow), own);
    }

    #[test]
    fn the_error_that_it_was_made_of_is_its_source() {
        let missing = object_store::Error::NotFound { path: "a".into(), source: "gone".into() };
        let error = Error::from(DataFusionError::ObjectStore(Box::new(missing)));
        let error = error.context("input a");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let source = std::error::Error::source(&error).unwrap();
        let source = source.downcast_ref::<DataFusionError>().unwrap();
        assert!(matches!(source, DataFusionError::ObjectStore(error)
            if matches!(**error, object_store::Error::NotFound { .. })));
        let sent = serde_json::to_string(&error).unwrap();
        let received: Error = serde_json::from_str(&sent).unwrap();
        assert_eq!(received, error);
        assert!(std::error::Error::source(&received).is_none());
    }

    #[test]
    fn the_code_survives_context_other_words_datafusion_and_the_wire() {
        let own = Error::not_found("key 9").with_code(ErrorCode::KeyMissing);
        let own = own.context("store 'emb'").reworded("no key 9");
        let error = Error::from(DataFusionError::from(own));
        let sent = serde_json::to_string(&error).unwrap();
        let received: Error = serde_json::from_str(&sent).unwrap();
        assert_eq!((&received, received.code()), (&error, Some(ErrorCode::KeyMissing)));
        assert_eq!(received, Error::not_found("no key 9"));
        assert_eq!(Error::not_found("no key 9").code(), None);
    }

    #[tokio::test]
    async fn a_table_that_is_not_there_has_a_code() {
        let context = datafusion::prelude::SessionContext::new();
        let code = async |sql: &str| Error::from(context.sql(sql).await.unwrap_err()).code();
        assert_eq!(code("SELECT * FROM nowhere").await, Some(ErrorCode::TableNotFound));
        assert_eq!(code("SELECT nix").await, None);
    }

    #[test]
    fn a_long_message_keeps_its_ends() {
        let key = "é".repeat(1 << 20);
        let error = Error::invalid(format!("key '{key}' is missing")).context("KV store 'a'");
        assert!(error.message().len() < MAX_MESSAGE_BYTES + 100);
        assert!(error.message().starts_with("KV store 'a': key 'éé"), "{error}");
        assert!(error.message().ends_with("éé' is missing"), "{error}");
        assert!(error.message().contains(" bytes left out) …"), "{error}");
    }
}
