//! One measurement, made in a process of its own so that caches are cold and memory is this
//! measurement's alone.

mod alone;
mod digest;
mod groups;
mod idle_workers;
mod job;
mod joins;
mod planning;
mod raw;
mod row_groups;
mod scheduler;
mod store;
mod strangers;
mod stream;
mod tasks;
mod tpch;
mod watched;
mod write;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail};
use arrow::array::{Array, RecordBatch};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    data::Data,
    process,
    raw::Strategies,
    storage::Storage,
    workloads::{Variant, Workload},
};

/// What to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Order {
    #[arg(long)]
    pub(crate) workload: String,
    #[arg(long)]
    pub(crate) variant: Variant,
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The address of a server to read the stores from, instead of the folder
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// How raw calls read values, by store, as JSON; without it the answer is what is best
    #[arg(long)]
    pub(crate) strategies: Option<String>,
    /// Also compute a digest of the result, when all else is measured
    #[arg(long)]
    pub(crate) digest: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Measurement {
    /// How long parts of the work took, by name: `cold` and `warm` are whole jobs.
    pub(crate) seconds: BTreeMap<String, f64>,
    /// The most memory that processes held, in bytes: `process` is the one that measures.
    pub(crate) peaks: BTreeMap<String, u64>,
    /// What else was counted.
    pub(crate) counts: BTreeMap<String, f64>,
    /// The same for the same rows in the same order.
    pub(crate) digest: Option<u64>,
    /// The better ways to read values, if that was the question.
    pub(crate) strategies: Option<Strategies>,
}

/// What a measurement is made with.
#[derive(Debug)]
struct Bench {
    workload: Workload,
    variant: Variant,
    data: Data,
    storage: Storage,
    digest: bool,
}

impl Order {
    /// Makes the measurement.
    pub(crate) async fn carry_out(self) -> Result<Measurement> {
        let data = Data::at(&self.data);
        let bench = Bench {
            workload: Workload::named(&self.workload)?,
            variant: self.variant,
            storage: Storage::new(data.clone(), self.endpoint),
            data,
            digest: self.digest,
        };
        match self.variant {
            Variant::Raw => match &self.strategies {
                None => raw::choose(&bench).await,
                Some(json) => raw::measure(&bench, &serde_json::from_str(json)?).await,
            },
            _ if bench.workload.is_written() => write::measure(&bench).await,
            _ if bench.workload.is_grouped() => groups::measure(&bench).await,
            Variant::DataFusion => bail!("DataFusion alone neither writes nor groups here"),
            Variant::Embedded
            | Variant::OneWorker
            | Variant::TwoWorkers
            | Variant::OneSlot
            | Variant::TwoSlots
            | Variant::Mtls => job::measure(&bench).await,
            Variant::Stream => stream::measure(&bench).await,
            Variant::Store => store::measure(&bench).await,
            Variant::Tasks => tasks::measure().await,
            Variant::IdleWorkers => idle_workers::measure(&bench).await,
            Variant::Scheduler => scheduler::measure(),
            Variant::ManyFiles | Variant::OneFile => row_groups::measure(&bench).await,
            Variant::ByCost | Variant::Lookup | Variant::Scan if bench.workload.is_tpch() => {
                tpch::measure(&bench).await
            }
            Variant::ByCost | Variant::Lookup | Variant::Scan | Variant::KvGet => {
                joins::measure(&bench).await
            }
            Variant::Planning => planning::measure().await,
            Variant::Watched => watched::measure(&bench).await,
            Variant::Strangers => strangers::measure(&bench).await,
        }
    }
}

impl Measurement {
    fn add_seconds(&mut self, name: &str, seconds: f64) {
        self.seconds.insert(name.to_owned(), seconds);
    }

    /// Notes the most memory that this process has held until now.
    fn add_own_peak(&mut self) -> Result<()> {
        self.peaks.insert("process".to_owned(), process::peak_bytes(std::process::id())?);
        Ok(())
    }

    /// Counts a result, and its digest if that is asked for.
    fn add_result(&mut self, result: &[RecordBatch], digest: bool) -> Result<()> {
        let rows: usize = result.iter().map(RecordBatch::num_rows).sum();
        let columns = result.iter().flat_map(RecordBatch::columns);
        let bytes = columns.map(|column| column.to_data().get_slice_memory_size());
        let bytes: usize = bytes.sum::<Result<_, _>>().context("the size of a column")?;
        self.counts.insert("rows".to_owned(), rows as f64);
        self.counts.insert("result_bytes".to_owned(), bytes as f64);
        if digest {
            self.digest = Some(digest::of(result)?);
        }
        Ok(())
    }
}
