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
mod key;
mod lookup;
mod points;
mod side;

use std::{fmt::Debug, sync::Arc};

use datafusion::{
    common::{Column, tree_node::Transformed},
    error::Result,
    logical_expr::{Join, LogicalPlan, TableSource},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};
use keyloom_common::store::{AttachedStore, JoinPath};

use beside::with_calls_beside;
use lookup::LookupJoin;
use points::point_lookup;
use side::is_of_store;

/// The name of a column that holds the rows that a join found.
const ROW: &str = "__joined";

/// Tells which tables are stores.
pub trait StoreTables: Debug + Send + Sync {
    /// The store that a table is.
    fn store(&self, table: &Arc<dyn TableSource>) -> Option<Arc<AttachedStore>>;
}

/// Makes joins with stores lookups, where these cost less or are wanted.
#[derive(Debug)]
pub struct JoinStores {
    tables: Arc<dyn StoreTables>,
    path: JoinPath,
}

impl JoinStores {
    /// The rule for these stores.
    pub fn new(tables: Arc<dyn StoreTables>, path: JoinPath) -> Self {
        Self { tables, path }
    }

    /// The cheaper of the lookups that a join can be: either side may be a store.
    fn lookup(&self, join: &Join, row: &Column) -> Result<Option<LogicalPlan>> {
        let mut best: Option<LookupJoin<'_>> = None;
        for store_is_right in [true, false] {
            let found = LookupJoin::of(join, store_is_right, self.tables.as_ref(), row)?;
            let Some(found) = found.filter(|found| found.is_worth_it(self.path)) else { continue };
            if best.as_ref().is_none_or(|best| best.store_rows() < found.store_rows()) {
                best = Some(found);
            }
        }
        best.map(LookupJoin::plan).transpose()
    }
}

impl OptimizerRule for JoinStores {
    fn name(&self) -> &'static str {
        "join_stores"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if self.path == JoinPath::Scan {
            return Ok(Transformed::no(plan));
        }
        let is_of_store = |plan: &LogicalPlan| is_of_store(plan, self.tables.as_ref());
        // Names are made where they are needed: those of other columns are counted, too.
        let row = || Column::new_unqualified(config.alias_generator().next(ROW));
        let planned = match &plan {
            LogicalPlan::Join(join) if is_of_store(&join.left) || is_of_store(&join.right) => {
                self.lookup(join, &row())?
            }
            LogicalPlan::Filter(filter) if is_of_store(&filter.input) => {
                point_lookup(filter, self.tables.as_ref(), self.path, &row())?
            }
            LogicalPlan::Projection(projection) => with_calls_beside(projection, || row().name)?,
            _ => None,
        };
        Ok(match planned {
            Some(planned) => Transformed::yes(planned),
            None => Transformed::no(plan),
        })
    }
}
