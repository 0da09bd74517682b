//! The memory that tasks share with what is kept for later, which gives way to them.
//!
//! Where nothing is free, whoever keeps something that it can do without lets go of it. What tasks
//! hold is never taken from them: who finds nothing even then goes without, or fails by the name of
//! what is full. Nobody waits here, so nobody waits for ever.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keyloom_common::memory::{Full, MemoryBudget, Reserved};

/// How often room is made for those who find none.
const TRIES: u32 = 8;

/// So many bytes for all that share them, and those who keep something in them.
#[derive(Clone, Debug)]
pub(crate) struct Commons {
    budget: MemoryBudget,
    keepers: Arc<Mutex<Vec<Weak<dyn Keeper>>>>,
}

/// Whoever keeps something for later.
pub(crate) trait Keeper: fmt::Debug + Send + Sync {
    /// Lets go of about so many bytes, or of all that it can.
    fn let_go(&self, bytes: u64);
}

impl Commons {
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        Self { budget, keepers: Arc::default() }
    }

    pub(crate) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Adds a keeper, who is asked after those before.
    pub(crate) fn add_keeper(&self, keeper: Weak<dyn Keeper>) {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
    }

    /// Nothing yet, to grow.
    pub(crate) fn reserve(&self) -> Reserved {
        self.budget.part("all", u64::MAX).reserve()
    }

    /// Takes so many more bytes for what is a part of these, if they are free or kept by somebody.
    ///
    /// # Errors
    /// What is full.
    pub(crate) fn grow(&self, reserved: &Reserved, bytes: u64) -> Result<(), Full> {
        let mut grown = reserved.try_grow(bytes);
        let part = reserved.budget();
        // What the part itself has no room for, nobody else can make room for.
        if grown.is_ok() || part.bytes().saturating_sub(part.used()) < bytes {
            return grown;
        }
        // Others may take what was let go.
        for _ in 0..TRIES {
            self.make_room(bytes);
            grown = reserved.try_grow(bytes);
            if grown.is_ok() {
                break;
            }
        }
        grown
    }

    /// One at a time, so that what two want is not taken twice from who keeps it.
    fn make_room(&self, bytes: u64) {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            match bytes.saturating_sub(self.budget.free()) {
                0 => return,
                missing => keeper.let_go(missing),
            }
        }
    }
}

/// Makes it so many bytes, though they may not be free: for what turns out to be more or less.
pub(crate) fn resize(reserved: &Reserved, bytes: u64) {
    let before = reserved.bytes();
    if bytes > before {
        reserved.grow(bytes - before);
    } else {
        reserved.shrink(before - bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps some and lets go of whole pieces.
    #[derive(Debug)]
    struct Shelf(Mutex<Vec<Reserved>>);

    impl Shelf {
        fn holding(commons: &Commons, pieces: &[u64]) -> Arc<Self> {
            let pieces = pieces.iter().map(|bytes| commons.budget().try_take(*bytes).unwrap());
            let shelf = Arc::new(Self(Mutex::new(pieces.collect())));
            let keeper: Arc<dyn Keeper> = shelf.clone();
            commons.add_keeper(Arc::downgrade(&keeper));
            shelf
        }

        fn kept(&self) -> Vec<u64> {
            self.0.lock().unwrap().iter().map(Reserved::bytes).collect()
        }
    }

    impl Keeper for Shelf {
        fn let_go(&self, bytes: u64) {
            let (mut pieces, mut gone) = (self.0.lock().unwrap(), 0);
            while gone < bytes
                && let Some(piece) = pieces.pop()
            {
                gone += piece.bytes();
            }
        }
    }

    fn commons(bytes: u64) -> Commons {
        Commons::new(MemoryBudget::new("memory_bytes", bytes))
    }

    #[test]
    fn who_keeps_something_gives_way_in_turn() {
        let commons = commons(100);
        let [first, second] = [(); 2].map(|()| Shelf::holding(&commons, &[10, 10, 10]));
        let task = commons.reserve();
        commons.grow(&task, 40).unwrap();
        assert_eq!((first.kept(), second.kept()), (vec![10, 10, 10], vec![10, 10, 10]));
        commons.grow(&task, 15).unwrap();
        assert_eq!((first.kept(), second.kept()), (vec![10], vec![10, 10, 10]));
        commons.grow(&task, 25).unwrap();
        assert_eq!((first.kept(), second.kept()), (vec![], vec![10, 10]));
        let full = commons.grow(&task, 21).unwrap_err();
        assert_eq!(full.to_string(), "only 20 of the 100 bytes of memory_bytes are free");
        drop((task, second));
        assert_eq!(commons.budget().used(), 0);
    }

    #[test]
    fn nobody_gives_way_to_what_would_not_fit_then() {
        let commons = commons(100);
        let shelf = Shelf::holding(&commons, &[60]);
        let operators = commons.budget().part("operator_memory_bytes", 50).reserve();
        let full = commons.grow(&operators, 51).unwrap_err();
        assert!(full.to_string().contains("of operator_memory_bytes"), "{full}");
        assert!(commons.grow(&commons.reserve(), 101).is_err());
        assert_eq!(shelf.kept(), [60]);
        commons.grow(&operators, 50).unwrap();
        assert!(shelf.kept().is_empty());
    }

    #[test]
    fn a_keeper_that_is_gone_is_not_asked() {
        let commons = commons(10);
        drop(Shelf::holding(&commons, &[10]));
        let (first, second) = (commons.reserve(), commons.reserve());
        commons.grow(&first, 10).unwrap();
        assert!(commons.grow(&second, 1).is_err());
    }

    #[test]
    fn what_turns_out_to_be_more_or_less_counts_as_it_is() {
        let commons = commons(10);
        let taken = commons.reserve();
        for bytes in [4, 20, 0] {
            resize(&taken, bytes);
            assert_eq!(commons.budget().used(), bytes);
        }
    }
}
