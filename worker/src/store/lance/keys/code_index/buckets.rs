//! Codes in buckets by their uppermost bits: few enough that each is filled from its start to its
//! end, and that what is in one fits the processor's caches.

use std::{
    iter::{Zip, zip},
    slice::IterMut,
};

use arrow::buffer::NullBuffer;

use super::threads;

/// Codes that one thread moves into buckets, one after the other.
const PIECE: usize = 1 << 17;

/// Codes that are moved until their memory is given back: a piece for each thread.
const MOVED_AT_ONCE: usize = threads::MAX_THREADS * PIECE;

/// Codes with the same upper bits, and their positions, in order.
pub(super) struct Bucket {
    pub(super) codes: Vec<u64>,
    pub(super) positions: Vec<u32>,
}

/// The places in a bucket for some codes and their positions.
type Places<'a> = Zip<IterMut<'a, u64>, IterMut<'a, u32>>;

/// The places in a bucket that are not taken yet.
struct Free<'a> {
    codes: &'a mut [u64],
    positions: &'a mut [u32],
}

/// Codes of consecutive positions.
struct Piece<'a> {
    start: usize,
    codes: &'a [u64],
    nulls: Option<&'a NullBuffer>,
}

/// Moves codes into buckets by so many upper bits; those at nulls are left out.
pub(super) fn fill(
    mut codes: Vec<u64>,
    nulls: Option<&NullBuffer>,
    bits: u32,
    threads: usize,
) -> Vec<Bucket> {
    let mut counts = count(&codes, nulls, bits, threads);
    let len = |bucket: usize| counts.iter().map(|counts| counts[bucket] as usize).sum();
    let mut buckets: Vec<_> = (0..1 << bits).map(len).map(Bucket::with_len).collect();
    let mut free: Vec<_> = buckets.iter_mut().map(Bucket::free).collect();
    while !codes.is_empty() {
        let rest = (codes.len() - 1) / MOVED_AT_ONCE * MOVED_AT_ONCE;
        let last = zip(Piece::all(&codes, nulls), &counts).skip(rest / PIECE).rev();
        let pieces = last.map(|(piece, counts)| {
            let places = zip(&mut free, counts).map(|(free, count)| free.take_last(*count));
            (piece, places.collect())
        });
        threads::for_each(threads, pieces, |(piece, places)| piece.move_to(places, bits));
        codes.truncate(rest);
        codes.shrink_to_fit();
        counts.truncate(rest / PIECE);
    }
    buckets
}

/// How many codes of each piece go into each bucket.
fn count(codes: &[u64], nulls: Option<&NullBuffer>, bits: u32, threads: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![vec![0; 1 << bits]; codes.len().div_ceil(PIECE)];
    let pieces = zip(Piece::all(codes, nulls), &mut counts);
    threads::for_each(threads, pieces, |(piece, counts)| {
        piece.for_each(|code, _| counts[bucket(code, bits)] += 1);
    });
    counts
}

/// The bucket of a code.
fn bucket(code: u64, bits: u32) -> usize {
    (code >> (u64::BITS - bits)) as usize
}

impl Bucket {
    fn with_len(len: usize) -> Self {
        Self { codes: vec![0; len], positions: vec![0; len] }
    }

    fn free(&mut self) -> Free<'_> {
        Free { codes: &mut self.codes, positions: &mut self.positions }
    }
}

impl<'a> Free<'a> {
    /// Takes so many places from the end.
    fn take_last(&mut self, count: u32) -> Places<'a> {
        let rest = self.codes.len() - count as usize;
        let codes = self.codes.split_off_mut(rest..).unwrap_or_default();
        let positions = self.positions.split_off_mut(rest..).unwrap_or_default();
        zip(codes, positions)
    }
}

impl<'a> Piece<'a> {
    /// The pieces of all codes.
    fn all(
        codes: &'a [u64],
        nulls: Option<&'a NullBuffer>,
    ) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        let pieces = codes.chunks(PIECE).enumerate();
        pieces.map(move |(at, codes)| Self { start: at * PIECE, codes, nulls })
    }

    /// Moves its codes to their places in each bucket.
    fn move_to(&self, mut places: Vec<Places<'_>>, bits: u32) {
        self.for_each(|code, position| {
            // There is one: they were counted.
            if let Some(place) = places[bucket(code, bits)].next() {
                (*place.0, *place.1) = (code, position);
            }
        });
    }

    /// Calls back with each code that is not null, and its position.
    fn for_each(&self, mut each: impl FnMut(u64, u32)) {
        for (position, code) in (self.start..).zip(self.codes) {
            if self.nulls.is_none_or(|nulls| nulls.is_valid(position)) {
                each(*code, position as u32);
            }
        }
    }
}
