//! Runs Lance's work in tasks of its own: several at once, and a panic in one is only an error.
//!
//! Dropping the caller's future ends the tasks.

use std::{any::Any, future::Future};

use futures::FutureExt;
use keyloom_common::{Error, Result};
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

/// Runs futures, at most `in_flight` at once, and hands on what they give with their index, in any
/// order. The first error ends all.
pub(super) async fn run_each<T, F>(
    futures: impl IntoIterator<Item = F>,
    in_flight: usize,
    mut take: impl FnMut(usize, T),
) -> Result<()>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut futures = futures.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < in_flight.max(1) {
            let Some((index, future)) = futures.next() else { break };
            running.spawn(async move { (index, future.await) }.in_current_span());
        }
        let Some(done) = running.join_next().await else { return Ok(()) };
        let (index, output) = done.map_err(died)?;
        take(index, output?);
    }
}

/// As [`run_each`], with all outputs in the order of the futures.
pub(super) async fn run_all<T, F>(
    futures: impl IntoIterator<Item = F>,
    in_flight: usize,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut outputs = Vec::new();
    run_each(futures, in_flight, |index, output| outputs.push((index, output))).await?;
    outputs.sort_by_key(|(index, _)| *index);
    Ok(outputs.into_iter().map(|(_, output)| output).collect())
}

/// Runs one future. It is boxed: those of opening a dataset are nested deeper than the compiler
/// follows.
pub(super) async fn run<T, F>(future: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut output = run_all([future.boxed()], 1).await?;
    output.pop().ok_or_else(|| Error::internal("a task ended without output"))
}

/// Runs what computes and does not wait.
pub(super) async fn run_blocking<T: Send + 'static>(
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(compute).await.map_err(died)
}

fn died(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => panicked(&*panic),
        Err(_) => Error::cancelled("the worker is shutting down"),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Error::store(format!("the Lance reader panicked: {}", text.unwrap_or("without a message")))
}

#[cfg(test)]
mod tests {
    use keyloom_common::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn outputs_come_in_the_order_of_the_futures() {
        let futures = (0..20).map(|i| async move {
            // Later ones are done earlier.
            for _ in i..20 {
                tokio::task::yield_now().await;
            }
            Ok(i)
        });
        assert_eq!(run_all(futures, 7).await.unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let future = async { unreachable!("lance fell over") };
        let error = run::<(), _>(future).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().ends_with("lance fell over"), "{error}");
    }
}
