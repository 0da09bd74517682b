//! The pace at which a frame has to come that holds room for which others wait.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// After a grace, so many bytes a tick, all ticks of a frame together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) tick: Duration,
    pub(super) grace: u32,
    pub(super) bytes: usize,
}

impl Default for Pace {
    /// A chunk of rows has to come in seven seconds, and the largest frame in 21.
    fn default() -> Self {
        Self { tick: Duration::from_secs(1), grace: 5, bytes: 1 << 20 }
    }
}

/// Whether a frame keeps pace. Ticks are counted, and not the time: what a pause of this process
/// made late is one tick.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    pace: Pace,
    next: Option<Pin<Box<Sleep>>>,
    ticks: u32,
}

impl Pacing {
    #[cfg(test)]
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Forgets the frame.
    pub(super) fn reset(&mut self) {
        (self.next, self.ticks) = (None, 0);
    }

    /// Since when the frame comes, once there is too little of it and others wait.
    pub(super) fn poll_behind(
        &mut self,
        come: usize,
        others_wait: impl Fn() -> bool,
        context: &mut Context<'_>,
    ) -> Poll<Duration> {
        let Pace { tick, grace, bytes } = self.pace;
        let next = self.next.get_or_insert_with(|| Box::pin(sleep(tick)));
        loop {
            ready!(next.as_mut().poll(context));
            self.ticks += 1;
            let due = bytes.saturating_mul(self.ticks.saturating_sub(grace) as usize);
            if come < due && others_wait() {
                return Poll::Ready(tick * self.ticks);
            }
            next.as_mut().reset(Instant::now() + tick);
        }
    }
}
