//! What a plan reads and writes, against what its client may use.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::{Format, Location},
    lookup::KvLookupExec,
    output::WriteExec,
    plan::InputScanExec,
};

use super::Rights;

/// Refuses a plan that asks a store or reads files that the client is not offered, or writes where
/// it may not. All other leaves hold rows of their own.
pub(super) fn check(rights: &Rights, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let mut refused = None;
    plan.apply(|node| {
        let checked = check_node(rights, node);
        Ok(match checked {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(error) => {
                refused = Some(error);
                TreeNodeRecursion::Stop
            }
        })
    })?;
    refused.map_or(Ok(()), Err)
}

fn check_node(rights: &Rights, node: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
        let mut fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
        return fetches.try_for_each(|fetch| rights.check_store(&fetch.store.spec));
    }
    if let Some(write) = node.downcast_ref::<WriteExec>() {
        return rights.check_output(&write.output().spec);
    }
    match node.downcast_ref::<InputScanExec>() {
        Some(scan) => check_scan(rights, scan),
        None => Ok(()),
    }
}

fn check_scan(rights: &Rights, scan: &InputScanExec) -> Result<()> {
    let table = scan.table();
    let (format, location) = (table.layout.format(), &table.location);
    let slices = scan.partitions().iter().flat_map(|partition| &partition.slices);
    // Files are read in several pieces.
    let paths: BTreeSet<_> = slices.map(|slice| slice.path.as_str()).collect();
    if format == Format::Lance {
        // A dataset is read from its location, whatever its pieces are called.
        return match rights.has_dataset(&location.url, location.profile.as_deref()) {
            true => Ok(()),
            false => Err(refusal(rights, &redact(&location.url))),
        };
    }
    let paths = Vec::from_iter(paths);
    if rights.have_files(format, location, &paths) {
        return Ok(());
    }
    Err(refusal(rights, &shown(location, &paths)))
}

fn refusal(rights: &Rights, place: &str) -> Error {
    rights.refusal(&format!("the input {place}"), false)
}

/// A file, and how many others there are.
fn shown(location: &Location, paths: &[&str]) -> String {
    match paths {
        [] => redact(&location.url),
        [only] => redact(&location.shown(only)),
        [first, others @ ..] => {
            format!("{} with {} others", redact(&location.shown(first)), others.len())
        }
    }
}
