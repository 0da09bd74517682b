//! Plans made by hand: what no query needs, what is no plan, and what is out of bounds is refused,
//! and nothing of it is done.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use datafusion::{
    parquet::arrow::ArrowWriter,
    physical_plan::{ExecutionPlan, coalesce_partitions::CoalescePartitionsExec},
    prelude::{CsvReadOptions, ParquetReadOptions, SessionConfig, SessionContext},
};
use datafusion_proto::{
    bytes::physical_plan_to_bytes,
    physical_plan::AsExecutionPlan,
    protobuf::{PhysicalExtensionNode, PhysicalPlanNode, physical_plan_node::PhysicalPlanType},
};
use keyloom_client::{Error, ErrorKind};
use keyloom_common::{plan::encode_plan, rpc::Submission};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    SMALL_WINDOW, check_rest,
    clients::{Raw, names, submission},
    connect, start,
};
use crate::harness::{Cluster, batch, ints};

/// A plan that the coordinator runs by itself.
const VALUES: &str =
    "SELECT n + 1 AS next FROM (VALUES (3), (1), (2)) AS v(n) WHERE n > 1 ORDER BY n";

/// A session of DataFusion's own.
fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
}

async fn plan(context: &SessionContext, sql: &str) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(context.sql(sql).await?.create_physical_plan().await?)
}

fn job(plan: Vec<u8>) -> Submission {
    submission(Bytes::from(plan).into())
}

/// Why a job by hand is refused.
async fn refusal(client: &Raw, job: Submission) -> Result<Error> {
    let error = client.submit(job).await.err().context("it was accepted")?;
    let kinds = [ErrorKind::Invalid, ErrorKind::Internal, ErrorKind::ResourceExhausted];
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
    Ok(error)
}

/// The node as bytes within a node of Keyloom's own, as what is nested deep is written.
fn folded(plan: &[u8]) -> Result<Vec<u8>> {
    let node = [&[0xff][..], plan].concat();
    let node = PhysicalPlanType::Extension(PhysicalExtensionNode { node, inputs: Vec::new() });
    let mut bytes = Vec::new();
    PhysicalPlanNode { physical_plan_type: Some(node) }.try_encode(&mut bytes)?;
    Ok(bytes)
}

/// Refuses a plan for one of its nodes: as it is, below another, and folded.
async fn check_node(client: &Raw, plan: Arc<dyn ExecutionPlan>, node: &str) -> Result<()> {
    let above = Arc::new(CoalescePartitionsExec::new(Arc::clone(&plan)));
    let plain = physical_plan_to_bytes(plan)?.to_vec();
    let below = physical_plan_to_bytes(above)?.to_vec();
    for bytes in [folded(&plain)?, folded(&below)?, plain, below] {
        let error = refusal(client, job(bytes)).await?;
        let message = format!("a plan from a peer holds {node}, which no query needs");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message.as_str()));
    }
    Ok(())
}

/// All goes on as before.
async fn check_cluster(cluster: &Cluster) -> Result<()> {
    cluster.wait_for_workers(1).await?;
    let session = connect(cluster).await?;
    check_rest(start(&session).await?, Vec::new()).await
}

#[tokio::test]
async fn plans_that_write_files_are_refused_and_write_none() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    let client = Raw::connect(&cluster).await?;
    let folder = tempfile::tempdir()?;
    for format in ["csv", "json", "parquet"] {
        let path = folder.path().join(format!("out.{format}"));
        let sql = format!("COPY (SELECT 1 AS n) TO '{}' STORED AS {format}", path.display());
        check_node(&client, plan(&context(), &sql).await?, "DataSinkExec").await?;
    }
    check_cluster(&cluster).await?;
    assert!(names(folder.path())?.is_empty());
    Ok(())
}

fn write_files(folder: &Path) -> Result<[String; 2]> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let [csv, parquet] = [path("t.csv"), path("t.parquet")];
    fs::write(&csv, "n\n1\n")?;
    let rows = batch([("n", ints([1]))]);
    let mut writer = ArrowWriter::try_new(File::create(&parquet)?, rows.schema(), None)?;
    writer.write(&rows)?;
    writer.close()?;
    Ok([csv, parquet])
}

#[tokio::test]
async fn plans_that_read_files_in_the_coordinator_are_refused() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    let client = Raw::connect(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let [csv, parquet] = write_files(folder.path())?;
    let context = context();
    context.register_csv("csv", csv, CsvReadOptions::new()).await?;
    context.register_parquet("parquet", parquet, ParquetReadOptions::default()).await?;
    for table in ["csv", "parquet"] {
        let plan = plan(&context, &format!("SELECT n FROM {table}")).await?;
        check_node(&client, plan, "DataSourceExec with files").await?;
    }
    check_cluster(&cluster).await
}

#[tokio::test]
async fn bytes_that_are_no_plan_are_refused() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    let client = Raw::connect(&cluster).await?;
    let mut noise = SmallRng::seed_from_u64(1);
    for length in 0..200 {
        let mut bytes = vec![0_u8; length];
        noise.fill(&mut bytes[..]);
        refusal(&client, job(bytes)).await.with_context(|| format!("{length} bytes"))?;
    }
    let whole = encode_plan(&plan(&context(), VALUES).await?)?.to_vec();
    for length in (0..whole.len()).step_by(7) {
        let cut = job(whole[..length].to_vec());
        refusal(&client, cut).await.with_context(|| format!("{length} bytes"))?;
    }
    let whole = job(whole);
    let id = whole.id;
    client.submit(whole).await?;
    assert_eq!(client.rows(id).await?.0.column(0), &ints([3, 4]));
    check_cluster(&cluster).await
}

#[tokio::test]
async fn jobs_out_of_bounds_are_refused() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    let client = Raw::connect(&cluster).await?;
    let plan = encode_plan(&plan(&context(), VALUES).await?)?.to_vec();
    for batch_rows in [0, (1 << 24) + 1, u32::MAX] {
        let error = refusal(&client, Submission { batch_rows, ..job(plan.clone()) }).await?;
        let message = format!(
            "the session's setting batch_rows must be between 1 and 16777216, not {batch_rows}"
        );
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message.as_str()));
    }
    // Still less than a frame may hold.
    let error = refusal(&client, job(vec![0; (12 << 20) + 1])).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    let message = "the plan takes 12582913 bytes, more than max_plan_bytes = 12582912";
    assert!(error.message().starts_with(message), "{error}");
    check_cluster(&cluster).await
}
