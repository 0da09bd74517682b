//! Which fragments share a map of keys, over all versions of a dataset that a worker reads.
//!
//! A request asks each map, so there are to be few: one for a store of a few million rows, some
//! dozens for a large one, which are made side by side. What a later version adds has maps of its
//! own until these are too many; then they become one. What it removes stays in a map as long as
//! that is mostly of use.

mod view;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub(super) use self::view::{Part, View};
use super::run::{Merged, Run};
use crate::store::lance::name::FileColumn;

/// Rows up to which fragments share a map, however many there are: it is made in about 0.1 s.
const ROWS: u64 = 1 << 22;

/// About the most maps of a store, if its fragments are not larger.
const MAPS: u64 = 32;

/// The most small maps that stand next to each other.
const SMALL_MAPS: usize = 8;

/// A key of a dataset: one column, several, or the row ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyName {
    pub(in crate::store::lance) dataset: Arc<str>,
    pub(in crate::store::lance) columns: Arc<str>,
}

/// A fragment of a snapshot: where its keys are stored, and its rows, deleted ones among them.
pub(super) type Stored = (FileColumn, u32);

/// The runs that hold a snapshot's fragments.
pub(in crate::store::lance) type Cover = Arc<[Arc<View>]>;

/// A map, and the files whose keys are in it.
type KeptMap<M> = (M, HashSet<Arc<str>>);

/// The runs whose maps are kept or are being made.
#[derive(Debug, Default)]
pub(in crate::store::lance) struct Runs {
    known: Mutex<HashMap<KeyName, Vec<Weak<Run>>>>,
}

impl Runs {
    /// Learns of runs whose maps are stored. Others must keep them alive.
    pub(super) fn learn(&self, key: &KeyName, stored: &[Arc<Run>]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key.clone()).or_default().extend(stored.iter().map(Arc::downgrade));
    }

    /// The keys of a dataset that have runs, by their columns, and those of their maps that are
    /// kept, each with the files whose keys are in it.
    pub(in crate::store::lance) fn kept<M>(
        &self,
        dataset: &str,
        map: impl Fn(u64) -> Option<M>,
    ) -> Vec<(Arc<str>, Vec<KeptMap<M>>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let files = |run: &Run| run.names().iter().map(|name| name.file.clone()).collect();
        let maps = |runs: &[Weak<Run>]| {
            let runs = runs.iter().filter_map(Weak::upgrade);
            runs.filter_map(|run| Some((map(run.id)?, files(&run)))).collect()
        };
        let of_dataset = known.iter().filter(|(key, _)| key.dataset.as_ref() == dataset);
        of_dataset.map(|(key, runs)| (key.columns.clone(), maps(runs))).collect()
    }

    /// Runs that hold each fragment of a snapshot once, in storage order of their first ones. Those
    /// that hold others, too, are used if their maps are kept.
    pub(super) fn cover(
        &self,
        key: &KeyName,
        fragments: &[Stored],
        is_kept: impl Fn(u64) -> bool,
    ) -> Vec<Part> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = known.get(key).into_iter().flatten().filter_map(Weak::upgrade);
        let mut parts = of_known(alive, fragments, is_kept);
        let most = most_rows(fragments);
        add_missing(&mut parts, fragments, most);
        parts.sort_by_key(|part| part.view.first());
        let parts = merge(parts, fragments, most);
        known.retain(|_, runs| {
            runs.retain(|run| run.strong_count() > 0);
            !runs.is_empty()
        });
        let runs = known.entry(key.clone()).or_default();
        for part in &parts {
            let run = Arc::downgrade(&part.run);
            if !runs.iter().any(|other| other.ptr_eq(&run)) {
                runs.push(run);
            }
        }
        parts
    }
}

/// The most rows of a run of several fragments.
fn most_rows(fragments: &[Stored]) -> u64 {
    let rows: u64 = fragments.iter().map(|(_, rows)| u64::from(*rows)).sum();
    (rows / MAPS).clamp(ROWS, u64::from(u32::MAX))
}

/// Runs that are of use to the snapshot, the most useful ones first. None of its fragments is in
/// two.
fn of_known(
    runs: impl Iterator<Item = Arc<Run>>,
    fragments: &[Stored],
    is_kept: impl Fn(u64) -> bool,
) -> Vec<Part> {
    let names = fragments.iter().map(|(name, _)| name).zip(0..);
    let places: HashMap<&FileColumn, u32> = names.collect();
    let seen = runs.filter_map(|run| Part::of_known(run, &places, fragments));
    let useful = |part: &Part| {
        let (present, all) = (part.view.present_rows, part.run.rows());
        part.view.is_whole() || (u64::from(present) * 2 >= u64::from(all) && is_kept(part.run.id))
    };
    let mut seen: Vec<Part> = seen.filter(useful).collect();
    seen.sort_by_key(|part| (Reverse(part.view.present_rows), part.run.rows(), part.run.id));
    let mut covered = vec![false; fragments.len()];
    seen.retain(|part| {
        let is_free = part.view.present().all(|place| !covered[place]);
        if is_free {
            part.view.present().for_each(|place| covered[place] = true);
        }
        is_free
    });
    seen
}

/// Adds new runs of those fragments that are in none.
fn add_missing(parts: &mut Vec<Part>, fragments: &[Stored], most: u64) {
    let mut covered = vec![false; fragments.len()];
    parts.iter().flat_map(|part| part.view.present()).for_each(|place| covered[place] = true);
    let mut start = 0;
    while start < fragments.len() {
        if covered[start] {
            start += 1;
            continue;
        }
        let (mut end, mut rows) = (start + 1, u64::from(fragments[start].1));
        while end < fragments.len() && !covered[end] && rows + u64::from(fragments[end].1) <= most {
            rows += u64::from(fragments[end].1);
            end += 1;
        }
        parts.push(Part::new(fragments, start..end, Vec::new()));
        start = end;
    }
}

/// Makes neighbours that are small and too many one.
fn merge(parts: Vec<Part>, fragments: &[Stored], most: u64) -> Vec<Part> {
    let is_small = |part: &Part| {
        part.view.is_whole()
            && part.view.range().is_some()
            && u64::from(part.run.rows()) * 2 <= most
    };
    let (mut merged, mut small) = (Vec::with_capacity(parts.len()), Vec::new());
    for part in parts {
        let follows = |before: &Part| before.view.end() == part.view.first();
        if !is_small(&part) || small.last().is_some_and(|before| !follows(before)) {
            settle(&mut merged, &mut small, fragments, most);
        }
        if is_small(&part) {
            small.push(part);
        } else {
            merged.push(part);
        }
    }
    settle(&mut merged, &mut small, fragments, most);
    merged
}

/// Moves small neighbours to the others, fewer of them if they are too many.
fn settle(parts: &mut Vec<Part>, small: &mut Vec<Part>, fragments: &[Stored], most: u64) {
    if small.len() <= SMALL_MAPS {
        parts.append(small);
        return;
    }
    let mut group: Vec<Part> = Vec::new();
    for part in small.drain(..) {
        let rows: u64 = group.iter().map(|part| u64::from(part.run.rows())).sum();
        if rows + u64::from(part.run.rows()) > most {
            parts.extend(together(std::mem::take(&mut group), fragments));
        }
        group.push(part);
    }
    parts.extend(together(group, fragments));
}

/// Neighbours as one.
fn together(mut group: Vec<Part>, fragments: &[Stored]) -> Option<Part> {
    if group.len() < 2 {
        return group.pop();
    }
    let start = group.first()?.view.first();
    let end = group.last()?.view.end();
    let merged = group.iter().map(|part| Merged {
        id: part.run.id,
        fragments: part.view.first() - start..part.view.end() - start,
    });
    let merged = merged.collect();
    Some(Part::new(fragments, start..end, merged))
}

#[cfg(test)]
mod tests;
