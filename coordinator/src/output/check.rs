//! What a plan writes, against what it reads: an output over its own inputs would take away what
//! the job reads, and one among the files of a folder that it reads would be read by the next job
//! of the kind, with the rows that it was made of.
//!
//! Places are compared by their names, whatever profile opens them: one storage may have several.

use std::{collections::BTreeSet, mem::discriminant, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::{FilesOfInput, Format},
    lookup::KvLookupExec,
    output::{Compression, FileFormat, IfExists, OutputKind, OutputSpec, Place, WriteExec},
    plan::InputScanExec,
    store::{LANCE, StoreSpec},
};

/// Refuses a plan whose output is an input or a store of its own, is within one, or has one within
/// it, or would be listed with the files of an input. New rows or columns for a dataset that is read
/// at one of its versions are another matter.
///
/// # Errors
/// `invalid`, naming both; or that the output has no place, or other columns than its rows.
pub(crate) fn check_output(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let Some(write) = plan.downcast_ref::<WriteExec>() else { return Ok(()) };
    check_columns(write)?;
    let spec = &write.output().spec;
    let output = Output { spec, place: place_of(spec)? };
    let mut refused = Ok(());
    plan.apply(|node| {
        refused = output.check(node);
        Ok(if refused.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    refused
}

/// Where an output is.
///
/// # Errors
/// `invalid` if its path says no place.
pub(crate) fn place_of(spec: &OutputSpec) -> Result<Place> {
    Place::of(&spec.path).ok_or_else(|| {
        let path = redact(&spec.path);
        Error::invalid(format!(
            "the output {path} is no place: write an absolute path or a URL, without empty names \
             and '..' in it"
        ))
    })
}

/// The columns come from a peer, and workers write what they say.
fn check_columns(write: &WriteExec) -> Result<()> {
    let (rows, output) = (write.input().schema(), &write.output().schema);
    let are_same = rows.fields().len() == output.fields().len()
        && rows.fields().iter().zip(output.fields()).all(|(row, column)| {
            row.name() == column.name() && are_alike(row.data_type(), column.data_type())
        });
    match are_same {
        true => Ok(()),
        false => Err(Error::invalid("an output was prepared for other columns than it is given")),
    }
}

/// Whether types are the same, but for what is within lists and structs: whether that may be null is
/// told anew where a plan is read.
fn are_alike(one: &DataType, other: &DataType) -> bool {
    match one.is_nested() {
        true => discriminant(one) == discriminant(other),
        false => one == other,
    }
}

struct Output<'a> {
    spec: &'a OutputSpec,
    place: Place,
}

impl Output<'_> {
    fn check(&self, node: &Arc<dyn ExecutionPlan>) -> Result<()> {
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            let mut fetches = lookup.waves().iter().flat_map(|wave| &wave.fetches);
            return fetches.try_for_each(|fetch| self.check_store(&fetch.store.spec));
        }
        match node.downcast_ref::<InputScanExec>() {
            Some(scan) => self.check_scan(scan),
            None => Ok(()),
        }
    }

    fn check_store(&self, store: &StoreSpec) -> Result<()> {
        match store.content {
            // They are nowhere else.
            Some(_) => Ok(()),
            None => {
                let (read, is_dataset) = (Place::of(&store.place), store.kind == LANCE);
                self.check_place(read.as_ref(), is_dataset, || {
                    format!("the KV store '{}' at {}", store.name, redact(&store.place))
                })
            }
        }
    }

    fn check_scan(&self, scan: &InputScanExec) -> Result<()> {
        let table = scan.table();
        if table.layout.format() == Format::Lance {
            let url = &table.location.url;
            let what = || format!("the input {}", redact(url));
            return self.check_place(Place::of(url).as_ref(), true, what);
        }
        let slices = scan.partitions().iter().flat_map(|partition| &partition.slices);
        // Files are read in several pieces.
        let paths: BTreeSet<_> = slices.map(|slice| slice.path.as_str()).collect();
        paths.into_iter().try_for_each(|path| {
            let read = Place::of_file(&table.location, path);
            let what = || format!("the input {}", redact(&table.location.shown(path)));
            self.check_place(read.as_ref(), false, what)
        })?;
        scan.asked().map_or(Ok(()), |input| self.check_listing(input))
    }

    fn check_listing(&self, input: &FilesOfInput) -> Result<()> {
        if !self.place.is_listed(input, &a_file(&self.spec.kind)) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the output {} would be among the files of the input {input}, which the same job \
             reads, and its rows among those that are read next time; write elsewhere",
            redact(&self.spec.path),
        )))
    }

    fn check_place(
        &self,
        read: Option<&Place>,
        is_dataset: bool,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        // What is read from nowhere that has a name is not written over.
        let Some(read) = read.filter(|read| read.touches(&self.place)) else { return Ok(()) };
        if is_dataset && *read == self.place && keeps_versions(&self.spec.kind) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the output {} and {}, which the same job reads, are one place, or one is within the \
             other; write elsewhere",
            redact(&self.spec.path),
            what()
        )))
    }
}

/// A file as an output has them, from its folder on.
fn a_file(kind: &OutputKind) -> String {
    let OutputKind::Files(files) = kind else { return "data/0.lance".to_owned() };
    let ending = match (files.format, files.compression) {
        (FileFormat::Csv | FileFormat::Json, Some(Compression::Gzip)) => ".gz",
        (FileFormat::Csv | FileFormat::Json, Some(Compression::Zstd)) => ".zst",
        _ => "",
    };
    let file = format!("part-00000-000000-0.{}{ending}", files.format.name());
    let folders = files.partition_by.iter().map(|name| format!("{name}=0"));
    folders.chain([file]).collect::<Vec<_>>().join("/")
}

/// Whether what is read of a dataset is there as long as the job is.
fn keeps_versions(kind: &OutputKind) -> bool {
    match kind {
        OutputKind::Upsert { .. } | OutputKind::Columns => true,
        OutputKind::Lance { if_exists, .. } => *if_exists == IfExists::Append,
        OutputKind::Files(_) => false,
    }
}

#[cfg(test)]
mod tests;
