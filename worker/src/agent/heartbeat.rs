//! Registration and heartbeats, on a thread and a connection of their own.

use std::{sync::Arc, thread};

use keyloom_common::{
    Error, Result, WorkerId,
    rpc::{WorkerApiClient, WorkerInfo, in_time},
};
use tokio::{sync::oneshot, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Dial, pulse::Pulse, running::Running};
use crate::settings::Settings;

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

/// Registers and keeps saying that the worker is alive.
pub(super) async fn start(
    dial: Arc<dyn Dial>,
    info: WorkerInfo,
    running: Running,
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
        pulse,
        settings: settings.clone(),
        drain: drain.clone(),
        drained: drained.clone(),
    };
    let (guard, ended) = (lost.clone().drop_guard(), stop.clone());
    thread::Builder::new()
        .name("heartbeat".to_owned())
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
                    in_time(timeout, |context| client.heartbeat(context, worker, attempts)).await?;
                }
            }
        }
    }
}
