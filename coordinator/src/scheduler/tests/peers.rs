//! Shuffles that lose a worker that takes part in them: that is no failure of theirs, and bounded
//! as the deaths of workers that run a task are.

use keyloom_common::Error;

use super::super::{Action, Settings};
use super::rig::*;

/// Workers 1 to 3, which shuffle, of one slot each.
fn three(settings: Settings) -> Rig {
    let mut rig = Rig::with(settings);
    (1..4).for_each(|n| drop(rig.join_shuffler(n, 1)));
    rig
}

/// A failure of a task is its stage's end.
fn no_failures() -> Settings {
    Settings { max_task_attempts: 1, ..Settings::default() }
}

#[test]
fn what_fails_for_a_lost_peer_counts_against_no_task() {
    let (mut rig, s) = (three(no_failures()), stage(1));
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    assert_eq!(rig.open_shuffle(s, 9), [together(&[1, 2, 3], first)]);
    assert_eq!(rig.leave(3), [gone(3, "connection reset")]);
    assert_eq!(rig.fail(1, first, flaky()), [discard(first), together(&[1, 2], second)]);
    // This one has lost nobody.
    let failed = rig.fail(1, second, flaky());
    assert!(matches!(failed[..], [_, Action::StageFailed { .. }]), "{failed:?}");
}

#[test]
fn an_error_that_does_not_pass_ends_a_shuffle_whoever_is_lost() {
    let (mut rig, s) = (three(Settings::default()), stage(1));
    let (first, fatal) = (attempt(s, 0, 0), Error::invalid("no such column"));
    rig.open_shuffle(s, 9);
    rig.leave(3);
    let error = fatal.clone();
    let failed = rig.fail(1, first, fatal);
    assert_eq!(failed, [discard(first), Action::StageFailed { stage: s, error }]);
}

#[test]
fn a_shuffle_that_ends_well_though_it_has_lost_a_peer_is_done() {
    let (mut rig, s) = (three(no_failures()), stage(1));
    let first = attempt(s, 0, 0);
    rig.open_shuffle(s, 9);
    rig.leave(3);
    assert_eq!(rig.finish(1, first), [done(first)]);
}

#[test]
fn a_failure_is_taken_back_once_it_is_known_that_a_peer_was_lost() {
    let settings = Settings { max_task_attempts: 2, ..Settings::default() };
    let (mut rig, s) = (three(settings), stage(1));
    let [first, second, third] = [0, 1, 2].map(|number| attempt(s, 0, number));
    rig.open_shuffle(s, 9);
    assert_eq!(rig.fail(1, first, flaky()), [discard(first)]);
    assert_eq!(rig.leave(3), [gone(3, "connection reset")]);
    assert_eq!(rig.pass(100), [together(&[2, 1], second)]);
    assert_eq!(rig.fail(2, second, flaky()), [discard(second)], "the first one that counts");
    assert_eq!(rig.pass(100).len(), 1);
    let failed = rig.fail(1, third, flaky());
    assert!(matches!(failed[..], [_, Action::StageFailed { .. }]), "{failed:?}");
}

/// Who leads the shuffle that begins, and its only peer.
fn begun(actions: &[Action]) -> [u32; 2] {
    let workers = actions.iter().find_map(|action| match action {
        Action::LaunchTogether { workers, .. } => Some(workers),
        _ => None,
    });
    let number = |place: usize| (1..10).find(|n| worker(*n) == workers.unwrap()[place]).unwrap();
    [number(0), number(1)]
}

#[test]
fn a_shuffle_whose_peers_all_die_ends_whichever_is_known_first() {
    for is_late in [false, true] {
        let settings = Settings { max_task_deaths: 3, max_task_attempts: 2, ..Settings::default() };
        let (mut rig, s) = (Rig::with(settings), stage(1));
        rig.join_shuffler(1, 1);
        rig.join_shuffler(2, 1);
        let mut met = rig.open_shuffle(s, 9);
        for death in 0..3 {
            let ([leader, peer], running) = (begun(&met), attempt(s, 0, death));
            met.clear();
            if is_late {
                met.extend(rig.fail(leader, running, flaky()));
            }
            met.extend(rig.leave(peer));
            rig.join_shuffler(3 + death, 1);
            if !is_late {
                met.extend(rig.fail(leader, running, flaky()));
            }
            met.extend(rig.pass_alive(200, &[1, 2, 3, 4, 5]));
            let failed = met.iter().find_map(|action| match action {
                Action::StageFailed { error, .. } => Some(error.message().to_owned()),
                _ => None,
            });
            let message = format!(
                "task {} was running on 3 workers when they died (scheduler.max_task_deaths, \
                 max_task_losses); last: connection reset",
                task(s, 0)
            );
            assert_eq!(failed, (death == 2).then_some(message), "late: {is_late}");
        }
    }
}

#[test]
fn a_peer_that_is_lost_after_two_attempts_with_it_is_counted_once() {
    let settings = Settings { max_task_deaths: 2, max_task_attempts: 2, ..Settings::default() };
    let (mut rig, s) = (three(settings), stage(1));
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    rig.open_shuffle(s, 9);
    rig.fail(1, first, flaky());
    assert_eq!(rig.pass(100), [together(&[2, 1, 3], second)]);
    assert_eq!(rig.leave(3), [gone(3, "connection reset")]);
    let again = together(&[2, 1], attempt(s, 0, 2));
    assert_eq!(rig.fail(2, second, flaky()), [discard(second), again]);
}

#[test]
fn a_peer_that_said_that_it_would_go_is_no_death() {
    let settings = Settings { max_task_losses: 1, ..no_failures() };
    let (mut rig, s) = (three(settings), stage(1));
    let [first, second] = [0, 1].map(|number| attempt(s, 0, number));
    rig.open_shuffle(s, 9);
    rig.drain(3);
    rig.leave(3);
    assert_eq!(rig.fail(1, first, flaky()), [discard(first), together(&[1, 2], second)]);
}
