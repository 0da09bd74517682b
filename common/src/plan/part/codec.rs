//! How parts travel, and what is refused of those that come from a peer.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use super::{PartExec, Telling};
use crate::{
    error::Error,
    output::WriteExec,
    plan::{decode_plan, encode_plan, shuffle_error::told},
};

/// How parts travel: as plans of Keyloom do, with all the checks of these.
#[derive(Clone, Debug)]
pub struct PartCodec {
    /// Where functions are found.
    functions: Arc<TaskContext>,
    telling: Option<Telling>,
}

impl PartCodec {
    /// One that finds functions there.
    pub fn new(functions: Arc<TaskContext>) -> Self {
        Self { functions, telling: None }
    }

    /// The same, whose parts tell what they have counted.
    #[must_use]
    pub fn telling(self, telling: Telling) -> Self {
        Self { telling: Some(telling), ..self }
    }
}

impl PhysicalExtensionCodec for PartCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let decode = || {
            let (number, bytes) = bytes
                .split_first_chunk()
                .ok_or_else(|| Error::internal("bad part of a plan from a peer: no number"))?;
            let bare = decode_plan(bytes, &self.functions)?;
            refuse_writes(&bare)?;
            let part = PartExec::arrived(&bare, inputs)?;
            let (number, telling) = (u32::from_le_bytes(*number), self.telling.clone());
            Ok::<_, DataFusionError>(PartExec { number, telling, ..part })
        };
        Ok(Arc::new(decode().map_err(told)?))
    }

    fn try_encode(&self, plan: Arc<dyn ExecutionPlan>, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(part) = plan.downcast_ref::<PartExec>() else {
            let name = plan.name();
            return Err(DataFusionError::NotImplemented(format!("{name} is no part of a plan")));
        };
        bytes.extend(part.number.to_le_bytes());
        bytes.extend(encode_plan(&part.bare()?)?);
        Ok(())
    }
}

/// Refuses a part that writes: what is written is written by tasks, and told by them.
fn refuse_writes(bare: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if bare.exists(|node| Ok(node.is::<WriteExec>()))? {
        return Err(Error::internal("bad part of a plan from a peer: it writes").into());
    }
    Ok(())
}
