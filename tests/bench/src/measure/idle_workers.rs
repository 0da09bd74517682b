//! What a task costs the coordinator when nobody does anything for it: a job by hand, of very many
//! tasks, on workers by hand.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    JobId,
    input::{Layout, Location},
    misses::MissPolicy,
    plan::{FileSlice, InputScanExec, ScanPartition, ScanTable, encode_plan},
    rpc::{
        self, ClientApiClient, Credentials, JobTerms, Limits, Next, Submission, handshake::Service,
        in_time,
    },
};

use super::{Bench, Measurement};
use crate::{cluster::Cluster, hands::Hands};

/// Partitions of each job at scale 1, and the tasks that the coordinator cuts each into: one a row.
const SIZES: [(&str, u64); 2] = [("small", 1_000), ("large", 10_000)];
const SLICES: u32 = 100;

const WORKERS: usize = 16;
const SLOTS: u32 = 16;

/// No call takes longer.
const BOUND: Duration = Duration::from_secs(120);

/// For both sizes, each of a cluster of its own: `wall` is the time from the submission to the end,
/// `coordinator` is processor time, both of all tasks. The coordinator's memory is the most that it
/// held, and with `tenth` until a tenth of the tasks was done.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let scale = bench.data.scale()?;
    let mut measured = Measurement::default();
    for (size, partitions) in SIZES {
        let partitions = u32::try_from(scale.rows(partitions))?;
        let (job, tasks) = (job(partitions)?, partitions * SLICES);
        let slices = SLICES.to_string();
        let settings = [
            ("KEYLOOM_COORDINATOR_SLICE_ROWS", "1"),
            ("KEYLOOM_COORDINATOR_ROW_SLICES", slices.as_str()),
        ];
        let cluster = Cluster::coordinator(&settings).await?;
        let mut hands = Hands::register(cluster.address(), WORKERS, SLOTS).await?;

        let before = cluster.coordinator_seconds()?;
        let clock = Instant::now();
        let at_a_tenth = tokio::select! {
            peak = run(&cluster, job, tasks) => peak?,
            error = hands.failed() => return Err(error),
        };
        measured.add_seconds(&format!("wall-{size}"), clock.elapsed().as_secs_f64());
        let coordinator = format!("coordinator-{size}");
        measured.add_seconds(&coordinator, cluster.coordinator_seconds()? - before);
        measured.counts.insert(format!("tasks-{size}"), f64::from(tasks));
        measured.peaks.insert(format!("{coordinator}-tenth"), at_a_tenth);
        measured.peaks.insert(coordinator, cluster.coordinator_peak_bytes()?);
    }
    Ok(measured)
}

/// Runs a job to its end. Returns the most memory that the coordinator held until a tenth of its
/// tasks was done, or about that: it says about each second how many there are.
async fn run(cluster: &Cluster, job: Submission, tasks: u32) -> Result<u64> {
    let (limits, credentials) = (Limits::default(), Credentials::default());
    let transport = rpc::connect(cluster.address(), Service::Client, &limits, &credentials).await?;
    let client = ClientApiClient::new(Default::default(), transport).spawn();
    let id = job.id;
    in_time(BOUND, |context| client.submit(context, job)).await?;
    let mut at_a_tenth = None;
    loop {
        match in_time(BOUND, |context| client.next(context, id, 0)).await? {
            Next::Pending(underway) => {
                if at_a_tenth.is_none() && underway.status.tasks_done >= tasks / 10 {
                    at_a_tenth = Some(cluster.coordinator_peak_bytes()?);
                }
            }
            Next::Chunk { .. } | Next::Missed(_) => bail!("rows came from workers that have none"),
            Next::Done(summary) => {
                let done = summary.tasks;
                ensure!(done == tasks, "{done} of {tasks} tasks were done");
                // All of it may be over within a second.
                return at_a_tenth.map_or_else(|| cluster.coordinator_peak_bytes(), Ok);
            }
        }
    }
}

/// A job over files that nobody opens.
fn job(partitions: u32) -> Result<Submission> {
    let table = ScanTable {
        layout: Layout::Parquet,
        location: Location { url: "file:///".to_owned(), profile: None },
        file_schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        partition_schema: Arc::new(Schema::empty()),
    };
    let partitions = (0..partitions).map(partition).collect();
    let scan = InputScanExec::try_new(Arc::new(table), vec![0], None, partitions)?;
    let plan: Arc<dyn ExecutionPlan> = Arc::new(scan);
    let plan = encode_plan(&plan)?.into();
    let misses = MissPolicy::default();
    let (id, trace) = (JobId::new(), None);
    let terms = JobTerms::default();
    Ok(Submission { id, plan, batch_rows: 8192, discard: true, misses, terms, trace })
}

/// A row group by itself.
fn partition(number: u32) -> ScanPartition {
    const BYTES: u64 = 1 << 20;
    let start = u64::from(number) * BYTES;
    let slice = FileSlice {
        path: "data/rows.parquet".to_owned(),
        size: 1 << 40,
        e_tag: None,
        modified_ns: 1_700_000_000_000_000_000,
        partition_values: Vec::new(),
        bytes: start..start + BYTES,
        rows: Some(u64::from(SLICES)),
        lines_before: 0,
    };
    ScanPartition { slices: vec![slice], rows: None }
}
