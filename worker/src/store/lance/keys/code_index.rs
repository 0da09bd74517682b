//! Positions by 64-bit codes, in 13 bytes a position.
//!
//! Codes are grouped by their upper bits, so that a search looks at a few neighbours; codes must be
//! well spread, as those of a [`super::coder::Coder`] are. Positions of one code stand in order.

mod buckets;
mod threads;

use std::{hint::black_box, iter::zip};

use arrow::buffer::NullBuffer;

use self::buckets::Bucket;

/// Codes that share a group, on average.
const GROUP: usize = 4;

/// Codes that are looked up together.
const CODES_AT_ONCE: usize = 64;

/// Groups of a bucket of codes: as many as the processor's caches hold.
const BUCKET_BITS: u32 = 14;

/// The most buckets: so many places are written to in turn.
const MAX_BUCKETS_BITS: u32 = 9;

/// So many codes are indexed by several threads.
const SHARED_FROM: usize = 256 * 1024;

/// Positions from 0, found by their codes.
#[derive(Debug)]
pub(crate) struct CodeIndex {
    shift: u32,
    /// Where each group starts, and behind them where the last ends.
    starts: Vec<u32>,
    codes: Vec<u64>,
    positions: Vec<u32>,
}

impl CodeIndex {
    /// Indexes the codes by their positions; those at nulls are left out.
    pub(crate) fn new(codes: &[u64], nulls: Option<&NullBuffer>) -> Self {
        let bits = group_bits(codes.len());
        let shift = u64::BITS - bits;
        let groups = 1 << bits;
        let valid = |position: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*position));

        let mut starts = vec![0u32; groups + 1];
        for position in (0..codes.len()).filter(valid) {
            starts[(codes[position] >> shift) as usize + 1] += 1;
        }
        for group in 0..groups {
            starts[group + 1] += starts[group];
        }
        let len = starts[groups] as usize;
        let (mut grouped, mut positions) = (vec![0; len], vec![0; len]);
        let mut next = starts.clone();
        for position in (0..codes.len()).filter(valid) {
            let code = codes[position];
            let place = &mut next[(code >> shift) as usize];
            grouped[*place as usize] = code;
            positions[*place as usize] = position as u32;
            *place += 1;
        }
        Self { shift, starts, codes: grouped, positions }
    }

    /// The same of codes that are no more needed, in the worker's threads if they are many: it takes
    /// hardly more memory than the index.
    pub(super) fn consuming(codes: Vec<u64>, nulls: Option<&NullBuffer>) -> Self {
        let threads = if codes.len() < SHARED_FROM { 1 } else { threads::of_worker() };
        Self::by_buckets(codes, nulls, threads)
    }

    /// The same in so many threads.
    fn by_buckets(codes: Vec<u64>, nulls: Option<&NullBuffer>, threads: usize) -> Self {
        let bits = group_bits(codes.len());
        let of_bucket = bits.saturating_sub(BUCKET_BITS).min(MAX_BUCKETS_BITS);
        if of_bucket == 0 {
            return Self::new(&codes, nulls);
        }
        let buckets = buckets::fill(codes, nulls, of_bucket, threads);
        let len = buckets.iter().map(|bucket| bucket.codes.len()).sum();
        let mut index = Self {
            shift: u64::BITS - bits,
            starts: vec![0; (1 << bits) + 1],
            codes: vec![0; len],
            positions: vec![0; len],
        };
        index.starts[1 << bits] = len as u32;
        index.move_in(buckets, threads);
        index
    }

    /// Moves the codes of buckets to their groups, which are empty.
    fn move_in(&mut self, buckets: Vec<Bucket>, threads: usize) {
        let (shift, groups) = (self.shift, self.starts.len() / buckets.len());
        let mut codes = self.codes.as_mut_slice();
        let mut positions = self.positions.as_mut_slice();
        let mut before = 0;
        let parts = zip(buckets, self.starts.chunks_exact_mut(groups)).map(|(bucket, starts)| {
            let len = bucket.codes.len();
            let codes = codes.split_off_mut(..len).unwrap_or_default();
            let positions = positions.split_off_mut(..len).unwrap_or_default();
            let part = Part { before, starts, codes, positions };
            before += len as u32;
            (bucket, part)
        });
        threads::for_each(threads, parts, |(bucket, part)| part.fill(&bucket, shift));
    }

    /// The positions of a code, in order.
    pub(crate) fn find(&self, code: u64) -> impl Iterator<Item = u32> {
        let (start, end) = self.group(code);
        let (codes, positions) = (&self.codes[start..end], &self.positions[start..end]);
        let found = codes.iter().zip(positions).filter(move |(other, _)| **other == code);
        found.map(|(_, position)| *position)
    }

    /// How many positions it holds.
    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    /// All codes and their positions.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u32)> {
        self.codes.iter().copied().zip(self.positions.iter().copied())
    }

    /// Whether no code has several positions.
    pub(super) fn is_unique(&self) -> bool {
        let mut groups = self.starts.windows(2);
        groups.all(|bounds| {
            let group = &self.codes[bounds[0] as usize..bounds[1] as usize];
            (1..group.len()).all(|at| !group[..at].contains(&group[at]))
        })
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let position = size_of::<u64>() + size_of::<u32>();
        (self.starts.len() * size_of::<u32>() + self.codes.len() * position) as u64
    }

    /// Calls back with the positions of each pair of equal codes, here and there.
    pub(crate) fn for_each_match(&self, other: &Self, mut pair: impl FnMut(u32, u32)) {
        // Through the smaller one in its order, so that memory is read forwards.
        if self.len() <= other.len() {
            self.look_up_in(other, pair);
        } else {
            other.look_up_in(self, |theirs, mine| pair(mine, theirs));
        }
    }

    /// Several codes at a time, with no branch on whether one is equal: so the processor waits for
    /// the memory of many groups at once.
    fn look_up_in(&self, other: &Self, mut pair: impl FnMut(u32, u32)) {
        let mut groups = [(0, 0); CODES_AT_ONCE];
        let mut found = [(0, 0); CODES_AT_ONCE * GROUP];
        let parts = self.codes.chunks(CODES_AT_ONCE).zip(self.positions.chunks(CODES_AT_ONCE));
        for (codes, positions) in parts {
            for (group, code) in groups.iter_mut().zip(codes) {
                *group = other.group(*code);
            }
            let first = |(start, _): &(usize, usize)| {
                let code = other.codes.get(*start).copied().unwrap_or(0);
                code ^ u64::from(other.positions.get(*start).copied().unwrap_or(0))
            };
            black_box(groups.iter().map(first).fold(0, |all, one| all ^ one));
            let mut count = 0;
            for ((&(start, end), code), mine) in groups.iter().zip(codes).zip(positions) {
                for at in start..end {
                    if count == found.len() {
                        found.iter().for_each(|(mine, at)| pair(*mine, other.positions[*at]));
                        count = 0;
                    }
                    found[count] = (*mine, at);
                    count += usize::from(other.codes[at] == *code);
                }
            }
            found[..count].iter().for_each(|(mine, at)| pair(*mine, other.positions[*at]));
        }
    }

    /// Where a code's group starts and ends.
    fn group(&self, code: u64) -> (usize, usize) {
        let group = (code >> self.shift) as usize;
        (self.starts[group] as usize, self.starts[group + 1] as usize)
    }
}

/// Those groups of an index that hold the codes of one bucket.
struct Part<'a> {
    /// How many positions are in the groups before.
    before: u32,
    starts: &'a mut [u32],
    codes: &'a mut [u64],
    positions: &'a mut [u32],
}

impl Part<'_> {
    fn fill(self, bucket: &Bucket, shift: u32) {
        let Self { before, starts, codes, positions } = self;
        let groups = starts.len();
        let group = |code: u64| (code >> shift) as usize & (groups - 1);
        for code in &bucket.codes {
            starts[group(*code)] += 1;
        }
        // Where each group ends, and in the end starts, as its last positions come first.
        let mut end = 0;
        for count in starts.iter_mut() {
            end += *count;
            *count = end;
        }
        for (code, position) in zip(&bucket.codes, &bucket.positions).rev() {
            let place = &mut starts[group(*code)];
            *place -= 1;
            codes[*place as usize] = *code;
            positions[*place as usize] = *position;
        }
        starts.iter_mut().for_each(|start| *start += before);
    }
}

/// The upper bits of so many codes by which they are grouped.
fn group_bits(codes: usize) -> u32 {
    (codes / GROUP).checked_ilog2().unwrap_or(0).clamp(1, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(key: u64) -> u64 {
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn finds_every_position_of_a_code_in_order() {
        for len in [0, 1, 2, 7, 8, 1000] {
            let codes: Vec<_> = (0..len).map(|position| spread(position / 3)).collect();
            let index = CodeIndex::new(&codes, None);
            for key in 0..len / 3 {
                let first = key as u32 * 3;
                let found: Vec<_> = index.find(spread(key)).collect();
                assert_eq!(found, [first, first + 1, first + 2], "{key} of {len}");
            }
            assert_eq!(index.find(spread(len)).count(), 0);
        }
    }

    #[test]
    fn what_is_made_by_buckets_is_the_same() {
        let check = |codes: Vec<u64>, nulls: Option<&NullBuffer>| {
            let index = CodeIndex::new(&codes, nulls);
            for threads in [1, 2, 3, 8] {
                let by_buckets = CodeIndex::by_buckets(codes.clone(), nulls, threads);
                assert_eq!(by_buckets.shift, index.shift);
                assert!(by_buckets.starts == index.starts, "{threads}");
                assert!(by_buckets.codes == index.codes, "{threads}");
                assert!(by_buckets.positions == index.positions, "{threads}");
            }
        };
        // In no bucket, in one and a few, moved at once and in turn.
        for len in [0, 1, 100, 1 << 16, 1 << 17, 150_000, (1 << 20) + 3] {
            let nulls: NullBuffer = (0..len).map(|position| position % 3 != 1).collect();
            for times in [1, 3, 1000] {
                let codes: Vec<_> = (0..len as u64).map(|key| spread(key / times)).collect();
                check(codes.clone(), Some(&nulls));
                check(codes, None);
            }
            check(vec![spread(7); len], Some(&NullBuffer::new_null(len)));
        }
        // All in one group, the first or the last.
        let nulls: NullBuffer = (0..300_000).map(|position| position % 5 != 0).collect();
        check((0..300_000).collect(), None);
        check(vec![u64::MAX; 300_000], Some(&nulls));
        check(vec![u64::MAX; 300_000], None);
    }

    #[test]
    fn a_code_that_stands_twice_is_noticed() {
        for len in [1, 2, 100, 10_000] {
            let mut codes: Vec<_> = (0..len).map(spread).collect();
            assert!(CodeIndex::new(&codes, None).is_unique(), "{len}");
            codes.push(spread(len / 2));
            assert!(!CodeIndex::new(&codes, None).is_unique(), "{len}");
            let nulls: NullBuffer = (0..=len).map(|position| position < len).collect();
            assert!(CodeIndex::new(&codes, Some(&nulls)).is_unique(), "{len}");
        }
        assert!(CodeIndex::new(&[], None).is_unique());
    }

    #[test]
    fn nulls_are_left_out() {
        let nulls = NullBuffer::from(vec![true, false, true]);
        let index = CodeIndex::new(&[7, 7, 7], Some(&nulls));
        assert_eq!(index.find(7).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn matches_are_the_same_from_either_side() {
        let few: Vec<_> = (0..40).map(|key| spread(key * 5)).collect();
        let many: Vec<_> = (0..300).map(|key| spread(key / 2)).collect();
        check_matches(&few, &many, 60);
        // More in a group than are found at once.
        let (zeros, zero) = (vec![spread(0); 1000], [spread(0), spread(0)]);
        check_matches(&zero, &zeros, 2000);
        check_matches(&[], &zeros, 0);
    }

    fn check_matches(few: &[u64], many: &[u64], expected: usize) {
        let mut equal = Vec::new();
        for (position, code) in (0..).zip(few) {
            let same = (0..).zip(many).filter(|(_, other)| *other == code);
            equal.extend(same.map(|(other, _)| (position, other)));
        }
        let (few, many) = (CodeIndex::new(few, None), CodeIndex::new(many, None));
        let mut pairs = Vec::new();
        few.for_each_match(&many, |few, many| pairs.push((few, many)));
        let mut turned = Vec::new();
        many.for_each_match(&few, |many, few| turned.push((few, many)));
        pairs.sort_unstable();
        turned.sort_unstable();
        assert_eq!((&pairs, &turned), (&equal, &equal));
        assert_eq!(pairs.len(), expected);
    }

    #[test]
    fn thirteen_bytes_a_position() {
        let codes: Vec<_> = (0..1 << 16).map(spread).collect();
        assert!(CodeIndex::new(&codes, None).bytes() <= 13 * codes.len() as u64 + 8);
    }
}
