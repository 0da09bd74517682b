//! Threads that do the parts of one computation side by side.

use std::{
    sync::{Mutex, PoisonError},
    thread::{Builder, scope},
};

use tokio::runtime::Handle;

/// The most threads of one computation: more would wait for each other's memory.
pub(super) const MAX_THREADS: usize = 8;

/// As many threads as the worker computes with.
pub(super) fn of_worker() -> usize {
    let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
    threads.min(MAX_THREADS)
}

/// Does all parts in so many threads, this one among them; each takes the next part when it is done
/// with one. Parts are made while others wait, so that is to be quick.
pub(super) fn for_each<P: Send>(
    threads: usize,
    parts: impl IntoIterator<Item = P, IntoIter: Send>,
    run: impl Fn(P) + Sync,
) {
    let parts = Mutex::new(parts.into_iter());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run_all = || {
        while let Some(part) = next() {
            run(part);
        }
    };
    scope(|scope| {
        for _ in 1..threads {
            // If there are no more threads to be had, those that are there do everything.
            let _ = Builder::new().spawn_scoped(scope, run_all);
        }
        run_all();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_part_is_done_once() {
        for threads in [0, 1, 2, 3, 8] {
            for count in [0, 1, 2, 100] {
                let mut done = vec![0; count];
                let times = AtomicUsize::new(0);
                for_each(threads, done.iter_mut().zip(7..), |(place, part)| {
                    *place = part;
                    times.fetch_add(1, Ordering::Relaxed);
                });
                let expected: Vec<_> = (7..).take(count).collect();
                assert_eq!((done, times.into_inner()), (expected, count), "{threads}");
            }
        }
    }

    #[test]
    fn the_worker_has_the_threads_of_its_runtime() {
        assert_eq!(of_worker(), 1);
        for (threads, expected) in [(1, 1), (3, 3), (MAX_THREADS + 1, MAX_THREADS)] {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(threads).build().unwrap();
            let blocking = runtime.spawn_blocking(of_worker);
            assert_eq!(runtime.block_on(blocking).unwrap(), expected);
        }
    }
}
