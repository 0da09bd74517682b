//! Series of numbers or times of which no column is wanted, as where they are counted.
//!
//! Of what is wanted of a series, protobuf has the columns alone. A series without any would be
//! read as one that makes rows of no column, and puts one into them all the same.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::{
    error::Result,
    physical_plan::{ExecutionPlan, memory::LazyMemoryExec},
};
use datafusion_proto::protobuf::{
    GenerateSeriesNode, PhysicalPlanNode, generate_series_node::Args,
    physical_plan_node::PhysicalPlanType,
};

/// A series that has no column, with the one that it makes; none if the node is anything else.
pub(super) fn with_column(node: &PhysicalPlanNode) -> Result<Option<PhysicalPlanNode>> {
    let Some(PhysicalPlanType::GenerateSeries(series)) = &node.physical_plan_type else {
        return Ok(None);
    };
    if series.schema.as_ref().is_none_or(|schema| !schema.columns.is_empty()) {
        return Ok(None);
    }
    let time = |zone| DataType::Timestamp(TimeUnit::Nanosecond, zone);
    let data_type = match &series.args {
        Some(Args::TimestampArgs(args)) => time(args.tz.as_deref().map(Arc::from)),
        Some(Args::DateArgs(_)) => time(None),
        Some(Args::Int64Args(_) | Args::ContainsNull(_)) | None => DataType::Int64,
    };
    let schema = Schema::new(vec![Field::new("value", data_type, false)]);
    let series = GenerateSeriesNode { schema: Some((&schema).try_into()?), ..series.clone() };
    let physical_plan_type = Some(PhysicalPlanType::GenerateSeries(series));
    Ok(Some(PhysicalPlanNode { physical_plan_type }))
}

/// The same series without its column.
pub(super) fn without_column(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(series) = plan.downcast_ref::<LazyMemoryExec>() else { return Ok(plan) };
    let series = LazyMemoryExec::try_new(series.schema(), series.generators().clone())?;
    Ok(Arc::new(series.with_projection(Some(Vec::new()))))
}
