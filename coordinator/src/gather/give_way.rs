//! Letting others go first.

use std::{future::poll_fn, mem, task::Poll};

/// Lets others on this thread go first; whichever thread is free goes on. Tokio's `yield_now` waits
/// until this very thread has nothing else to do: in an embedded session, where it runs tasks, too,
/// each would be added only when the one before it has run for a while.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_gives_way_is_not_held_up_by_what_runs_on_its_thread() {
        let (go, gone) = channel();
        let giving = tokio::spawn(async move {
            let long = tokio::spawn(async move { gone.recv_timeout(Duration::from_secs(10)) });
            give_way().await;
            // The long one may have ended.
            let _ = go.send(());
            long.await.unwrap()
        });
        giving.await.unwrap().expect("the other thread did not go on");
    }
}
