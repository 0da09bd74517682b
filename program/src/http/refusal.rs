//! Why something is not answered, as JSON: `{"error": {"kind", "message"}}`.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use keyloom_common::{Error, ErrorCode, ErrorKind, error::in_users_words};
use serde_json::json;

/// After how many seconds it is worth another try.
const RETRY_SECONDS: &str = "1";

/// Why something is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refusal {
    /// With a status of its own.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status, kind: kind.name(), message: message.into() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Nothing shows who asks.
    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::PermissionDenied, message)
    }
}

/// The status that says as much as an error.
fn status(error: &Error) -> StatusCode {
    match error.kind() {
        // What is asked may be right later, as it is.
        ErrorKind::Invalid if error.code() == Some(ErrorCode::PlaceTaken) => StatusCode::CONFLICT,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Store => StatusCode::BAD_GATEWAY,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Cancelled => StatusCode::CONFLICT,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(status(&error), error.kind(), in_users_words(error.message()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, kind, message } = self;
        let body = format!("{}\n", json!({ "error": { "kind": kind, "message": message } }));
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_right_later_as_it_is_is_no_bad_request() {
        let status = |error: Error| Refusal::from(error).status();
        assert_eq!(status(Error::invalid("no such column")), StatusCode::BAD_REQUEST);
        let taken = Error::invalid("another job writes there").with_code(ErrorCode::PlaceTaken);
        assert_eq!(status(taken.clone()), StatusCode::CONFLICT);
        assert_eq!(status(taken.context("it cannot be resumed")), StatusCode::CONFLICT);
    }
}
