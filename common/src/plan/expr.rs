//! Expressions as bytes: DataFusion's protobuf.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{execution::TaskContext, physical_expr::PhysicalExpr};
use datafusion_proto::{
    physical_plan::{
        PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
    },
    protobuf::PhysicalExprNode,
};
use prost::Message;

use super::proto::Folding;
use crate::error::{Error, Result};

pub(crate) fn encode_expr(
    expr: &Arc<dyn PhysicalExpr>,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<Vec<u8>> {
    Ok(Folding::default().physical_expr_to_proto(expr, codec)?.encode_to_vec())
}

pub(crate) fn decode_expr(
    bytes: &[u8],
    schema: &SchemaRef,
    context: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<Arc<dyn PhysicalExpr>> {
    let node = PhysicalExprNode::decode(bytes)
        .map_err(|error| Error::internal(format!("bad expression from a peer: {error}")))?;
    let context = PhysicalPlanDecodeContext::new(context, codec);
    Ok(Folding::default().proto_to_physical_expr(&node, schema, &context)?)
}
