//! Which blocks of a column are kept, if there is room for some of them only.
//!
//! They are spread evenly over the column, and a smaller share is a part of a larger one: most of
//! what is kept stays of use when the column grows.

/// Some of a column's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Of [`Self::ALL`] blocks.
    blocks: u64,
}

impl Share {
    const ALL: u64 = 1 << 32;

    pub(super) const NONE: Self = Self { blocks: 0 };

    /// What of `bytes` fits into `room`.
    pub(super) fn fitting(bytes: u64, room: u64) -> Self {
        let blocks = u128::from(room) * u128::from(Self::ALL) / u128::from(bytes.max(1));
        Self { blocks: blocks.min(Self::ALL.into()) as u64 }
    }

    /// How much of all that is.
    pub(super) fn fraction(self) -> f64 {
        self.blocks as f64 / Self::ALL as f64
    }

    /// Multiples of the golden ratio, without their whole parts, are spread evenly from 0 to 1.
    pub(super) fn contains(self, block: u32) -> bool {
        const GOLDEN: u32 = 0x9e37_79b9;
        u64::from(block.wrapping_mul(GOLDEN)) < self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(blocks: u32, bytes: u64, room: u64) -> Vec<u32> {
        let share = Share::fitting(bytes, room);
        (0..blocks).filter(|block| share.contains(*block)).collect()
    }

    #[test]
    fn what_fits_is_kept_whole_and_without_room_nothing() {
        let all: Vec<u32> = (0..1000).collect();
        for (bytes, room) in [(0, 1), (10, 10), (10, u64::MAX), (u64::MAX, u64::MAX)] {
            assert_eq!(kept(1000, bytes, room), all);
        }
        assert!(kept(1000, 1, 0).is_empty());
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let kept = kept(1000, 4, 1);
        assert!((245..=255).contains(&kept.len()), "{}", kept.len());
        // Wherever a hundred blocks stand together, about 25 of them are kept.
        for start in 0..900 {
            let here = kept.iter().filter(|block| (start..start + 100).contains(*block)).count();
            assert!((22..=28).contains(&here), "{here} from {start}");
        }
    }

    #[test]
    fn a_smaller_share_is_a_part_of_a_larger_one() {
        let (large, small) = (kept(1000, 4, 3), kept(1000, 5, 3));
        assert!(small.len() < large.len());
        assert!(small.iter().all(|block| large.contains(block)));
    }
}
