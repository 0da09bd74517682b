//! What rows weigh that are wanted one by one.

use super::{Varying, Width};

/// Says of rows of a fragment, in growing order, what their values in some columns weigh.
#[derive(Debug)]
pub(in crate::store::lance::values) struct Meter<'a> {
    /// Of all columns of fixed width.
    fixed: u64,
    varying: Vec<Cursor<'a>>,
}

/// The part of a fragment in which the last row stood, and those behind.
#[derive(Debug)]
struct Cursor<'a> {
    points: &'a [(u32, u64)],
    width: u64,
}

impl<'a> Meter<'a> {
    pub(in crate::store::lance::values) fn new(
        widths: impl IntoIterator<Item = &'a Width>,
    ) -> Self {
        let mut meter = Self { fixed: 0, varying: Vec::new() };
        for width in widths {
            match width {
                Width::Fixed(width) => meter.fixed += width,
                Width::Varying(varying) => meter.varying.push(Cursor::new(varying)),
            }
        }
        meter
    }

    /// What each row weighs, if all weigh the same.
    pub(in crate::store::lance::values) fn fixed(&self) -> Option<u64> {
        self.varying.is_empty().then_some(self.fixed)
    }

    /// What a row weighs, which stands behind those that were asked for before.
    pub(in crate::store::lance::values) fn weigh(&mut self, row: u32) -> u64 {
        let varying = self.varying.iter_mut().map(|cursor| cursor.weigh(row));
        varying.fold(self.fixed, u64::saturating_add)
    }
}

impl<'a> Cursor<'a> {
    fn new(varying: &'a Varying) -> Self {
        let mut cursor = Self { points: &varying.points, width: 0 };
        cursor.measure();
        cursor
    }

    fn weigh(&mut self, row: u32) -> u64 {
        while let [_, rest @ ..] = self.points
            && rest.first().is_some_and(|(end, _)| *end <= row)
        {
            self.points = rest;
            self.measure();
        }
        self.width
    }

    fn measure(&mut self) {
        self.width = match self.points {
            [(start, before), (end, all), ..] => {
                (all - before).div_ceil(u64::from(end - start).max(1))
            }
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn rows_weigh_what_their_parts_say() {
        let varying = Varying::of_parts([(10, 0), (20, 1000), (24, 9)]);
        let widths = [Width::Fixed(8), Width::Varying(Arc::new(varying)), Width::Fixed(1)];
        let mut meter = Meter::new(&widths);
        assert_eq!(meter.fixed(), None);
        let weights = [0, 9, 10, 19, 20, 23, 24].map(|row| meter.weigh(row));
        assert_eq!(weights, [9, 9, 109, 109, 12, 12, 9]);
        // Parts without a wanted row are passed over.
        assert_eq!(Meter::new(&widths).weigh(22), 12);
        assert_eq!(Meter::new([&widths[0], &widths[2]]).fixed(), Some(9));
    }
}
