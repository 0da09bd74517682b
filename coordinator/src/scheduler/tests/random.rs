//! Random histories: a simulated fleet answers launches and questions well, badly, late or never,
//! tasks are put off, and the promises of the scheduler are checked after each event.

mod actions;
mod checks;
mod op;
mod steps;
mod world;

use proptest::prelude::*;

use super::rig::*;
use crate::scheduler::fleet::COMPARED;
use op::op;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_whatever_happens(
        idle in prop_oneof![3 => Just(0), 1 => Just(COMPARED + 4)],
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut world = World::new();
        (0..idle).for_each(|_| world.join(1, false));
        for op in ops {
            world.run(op);
        }
        let expected = world.stages.clone();
        world.settle();
        for (stage, tasks) in expected {
            for index in 0..tasks {
                prop_assert!(world.done.contains_key(&task(stage, index)));
            }
        }
    }
}
