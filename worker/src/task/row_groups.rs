//! Parquet row groups of which a task wants some rows only.
//!
//! A limit over a scan drops what stands before the wanted rows once it is decoded. If the scan knows
//! which rows are wanted, it passes over the pages before them.

use std::{ops::Range, sync::Arc};

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource,
            parquet::{ParquetAccessPlan, RowGroupAccess},
        },
        source::DataSourceExec,
    },
    error::{DataFusionError, Result},
    parquet::{
        arrow::arrow_reader::{RowSelection, RowSelector},
        file::metadata::{ParquetMetaData, RowGroupMetaData},
    },
    physical_plan::{ExecutionPlan, limit::GlobalLimitExec, metrics::ExecutionPlanMetricsSet},
};

/// The plan, its limit over a row group turned into a scan of the wanted rows. Other plans stay as
/// they are.
pub(super) async fn select_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(limit) = limit_over_scan(&plan)? else { return Ok(plan) };
    let Some(scan) = selecting_scan(&limit).await? else { return Ok(plan) };
    let replace = |node: Arc<dyn ExecutionPlan>| {
        Ok(if Arc::ptr_eq(&node, &limit) {
            Transformed::yes(Arc::clone(&scan))
        } else {
            Transformed::no(node)
        })
    };
    plan.transform_up(replace).data()
}

fn limit_over_scan(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut found = None;
    plan.apply(|node| {
        let limit = node.downcast_ref::<GlobalLimitExec>();
        if limit.is_some_and(|limit| limit.input().is::<DataSourceExec>()) {
            found = Some(Arc::clone(node));
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A scan of the rows that a limit lets pass, if they stand in one row group.
async fn selecting_scan(limit: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(limit) = limit.downcast_ref::<GlobalLimitExec>() else { return Ok(None) };
    let Some(config) = scan_config(limit.input()) else { return Ok(None) };
    let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else {
        return Ok(None);
    };
    let [group] = config.file_groups.as_slice() else { return Ok(None) };
    let [file] = group.files() else { return Ok(None) };
    let Some(metadata) = metadata(source, file).await? else { return Ok(None) };
    let Some(group) = only_row_group(file, &metadata) else { return Ok(None) };
    let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
    let given = config.limit.map_or(rows, |limit| limit.min(rows));
    let start = limit.skip().min(given);
    let end = limit.fetch().map_or(given, |fetch| start.saturating_add(fetch).min(given));
    let access = access_plan(&metadata, group, start..end, rows);
    let file = file.clone().with_extension(access);
    let config = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(vec![FileGroup::new(vec![file])])
        .build();
    Ok(Some(DataSourceExec::from_data_source(config)))
}

fn scan_config(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// What stands at the end of the file. The worker keeps it for the scan, and for other tasks.
async fn metadata(
    source: &ParquetSource,
    file: &PartitionedFile,
) -> Result<Option<Arc<ParquetMetaData>>> {
    let Some(readers) = source.parquet_file_reader_factory() else { return Ok(None) };
    let metrics = ExecutionPlanMetricsSet::new();
    let mut reader = readers.create_reader(0, file.clone(), None, &metrics)?;
    let metadata = reader.get_metadata(None).await;
    metadata.map(Some).map_err(|error| DataFusionError::ParquetError(Box::new(error)))
}

/// The row group in the file's range, if there is one alone.
fn only_row_group(file: &PartitionedFile, metadata: &ParquetMetaData) -> Option<usize> {
    let in_range = |group: &RowGroupMetaData| {
        // Where DataFusion takes a row group to start.
        let column = group.columns().first()?;
        let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        Some(file.range.as_ref().is_none_or(|range| range.contains(start)))
    };
    let groups = metadata.row_groups().iter().enumerate();
    let mut groups = groups.filter(|(_, group)| in_range(group) == Some(true));
    let (only, _) = groups.next()?;
    groups.next().is_none().then_some(only)
}

fn access_plan(
    metadata: &ParquetMetaData,
    group: usize,
    wanted: Range<usize>,
    rows: usize,
) -> ParquetAccessPlan {
    let mut access = ParquetAccessPlan::new_none(metadata.num_row_groups());
    let selection = RowSelection::from(vec![
        RowSelector::skip(wanted.start),
        RowSelector::select(wanted.len()),
        RowSelector::skip(rows - wanted.end),
    ]);
    access.set(group, RowGroupAccess::Selection(selection));
    access
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use datafusion::{
        parquet::{
            arrow::ArrowWriter,
            file::reader::{FileReader, SerializedFileReader},
        },
        physical_plan::collect,
        prelude::{ParquetReadOptions, SessionConfig, SessionContext},
    };

    use super::*;

    const ROWS_A_GROUP: i64 = 40;

    /// A file of three row groups.
    fn write(path: &str) {
        let mut writer: Option<ArrowWriter<File>> = None;
        for group in 0..3 {
            let numbers = group * ROWS_A_GROUP..(group + 1) * ROWS_A_GROUP;
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
            let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
            let writer = writer.get_or_insert_with(|| {
                ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap()
            });
            writer.write(&rows).unwrap();
            writer.flush().unwrap();
        }
        writer.unwrap().close().unwrap();
    }

    /// A scan of the row groups that start in a range of bytes.
    async fn scan(
        context: &SessionContext,
        path: &str,
        bytes: Range<i64>,
    ) -> Arc<dyn ExecutionPlan> {
        let frame = context.read_parquet(path, ParquetReadOptions::default()).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let config = scan_config(&plan).unwrap();
        let file = config.file_groups[0].files()[0].clone().with_range(bytes.start, bytes.end);
        let config = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(vec![FileGroup::new(vec![file])])
            .build();
        DataSourceExec::from_data_source(config)
    }

    /// What a plan gives, a column of numbers.
    async fn numbers(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Vec<i64> {
        let batches = collect(plan, context.task_ctx()).await.unwrap();
        let columns = batches.iter().map(|batch| batch.column(0).as_primitive());
        columns.flat_map(|numbers: &Int64Array| numbers.values().to_vec()).collect()
    }

    #[tokio::test]
    async fn a_limit_over_a_row_group_becomes_a_scan_of_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let path = path.to_str().unwrap();
        write(path);
        let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let second = file.metadata().row_group(1).column(0);
        let start = second.dictionary_page_offset().unwrap();
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let (one, all) = (start..start + 1, 0..i64::MAX);
        let limits = [(0, Some(10)), (5, None), (39, Some(5)), (40, Some(1)), (7, Some(0))];
        for (skip, fetch) in limits {
            for (bytes, first, rows, selects) in [(&one, 40, 40, true), (&all, 0, 120, false)] {
                let scan = scan(&context, path, bytes.clone()).await;
                let limit = Arc::new(GlobalLimitExec::new(scan, skip, fetch));
                let plan = select_rows(limit).await.unwrap();
                assert_eq!(plan.is::<DataSourceExec>(), selects, "{skip} {fetch:?}");
                let found = numbers(plan, &context).await;
                let end = fetch.map_or(rows, |fetch| rows.min((skip + fetch) as i64));
                let expected = first + skip as i64..first + end;
                assert_eq!(found, expected.collect::<Vec<_>>(), "{skip} {fetch:?}");
            }
        }
        // A limit of the scan itself counts from the first row of the row group.
        for (skip, expected) in [(0, 40..44), (2, 42..44), (4, 44..44), (20, 44..44)] {
            let config = scan_config(&scan(&context, path, one.clone()).await).unwrap().clone();
            let config = FileScanConfigBuilder::from(config).with_limit(Some(4)).build();
            let scan = DataSourceExec::from_data_source(config);
            let plan = select_rows(Arc::new(GlobalLimitExec::new(scan, skip, None))).await.unwrap();
            assert_eq!(numbers(plan, &context).await, expected.collect::<Vec<_>>(), "{skip}");
        }
    }
}
