//! Expressions as bytes: DataFusion's protobuf.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{execution::TaskContext, physical_expr::PhysicalExpr};
use datafusion_proto::{
    physical_plan::{
        PhysicalExtensionCodec, from_proto::parse_physical_expr, to_proto::serialize_physical_expr,
    },
    protobuf::PhysicalExprNode,
};
use prost::Message;

use crate::error::{Error, Result};

pub(crate) fn encode_expr(
    expr: &Arc<dyn PhysicalExpr>,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<Vec<u8>> {
    Ok(serialize_physical_expr(expr, codec)?.encode_to_vec())
}

pub(crate) fn decode_expr(
    bytes: &[u8],
    schema: &SchemaRef,
    context: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<Arc<dyn PhysicalExpr>> {
    let node = PhysicalExprNode::decode(bytes)
        .map_err(|error| Error::internal(format!("bad expression from a peer: {error}")))?;
    Ok(parse_physical_expr(&node, context, schema, codec)?)
}
