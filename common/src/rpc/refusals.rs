//! Refused connections in the log. Whoever reaches the port can have itself refused as often as it
//! likes, and what a stranger does must not fill a disk: of very many only some are told, and how
//! many others there were. All are counted elsewhere.

use std::{
    mem::take,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// So many at once are told, each with its reason.
const AT_ONCE: f64 = 2_000.0;

/// So many more with each second that passes.
const EACH_SECOND: f64 = 20.0;

/// How many may be told.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Debug)]
struct State {
    left: f64,
    looked: Instant,
    untold: u64,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { left: AT_ONCE, looked: now, untold: 0 }))
    }

    /// Whether one is told that is refused now: then with how many that were not told before it.
    pub(super) fn tell(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.looked).as_secs_f64();
        state.left = (state.left + passed * EACH_SECOND).min(AT_ONCE);
        state.looked = state.looked.max(now);
        if state.left < 1.0 {
            state.untold += 1;
            return None;
        }
        state.left -= 1.0;
        Some(take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_a_flood_some_are_told_and_how_many_others_there_were() {
        let start = Instant::now();
        let refusals = Refusals::new(start);
        let told = |at, times: usize| {
            let told: Vec<u64> = (0..times).filter_map(|_| refusals.tell(at)).collect();
            (told.len(), told.iter().sum::<u64>())
        };
        assert_eq!(told(start, 10_000), (2_000, 0));
        let later = start + Duration::from_secs(1);
        assert_eq!(told(later, 100), (20, 8_000));
        assert_eq!(told(later + Duration::from_secs(10), 1), (1, 80));
        assert_eq!(told(later + Duration::from_secs(3_600), 3_000), (2_000, 0));
        // Another thread may have looked at the clock before.
        assert_eq!(told(start, 1), (0, 0));
    }
}
