//! From keys to rows, by whatever the store is keyed.
//!
//! Every row given here is live, and holds the key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use arrow::{array::Array, compute::interleave};
use keyloom_common::{
    Error, Result,
    store::{KEY_MAP_BYTES_A_ROW, KeyColumns, KeyPath, LanceWay, OnDuplicateKey, StoreKey},
};

use super::{
    btree,
    learned::all_but,
    scan::{KeyScan, KeySource},
    sieve::{Matches, NO_LIMIT, Need, Wanted},
};
use crate::store::{
    KeyRows, MostRows, Place, ReadStats, Values,
    keys::{Keys, key_column},
    lance::{LanceStore, column::Column, layout::Layout, row::Row, values::blocks::Blocks},
};

/// A search for rows by the codes of keys.
struct Search<'a> {
    keys: &'a Keys,
    codes: Vec<u64>,
    scan: KeyScan,
    path: KeyPath,
    need: Need,
    /// The key from which on there are too many rows.
    limit: AtomicU32,
}

/// What was found of keys.
pub(in crate::store::lance) struct Located {
    /// Their rows, in any order.
    pub(in crate::store::lance) matches: Matches,
    /// What was read to find them.
    pub(in crate::store::lance) stats: ReadStats,
    /// The key from which on rows were left out, because there are too many.
    pub(in crate::store::lance) limit: u32,
}

impl Search<'_> {
    /// The rows of the wanted codes.
    async fn of(&self, wanted: Wanted) -> Result<(Matches, ReadStats)> {
        let wanted = Arc::new(wanted);
        let found = match self.path {
            KeyPath::Scan | KeyPath::Btree => self.scan.without_maps(wanted.clone()).await?,
            KeyPath::Map | KeyPath::Direct => self.scan.through_maps(wanted.clone()).await?,
        };
        self.limit.fetch_min(wanted.limit(), Ordering::Relaxed);
        Ok(found)
    }

    /// Leaves out rows that are more than may be held at once.
    fn bound(&self, matches: &mut Matches) {
        let limit = self.need.bound(matches, self.codes.len());
        self.limit.fetch_min(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }
}

impl Located {
    fn all((matches, stats): (Matches, ReadStats)) -> Self {
        Self { matches, stats, limit: NO_LIMIT }
    }
}

impl LanceStore {
    /// The rows that hold the keys, of each all or as many as the policy goes by or a few more, and
    /// what was read to find them.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read.
    pub(in crate::store::lance) async fn locate(
        &self,
        keys: &Keys,
        way: LanceWay,
        rows: KeyRows,
    ) -> Result<Located> {
        let need = match rows {
            KeyRows::One => Need::of(self.handle.spec.on_duplicate_key),
            KeyRows::Any => Need::of(OnDuplicateKey::First),
            KeyRows::All(most) => Need::all(most),
        };
        let layout = self.handle.layout().await?;
        let stable = self.handle.dataset.manifest.uses_stable_row_ids();
        match &self.key {
            StoreKey::Offset => {
                let rows = direct(keys, |key| layout.row_at_position(key))?;
                Ok(Located::all((rows, ReadStats::default())))
            }
            StoreKey::RowId if !stable => {
                let rows = direct(keys, |key| layout.row_at(key))?;
                Ok(Located::all((rows, ReadStats::default())))
            }
            StoreKey::RowId => {
                // Row ids are those of one version, so their map is of no use to other processes.
                let path = self.key_path(way, layout, false)?;
                let source = KeySource::StableRowId;
                let found = self.search(&self.search_for(keys, source, path, need, layout)).await?;
                Ok(Located::all(found))
            }
            StoreKey::Columns(key) => {
                let columns = self.key_columns(key)?;
                let on_disk = keys.is_exact() && self.fits_on_disk(&columns, layout).await?;
                let path = self.key_path(way, layout, on_disk)?;
                if let [column] = columns.as_slice()
                    && path == KeyPath::Btree
                    && (self.learned.is_none() || need.is_all())
                {
                    let found = btree::search(&self.handle, layout, column, keys.array(), need);
                    let (matches, stats, limit) = found.await?;
                    return Ok(Located { matches, stats, limit });
                }
                // Keys that are told by their codes are not needed any more once a map has them.
                let once = keys.is_exact() && path != KeyPath::Scan;
                let source = self.key_source(&columns, layout, once).await?;
                let search = self.search_for(keys, source, path, need, layout);
                let (matches, stats) = if keys.is_exact() {
                    self.search(&search).await?
                } else {
                    self.search_and_compare(&search, &columns, way).await?
                };
                Ok(Located { matches, stats, limit: search.limit() })
            }
        }
    }

    fn search_for<'a>(
        &self,
        keys: &'a Keys,
        source: KeySource,
        path: KeyPath,
        need: Need,
        layout: &Arc<Layout>,
    ) -> Search<'a> {
        let codes = self.handle.coder.codes(keys);
        let scan = self.scan(source, layout);
        Search { keys, codes, scan, path, need, limit: AtomicU32::new(NO_LIMIT) }
    }

    /// The rows whose keys have the same codes: those that were learnt, and of other keys those
    /// that are found now.
    async fn search(&self, search: &Search<'_>) -> Result<(Matches, ReadStats)> {
        let Search { keys, codes, need, .. } = search;
        let wanted = Wanted::new(codes, keys.nulls(), *need);
        let Some(learned) = &self.learned else { return search.of(wanted).await };
        let (mut matches, is_other) = learned.find(&wanted.codes, codes.len(), *need);
        let mut stats = ReadStats::default();
        if is_other.contains(&true) {
            let others = Wanted::new(codes, Some(&all_but(&is_other, keys.nulls())), *need);
            let (found, read) = search.of(others).await?;
            matches.extend(found);
            stats.add(&read);
        }
        search.bound(&mut matches);
        Ok((matches, stats))
    }

    /// The rows that hold the very keys. Those with the same codes are compared, and where others
    /// have the code of a key, the search goes on beyond them.
    async fn search_and_compare(
        &self,
        search: &Search<'_>,
        columns: &[Arc<Column>],
        way: LanceWay,
    ) -> Result<(Matches, ReadStats)> {
        let (mut found, mut stats) = self.search(search).await?;
        let mut need = search.need;
        let mut verified = Matches::new();
        loop {
            let (holds, read) = self.compare(search.keys, &found, columns, way).await?;
            stats.add(&read);
            let further = need.further(&search.codes, &found, &holds);
            let held = found.into_iter().zip(holds).filter(|(_, holds)| *holds);
            verified.extend(held.map(|(found, _)| found));
            let Some(wanted) = further else { return Ok((verified, stats)) };
            need = wanted.need;
            let (beyond, read) = search.of(wanted).await?;
            stats.add(&read);
            found = beyond;
        }
    }

    /// The columns of its key.
    pub(super) fn key_columns(&self, key: &KeyColumns) -> Result<Vec<Arc<Column>>> {
        key.names().iter().map(|name| self.handle.column(name)).collect()
    }

    /// What reads the keys. If they are read `once`, their blocks are not kept.
    pub(super) async fn key_source(
        &self,
        columns: &[Arc<Column>],
        layout: &Arc<Layout>,
        once: bool,
    ) -> Result<KeySource> {
        let mut blocks = Vec::with_capacity(columns.len());
        for column in columns {
            let blocks_of_column = if once {
                Blocks::passing(&self.handle, column.clone(), layout).await?
            } else {
                Blocks::new(&self.handle, column.clone(), layout).await?
            };
            blocks.push(Arc::new(blocks_of_column));
        }
        Ok(match blocks.as_slice() {
            [only] => KeySource::Column(only.clone()),
            _ => KeySource::Columns(blocks.into()),
        })
    }

    pub(super) fn scan(&self, source: KeySource, layout: &Arc<Layout>) -> KeyScan {
        KeyScan { handle: self.handle.clone(), layout: layout.clone(), source }
    }

    /// Whether there is memory for a map of all keys.
    pub(super) fn fits_in_memory(&self, layout: &Layout) -> bool {
        layout.map_bytes() <= self.handle.caches.there_is_for_maps()
    }

    /// Whether there is room on disk for a map of all keys, which are integers. Where nothing can
    /// be written, what is stored is still read: it must be most of them, and memory must have room
    /// for the rest.
    pub(super) async fn fits_on_disk(
        &self,
        columns: &[Arc<Column>],
        layout: &Arc<Layout>,
    ) -> Result<bool> {
        let caches = &self.handle.caches;
        let Some(folder) = &caches.stored else { return Ok(false) };
        match folder.max_bytes(Instant::now()) {
            0 => {
                let scan = self.scan(self.key_source(columns, layout, true).await?, layout);
                scan.recall().await?;
                let missing = scan.missing_bytes(folder);
                Ok(missing <= caches.there_is_for_maps().min(layout.map_bytes() / 2))
            }
            most => Ok(layout.map_bytes() <= most),
        }
    }

    /// The way to take for keys that are not known yet. A map gives way to the next best if there
    /// is no memory for it; one that is forced and never fits is an error.
    fn key_path(&self, way: LanceWay, layout: &Layout, on_disk: bool) -> Result<KeyPath> {
        let forced = self.handle.spec.access.keys;
        let path = match forced.unwrap_or(way.keys) {
            // Each request would read all keys.
            KeyPath::Scan if forced.is_none() => KeyPath::Map,
            path => path,
        };
        if path != KeyPath::Map || on_disk || self.fits_in_memory(layout) {
            return Ok(path);
        }
        let (bytes, max) = (layout.map_bytes(), self.handle.caches.maps.most());
        if forced.is_some() && bytes > max {
            let is_set = max == self.handle.settings.max_key_map_bytes;
            let setting = if is_set { "max_key_map_bytes" } else { "memory_bytes" };
            return Err(Error::resource_exhausted(format!(
                "the map of its {rows} keys takes {bytes} bytes; {setting} allows {max}: raise it, \
                 or set key_path to 'scan' or 'btree'",
                rows = bytes / KEY_MAP_BYTES_A_ROW
            )));
        }
        Ok(if forced.is_none() && self.is_indexed { KeyPath::Btree } else { KeyPath::Scan })
    }

    /// For each match whether its row holds the very key, and what was read to compare them.
    async fn compare(
        &self,
        keys: &Keys,
        matches: &Matches,
        columns: &[Arc<Column>],
        way: LanceWay,
    ) -> Result<(Vec<bool>, ReadStats)> {
        if matches.is_empty() {
            return Ok((Vec::new(), ReadStats::default()));
        }
        let rows: Vec<Row> = matches.iter().map(|(_, row)| *row).collect();
        let (values, read) = self.handle.fetch(columns, &rows, way.rows).await?;
        // Keys are counted as such, not as values.
        let stats = ReadStats {
            keys_verified: read.rows_taken + read.rows_scanned,
            blocks: read.blocks,
            block_hits: read.block_hits,
            ..ReadStats::default()
        };
        let Values { pieces, places } = joined(columns, values)?;
        let held = pieces.iter().map(Keys::try_new).collect::<Result<Vec<_>>>()?;
        let pair = |((key, _), place): (&(u32, Row), &Place)| {
            (*key as usize, &held[place.piece as usize], place.row as usize)
        };
        Ok((keys.equal_pairs(matches.iter().zip(places.iter()).map(pair)), stats))
    }

    /// One row for each key, whose rows come in any order.
    ///
    /// # Errors
    /// `invalid` if a key stands in several rows and the policy refuses that.
    pub(in crate::store::lance) fn choose(
        &self,
        keys: &Keys,
        matches: &Matches,
        policy: OnDuplicateKey,
    ) -> Result<Vec<Option<Row>>> {
        let need = Need::of(policy);
        let (mut rows, mut refused) = (vec![None; keys.len()], None);
        for (key, row) in matches {
            let chosen = &mut rows[*key as usize];
            let Some(other) = chosen.replace(*row) else { continue };
            if need.order(other, *row).is_lt() {
                *chosen = Some(other);
            }
            if policy == OnDuplicateKey::Error {
                refused = Some(refused.unwrap_or(*key).min(*key));
            }
        }
        let Some(key) = refused else { return Ok(rows) };
        Err(Error::invalid(format!(
            "key {} stands in several rows of KV store '{}'; set on_duplicate_key to 'first' or \
             'last'",
            keys.display(key as usize),
            self.alias
        )))
    }

    /// All rows of each of the first keys, so many of them, and how many of each there are.
    ///
    /// # Errors
    /// `resource_exhausted` if a key has more than it may have.
    pub(in crate::store::lance) fn all_of(
        &self,
        keys: &Keys,
        answered: usize,
        mut matches: Matches,
        most: MostRows,
    ) -> Result<(Vec<Option<Row>>, Vec<u32>)> {
        matches.retain(|(key, _)| (*key as usize) < answered);
        matches.sort_unstable();
        let mut counts = vec![0_u32; answered];
        for (key, _) in &matches {
            counts[*key as usize] += 1;
        }
        if let Some(key) = counts.iter().position(|count| *count as usize > most.of_a_key) {
            return Err(Error::resource_exhausted(format!(
                "key {} stands in more than {} rows of KV store '{}', and all of them are asked \
                 for at once; lookup.key_rows and lookup.memory_bytes bound them: raise these, \
                 ask for fewer columns, or set join_path to 'scan'",
                keys.display(key),
                most.of_a_key,
                self.alias
            )));
        }
        Ok((matches.into_iter().map(|(_, row)| Some(row)).collect(), counts))
    }
}

/// Rows of several columns that become one array, which may hold 2 GiB of text and no more.
const JOINED_AT_ONCE: usize = 8192;

/// The values of a key's columns as those of one column.
fn joined(columns: &[Arc<Column>], mut values: Vec<Values>) -> Result<Values> {
    if values.len() == 1
        && let Some(only) = values.pop()
    {
        return Ok(only);
    }
    let rows = values.first().map_or(0, |values| values.places.len());
    let piece = |start: usize| {
        let parts = columns.iter().zip(&values).map(|(column, values)| {
            let pieces: Vec<&dyn Array> = values.pieces.iter().map(AsRef::as_ref).collect();
            let places = values.places[start..rows.min(start + JOINED_AT_ONCE)].iter();
            let places = places.map(|place| (place.piece as usize, place.row as usize));
            Ok((column.name(), interleave(&pieces, &places.collect::<Vec<_>>())?))
        });
        key_column(&parts.collect::<Result<Vec<_>>>()?)
    };
    let pieces = (0..rows).step_by(JOINED_AT_ONCE).map(piece).collect::<Result<_>>()?;
    let place = |row: usize| Place {
        piece: (row / JOINED_AT_ONCE) as u32,
        row: (row % JOINED_AT_ONCE) as u32,
    };
    Ok(Values { pieces, places: (0..rows).map(place).collect() })
}

/// The rows of keys that say by themselves where rows are.
fn direct(keys: &Keys, row: impl Fn(u64) -> Option<Row>) -> Result<Matches> {
    let rows = (0..).zip(keys.integers()?);
    Ok(rows.filter_map(|(key, at)| Some((key, row(at?)?))).collect())
}
