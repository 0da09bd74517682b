//! The memory of a process: one budget, and parts of it that have bounds of their own within it.
//!
//! Whoever takes some says first how much, and does without, waits, or fails by the name of what is
//! full. It is counted, not measured: what is not worth counting comes on top.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// So many bytes for all that share them.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Account>);

#[derive(Debug)]
struct Account {
    name: Arc<str>,
    bytes: u64,
    used: AtomicU64,
    whole: Option<MemoryBudget>,
}

/// What somebody takes of a budget and of the wholes that it is a part of, until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: MemoryBudget,
    bytes: AtomicU64,
}

/// Why there is nothing to be had: the budget that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    name: Arc<str>,
    bytes: u64,
    free: u64,
}

impl MemoryBudget {
    /// So many bytes, by the name of the setting that says so.
    pub fn new(name: impl Into<Arc<str>>, bytes: u64) -> Self {
        Self(Arc::new(Account { name: name.into(), bytes, used: AtomicU64::new(0), whole: None }))
    }

    /// A part of these bytes: what is taken of it is taken of the whole, too. One that could be as
    /// large as the whole is only bounded by that, and bears its name.
    #[must_use]
    pub fn part(&self, name: impl Into<Arc<str>>, bytes: u64) -> Self {
        let (name, bytes) = match bytes < self.bytes() {
            true => (name.into(), bytes),
            false => (Arc::clone(&self.0.name), self.bytes()),
        };
        let whole = Some(self.clone());
        Self(Arc::new(Account { name, bytes, used: AtomicU64::new(0), whole }))
    }

    /// Nothing yet, to grow.
    pub fn reserve(&self) -> Reserved {
        Reserved { budget: self.clone(), bytes: AtomicU64::new(0) }
    }

    /// Takes so many bytes, if they are free.
    ///
    /// # Errors
    /// What is full: this budget or one that it is a part of.
    pub fn try_take(&self, bytes: u64) -> Result<Reserved, Full> {
        let reserved = self.reserve();
        reserved.try_grow(bytes)?;
        Ok(reserved)
    }

    /// Takes so many bytes, though they may not be free: for what is there anyway, and must be few.
    pub fn force(&self, bytes: u64) -> Reserved {
        let reserved = self.reserve();
        reserved.grow(bytes);
        reserved
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// How many of them are taken; more than there are, if some were forced.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// How many could be taken now.
    pub fn free(&self) -> u64 {
        let own = self.bytes().saturating_sub(self.used());
        self.0.whole.as_ref().map_or(own, |whole| own.min(whole.free()))
    }

    fn try_add(&self, bytes: u64) -> Result<(), Full> {
        let Account { name, bytes: all, used, whole } = self.0.as_ref();
        let room = |used: u64| used.checked_add(bytes).filter(|used| used <= all);
        let added = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        added.map_err(|used| {
            let (name, free) = (Arc::clone(name), all.saturating_sub(used));
            Full { name, bytes: *all, free }
        })?;
        let of_whole = whole.as_ref().map_or(Ok(()), |whole| whole.try_add(bytes));
        of_whole.inspect_err(|_| {
            used.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn add(&self, bytes: u64) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.add(bytes);
        }
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.give_back(bytes);
        }
    }
}

impl Reserved {
    /// What it is taken of.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// How many bytes it is.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes so many more, if they are free.
    ///
    /// # Errors
    /// As [`MemoryBudget::try_take`]; it stays as it was then.
    pub fn try_grow(&self, bytes: u64) -> Result<(), Full> {
        self.budget.try_add(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Takes so many more, though they may not be free.
    pub fn grow(&self, bytes: u64) {
        self.budget.add(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives so many back, of those that it is.
    pub fn shrink(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.give_back(bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.give_back(*self.bytes.get_mut());
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, bytes, free } = self;
        write!(f, "only {free} of the {bytes} bytes of {name} are free")
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let budget = MemoryBudget::new("memory_bytes", 10);
        let one = budget.try_take(6).unwrap();
        let full = budget.try_take(5).unwrap_err();
        assert_eq!(full.to_string(), "only 4 of the 10 bytes of memory_bytes are free");
        one.try_grow(4).unwrap();
        assert!(one.try_grow(1).is_err() && budget.try_take(u64::MAX).is_err());
        one.shrink(7);
        assert_eq!((one.bytes(), budget.used(), budget.free()), (3, 3, 7));
        drop(one);
        assert_eq!((budget.used(), budget.free()), (0, 10));
    }

    #[test]
    fn parts_are_bounded_by_themselves_and_by_the_whole() {
        let whole = MemoryBudget::new("memory_bytes", 10);
        let [one, two] = ["one", "two"].map(|name| whole.part(name, 8));
        let first = one.try_take(8).unwrap();
        assert_eq!((one.free(), two.free(), whole.used()), (0, 2, 8));
        assert!(one.try_take(1).unwrap_err().to_string().ends_with("8 bytes of one are free"));
        let full = two.try_take(3).unwrap_err();
        assert!(full.to_string().ends_with("only 2 of the 10 bytes of memory_bytes are free"));
        assert_eq!((two.used(), whole.used()), (0, 8), "a part of it was taken");
        drop(first);
        assert_eq!(two.try_take(8).unwrap().bytes(), 8);
        assert_eq!((whole.used(), whole.free()), (0, 10));
    }

    #[test]
    fn a_part_as_large_as_the_whole_bears_its_name() {
        let part = MemoryBudget::new("memory_bytes", 10).part("other_bytes", 11);
        assert_eq!((part.name(), part.bytes()), ("memory_bytes", 10));
    }

    #[test]
    fn what_is_forced_counts_though_it_does_not_fit() {
        let whole = MemoryBudget::new("memory_bytes", 10);
        let part = whole.part("part", 5);
        let forced = part.force(20);
        assert_eq!((part.used(), whole.used(), whole.free()), (20, 20, 0));
        assert!(whole.try_take(1).is_err());
        drop(forced);
        assert_eq!((part.used(), whole.used()), (0, 0));
    }

    #[test]
    fn many_who_take_at_once_never_have_more_than_there_is() {
        const THREADS: u64 = 8;
        let whole = MemoryBudget::new("memory_bytes", 10);
        let parts = [(); 2].map(|()| whole.part("part", 7));
        let taken: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (whole, part) = (&whole, &parts[usize::from(thread % 2 == 1)]);
                    scope.spawn(move || {
                        let take = |round| {
                            let reserved = part.try_take(1 + (thread + round) % 4);
                            assert!(part.used() <= 7 && whole.used() <= 10);
                            u64::from(reserved.is_ok())
                        };
                        (0..1_000).map(take).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(taken > 0);
        assert_eq!((whole.used(), parts.map(|part| part.used())), (0, [0, 0]));
    }
}
