//! A lookup node as bytes, beside what DataFusion's own codec writes of its input.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    execution::TaskContext, physical_expr::PhysicalExpr, physical_plan::ExecutionPlan,
};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Fetch, KvLookupExec, Wave};
use crate::{
    BlobId,
    error::{Error, Result},
    plan::{decode_expr, encode_expr},
    rpc::bincode,
    store::{Access, ResolvedStore},
};

/// The node without its input. Expressions are DataFusion's protobuf.
#[derive(Serialize, Deserialize)]
struct Node {
    waves: Vec<Vec<FetchNode>>,
    first_rows: Option<usize>,
    counted_by: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct FetchNode {
    store: Arc<ResolvedStore>,
    key: Vec<u8>,
    calls: Vec<CallNode>,
    batch_size: Option<std::num::NonZeroUsize>,
    access: Access,
    reason: Option<String>,
    joined: Option<String>,
    key_set: Option<BlobId>,
}

#[derive(Serialize, Deserialize)]
struct CallNode {
    name: String,
    answer: Answer,
    guard: Option<Vec<u8>>,
}

/// Writes the node without its input.
pub(crate) fn encode(exec: &KvLookupExec, codec: &dyn PhysicalExtensionCodec) -> Result<Vec<u8>> {
    let call = |call: &Call| -> Result<CallNode> {
        let guard = call.guard.as_ref().map(|guard| encode_expr(guard, codec)).transpose()?;
        Ok(CallNode { name: call.name.clone(), answer: call.answer.clone(), guard })
    };
    let fetch = |fetch: &Fetch| -> Result<FetchNode> {
        Ok(FetchNode {
            store: Arc::clone(&fetch.store),
            key: encode_expr(&fetch.key, codec)?,
            calls: fetch.calls.iter().map(call).collect::<Result<_>>()?,
            batch_size: fetch.batch_size,
            access: fetch.access.clone(),
            reason: fetch.reason.clone(),
            joined: fetch.joined.clone(),
            key_set: fetch.key_set,
        })
    };
    let waves = exec
        .waves()
        .iter()
        .map(|wave| wave.fetches.iter().map(fetch).collect())
        .collect::<Result<_>>()?;
    let (first_rows, counted_by) = (exec.first_rows(), exec.counted_by());
    bincode::encode(&Node { waves, first_rows, counted_by })
}

/// Reads the node and puts it over its input.
pub(crate) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
    context: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<KvLookupExec> {
    let node: Node = bincode::decode(bytes)?;
    let mut schema = input.schema();
    check_counted_by(node.counted_by, &schema)?;
    let mut waves = Vec::with_capacity(node.waves.len());
    for fetches in node.waves {
        let expr = |bytes: &[u8]| decode_expr(bytes, &schema, context, codec);
        let wave = decode_wave(fetches, &expr)?;
        schema = wave.extend_schema(&schema)?;
        waves.push(wave);
    }
    let lookup = KvLookupExec::try_new(input, waves)?;
    Ok(lookup.with_first_rows(node.first_rows).with_counted_by(node.counted_by))
}

/// Refuses rows that are counted by something else than a column of numbers.
fn check_counted_by(counted_by: Option<usize>, schema: &Schema) -> Result<()> {
    let Some(column) = counted_by else { return Ok(()) };
    match schema.fields().get(column).map(|field| field.data_type()) {
        Some(DataType::Int64) => Ok(()),
        _ => Err(Error::invalid(format!(
            "a plan from a peer counts the rows of a lookup by column {column}, which is none of \
             64-bit integers"
        ))),
    }
}

fn decode_wave(
    fetches: Vec<FetchNode>,
    expr: &impl Fn(&[u8]) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<Wave> {
    let call = |call: CallNode| -> Result<Call> {
        let guard = call.guard.as_deref().map(expr).transpose()?;
        Ok(Call { name: call.name, answer: call.answer, guard })
    };
    let fetch = |fetch: FetchNode| -> Result<Fetch> {
        Ok(Fetch {
            key: expr(&fetch.key)?,
            store: fetch.store,
            calls: fetch.calls.into_iter().map(call).collect::<Result<_>>()?,
            batch_size: fetch.batch_size,
            access: fetch.access,
            reason: fetch.reason,
            joined: fetch.joined,
            key_set: fetch.key_set,
        })
    };
    Ok(Wave { fetches: fetches.into_iter().map(fetch).collect::<Result<_>>()? })
}
