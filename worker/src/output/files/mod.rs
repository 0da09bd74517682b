//! Files in folders as outputs.

use datafusion::execution::SendableRecordBatchStream;
use keyloom_common::{
    Error, Result,
    output::{Committed, PreparedOutput},
    rpc::PlannedOutput,
};

use super::{Writing, Written};

/// What is shared by all that is written.
#[derive(Debug, Default)]
pub(super) struct FileOutputs {}

impl FileOutputs {
    pub(super) async fn prepare(&self, _: PlannedOutput) -> Result<PreparedOutput> {
        Err(missing())
    }

    pub(super) fn write(
        &self,
        _: Writing<'_>,
        _: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        Err(missing())
    }

    pub(super) async fn commit(&self, _: Written) -> Result<Committed> {
        Err(missing())
    }

    pub(super) async fn abort(&self, _: Written) -> Result<()> {
        Err(missing())
    }
}

fn missing() -> Error {
    Error::internal("no worker writes this yet")
}
