//! Keys by number: number `n` has the same key in every run, and no two numbers share one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder};

/// What the keys of a store are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// Strings of 21 bytes that look random: `item-e220a8397b1dcdaf`.
    Text,
    /// 64-bit integers that look random.
    Integer,
}

impl KeyKind {
    /// The keys of these numbers.
    pub(crate) fn array(self, numbers: impl ExactSizeIterator<Item = u64>) -> ArrayRef {
        match self {
            Self::Text => {
                let rows = numbers.len();
                let mut keys = StringBuilder::with_capacity(rows, rows * 21);
                for number in numbers {
                    keys.append_value(format!("item-{:016x}", mixed(number)));
                }
                Arc::new(keys.finish())
            }
            Self::Integer => {
                Arc::new(Int64Array::from_iter_values(numbers.map(|n| mixed(n).cast_signed())))
            }
        }
    }
}

/// Mixes the bits of a number, one to one (the finalizer of SplitMix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::mixed;

    #[test]
    fn numbers_keep_their_own_keys() {
        let keys: HashSet<_> = (0..100_000).map(mixed).collect();
        assert_eq!(keys.len(), 100_000);
    }
}
