//! What a worker says that it runs, and what it should run.

use super::super::{Event, Settings};
use super::rig::*;

fn says(rig: &mut Rig, attempts: &[keyloom_common::AttemptId]) -> Vec<super::super::Action> {
    rig.feed(Event::Heartbeat { worker: worker(1), attempts: attempts.to_vec() })
}

#[test]
fn what_a_worker_should_not_run_is_revoked() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 1);
    let (known, unknown) = (attempt(s, 0, 0), attempt(stage(9), 3, 1));
    assert_eq!(says(&mut rig, &[known]), []);
    assert_eq!(says(&mut rig, &[known, unknown]), [revoke(1, unknown)]);
}

#[test]
fn what_a_worker_does_not_run_any_more_is_lost_and_runs_again() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    let first = attempt(s, 0, 0);
    assert_eq!(says(&mut rig, &[first]), []);
    for _ in 0..9 {
        rig.now += std::time::Duration::from_secs(1);
        assert_eq!(says(&mut rig, &[]), [], "its end, or its order, may be on the way");
    }
    rig.now += std::time::Duration::from_secs(1);
    assert_eq!(says(&mut rig, &[]), [revoke(1, first), discard(first)]);
    assert_eq!(rig.pass(100), [launch(1, attempt(s, 0, 1))]);
    assert_eq!(rig.finish(1, first), [discard(first)], "it comes too late");
}

/// Its threads may all compute, and its orders wait.
#[test]
fn what_a_busy_worker_has_not_begun_is_not_lost_so_soon() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for _ in 0..119 {
        rig.now += std::time::Duration::from_secs(1);
        assert_eq!(says(&mut rig, &[]), []);
    }
    rig.now += std::time::Duration::from_secs(1);
    assert_eq!(says(&mut rig, &[])[0], revoke(1, attempt(s, 0, 0)));
}

/// As when the coordinator did not hear it for a while.
#[test]
fn one_heartbeat_that_does_not_name_an_attempt_loses_nothing() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    let first = attempt(s, 0, 0);
    assert_eq!(says(&mut rig, &[first]), []);
    rig.now += std::time::Duration::from_secs(9);
    assert_eq!(says(&mut rig, &[]), [], "its end may be on the way");
    assert_eq!(rig.finish(1, first), [done(first)]);
}

#[test]
fn what_it_names_is_not_lost_however_long_it_takes() {
    let settings = Settings { attempt_timeout_ms: 1, ..Settings::default() };
    let (mut rig, s) = (Rig::with(settings), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for _ in 0..100 {
        assert_eq!(rig.pass_alive(9_000, &[1]), []);
    }
}
