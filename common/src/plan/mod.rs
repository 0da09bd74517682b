//! Plans between processes: the codec, the leaf for rows that travel beside the plan, and what a
//! fragment needs of the worker that runs it.

mod codec;
mod frame;
mod runtime;

pub use codec::{decode_plan, encode_plan};
pub use frame::{FramePartition, FrameScanExec};
pub use runtime::{FragmentRuntime, FragmentRuntimeHandle, fragment_runtime};
