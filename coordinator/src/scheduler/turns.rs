//! The order in which stages are served.

use std::collections::BTreeSet;

use keyloom_common::StageId;

use super::StageKind;

/// A stage's place in the order; the one that was served longest ago has the lowest.
pub(super) type Turn = (u64, StageId);

/// Stages with a task that may be launched, by what these are. Their turns are of one order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) work: BTreeSet<Turn>,
    pub(super) shuffles: BTreeSet<Turn>,
    pub(super) questions: BTreeSet<Turn>,
}

impl Turns {
    /// Those of a kind.
    pub(super) fn of(&mut self, kind: StageKind) -> &mut BTreeSet<Turn> {
        match kind {
            StageKind::Work => &mut self.work,
            StageKind::Shuffle { .. } => &mut self.shuffles,
            StageKind::Question => &mut self.questions,
        }
    }
}
