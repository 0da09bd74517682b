//! Whether codes may be among some others: a bit for each of sixteen times as many places as codes.

/// Places for each code, so that one of sixteen others passes.
const PLACES: usize = 16;

/// The fewest and the most places, as powers of two: some hundred bytes, and 16 MiB.
const BITS: std::ops::RangeInclusive<u32> = 10..=27;

/// Some codes, which must be well spread.
#[derive(Debug)]
pub(super) struct CodeFilter {
    shift: u32,
    bits: Vec<u64>,
}

impl CodeFilter {
    pub(super) fn new(codes: impl ExactSizeIterator<Item = u64>) -> Self {
        let places = codes.len().saturating_mul(PLACES).max(1);
        let bits = places.next_power_of_two().ilog2().clamp(*BITS.start(), *BITS.end());
        let shift = u64::BITS - bits;
        let mut filter = Self { shift, bits: vec![0; 1 << (bits - u64::BITS.ilog2())] };
        for code in codes {
            let place = code >> shift;
            filter.bits[(place / 64) as usize] |= 1 << (place % 64);
        }
        filter
    }

    /// False if the code is none of them.
    pub(super) fn passes(&self, code: u64) -> bool {
        let place = code >> self.shift;
        self.bits[(place / 64) as usize] >> (place % 64) & 1 == 1
    }

    /// The positions of codes that pass, in order.
    pub(super) fn passing(&self, codes: &[u64]) -> Vec<u32> {
        // Without a branch on whether one passes, which nobody could foretell.
        let (mut passing, mut count) = (vec![0; codes.len()], 0);
        for (position, code) in (0..).zip(codes) {
            passing[count] = position;
            count += usize::from(self.passes(*code));
        }
        passing.truncate(count);
        passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lance::keys::coder::spread;

    #[test]
    fn all_of_the_codes_pass_and_few_others() {
        for count in [0, 1, 1000, 100_000] {
            let held: Vec<u64> = (0..count).map(spread).collect();
            let filter = CodeFilter::new(held.iter().copied());
            let all: Vec<u32> = (0..count as u32).collect();
            assert_eq!(filter.passing(&held), all);
            let others: Vec<u64> = (count..count + 100_000).map(spread).collect();
            let passing = filter.passing(&others).len();
            assert!(passing < 100_000 / 8, "{passing} of others pass beside {count}");
        }
    }
}
