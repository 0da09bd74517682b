//! A dataset as a table: its rows in the order of its fragments, deleted ones left out.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    common::Column as ColumnName,
    logical_expr::{Expr, Operator, binary_expr},
    physical_expr::{
        PhysicalExpr,
        expressions::{
            BinaryExpr, Column as PhysicalColumn, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
            NotExpr,
        },
        split_conjunction,
    },
};
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, error::redact, input::FragmentMark};
use lance::datatypes::BlobHandling;

use super::{
    column::{Column, projection},
    error::from_lance,
    files::read::given,
    handle::LanceHandle,
    identity::fragment_mark,
    reading, tasks,
    values::widths::Widths,
};

/// What is wanted of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct DatasetScan {
    /// The columns, as indices into those that lookups can return.
    pub(crate) columns: Vec<usize>,
    /// The fragments, by their places in the manifest.
    pub(crate) fragments: Range<usize>,
    /// Rows of these fragments, by their places from 0, deleted ones not counted; all if absent.
    pub(crate) rows: Option<Range<usize>>,
    /// A condition over the wanted columns. Rows for which it is not true may be left out.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    /// The most rows of a batch.
    pub(crate) batch_rows: usize,
}

impl LanceHandle {
    /// How many rows each fragment has, deleted ones not counted.
    ///
    /// # Errors
    /// `store` if the deletions of a fragment cannot be read.
    pub(crate) async fn fragment_rows(self: &Arc<Self>) -> Result<Vec<u64>> {
        let futures = self.dataset.get_fragments().into_iter().map(|fragment| async move {
            let rows = fragment.count_rows(None).await.map_err(from_lance)?;
            Ok(rows as u64)
        });
        let futures: Vec<_> = futures.collect();
        let rows = tasks::run_all(futures, self.settings.reads_in_flight);
        let rows = self.watch.bounded(|| self.doing("counting rows"), self.watch.read(rows)).await;
        rows.map_err(|error| self.scrub.clean(error))
    }

    /// What each fragment is known by.
    pub(crate) fn fragment_marks(&self) -> Vec<FragmentMark> {
        let manifest = &self.dataset.manifest;
        manifest.fragments.iter().map(|fragment| fragment_mark(manifest, fragment)).collect()
    }

    /// The rows of some fragments.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read; later errors come through the stream.
    pub(crate) async fn scan_dataset(
        self: Arc<Self>,
        scan: DatasetScan,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let name = |&column: &usize| self.schema.field(column).name();
        let columns = scan.columns.iter().map(name).map(|name| self.column(name));
        let columns: Arc<[Arc<Column>]> = columns.collect::<Result<Vec<_>>>()?.into();
        let wanted = Arc::new(self.schema.project(&scan.columns)?);
        let mut scanner = self.dataset.scan();
        let read = projection(columns.iter().map(AsRef::as_ref));
        scanner.project_with_schema(&read).map_err(from_lance)?;
        scanner.blob_handling(BlobHandling::AllBinary);
        // Without a column there would be no rows.
        scanner.with_row_address();
        let fragments = self.dataset.manifest.fragments.get(scan.fragments.clone());
        let fragments = fragments.ok_or_else(|| Error::internal("no such fragments"))?;
        scanner.with_fragments(fragments.to_vec()).scan_in_order(true);
        let row_bytes = self.row_bytes(&columns, scan.fragments.clone());
        let row_bytes = self.watch.bounded(|| self.doing(&reading(&wanted)), row_bytes).await;
        let row_bytes = row_bytes.map_err(|error| self.scrub.clean(error))?;
        let rows = self.settings.read_bytes as u64 / row_bytes.max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).min(scan.batch_rows);
        scanner.batch_size(rows.max(1));
        scanner.io_buffer_size(self.settings.read_memory_bytes.max(1));
        match &scan.rows {
            Some(rows) => {
                let bound = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
                let length = bound(rows.end.saturating_sub(rows.start));
                scanner.limit(Some(length), Some(bound(rows.start))).map_err(from_lance)?;
            }
            // Rows are counted before a condition is asked.
            None => {
                let condition = scan.predicate.as_ref().and_then(|all| condition(all, &columns));
                if let Some(condition) = condition {
                    scanner.filter_expr(condition);
                }
            }
        }
        let opened = tasks::run(async move { scanner.try_into_stream().await.map_err(from_lance) });
        let opened = self.watch.read(opened);
        let opened = self.watch.bounded(|| self.doing(&reading(&wanted)), opened).await;
        let batches = opened.map_err(|error| self.scrub.clean(error))?;
        let batches = self.watched(batches.map_err(from_lance).boxed(), Arc::clone(&wanted));
        let batches = batches.map(move |batch| answered(&batch?, &columns, &wanted));
        Ok(batches.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
    }

    /// About the bytes of a row of these columns in some fragments.
    async fn row_bytes(
        self: &Arc<Self>,
        columns: &[Arc<Column>],
        fragments: Range<usize>,
    ) -> Result<u64> {
        let layout = self.layout().await?;
        let mut bytes = 0_u64;
        for column in columns {
            let typical = Widths::typical_of(self, layout, column, fragments.clone()).await?;
            bytes = bytes.saturating_add(typical);
        }
        Ok(bytes)
    }

    /// The batches as long as the next one comes. Empty ones are among them, so that a condition
    /// which is met by few rows does not look like silence.
    fn watched(
        self: Arc<Self>,
        batches: BoxStream<'static, Result<RecordBatch>>,
        columns: SchemaRef,
    ) -> impl Stream<Item = Result<RecordBatch>> {
        let state = (self, batches, columns);
        stream::try_unfold(state, |(handle, mut batches, columns)| async move {
            let watch = &handle.watch;
            let next = watch.read(batches.try_next());
            let next = watch.bounded(|| handle.doing(&reading(&columns)), next).await;
            let next = next.map_err(|error| handle.scrub.clean(error))?;
            Ok::<_, Error>(next.map(|batch| (batch, (handle, batches, columns))))
        })
    }

    /// What is being done, as messages say it.
    fn doing(&self, what: &str) -> String {
        format!("the Lance dataset at {}: {what}", redact(&self.spec.uri))
    }
}

/// What was read, as the table answers it.
fn answered(
    batch: &RecordBatch,
    columns: &[Arc<Column>],
    wanted: &Arc<Schema>,
) -> Result<RecordBatch> {
    let values = columns.iter().map(|column| column.answer(given(batch, column.name())?));
    let values = values.collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(wanted), values, &options)?)
}

/// Those parts of a condition that Lance understands.
fn condition(all: &Arc<dyn PhysicalExpr>, columns: &[Arc<Column>]) -> Option<Expr> {
    let parts = split_conjunction(all).into_iter().filter_map(|part| logical(part, columns));
    parts.reduce(Expr::and)
}

/// A condition as Lance takes it, if it is of plain columns, values and comparisons.
fn logical(expr: &Arc<dyn PhysicalExpr>, columns: &[Arc<Column>]) -> Option<Expr> {
    let of = |expr: &Arc<dyn PhysicalExpr>| logical(expr, columns);
    if let Some(column) = expr.downcast_ref::<PhysicalColumn>() {
        let column = columns.get(column.index()).filter(|column| column.is_as_stored())?;
        return Some(Expr::Column(ColumnName::from_name(column.name())));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Some(Expr::Literal(literal.value().clone(), None));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let op = *binary.op();
        use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
        let known = matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or);
        let (left, right) = (of(binary.left())?, of(binary.right())?);
        return known.then(|| binary_expr(left, op, right));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(!of(not.arg())?);
    }
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        return Some(of(is_null.arg())?.is_null());
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        return Some(of(is_not_null.arg())?.is_not_null());
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let items = list.list().iter().map(of).collect::<Option<Vec<_>>>()?;
        return Some(of(list.expr())?.in_list(items, list.negated()));
    }
    None
}
