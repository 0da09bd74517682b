//! From rows to values, for each column by the cheaper way: through its blocks, or row by row.

use std::sync::Arc;

use futures::future::try_join_all;
use keyloom_common::{Error, Result, store::RowPath};

use super::{
    blocks::{Blocks, Touched, are_small, values_together},
    cost::{Costs, of_absent},
    take::take,
};
use crate::store::{
    ReadStats, Values,
    lance::{column::Column, handle::LanceHandle, layout::Layout, row::Row},
};

/// The columns of a fetch, by the way that each is read.
#[derive(Debug, Default)]
struct Split<'a> {
    scanned: Vec<(usize, Arc<Blocks>, Arc<Touched<'a>>)>,
    taken: Vec<(usize, Arc<Blocks>)>,
}

/// Columns that are read in blocks together, or one.
#[derive(Debug)]
struct Scan<'a> {
    indices: Vec<usize>,
    columns: Vec<Arc<Blocks>>,
    touched: Arc<Touched<'a>>,
}

impl<'a> Split<'a> {
    /// The columns to scan: those together that are cut alike, if their blocks are small.
    fn scans(&self) -> Vec<Scan<'a>> {
        let mut alike: Vec<Scan<'a>> = Vec::new();
        for (index, blocks, touched) in &self.scanned {
            match alike.iter_mut().find(|scan| Arc::ptr_eq(&scan.touched, touched)) {
                Some(scan) => {
                    scan.indices.push(*index);
                    scan.columns.push(blocks.clone());
                }
                None => alike.push(Scan::of(*index, blocks, touched)),
            }
        }
        let (mut scans, large): (Vec<Scan<'a>>, Vec<Scan<'a>>) =
            alike.into_iter().partition(|scan| are_small(&scan.columns));
        for Scan { indices, columns, touched } in large {
            let one = |(index, blocks): (usize, &Arc<Blocks>)| Scan::of(index, blocks, &touched);
            scans.extend(indices.into_iter().zip(&columns).map(one));
        }
        scans
    }
}

impl<'a> Scan<'a> {
    fn of(index: usize, blocks: &Arc<Blocks>, touched: &Arc<Touched<'a>>) -> Self {
        Self { indices: vec![index], columns: vec![blocks.clone()], touched: touched.clone() }
    }
}

impl LanceHandle {
    /// The values at these live rows, in any order, by column.
    pub(in crate::store::lance) async fn fetch(
        self: &Arc<Self>,
        columns: &[Arc<Column>],
        rows: &[Row],
        path: RowPath,
    ) -> Result<(Vec<Values>, ReadStats)> {
        let layout = self.layout().await?;
        let blocks = columns.iter().map(|column| Blocks::new(self, column.clone(), layout));
        let blocks: Vec<_> = try_join_all(blocks).await?.into_iter().map(Arc::new).collect();
        let split = self.split(&blocks, rows, path, layout);
        let scans = split.scans().into_iter().map(async |Scan { indices, columns, touched }| {
            let (values, stats) = match columns.as_slice() {
                [blocks] => {
                    let (values, stats) = blocks.values(self, layout, &touched).await?;
                    (vec![values], stats)
                }
                several => values_together(several, self, layout, &touched).await?,
            };
            let read: Vec<(usize, Values)> = indices.into_iter().zip(values).collect();
            Ok::<_, Error>((read, stats))
        });
        let take = async {
            let (indices, columns): (Vec<_>, Vec<_>) = split.taken.iter().cloned().unzip();
            if columns.is_empty() {
                return Ok(Default::default());
            }
            let (values, stats) = take(self, layout, &columns, rows).await?;
            Ok((indices.into_iter().zip(values).collect(), stats))
        };
        let (scanned, taken) = tokio::try_join!(try_join_all(scans), take)?;
        let mut stats = ReadStats::default();
        let mut all: Vec<(usize, Values)> = Vec::with_capacity(columns.len());
        for (values, read) in scanned.into_iter().chain([taken]) {
            stats.add(&read);
            all.extend(values);
        }
        all.sort_by_key(|(index, _)| *index);
        Ok((all.into_iter().map(|(_, values)| values).collect(), stats))
    }

    fn split<'a>(
        &self,
        columns: &'a [Arc<Blocks>],
        rows: &'a [Row],
        path: RowPath,
        layout: &Layout,
    ) -> Split<'a> {
        let mut split = Split::default();
        let mut known: Vec<Arc<Touched<'a>>> = Vec::new();
        for (index, blocks) in columns.iter().enumerate() {
            let touched = known.iter().find(|touched| touched.is_for(blocks.grid())).cloned();
            let touched = touched.unwrap_or_else(|| {
                let touched = Arc::new(Touched::new(blocks.grid(), rows));
                known.push(touched.clone());
                touched
            });
            if self.scans(blocks, &touched, path, layout) {
                split.scanned.push((index, blocks.clone(), touched));
            } else {
                split.taken.push((index, blocks.clone()));
            }
        }
        split
    }

    /// Whether to read the column's blocks.
    fn scans(
        &self,
        blocks: &Blocks,
        touched: &Touched<'_>,
        path: RowPath,
        layout: &Layout,
    ) -> bool {
        if let Some(forced) = self.spec.access.rows {
            return forced == RowPath::Scan;
        }
        let costs = Costs::of(self, layout, blocks, touched);
        let absent = || of_absent(self, layout, blocks, touched);
        costs.prefer_blocks(path, absent, |saved| blocks.column().save(saved))
    }
}
