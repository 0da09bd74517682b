//! The pieces that accepted attempts have told of, in the order of their rows, in the memory of the
//! job's operators.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryReservation;
use keyloom_common::{
    Result, ipc,
    ipc::Decoder,
    output::{Piece, piece_schema},
    size::batch_bytes,
};

use crate::{history::TaskRecord, spool::decoded};

/// The pieces of tasks that are kept.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn kept_pieces(tasks: Vec<TaskRecord>) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for task in tasks {
        let mut decoder = Decoder::new();
        for (bytes, whole) in task.chunks {
            batches.extend(decoded(bytes, whole)?.decode(&mut decoder)?);
        }
    }
    Ok(batches)
}

/// Pieces that are not handed on yet.
#[derive(Debug)]
pub(super) struct Pieces {
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
    /// How many there are, handed on or not.
    count: usize,
}

impl Pieces {
    pub(super) fn new(memory: MemoryReservation) -> Self {
        Self { batches: Vec::new(), memory, count: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds those of a task.
    ///
    /// # Errors
    /// `resource_exhausted` if the job has no memory for them.
    pub(super) fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.memory.try_grow(batch_bytes(&batch))?;
        self.count += batch.num_rows();
        self.batches.push(batch);
        Ok(())
    }

    /// Adds those of tasks that are kept, unless they are here.
    ///
    /// # Errors
    /// `resource_exhausted` if the job has no memory for them.
    pub(super) fn add_kept(&mut self, tasks: Vec<TaskRecord>) -> Result<()> {
        let mut known = HashSet::new();
        for batch in &self.batches {
            known.extend(Piece::read(batch)?.into_iter().map(|piece| piece.token));
        }
        for batch in kept_pieces(tasks)? {
            let mut others = Piece::read(&batch)?;
            others.retain(|piece| !known.contains(&piece.token));
            if !others.is_empty() {
                self.add(Piece::batch(&others)?)?;
            }
        }
        Ok(())
    }

    /// All of them, as workers read them.
    ///
    /// # Errors
    /// `resource_exhausted` if the job has no memory for as much again.
    pub(super) fn encode(&self) -> Result<Bytes> {
        let copy = self.memory.new_empty();
        copy.try_grow(self.memory.size())?;
        ipc::encode_all(&piece_schema(), &self.batches)
    }

    /// None, as workers read them.
    ///
    /// # Errors
    /// Never.
    pub(super) fn encode_none() -> Result<Bytes> {
        ipc::encode_all(&piece_schema(), &[])
    }

    /// Lets go of what was handed on.
    pub(super) fn let_go(&mut self) {
        self.batches = Vec::new();
        self.memory.free();
    }
}
