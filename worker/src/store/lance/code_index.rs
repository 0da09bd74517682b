//! Positions by 64-bit codes, in 13 bytes a position.
//!
//! Codes are grouped by their upper bits, so that a search looks at a few neighbours; codes must be
//! well spread, as those of a [`super::coder::Coder`] are. Positions of one code stand in order.

use std::hint::black_box;

use arrow::buffer::NullBuffer;

/// Codes that share a group, on average.
const GROUP: usize = 4;

/// Codes that are looked up together.
const CODES_AT_ONCE: usize = 64;

/// Bits by which codes are put in order at once, in place: the processor's caches hold a place for
/// each value of them.
const MAX_BITS: u32 = 11;

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

    /// The same without room for the codes beside those of the index. This takes somewhat longer.
    pub(super) fn in_place(mut codes: Vec<u64>, nulls: Option<&NullBuffer>) -> Self {
        let bits = group_bits(codes.len());
        let mut positions: Vec<u32> = match nulls {
            None => (0..codes.len() as u32).collect(),
            Some(nulls) => nulls.valid_indices().map(|position| position as u32).collect(),
        };
        if positions.len() < codes.len() {
            for (place, position) in positions.iter().enumerate() {
                codes[place] = codes[*position as usize];
            }
            codes.truncate(positions.len());
            codes.shrink_to_fit();
        }
        order(&mut codes, &mut positions, u64::BITS - bits, bits);

        let shift = u64::BITS - bits;
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for code in &codes {
            starts[(code >> shift) as usize + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        Self { shift, starts, codes, positions }
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
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.codes.iter().copied().zip(self.positions.iter().copied())
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

/// The upper bits of so many codes by which they are grouped.
fn group_bits(codes: usize) -> u32 {
    (codes / GROUP).checked_ilog2().unwrap_or(0).clamp(1, 32)
}

/// Puts codes into the order of these bits from `shift` on, and those with the same bits into the
/// order of their positions. The bits above are the same in all.
fn order(codes: &mut [u64], positions: &mut [u32], shift: u32, bits: u32) {
    let now = bits.div_ceil(bits.div_ceil(MAX_BITS));
    let rest = bits - now;
    let digit = |code: u64| (code >> (shift + rest)) as usize & ((1 << now) - 1);
    let mut ends = vec![0; (1 << now) + 1];
    for code in codes.iter() {
        ends[digit(*code) + 1] += 1;
    }
    for value in 1..ends.len() {
        ends[value] += ends[value - 1];
    }
    let starts = ends.clone();
    // Where the next code with each value of the bits goes.
    let next = &mut ends;
    for value in 0..1 << now {
        while next[value] < starts[value + 1] {
            // From place to place, until one is found that belongs where the first one was.
            let first = next[value];
            let (mut code, mut position) = (codes[first], positions[first]);
            loop {
                let of = digit(code);
                let place = next[of];
                next[of] += 1;
                std::mem::swap(&mut codes[place], &mut code);
                std::mem::swap(&mut positions[place], &mut position);
                if of == value {
                    break;
                }
            }
        }
    }
    for value in 0..1 << now {
        let of_value = starts[value]..starts[value + 1];
        let (codes, positions) = (&mut codes[of_value.clone()], &mut positions[of_value]);
        match rest {
            0 => by_position(codes, positions),
            _ if codes.len() > 1 => order(codes, positions, shift, rest),
            _ => {}
        }
    }
}

/// Sorts a group by its positions. Groups are small, unless one code stands at many positions.
fn by_position(codes: &mut [u64], positions: &mut [u32]) {
    let mut gap = 1;
    while gap < codes.len() / 3 {
        gap = 3 * gap + 1;
    }
    while gap > 0 {
        for at in gap..codes.len() {
            let (code, position) = (codes[at], positions[at]);
            let mut place = at;
            while place >= gap && positions[place - gap] > position {
                codes[place] = codes[place - gap];
                positions[place] = positions[place - gap];
                place -= gap;
            }
            (codes[place], positions[place]) = (code, position);
        }
        gap /= 3;
    }
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
    fn what_is_made_in_place_is_the_same() {
        let check = |codes: Vec<u64>, nulls: Option<&NullBuffer>| {
            let index = CodeIndex::new(&codes, nulls);
            let in_place = CodeIndex::in_place(codes, nulls);
            assert_eq!(in_place.shift, index.shift);
            assert_eq!(in_place.starts, index.starts);
            assert_eq!(in_place.codes, index.codes);
            assert_eq!(in_place.positions, index.positions);
        };
        // On one level and on two.
        for len in [0, 1, 2, 3, 7, 8, 9, 100, 5000, 1 << 16, 100_000] {
            let nulls: NullBuffer = (0..len).map(|position| position % 3 != 1).collect();
            for times in [1, 3, 1000] {
                let codes: Vec<_> = (0..len as u64).map(|key| spread(key / times)).collect();
                check(codes.clone(), None);
                check(codes.clone(), Some(&nulls));
                check(codes.into_iter().rev().collect(), None);
            }
            check(vec![spread(7); len], Some(&NullBuffer::new_null(len)));
        }
        // Bits that are no code's, and codes that are all in one group.
        check((0..3000).collect(), None);
        check(vec![u64::MAX; 3000], None);
    }

    #[test]
    fn codes_are_put_in_order_by_any_number_of_bits() {
        for bits in [1, 10, 11, 12, 22, 23, 32] {
            let (mut codes, mut positions): (Vec<_>, Vec<u32>) =
                (0..5000).map(|position| (spread(position % 700), position as u32)).unzip();
            let shift = u64::BITS - bits;
            let mut expected: Vec<_> =
                codes.iter().zip(&positions).map(|(code, at)| (code >> shift, *at)).collect();
            expected.sort_unstable();
            order(&mut codes, &mut positions, shift, bits);
            let ordered = codes.iter().zip(&positions).map(|(code, at)| (code >> shift, *at));
            assert_eq!(ordered.collect::<Vec<_>>(), expected, "{bits}");
            assert!(codes.iter().zip(&positions).all(|(c, at)| *c == spread(u64::from(*at) % 700)));
        }
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
