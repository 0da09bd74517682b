//! The data: made once from a seed, kept in a folder, and laid out so that any program can read it.
//!
//! ```text
//! DATA/data.json         scale and seed of everything in the folder
//! DATA/items_5m.lance    a store: Lance dataset, key column `id`, fragments of 250,000 rows;
//!                        its columns stand in stores.rs
//! DATA/sparse.parquet    the request table of a workload: the key column that the workload looks
//!                        up (`id`; `ids` where it is a list; `user_id` and `product_id`)
//! DATA/row-groups-100/   the request table of `row-groups` in so many files, once it is measured
//! DATA/write-1/          the request table of `write` in several files, so many times over, once
//!                        it is measured
//! DATA/groups-1/         that of `groups` in several files, likewise
//! DATA/tpch/             TPC-H's tables, once they are measured: `lineitem.parquet`, the others as
//!                        stores
//! ```
//!
//! What a workload looks up is said in `workloads.rs`. Names speak of the full size: at `--scale
//! 0.1`, `items_5m` has 500,000 rows.

pub(crate) mod keys;
pub(crate) mod requests;
pub(crate) mod row_groups;
mod several;
pub(crate) mod stores;
pub(crate) mod tpch;
mod tpch_words;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{RecordBatch, RecordBatchIterator},
    compute::concat_batches,
};
use datafusion::parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use lance::{Dataset, dataset::WriteParams};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::{stores::Store, tpch::Tpch};
use crate::workloads::Workload;

/// Rows of a Lance fragment.
const FRAGMENT_ROWS: usize = 250_000;

/// How large everything is, against the full size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scale(pub(crate) f64);

impl Scale {
    /// Rows at this scale.
    pub(crate) fn rows(self, full: u64) -> u64 {
        ((full as f64 * self.0).round() as u64).max(1)
    }
}

/// What a folder was made with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Recipe {
    scale: Scale,
    seed: u64,
}

/// A folder of stores and request tables.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    folder: PathBuf,
}

impl Data {
    /// What stands in a folder.
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where a store stands.
    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lance"))
    }

    /// Where a workload's request table stands.
    pub(crate) fn requests(&self, workload: &str) -> PathBuf {
        self.folder.join(format!("{workload}.parquet"))
    }

    /// Makes what the workloads need and is not there yet.
    pub(crate) async fn make(&self, scale: Scale, seed: u64, workloads: &[Workload]) -> Result<()> {
        let making = || format!("cannot make data in {}", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(making)?;
        self.check_recipe(&Recipe { scale, seed }).with_context(making)?;
        let wanted = |store: &Store| {
            workloads
                .iter()
                .flat_map(|workload| &workload.calls)
                .any(|call| call.store == store.name)
        };
        for store in stores::all().iter().filter(|store| wanted(store)) {
            self.make_store(store, scale.rows(store.rows), seed).await.with_context(making)?;
        }
        for workload in workloads {
            let path = self.requests(workload.requests_name());
            if !path.exists() {
                let batch = workload.requests.batch(scale, seed)?;
                write_parquet(&batch, &path).with_context(making)?;
            }
        }
        Ok(())
    }

    /// The folder of the request table of `row-groups` in so many files, which is made if it is not
    /// there.
    pub(crate) fn row_groups(&self, files: u64) -> Result<PathBuf> {
        let folder = self.folder.join(format!("row-groups-{files}"));
        if folder.exists() {
            return Ok(folder);
        }
        let unfinished = begin(&folder)?;
        let Recipe { scale, seed } = self.recipe()?;
        row_groups::write(&unfinished, files, scale, seed)?;
        fs::rename(&unfinished, &folder)?;
        Ok(folder)
    }

    /// The folder of a workload's request table in several files, its rows so many times over,
    /// which is made if it is not there.
    pub(crate) fn several(&self, workload: &Workload, times: u64) -> Result<PathBuf> {
        let folder = self.folder.join(format!("{}-{times}", workload.name));
        if folder.exists() {
            return Ok(folder);
        }
        if times == 1 {
            let unfinished = begin(&folder)?;
            let Recipe { scale, seed } = self.recipe()?;
            several::write(&unfinished, &workload.requests.batch(scale, seed)?)?;
            fs::rename(&unfinished, &folder)?;
        } else {
            let once = self.several(workload, 1)?;
            let unfinished = begin(&folder)?;
            several::link(&once, &unfinished, times)?;
            fs::rename(&unfinished, &folder)?;
        }
        Ok(folder)
    }

    /// A folder for what a measurement writes, which goes when this is dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(&self.folder)?)
    }

    /// The folder of TPC-H's tables, which are made if they are not there.
    pub(crate) async fn tpch(&self) -> Result<PathBuf> {
        let folder = self.folder.join("tpch");
        if folder.exists() {
            return Ok(folder);
        }
        let unfinished = begin(&folder)?;
        let Recipe { scale, seed } = self.recipe()?;
        Tpch::new(scale, seed).write(&unfinished).await?;
        fs::rename(&unfinished, &folder)?;
        Ok(folder)
    }

    /// How large everything is.
    pub(crate) fn scale(&self) -> Result<Scale> {
        Ok(self.recipe()?.scale)
    }

    /// How many rows a store has.
    pub(crate) fn rows(&self, name: &str) -> Result<u64> {
        let store = stores::all().into_iter().find(|store| store.name == name);
        let store = store.with_context(|| format!("no store '{name}'"))?;
        Ok(self.recipe()?.scale.rows(store.rows))
    }

    fn recipe(&self) -> Result<Recipe> {
        Ok(serde_json::from_slice(&fs::read(self.recipe_path())?)?)
    }

    fn recipe_path(&self) -> PathBuf {
        self.folder.join("data.json")
    }

    fn check_recipe(&self, recipe: &Recipe) -> Result<()> {
        if !self.recipe_path().exists() {
            return Ok(fs::write(self.recipe_path(), serde_json::to_vec_pretty(recipe)?)?);
        }
        let made = self.recipe()?;
        ensure!(
            made == *recipe,
            "it holds data of scale {} and seed {}; give another --data, or remove it",
            made.scale.0,
            made.seed
        );
        Ok(())
    }

    async fn make_store(&self, store: &Store, rows: u64, seed: u64) -> Result<()> {
        let path = self.store(store.name);
        if path.exists() {
            return Ok(());
        }
        eprintln!("making {} ({rows} rows)", path.display());
        // A name of its own until it is whole.
        let unfinished = path.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let params = WriteParams { max_rows_per_file: FRAGMENT_ROWS, ..WriteParams::default() };
        let reader = RecordBatchIterator::new(store.batches(rows, seed), store.schema());
        let uri = unfinished.to_str().context("the path is not UTF-8")?;
        Dataset::write(reader, uri, Some(params)).await?;
        Ok(fs::rename(&unfinished, &path)?)
    }

    /// Reads a workload's request table as one batch.
    pub(crate) fn read_requests(&self, workload: &Workload) -> Result<RecordBatch> {
        let path = self.requests(workload.requests_name());
        let reading = || format!("cannot read {}", path.display());
        let file = File::open(&path).with_context(reading)?;
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file).with_context(reading)?.build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>().with_context(reading)?;
        let schema = batches.first().with_context(reading)?.schema();
        Ok(concat_batches(&schema, &batches)?)
    }
}

/// An empty folder beside one that is to be made: it gets that one's name when it is whole.
fn begin(folder: &Path) -> Result<PathBuf> {
    eprintln!("making {}", folder.display());
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    Ok(unfinished)
}

fn write_parquet(batch: &RecordBatch, path: &Path) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut writer = ArrowWriter::try_new(File::create(&unfinished)?, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(fs::rename(&unfinished, path)?)
}
