//! The time that counts: of a pause of this process or its machine, little.

use std::time::{Duration, Instant};

use crate::scheduler::Settings;

/// The longest rest before the clock is looked at. What is missed beyond it was a pause of this
/// process or its machine, in which nobody could be heard: it counts for nobody's silence.
pub(super) const MAX_REST: Duration = Duration::from_secs(1);

/// The shortest rest before the clock is looked at, so that a deadline that has passed and changes
/// nothing does not keep the loop busy.
pub(super) const MIN_REST: Duration = Duration::from_millis(5);

/// The time that this process was there to hear others.
pub(super) struct Clock {
    looked: Instant,
    time: Duration,
    /// The most that counts between two looks, well below the silence that makes a worker lost.
    most: Duration,
}

impl Clock {
    pub(super) fn new(settings: &Settings) -> Self {
        let silence = Duration::from_millis(settings.heartbeat_timeout_ms);
        let most = (silence / 4).clamp(2 * MIN_REST, 2 * MAX_REST);
        Self { looked: Instant::now(), time: Duration::ZERO, most }
    }

    /// How long to rest at most until the next look.
    pub(super) fn max_rest(&self) -> Duration {
        MAX_REST.min(self.most / 2)
    }

    pub(super) fn now(&mut self) -> Duration {
        let now = Instant::now();
        let passed = now.duration_since(self.looked);
        if passed > 3 * MAX_REST {
            tracing::warn!("this process stood still for {passed:?}; nobody is judged by that");
        }
        self.time += passed.min(self.most);
        self.looked = now;
        self.time
    }
}
