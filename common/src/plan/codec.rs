//! Physical plans as bytes: DataFusion's protobuf, with Keyloom's own nodes as extensions.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use datafusion::{
    error::{DataFusionError, Result},
    execution::TaskContext,
    logical_expr::{AggregateUDF, ScalarUDF},
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    bytes::{
        physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
    },
    physical_plan::PhysicalExtensionCodec,
};
use serde::{Deserialize, Serialize};

use super::{
    FrameScanExec, InletExec, InputScanExec, SpreadExec, allowed,
    expr::{decode_expr, encode_expr},
    frame::FrameNode,
    lost,
    part::{InletNode, check_partitions},
    proto::Folding,
    scan::ScanNode,
};
use crate::{
    error::Error,
    functions::{
        Conditional, ConditionalFunction, GET_FIELD, GetField, KvFunction, NULLABLE, Nullable,
        SINGLE_ROW, SINGLE_VALUE, SingleRow, SingleValue,
    },
    lookup,
    lookup::KvLookupExec,
    output::{PreparedOutput, WriteExec},
    rpc::bincode,
};

/// A physical plan as bytes.
///
/// # Errors
/// `invalid` if the plan holds a node that cannot travel.
pub fn encode_plan(plan: &Arc<dyn ExecutionPlan>) -> crate::Result<Bytes> {
    lost::check(plan)?;
    let plan = Arc::clone(plan);
    Ok(physical_plan_to_bytes_with_proto_converter(plan, &Codec, &Folding::default())?)
}

/// A physical plan from bytes. Functions are found in the context's registry.
///
/// # Errors
/// `internal` if the bytes are not a plan of this build, `invalid` if it holds what no query needs.
pub fn decode_plan(bytes: &[u8], context: &TaskContext) -> crate::Result<Arc<dyn ExecutionPlan>> {
    let bad = |what: &str| Error::internal(format!("bad plan from a peer: {what}"));
    // Schemas and operators panic at columns that are not there.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        physical_plan_from_bytes_with_proto_converter(bytes, context, &Codec, &Folding::default())
    }));
    match decoded {
        Ok(Ok(plan)) => allowed::check(&plan).map(|()| plan),
        Ok(Err(error)) => match Error::from(error) {
            // What Keyloom itself says of it; DataFusion's own errors have a source.
            error if std::error::Error::source(&error).is_none() => Err(error),
            error => Err(bad(error.message())),
        },
        Err(_) => Err(bad("it names what is not there")),
    }
}

/// The nodes that are Keyloom's own.
#[derive(Serialize, Deserialize)]
enum Node {
    /// A lookup, as `lookup::codec` writes it.
    Lookup(Vec<u8>),
    Frame(FrameNode),
    /// A scan, and its predicate.
    Scan(ScanNode, Option<Vec<u8>>),
    Write(Arc<PreparedOutput>),
    Inlet(InletNode),
    /// A spread, and its partitions.
    Spread(u32),
}

#[derive(Debug)]
struct Codec;

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (bincode::decode(bytes)?, inputs) {
            (Node::Lookup(bytes), [input]) => {
                Ok(Arc::new(lookup::decode(&bytes, Arc::clone(input), context, self)?))
            }
            (Node::Frame(node), []) => Ok(Arc::new(FrameScanExec::from_node(node)?)),
            (Node::Scan(node, predicate), []) => {
                let scan = InputScanExec::from_node(node)?;
                let expr = |bytes: Vec<u8>| decode_expr(&bytes, &scan.schema(), context, self);
                let predicate = predicate.map(expr).transpose()?;
                Ok(Arc::new(scan.with_predicate(predicate)))
            }
            (Node::Write(output), [input]) => {
                Ok(Arc::new(WriteExec::new(Arc::clone(input), output)))
            }
            (Node::Inlet(node), []) => Ok(Arc::new(InletExec::from_node(node)?)),
            (Node::Spread(partitions), [input]) => {
                check_partitions(partitions)?;
                Ok(Arc::new(SpreadExec::new(Arc::clone(input), partitions as usize)))
            }
            _ => Err(Error::internal("a plan from a peer with the wrong number of inputs").into()),
        }
    }

    fn try_encode(&self, plan: Arc<dyn ExecutionPlan>, bytes: &mut Vec<u8>) -> Result<()> {
        let node = if let Some(exec) = plan.downcast_ref::<KvLookupExec>() {
            Node::Lookup(lookup::encode(exec, self)?)
        } else if let Some(exec) = plan.downcast_ref::<FrameScanExec>() {
            Node::Frame(exec.to_node())
        } else if let Some(exec) = plan.downcast_ref::<InputScanExec>() {
            let predicate = exec.predicate().map(|expr| encode_expr(expr, self)).transpose()?;
            Node::Scan(exec.to_node(), predicate)
        } else if let Some(exec) = plan.downcast_ref::<WriteExec>() {
            Node::Write(Arc::clone(exec.output()))
        } else if let Some(exec) = plan.downcast_ref::<InletExec>() {
            Node::Inlet(exec.to_node())
        } else if let Some(exec) = plan.downcast_ref::<SpreadExec>() {
            Node::Spread(u32::try_from(exec.partitions()).unwrap_or(u32::MAX))
        } else {
            return Err(DataFusionError::NotImplemented(format!(
                "{} cannot run on a cluster",
                plan.name()
            )));
        };
        bytes.extend(bincode::encode(&node)?);
        Ok(())
    }

    /// Functions travel by their names. Whoever runs the plan reads fields by [`GetField`],
    /// whatever functions it has.
    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        if function.name() == GET_FIELD {
            bytes.extend(GET_FIELD.bytes());
        }
        if let Some(function) = function.inner().downcast_ref::<ConditionalFunction>() {
            bytes.push(function.conditional().tag());
        }
        if let Some(function) = function.inner().downcast_ref::<SingleValue>() {
            function.encode(bytes);
        }
        if function.inner().is::<KvFunction>() {
            return Err(Error::invalid(
                "a lookup stands where none can be made; compute it as a column of a subquery \
                 first, and use that column",
            )
            .into());
        }
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        if name == SINGLE_VALUE {
            return SingleValue::decode(bytes).map(Arc::new).ok_or_else(|| not_known(name));
        }
        if let &[tag] = bytes
            && let Some(conditional) = Conditional::of_tag(tag)
        {
            return Ok(Arc::new(conditional.udf()));
        }
        match name {
            GET_FIELD => Ok(GetField::udf()),
            NULLABLE => Ok(Arc::new(Nullable::udf())),
            _ => Err(not_known(name)),
        }
    }

    fn try_decode_udaf(&self, name: &str, _bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        match name {
            SINGLE_ROW => Ok(Arc::new(SingleRow::udaf())),
            _ => Err(not_known(name)),
        }
    }
}

fn not_known(name: &str) -> DataFusionError {
    Error::internal(format!("a plan from a peer calls {name}, which is not known")).into()
}
