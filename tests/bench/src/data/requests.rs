//! Request tables: rows of keys to look up, drawn from a seed.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{ArrayRef, ListArray, RecordBatch},
    buffer::OffsetBuffer,
    datatypes::Field,
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use rand_distr::{Distribution, Zipf};

use super::{Scale, keys::KeyKind, keys::mixed};

/// A table of keys.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// Rows at scale 1.
    pub(crate) rows: u64,
    /// Whether it has so many rows at every scale.
    pub(crate) fixed: bool,
    pub(crate) columns: Vec<Keys>,
}

/// A column of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) name: &'static str,
    pub(crate) kind: KeyKind,
    /// Rows at scale 1 of the store whose keys are drawn.
    pub(crate) of: u64,
    /// How many of a thousand keys no store holds.
    pub(crate) missing: u32,
    pub(crate) draw: Draw,
    /// Each row holds a list of so many keys.
    pub(crate) list: Option<u64>,
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    /// All rows of the store alike.
    Uniform,
    /// By Zipf's law with this exponent; which rows are popular is random.
    Zipf(f64),
}

impl Keys {
    /// Keys drawn uniformly.
    pub(crate) fn uniform(name: &'static str, of: u64) -> Self {
        Self { name, kind: KeyKind::Text, of, missing: 0, draw: Draw::Uniform, list: None }
    }

    fn array(&self, rows: u64, scale: Scale, seed: u64) -> Result<ArrayRef> {
        let name = self.name.bytes().fold(seed, |seed, byte| mixed(seed ^ u64::from(byte)));
        let mut random = SmallRng::seed_from_u64(name);
        let keys = self.numbers(rows * self.list.unwrap_or(1), scale.rows(self.of), &mut random)?;
        let keys = self.kind.array(keys.into_iter());
        let Some(length) = self.list else { return Ok(keys) };
        let lengths = (0..rows).map(|_| length as usize);
        let field = Arc::new(Field::new("item", keys.data_type().clone(), true));
        let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), keys, None)?;
        Ok(Arc::new(lists))
    }

    /// Numbers of keys: those of the store, and with those from `of` on some that it lacks.
    fn numbers(&self, rows: u64, of: u64, random: &mut SmallRng) -> Result<Vec<u64>> {
        let mut popular = Vec::new();
        let zipf = match self.draw {
            Draw::Uniform => None,
            Draw::Zipf(exponent) => {
                popular.extend(0..of);
                popular.shuffle(random);
                Some(Zipf::new(of as f64, exponent).context("no such Zipf distribution")?)
            }
        };
        let number = |_| {
            if random.random_range(0..1000) < self.missing {
                return of + random.random_range(0..of);
            }
            match &zipf {
                None => random.random_range(0..of),
                // Ranks count from 1.
                Some(zipf) => popular[zipf.sample(random) as usize - 1],
            }
        };
        Ok((0..rows).map(number).collect())
    }
}

impl Requests {
    /// A table of one column.
    pub(crate) fn of(rows: u64, keys: Keys) -> Self {
        Self { rows, fixed: false, columns: vec![keys] }
    }

    /// The table.
    pub(crate) fn batch(&self, scale: Scale, seed: u64) -> Result<RecordBatch> {
        let rows = if self.fixed { self.rows } else { scale.rows(self.rows) };
        let columns = self.columns.iter().map(|keys| {
            let array = keys.array(rows, scale, seed)?;
            Ok((keys.name, array, true))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }
}
