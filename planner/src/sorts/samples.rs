//! Plans for tests of sorts.

use std::sync::Arc;

use datafusion::{
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, lit},
    },
    physical_plan::{Partitioning, filter::FilterExec, repartition::RepartitionExec},
};

use super::Plan;
use crate::samples::scan;

pub(super) fn id() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("id", 0))
}

/// Rows of the column `id` that are all the same, in two partitions.
pub(super) fn same() -> Plan {
    let is_one = Arc::new(BinaryExpr::new(id(), Operator::Eq, lit(1_i64)));
    Arc::new(FilterExec::try_new(is_one, scan(2)).unwrap())
}

pub(super) fn shuffled(rows: Plan) -> Plan {
    Arc::new(RepartitionExec::try_new(rows, Partitioning::Hash(vec![id()], 3)).unwrap())
}
