//! Files as a table: the scan that workers will make of them, cut into partitions of similar size.
//!
//! A scan reads the files that there are when it is planned, and a job is planned when it is
//! submitted: what was learnt before is used again only if the files are still the same. A table of
//! new files is settled when it is opened.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    datasource::TableType,
    error::Result,
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use keyloom_common::{
    Error,
    input::{FilesOfInput, InputDescription, InputInspection, InputSpec},
    plan::{InputScanExec, ScanTable},
};

use super::{
    new_files::{FileMark, without},
    partitions::partitions,
};
use crate::link::Link;

/// Files that workers read.
pub(super) struct FileTable {
    spec: InputSpec,
    schema: SchemaRef,
    link: Arc<Link>,
    /// What was learnt last.
    described: Mutex<Arc<InputDescription>>,
    /// Whether it stays with the files that it has.
    is_settled: bool,
}

impl FileTable {
    /// Looks at the files.
    pub(super) async fn open(spec: InputSpec, link: &Arc<Link>) -> keyloom_common::Result<Self> {
        let inspection = link.connection.describe_input(spec.clone(), None).await?;
        let InputInspection::Described(description) = inspection else {
            return Err(Error::internal("an input was compared with nothing"));
        };
        let schema = scan_table(&description).schema();
        let described = Mutex::new(Arc::from(description));
        Ok(Self { spec, schema, link: Arc::clone(link), described, is_settled: false })
    }

    /// The table of those files that were not read before, and no others that may come; and what
    /// they are known by.
    pub(super) fn only_new(
        self,
        read: &BTreeSet<FileMark>,
    ) -> keyloom_common::Result<(Self, Vec<FileMark>)> {
        let described = self.described.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (new, marks) = without(Arc::unwrap_or_clone(described), read)?;
        let described = Mutex::new(Arc::new(new));
        Ok((Self { described, is_settled: true, ..self }, marks))
    }

    /// The input as somebody named it, if its path is one that can be taken apart.
    pub(super) fn asked(&self) -> Option<FilesOfInput> {
        FilesOfInput::of(&self.spec.path, self.spec.storage_profile.as_deref())
    }

    /// What the files are now.
    async fn describe(&self) -> keyloom_common::Result<Arc<InputDescription>> {
        let known = Arc::clone(&self.described.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_settled {
            return Ok(known);
        }
        let asked = self.link.connection.describe_input(self.spec.clone(), Some(known.fingerprint));
        let description = match asked.await? {
            InputInspection::Unchanged => return Ok(known),
            InputInspection::Described(description) => Arc::from(description),
        };
        if scan_table(&description).schema() != self.schema {
            return Err(Error::invalid(format!(
                "input {} has other columns than when it was opened; open it again",
                keyloom_common::error::redact(&self.spec.path)
            )));
        }
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&description);
        Ok(description)
    }
}

pub(super) fn scan_table(description: &InputDescription) -> ScanTable {
    ScanTable {
        layout: description.layout.clone(),
        location: description.location.clone(),
        file_schema: Arc::clone(&description.file_schema),
        partition_schema: Arc::clone(&description.partition_schema),
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let description = self.describe().await?;
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let partitions = partitions(&description, &self.link.settings);
        if partitions.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&projection)?))));
        }
        let table = Arc::new(scan_table(&description));
        let scan = InputScanExec::try_new(table, projection, limit, partitions)?;
        let scan = scan.with_pin(self.spec.pin.clone());
        Ok(Arc::new(scan.with_asked(self.asked())))
    }

    /// As of the last look: it decides no more than what is cheap.
    fn statistics(&self) -> Option<Statistics> {
        let described = Arc::clone(&self.described.lock().unwrap_or_else(PoisonError::into_inner));
        let pieces = described.files.iter().flat_map(|file| &file.pieces);
        let rows: u64 = pieces.map(|piece| piece.rows).sum::<Option<u64>>()?;
        let num_rows = Precision::Inexact(usize::try_from(rows).ok()?);
        Some(Statistics { num_rows, ..Statistics::new_unknown(&self.schema) })
    }
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTable").field("spec", &self.spec).finish_non_exhaustive()
    }
}
