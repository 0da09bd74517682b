//! Requests that end, and answering them whatever happens.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tarpc::{client::RpcError, context};

use crate::error::{Error, ErrorCode, ErrorKind, Result};

/// How messages of errors begin that are the connection's and not the peer's answer.
const CONNECTION_FAILED: &str = "the connection to the coordinator failed";

/// Whether there was no answer because the connection failed: over a new one there may be.
pub fn connection_failed(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.message().starts_with(CONNECTION_FAILED)
}

/// How messages of errors begin that say that there was no answer in time.
const NO_ANSWER: &str = "no answer from the peer within";

/// Whether the peer itself said nothing, in all the time that it had.
pub fn not_answered(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout && error.message().starts_with(NO_ANSWER)
}

/// Asks a peer with a deadline, which also holds while the request is queued behind a stalled
/// socket.
///
/// # Errors
/// The peer's own error, or `unavailable` / `timeout` if there was no answer.
pub async fn in_time<T, F>(
    timeout: Duration,
    request: impl FnOnce(context::Context) -> F,
) -> Result<T>
where
    F: Future<Output = Result<Result<T>, RpcError>>,
{
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + timeout;
    match tokio::time::timeout(timeout, request(context)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(RpcError::DeadlineExceeded)) | Err(_) => {
            Err(Error::timeout(format!("{NO_ANSWER} {timeout:?}")))
        }
        // It did not come as far as the connection.
        Ok(Err(RpcError::Send(reason))) => {
            Err(Error::resource_exhausted(format!("a request cannot be sent: {reason}")))
        }
        Ok(Err(error)) => Err(Error::unavailable(format!("{CONNECTION_FAILED}: {error}"))
            .with_code(ErrorCode::ConnectionFailed)),
    }
}

/// Runs a handler so that a panic becomes an answer: without one, the caller would wait out its
/// deadline.
///
/// # Errors
/// The handler's own, or `internal` if it panicked.
pub async fn guarded<T>(handler: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => Err(Error::internal(format!("panicked: {}", panic_message(panic.as_ref())))),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_handler_answers() {
        let error = guarded::<()>(async { panic!("index out of bounds") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "panicked: index out of bounds");
    }
}
