//! From codes to rows through maps of all keys, which are made once and then kept: in memory, and
//! for other processes in the folder of [`super::stored`] maps, if there is one.

mod on_disk;

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyloom_common::{Error, Result};

use super::{
    all_codes::AllCodes,
    code_index::CodeIndex,
    coder::integer,
    run::{Merged, RunMap},
    runs::{Cover, KeyName, Part, View},
    scan::{KeyScan, KeySource},
    sieve::{Matches, Sieve, Wanted},
};
use crate::store::{
    ReadStats,
    kept::Kept,
    lance::{layout::Layout, name::FileColumn, tasks},
};

/// The most searches in maps that are made without tasks of their own: about a millisecond's work.
const MAX_PROBES_AT_ONCE: usize = 16 * 1024;

/// How often maps are asked of which some turn out to be damaged, each time without those.
const ATTEMPTS: usize = 2;

/// A part of a snapshot, and its map if that is kept.
struct Asked {
    part: Part,
    map: Option<Arc<Kept<RunMap>>>,
}

impl KeyScan {
    /// The rows of the wanted codes.
    pub(super) async fn through_maps(&self, wanted: Arc<Wanted>) -> Result<(Matches, ReadStats)> {
        self.recall().await?;
        let mut stats = ReadStats::default();
        for _ in 0..ATTEMPTS {
            let (matches, read) = self.ask_maps(wanted.clone()).await?;
            stats.add(&read);
            if let Some(matches) = matches {
                return Ok((matches, stats));
            }
        }
        Err(Error::store(
            "the maps of its keys in store.key_maps_dir cannot be read; look at the disk, or unset \
             store.key_maps_dir",
        ))
    }

    /// The rows of the wanted codes. None if a stored map could not be read: it is kept no longer.
    async fn ask_maps(&self, wanted: Arc<Wanted>) -> Result<(Option<Matches>, ReadStats)> {
        let all = self.asked();
        let bounds = if all.len() > 1 { bounds(&wanted.codes) } else { None };
        let probes = wanted.codes.len().saturating_mul(all.len());
        if probes <= MAX_PROBES_AT_ONCE
            && let Some(matches) = self.through_kept(&all, &wanted, bounds)
        {
            return Ok((Some(matches), ReadStats::default()));
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let futures = all.into_iter().map(|Asked { part, map }| {
            let (scan, wanted, is_lost) = (self.clone(), wanted.clone(), is_lost.clone());
            async move {
                let (map, stats) = match map {
                    Some(map) => (map, ReadStats::default()),
                    None => scan.map(&part).await?,
                };
                let found = scan.find_in(wanted.clone(), bounds, part, map).await?;
                if found.is_none() {
                    is_lost.store(true, Ordering::Relaxed);
                }
                Ok((found.unwrap_or_else(|| Sieve::new(wanted)), stats))
            }
        });
        let futures: Vec<_> = futures.collect();
        let (matches, stats) = self.join(wanted, futures).await?;
        let is_lost = is_lost.load(Ordering::Relaxed);
        Ok(((!is_lost).then_some(matches), stats))
    }

    /// The rows of the wanted codes at once, if all maps are in memory.
    fn through_kept(
        &self,
        all: &[Asked],
        wanted: &Arc<Wanted>,
        bounds: Option<(i64, i64)>,
    ) -> Option<Matches> {
        let in_memory = |asked: &Asked| {
            let map = asked.map.clone();
            map.filter(|map| map.in_memory().is_some())
        };
        let maps: Vec<Arc<Kept<RunMap>>> = all.iter().map(in_memory).collect::<Option<_>>()?;
        let mut found = Sieve::new(wanted.clone());
        for (Asked { part, .. }, map) in all.iter().zip(&maps) {
            find(&self.layout, bounds, part, map, &mut found).ok()?;
        }
        Some(found.finish())
    }

    /// The rows whose keys must be read to have the maps of all.
    pub(super) fn rows_without_map(&self) -> u64 {
        let missing = self.asked().into_iter().filter(|asked| asked.map.is_none());
        missing.map(|asked| self.rows_to_read(&asked.part)).sum()
    }

    /// The rows whose keys must be read to make a map: those that are in no map which becomes a
    /// part of this one.
    fn rows_to_read(&self, part: &Part) -> u64 {
        let run = &part.run;
        let is_kept = |merged: &&Merged| self.handle.caches.maps.get(&merged.id).is_some();
        let rows =
            |merged: &Merged| run.start(merged.fragments.end) - run.start(merged.fragments.start);
        let copied: u32 = run.merged.iter().filter(is_kept).map(rows).sum();
        u64::from(run.rows() - copied)
    }

    /// The runs to ask. The snapshot remembers them while all are there.
    fn asked(&self) -> Vec<Asked> {
        let key = self.key_name();
        let remembered = {
            let covers = self.handle.covers.lock().unwrap_or_else(PoisonError::into_inner);
            covers.get(&key.columns).cloned()
        };
        if let Some(views) = remembered {
            let parts: Option<Vec<Part>> = views.iter().map(View::part).collect();
            if let Some(asked) = parts.and_then(|parts| self.usable(parts)) {
                return asked;
            }
        }
        let (names, maps) = (self.names(), &self.handle.caches.maps);
        let fragments: Vec<_> = names.into_iter().zip(self.layout.physical_rows()).collect();
        let cover = |is_kept: &dyn Fn(u64) -> bool| {
            let parts = self.handle.caches.runs.cover(&key, &fragments, is_kept);
            let views: Cover = parts.iter().map(|part| part.view.clone()).collect();
            let mut covers = self.handle.covers.lock().unwrap_or_else(PoisonError::into_inner);
            covers.insert(key.columns.clone(), views);
            parts
        };
        let asked = self.usable(cover(&|id| maps.get(&id).is_some()));
        // A map may have gone meanwhile that only other versions could make again.
        asked.unwrap_or_else(|| {
            let parts = cover(&|_| false);
            parts.into_iter().map(|part| Asked { map: maps.get(&part.run.id), part }).collect()
        })
    }

    /// The runs with those of their maps that are kept. None if another one cannot be made.
    fn usable(&self, parts: Vec<Part>) -> Option<Vec<Asked>> {
        let asked = parts.into_iter().map(|part| {
            let map = self.handle.caches.maps.get(&part.run.id);
            (map.is_some() || part.view.is_whole()).then_some(Asked { part, map })
        });
        asked.collect()
    }

    /// The map of a run's keys, deleted rows among them: as it is stored, or made and then stored.
    async fn map(&self, part: &Part) -> Result<(Arc<Kept<RunMap>>, ReadStats)> {
        let _turn = self.turn().await;
        let (mut stats, mut is_new) = (ReadStats::default(), false);
        let make = async {
            if let Some(stored) = self.stored(part).await? {
                return Ok::<_, Error>(stored);
            }
            is_new = true;
            self.claim_room();
            let run = part.run.clone();
            let room = self.handle.caches.room_for_map(run.rows());
            let (mut all, is_copied) = self.copied(part).await?;
            let mut futures = Vec::new();
            for at in (0..run.names().len()).filter(|at| !is_copied[*at]) {
                let gone = || Error::internal("a fragment of a map is not in the snapshot");
                let fragment = part.view.place(at).ok_or_else(gone)?;
                futures.extend(self.parts(fragment).map(|keys| {
                    let (scan, start) = (self.clone(), run.start(at));
                    async move { Ok((start, scan.codes(fragment, keys).await?)) }
                }));
            }
            let in_flight = self.handle.settings.reads_in_flight;
            tasks::run_each(futures, in_flight, |_, (start, (codes, read))| {
                stats.add(&read);
                all.add(start, &codes);
            })
            .await?;
            let map = tasks::run_blocking(move || {
                let (map, exact) = all.map();
                RunMap::new(run, map, exact)
            });
            let map = map.await?;
            let bytes = map.bytes();
            Ok(Kept::new(map, bytes, room))
        };
        let maps = &self.handle.caches.maps;
        let map = maps.get_or_make(&part.run.id, make).await?;
        if is_new {
            // They are kept until then, as the task may end before this one is made.
            part.run.merged.iter().for_each(|merged| maps.remove(&merged.id));
            self.save(&map).await?;
        }
        Ok((map, stats))
    }

    /// The codes of those maps that become a part of this one, as far as they are kept, and which
    /// fragments these are.
    async fn copied(&self, part: &Part) -> Result<(AllCodes, Vec<bool>)> {
        let (caches, part) = (self.handle.caches.clone(), part.clone());
        tasks::run_blocking(move || {
            let run = &part.run;
            let mut all = AllCodes::new(run.rows());
            let mut is_copied = vec![false; run.names().len()];
            for merged in &run.merged {
                let Some(map) = caches.maps.get(&merged.id) else { continue };
                if all.add_map(run.start(merged.fragments.start), &map).is_err() {
                    // Its fragments are read, as all others are.
                    return (AllCodes::new(run.rows()), vec![false; run.names().len()]);
                }
                is_copied[merged.fragments.clone()].fill(true);
            }
            (all, is_copied)
        })
        .await
    }

    /// The key, as all versions of the dataset know it.
    pub(super) fn key_name(&self) -> KeyName {
        let columns = match &self.source {
            KeySource::Column(blocks) => blocks.column().identity().clone(),
            KeySource::Columns(columns) => {
                let names = columns.iter().map(|blocks| blocks.column().identity().as_ref());
                names.collect::<Vec<_>>().join("\n").into()
            }
            // That of a column is never empty.
            KeySource::StableRowId => Arc::default(),
        };
        KeyName { dataset: self.handle.uri.clone(), columns }
    }

    /// Where the keys of each fragment are stored.
    fn names(&self) -> Vec<FileColumn> {
        let KeyName { dataset, columns: column } = self.key_name();
        let of_column =
            |file: Arc<str>| FileColumn { dataset: dataset.clone(), file, column: column.clone() };
        let fragments = 0..self.layout.len();
        match &self.source {
            KeySource::Column(blocks) => {
                blocks.column().in_fragments(&self.handle, &self.layout).to_vec()
            }
            KeySource::Columns(columns) => {
                let columns = columns.iter();
                let columns =
                    columns.map(|blocks| blocks.column().in_fragments(&self.handle, &self.layout));
                let columns: Vec<&[FileColumn]> = columns.collect();
                let joined = |at: usize| {
                    let files = columns.iter().map(|column| column[at].file.as_ref());
                    of_column(files.collect::<Vec<_>>().join("\n").into())
                };
                fragments.map(joined).collect()
            }
            KeySource::StableRowId => {
                let file = |at: usize| self.handle.versioned(self.layout.id(at));
                fragments.map(file).map(of_column).collect()
            }
        }
    }
}

/// Adds the rows of a part whose codes are wanted. Deletions are the snapshot's, while maps are
/// shared with other versions.
///
/// # Errors
/// If the map is stored and cannot be read.
fn find(
    layout: &Layout,
    bounds: Option<(i64, i64)>,
    part: &Part,
    map: &RunMap,
    found: &mut Sieve,
) -> io::Result<()> {
    if map.is_beside(bounds) {
        return Ok(());
    }
    let wanted = Arc::clone(found.wanted());
    map.for_each_match(&wanted.codes, |key, position| {
        if let Some(row) = part.row(position).filter(|row| layout.is_live(*row)) {
            found.push(key, row);
        }
    })
}

/// The least and the greatest of the wanted codes, as integers.
fn bounds(wanted: &CodeIndex) -> Option<(i64, i64)> {
    wanted.iter().map(|(code, _)| integer(code)).fold(None, |bounds, key| {
        let (least, greatest) = bounds.unwrap_or((key, key));
        Some((key.min(least), key.max(greatest)))
    })
}
