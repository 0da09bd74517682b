//! Whether what tasks have written for a dataset is there as they told of it.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Result,
    output::{OutputKind, Piece},
};
use lance_object_store::{ObjectStoreExt, path::Path};

use super::{cleaner::DATA, parts, upsert};
use crate::{
    output::Written,
    store::lance::{Files, Target, from_lance},
};

/// How many files are looked at at once.
const AT_ONCE: usize = 8;

/// A file that a piece has.
struct Wanted {
    /// The piece's place among those of the job.
    piece: usize,
    path: Path,
    /// How many bytes it should have, if that is known.
    bytes: Option<u64>,
}

/// The places of those among a job's pieces that are not there any more as they were written.
///
/// # Errors
/// `store` or `timeout` if the storage does not say.
pub(super) async fn gone(target: &Target, written: &Written) -> Result<Vec<usize>> {
    let files = target.files().await?;
    let mut wanted = Vec::new();
    for (place, piece) in written.pieces.iter().enumerate() {
        match &written.output.spec.kind {
            OutputKind::Upsert { .. } => {
                let path = upsert::path_of(&files, written.job, piece)?;
                wanted.push(Wanted { piece: place, path, bytes: Some(piece.bytes) });
            }
            _ => wanted.extend(data_files(&files, place, piece)?),
        }
    }
    let looked = target.run("looking at what was written for", async move {
        let looks: Vec<_> = wanted.iter().map(|wanted| look(&files, wanted)).collect();
        let looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        looks.try_collect::<Vec<_>>().await
    });
    let gone: BTreeSet<usize> = looked.await?.into_iter().flatten().collect();
    Ok(gone.into_iter().collect())
}

/// The data files of a piece that are in the dataset's own folder.
fn data_files(files: &Files, place: usize, piece: &Piece) -> Result<Vec<Wanted>> {
    let folder = files.folder.clone().join(DATA);
    let fragments = parts::fragments(parts::operation(piece)?)?;
    let own = fragments.iter().flat_map(|fragment| &fragment.files);
    let own = own.filter(|file| file.base_id.is_none());
    let wanted = own.map(|file| Wanted {
        piece: place,
        path: folder.clone().join(file.path.as_str()),
        bytes: file.file_size_bytes.get().map(|bytes| bytes.get()),
    });
    Ok(wanted.collect())
}

/// The piece of a file, if that is not there any more.
async fn look(files: &Files, wanted: &Wanted) -> Result<Option<usize>> {
    let is_there = match files.store.inner.head(&wanted.path).await {
        Ok(found) => wanted.bytes.is_none_or(|bytes| found.size == bytes),
        Err(lance_object_store::Error::NotFound { .. }) => false,
        Err(error) => return Err(from_lance(error.into())),
    };
    Ok((!is_there).then_some(wanted.piece))
}
