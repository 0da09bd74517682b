//! Whether what a job writes can be written by its plan.
//!
//! Columns are added to a dataset row by row, so the plan must give the rows of that dataset, each
//! of them once and in its order. That is known of the plan's nodes, before anything is written.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::{ExecutionPlan, coop::CooperativeExec, projection::ProjectionExec},
};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::Layout,
    lookup::KvLookupExec,
    output::{OutputKind, PreparedOutput, WriteExec},
    plan::InputScanExec,
    store::Snapshot,
};

/// Refuses a plan whose rows cannot be written as its output wants.
///
/// # Errors
/// `invalid`, naming the node that is in the way, or the dataset that is not read.
pub fn check_write(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        if let Some(write) = node.downcast_ref::<WriteExec>()
            && write.output().spec.kind == OutputKind::Columns
        {
            check_columns(write)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Whether the rows of a task must be those of whole fragments of a dataset.
pub(crate) fn wants_whole_fragments(node: &Arc<dyn ExecutionPlan>) -> bool {
    let write = node.downcast_ref::<WriteExec>();
    write.is_some_and(|write| write.output().spec.kind == OutputKind::Columns)
}

fn check_columns(write: &WriteExec) -> Result<()> {
    let mut node = Arc::clone(write.input());
    loop {
        if let Some(scan) = node.downcast_ref::<InputScanExec>() {
            return check_scan(scan, write.output());
        }
        let keeps_rows = node.is::<KvLookupExec>()
            || node.is::<ProjectionExec>()
            || node.is::<CooperativeExec>();
        let below = match node.children().as_slice() {
            [input] if keeps_rows => Arc::clone(input),
            _ => return Err(not_its_rows(write.output(), node.name())),
        };
        node = below;
    }
}

/// A scan of all rows of the dataset that is written, at the version that was looked at.
fn check_scan(scan: &InputScanExec, output: &PreparedOutput) -> Result<()> {
    let (path, location) = (redact(&output.spec.path), &scan.table().location.url);
    let version = match scan.table().layout {
        Layout::Lance(Snapshot::Version { number, .. }) if is_same(&output.spec.path, location) => {
            number
        }
        _ => {
            return Err(Error::invalid(format!(
                "columns are added to {path} by a query of its own rows, and this one reads {}",
                redact(location)
            )));
        }
    };
    if output.version != Some(version) {
        let newest = output.version.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
        return Err(Error::invalid(format!(
            "columns are added to the newest version of {path}, which is {newest}, and the query \
             reads version {version}"
        )));
    }
    if scan.limit().is_some() {
        return Err(not_its_rows(output, "a limit"));
    }
    if scan.predicate().is_some() || !reads_all(scan) {
        return Err(not_its_rows(output, "a condition"));
    }
    Ok(())
}

/// Whether its partitions are all fragments of the dataset, one after the other.
fn reads_all(scan: &InputScanExec) -> bool {
    let mut next = 0;
    let mut size = 0;
    for partition in scan.partitions() {
        for slice in &partition.slices {
            if partition.rows.is_some() || slice.bytes.start != next {
                return false;
            }
            (next, size) = (slice.bytes.end, slice.size);
        }
    }
    next == size
}

/// Whether two texts name one dataset, however a local path is written.
fn is_same(path: &str, location: &str) -> bool {
    let bare =
        |text: &str| text.strip_prefix("file://").unwrap_or(text).trim_end_matches('/').to_owned();
    bare(path) == bare(location)
}

fn not_its_rows(output: &PreparedOutput, what: &str) -> Error {
    Error::invalid(format!(
        "columns are added to each row of {} in its order, and {what} does not keep these; select \
         expressions and lookups from the dataset alone, without WHERE, joins, ORDER BY, LIMIT or \
         groups",
        redact(&output.spec.path)
    ))
}

#[cfg(test)]
mod tests;
