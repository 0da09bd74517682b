//! What may happen, drawn at random.

use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Join(u32, bool),
    Leave(Index),
    Drain(Index),
    /// A stage begins, whose tasks look these of [`STORES`] up.
    Open(Vec<u32>),
    /// A shuffle is to begin, in which so many workers have something to do: a stage of its own, of
    /// one task.
    Shuffle(u32),
    /// A question is asked: a stage of its own, of one task.
    Ask,
    Add(Index, u32),
    Close(Index),
    Cancel(Index),
    /// An attempt has computed what it writes.
    Compute(Index),
    Finish(Index),
    Fail(Index, bool),
    /// There was no room for the rows of an attempt.
    PutOff(Index),
    /// The reader of a stage comes to the first task that it has not read.
    Due(Index),
    /// A report of an attempt by a worker that does not run it.
    Foreign(Index, Index, bool),
    /// A report of an attempt that was revoked, or whose worker is gone.
    Late(Index, bool),
    /// The last report of a finished attempt once more.
    Repeat(Index),
    Consume(Index),
    Pass(u64),
    /// Time passes and nobody says that it lives.
    Hush(u64),
}

/// The stores that there are.
pub(super) const STORES: [u32; 4] = [0, 1, 2, 3];

pub(super) fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Index>;
    prop_oneof![
        3 => (0..4_u32, any::<bool>()).prop_map(|(slots, shuffles)| Op::Join(slots, shuffles)),
        1 => pick().prop_map(Op::Leave),
        1 => pick().prop_map(Op::Drain),
        2 => prop::sample::subsequence(STORES.to_vec(), 0..=STORES.len()).prop_map(Op::Open),
        2 => (0..6_u32).prop_map(Op::Shuffle),
        3 => Just(Op::Ask),
        6 => (pick(), 1..5_u32).prop_map(|(stage, tasks)| Op::Add(stage, tasks)),
        1 => pick().prop_map(Op::Close),
        1 => pick().prop_map(Op::Cancel),
        6 => pick().prop_map(Op::Compute),
        12 => pick().prop_map(Op::Finish),
        5 => (pick(), prop::bool::weighted(0.05)).prop_map(|(a, fatal)| Op::Fail(a, fatal)),
        4 => pick().prop_map(Op::PutOff),
        3 => pick().prop_map(Op::Due),
        1 => (pick(), pick(), any::<bool>()).prop_map(|(a, by, well)| Op::Foreign(a, by, well)),
        3 => (pick(), any::<bool>()).prop_map(|(attempt, well)| Op::Late(attempt, well)),
        1 => pick().prop_map(Op::Repeat),
        8 => pick().prop_map(Op::Consume),
        5 => (0..400_u64).prop_map(Op::Pass),
        1 => (0..1_500_u64).prop_map(Op::Hush),
    ]
}
