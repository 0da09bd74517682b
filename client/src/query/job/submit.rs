//! How a job is submitted: once, and cancelled if nobody waits for that to end.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    dataframe::DataFrame,
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    BlobId, Error, ErrorCode, ErrorKind, JobId, Result,
    group_keys::GroupKeys,
    output::{OutputSpec, committed_schema},
    plan::{FrameScanExec, encode_plan},
    rpc::Submission,
    trace::TraceParent,
};
use tracing::{Instrument, Span};

use super::{Job, forget};
use crate::{
    link::Link,
    query::{
        JobOptions, SubmitExec, check_depth,
        pin::{pin_snapshots, stores},
        with_group_keys,
        written::prepared,
    },
};

impl Job {
    pub(crate) async fn submit(query: DataFrame, options: JobOptions) -> Result<Self> {
        check_depth(query.logical_plan())?;
        if options.discard && options.output.is_some() {
            return Err(Error::invalid(
                "discard drops a job's rows, and output has workers write them; leave out one of \
                 them",
            ));
        }
        if options.keep_missed && options.detached {
            return Err(Error::invalid(
                "keep_missed has the rows that missed their keys told to whoever takes a job's \
                 rows, and detached lets nobody wait for it; leave out one of them",
            ));
        }
        // Of rows that were grouped below, nobody could tell which missed their keys.
        let query = match options.keep_missed {
            true => with_group_keys(query, GroupKeys::Never),
            false => query,
        };
        let plan = query.create_physical_plan().await?;
        match plan.downcast_ref::<SubmitExec>() {
            Some(submit) if submit.returns_rows() => submit.start(options).await,
            _ => Err(Error::invalid("this statement explains or writes; it is no job of its own")),
        }
    }

    pub(crate) async fn start(
        link: Arc<Link>,
        plan: Arc<dyn ExecutionPlan>,
        output: Option<OutputSpec>,
        options: JobOptions,
    ) -> Result<Self> {
        let id = options.id.unwrap_or_else(JobId::new);
        let span = tracing::error_span!("job", job = %id, otel.kind = "client");
        Self::start_within(span.clone(), id, link, plan, output, options).instrument(span).await
    }

    async fn start_within(
        span: Span,
        id: JobId,
        link: Arc<Link>,
        plan: Arc<dyn ExecutionPlan>,
        output: Option<OutputSpec>,
        options: JobOptions,
    ) -> Result<Self> {
        // A job that was submitted before would be refused for what it has written itself.
        if output.is_some() && options.id.is_some() && is_known(&link, id).await? {
            return Ok(Self::attached(link, id, Some(committed_schema()), span));
        }
        let rows = plan.schema();
        let plan = pin_snapshots(&link, plan).await?;
        let (plan, schema) = match output {
            Some(output) => (prepared(&link, plan, output).await?, committed_schema()),
            None => (plan, rows),
        };
        let submission = Submission {
            id,
            plan: encode_plan(&plan)?.into(),
            batch_rows: link.settings.batch_rows,
            discard: options.discard,
            misses: options.misses(&link.settings),
            terms: options.terms(),
            trace: TraceParent::of(&span),
        };
        // Also if the caller gives up while it is being submitted. One that goes on by itself, of
        // an id of the caller's own, may run since an earlier try, and is found by the next one.
        let is_found_again = options.detached && options.id.is_some();
        let unless_started = CancelOnDrop { link: &link, id: (!is_found_again).then_some(id) };
        send_contents(&link, &plan).await?;
        match link.connection.submit(submission.clone()).await {
            // What no job used yet may have made room for others.
            Err(error) if error.code() == Some(ErrorCode::BlobGone) => {
                send_contents(&link, &plan).await?;
                link.connection.submit(submission).await?;
            }
            submitted => submitted?,
        }
        unless_started.disarm();
        let mut job = Self::attached(link, id, Some(schema), span);
        job.is_detached = options.detached;
        Ok(job)
    }
}

/// A job that is cancelled when this is dropped.
struct CancelOnDrop<'a> {
    link: &'a Arc<Link>,
    id: Option<JobId>,
}

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            forget(self.link, id);
        }
    }
}

/// Whether a job was submitted before.
async fn is_known(link: &Link, id: JobId) -> Result<bool> {
    match link.connection.job(id).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes sure that the coordinator holds the in-memory tables and stores that a plan reads.
async fn send_contents(link: &Link, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let mut blobs: Vec<BlobId> = Vec::new();
    plan.apply(|node| {
        if let Some(frame) = node.downcast_ref::<FrameScanExec>() {
            blobs.extend(frame.partitions().iter().map(|partition| partition.blob));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for store in stores(plan)? {
        blobs.extend(store.spec.content);
    }
    blobs.sort();
    blobs.dedup();
    for blob in blobs {
        let bytes = link.contents.get(blob)?;
        link.connection.ensure_blob(blob, &bytes).await?;
    }
    Ok(())
}
