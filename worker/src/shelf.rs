//! What is made once for all who want it, and kept while there is room.

use std::hash::Hash;

use keyloom_common::Result;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};

/// About as many values as there are.
const VALUES: usize = 1024;

/// Values by their names. Those that nobody uses go first.
#[derive(Debug)]
pub(crate) struct Shelf<K, V>(Cache<K, Weighed<V>, Capped>);

/// A value and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Weighed<V>(pub(crate) V, pub(crate) u64);

/// The bytes of values, but of none more than so many: also a value that is larger than all room is
/// better kept than made again and again, each time in as much memory.
#[derive(Clone, Copy, Debug)]
struct Capped(u64);

impl<K, V> Weighter<K, Weighed<V>> for Capped {
    fn weight(&self, _: &K, value: &Weighed<V>) -> u64 {
        // What weighs nothing is never evicted.
        value.1.min(self.0).max(1)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Shelf<K, V> {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let mut options = OptionsBuilder::new();
        // With several shards, a value may be larger than its shard while the whole has room.
        options.shards(1).estimated_items_capacity(VALUES).weight_capacity(bytes.max(2));
        let options = options.build().expect("both capacities are set");
        let hasher = DefaultHashBuilder::default();
        Self(Cache::with_options(options, Capped(bytes / 2), hasher, Default::default()))
    }

    /// A value that is kept.
    pub(crate) fn get(&self, name: &K) -> Option<V> {
        self.0.get(name).map(|value| value.0)
    }

    /// A value, made unless it is kept. Nobody else makes it meanwhile.
    ///
    /// # Errors
    /// That of making it; then the next who waits makes it.
    pub(crate) async fn get_or_make(
        &self,
        name: &K,
        make: impl Future<Output = Result<Weighed<V>>>,
    ) -> Result<V> {
        Ok(self.0.get_or_insert_async(name, make).await?.0)
    }

    /// Lets go of a value.
    pub(crate) fn remove(&self, name: &K) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::{FutureExt, future::join_all};
    use keyloom_common::Error;
    use tokio::{sync::Notify, task::yield_now};

    use super::*;

    async fn put(shelf: &Shelf<u32, u32>, name: u32, bytes: u64) {
        let made = shelf.get_or_make(&name, async { Ok(Weighed(10 * name, bytes)) }).await;
        assert_eq!(made, Ok(10 * name));
    }

    fn kept(shelf: &Shelf<u32, u32>) -> Vec<u32> {
        (0..100).filter(|name| shelf.get(name).is_some()).collect()
    }

    #[tokio::test]
    async fn all_who_want_a_value_at_once_get_one() {
        let (shelf, made) = (Shelf::new(100), AtomicU32::new(0));
        let get = || {
            shelf.get_or_make(&7, async {
                yield_now().await;
                Ok(Weighed(made.fetch_add(1, Ordering::Relaxed), 1))
            })
        };
        let got = join_all((0..20).map(|_| get())).await;
        assert_eq!(got, vec![Ok(0); 20]);
        shelf.remove(&7);
        assert_eq!(get().await, Ok(1));
    }

    #[tokio::test]
    async fn where_one_fails_or_gives_up_another_makes_it() {
        let (shelf, never) = (Shelf::<u32, u32>::new(100), Notify::new());
        let mut given_up = Box::pin(shelf.get_or_make(&1, async {
            never.notified().await;
            Ok(Weighed(1, 1))
        }));
        assert!(futures::poll!(&mut given_up).is_pending());
        let mut next = Box::pin(shelf.get_or_make(&1, async { Ok(Weighed(2, 1)) }));
        assert!(futures::poll!(&mut next).is_pending());
        drop(given_up);
        assert_eq!(next.now_or_never(), Some(Ok(2)));
        shelf.remove(&1);
        let gone = || Error::unavailable("gone");
        assert_eq!(shelf.get_or_make(&1, async { Err(gone()) }).await, Err(gone()));
        put(&shelf, 1, 1).await;
    }

    #[tokio::test]
    async fn values_take_no_more_than_their_room() {
        let shelf = Shelf::new(100);
        for name in 0..50 {
            put(&shelf, name, 10).await;
            assert!(shelf.0.weight() <= 100);
        }
        let kept = kept(&shelf);
        assert!((9..=10).contains(&kept.len()) && kept.contains(&49), "{kept:?}");
    }

    #[tokio::test]
    async fn a_value_that_is_larger_than_all_room_is_kept_alone_or_beside_little() {
        let shelf = Shelf::new(100);
        put(&shelf, 1, 10_000).await;
        assert_eq!(kept(&shelf), [1]);
        for name in 2..50 {
            put(&shelf, name, 10_000).await;
            assert!(kept(&shelf).len() <= 2, "{name}");
        }
    }
}
