//! Who lives, who waits, and that every wait ends.

use std::time::Duration;

use keyloom_common::Error;

use super::super::{Action, Event, Settings};
use super::rig::*;

const NO_WORKERS: &str = "no workers: waited 30 s for one to register; \
                          start one with keyloom-worker --coordinator <address>";

#[test]
fn busy_is_not_dead() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    // Far past the heartbeat limit and without a word about the task.
    for _ in 0..100 {
        assert_eq!(rig.pass_alive(9_000, &[1]), []);
    }
    assert_eq!(rig.finish(1, attempt(s, 0, 0)), [done(attempt(s, 0, 0))]);
}

#[test]
fn silent_worker_is_lost_at_the_deadline() {
    let mut rig = Rig::new();
    rig.join(1, 1);
    rig.pass(1_000);
    rig.join(2, 1);
    assert_eq!(rig.state.next_deadline(), Some(rig.now + Duration::from_secs(9)));
    assert_eq!(rig.pass(8_999), []);
    assert_eq!(rig.pass(1), [gone(1, "no heartbeat for 10 s")]);
    assert_eq!(rig.feed(rig.beat(1)), [], "too late");
    assert_eq!(rig.state.workers().map(|w| w.worker).collect::<Vec<_>>(), [worker(2)]);
}

#[test]
fn rejoin_under_new_id_gets_work_again() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    // The same machine is back before its first life is known to be over.
    assert_eq!(rig.join(2, 1), []);
    let lost = rig.leave(1);
    assert_eq!(lost[2..], [launch(2, attempt(s, 0, 1))]);
    assert_eq!(rig.join(2, 5), [], "a life registers once");
    assert_eq!(rig.state.workers().map(|w| w.slots).collect::<Vec<_>>(), [1]);
}

#[test]
fn no_worker_fails_after_bound() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.open(s, 2);
    assert_eq!(rig.state.next_deadline(), Some(rig.now + Duration::from_secs(30)));
    assert_eq!(rig.pass(20_000), []);
    assert_eq!(rig.add(s, 2), [], "the clock runs from the first task that waits");
    assert_eq!(rig.pass(9_999), []);
    let error = Error::unavailable(NO_WORKERS);
    assert_eq!(rig.pass(1), [Action::StageFailed { stage: s, error }]);
    assert_eq!(rig.state.next_deadline(), None);
}

#[test]
fn no_worker_clock_starts_when_the_last_one_leaves() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.open(s, 2);
    rig.pass(29_000);
    rig.join(1, 1);
    // It is lost, and found to be, long after the bound.
    let lost = rig.pass(60_000);
    assert_eq!(lost[0], gone(1, "no heartbeat for 10 s"));
    assert!(matches!(lost[2], Action::Waiting { .. }));
    assert_eq!(rig.pass(29_999), []);
    assert!(matches!(rig.pass(1)[..], [Action::StageFailed { .. }]));
}

#[test]
fn stage_that_only_runs_on_a_draining_worker_is_left_alone() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.drain(1);
    for _ in 0..10 {
        assert_eq!(rig.pass_alive(9_000, &[1]), []);
    }
    assert_eq!(rig.finish(1, attempt(s, 0, 0))[0], done(attempt(s, 0, 0)));
}

#[test]
fn waiting_is_said_once_each_time_it_begins() {
    let (mut rig, s) = (Rig::new(), stage(1));
    let said = |actions: &[Action]| {
        let waiting = actions.iter().filter(|a| matches!(a, Action::Waiting { .. }));
        waiting.count()
    };
    assert_eq!(said(&rig.open(s, 3)), 1);
    assert_eq!(said(&rig.pass(1_000)), 0);
    rig.join(1, 1);
    let fails_at = rig.now + Duration::from_secs(30);
    let lost = rig.leave(1);
    assert_eq!(lost[2..], [Action::Waiting { stage: s, tasks: 3, fails_at }]);
    assert_eq!(said(&rig.open(stage(2), 1)), 1);
    assert_eq!(said(&rig.open(stage(3), 0)), 0, "no task waits");
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.fail(1, attempt(s, 0, 0), flaky());
    rig.now -= Duration::from_secs(100);
    assert_eq!(rig.pass(0), []);
    rig.now += Duration::from_secs(100);
    assert_eq!(rig.pass(100), [launch(1, attempt(s, 0, 1))]);
}

#[test]
fn absurd_settings_do_not_overflow() {
    let mut rig = Rig::with(Settings {
        heartbeat_timeout_ms: u64::MAX,
        no_worker_timeout_ms: u64::MAX,
        max_task_attempts: u32::MAX,
        retry_backoff_ms: u64::MAX,
        retry_backoff_max_ms: u64::MAX,
        retry_elsewhere_ms: u64::MAX,
        revoke_grace_ms: u64::MAX,
        ..Settings::default()
    });
    let s = stage(1);
    rig.join(1, u32::MAX);
    rig.open(s, 2);
    rig.fail(1, attempt(s, 0, 0), flaky());
    rig.feed(Event::StageCancelled { stage: s });
    rig.leave(1);
    rig.open(stage(2), 1);
    assert_eq!(rig.counts(stage(2)), Some((1, 0, 0)));
    let _ = rig.state.next_deadline();
}
