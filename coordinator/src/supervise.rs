//! Tasks that a coordinator cannot be without: when one breaks, the coordinator ends and says so,
//! instead of living on and answering nobody.

use keyloom_common::rpc::guarded;
use tokio_util::sync::CancellationToken;

/// Runs a task; if it panics, `broken` is cancelled.
pub(crate) async fn supervised(
    name: &'static str,
    broken: CancellationToken,
    task: impl Future<Output = ()>,
) {
    let ended = guarded(async {
        task.await;
        Ok(())
    });
    if let Err(error) = ended.await {
        tracing::error!(%error, "{name} broke");
        broken.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        let broken = CancellationToken::new();
        supervised("a task", broken.clone(), async {}).await;
        assert!(!broken.is_cancelled());
        supervised("a task", broken.clone(), async { panic!("out of bounds") }).await;
        assert!(broken.is_cancelled());
    }
}
