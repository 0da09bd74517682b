//! The bytes that all reads of a worker may bring at once, whatever stores, columns and requests
//! they are made for.
//!
//! A read takes what it is expected to bring, and gives it back when it is done. Nobody who holds
//! some waits for more, so nobody waits for ever; and they are served in the order in which they
//! came, so that a large read is not passed over by small ones.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::StoreSettings;

/// Bytes are counted in so many.
const UNIT: u64 = 1024;

/// What reads in flight may bring.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    units: u32,
    free: Semaphore,
}

/// What a read may bring, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    _units: Option<SemaphorePermit<'a>>,
}

impl ReadBudget {
    pub(crate) fn new(settings: &StoreSettings) -> Self {
        let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
        let units = settings.read_memory_bytes.div_ceil(UNIT).clamp(1, most) as u32;
        Self { units, free: Semaphore::new(units as usize) }
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// How many bytes the reads in flight may bring, about.
    pub(super) fn taken(&self) -> u64 {
        self.bytes().saturating_sub(self.free.available_permits() as u64 * UNIT)
    }

    /// Waits until a read may bring so many bytes. One that is larger than the whole budget waits
    /// until there is no other.
    pub(crate) async fn take(&self, bytes: u64) -> Share<'_> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units.into()) as u32;
        // It is never closed.
        Share { _units: self.free.acquire_many(units).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::join_all;

    use super::*;

    fn budget(read_memory_bytes: u64) -> ReadBudget {
        ReadBudget::new(&StoreSettings { read_memory_bytes, ..StoreSettings::default() })
    }

    /// Makes reads of so many bytes at the same time, and says how many bytes were read at most at
    /// once.
    async fn most_at_once(budget: &ReadBudget, reads: &[u64]) -> u64 {
        let counts = (AtomicU64::new(0), AtomicU64::new(0));
        let (now, most) = (&counts.0, &counts.1);
        let reads = reads.iter().map(|&bytes| async move {
            let _share = budget.take(bytes).await;
            let all = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
            most.fetch_max(all, Ordering::SeqCst);
            // Let others come while this one reads.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(bytes, Ordering::SeqCst);
        });
        join_all(reads).await;
        counts.1.into_inner()
    }

    #[tokio::test]
    async fn reads_together_bring_no_more_than_the_budget() {
        let reads: Vec<u64> = (0..200).map(|read| (read * 37 % 9 + 1) * UNIT).collect();
        for units in [1, 10, 30] {
            let budget = budget(units * UNIT);
            let most = most_at_once(&budget, &reads).await;
            // With one unit, each is alone.
            assert!(most <= units.max(9) * UNIT, "{most} of {units} units");
            assert_eq!(budget.free.available_permits(), units as usize);
        }
        let all = reads.iter().sum();
        assert_eq!(most_at_once(&budget(all), &reads).await, all);
    }

    #[tokio::test]
    async fn a_read_larger_than_the_budget_goes_alone() {
        let budget = budget(4 * UNIT);
        let large = u64::MAX / 4;
        assert_eq!(most_at_once(&budget, &[UNIT, large, UNIT, UNIT, large]).await, large);
        assert_eq!(budget.free.available_permits(), 4);
    }

    #[tokio::test]
    async fn nothing_counts_as_the_least() {
        let budget = budget(0);
        assert_eq!(most_at_once(&budget, &[0, 0, 0]).await, 0);
        assert_eq!(budget.free.available_permits(), 1);
    }
}
