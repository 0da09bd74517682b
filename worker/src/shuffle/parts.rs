//! The stages of a shuffle as Keyloom's own parts of plans: what lies between the nodes that cross
//! from one worker to another is one node to those who send it.
//!
//! Parts have numbers, by which it is told what their operators count, and each operator its place
//! in the plan of which the stages were made.

use std::{collections::BTreeMap, iter, sync::Arc, vec};

use datafusion::{
    error::Result,
    physical_plan::{ExecutionPlan, repartition::RepartitionExec},
};
use datafusion_distributed::{
    BroadcastExec, DistributedExec, DistributedLeafExec, NetworkBoundaryExt, NetworkShuffleExec,
};
use keyloom_common::plan::{Begun, PartExec, operators};

use super::{counted::Counted, places::places};

/// Stages, all of whose other operators are parts. What they count is told for the plan of which
/// they were made.
pub(super) fn in_parts(
    stages: &Arc<dyn ExecutionPlan>,
    made_of: &Arc<dyn ExecutionPlan>,
    counted: &Arc<Counted>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut nodes = Vec::new();
    visit(stages, &mut nodes);
    let places = places(&nodes, &operators(made_of, &[])).into_iter();
    let (of_parts, of_stages) = (Vec::new(), BTreeMap::new());
    let mut parts = Parts { places, of_parts, of_stages, begun: counted.begun() };
    let plan = parts.between(stages, None)?;
    counted.set_places(parts.of_parts);
    counted.set_stages(parts.of_stages);
    Ok(plan)
}

/// All nodes in pre-order, those within parts, too; of the tasks of an input, those of the first.
fn visit(plan: &Arc<dyn ExecutionPlan>, nodes: &mut Vec<Arc<dyn ExecutionPlan>>) {
    nodes.push(Arc::clone(plan));
    if let Some(part) = plan.downcast_ref::<PartExec>() {
        visit(part.plan(), nodes);
    } else if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
        if let Some(first) = leaf.variants().first().filter(|first| first.is::<PartExec>()) {
            visit(first, nodes);
        }
    } else {
        plan.children().into_iter().for_each(|child| visit(child, nodes));
    }
}

/// Makes parts, and numbers them.
struct Parts {
    /// The places of the nodes that come next, in pre-order.
    places: vec::IntoIter<Option<usize>>,
    /// The places of the operators of each part.
    of_parts: Vec<Vec<Option<usize>>>,
    /// For each stage, the place of the node of which it is told what the stage sends.
    of_stages: BTreeMap<usize, usize>,
    begun: Begun,
}

impl Parts {
    fn place(&mut self) -> Option<usize> {
        self.places.next().flatten()
    }

    /// A part that has nothing below it, which others made.
    fn given(&mut self, part: &PartExec) -> u32 {
        let all = operators(part.plan(), &[]).len();
        let places = iter::repeat_with(|| self.place()).take(all).collect();
        self.number(places)
    }

    fn number(&mut self, places: Vec<Option<usize>>) -> u32 {
        self.of_parts.push(places);
        u32::try_from(self.of_parts.len() - 1).unwrap_or(u32::MAX)
    }

    /// A node that stages begin and end with, over parts, or else the part that it begins; below a
    /// node of this place.
    fn between(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        above: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !is_between(plan) {
            return self.part(plan);
        }
        self.place();
        if let Some(boundary) = plan.as_ref().as_network_boundary() {
            // What is shuffled is sent by the node below, and other rows for the one above.
            let sender = match plan.is::<NetworkShuffleExec>() {
                true => self.places.as_slice().first().copied().flatten(),
                false => None,
            };
            if let Some(place) = sender.or(above) {
                self.of_stages.insert(boundary.input_stage().num(), place);
            }
        }
        if let Some(part) = plan.downcast_ref::<PartExec>() {
            let number = self.given(part);
            return Ok(Arc::new(part.numbered(number, Arc::clone(&self.begun))));
        }
        if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
            return self.leaf(leaf);
        }
        let children = plan.children();
        if children.is_empty() {
            return Ok(Arc::clone(plan));
        }
        let children =
            children.into_iter().map(|child| self.between(child, above)).collect::<Result<_>>()?;
        Arc::clone(plan).with_new_children(children)
    }

    /// An input, of which each task has its part: they are one to who counts.
    fn leaf(&mut self, leaf: &DistributedLeafExec) -> Result<Arc<dyn ExecutionPlan>> {
        let first = leaf.variants().first().and_then(|first| first.downcast_ref::<PartExec>());
        let number = first.map(|first| {
            self.place();
            self.given(first)
        });
        let numbered = |variant: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            match variant.downcast_ref::<PartExec>().zip(number) {
                Some((part, number)) => Arc::new(part.numbered(number, Arc::clone(&self.begun))),
                None => Arc::clone(variant),
            }
        };
        let variants = leaf.variants().iter().map(numbered);
        let leaf = DistributedLeafExec::try_new(Arc::clone(leaf.original()), variants)?;
        Ok(Arc::new(leaf))
    }

    /// The part that begins with this operator.
    fn part(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        // Parts below it come after it.
        let number = self.number(Vec::new());
        let (mut inputs, mut places) = (Vec::new(), Vec::new());
        let part = self.down_to(plan, None, &mut inputs, &mut places)?;
        if let Some(of_part) = self.of_parts.get_mut(number as usize) {
            *of_part = places;
        }
        let part = PartExec::new(part, inputs);
        Ok(Arc::new(part.numbered(number, Arc::clone(&self.begun))))
    }

    /// The operators down to nodes between stages, which are the inputs.
    fn down_to(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        above: Option<usize>,
        inputs: &mut Vec<Arc<dyn ExecutionPlan>>,
        places: &mut Vec<Option<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if is_between(plan) {
            let input = self.between(plan, above)?;
            inputs.push(Arc::clone(&input));
            return Ok(input);
        }
        let place = self.place();
        places.push(place);
        let above = place.or(above);
        let children = plan.children();
        if children.is_empty() {
            return Ok(Arc::clone(plan));
        }
        let children = children
            .into_iter()
            .map(|child| self.down_to(child, above, inputs, places))
            .collect::<Result<_>>()?;
        Arc::clone(plan).with_new_children(children)
    }
}

/// Whether a node is one of those that stages begin and end with, or a part already.
fn is_between(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.as_ref().is_network_boundary()
        || plan.is::<RepartitionExec>()
        || plan.is::<BroadcastExec>()
        || plan.is::<DistributedLeafExec>()
        || plan.is::<DistributedExec>()
        || plan.is::<PartExec>()
}

#[cfg(test)]
mod tests {
    use datafusion::{
        physical_expr::expressions::Column,
        physical_plan::{
            Partitioning, coalesce_partitions::CoalescePartitionsExec, displayable,
            empty::EmptyExec, limit::LocalLimitExec,
        },
    };
    use datafusion_distributed::NetworkCoalesceExec;
    use keyloom_common::plan::Telling;

    use super::*;
    use crate::samples::ids;

    fn empty() -> Arc<dyn ExecutionPlan> {
        Arc::new(EmptyExec::new(ids()))
    }

    /// What is merged and limited here, of rows that were sent after they were limited there, of
    /// what a leaf reads.
    fn plan(leaf: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let limited = Arc::new(LocalLimitExec::new(leaf, 3));
        let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], 2);
        let sent = Arc::new(RepartitionExec::try_new(limited, by_id).unwrap());
        Arc::new(CoalescePartitionsExec::new(Arc::new(LocalLimitExec::new(sent, 5))))
    }

    fn counted(made_of: &Arc<dyn ExecutionPlan>) -> Arc<Counted> {
        Counted::of(made_of, Telling { key_bytes: 0, ended: Arc::new(|_| ()) })
    }

    #[test]
    fn what_a_stage_sends_is_told_of_the_node_that_sends_or_gathers_it() {
        let check = |made_of: Arc<dyn ExecutionPlan>, made: Arc<dyn ExecutionPlan>, place| {
            let merged = |plan| Arc::new(CoalescePartitionsExec::new(plan));
            let made_of: Arc<dyn ExecutionPlan> = merged(made_of);
            let counted = counted(&made_of);
            let made: Arc<dyn ExecutionPlan> = merged(made);
            in_parts(&made, &made_of, &counted).unwrap();
            // None has a number of its own yet.
            assert_eq!(counted.stages(), [(0, place)]);
        };
        let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], 2);
        let sent: Arc<dyn ExecutionPlan> =
            Arc::new(RepartitionExec::try_new(empty(), by_id).unwrap());
        let shuffled = NetworkShuffleExec::try_new(Arc::clone(&sent), 2).unwrap();
        check(
            Arc::new(LocalLimitExec::new(sent, 3)),
            Arc::new(LocalLimitExec::new(Arc::new(shuffled), 3)),
            2,
        );
        let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(empty(), 3));
        let gathered = NetworkCoalesceExec::try_new(Arc::clone(&limited), 2, 1).unwrap();
        check(limited, Arc::new(gathered), 0);
    }

    #[test]
    fn parts_have_numbers_and_their_operators_places() {
        let read = |rows| -> Arc<dyn ExecutionPlan> {
            Arc::new(PartExec::new(Arc::new(LocalLimitExec::new(empty(), rows)), Vec::new()))
        };
        let leaf = DistributedLeafExec::try_new(empty(), [read(7), read(8)]).unwrap();
        let made_of = plan(empty());
        let counted = counted(&made_of);
        let stages = in_parts(&plan(Arc::new(leaf)), &made_of, &counted).unwrap();
        let text = displayable(stages.as_ref()).indent(false).to_string();
        let lines: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            lines,
            ["PartExec", "  RepartitionExec", "    PartExec", "      DistributedLeafExec"]
        );
        // The merge and the limit; the limit below; and the leaf, not what it was made with.
        let expected = [vec![Some(0), Some(1)], vec![Some(3)], vec![None, Some(4)]];
        assert_eq!(counted.places(), expected);
    }
}
