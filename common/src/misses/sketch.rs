//! Counting distinct keys over tasks, in bounded memory.
//!
//! Keys are known by hashes of 64 bits. As long as there is room, all are kept, and the count is
//! exact; beyond, only the least ones are, and how far these reach tells how many there are (a
//! theta sketch). What is kept depends on the keys alone, neither on their order nor on the tasks
//! that saw them.

use serde::{Deserialize, Serialize};

/// What a hash takes.
const CODE_BYTES: u64 = size_of::<u64>() as u64;

/// With fewer hashes, nothing could be told of many.
const LEAST: u64 = 64;

/// How many values a hash may have, as nearly as matters.
const CODES: f64 = u64::MAX as f64;

/// How many distinct keys there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// How many.
    pub count: u64,
    /// Whether there are exactly so many, and not about.
    pub is_exact: bool,
}

/// Hashes of keys, of which the least are kept, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySketch {
    /// The most that are kept.
    most: u64,
    /// Those that are kept are below; all of them are, if this is the largest number.
    below: u64,
    /// Those at the front are sorted and each once; those that were added since follow as they came.
    codes: Vec<u64>,
}

impl KeySketch {
    /// None yet, and room for about so many bytes; twice as many while keys are added.
    pub fn new(bytes: u64) -> Self {
        Self { most: most(bytes), below: u64::MAX, codes: Vec::new() }
    }

    /// Adds a key by its hash, which must be well spread.
    pub fn add(&mut self, code: u64) {
        let code = code.min(u64::MAX - 1);
        if code < self.below {
            self.codes.push(code);
            if self.codes.len() as u64 >= self.most.saturating_mul(2) {
                self.settle();
            }
        }
    }

    /// Adds the keys of another, which keeps its own.
    pub fn merge(&mut self, other: &Self) {
        if other.below < self.below {
            self.below = other.below;
            self.codes.retain(|code| *code < other.below);
        }
        other.codes.iter().for_each(|code| self.add(*code));
    }

    /// The same in so many bytes.
    pub fn shorten(&mut self, bytes: u64) {
        self.most = most(bytes).min(self.most);
        // Sorting is left to who adds them all up, as long as they fit as they are.
        if self.codes.len() as u64 > self.most {
            self.settle();
        }
    }

    /// About the bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.codes.capacity() as u64 * CODE_BYTES
    }

    /// How many distinct keys were added.
    pub fn distinct(&self) -> Distinct {
        let mut settled = self.clone();
        settled.settle();
        let kept = settled.codes.len() as u64;
        if settled.below == u64::MAX {
            return Distinct { count: kept, is_exact: true };
        }
        let count = kept as f64 * (CODES / settled.below.max(1) as f64);
        Distinct { count: count.round() as u64, is_exact: false }
    }

    /// Each once, and no more than there may be.
    fn settle(&mut self) {
        let is_down = |pair: &[u64]| pair[0] > pair[1];
        let sorted = self.codes.windows(2).position(is_down).map(|at| at + 1);
        match sorted {
            None => {}
            Some(sorted) if sorted < self.codes.len() / 2 => self.codes.sort_unstable(),
            Some(sorted) => {
                self.codes[sorted..].sort_unstable();
                // It finds both runs, and only merges them.
                self.codes.sort();
            }
        }
        self.codes.dedup();
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        if let Some(first_left_out) = self.codes.get(most) {
            self.below = *first_left_out;
            self.codes.truncate(most);
        }
    }
}

fn most(bytes: u64) -> u64 {
    (bytes / CODE_BYTES).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads numbers.
    fn code(key: u64) -> u64 {
        let mixed = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn sketch(bytes: u64, keys: impl IntoIterator<Item = u64>) -> KeySketch {
        let mut sketch = KeySketch::new(bytes);
        keys.into_iter().for_each(|key| sketch.add(code(key)));
        sketch
    }

    #[test]
    fn as_long_as_there_is_room_the_count_is_exact() {
        let often = (0..1000).chain(500..1000).chain(0..10);
        let distinct = sketch(8000, often).distinct();
        assert_eq!(distinct, Distinct { count: 1000, is_exact: true });
        assert_eq!(sketch(0, []).distinct(), Distinct { count: 0, is_exact: true });
        assert!(!sketch(8000, 0..1001).distinct().is_exact);
    }

    #[test]
    fn beyond_it_is_about_right() {
        let Distinct { count, is_exact } = sketch(8 << 12, 0..1_000_000).distinct();
        assert!(!is_exact && (950_000..1_050_000).contains(&count), "{count}");
    }

    #[test]
    fn keys_of_several_tasks_are_counted_as_those_of_one() {
        for (bytes, keys) in [(1 << 20, 1000), (800, 1000), (800, 100_000)] {
            let whole = sketch(bytes, 0..keys).distinct();
            for tasks in [2, 7] {
                let mut merged = KeySketch::new(bytes);
                for task in (0..tasks).rev() {
                    // Neighbours share half of their keys.
                    let (start, end) = (keys * task / tasks, keys * (task + 2) / tasks);
                    merged.merge(&sketch(bytes, start..end.min(keys)));
                }
                assert_eq!(merged.distinct(), whole, "{bytes} bytes, {keys} keys, {tasks} tasks");
            }
        }
    }

    #[test]
    fn what_was_shortened_is_as_if_there_had_never_been_more_room() {
        let mut shortened = sketch(1 << 20, 0..10_000);
        shortened.shorten(800);
        assert_eq!(shortened.distinct(), sketch(800, 0..10_000).distinct());
    }
}
