//! Reads keys, all of them and nothing else, as codes: block by block, several at once.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    buffer::NullBuffer,
    compute::concat,
};
use keyloom_common::{Error, Result};

use super::{
    blocks::Blocks, caches::FileColumn, code_index::CodeIndex, handle::LanceHandle,
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
    async fn map(&self, fragment: usize) -> Result<(Arc<KeyMap>, Fetched)> {
        let mut fetched = Fetched::default();
        let read = async {
            let jobs = self.parts(fragment).map(|part| {
                let scan = self.clone();
                async move { scan.codes(fragment, part).await }
            });
            let jobs: Vec<_> = jobs.collect();
            let mut parts = Vec::with_capacity(jobs.len());
            for (part, read) in tasks::run_all(jobs, self.handle.settings.reads_in_flight).await? {
                fetched.add(&read);
                parts.push(part);
            }
            Ok::<_, Error>(Arc::new(tasks::run_blocking(move || map_of(parts)).await?))
        };
        let name = self.name(fragment);
        let map = self.handle.caches.maps.get_or_insert_async(&name, read).await?;
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
    fn parts(&self, fragment: usize) -> std::ops::Range<u32> {
        match &self.source {
            KeySource::Column(blocks) => blocks.of_fragment(fragment),
            // Columns of different widths are cut at different rows.
            KeySource::Columns(_) => 0..u32::from(self.layout.physical(fragment) > 0),
            KeySource::StableRowId => 0..1,
        }
    }

    async fn codes(&self, fragment: usize, part: u32) -> Result<(Codes, Fetched)> {
        let Self { handle, layout, source } = self;
        let (keys, start, read) = match source {
            KeySource::Column(blocks) => blocks.load(handle, layout, part).await?,
            KeySource::Columns(columns) => {
                let (keys, read) = self.whole(columns, fragment).await?;
                (keys, 0, read)
            }
            KeySource::StableRowId => {
                let rows = layout.physical(fragment);
                (handle.read_row_ids(layout.id(fragment), rows).await?, 0, Fetched::default())
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

    /// All keys of a fragment, which are of several columns, and what was read.
    async fn whole(&self, columns: &[Arc<Blocks>], fragment: usize) -> Result<(ArrayRef, Fetched)> {
        let blocks = columns.iter().enumerate().flat_map(|(at, column)| {
            column.of_fragment(fragment).map(move |block| (at, column.clone(), block))
        });
        let jobs = blocks.map(|(at, column, block)| {
            let (handle, layout) = (self.handle.clone(), self.layout.clone());
            async move { Ok((at, column.load(&handle, &layout, block).await?)) }
        });
        let jobs: Vec<_> = jobs.collect();
        let mut parts = vec![Vec::new(); columns.len()];
        let mut fetched = Fetched::default();
        for (at, (part, _, read)) in
            tasks::run_all(jobs, self.handle.settings.reads_in_flight).await?
        {
            fetched.add(&read);
            parts[at].push(part);
        }
        let keys = columns.iter().zip(&parts).map(|(column, parts)| {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            Ok((column.column().name(), concat(&parts)?))
        });
        Ok((key_column(&keys.collect::<Result<Vec<_>>>()?)?, fetched))
    }
}

/// Adds the rows of a fragment whose codes are wanted.
fn find(wanted: &CodeIndex, fragment: usize, map: &KeyMap, matches: &mut Matches) {
    map.for_each_match(wanted, |key, offset| matches.push((key, Row::new(fragment, offset))));
}

fn map_of(mut parts: Vec<Codes>) -> KeyMap {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return KeyMap::new(&only.codes, only.nulls.as_ref(), only.exact);
    }
    let exact = parts.iter().all(|part| part.exact);
    let valid = |part: &Codes| match &part.nulls {
        Some(nulls) => nulls.iter().collect::<Vec<_>>(),
        None => vec![true; part.codes.len()],
    };
    let nulls = parts
        .iter()
        .any(|part| part.nulls.is_some())
        .then(|| parts.iter().flat_map(valid).collect::<NullBuffer>());
    let codes: Vec<u64> = parts.into_iter().flat_map(|part| part.codes).collect();
    KeyMap::new(&codes, nulls.as_ref(), exact)
}
