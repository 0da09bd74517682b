//! Joins with stores as lookups.
//!
//! Every store is a table. A join with one on the store's key asks for the rows of the other side's
//! keys, as `kv_get` does: it becomes a projection with a call, under what the join's kind makes of
//! rows that are found or not. So does a scan whose condition names its keys. From there on,
//! the rules for calls do the rest.
//!
//! The rule runs last among DataFusion's logical ones: by then, subqueries and cross products are
//! joins, conditions stand on the sides that they read, and only columns that are used are left.

mod beside;
mod cost;
mod kept;
mod key;
mod lookup;
mod matches;
mod points;
#[cfg(test)]
mod samples;
mod share;
mod side;
mod sink;
#[cfg(test)]
mod tests;
mod wanted;

use std::{fmt::Debug, sync::Arc};

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRewriter},
    },
    error::Result,
    logical_expr::{Join, LogicalPlan, TableScan, TableSource},
    optimizer::{OptimizerConfig, OptimizerRule},
};
use keyloom_common::store::AttachedStore;

use crate::options::PlanOptions;
use beside::with_calls_beside;
use cost::Choice;
use lookup::{LookupJoin, wants_all_rows};
use points::point_lookup;
pub use share::ShareFetches;
use side::is_of_store;
use wanted::{Wanted, Way};

/// The name of a column that holds the rows that a join found.
const ROW: &str = "__joined";

/// Tells which tables are stores.
pub trait StoreTables: Debug + Send + Sync {
    /// The store that a table is.
    fn store(&self, table: &Arc<dyn TableSource>) -> Option<Arc<AttachedStore>>;

    /// The same table, whose scans say why a join makes them; none if they do so already.
    fn noted(&self, table: &Arc<dyn TableSource>, why: &str) -> Option<Arc<dyn TableSource>>;
}

/// Makes joins with stores lookups, where these cost less or are wanted: see [`PlanOptions`].
#[derive(Debug)]
pub struct JoinStores {
    tables: Arc<dyn StoreTables>,
}

impl JoinStores {
    /// The rule for these stores.
    pub fn new(tables: Arc<dyn StoreTables>) -> Self {
        Self { tables }
    }

    /// The cheaper of the lookups that a join can be, either side of which may be a store; else the
    /// join with scans that say why they are made.
    fn join(
        &self,
        join: &Join,
        options: PlanOptions,
        wanted: Wanted,
        row: &Column,
    ) -> Result<Option<LogicalPlan>> {
        let (mut best, mut dear): (Option<(LookupJoin<'_>, Choice)>, _) = (None, None);
        for store_is_right in [true, false] {
            let found = LookupJoin::of(join, store_is_right, self.tables.as_ref(), row)?;
            let Some(found) = found else { continue };
            let choice = found.choose(options, wanted);
            if !choice.is_lookup {
                dear = Some(choice.why);
            } else if best.as_ref().is_none_or(|(best, _)| best.store_rows() < found.store_rows()) {
                best = Some((found, choice));
            }
        }
        match best {
            Some((best, choice)) => best.plan(choice.why).map(Some),
            None => self.scanning(join, dear.as_deref()),
        }
    }

    /// The join with scans that say why they are made; none if they do already.
    fn scanning(&self, join: &Join, dear: Option<&str>) -> Result<Option<LogicalPlan>> {
        let note = |side: &LogicalPlan, is_right: bool| match dear {
            Some(why) => self.noted(side, why),
            None if wants_all_rows(join.join_type, is_right) => {
                self.noted(side, "all of its rows are wanted")
            }
            None => self.noted(side, "no key alone says which rows match"),
        };
        let (left, right) = (note(&join.left, false)?, note(&join.right, true)?);
        if !left.transformed && !right.transformed {
            return Ok(None);
        }
        let (left, right) = (Arc::new(left.data), Arc::new(right.data));
        Ok(Some(LogicalPlan::Join(Join { left, right, ..join.clone() })))
    }

    /// A side of a join whose scan says why it is made, if it is one of a store.
    fn noted(&self, side: &LogicalPlan, why: &str) -> Result<Transformed<LogicalPlan>> {
        let tables = self.tables.as_ref();
        if !is_of_store(side, tables) {
            return Ok(Transformed::no(side.clone()));
        }
        side.clone().transform_down(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let Some(source) = tables.noted(&scan.source, why) else {
                return Ok(Transformed::no(node));
            };
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
        })
    }
}

impl OptimizerRule for JoinStores {
    fn name(&self) -> &'static str {
        "join_stores"
    }

    /// Goes through the plan by itself: a join has to know of the limits above it.
    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        plan.rewrite_with_subqueries(&mut Joining { rule: self, config, way: Way::default() })
    }
}

/// The rule on its way through a plan, from the leaves up.
struct Joining<'a> {
    rule: &'a JoinStores,
    config: &'a dyn OptimizerConfig,
    way: Way,
}

impl TreeNodeRewriter for Joining<'_> {
    type Node = LogicalPlan;

    fn f_down(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        self.way.enter(&node, self.rule.tables.as_ref());
        Ok(Transformed::no(node))
    }

    fn f_up(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let wanted = self.way.leave();
        Ok(match self.planned(&node, wanted)? {
            Some(planned) => Transformed::yes(planned),
            None => Transformed::no(node),
        })
    }
}

impl Joining<'_> {
    /// What becomes of a node of which so many rows are wanted; none if it stays as it is.
    fn planned(&self, node: &LogicalPlan, wanted: Wanted) -> Result<Option<LogicalPlan>> {
        let options = PlanOptions::of(&self.config.options());
        let tables = self.rule.tables.as_ref();
        let is_of_store = |plan: &LogicalPlan| is_of_store(plan, tables);
        // Names are made where they are needed: those of other columns are counted, too.
        let row = || Column::new_unqualified(self.config.alias_generator().next(ROW));
        match node {
            LogicalPlan::Join(join) if is_of_store(&join.left) || is_of_store(&join.right) => {
                self.rule.join(join, options, wanted, &row())
            }
            LogicalPlan::Filter(filter) if is_of_store(&filter.input) => {
                point_lookup(filter, tables, options.join_path, &row())
            }
            LogicalPlan::Projection(projection) => with_calls_beside(projection, || row().name),
            _ => Ok(None),
        }
    }
}
