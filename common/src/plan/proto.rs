//! From plans and expressions to DataFusion's protobuf and back, however deep they are nested.
//!
//! protobuf's reader refuses what is nested deeper than a hundred messages, which is as it should
//! be: it protects the stack. So what lies deeper is folded: written as bytes of its own within a
//! message. The levels of all together are counted on both ways, and bounded by [`MAX_DEPTH`].

use std::{cell::Cell, sync::Arc};

use arrow::datatypes::Schema;
use datafusion::{
    error::{DataFusionError, Result},
    physical_expr::PhysicalExpr,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    physical_plan::{
        PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
        to_proto::serialize_physical_expr_with_converter,
    },
    protobuf::{
        PhysicalExprNode, PhysicalExtensionExprNode, PhysicalExtensionNode, PhysicalPlanNode,
        physical_expr_node::ExprType, physical_plan_node::PhysicalPlanType,
    },
};
use prost::Message;

use super::{
    allowed::{check_expr, check_node, check_nulls, levels, nulls},
    checked::as_checked,
    series::{with_column, without_column},
};
use crate::{
    error::Error,
    functions::{as_function, as_lazy},
    stack::{MAX_DEPTH, too_deep},
};

/// Every so many levels are folded. A level takes three messages at most.
const FOLD: usize = 16;

/// How a folded node begins. No other node of Keyloom's does: bincode writes no such byte there.
const FOLDED: u8 = 0xff;

/// Counts levels on the way down.
#[derive(Debug, Default)]
pub(super) struct Folding {
    depth: Cell<usize>,
    /// How many bytes were unfolded.
    unfolded: Cell<usize>,
    /// About how many bytes its nulls take.
    nulls: Cell<u64>,
}

impl Folding {
    /// Goes down some levels, and says whether what is there is to be folded.
    fn within<T>(&self, levels: usize, work: impl FnOnce(bool) -> Result<T>) -> Result<T> {
        let depth = self.depth.get();
        if levels > MAX_DEPTH.saturating_sub(depth) {
            return Err(too_deep().into());
        }
        self.depth.set(depth + levels);
        let done = work(depth > 0 && depth.is_multiple_of(FOLD));
        self.depth.set(depth);
        done
    }
}

/// The most bytes that are unfolded of a plan, each as often as it is: a fold within a fold is
/// there twice while it is read.
const MAX_UNFOLDED_BYTES: usize = 256 << 20;

impl Folding {
    /// Reads a folded node.
    fn unfold<'a, T>(
        &self,
        bytes: &'a [u8],
        decode: impl FnOnce(&'a [u8]) -> std::result::Result<T, prost::DecodeError>,
    ) -> Result<T> {
        let unfolded = self.unfolded.get() + bytes.len();
        if unfolded > MAX_UNFOLDED_BYTES {
            return Err(Error::invalid("a plan from a peer is folded too often").into());
        }
        self.unfolded.set(unfolded);
        decode(bytes).map_err(bad)
    }
}

impl Folding {
    /// Looks at a node before it is built.
    fn plan(
        &self,
        node: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check_node(node)?;
        self.within(1, |_| match with_column(node)? {
            None => self.default_proto_to_execution_plan(node, context),
            Some(node) => without_column(self.default_proto_to_execution_plan(&node, context)?),
        })
    }

    /// Looks at an expression before it is built.
    fn check_expr(&self, node: &PhysicalExprNode) -> crate::Result<()> {
        check_expr(node)?;
        self.nulls.set(self.nulls.get().saturating_add(nulls(node)));
        check_nulls(self.nulls.get())
    }
}

impl PhysicalProtoConverterExtension for Folding {
    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        self.within(1, |fold| {
            let plan = Arc::clone(plan);
            let node = PhysicalPlanNode::try_from_physical_plan_with_converter(plan, codec, self)?;
            if !fold {
                return Ok(node);
            }
            let folded = PhysicalExtensionNode { node: folded(&node)?, inputs: Vec::new() };
            Ok(PhysicalPlanNode { physical_plan_type: Some(PhysicalPlanType::Extension(folded)) })
        })
    }

    fn proto_to_execution_plan(
        &self,
        node: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(PhysicalPlanType::Extension(extension)) = &node.physical_plan_type
            && let Some((&FOLDED, bytes)) = extension.node.split_first()
        {
            let node = self.unfold(bytes, PhysicalPlanNode::decode)?;
            return self.plan(&node, context);
        }
        self.plan(node, context)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        self.within(1, |fold| {
            let node = serialize_physical_expr_with_converter(as_function(expr), codec, self)?;
            if !fold {
                return Ok(node);
            }
            let folded = PhysicalExtensionExprNode { expr: folded(&node)?, inputs: Vec::new() };
            Ok(PhysicalExprNode { expr_id: None, expr_type: Some(ExprType::Extension(folded)) })
        })
    }

    fn proto_to_physical_expr(
        &self,
        node: &PhysicalExprNode,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        if let Some(ExprType::Extension(extension)) = &node.expr_type
            && let Some((&FOLDED, bytes)) = extension.expr.split_first()
        {
            let node = self.unfold(bytes, PhysicalExprNode::decode)?;
            self.check_expr(&node)?;
            let decode = |_| self.default_proto_to_physical_expr(&node, schema, context);
            return self.within(levels(&node), decode).and_then(as_lazy).map(as_checked);
        }
        self.check_expr(node)?;
        let decode = |_| self.default_proto_to_physical_expr(node, schema, context);
        self.within(levels(node), decode).and_then(as_lazy).map(as_checked)
    }
}

/// A node as bytes that are told from Keyloom's own nodes.
fn folded(node: &impl Message) -> Result<Vec<u8>> {
    let mut bytes = vec![FOLDED];
    node.encode(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(bytes)
}

fn bad(error: prost::DecodeError) -> DataFusionError {
    Error::internal(format!("bad plan from a peer: {error}")).into()
}
