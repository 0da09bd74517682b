//! What a task wrote, as its pieces say it: a transaction of Lance that is not committed.

use std::collections::HashSet;

use keyloom_common::{Error, Result, output::Piece};
use lance::{
    Dataset,
    dataset::transaction::{Operation, Transaction},
};
use lance_table::format::{Fragment, pb};
use prost::Message;

use crate::store::lance::from_lance;

/// A piece of fragments that were written.
pub(super) fn piece(transaction: &Transaction, rows: u64, bytes: u64) -> Result<Piece> {
    let token = pb::Transaction::try_from(transaction).map_err(from_lance)?.encode_to_vec();
    Ok(Piece { rows, bytes, token })
}

/// The transaction of a piece.
///
/// # Errors
/// `internal` if it is none.
pub(super) fn transaction(piece: &Piece) -> Result<Transaction> {
    let message = pb::Transaction::decode(piece.token.as_slice()).map_err(|_| bad())?;
    Transaction::try_from(message).map_err(|_| bad())
}

/// The operation of a piece.
///
/// # Errors
/// As [`transaction`].
pub(super) fn operation(piece: &Piece) -> Result<Operation> {
    Ok(transaction(piece)?.operation)
}

/// The fragments of an operation that tasks have.
///
/// # Errors
/// `internal` if it is another.
pub(super) fn fragments(operation: Operation) -> Result<Vec<Fragment>> {
    match operation {
        Operation::Append { fragments }
        | Operation::Overwrite { fragments, .. }
        | Operation::Merge { fragments, .. } => Ok(fragments),
        _ => Err(bad()),
    }
}

/// The bytes of a fragment's files, as far as they are known.
pub(super) fn bytes<'a>(files: impl IntoIterator<Item = &'a Fragment>) -> u64 {
    let files = files.into_iter().flat_map(|fragment| &fragment.files);
    files.filter_map(|file| file.file_size_bytes.get()).map(|bytes| bytes.get()).sum()
}

/// The names of the data files of pieces, but for those that are some version's already.
///
/// # Errors
/// `internal` if a piece is none.
pub(super) fn new_files<'a>(
    pieces: &[Piece],
    kept: impl IntoIterator<Item = &'a Dataset>,
) -> Result<Vec<String>> {
    let kept = kept.into_iter().flat_map(|dataset| dataset.manifest.fragments.iter());
    let kept: HashSet<&str> = kept.flat_map(names).collect();
    let mut new = Vec::new();
    for piece in pieces {
        let operation = operation(piece)?;
        // Those of the fragments that got columns are among them, and nobody knows which.
        if matches!(operation, Operation::Merge { .. }) && kept.is_empty() {
            continue;
        }
        let fragments = fragments(operation)?;
        let of_piece = fragments.iter().flat_map(names).filter(|name| !kept.contains(name));
        new.extend(of_piece.map(str::to_owned));
    }
    Ok(new)
}

/// The names of a fragment's data files that are in the dataset's own folder.
pub(super) fn names(fragment: &Fragment) -> impl Iterator<Item = &str> {
    let own = fragment.files.iter().filter(|file| file.base_id.is_none());
    own.map(|file| file.path.as_str())
}

fn bad() -> Error {
    Error::internal("bad pieces of a Lance dataset from a peer")
}
