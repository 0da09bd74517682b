//! The rows by which a task tells of its pieces.

use std::sync::Arc;

use datafusion::{
    error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{FutureExt, future::BoxFuture, stream};
use keyloom_common::{
    Result,
    output::{Piece, piece_schema},
};

use super::unaccepted::Unaccepted;

/// How far a task is.
enum Told {
    Writing(BoxFuture<'static, Result<Written>>),
    /// Its pieces are told of. They count as accepted when whoever reads them comes to the end.
    Pieces(Arc<Unaccepted>),
}

type Written = (Vec<Piece>, Arc<Unaccepted>);

/// The rows that tell of the pieces of what is written, which begins when they are asked for.
pub(super) fn told(
    writing: impl Future<Output = Result<Written>> + Send + 'static,
) -> SendableRecordBatchStream {
    let rows = stream::try_unfold(Told::Writing(writing.boxed()), |told| async move {
        match told {
            Told::Writing(writing) => {
                let (pieces, unaccepted) = writing.await?;
                let batch = Piece::batch(&pieces)?;
                Ok::<_, DataFusionError>(Some((batch, Told::Pieces(unaccepted))))
            }
            Told::Pieces(unaccepted) => {
                unaccepted.accept();
                Ok(None)
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(piece_schema(), rows))
}
