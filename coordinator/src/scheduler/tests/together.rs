//! Shuffles: a slot of each worker or none, and nobody waits for ever.

use std::time::Duration;

use keyloom_common::{AttemptId, Error, StageId};

use super::super::{Event, Settings};
use super::rig::*;

/// Workers 1, 2, … that shuffle, of so many slots each.
fn shufflers(slots: &[u32]) -> Rig {
    let mut rig = Rig::new();
    for (n, slots) in (1..).zip(slots) {
        rig.join_shuffler(n, *slots);
    }
    rig
}

/// Two workers of one slot each, which run tasks 0 and 1 of a stage of four, and a shuffle that
/// waits for both. The stage was there before.
fn waiting(small: StageId, shuffle: StageId) -> Rig {
    let mut rig = shufflers(&[1, 1]);
    assert_eq!(rig.open(small, 4).len(), 2);
    assert_eq!(rig.open_shuffle(shuffle, 9), []);
    rig
}

/// The slots that are taken of each worker.
fn taken(rig: &Rig) -> Vec<usize> {
    let taken = rig.state.workers().map(|w| w.running + w.stopping + w.beside);
    taken.collect()
}

#[test]
fn a_shuffle_takes_a_slot_of_each_worker_that_shuffles() {
    let (mut rig, s, small) = (shufflers(&[1, 2]), stage(1), stage(2));
    rig.join(3, 1);
    let first = attempt(s, 0, 0);
    // The freest one leads.
    assert_eq!(rig.open_shuffle(s, 9), [together(&[2, 1], first)]);
    assert_eq!(taken(&rig), [1, 1, 0]);
    let load = rig.state.load(rig.now);
    assert_eq!((load.free_slots, load.taken_slots, load.running), (2, 2, 1));
    let launched = rig.open(small, 3);
    assert_eq!(launched, [launch(2, attempt(small, 0, 0)), launch(3, attempt(small, 1, 0))]);
    assert_eq!(rig.finish(2, first), [done(first), launch(1, attempt(small, 2, 0))]);
    assert_eq!(taken(&rig), [1, 1, 1]);
}

#[test]
fn however_an_attempt_ends_all_its_slots_are_free() {
    let ways: [fn(&mut Rig, AttemptId); 7] = [
        |rig, attempt| drop(rig.finish(1, attempt)),
        |rig, attempt| drop(rig.fail(1, attempt, flaky())),
        |rig, attempt| drop(rig.fail(1, attempt, Error::invalid("fatal"))),
        |rig, attempt| drop(rig.feed(Event::TaskPutOff { worker: worker(1), attempt })),
        |rig, attempt| {
            rig.feed(Event::StageCancelled { stage: attempt.task.stage });
            assert_eq!(taken(rig), [1, 1, 1], "it may run still");
            rig.fail(1, attempt, Error::cancelled("revoked"));
        },
        |rig, attempt| {
            rig.feed(Event::StageCancelled { stage: attempt.task.stage });
            rig.pass_alive(5_000, &[1, 2, 3]);
        },
        |rig, _| {
            // The worker does not name it, and so has dropped it.
            for _ in 0..3 {
                rig.pass_alive(40_000, &[2, 3]);
                rig.feed(Event::Heartbeat { worker: worker(1), attempts: Vec::new() });
            }
        },
    ];
    for (n, end) in (0..).zip(ways) {
        let settings = Settings { heartbeat_timeout_ms: 60_000, ..Settings::default() };
        let (mut rig, first) = (Rig::with(settings), attempt(stage(1), 0, 0));
        (1..4).for_each(|n| drop(rig.join_shuffler(n, 1)));
        assert_eq!(rig.open_shuffle(stage(1), 9), [together(&[1, 2, 3], first)]);
        assert_eq!(taken(&rig), [1, 1, 1]);
        end(&mut rig, first);
        assert_eq!(taken(&rig), [0, 0, 0], "way {n}");
    }
}

#[test]
fn a_shuffle_whose_leader_is_lost_begins_anew_with_those_that_are_left() {
    let (mut rig, s) = (shufflers(&[1, 1, 1]), stage(1));
    rig.open_shuffle(s, 9);
    let lost = rig.leave(1);
    let anew = together(&[2, 3], attempt(s, 0, 1));
    assert_eq!(lost, [gone(1, "connection reset"), discard(attempt(s, 0, 0)), anew]);
    assert_eq!(taken(&rig), [1, 1]);
}

#[test]
fn what_becomes_of_a_shuffle_whose_peer_is_lost_is_said_by_its_leader() {
    let (mut rig, s) = (shufflers(&[1, 1, 1]), stage(1));
    rig.open_shuffle(s, 9);
    assert_eq!(rig.leave(2), [gone(2, "connection reset")]);
    assert_eq!(taken(&rig), [1, 1]);
    // Who leads it is not to blame, and leads it again.
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    assert_eq!(rig.fail(1, first, flaky()), [discard(first), together(&[1, 3], second)]);
    assert_eq!(taken(&rig), [1, 1]);
    // Nothing was lost this time: it rests, and then another one leads it.
    assert_eq!(rig.fail(1, second, flaky()), [discard(second)]);
    assert_eq!(taken(&rig), [0, 0]);
    assert_eq!(rig.pass(100), [together(&[3, 1], attempt(s, 0, 2))]);
}

#[test]
fn a_worker_that_drains_ends_the_shuffles_in_which_it_takes_part_and_begins_none() {
    let (mut rig, s, next) = (shufflers(&[2, 2, 2]), stage(1), stage(2));
    rig.open_shuffle(s, 9);
    assert_eq!(rig.drain(3), []);
    assert_eq!(rig.state.available_shufflers(), 2);
    assert_eq!(rig.open_shuffle(next, 9), [together(&[1, 2], attempt(next, 0, 0))]);
    assert_eq!(taken(&rig), [2, 2, 1]);
    let first = attempt(s, 0, 0);
    assert_eq!(rig.finish(1, first), [done(first), gone(3, "drained")]);
}

#[test]
fn slots_that_become_free_are_kept_for_a_shuffle_that_waits() {
    let (small, s) = (stage(1), stage(2));
    let mut rig = waiting(small, s);
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|index| attempt(small, index, 0));
    assert_eq!(rig.finish(1, first), [done(first), launch(1, third)], "its turn is before");
    assert_eq!(rig.finish(2, second), [done(second)]);
    let shuffle = attempt(s, 0, 0);
    assert_eq!(rig.finish(1, third), [done(third), together(&[1, 2], shuffle)]);
    assert_eq!(rig.finish(1, shuffle), [done(shuffle), launch(1, fourth)]);
}

#[test]
fn one_slot_of_each_worker_is_kept_and_the_others_are_not() {
    let (mut rig, small, s) = (shufflers(&[2, 2]), stage(1), stage(2));
    // Tasks 0 and 2 run on worker 1, tasks 1 and 3 on worker 2.
    assert_eq!(rig.open(small, 6).len(), 4);
    assert_eq!(rig.open_shuffle(s, 9), []);
    let task = |index| attempt(small, index, 0);
    assert_eq!(rig.finish(1, task(0)), [done(task(0)), launch(1, task(4))], "its turn is before");
    assert_eq!(rig.finish(1, task(2)), [done(task(2))]);
    assert_eq!(rig.finish(1, task(4)), [done(task(4)), launch(1, task(5))]);
    let begun = together(&[1, 2], attempt(s, 0, 0));
    assert_eq!(rig.finish(2, task(1)), [done(task(1)), begun]);
}

#[test]
fn small_tasks_have_their_turn_between_shuffles() {
    let (small, one, other) = (stage(1), stage(2), stage(3));
    let mut rig = waiting(small, one);
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|index| attempt(small, index, 0));
    assert_eq!(rig.finish(1, first), [done(first), launch(1, third)]);
    assert_eq!(rig.open_shuffle(other, 9), [], "nothing is kept for it");
    assert_eq!(rig.finish(2, second), [done(second)]);
    let (one, other) = (attempt(one, 0, 0), attempt(other, 0, 0));
    assert_eq!(rig.finish(1, third), [done(third), together(&[1, 2], one)]);
    assert_eq!(rig.finish(1, one), [done(one), launch(1, fourth)]);
    assert_eq!(rig.finish(1, fourth), [done(fourth), together(&[1, 2], other)]);
}

#[test]
fn after_a_while_two_workers_will_do() {
    let (small, s) = (stage(1), stage(2));
    for freed in [[1, 2], [1, 3]] {
        let mut rig = shufflers(&[1, 1, 1]);
        rig.open(small, 3);
        assert_eq!(rig.open_shuffle(s, 9), []);
        for n in freed {
            let ended = attempt(small, n - 1, 0);
            assert_eq!(rig.finish(n, ended), [done(ended)]);
        }
        assert_eq!(rig.pass_alive(9_999, &[1, 2, 3]), []);
        assert_eq!(rig.state.next_deadline(), Some(rig.now + Duration::from_millis(1)));
        assert_eq!(rig.pass_alive(1, &[1, 2, 3]), [together(&freed, attempt(s, 0, 0))]);
    }
}

#[test]
fn after_a_while_one_worker_will_not_do() {
    let (small, s) = (stage(1), stage(2));
    let mut rig = shufflers(&[1, 1, 1]);
    rig.open(small, 3);
    rig.open_shuffle(s, 9);
    rig.finish(1, attempt(small, 0, 0));
    assert_eq!(rig.pass_alive(10_000, &[1, 2, 3]), []);
    let last = attempt(small, 2, 0);
    assert_eq!(rig.finish(3, last), [done(last), together(&[1, 3], attempt(s, 0, 0))]);
}

#[test]
fn a_shuffle_that_is_cancelled_keeps_nothing() {
    let (small, s) = (stage(1), stage(2));
    let mut rig = waiting(small, s);
    rig.finish(1, attempt(small, 0, 0));
    rig.finish(2, attempt(small, 1, 0));
    let cancelled = rig.feed(Event::StageCancelled { stage: s });
    assert_eq!(cancelled, [launch(2, attempt(small, 3, 0))]);
}

#[test]
fn no_more_workers_are_taken_than_have_something_to_do() {
    let (mut rig, s) = (shufflers(&[1, 1, 1]), stage(1));
    assert_eq!(rig.open_shuffle(s, 2), [together(&[1, 2], attempt(s, 0, 0))]);
    assert_eq!(taken(&rig), [1, 1, 0]);
}

#[test]
fn where_no_two_can_shuffle_any_worker_runs_it_alone() {
    for (who_shuffles, expected) in [(None, 1), (Some(2), 1)] {
        let (mut rig, s) = (Rig::new(), stage(1));
        rig.join(1, 1);
        who_shuffles.into_iter().for_each(|n| drop(rig.join_shuffler(n, 1)));
        assert_eq!(rig.open_shuffle(s, 9), [together(&[expected], attempt(s, 0, 0))]);
    }
    // Of two that shuffle, one was lost; what was kept is given to what it was kept for.
    let (small, s) = (stage(1), stage(2));
    let mut rig = waiting(small, s);
    rig.finish(1, attempt(small, 0, 0));
    rig.finish(2, attempt(small, 1, 0));
    assert_eq!(rig.leave(1).last(), Some(&together(&[2], attempt(s, 0, 0))));
}

#[test]
fn what_is_kept_for_a_shuffle_that_runs_alone_is_given_to_whoever_has_not_failed_it() {
    let (mut rig, small, s) = (shufflers(&[1, 1]), stage(1), stage(2));
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    let [one, other] = [0, 1].map(|index| attempt(small, index, 0));
    assert_eq!(rig.open_shuffle(s, 1), [together(&[1], first)]);
    assert_eq!(rig.open(small, 2), [launch(2, one)]);
    assert_eq!(rig.fail(1, first, flaky()), [discard(first), launch(1, other)]);
    assert_eq!(rig.pass(100), []);
    assert_eq!(rig.finish(1, other), [done(other)]);
    assert_eq!(rig.finish(2, one), [done(one), together(&[2], second)]);
}

#[test]
fn a_shuffle_is_given_what_is_kept_of_the_only_worker_though_that_has_failed_it() {
    let (mut rig, small, s) = (shufflers(&[1]), stage(1), stage(2));
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    let task = attempt(small, 0, 0);
    assert_eq!(rig.open_shuffle(s, 9), [together(&[1], first)]);
    assert_eq!(rig.open(small, 1), []);
    assert_eq!(rig.fail(1, first, flaky()), [discard(first), launch(1, task)]);
    assert_eq!(rig.pass(100), []);
    assert_eq!(rig.finish(1, task), [done(task), together(&[1], second)]);
}
