//! Codes of keys: 64 bits that are equal for equal keys, and well spread.
//!
//! The codes of integers are unequal for unequal keys, too. Those of anything else are hashes, so
//! that rows found by them are candidates until their keys were compared.

use hashbrown::DefaultHashBuilder;

use crate::store::keys::Keys;

/// Turns keys into codes. The codes of one coder mean nothing to another.
#[derive(Clone, Debug)]
pub(in crate::store::lance) struct Coder {
    hasher: DefaultHashBuilder,
    /// Which bits of a hash count: all of them, except where a test wants keys to collide.
    mask: u64,
}

impl Coder {
    /// A coder whose hashes differ in these bits only.
    #[cfg(test)]
    pub(in crate::store::lance) fn masked(mask: u64) -> Self {
        Self { mask, ..Self::default() }
    }

    /// The code of every key; null ones have any code.
    pub(super) fn codes(&self, keys: &Keys) -> Vec<u64> {
        let mut codes = keys.codes(&self.hasher);
        if keys.is_exact() {
            codes.iter_mut().for_each(|code| *code = spread(*code));
        } else if self.mask != u64::MAX {
            codes.iter_mut().for_each(|code| *code &= self.mask);
        }
        codes
    }
}

impl Default for Coder {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), mask: u64::MAX }
    }
}

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// What undoes a multiplication by the factor.
const INVERSE: u64 = 0xF1DE_83E1_9937_733D;

/// The code of an integer: consecutive ones are spread over all 64 bits, and no two become the
/// same.
pub(in crate::store::lance) fn spread(key: u64) -> u64 {
    (key ^ (key >> 32)).wrapping_mul(FACTOR)
}

/// The integer that has the code.
pub(super) fn integer(code: u64) -> i64 {
    let key = code.wrapping_mul(INVERSE);
    (key ^ (key >> 32)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_its_integer() {
        for key in [0, 1, -1, 42, 1 << 32, 0x0123_4567_89AB_CDEF, i64::MIN, i64::MAX] {
            assert_eq!(integer(spread(key as u64)), key);
        }
    }
}
