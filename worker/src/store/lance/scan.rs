//! Reads keys, all of them and nothing else, as codes: block by block, several at once.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::ArrayRef,
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    util::bit_util::unset_bit,
};
use keyloom_common::{Error, Result};

use super::{
    blocks::Blocks, caches::FileColumn, code_index::CodeIndex, handle::LanceHandle, kept::Kept,
    key_map::KeyMap, layout::Layout, row::Row, tasks,
};
use crate::store::{
    Fetched,
    keys::{Keys, key_column},
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
pub(super) struct Scan {
    pub(super) handle: Arc<LanceHandle>,
    pub(super) layout: Arc<Layout>,
    pub(super) source: KeySource,
}

/// The codes of consecutive rows of a fragment.
struct Codes {
    start: u32,
    codes: Vec<u64>,
    nulls: Option<NullBuffer>,
    /// Whether they are those of integers.
    exact: bool,
}

/// The codes of a whole fragment, from its parts in any order. They take most of the bytes of a map,
/// so they are there once.
struct AllCodes {
    codes: Vec<u64>,
    /// A bit for each row that has a key, if some has none.
    valid: Option<Vec<u8>>,
    exact: bool,
}

/// Row ids that are read together.
const ROW_IDS_AT_ONCE: u32 = 256 * 1024;

/// The most searches in maps that are made without tasks of their own: about a millisecond's work.
const MAX_PROBES_AT_ONCE: usize = 16 * 1024;

/// Keys, by their positions in a request, and rows that hold them or another key of the same code.
/// The rows of a key stand in storage order.
pub(super) type Matches = Vec<(u32, Row)>;

impl Scan {
    /// The rows of the wanted codes, through maps of all keys that are read once and then kept.
    pub(super) async fn through_maps(&self, wanted: Arc<CodeIndex>) -> Result<(Matches, Fetched)> {
        if let Some(matches) = self.through_kept_maps(&wanted) {
            return Ok((matches, Fetched::default()));
        }
        let jobs = (0..self.layout.len()).map(|fragment| {
            let (scan, wanted) = (self.clone(), wanted.clone());
            async move {
                let (map, fetched) = scan.map(fragment).await?;
                let mut matches = Matches::new();
                find(&wanted, fragment, &map, &mut matches);
                Ok((matches, fetched))
            }
        });
        self.join(jobs.collect::<Vec<_>>()).await
    }

    /// The same at once, if all maps are in memory and so few codes are wanted that tasks would cost
    /// more than they save.
    fn through_kept_maps(&self, wanted: &CodeIndex) -> Option<Matches> {
        if wanted.len().saturating_mul(self.layout.len()) > MAX_PROBES_AT_ONCE {
            return None;
        }
        let mut matches = Matches::new();
        for fragment in 0..self.layout.len() {
            let map = self.handle.caches.maps.get(&self.name(fragment))?;
            find(wanted, fragment, &map, &mut matches);
        }
        Some(self.live(matches))
    }

    /// The rows of the wanted codes, found while all keys are read. Nothing is kept.
    pub(super) async fn without_maps(&self, wanted: Arc<CodeIndex>) -> Result<(Matches, Fetched)> {
        self.claim_room();
        let parts = (0..self.layout.len())
            .flat_map(|fragment| self.parts(fragment).map(move |part| (fragment, part)));
        let jobs = parts.map(|(fragment, part)| {
            let (scan, wanted) = (self.clone(), wanted.clone());
            async move {
                let (part, fetched) = scan.codes(fragment, part).await?;
                let mut matches = Matches::new();
                for (offset, code) in (part.start..).zip(&part.codes) {
                    let valid = |nulls: &NullBuffer| nulls.is_valid((offset - part.start) as usize);
                    if part.nulls.as_ref().is_none_or(valid) {
                        let row = Row::new(fragment, offset);
                        matches.extend(wanted.find(*code).map(|key| (key, row)));
                    }
                }
                Ok((matches, fetched))
            }
        });
        self.join(jobs.collect::<Vec<_>>()).await
    }

    /// Makes room for those blocks of keys that are kept.
    fn claim_room(&self) {
        let columns: &[Arc<Blocks>] = match &self.source {
            KeySource::Column(blocks) => std::slice::from_ref(blocks),
            KeySource::Columns(columns) => columns,
            KeySource::StableRowId => &[],
        };
        for column in columns.iter().filter(|blocks| blocks.are_kept()) {
            column.claim_room(&self.handle);
        }
    }

    async fn join<F>(&self, jobs: Vec<F>) -> Result<(Matches, Fetched)>
    where
        F: Future<Output = Result<(Matches, Fetched)>> + Send + 'static,
    {
        let (mut matches, mut fetched) = (Matches::new(), Fetched::default());
        for (found, read) in tasks::run_all(jobs, self.handle.settings.reads_in_flight).await? {
            matches.extend(found);
            fetched.add(&read);
        }
        Ok((self.live(matches), fetched))
    }

    /// Leaves out deleted rows. Deletions are the snapshot's, while maps are shared with other
    /// versions.
    fn live(&self, mut matches: Matches) -> Matches {
        matches.retain(|(_, row)| self.layout.is_live(*row));
        matches
    }

    /// The map of a fragment's keys, deleted rows among them.
    async fn map(&self, fragment: usize) -> Result<(Arc<Kept<KeyMap>>, Fetched)> {
        let mut fetched = Fetched::default();
        let read = async {
            self.claim_room();
            let room = self.handle.caches.room_for_map(self.layout.physical(fragment));
            let jobs = self.parts(fragment).map(|part| {
                let scan = self.clone();
                async move { scan.codes(fragment, part).await }
            });
            let jobs: Vec<_> = jobs.collect();
            let mut all = AllCodes::new(self.layout.physical(fragment));
            let in_flight = self.handle.settings.reads_in_flight;
            tasks::run_each(jobs, in_flight, |_, (part, read)| {
                fetched.add(&read);
                all.add(&part);
            })
            .await?;
            let map = tasks::run_blocking(move || all.map()).await?;
            let bytes = map.bytes();
            Ok::<_, Error>(Kept::new(map, bytes, room))
        };
        let name = self.name(fragment);
        let map = self.handle.caches.maps.get_or_make(&name, read).await?;
        Ok((map, fetched))
    }

    /// The name under which a fragment's map is kept.
    fn name(&self, fragment: usize) -> FileColumn {
        match &self.source {
            KeySource::Column(blocks) => {
                blocks.column().in_fragments(&self.handle, &self.layout)[fragment].clone()
            }
            KeySource::Columns(columns) => {
                let of_column = |blocks: &Arc<Blocks>| {
                    blocks.column().in_fragments(&self.handle, &self.layout)[fragment].clone()
                };
                let columns: Vec<FileColumn> = columns.iter().map(of_column).collect();
                let joined = |name: &dyn Fn(&FileColumn) -> Arc<str>| -> Arc<str> {
                    columns.iter().map(name).collect::<Vec<_>>().join("\n").into()
                };
                FileColumn {
                    dataset: self.handle.uri.clone(),
                    file: joined(&|column| column.file.clone()),
                    column: joined(&|column| column.column.clone()),
                }
            }
            KeySource::StableRowId => FileColumn {
                dataset: self.handle.uri.clone(),
                file: self.handle.versioned(self.layout.id(fragment)),
                // That of a column is never empty.
                column: Arc::default(),
            },
        }
    }

    /// The parts in which a fragment's keys are read.
    fn parts(&self, fragment: usize) -> Range<u32> {
        match &self.source {
            KeySource::Column(blocks) => blocks.of_fragment(fragment),
            KeySource::Columns(columns) => {
                let parts = columns.iter().map(|blocks| blocks.of_fragment(fragment).len());
                0..parts.max().unwrap_or(0) as u32
            }
            KeySource::StableRowId => 0..self.layout.physical(fragment).div_ceil(ROW_IDS_AT_ONCE),
        }
    }

    async fn codes(&self, fragment: usize, part: u32) -> Result<(Codes, Fetched)> {
        let Self { handle, layout, source } = self;
        let (keys, start, read) = match source {
            KeySource::Column(blocks) => blocks.load(handle, layout, part).await?,
            KeySource::Columns(columns) => self.joined(columns, fragment, part).await?,
            KeySource::StableRowId => {
                let start = part * ROW_IDS_AT_ONCE;
                let end = start.saturating_add(ROW_IDS_AT_ONCE).min(layout.physical(fragment));
                let ids = handle.read_row_ids(layout.id(fragment), start..end).await?;
                (ids, start, Fetched::default())
            }
        };
        let keys = Keys::try_new(&keys)?;
        // Keys are counted as such, not as values.
        let fetched = Fetched {
            keys_scanned: keys.len() as u64,
            blocks: read.blocks,
            block_hits: read.block_hits,
            ..Fetched::default()
        };
        let codes = handle.coder.codes(&keys);
        let exact = keys.is_exact();
        Ok((Codes { start, codes, nulls: keys.nulls().cloned(), exact }, fetched))
    }

    /// A part of a fragment's keys, which are of several columns, where it starts, and what was read.
    /// Parts are the blocks of the column that is cut finest.
    async fn joined(
        &self,
        columns: &[Arc<Blocks>],
        fragment: usize,
        part: u32,
    ) -> Result<(ArrayRef, u32, Fetched)> {
        let finest = columns.iter().max_by_key(|blocks| blocks.of_fragment(fragment).len());
        let finest = finest.ok_or_else(|| Error::internal("a key of no columns"))?;
        let block = finest.of_fragment(fragment).start + part;
        let (_, rows) = finest.extent(&self.layout, block);
        let (mut keys, mut fetched) = (Vec::with_capacity(columns.len()), Fetched::default());
        for column in columns {
            let read = column.read(&self.handle, &self.layout, fragment, rows.clone());
            let (values, read) = read.await?;
            fetched.add(&read);
            keys.push((column.column().name(), values));
        }
        Ok((key_column(&keys)?, rows.start, fetched))
    }
}

/// Adds the rows of a fragment whose codes are wanted.
fn find(wanted: &CodeIndex, fragment: usize, map: &KeyMap, matches: &mut Matches) {
    map.for_each_match(wanted, |key, offset| matches.push((key, Row::new(fragment, offset))));
}

impl AllCodes {
    fn new(rows: u32) -> Self {
        Self { codes: vec![0; rows as usize], valid: None, exact: true }
    }

    fn add(&mut self, part: &Codes) {
        let start = part.start as usize;
        self.codes[start..start + part.codes.len()].copy_from_slice(&part.codes);
        self.exact &= part.exact;
        let Some(nulls) = &part.nulls else { return };
        let bytes = self.codes.len().div_ceil(8);
        let valid = self.valid.get_or_insert_with(|| vec![u8::MAX; bytes]);
        (0..nulls.len())
            .filter(|row| nulls.is_null(*row))
            .for_each(|row| unset_bit(valid, start + row));
    }

    fn map(self) -> KeyMap {
        let Self { codes, valid, exact } = self;
        let nulls = valid.map(|valid| {
            let bits = BooleanBuffer::new(Buffer::from_vec(valid), 0, codes.len());
            NullBuffer::new(bits)
        });
        KeyMap::new(codes, nulls.as_ref(), exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lance::coder::spread;

    #[test]
    fn a_map_is_the_same_whatever_the_order_of_its_parts() {
        let codes = |rows: Range<u64>| rows.map(spread).collect::<Vec<_>>();
        let part = |start: u32, rows: Range<u64>, nulls: Option<NullBuffer>, exact| Codes {
            start,
            codes: codes(rows),
            nulls,
            exact,
        };
        let nulls = NullBuffer::from(vec![true, false, true, false]);
        for exact in [true, false] {
            let parts = [
                part(0, 10..16, None, exact),
                part(6, 20..24, Some(nulls.clone()), exact),
                part(10, 30..31, None, exact),
            ];
            for in_turn in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
                let mut all = AllCodes::new(11);
                in_turn.into_iter().for_each(|at: usize| all.add(&parts[at]));
                let mut matches = Vec::new();
                let wanted = CodeIndex::new(&codes(0..40), None);
                all.map().for_each_match(&wanted, |key, row| matches.push((key, row)));
                matches.sort_unstable();
                let first = (10..16).zip(0..6);
                let expected: Vec<(u32, u32)> = first.chain([(20, 6), (22, 8), (30, 10)]).collect();
                assert_eq!(matches, expected, "{in_turn:?}");
            }
        }
        assert_eq!(AllCodes::new(0).map().bytes(), KeyMap::new(Vec::new(), None, true).bytes());
    }
}
