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
    generated::datafusion_common::{ArrowType, ScalarValue, Schema, scalar_value::Value},
    protobuf::{
        AggregateExecNode, MemoryScanExecNode, PhysicalExprNode, PhysicalPlanNode,
        RepartitionExecNode, UnnestExecNode, WindowFrame, partitioning::PartitionMethod,
        physical_expr_node::ExprType as Expr, physical_plan_node::PhysicalPlanType as Node,
        window_frame::EndBound,
    },
};

use super::InputScanExec;
use crate::{
    error::{Error, Result},
    ipc::{self, check_message, decode_all},
    stack::{MAX_DEPTH, too_deep},
};

/// The most bytes of the nulls of a plan, or of an expression that is written apart: a picture of
/// eight thousand pixels in a row.
const MAX_NULL_BYTES: u64 = 32 << 20;

/// The most partitions that rows are shuffled into: each partition before has a queue for each.
const MAX_SHUFFLED: u64 = 1 << 10;

/// The most rows of a batch.
const MAX_BATCH_ROWS: u32 = 1 << 24;

/// Refuses a node that is not among those that queries are planned with. Its inputs are not looked
/// at.
///
/// Sessions plan for one target partition, or so that rows are repartitioned by hash alone, for
/// shuffles: nothing is interleaved or joined by merging; inputs end, so streams are not joined;
/// scalar subqueries become joins.
///
/// # Errors
/// `invalid`, naming the node; `internal` if rows or types that it holds are none.
pub(crate) fn check_node(node: &PhysicalPlanNode) -> Result<()> {
    // A node of no kind at all is refused where it is decoded.
    let Some(node) = &node.physical_plan_type else { return Ok(()) };
    let refused = match node {
        // Keyloom's own: the codec knows no others.
        Node::Extension(_) => return Ok(()),
        Node::Cooperative(_)
        | Node::CrossJoin(_)
        | Node::GlobalLimit(_)
        | Node::HashJoin(_)
        | Node::LocalLimit(_)
        | Node::Merge(_)
        | Node::NestedLoopJoin(_)
        | Node::Projection(_)
        | Node::Sort(_)
        | Node::SortPreservingMerge(_)
        | Node::Union(_) => return Ok(()),
        Node::Aggregate(aggregate) => return check_aggregate(aggregate),
        Node::Empty(empty) => return check_schema(empty.schema.as_ref()),
        Node::PlaceholderRow(row) => return check_schema(row.schema.as_ref()),
        Node::Repartition(repartition) => return check_repartition(repartition),
        Node::Unnest(unnest) => return check_unnest(unnest),
        Node::Filter(filter) => return check_batch(filter.batch_size),
        Node::GenerateSeries(series) => {
            check_batch(series.target_batch_size)?;
            return check_schema(series.schema.as_ref());
        }
        Node::Window(window) => {
            let frames = window.window_expr.iter().filter_map(|expr| expr.window_frame.as_ref());
            return { frames }.try_for_each(check_frame);
        }
        // The rows of VALUES.
        Node::MemoryScan(scan) => {
            check_schema(scan.schema.as_ref())?;
            return check_rows(scan);
        }
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
        Some(Value::NullValue(data_type)) => {
            check_type(data_type)?;
            return check_nulls(null_bytes(data_type));
        }
        Some(Value::DictionaryValue(value)) => value.value.as_deref(),
        Some(Value::RunEndEncodedValue(value)) => value.value.as_deref(),
        Some(Value::UnionValue(value)) => value.value.as_deref(),
        _ => None,
    };
    within.map_or(Ok(()), check_literal)
}

/// Refuses a limit that an aggregate would take room for before it has seen a row. Sessions plan it
/// for distinct rows in any order alone, which take none for it.
fn check_aggregate(aggregate: &AggregateExecNode) -> Result<()> {
    let computes = !aggregate.aggr_expr.is_empty();
    if aggregate.limit.is_some_and(|limit| computes || limit.descending.is_some()) {
        return Err(not_needed("a limit of an aggregate's groups"));
    }
    check_schema(aggregate.input_schema.as_ref())
}

/// Refuses rows that are repartitioned otherwise than by hash, or into more partitions than any are
/// shuffled into.
fn check_repartition(repartition: &RepartitionExecNode) -> Result<()> {
    let partitioning = repartition.partitioning.as_ref();
    match partitioning.and_then(|partitioning| partitioning.partition_method.as_ref()) {
        Some(PartitionMethod::Hash(hash))
            if !repartition.preserve_order
                && (1..=MAX_SHUFFLED).contains(&hash.partition_count) =>
        {
            Ok(())
        }
        _ => Err(not_needed("RepartitionExec")),
    }
}

/// Refuses lists that are nested deeper than anything may be: each level is gone through, whether
/// there is such a level or not.
fn check_unnest(unnest: &UnnestExecNode) -> Result<()> {
    let depth = unnest.list_type_columns.iter().map(|column| column.depth).max();
    if depth.is_some_and(|depth| depth as usize > MAX_DEPTH) {
        return Err(too_deep());
    }
    check_schema(unnest.schema.as_ref())
}

/// Refuses columns of types of which each null would take absurdly much: a join without matches
/// makes some.
fn check_schema(schema: Option<&Schema>) -> Result<()> {
    let columns = schema.into_iter().flat_map(|schema| &schema.columns);
    columns.filter_map(|column| column.arrow_type.as_deref()).try_for_each(check_type)
}

/// About how many bytes are taken for an expression that is a null: as soon as it is decoded, and
/// again for each in a list.
pub(crate) fn nulls(expr: &PhysicalExprNode) -> u64 {
    fn of(literal: &ScalarValue) -> u64 {
        let within = match &literal.value {
            Some(Value::NullValue(data_type)) => return null_bytes(data_type),
            Some(Value::DictionaryValue(value)) => value.value.as_deref(),
            Some(Value::RunEndEncodedValue(value)) => value.value.as_deref(),
            Some(Value::UnionValue(value)) => value.value.as_deref(),
            _ => None,
        };
        within.map_or(0, of)
    }
    match &expr.expr_type {
        Some(Expr::Literal(literal)) => of(literal),
        _ => 0,
    }
}

/// Refuses nulls that take so many bytes together.
///
/// # Errors
/// `invalid`, naming the bound.
pub(crate) fn check_nulls(bytes: u64) -> Result<()> {
    if bytes <= MAX_NULL_BYTES {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a plan from a peer has nulls of {bytes} bytes, more than {MAX_NULL_BYTES}"
    )))
}

fn null_bytes(data_type: &ArrowType) -> u64 {
    // What is no type is refused where it is decoded.
    DataType::try_from(data_type).map_or(0, |data_type| ipc::null_bytes(&data_type))
}

fn check_type(data_type: &ArrowType) -> Result<()> {
    // What is no type is refused where it is decoded.
    DataType::try_from(data_type).map_or(Ok(()), |data_type| ipc::check_type(&data_type))
}

#[cfg(test)]
mod tests;
