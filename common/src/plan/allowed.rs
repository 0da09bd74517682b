//! What a plan from a peer may hold.
//!
//! DataFusion's protobuf knows more than queries are planned with: sinks, which write files, and
//! scans of its own, which read them, as the user of the process that runs the plan. Nodes are
//! looked at before they are built, since building a sink looks for its path already. The matches
//! here name every kind there is, so that no version of DataFusion brings one that nobody has
//! thought of.
//!
//! Functions need no list. A plan names them, and whoever runs it finds them among DataFusion's own
//! and Keyloom's. None of these reads files, the environment or the network.

use std::sync::Arc;

use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    generated::datafusion_common::{ArrowType, ScalarValue, scalar_value::Value},
    protobuf::{
        MemoryScanExecNode, PhysicalExprNode, PhysicalPlanNode, WindowFrame,
        physical_expr_node::ExprType as Expr, physical_plan_node::PhysicalPlanType as Node,
        window_frame::EndBound,
    },
};

use super::InputScanExec;
use crate::{
    error::{Error, Result},
    ipc::{self, check_message, decode_all},
};

/// The most rows of a batch.
const MAX_BATCH_ROWS: u32 = 1 << 24;

/// Refuses a node that is not among those that queries are planned with. Its inputs are not looked
/// at.
///
/// Sessions plan for one target partition, so nothing is repartitioned, interleaved or joined by
/// merging; inputs end, so streams are not joined; scalar subqueries become joins.
///
/// # Errors
/// `invalid`, naming the node; `internal` if rows that it holds are none.
pub(crate) fn check_node(node: &PhysicalPlanNode) -> Result<()> {
    // A node of no kind at all is refused where it is decoded.
    let Some(node) = &node.physical_plan_type else { return Ok(()) };
    let refused = match node {
        // Keyloom's own: the codec knows no others.
        Node::Extension(_) => return Ok(()),
        Node::Aggregate(_)
        | Node::Cooperative(_)
        | Node::CrossJoin(_)
        | Node::Empty(_)
        | Node::GlobalLimit(_)
        | Node::HashJoin(_)
        | Node::LocalLimit(_)
        | Node::Merge(_)
        | Node::NestedLoopJoin(_)
        | Node::PlaceholderRow(_)
        | Node::Projection(_)
        | Node::Sort(_)
        | Node::SortPreservingMerge(_)
        | Node::Union(_)
        | Node::Unnest(_) => return Ok(()),
        Node::Filter(filter) => return check_batch(filter.batch_size),
        Node::GenerateSeries(series) => return check_batch(series.target_batch_size),
        Node::Window(window) => {
            let frames = window.window_expr.iter().filter_map(|expr| expr.window_frame.as_ref());
            return { frames }.try_for_each(check_frame);
        }
        // The rows of VALUES.
        Node::MemoryScan(scan) => return check_rows(scan),
        Node::CsvSink(_) | Node::JsonSink(_) | Node::ParquetSink(_) => "DataSinkExec",
        Node::ArrowScan(_)
        | Node::AvroScan(_)
        | Node::CsvScan(_)
        | Node::JsonScan(_)
        | Node::ParquetScan(_) => "DataSourceExec with files",
        Node::Analyze(_) => "AnalyzeExec",
        Node::AsyncFunc(_) => "AsyncFuncExec",
        Node::Buffer(_) => "BufferExec",
        Node::CoalesceBatches(_) => "CoalesceBatchesExec",
        Node::Explain(_) => "ExplainExec",
        Node::Interleave(_) => "InterleaveExec",
        Node::Repartition(_) => "RepartitionExec",
        Node::ScalarSubquery(_) => "ScalarSubqueryExec",
        Node::SortMergeJoin(_) => "SortMergeJoinExec",
        Node::SymmetricHashJoin(_) => "SymmetricHashJoinExec",
    };
    Err(not_needed(refused))
}

/// Refuses an expression that is not among those that queries are planned with, or that is no
/// expression by itself. Those within it are not looked at.
///
/// Sorts with a limit, and aggregates for a least or greatest value, bring a filter that changes
/// while they run, although no scan takes it.
///
/// # Errors
/// `invalid`, naming the expression.
pub(crate) fn check_expr(expr: &PhysicalExprNode) -> Result<()> {
    // An expression of no kind at all is refused where it is decoded.
    let Some(expr) = &expr.expr_type else { return Ok(()) };
    let refused = match expr {
        Expr::BinaryExpr(_)
        | Expr::Case(_)
        | Expr::Column(_)
        | Expr::DynamicFilter(_)
        | Expr::InList(_)
        | Expr::IsNotNullExpr(_)
        | Expr::IsNullExpr(_)
        | Expr::LikeExpr(_)
        | Expr::Negative(_)
        | Expr::NotExpr(_)
        | Expr::ScalarUdf(_)
        | Expr::UnknownColumn(_) => return Ok(()),
        Expr::Literal(literal) => return check_literal(literal),
        Expr::Cast(cast) => return cast.arrow_type.iter().try_for_each(check_type),
        Expr::TryCast(cast) => return cast.arrow_type.iter().try_for_each(check_type),
        Expr::AggregateExpr(_) => "an aggregate as a value",
        // What is folded was unfolded before.
        Expr::Extension(_) => "an extension",
        Expr::HashExpr(_) => "HashExpr",
        Expr::ScalarSubquery(_) => "ScalarSubqueryExpr",
        Expr::Sort(_) => "a sort key as a value",
        Expr::WindowExpr(_) => "a window as a value",
    };
    Err(not_needed(refused))
}

/// How many levels an expression's node becomes. A chain of operands is written flat, and built as
/// a tree that leans to the left: as many levels as there are operators.
pub(crate) fn levels(expr: &PhysicalExprNode) -> usize {
    match &expr.expr_type {
        Some(Expr::BinaryExpr(binary)) => binary.operands.len().saturating_sub(1).max(1),
        _ => 1,
    }
}

/// Refuses a decoded plan that reads files or datasets from places that no worker knows. Where its
/// stores are, their kinds check on the workers that open them.
///
/// # Errors
/// `invalid`, naming the scheme and the choices.
pub(crate) fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<InputScanExec>() {
            let table = scan.table();
            table.layout.format().check_place(&table.location.url)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn not_needed(what: &str) -> Error {
    Error::invalid(format!("a plan from a peer holds {what}, which no query needs"))
}

/// Refuses rows whose bytes promise more than there is. DataFusion allocates what they promise, and
/// a process that cannot is aborted.
fn check_rows(scan: &MemoryScanExecNode) -> Result<()> {
    for rows in scan.partitions.iter().filter(|rows| !rows.is_empty()) {
        decode_all(Bytes::copy_from_slice(rows))?;
    }
    Ok(())
}

/// Rows of a batch are allocated before there are any.
fn check_batch(rows: u32) -> Result<()> {
    if rows <= MAX_BATCH_ROWS {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a plan from a peer has batches of {rows} rows, more than {MAX_BATCH_ROWS}"
    )))
}

fn check_frame(frame: &WindowFrame) -> Result<()> {
    let end = frame.end_bound.as_ref().map(|EndBound::Bound(bound)| bound);
    let bounds = frame.start_bound.iter().chain(end);
    bounds.filter_map(|bound| bound.bound_value.as_ref()).try_for_each(check_literal)
}

/// Refuses a value for which more would be allocated than it is sent with.
fn check_literal(literal: &ScalarValue) -> Result<()> {
    let within = match &literal.value {
        Some(
            Value::ListValue(nested)
            | Value::LargeListValue(nested)
            | Value::FixedSizeListValue(nested)
            | Value::ListViewValue(nested)
            | Value::LargeListViewValue(nested)
            | Value::StructValue(nested)
            | Value::MapValue(nested),
        ) => {
            check_message(&nested.ipc_message, nested.arrow_data.len())?;
            let mut all = nested.dictionaries.iter();
            return all.try_for_each(|one| check_message(&one.ipc_message, one.arrow_data.len()));
        }
        Some(Value::NullValue(data_type)) => return check_type(data_type),
        Some(Value::DictionaryValue(value)) => value.value.as_deref(),
        Some(Value::RunEndEncodedValue(value)) => value.value.as_deref(),
        Some(Value::UnionValue(value)) => value.value.as_deref(),
        _ => None,
    };
    within.map_or(Ok(()), check_literal)
}

fn check_type(data_type: &ArrowType) -> Result<()> {
    // What is no type is refused where it is decoded.
    DataType::try_from(data_type).map_or(Ok(()), |data_type| ipc::check_type(&data_type))
}

#[cfg(test)]
mod tests;
