//! Tasks go where their stores are warm, of the workers that could begin at once.

use keyloom_common::StageId;

use super::super::{Action, Event};
use super::rig::*;

/// Two stores.
const A: u32 = 1;
const B: u32 = 2;

/// Where the tasks of a stage are launched, by their order.
fn launched(actions: &[Action]) -> Vec<u32> {
    let workers = actions.iter().filter_map(|action| match action {
        Action::Launch { worker: on, .. } => (0..1_000).find(|n| worker(*n) == *on),
        _ => None,
    });
    workers.collect()
}

impl Rig {
    /// Lets the only worker with a free slot run a task over stores to its end.
    fn warm(&mut self, n: u32, stores: &[u32], s: StageId) {
        assert_eq!(self.open_over(stores, s, 1), [launch(n, attempt(s, 0, 0))]);
        self.finish(n, attempt(s, 0, 0));
        self.feed(Event::StageCancelled { stage: s });
    }
}

/// Worker 2 of so many slots has looked the store A up, and worker 1, which goes first otherwise,
/// has not.
fn second_is_warm(slots: u32) -> Rig {
    let mut rig = Rig::new();
    rig.join(2, slots);
    rig.warm(2, &[A], stage(100));
    rig.join(1, slots);
    rig
}

#[test]
fn of_two_idle_workers_the_one_that_served_the_store_gets_the_task() {
    let cases: [(&[u32], u32); 4] = [(&[A], 2), (&[A, B], 2), (&[B], 1), (&[], 1)];
    for (stores, expected) in cases {
        let mut rig = second_is_warm(1);
        assert_eq!(launched(&rig.open_over(stores, stage(1), 1)), [expected], "{stores:?}");
    }
}

#[test]
fn a_free_worker_gets_the_task_at_once_while_the_warm_one_is_busy() {
    let mut rig = second_is_warm(1);
    assert_eq!(launched(&rig.open_over(&[A], stage(1), 2)), [2, 1]);
    assert_eq!(rig.counts(stage(1)), Some((0, 2, 0)));
}

#[test]
fn a_stage_takes_all_slots_if_it_has_more_tasks_than_the_warm_worker_has_slots() {
    let mut rig = second_is_warm(2);
    assert_eq!(launched(&rig.open_over(&[A], stage(1), 5)), [2, 2, 1, 1]);
    let freed = rig.finish(1, attempt(stage(1), 2, 0));
    assert_eq!(freed, [done(attempt(stage(1), 2, 0)), launch(1, attempt(stage(1), 4, 0))]);
}

#[test]
fn where_more_of_the_stores_are_warm_is_better_than_more_free_slots() {
    let mut rig = Rig::new();
    rig.join(3, 1);
    rig.warm(3, &[A, B], stage(100));
    rig.open_over(&[], stage(101), 1);
    rig.join(2, 2);
    rig.warm(2, &[B], stage(102));
    rig.finish(3, attempt(stage(101), 0, 0));
    rig.join(1, 3);
    assert_eq!(launched(&rig.open_over(&[A, B], stage(1), 6)), [3, 2, 2, 1, 1, 1]);
}

#[test]
fn where_equally_many_stores_are_warm_the_most_free_slots_decide() {
    let mut rig = second_is_warm(2);
    // It runs one task already when worker 3 is as warm.
    rig.open_over(&[A], stage(1), 4);
    rig.join(3, 2);
    rig.warm(3, &[A], stage(101));
    rig.finish(2, attempt(stage(1), 0, 0));
    assert_eq!(launched(&rig.open_over(&[A], stage(2), 3)), [3, 2, 3]);
}

#[test]
fn a_retry_prefers_another_worker_to_a_warm_one() {
    let (mut rig, s) = (second_is_warm(1), stage(1));
    assert_eq!(rig.open_over(&[A], s, 1), [launch(2, attempt(s, 0, 0))]);
    rig.fail(2, attempt(s, 0, 0), flaky());
    assert_eq!(rig.pass(100), [launch(1, attempt(s, 0, 1))]);
}

#[test]
fn a_task_that_failed_warms_nothing() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(2, 1);
    rig.open_over(&[A], s, 1);
    rig.fail(2, attempt(s, 0, 0), flaky());
    rig.feed(Event::StageCancelled { stage: s });
    rig.join(1, 1);
    assert_eq!(launched(&rig.open_over(&[A], stage(2), 1)), [1]);
}

#[test]
fn a_worker_that_comes_back_is_cold() {
    let mut rig = second_is_warm(1);
    rig.leave(2);
    // Of the same machine, as far as that can be known; and even by the same name.
    rig.join(3, 1);
    rig.join(2, 1);
    assert_eq!(launched(&rig.open_over(&[A], stage(1), 3)), [1, 2, 3]);
}

#[test]
fn a_draining_worker_gets_nothing_however_warm_it_is() {
    let mut rig = second_is_warm(2);
    rig.open_over(&[A], stage(1), 1);
    rig.drain(2);
    assert_eq!(launched(&rig.open_over(&[A], stage(2), 1)), [1]);
}

#[test]
fn a_worker_is_remembered_for_its_last_64_stores() {
    for (others, expected) in [(63, 2), (64, 1)] {
        let mut rig = Rig::new();
        rig.join(2, 1);
        for n in 0..=others {
            rig.warm(2, &[A + n], stage(100 + n));
        }
        rig.join(1, 1);
        assert_eq!(launched(&rig.open_over(&[A], stage(1), 1)), [expected], "{others}");
    }
}

#[test]
fn a_warm_worker_is_found_among_many_idle_ones() {
    let mut rig = Rig::new();
    rig.join(77, 1);
    rig.warm(77, &[A], stage(100));
    (0..200).for_each(|n| drop(rig.join(n, 2)));
    assert_eq!(launched(&rig.open_over(&[B, A], stage(1), 3)), [77, 0, 1]);
}

#[test]
fn of_many_warm_workers_one_that_is_free_is_found() {
    let mut rig = Rig::new();
    (60..100).for_each(|n| drop(rig.join(n, 1)));
    rig.open_over(&[A], stage(100), 40);
    (60..100).for_each(|n| drop(rig.finish(n, attempt(stage(100), n - 60, 0))));
    // Thirty of the forty are busy, and those that go first otherwise are cold.
    rig.open(stage(101), 30);
    (0..60).for_each(|n| drop(rig.join(n, 1)));
    let expected = (90..100).chain([0]).collect::<Vec<_>>();
    assert_eq!(launched(&rig.open_over(&[A], stage(1), 11)), expected);
}
