//! Plans between processes: the codec, the leaves for files and for rows that travel beside the
//! plan, the slices of these that tasks read, and what a fragment needs of the worker that runs it.

mod allowed;
mod checked;
mod codec;
mod expr;
mod frame;
mod leaf;
mod lost;
mod part;
mod part_counts;
mod proto;
mod room;
mod runtime;
mod scan;
mod series;
mod shuffle_error;
mod slice;
mod spread;
mod unshuffled;

pub use codec::{decode_plan, encode_plan};
pub(crate) use expr::{decode_expr, encode_expr};
pub use frame::{FramePartition, FrameScanExec};
pub use part::{Begun, Ended, InletExec, PartCodec, PartExec, Telling};
pub use part_counts::{NodeCounts, PartCounts, operators};
pub use room::Room;
pub use runtime::{FragmentRuntime, FragmentRuntimeHandle, fragment_runtime};
pub use scan::{FileSlice, InputScanExec, RowRange, ScanPartition, ScanTable};
pub use shuffle_error::of_shuffle;
pub use slice::{Slice, with_slice, without_input};
pub use spread::SpreadExec;
pub use unshuffled::{by_hash, unshuffled};
