//! Stores as job files describe them, attached by whoever plans for others.

use arrow::array::RecordBatch;
use keyloom_common::{
    Error, Result,
    described::{Input, Store},
    size::batch_bytes,
};

use super::Session;
use crate::store::{MemoryOptions, load_kv};

impl Session {
    /// Attaches a store as job files describe it. The rows of a memory store are read by workers,
    /// and take so many bytes at most, which a setting says.
    ///
    /// # Errors
    /// As [`Self::attach`]; `invalid`, naming the setting, if there are more rows.
    pub async fn attach_described(
        &self,
        alias: &str,
        store: Store,
        most: (&str, u64),
    ) -> Result<()> {
        let store = match store {
            Store::Lance(options) => load_kv(alias, options)?,
            Store::Other(options) => load_kv(alias, options)?,
            Store::Memory { input, key } => {
                let rows = self.rows_within(input, most).await;
                let rows = rows.map_err(|error| error.context(format!("store '{alias}'")))?;
                load_kv(alias, MemoryOptions::batches(rows, key))?
            }
        };
        self.attach(store, alias).await
    }

    /// The rows of files, read by workers; at least one batch.
    async fn rows_within(
        &self,
        input: Input,
        (setting, max_bytes): (&str, u64),
    ) -> Result<Vec<RecordBatch>> {
        let mut job = self.submit(self.read(input).await?).await?;
        let mut batches = vec![RecordBatch::new_empty(job.schema().clone())];
        let mut bytes = 0_u64;
        while let Some(batch) = job.next_batch().await? {
            bytes = bytes.saturating_add(batch_bytes(&batch) as u64);
            if bytes > max_bytes {
                return Err(Error::invalid(format!(
                    "its rows take more than {setting} = {max_bytes} bytes, the most for a store \
                     in memory; write them as a Lance dataset"
                )));
            }
            batches.push(batch);
        }
        Ok(batches)
    }
}
