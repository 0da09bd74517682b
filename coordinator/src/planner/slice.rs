//! Cutting a fragment into tasks: for each partition, the same plan over that partition's input
//! alone.

use std::sync::Arc;

use datafusion::{
    datasource::{
        physical_plan::{FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    error::Result,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties, union::UnionExec},
};
use keyloom_common::{Error, plan::FrameScanExec};

/// The fragment once for each of its partitions, in order.
pub(crate) fn slices(
    fragment: &Arc<dyn ExecutionPlan>,
) -> impl Iterator<Item = Result<Arc<dyn ExecutionPlan>>> + '_ {
    let partitions = fragment.output_partitioning().partition_count();
    (0..partitions).map(move |partition| slice(fragment, partition))
}

fn slice(plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        let only = frame.partitions()[partition];
        return Ok(Arc::new(frame.with_partitions(vec![only])?));
    }
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return slice_files(source, partition);
    }
    if plan.is::<UnionExec>() {
        return slice_union(plan, partition);
    }
    let children = plan.children();
    let [input] = children.as_slice() else { return Ok(Arc::clone(plan)) };
    Arc::clone(plan).with_new_children(vec![slice(input, partition)?])
}

fn slice_files(source: &DataSourceExec, partition: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let config = source.data_source().downcast_ref::<FileScanConfig>().ok_or_else(|| {
        Error::invalid("this input cannot be read by workers; read it from files or batches")
    })?;
    let group = config.file_groups[partition].clone();
    let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(vec![group]).build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The partitions of a union are those of its inputs, one after the other.
fn slice_union(plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let mut before = 0;
    for input in plan.children() {
        let partitions = input.output_partitioning().partition_count();
        if partition < before + partitions {
            return slice(input, partition - before);
        }
        before += partitions;
    }
    Err(Error::internal(format!("a union has no partition {partition}")).into())
}
