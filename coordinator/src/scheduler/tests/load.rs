//! What is told of the load: tasks, slots, workers and their silence.

use std::time::Duration;

use super::rig::{Rig, attempt, stage};
use crate::scheduler::Load;

fn load(rig: &Rig) -> Load {
    rig.state.load(rig.now)
}

#[test]
fn without_workers_tasks_are_queued_and_nobody_is_silent() {
    let mut rig = Rig::new();
    rig.open(stage(1), 3);
    assert_eq!(load(&rig), Load { queued: 3, ..Load::default() });
}

#[test]
fn tasks_take_slots_until_they_are_done() {
    let mut rig = Rig::new();
    rig.join(1, 2);
    rig.open(stage(1), 3);
    let busy = Load { active: 1, taken_slots: 2, running: 2, queued: 1, ..Load::default() };
    assert_eq!(load(&rig), busy);
    rig.finish(1, attempt(stage(1), 0, 0));
    assert_eq!(load(&rig), Load { queued: 0, ..busy });
    rig.finish(1, attempt(stage(1), 1, 0));
    assert_eq!(load(&rig), Load { free_slots: 1, taken_slots: 1, running: 1, queued: 0, ..busy });
}

#[test]
fn a_worker_that_drains_has_no_free_slots() {
    let mut rig = Rig::new();
    rig.join(1, 4);
    rig.open(stage(1), 1);
    rig.drain(1);
    let drains = Load { draining: 1, taken_slots: 1, running: 1, ..Load::default() };
    assert_eq!(load(&rig), drains);
}

#[test]
fn the_longest_silence_is_told() {
    let mut rig = Rig::new();
    rig.join(1, 1);
    rig.join(2, 1);
    rig.pass_alive(3_000, &[2]);
    rig.pass_alive(1_000, &[2]);
    assert_eq!(load(&rig).silence, Duration::from_secs(4));
}
