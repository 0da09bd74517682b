//! Proof that the worker's runtime does something: heartbeats have a thread of their own, which
//! would say that the worker lives when nothing else in it does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

/// When the runtime last did something. Who holds the handle may ask; dropping it ends the pulse.
#[derive(Debug)]
pub(super) struct Pulse {
    beat: Arc<Mutex<Instant>>,
    _beating: AbortOnDropHandle<()>,
}

impl Pulse {
    /// Beats on the runtime that this is called on, so often.
    pub(super) fn start(period: Duration) -> Self {
        let beat = Arc::new(Mutex::new(Instant::now()));
        let beating = Arc::clone(&beat);
        let beating = tokio::spawn(async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                *beating.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
        });
        Self { beat, _beating: AbortOnDropHandle::new(beating) }
    }

    /// How long the runtime did nothing.
    pub(super) fn silence(&self) -> Duration {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_runtime_that_hangs_has_no_pulse() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let pulse = Pulse::start(Duration::from_millis(1));
        let (hang, hangs) = mpsc::channel::<()>();
        runtime.spawn(async move { hangs.recv().is_err() });
        let bound = Duration::from_millis(200);
        let started = Instant::now();
        while pulse.silence() < bound {
            assert!(started.elapsed() < Duration::from_secs(60), "it beats on");
            std::thread::yield_now();
        }
        drop(hang);
        while pulse.silence() >= bound {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not beat again");
            std::thread::yield_now();
        }
        drop(entered);
    }
}
