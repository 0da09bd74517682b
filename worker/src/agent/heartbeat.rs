//! Registration and heartbeats, on a thread and a connection of their own.

use std::{sync::Arc, thread};

use keyloom_common::{
    Error, Result, WorkerId,
    rpc::{WorkerApiClient, WorkerInfo, in_time},
    stack::STACK_BYTES,
};
use tokio::{sync::oneshot, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Dial, pulse::Pulse, running::Running};
use crate::{settings::Settings, task::Underway};

/// A registration that is kept alive until this is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// Cancelled when the registration is lost.
    pub(super) lost: CancellationToken,
    /// Cancelled to ask for no new tasks.
    pub(super) drain: CancellationToken,
    /// Cancelled when the coordinator has answered that it gives no new tasks.
    pub(super) drained: CancellationToken,
    _stop: DropGuard,
}

/// Registers and keeps saying that the worker is alive, which attempts it has, and how far they are.
pub(super) async fn start(
    dial: Arc<dyn Dial>,
    info: WorkerInfo,
    (running, underway): (Running, Underway),
    settings: &Settings,
) -> Result<Heartbeat> {
    let (lost, drain, stop) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let drained = CancellationToken::new();
    let (registered, answer) = oneshot::channel();
    let pulse = Pulse::start(settings.heartbeat());
    let beat = Beat {
        dial,
        info,
        running,
        underway,
        pulse,
        settings: settings.clone(),
        drain: drain.clone(),
        drained: drained.clone(),
    };
    let (guard, ended) = (lost.clone().drop_guard(), stop.clone());
    thread::Builder::new()
        .name("heartbeat".to_owned())
        // It looks at plans that run, and may be the last one to hold one.
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _guard = guard;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        () = beat.run(registered) => {}
                        () = ended.cancelled() => {}
                    }
                }),
                Err(error) => {
                    let _ = registered.send(Err(Error::resource_exhausted(error.to_string())));
                }
            }
        })
        .map_err(|error| Error::resource_exhausted(format!("no thread for heartbeats: {error}")))?;
    let stop = stop.drop_guard();
    answer.await.map_err(|_| Error::internal("the heartbeat thread ended"))??;
    Ok(Heartbeat { lost, drain, drained, _stop: stop })
}

struct Beat {
    dial: Arc<dyn Dial>,
    info: WorkerInfo,
    running: Running,
    underway: Underway,
    pulse: Pulse,
    settings: Settings,
    drain: CancellationToken,
    drained: CancellationToken,
}

impl Beat {
    async fn run(self, registered: oneshot::Sender<Result<()>>) {
        let (worker, timeout) = (self.info.id, self.settings.rpc.call_timeout());
        let client = match self.dial.dial().await {
            Ok(client) => client,
            Err(error) => {
                let _ = registered.send(Err(error));
                return;
            }
        };
        let answer = in_time(timeout, |context| client.register(context, self.info.clone())).await;
        let refused = answer.is_err();
        if registered.send(answer).is_err() || refused {
            return;
        }
        if let Err(error) = self.beat(&client, worker).await {
            tracing::warn!(%worker, %error, "the coordinator does not hear heartbeats");
        }
    }

    async fn beat(&self, client: &WorkerApiClient, worker: WorkerId) -> Result<()> {
        let timeout = self.settings.rpc.call_timeout();
        let mut interval = tokio::time::interval(self.settings.heartbeat());
        // After a stall one heartbeat says as much as all that were missed.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = false;
        loop {
            tokio::select! {
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    in_time(timeout, |context| client.drain(context, worker)).await?;
                    self.drained.cancel();
                }
                _ = interval.tick() => {
                    let (silence, bound) = (self.pulse.silence(), self.settings.stall_timeout());
                    if silence > bound {
                        return Err(Error::internal(format!(
                            "the worker's threads did nothing for {silence:?}, more than \
                             stall_timeout_ms; its tasks are given up"
                        )));
                    }
                    let attempts = self.running.all();
                    let progress = self.underway.told(self.settings.rpc.max_frame_bytes);
                    let beat = |context| client.heartbeat(context, worker, attempts, progress);
                    in_time(timeout, beat).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::{AttemptId, JobId, StageId, TaskId};
    use tokio::sync::mpsc;

    use super::*;
    use crate::agent::testing::FakeCoordinator;

    #[tokio::test]
    async fn heartbeats_say_which_attempts_there_are_and_how_far_they_are_now() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let settings = Settings { heartbeat_ms: 1, ..Settings::default() };
        let (id, name) = (WorkerId::new(), "w".to_owned());
        let info = WorkerInfo { id, name, slots: 1, shuffle: None };
        let stage = StageId { job: JobId::new(), index: 0 };
        let attempt = AttemptId { task: TaskId { stage, index: 0 }, number: 0 };
        let (running, underway) = (Running::default(), Underway::default());
        let _stop = running.start(attempt);
        let runs = underway.begin(attempt, None, &CancellationToken::new());
        runs.counted.hand_in(5);
        let dial = Arc::new(FakeCoordinator { heard: Some(tell), ..FakeCoordinator::default() });
        let heartbeat = start(dial, info, (running, underway), &settings).await.unwrap();
        let mut rows = async || {
            let (attempts, progress) = told.recv().await.unwrap();
            assert_eq!(attempts, [attempt]);
            progress.first().map(|(of, progress)| (*of, progress.rows))
        };
        assert_eq!(rows().await, Some((attempt, 5)));
        runs.counted.hand_in(2);
        // Heartbeats that are on their way tell of what was before.
        while rows().await != Some((attempt, 7)) {}
        drop(runs);
        while rows().await.is_some() {}
        drop(heartbeat);
    }
}
