//! What the tasks of shuffles run in, on each worker that takes part.

use async_trait::async_trait;
use datafusion::{error::DataFusionError, execution::SessionState};
use datafusion_distributed::{DistributedExt, WorkerQueryContext, WorkerSessionBuilder};
use http::{HeaderMap, HeaderName, HeaderValue};
use keyloom_common::{Error, plan::PartCodec};

use super::{Part, crossing::Crossing, memory::runtime_of_session, peers::Peers};

/// The header that says how many rows a batch has at most.
const BATCH_ROWS: &str = "keyloom-batch-rows";

/// What is told to each worker that takes part.
pub(super) fn headers(batch_rows: u32) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(BATCH_ROWS), HeaderValue::from(batch_rows))])
}

fn batch_rows(headers: &HeaderMap) -> Result<u32, Error> {
    let rows = headers.get(BATCH_ROWS).and_then(|rows| rows.to_str().ok()?.parse::<u32>().ok());
    rows.filter(|rows| *rows > 0)
        .ok_or_else(|| Error::invalid("a shuffle without the rows of its batches"))
}

/// Makes sessions for tasks.
pub(super) struct Sessions {
    part: Part,
    codec: PartCodec,
    crossing: Crossing,
}

impl Sessions {
    pub(super) fn new(part: Part, peers: Peers) -> Self {
        let codec = PartCodec::new(part.functions.clone()).telling(part.telling.clone());
        let crossing = Crossing { peers, totals: part.totals.clone() };
        Self { part, codec, crossing }
    }
}

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    /// Opens nothing: who waits for the task does not wait for long.
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> Result<SessionState, DataFusionError> {
        let batch_rows = batch_rows(&context.headers)?;
        let mut builder = context.builder;
        let config = builder.config().take().unwrap_or_default();
        let (runtime, room) = runtime_of_session(&self.part.runtime, &self.part.memory)?;
        let builder = builder
            .with_config((self.part.equip)(config, batch_rows).with_extension(room))
            .with_runtime_env(runtime)
            .with_distributed_user_codec(self.codec.clone())
            .with_distributed_channel_resolver(self.crossing.clone());
        Ok(builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        assert_eq!(batch_rows(&headers(8192)), Ok(8192));
        for wrong in [HeaderMap::new(), headers(0)] {
            assert!(batch_rows(&wrong).is_err());
        }
    }
}
