//! Reads keys, all of them and nothing else, as codes: block by block, several at once.

use std::{ops::Range, sync::Arc};

use arrow::array::ArrayRef;
use keyloom_common::{Error, Result};

use super::{
    all_codes::Codes,
    code_filter::CodeFilter,
    sieve::{Matches, Sieve, Wanted},
};
use crate::store::{
    ReadStats,
    keys::{Keys, key_column},
    lance::{handle::LanceHandle, layout::Layout, row::Row, tasks, values::blocks::Blocks},
};

/// What the keys are.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// The values of a column.
    Column(Arc<Blocks>),
    /// The values of several columns together.
    Columns(Arc<[Arc<Blocks>]>),
    /// Row ids that stay with their rows when these move, and so say nothing of where they are.
    StableRowId,
}

/// Whoever scans needs these.
#[derive(Clone, Debug)]
pub(super) struct KeyScan {
    pub(super) handle: Arc<LanceHandle>,
    pub(super) layout: Arc<Layout>,
    pub(super) source: KeySource,
}

/// Row ids that are read together.
const ROW_IDS_AT_ONCE: u32 = 256 * 1024;

impl KeyScan {
    /// The rows of the wanted codes, found while all keys are read. Nothing is kept.
    pub(super) async fn without_maps(&self, wanted: Arc<Wanted>) -> Result<(Matches, ReadStats)> {
        // A job may have collected no keys.
        if wanted.codes.len() == 0 {
            return Ok(Default::default());
        }
        self.claim_room();
        let codes = wanted.codes.iter().map(|(code, _)| code);
        let filter = Arc::new(CodeFilter::new(codes));
        let parts = (0..self.layout.len())
            .flat_map(|fragment| self.parts(fragment).map(move |part| (fragment, part)));
        let futures = parts.map(|(fragment, part)| {
            let (scan, wanted, filter) = (self.clone(), wanted.clone(), filter.clone());
            async move {
                let (part, stats) = scan.codes(fragment, part).await?;
                let mut found = Sieve::new(wanted.clone());
                let is_valid =
                    |at: &u32| part.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*at as usize));
                for at in filter.passing(&part.codes).into_iter().filter(is_valid) {
                    let row = Row::new(fragment, part.start + at);
                    let keys = wanted.codes.find(part.codes[at as usize]);
                    keys.filter(|_| scan.layout.is_live(row)).for_each(|key| found.push(key, row));
                }
                Ok((found, stats))
            }
        });
        let futures: Vec<_> = futures.collect();
        self.join(wanted, futures).await
    }

    /// Makes room for those blocks of keys that are kept.
    pub(super) fn claim_room(&self) {
        let columns: &[Arc<Blocks>] = match &self.source {
            KeySource::Column(blocks) => std::slice::from_ref(blocks),
            KeySource::Columns(columns) => columns,
            KeySource::StableRowId => &[],
        };
        for column in columns.iter().filter(|blocks| blocks.are_kept()) {
            column.claim_room(&self.handle);
        }
    }

    /// What all of them found.
    pub(super) async fn join<F>(
        &self,
        wanted: Arc<Wanted>,
        futures: Vec<F>,
    ) -> Result<(Matches, ReadStats)>
    where
        F: Future<Output = Result<(Sieve, ReadStats)>> + Send + 'static,
    {
        let (mut all, mut stats) = (Sieve::new(wanted), ReadStats::default());
        let in_flight = self.handle.settings.reads_in_flight;
        tasks::run_each(futures, in_flight, |_, (found, read)| {
            all.append(found);
            stats.add(&read);
        })
        .await?;
        Ok((all.finish(), stats))
    }

    /// The parts in which a fragment's keys are read.
    pub(super) fn parts(&self, fragment: usize) -> Range<u32> {
        match &self.source {
            KeySource::Column(blocks) => blocks.of_fragment(fragment),
            KeySource::Columns(columns) => {
                let parts = columns.iter().map(|blocks| blocks.of_fragment(fragment).len());
                0..parts.max().unwrap_or(0) as u32
            }
            KeySource::StableRowId => 0..self.layout.physical(fragment).div_ceil(ROW_IDS_AT_ONCE),
        }
    }

    /// The codes of a part of a fragment's keys, and what was read.
    pub(super) async fn codes(&self, fragment: usize, part: u32) -> Result<(Codes, ReadStats)> {
        let Self { handle, layout, source } = self;
        let (keys, start, read) = match source {
            KeySource::Column(blocks) => blocks.load(handle, layout, part).await?,
            KeySource::Columns(columns) => self.joined(columns, fragment, part).await?,
            KeySource::StableRowId => {
                let start = part * ROW_IDS_AT_ONCE;
                let end = start.saturating_add(ROW_IDS_AT_ONCE).min(layout.physical(fragment));
                let ids = handle.read_row_ids(layout.id(fragment), start..end).await?;
                (ids, start, ReadStats::default())
            }
        };
        let keys = Keys::try_new(&keys)?;
        // Keys are counted as such, not as values.
        let stats = ReadStats {
            keys_scanned: keys.len() as u64,
            blocks: read.blocks,
            block_hits: read.block_hits,
            ..ReadStats::default()
        };
        let codes = handle.coder.codes(&keys);
        let exact = keys.is_exact();
        Ok((Codes { start, codes, nulls: keys.nulls().cloned(), exact }, stats))
    }

    /// A part of a fragment's keys, which are of several columns, where it starts, and what was
    /// read. Parts are the blocks of the column that is cut finest.
    async fn joined(
        &self,
        columns: &[Arc<Blocks>],
        fragment: usize,
        part: u32,
    ) -> Result<(ArrayRef, u32, ReadStats)> {
        let finest = columns.iter().max_by_key(|blocks| blocks.of_fragment(fragment).len());
        let finest = finest.ok_or_else(|| Error::internal("a key of no columns"))?;
        let block = finest.of_fragment(fragment).start + part;
        let (_, rows) = finest.extent(&self.layout, block);
        let (mut keys, mut stats) = (Vec::with_capacity(columns.len()), ReadStats::default());
        for column in columns {
            let read = column.read(&self.handle, &self.layout, fragment, rows.clone());
            let (values, read) = read.await?;
            stats.add(&read);
            keys.push((column.column().name(), values));
        }
        Ok((key_column(&keys)?, rows.start, stats))
    }
}
