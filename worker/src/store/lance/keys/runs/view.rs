//! A run as a snapshot sees it: which of the snapshot's fragments are where in it.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Weak},
};

use super::Stored;
use crate::store::lance::keys::run::{Merged, Run};
use crate::store::lance::{name::FileColumn, row::Row};

/// A run, and how a snapshot sees it.
#[derive(Clone, Debug)]
pub(in crate::store::lance::keys) struct Part {
    pub(in crate::store::lance::keys) run: Arc<Run>,
    pub(in crate::store::lance::keys) view: Arc<View>,
}

/// What a snapshot knows of a run, also while nobody else does.
#[derive(Debug)]
pub(in crate::store::lance) struct View {
    run: Weak<Run>,
    /// For each fragment of the run its place in the snapshot, if it is there. They increase.
    places: Vec<Option<u32>>,
    /// The rows of those that are there.
    pub(super) present_rows: u32,
}

impl Part {
    /// Some fragments of a snapshot, made of some maps.
    pub(super) fn new(fragments: &[Stored], range: Range<usize>, merged: Vec<Merged>) -> Self {
        let run = Run::made_of(fragments[range.clone()].iter().cloned(), merged);
        let view = View {
            run: Arc::downgrade(&run),
            places: range.map(|place| Some(place as u32)).collect(),
            present_rows: run.rows(),
        };
        Self { run, view: Arc::new(view) }
    }

    /// A run in a snapshot that has some of its fragments, in the same order.
    pub(super) fn of_known(
        run: Arc<Run>,
        places: &HashMap<&FileColumn, u32>,
        fragments: &[Stored],
    ) -> Option<Self> {
        let of_run = run.names().iter().map(|name| places.get(name).copied());
        let of_run: Vec<Option<u32>> = of_run.collect();
        let is_sorted = of_run.iter().flatten().is_sorted_by(|before, after| before < after);
        let (mut present_rows, mut is_any) = (0, false);
        for (at, place) in of_run.iter().enumerate() {
            let Some(place) = place else { continue };
            if fragments[*place as usize].1 != run.rows_of(at) {
                return None;
            }
            present_rows += run.rows_of(at);
            is_any = true;
        }
        if !is_sorted || !is_any {
            return None;
        }
        let view = View { run: Arc::downgrade(&run), places: of_run, present_rows };
        Some(Self { run, view: Arc::new(view) })
    }

    /// The snapshot's row at a position of the run, if its fragment is in the snapshot.
    pub(in crate::store::lance::keys) fn row(&self, position: u32) -> Option<Row> {
        let (at, offset) = self.run.locate(position);
        self.view.places[at].map(|place| Row::new(place as usize, offset))
    }
}

impl View {
    /// The run, if its map is still kept or being made.
    pub(in crate::store::lance::keys) fn part(self: &Arc<Self>) -> Option<Part> {
        Some(Part { run: self.run.upgrade()?, view: Arc::clone(self) })
    }

    /// The place in the snapshot of a fragment of the run.
    pub(in crate::store::lance::keys) fn place(&self, at: usize) -> Option<usize> {
        self.places[at].map(|place| place as usize)
    }

    /// Whether the snapshot has all its fragments, so that its map can be made.
    pub(in crate::store::lance::keys) fn is_whole(&self) -> bool {
        self.places.iter().all(Option::is_some)
    }

    /// The fragments that the snapshot has.
    pub(super) fn present(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.places.iter().flatten().map(|place| *place as usize)
    }

    /// The first one of them.
    pub(in crate::store::lance::keys) fn first(&self) -> usize {
        self.present().next().unwrap_or(0)
    }

    /// The one behind the last of them.
    pub(in crate::store::lance::keys) fn end(&self) -> usize {
        self.present().next_back().map_or(0, |last| last + 1)
    }

    /// All of them, if no other fragment of the snapshot is between them.
    pub(super) fn range(&self) -> Option<Range<usize>> {
        let range = self.first()..self.end();
        (range.len() == self.present().count()).then_some(range)
    }
}
