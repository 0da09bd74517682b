//! Which task goes where, and when.

use keyloom_common::{Error, StageId};

use super::super::{Action, Event, Settings, StageKind};
use super::rig::*;

#[test]
fn lowest_task_goes_to_the_worker_with_most_free_slots() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.join(2, 2);
    let launched = rig.open(s, 4);
    // Worker 2 has two free slots, then both have one and the lower id wins.
    assert_eq!(
        launched,
        [launch(2, attempt(s, 0, 0)), launch(1, attempt(s, 1, 0)), launch(2, attempt(s, 2, 0)),]
    );
    assert_eq!(rig.counts(s), Some((1, 3, 0)));
    let freed = rig.finish(1, attempt(s, 1, 0));
    assert_eq!(freed, [done(attempt(s, 1, 0)), launch(1, attempt(s, 3, 0))]);
}

#[test]
fn an_attempt_that_waits_for_storage_takes_no_slot_and_as_many_as_there_are_slots_may() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 9);
    for index in 0..2 {
        let next = launch(1, attempt(s, index + 2, 0));
        assert_eq!(rig.computed(1, attempt(s, index, 0)), [next]);
        assert_eq!(rig.computed(1, attempt(s, index, 0)), [], "the same again");
    }
    assert_eq!(rig.computed(1, attempt(s, 2, 0)), [], "the storage stands still");
    assert_eq!(rig.counts(s), Some((5, 4, 0)));
    // The end of one of them is the slot of the one that waited.
    let next = [done(attempt(s, 0, 0)), launch(1, attempt(s, 4, 0))];
    assert_eq!(rig.finish(1, attempt(s, 0, 0)), next);
    // One that fails, and was late to say that it had computed.
    let next = [discard(attempt(s, 1, 0)), launch(1, attempt(s, 5, 0))];
    assert_eq!(rig.fail(1, attempt(s, 1, 0), flaky()), [next[0].clone()]);
    assert_eq!(rig.computed(1, attempt(s, 1, 0)), []);
    assert_eq!(rig.computed(1, attempt(s, 3, 0)), [next[1].clone()]);
}

#[test]
fn huge_stage_does_not_starve_a_small_one() {
    let (mut rig, huge, small) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.open(huge, 1_000);
    rig.open(small, 2);
    let mut order = vec![(huge, 0)];
    for _ in 0..5 {
        let (of, index) = order[order.len() - 1];
        for action in rig.finish(1, attempt(of, index, 0)) {
            if let Action::Launch { attempt, .. } = action {
                order.push((attempt.task.stage, attempt.task.index));
            }
        }
    }
    // The small stage came while task 1 of the huge one had its turn; from then on they alternate.
    assert_eq!(order, [(huge, 0), (huge, 1), (small, 0), (huge, 2), (small, 1), (huge, 3)]);
}

#[test]
fn stage_grows_while_it_runs() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 1);
    rig.finish(1, attempt(s, 0, 0));
    assert_eq!(rig.counts(s), Some((0, 0, 1)));
    assert_eq!(rig.add(s, 1), [launch(1, attempt(s, 1, 0))]);
    assert_eq!(rig.add(s, 1), [], "the same task again");
    assert_eq!(rig.add(s, 7), [launch(1, attempt(s, 7, 0))], "gaps are fine");
    assert_eq!(rig.add(s, 3), [], "indices ascend");
}

#[test]
fn closed_stage_is_forgotten_once_done_and_consumed() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 2);
    rig.feed(Event::StageClosed { stage: s });
    assert_eq!(rig.add(s, 2), [], "closed");
    rig.finish(1, attempt(s, 0, 0));
    rig.consume(s, 0);
    rig.finish(1, attempt(s, 1, 0));
    assert_eq!(rig.counts(s), Some((0, 0, 2)));
    rig.consume(s, 1);
    assert_eq!(rig.counts(s), None);

    let empty = stage(2);
    rig.open(empty, 0);
    rig.feed(Event::StageClosed { stage: empty });
    assert_eq!(rig.counts(empty), None);
}

#[test]
fn window_bounds_tasks_ahead() {
    let mut rig = Rig::with(Settings { max_tasks_ahead: 2, ..Settings::default() });
    let s = stage(1);
    rig.join(1, 8);
    assert_eq!(rig.open(s, 4).len(), 2);
    assert_eq!(rig.finish(1, attempt(s, 1, 0)), [done(attempt(s, 1, 0))], "done is still ahead");
    assert_eq!(rig.finish(1, attempt(s, 0, 0)), [done(attempt(s, 0, 0))]);
    assert_eq!(rig.consume(s, 0), [launch(1, attempt(s, 2, 0))]);
    assert_eq!(rig.consume(s, 0), [], "the same again moves nothing");
    assert_eq!(rig.consume(s, 1), [launch(1, attempt(s, 3, 0))]);
}

#[test]
fn retry_keeps_its_place_in_the_window() {
    let mut rig = Rig::with(Settings { max_tasks_ahead: 2, ..Settings::default() });
    let s = stage(1);
    rig.join(1, 2);
    rig.open(s, 4);
    rig.finish(1, attempt(s, 1, 0));
    // Were task 2 launched now, it would fill the window, and the reader waits for task 0.
    assert_eq!(rig.fail(1, attempt(s, 0, 0), flaky()), [discard(attempt(s, 0, 0))]);
    assert_eq!(rig.pass(100), [launch(1, attempt(s, 0, 1))]);
}

#[test]
fn consumed_before_its_end_is_reported_gives_its_place_back_then() {
    let mut rig = Rig::with(Settings { max_tasks_ahead: 1, ..Settings::default() });
    let s = stage(1);
    rig.join(1, 2);
    rig.open(s, 2);
    assert_eq!(rig.consume(s, 0), []);
    let end = rig.finish(1, attempt(s, 0, 0));
    assert_eq!(end, [done(attempt(s, 0, 0)), launch(1, attempt(s, 1, 0))]);
}

#[test]
fn cancel_revokes_all_and_holds_slots_until_reported() {
    let (mut rig, s, next) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.join(2, 1);
    rig.open(s, 9);
    let cancelled = rig.feed(Event::StageCancelled { stage: s });
    assert_eq!(cancelled, [revoke(1, attempt(s, 0, 0)), revoke(2, attempt(s, 1, 0))]);
    assert_eq!(rig.counts(s), None);
    assert_eq!(rig.open(next, 2), [], "the workers still stop what they ran");

    let stopped = rig.fail(1, attempt(s, 0, 0), Error::cancelled("revoked"));
    assert_eq!(stopped, [discard(attempt(s, 0, 0)), launch(1, attempt(next, 0, 0))]);
    let finished = rig.finish(2, attempt(s, 1, 0));
    assert_eq!(finished, [discard(attempt(s, 1, 0)), launch(2, attempt(next, 1, 0))]);
}

#[test]
fn revoked_attempt_never_reported_gives_its_slot_back() {
    let (mut rig, s, next) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.feed(Event::StageCancelled { stage: s });
    rig.open(next, 1);
    assert_eq!(rig.state.workers().map(|w| (w.running, w.stopping)).collect::<Vec<_>>(), [(0, 1)]);
    assert_eq!(rig.pass(4_999), []);
    assert_eq!(rig.pass(1), [launch(1, attempt(next, 0, 0))]);
    assert_eq!(rig.finish(1, attempt(s, 0, 0)), [discard(attempt(s, 0, 0))]);
}

#[test]
fn draining_worker_gets_no_new_tasks() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 2);
    rig.add(s, 2);
    assert!(rig.drain(1).contains(&waiting(s, 1, rig.now.as_secs() + 30)));
    assert_eq!(rig.finish(1, attempt(s, 0, 0)), [done(attempt(s, 0, 0))]);
    assert_eq!(rig.join(2, 1), [launch(2, attempt(s, 2, 0))]);
    let last = rig.finish(1, attempt(s, 1, 0));
    assert_eq!(last, [done(attempt(s, 1, 0)), gone(1, "drained")]);
    assert_eq!(rig.leave(1), [], "it is known to be gone");
}

#[test]
fn idle_worker_drains_at_once() {
    let mut rig = Rig::new();
    rig.join(1, 2);
    assert_eq!(rig.drain(1), [gone(1, "drained")]);
    assert_eq!(rig.drain(1), []);
}

#[test]
fn unknown_names_are_ignored() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.open(s, 1);
    let lost = attempt(stage(9), 0, 0);
    for event in [
        Event::Heartbeat { worker: worker(9), attempts: vec![lost] },
        Event::WorkerDraining { worker: worker(9) },
        Event::WorkerLeft { worker: worker(9), reason: String::new() },
        Event::TaskAdded { task: lost.task },
        Event::TaskConsumed { task: lost.task },
        Event::TaskConsumed { task: task(s, 7) },
        Event::StageClosed { stage: stage(9) },
        Event::StageCancelled { stage: stage(9) },
        Event::StageOpened { stage: s, kind: StageKind::Work, stores: vec![store(1)] },
    ] {
        assert_eq!(rig.feed(event.clone()), [], "{event:?}");
    }
    assert_eq!(rig.finish(9, lost), [discard(lost)]);
    assert_eq!(rig.fail(9, lost, Error::internal("x")), [discard(lost)]);
    assert_eq!(rig.counts(s), Some((1, 0, 0)));
}

#[test]
fn zero_slots_and_a_zero_window_count_as_one() {
    let mut rig = Rig::with(Settings { max_tasks_ahead: 0, ..Settings::default() });
    rig.join(1, 0);
    assert_eq!(rig.open(stage(1), 3), [launch(1, attempt(stage(1), 0, 0))]);
}

fn waiting(stage: StageId, tasks: usize, fails_at_secs: u64) -> Action {
    let fails_at = std::time::Duration::from_secs(fails_at_secs);
    Action::Waiting { stage, tasks, fails_at }
}
