//! How many rows of a plan a limit above it wants.
//!
//! A lookup ends as soon as the limit has its rows, while a scan reads the whole store before the
//! first of them. What sorts, groups or counts rows needs all, and so does a side of a join that
//! is no lookup.

use datafusion::logical_expr::{FetchType, Join, Limit, LogicalPlan, SkipType};

use super::{StoreTables, cost::Asked, lookup::Kind, side::is_of_store};
use crate::estimate::sifted;

/// The rows of a plan that are expected to be read for a limit; all if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted(Option<u64>);

impl Wanted {
    /// What is wanted of a node's inputs, in their order; of what is not named, all.
    fn of_inputs(self, node: &LogicalPlan, tables: &dyn StoreTables) -> Vec<Self> {
        match node {
            LogicalPlan::Limit(limit) => vec![self.limited(limit)],
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => vec![self],
            // Nobody knows how many pass, or how many rows a list becomes.
            LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) => vec![self.sifted()],
            // The first input may have none.
            LogicalPlan::Union(union) => vec![self; union.inputs.len()],
            LogicalPlan::Join(join) => {
                [true, false].map(|right| self.asking(join, right, tables)).to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Of the rows below a limit, those of which it leaves as many as are wanted.
    fn limited(self, limit: &Limit) -> Self {
        let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) =
            (limit.get_skip_type(), limit.get_fetch_type())
        else {
            return Self::default();
        };
        let fewest = self.0.into_iter().chain(fetch.map(|fetch| fetch as u64)).min();
        Self(fewest.map(|rows| rows.saturating_add(skip as u64)))
    }

    fn sifted(self) -> Self {
        Self(self.0.map(sifted))
    }

    /// Of the side of a join that asks the store on the other side.
    fn asking(self, join: &Join, store_is_right: bool, tables: &dyn StoreTables) -> Self {
        let held = if store_is_right { &join.right } else { &join.left };
        match Kind::of(join.join_type, store_is_right) {
            Some(kind) if is_of_store(held, tables) => self.of_asking(kind),
            _ => Self::default(),
        }
    }

    /// Of the rows that ask, for a join that makes so of them.
    pub(super) fn of_asking(self, kind: Kind) -> Self {
        if kind.keeps_all() { self } else { self.sifted() }
    }

    /// The keys of those of so many rows that are expected to be read.
    pub(super) fn of(self, rows: Option<u64>) -> Asked {
        let is_limited = self.0.is_some_and(|wanted| rows.is_none_or(|rows| wanted < rows));
        let keys = if is_limited { self.0 } else { rows };
        Asked { keys, is_limited, ..Asked::default() }
    }
}

/// The way down a plan to the node at hand, left inputs before right ones.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// What is wanted of each node on it, and of its inputs that are still to be visited, the next
    /// one last.
    nodes: Vec<(Wanted, Vec<Wanted>)>,
}

impl Way {
    /// Goes down to a node.
    pub(super) fn enter(&mut self, node: &LogicalPlan, tables: &dyn StoreTables) {
        let wanted = match node {
            // It may be of an expression, and no input.
            LogicalPlan::Subquery(_) => Wanted::default(),
            _ => self.nodes.last_mut().and_then(|(_, inputs)| inputs.pop()).unwrap_or_default(),
        };
        let mut inputs = wanted.of_inputs(node, tables);
        inputs.reverse();
        self.nodes.push((wanted, inputs));
    }

    /// Goes up from it, and says what is wanted of it.
    pub(super) fn leave(&mut self) -> Wanted {
        self.nodes.pop().map(|(wanted, _)| wanted).unwrap_or_default()
    }
}
