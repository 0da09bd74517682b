//! Values that are made together, as far as they are not kept.

use std::hash::Hash;

use keyloom_common::{Error, Result};

use super::{Kept, KeptCache};

impl<K: Clone + Eq + Hash, T> KeptCache<K, T> {
    /// As [`Self::get_or_pass`], of several values, and which of them were made: together all that
    /// are not kept. Whoever asks so names values in an order that all who do share, or two would
    /// wait for each other.
    pub(in crate::store) async fn get_or_pass_all<F>(
        &self,
        names: &[K],
        bytes: &[u64],
        weigh: fn(&T) -> u64,
        make: impl FnOnce(Vec<usize>) -> F,
    ) -> Result<(Vec<T>, Vec<usize>)>
    where
        T: Clone,
        F: Future<Output = Result<Vec<T>>>,
    {
        let (mut values, mut absent) = (Vec::with_capacity(names.len()), Vec::new());
        let mut places = Vec::new();
        for (at, (name, bytes)) in names.iter().zip(bytes).enumerate() {
            match self.cache.get_value_or_guard_async(name).await {
                Ok(kept) => values.push(Some(kept.value.clone())),
                Err(guard) => {
                    values.push(None);
                    absent.push(at);
                    // Where there is no room, others are not to wait.
                    places.push(self.room(*bytes).map(|room| (guard, room)));
                }
            }
        }
        if !absent.is_empty() {
            let made = make(absent.clone()).await?;
            for ((at, place), value) in absent.iter().zip(places).zip(made) {
                if let Some((guard, room)) = place {
                    // If it is not wanted any more, it is only not kept.
                    let _ = guard.insert(Kept::new(value.clone(), weigh(&value), room));
                }
                values[*at] = Some(value);
            }
        }
        let values: Option<Vec<T>> = values.into_iter().collect();
        Ok((values.ok_or_else(|| Error::internal("a value was not made"))?, absent))
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::memory::MemoryBudget;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Of a value.
    const BYTES: u64 = 10 * MIB;

    #[tokio::test]
    async fn values_are_made_together_as_far_as_they_are_not_there() {
        // The cache may keep half of the memory.
        let memory = MemoryBudget::new("memory_bytes", 100 * MIB);
        let cache: KeptCache<u32, u32> = KeptCache::new(50 * MIB, BYTES, &memory);
        let state = || (cache.len(), memory.used() / MIB);
        cache.put(2, 2, BYTES);
        let ask = async |names: &[u32]| {
            let make = |absent: Vec<usize>| {
                let made: Vec<u32> = absent.iter().map(|at| 10 * names[*at]).collect();
                async move {
                    tokio::task::yield_now().await;
                    Ok::<_, Error>(made)
                }
            };
            cache.get_or_pass_all(names, &vec![BYTES; names.len()], |_| BYTES, make).await
        };
        // Both want the third at once, and one of them makes it.
        let (one, other) = tokio::join!(ask(&[1, 2, 3]), ask(&[3, 4]));
        assert_eq!(one, Ok((vec![10, 2, 30], vec![0, 2])));
        assert_eq!(other, Ok((vec![30, 40], vec![1])));
        assert_eq!(state(), (4, 40));
        assert_eq!(ask(&[1, 3]).await, Ok((vec![10, 30], vec![])));
        // What has no room is made each time.
        let others = memory.try_take(60 * MIB).unwrap();
        cache.let_go(u64::MAX);
        others.try_grow(40 * MIB).unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&[5, 6]).await, Ok((vec![50, 60], vec![0, 1])));
        }
        assert_eq!(state(), (0, 100));
    }
}
