//! Requests that end, and answering them whatever happens.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tarpc::{client::RpcError, context};

use crate::error::{Error, ErrorCode, Result};

/// Whether there was no answer because the connection failed: over a new one there may be.
pub fn connection_failed(error: &Error) -> bool {
    error.code() == Some(ErrorCode::ConnectionFailed)
}

/// Whether the peer itself said nothing, in all the time that it had.
pub fn not_answered(error: &Error) -> bool {
    error.code() == Some(ErrorCode::NotAnswered)
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
            Err(Error::timeout(format!("no answer from the peer within {timeout:?}"))
                .with_code(ErrorCode::NotAnswered))
        }
        // It did not come as far as the connection.
        Ok(Err(RpcError::Send(reason))) => {
            Err(Error::resource_exhausted(format!("a request cannot be sent: {reason}")))
        }
        Ok(Err(error)) => {
            let message = format!("the connection to the coordinator failed: {error}");
            Err(Error::unavailable(message).with_code(ErrorCode::ConnectionFailed))
        }
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
    use std::future::{pending, ready};

    use super::*;
    use crate::error::ErrorKind;

    async fn failure(call: impl Future<Output = Result<Result<()>, RpcError>>) -> Error {
        in_time(Duration::from_millis(1), |_| call).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_became_of_a_call_is_known_whatever_is_said_of_it() {
        let shutdown = failure(ready(Err(RpcError::Shutdown))).await;
        let late = failure(ready(Err(RpcError::DeadlineExceeded))).await;
        let answered = failure(ready(Ok(Err(Error::unavailable("no room"))))).await;
        let kinds = [&shutdown, &late, &answered].map(Error::kind);
        assert_eq!(kinds, [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unavailable]);
        for (error, failed, silent) in
            [(shutdown, true, false), (late, false, true), (answered, false, false)]
        {
            let error = error.context("submitting a job");
            assert_eq!((connection_failed(&error), not_answered(&error)), (failed, silent));
        }
        assert!(not_answered(&failure(pending()).await));
    }

    #[tokio::test]
    async fn a_panicking_handler_answers() {
        let error = guarded::<()>(async { panic!("index out of bounds") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "panicked: index out of bounds");
    }
}
