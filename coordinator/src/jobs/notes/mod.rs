//! What the figures of a job say of waste, in words. Each note is a function of its own over the
//! figures, with the bounds from which on it speaks beside it; whoever reads them all finds what
//! is wrong, and nothing that is not.

mod columns;
mod coordinator;
mod keys;
mod requests;
mod tasks;

use keyloom_common::report::{Analysis, Note};

/// The notes of a job: those of its stores, of its stages, and of the whole.
pub(super) fn notes(analysis: &Analysis) -> Vec<Note> {
    let workers = analysis.stages.iter().map(|stage| stage.workers).max().unwrap_or_default();
    let of_stores = analysis.stores.iter().flat_map(|store| {
        [
            keys::read_again(store, workers),
            keys::many_misses(store),
            requests::small(store),
            requests::retries(store),
            columns::used(store),
            columns::small_cache(store),
        ]
    });
    let of_stages = analysis
        .stages
        .iter()
        .flat_map(|stage| [tasks::slow_task(stage), tasks::few_tasks(stage, analysis.slots)]);
    let of_all = [tasks::late_start(analysis), coordinator::gather(analysis)];
    let spills = analysis.nodes.iter().map(coordinator::spill);
    of_stores.chain(of_stages).chain(of_all).chain(spills).flatten().collect()
}

#[cfg(test)]
mod tests {
    use keyloom_common::report::{NoteKind, StageRun, StoreRun};

    use super::*;

    #[test]
    fn a_job_that_wastes_nothing_has_no_notes() {
        let store = StoreRun { columns: 3, columns_used: 3, ..StoreRun::default() };
        let stage = StageRun { tasks: 1, workers: 1, seconds: 0.01, ..StageRun::default() };
        let analysis = Analysis {
            seconds: 0.02,
            slots: 8,
            stages: vec![stage],
            stores: vec![store],
            ..Analysis::default()
        };
        assert_eq!(notes(&analysis), []);
        assert_eq!(notes(&Analysis::default()), []);
    }

    #[test]
    fn notes_of_stores_come_before_those_of_stages_and_of_the_whole() {
        let store = StoreRun { columns: 40, columns_used: 3, ..StoreRun::default() };
        let stage = StageRun {
            tasks: 1,
            seconds: 2.0,
            share_percent: 50.0,
            start_seconds: 2.0,
            ..StageRun::default()
        };
        let analysis = Analysis {
            seconds: 4.0,
            slots: 8,
            stages: vec![stage],
            stores: vec![store],
            ..Analysis::default()
        };
        let kinds: Vec<_> = notes(&analysis).into_iter().map(|note| note.kind).collect();
        assert_eq!(kinds, [NoteKind::Columns, NoteKind::FewTasks, NoteKind::LateStart]);
    }
}
