//! The rows that are deleted from a fragment: a bitmap of those parts of it that lack some, and how
//! many rows are left before each part.

/// Rows of a part.
const PART: u32 = 512;

/// Words of a part's bitmap.
const WORDS: usize = (PART / u64::BITS) as usize;

/// In the place of the bitmap of a part that lacks nothing.
const WHOLE: u32 = u32::MAX;

/// Deleted rows by their offsets.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    count: u32,
    /// The parts; none if nothing is deleted.
    parts: Vec<Part>,
    bitmaps: Vec<[u64; WORDS]>,
}

#[derive(Debug)]
struct Part {
    /// Rows in the parts before that are not deleted.
    live_before: u32,
    /// Which bitmap is its own, or [`WHOLE`].
    bitmap: u32,
}

impl Deleted {
    /// Of a fragment with so many rows, by growing offsets.
    pub(super) fn new(rows: u32, offsets: impl IntoIterator<Item = u32>) -> Self {
        let mut deleted = Self::default();
        // What is beyond the fragment was never there.
        for offset in offsets.into_iter().take_while(|offset| *offset < rows) {
            deleted.push_parts(offset / PART);
            let (word, bit) = place(offset);
            let bits = &mut deleted.last_bitmap()[word];
            let is_new = *bits & bit == 0;
            *bits |= bit;
            deleted.count += u32::from(is_new);
        }
        if deleted.count > 0 {
            deleted.push_parts(rows.div_ceil(PART) - 1);
        }
        deleted
    }

    /// Adds the parts up to this one, of which nothing is deleted yet.
    fn push_parts(&mut self, part: u32) {
        while self.parts.len() <= part as usize {
            let live_before = self.parts.len() as u32 * PART - self.count;
            self.parts.push(Part { live_before, bitmap: WHOLE });
        }
    }

    /// The bitmap of the last part, which needs one from now on.
    fn last_bitmap(&mut self) -> &mut [u64; WORDS] {
        if let Some(part) = self.parts.last_mut().filter(|part| part.bitmap == WHOLE) {
            part.bitmap = self.bitmaps.len() as u32;
            self.bitmaps.push([0; WORDS]);
        }
        let last = self.bitmaps.len() - 1;
        &mut self.bitmaps[last]
    }

    /// How many they are.
    pub(super) fn len(&self) -> u32 {
        self.count
    }

    pub(super) fn contains(&self, offset: u32) -> bool {
        let Some(part) = self.parts.get((offset / PART) as usize) else { return false };
        let (word, bit) = place(offset);
        self.bitmaps.get(part.bitmap as usize).is_some_and(|bitmap| bitmap[word] & bit != 0)
    }

    /// The offset of the n-th row that is not deleted, counted from 0. There must be one.
    pub(super) fn nth_live(&self, n: u32) -> u32 {
        // Of parts without live rows, the one behind them has as many before it.
        let behind = self.parts.partition_point(|part| part.live_before <= n);
        let Some(at) = behind.checked_sub(1) else { return n };
        let part = &self.parts[at];
        let (start, mut rest) = (at as u32 * PART, n - part.live_before);
        let Some(bitmap) = self.bitmaps.get(part.bitmap as usize) else { return start + rest };
        for (word, deleted) in (0..).zip(bitmap) {
            let mut live = !deleted;
            if rest < live.count_ones() {
                (0..rest).for_each(|_| live &= live - 1);
                return start + word * u64::BITS + live.trailing_zeros();
            }
            rest -= live.count_ones();
        }
        start + PART
    }
}

/// The word of a part's bitmap in which a row stands, and its bit.
fn place(offset: u32) -> (usize, u64) {
    ((offset % PART / u64::BITS) as usize, 1 << (offset % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: u32, offsets: &[u32]) {
        let deleted = Deleted::new(rows, offsets.iter().copied());
        let live: Vec<u32> = (0..rows).filter(|row| !offsets.contains(row)).collect();
        assert_eq!(deleted.len(), rows - live.len() as u32);
        let found: Vec<u32> = (0..rows).filter(|row| !deleted.contains(*row)).collect();
        assert_eq!(found, live);
        let nth: Vec<u32> = (0..live.len() as u32).map(|n| deleted.nth_live(n)).collect();
        assert_eq!(nth, live);
        assert!(!deleted.contains(rows) && !deleted.contains(u32::MAX));
    }

    #[test]
    fn live_rows_are_found_and_counted() {
        check(0, &[]);
        check(3000, &[]);
        check(1, &[0]);
        check(3000, &[0, 63, 64, 511, 512, 2047, 2048, 2999]);
        // Whole words and parts.
        check(3000, &(100..2600).collect::<Vec<_>>());
        check(2048, &(0..2048).collect::<Vec<_>>());
        check(2049, &(0..2048).collect::<Vec<_>>());
        for step in [2, 3, 7, 64, 513, 1500] {
            check(3000, &(0..3000).step_by(step).collect::<Vec<_>>());
            check(3000, &(1..3000).step_by(step).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_told_twice_or_is_beyond_the_fragment_does_not_count() {
        let deleted = Deleted::new(10, [3, 3, 9, 10, 700]);
        assert_eq!(deleted.len(), 2);
        let live: Vec<u32> = (0..8).map(|n| deleted.nth_live(n)).collect();
        assert_eq!(live, [0, 1, 2, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn memory_is_for_parts_that_lack_rows() {
        let few = Deleted::new(1 << 20, [5, 7, 1 << 19]);
        assert_eq!((few.bitmaps.len(), few.parts.len()), (2, (1 << 20) / PART as usize));
        let all = Deleted::new(1 << 20, 0..1 << 20);
        // An eighth of a byte a row, and little beside it.
        let bytes = size_of_val(all.bitmaps.as_slice()) + size_of_val(all.parts.as_slice());
        assert!(bytes <= (1 << 20) / 8 * 9 / 8, "{bytes}");
        assert!(Deleted::new(1 << 20, []).parts.is_empty());
    }
}
