//! What is tried again, how often, where and when; and whose output counts.

use keyloom_common::{Error, ErrorKind};

use super::super::{Action, Event, Settings};
use super::rig::*;

#[test]
fn late_attempt_is_refused() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    // Worker 1 is silent past its lease, and its task runs elsewhere.
    rig.join(2, 1);
    let lost = rig.pass_alive(10_000, &[2]);
    let (first, second) = (attempt(s, 0, 0), attempt(s, 0, 1));
    assert_eq!(lost, [gone(1, "no heartbeat for 10 s"), discard(first), launch(2, second)]);
    assert_eq!(rig.finish(1, first), [discard(first)], "it wakes up before the second ends");
    assert_eq!(rig.fail(1, first, flaky()), [discard(first)]);
    assert_eq!(rig.finish(2, first), [discard(first)], "not what worker 2 runs");
    assert_eq!(rig.finish(1, second), [], "not who runs it, whose output is kept");
    assert_eq!(rig.finish(2, second), [done(second)]);
    assert_eq!(rig.finish(1, first), [discard(first)], "it wakes up after the second ended");
    assert_eq!(rig.counts(s), Some((0, 0, 1)));
}

#[test]
fn first_attempts_are_numbered_from_where_it_was_said() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 0);
    rig.feed(Event::AttemptsNumbered { stage: s, from: 10_000 });
    let [first, second] = [10_000, 10_001].map(|number| attempt(s, 0, number));
    assert_eq!(rig.add(s, 0), [launch(1, first)]);
    rig.join(2, 1);
    assert_eq!(rig.leave(1).last(), Some(&launch(2, second)));
}

#[test]
fn repeated_report_does_not_discard_what_counts() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.feed(Event::StageClosed { stage: s });
    let first = attempt(s, 0, 0);
    assert_eq!(rig.finish(1, first), [done(first)]);
    assert_eq!(rig.finish(1, first), []);
    assert_eq!(rig.fail(1, first, Error::internal("x")), []);
    rig.leave(1);
    assert_eq!(rig.finish(1, first), []);
}

#[test]
fn report_of_a_worker_that_does_not_run_the_attempt_changes_nothing() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.join(2, 1);
    let first = attempt(s, 0, 0);
    assert_eq!(rig.finish(2, first), []);
    assert_eq!(rig.fail(2, first, Error::invalid("no such column")), []);
    assert_eq!(rig.finish(1, first), [done(first)]);
}

#[test]
fn lost_worker_tasks_run_elsewhere() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 2);
    rig.open(s, 5);
    rig.join(2, 1);
    // Tasks 0 and 1 go back in front of 3 and 4.
    let lost = rig.leave(1);
    assert_eq!(lost[0], gone(1, "connection reset"));
    assert_eq!(lost[1..], [discard(attempt(s, 0, 0)), discard(attempt(s, 1, 0))]);
    let next = rig.finish(2, attempt(s, 2, 0));
    assert_eq!(next[1], launch(2, attempt(s, 0, 1)));
    let next = rig.finish(2, attempt(s, 0, 1));
    assert_eq!(next[1], launch(2, attempt(s, 1, 1)));
    let next = rig.finish(2, attempt(s, 1, 1));
    assert_eq!(next[1], launch(2, attempt(s, 3, 0)));
}

#[test]
fn poison_task_fails_its_stage_after_three_deaths() {
    let settings = Settings { max_task_deaths: 3, ..Settings::default() };
    let (mut rig, s, other) = (Rig::with(settings), stage(1), stage(2));
    rig.join(9, 1);
    rig.open(other, 1);
    rig.open(s, 1);
    for n in 0..3 {
        assert_eq!(rig.join(n, 1), [launch(n, attempt(s, 0, n))]);
        let lost = rig.leave(n);
        assert_eq!(lost[..2], [gone(n, "connection reset"), discard(attempt(s, 0, n))]);
        if n == 2 {
            let message = format!(
                "task {} was running on 3 workers when they died (scheduler.max_task_deaths, \
                 max_task_losses); last: connection reset",
                task(s, 0)
            );
            let error = Error::unavailable(message);
            assert_eq!(lost[2..], [Action::StageFailed { stage: s, error }]);
        }
    }
    assert_eq!(rig.counts(s), None);
    assert_eq!(rig.counts(other), Some((0, 1, 0)), "the other stage runs on");
}

/// Any worker may die at any time: that is no task's doing.
#[test]
fn deaths_of_workers_without_a_task_excuse_it() {
    let (mut rig, s, other) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.join(200, 1);
    rig.open(other, 1);
    for death in 0..20 {
        // A worker with another task dies, and then one with this.
        rig.join(201 + death, 1);
        let lost = rig.leave(200 + death);
        assert!(lost.contains(&launch(201 + death, attempt(other, 0, death + 1))), "{lost:?}");
        let at = if death == 0 { 1 } else { 99 + death };
        rig.join(100 + death, 1);
        let lost = rig.leave(at);
        assert!(lost.contains(&launch(100 + death, attempt(s, 0, death + 1))), "{lost:?}");
    }
}

/// As when a rack goes dark.
#[test]
fn many_workers_that_die_at_once_fail_no_stage() {
    let (mut rig, s) = (Rig::new(), stage(1));
    (0..40).for_each(|n| drop(rig.join(n, 1)));
    rig.open(s, 40);
    (0..40).for_each(|n| drop(rig.leave(n)));
    assert_eq!(rig.counts(s), Some((40, 0, 0)));
}

/// Each of a stage's tasks kills its worker, and so excuses the others.
#[test]
fn a_stage_whose_tasks_all_kill_their_workers_ends() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.open(s, 1_000);
    let mut deaths = 0;
    while rig.counts(s).is_some() {
        assert!(deaths < 24 / 4 + 1, "it lives on");
        for n in 0..4 {
            rig.join(deaths * 4 + n, 1);
        }
        for n in 0..4 {
            rig.leave(deaths * 4 + n);
        }
        deaths += 1;
    }
}

#[test]
fn a_task_is_lost_with_so_many_workers_whatever_else_dies() {
    let (mut rig, s) =
        (Rig::with(Settings { max_task_losses: 2, ..Settings::default() }), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for n in 1..3 {
        rig.join(10 + n, 1);
        rig.leave(10 + n);
        rig.join(n + 1, 1);
        let failed = rig.leave(n).iter().any(|a| matches!(a, Action::StageFailed { .. }));
        assert_eq!(failed, n == 2);
    }
}

/// Two tasks die together, and then apart: the one that kills its workers is told from the other.
#[test]
fn a_task_that_was_beside_a_poison_task_is_no_poison() {
    let settings = Settings { max_task_deaths: 3, ..Settings::default() };
    let (mut rig, poison, other) = (Rig::with(settings), stage(1), stage(2));
    rig.join(1, 2);
    rig.open(poison, 1);
    rig.open(other, 1);
    rig.join(2, 2);
    rig.join(3, 2);
    let mut at = 1;
    for number in 1..4 {
        let lost = rig.leave(at);
        if number == 3 {
            assert!(lost.iter().any(|action| {
                matches!(action, Action::StageFailed { stage, .. } if *stage == poison)
            }));
            break;
        }
        let launched = |stage| {
            lost.iter().find_map(|action| match action {
                Action::Launch { worker, attempt } if attempt.task.stage == stage => Some(*worker),
                _ => None,
            })
        };
        let apart = launched(poison).unwrap();
        assert_ne!(Some(apart), launched(other), "they are tried apart");
        rig.join(10 + number, 2);
        at = (2..20).find(|n| worker(*n) == apart).unwrap();
    }
    assert_eq!(rig.counts(other), Some((0, 1, 0)));
}

#[test]
fn a_worker_that_said_that_it_would_go_is_no_death() {
    let (mut rig, s) =
        (Rig::with(Settings { max_task_losses: 1, ..Settings::default() }), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.drain(1);
    rig.join(2, 1);
    assert_eq!(rig.leave(1).last(), Some(&launch(2, attempt(s, 0, 1))));
}

#[test]
fn a_task_without_room_for_its_rows_is_put_off_and_nothing_counts_against_it() {
    let (mut rig, s) =
        (Rig::with(Settings { max_task_attempts: 1, ..Settings::default() }), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for (number, rest) in [1_000, 2_000, 4_000, 8_000].into_iter().enumerate() {
        let number = number as u32;
        let at = attempt(s, 0, number);
        let put_off = rig.feed(Event::TaskPutOff { worker: worker(1), attempt: at });
        assert_eq!(put_off, [discard(at)]);
        assert_eq!(rig.pass_alive(rest - 1, &[1]), []);
        assert_eq!(rig.pass_alive(1, &[1]), [launch(1, attempt(s, 0, number + 1))]);
    }
}

#[test]
fn a_task_that_was_put_off_is_made_again_as_soon_as_its_rows_are_due() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for number in 0..7 {
        let at = attempt(s, 0, number);
        rig.feed(Event::TaskPutOff { worker: worker(1), attempt: at });
        let due = rig.feed(Event::TaskDue { task: task(s, 0) });
        assert_eq!(due, [launch(1, attempt(s, 0, number + 1))]);
    }
    // It is due, and its end comes only now.
    rig.feed(Event::TaskPutOff { worker: worker(1), attempt: attempt(s, 0, 7) });
    assert_eq!(rig.pass_alive(1_000, &[1]), [launch(1, attempt(s, 0, 8))]);
}

#[test]
fn failing_stage_revokes_the_rest_but_not_on_the_lost_worker() {
    let mut rig = Rig::with(Settings { max_task_losses: 1, ..Settings::default() });
    let s = stage(1);
    rig.join(1, 2);
    rig.join(2, 1);
    rig.open(s, 3);
    let lost = rig.leave(1);
    assert_eq!(lost[..2], [gone(1, "connection reset"), discard(attempt(s, 0, 0))]);
    assert!(matches!(lost[2], Action::StageFailed { .. }));
    assert_eq!(lost[3..], [revoke(2, attempt(s, 2, 0)), discard(attempt(s, 1, 0))]);
}

#[test]
fn permanent_error_makes_one_attempt() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.join(2, 1);
    rig.open(s, 5);
    let error = Error::invalid("no column 'x'");
    let failed = rig.fail(1, attempt(s, 0, 0), error.clone());
    let expected = [
        discard(attempt(s, 0, 0)),
        Action::StageFailed { stage: s, error },
        revoke(2, attempt(s, 1, 0)),
    ];
    assert_eq!(failed, expected);
    assert_eq!(rig.pass(60_000).iter().filter(|a| matches!(a, Action::Launch { .. })).count(), 0);
}

#[test]
fn only_transient_kinds_are_retried() {
    for kind in [
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::Store,
        ErrorKind::Unavailable,
        ErrorKind::Cancelled,
        ErrorKind::Timeout,
        ErrorKind::ResourceExhausted,
        ErrorKind::Internal,
    ] {
        let (mut rig, s) = (Rig::new(), stage(1));
        rig.join(1, 1);
        rig.open(s, 1);
        rig.fail(1, attempt(s, 0, 0), Error::new(kind, "x"));
        assert_eq!(rig.counts(s).is_some(), kind.is_transient(), "{kind:?}");
    }
}

#[test]
fn backoff_delays_retry() {
    let mut rig = Rig::with(Settings {
        max_task_attempts: 9,
        retry_backoff_max_ms: 300,
        ..Settings::default()
    });
    let s = stage(1);
    rig.join(1, 1);
    rig.open(s, 1);
    for (number, rest) in [100, 200, 300, 300].into_iter().enumerate() {
        let number = number as u32;
        let failed = rig.fail(1, attempt(s, 0, number), flaky());
        assert_eq!(failed, [discard(attempt(s, 0, number))]);
        assert_eq!(rig.counts(s), Some((1, 0, 0)));
        assert_eq!(rig.pass(rest - 1), []);
        let deadline = rig.state.next_deadline();
        assert_eq!(deadline, Some(rig.now + std::time::Duration::from_millis(1)));
        assert_eq!(rig.pass(1), [launch(1, attempt(s, 0, number + 1))]);
    }
}

#[test]
fn transient_error_fails_its_stage_after_four_attempts() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 1);
    for number in 0..3 {
        rig.fail(1, attempt(s, 0, number), flaky());
        assert_eq!(rig.pass(1_000), [launch(1, attempt(s, 0, number + 1))]);
    }
    let failed = rig.fail(1, attempt(s, 0, 3), flaky());
    let message = format!("task {} failed in 4 attempts; last: read timed out", task(s, 0));
    let error = Error::store(message);
    assert_eq!(failed, [discard(attempt(s, 0, 3)), Action::StageFailed { stage: s, error }]);
}

#[test]
fn deaths_and_failures_are_counted_apart() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.open(s, 1);
    for number in 0..5 {
        rig.join(number, 1);
        if number < 3 {
            rig.pass(1_000);
            rig.fail(number, attempt(s, 0, number), flaky());
            rig.drain(number);
            rig.pass(1_000);
        } else {
            rig.leave(number);
        }
    }
    // Three failures of four, two deaths of three: one more try.
    assert_eq!(rig.join(9, 1), [launch(9, attempt(s, 0, 5))]);
}

#[test]
fn retry_prefers_a_worker_that_has_not_failed_the_task() {
    let (mut rig, s, other) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.join(2, 1);
    rig.open(other, 2);
    // Worker 2 is busy: worker 1 takes other work meanwhile, and the retry waits for worker 2.
    rig.fail(1, attempt(s, 0, 0), flaky());
    assert_eq!(rig.finish(1, attempt(other, 1, 0)), [done(attempt(other, 1, 0))]);
    assert_eq!(rig.pass(100), []);
    let freed = rig.finish(2, attempt(other, 0, 0));
    assert_eq!(freed, [done(attempt(other, 0, 0)), launch(2, attempt(s, 0, 1))]);
}

#[test]
fn retry_does_not_wait_long_for_a_better_worker() {
    let (mut rig, s, other) = (Rig::new(), stage(1), stage(2));
    rig.join(1, 1);
    rig.open(s, 1);
    rig.join(2, 1);
    rig.open(other, 1);
    rig.fail(1, attempt(s, 0, 0), flaky());
    assert_eq!(rig.pass_alive(100, &[1, 2]), []);
    assert_eq!(rig.pass_alive(4_999, &[1, 2]), []);
    assert_eq!(rig.pass_alive(1, &[1, 2]), [launch(1, attempt(s, 0, 1))]);
}

#[test]
fn retry_goes_back_to_the_only_worker() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.join(2, 1);
    rig.open(s, 1);
    rig.drain(2);
    rig.fail(1, attempt(s, 0, 0), flaky());
    assert_eq!(rig.pass(100), [launch(1, attempt(s, 0, 1))]);
}

#[test]
fn choosy_retry_lets_others_pass() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.join(2, 1);
    rig.open(s, 4);
    rig.fail(1, attempt(s, 0, 0), flaky());
    rig.pass(100);
    let freed = rig.finish(1, attempt(s, 2, 0));
    assert_eq!(freed, [done(attempt(s, 2, 0)), launch(1, attempt(s, 3, 0))]);
    let freed = rig.finish(2, attempt(s, 1, 0));
    assert_eq!(freed, [done(attempt(s, 1, 0)), launch(2, attempt(s, 0, 1))]);
}
