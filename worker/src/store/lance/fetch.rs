//! From rows to values, for each column by the cheaper way: through its blocks, or row by row.

use std::sync::Arc;

use futures::future::try_join_all;
use keyloom_common::{Error, Result, store::RowPath};

use super::{
    blocks::Blocks, column::Column, cost::Costs, handle::LanceHandle, layout::Layout, row::Row,
    take::take,
};
use crate::store::{Fetched, Values};

/// The columns of a fetch, by the way that each is read.
#[derive(Debug, Default)]
struct Split {
    scanned: Vec<(usize, Arc<Blocks>)>,
    taken: Vec<(usize, Arc<Column>)>,
    /// About how many bytes a row of the taken columns has.
    taken_width: u64,
}

impl LanceHandle {
    /// The values at these live rows, in any order, by column.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        columns: &[Arc<Column>],
        rows: &[Row],
        path: RowPath,
    ) -> Result<(Vec<Values>, Fetched)> {
        let layout = self.layout().await?;
        let split = self.split(columns, rows, path, layout).await?;
        let scans = split.scanned.iter().map(async |(index, blocks)| {
            let (values, fetched) = blocks.values(self, layout, rows).await?;
            Ok::<_, Error>((vec![(*index, values)], fetched))
        });
        let take = async {
            let (indices, columns): (Vec<_>, Vec<_>) = split.taken.iter().cloned().unzip();
            if columns.is_empty() {
                return Ok(Default::default());
            }
            let (values, fetched) = take(self, layout, &columns, rows, split.taken_width).await?;
            Ok((indices.into_iter().zip(values).collect(), fetched))
        };
        let (scanned, taken) = tokio::try_join!(try_join_all(scans), take)?;
        let mut fetched = Fetched::default();
        let mut all: Vec<(usize, Values)> = Vec::with_capacity(columns.len());
        for (values, read) in scanned.into_iter().chain([taken]) {
            fetched.add(&read);
            all.extend(values);
        }
        all.sort_by_key(|(index, _)| *index);
        Ok((all.into_iter().map(|(_, values)| values).collect(), fetched))
    }

    async fn split(
        &self,
        columns: &[Arc<Column>],
        rows: &[Row],
        path: RowPath,
        layout: &Layout,
    ) -> Result<Split> {
        let mut split = Split::default();
        for (index, column) in columns.iter().enumerate() {
            let width = column.width(self, layout).await?;
            let blocks = Blocks::new(self, column.clone(), layout).await?;
            if self.scans(&blocks, width, rows, path, layout) {
                split.scanned.push((index, Arc::new(blocks)));
            } else {
                split.taken_width += width;
                split.taken.push((index, column.clone()));
            }
        }
        Ok(split)
    }

    /// Whether to read the column's blocks.
    fn scans(
        &self,
        blocks: &Blocks,
        width: u64,
        rows: &[Row],
        path: RowPath,
        layout: &Layout,
    ) -> bool {
        if let Some(forced) = self.spec.access.rows {
            return forced == RowPath::Scan;
        }
        let costs = Costs::of(self, layout, blocks, rows, width);
        costs.prefer_blocks(path, |saved| blocks.column().save(saved))
    }
}
