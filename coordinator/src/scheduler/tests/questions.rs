//! Questions wait for no task, and tasks for no question.

use super::super::{Event, Settings, StageKind};
use super::rig::*;

fn ask(rig: &mut Rig, n: u32) -> Vec<super::super::Action> {
    let (stage, kind, stores) = (stage(n), StageKind::Question, Vec::new());
    let mut actions = rig.feed(Event::StageOpened { stage, kind, stores });
    actions.extend(rig.add(stage, 0));
    actions.extend(rig.feed(Event::StageClosed { stage }));
    actions
}

#[test]
fn questions_are_asked_while_tasks_have_all_slots() {
    let (mut rig, s) = (Rig::new(), stage(1));
    rig.join(1, 1);
    rig.open(s, 5);
    assert_eq!(ask(&mut rig, 2), [launch(1, attempt(stage(2), 0, 0))]);
    assert_eq!(rig.finish(1, attempt(stage(2), 0, 0)), [done(attempt(stage(2), 0, 0))]);
    let next = rig.finish(1, attempt(s, 0, 0));
    assert_eq!(next, [done(attempt(s, 0, 0)), launch(1, attempt(s, 1, 0))]);
}

#[test]
fn a_worker_answers_only_so_many_at_once_and_the_others_take_the_rest() {
    let mut rig = Rig::with(Settings { question_slots: 2, ..Settings::default() });
    rig.join(1, 1);
    rig.join(2, 1);
    for (n, at) in [(1, 1), (2, 2), (3, 1), (4, 2)] {
        assert_eq!(ask(&mut rig, n), [launch(at, attempt(stage(n), 0, 0))]);
    }
    assert_eq!(ask(&mut rig, 5), []);
    let (first, fifth) = (attempt(stage(1), 0, 0), attempt(stage(5), 0, 0));
    assert_eq!(rig.finish(1, first), [done(first), launch(1, fifth)]);
}

#[test]
fn a_question_is_asked_again_of_another_worker() {
    let mut rig = Rig::new();
    rig.join(1, 1);
    rig.join(2, 1);
    ask(&mut rig, 1);
    rig.fail(1, attempt(stage(1), 0, 0), flaky());
    assert_eq!(rig.pass(100), [launch(2, attempt(stage(1), 0, 1))]);
}

#[test]
fn questions_leave_all_slots_to_tasks() {
    let (mut rig, s) = (Rig::new(), stage(9));
    rig.join(1, 1);
    for n in 1..4 {
        ask(&mut rig, n);
    }
    assert_eq!(rig.open(s, 1), [launch(1, attempt(s, 0, 0))]);
}

#[test]
fn a_question_of_a_lost_worker_is_asked_again_and_of_a_draining_one_not() {
    let mut rig = Rig::new();
    rig.join(1, 1);
    ask(&mut rig, 1);
    rig.drain(1);
    assert_eq!(ask(&mut rig, 2).len(), 1, "nobody is there: that is said");
    assert_eq!(rig.join(2, 1), [launch(2, attempt(stage(2), 0, 0))]);
    assert_eq!(rig.leave(1).last(), Some(&launch(2, attempt(stage(1), 0, 1))));
}
