//! What is known of the rows of a leaf: all come, in whatever order.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    physical_expr::EquivalenceProperties,
    physical_plan::{
        Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
    },
};

pub(super) fn properties(schema: SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// The same for so many partitions. If there were as many before, nothing is new to the operators
/// above, and they see that.
pub(super) fn of_partitions(
    properties: &Arc<PlanProperties>,
    partitions: usize,
) -> Arc<PlanProperties> {
    if properties.output_partitioning().partition_count() == partitions {
        return Arc::clone(properties);
    }
    let partitioning = Partitioning::UnknownPartitioning(partitions);
    Arc::new(PlanProperties::clone(properties).with_partitioning(partitioning))
}
