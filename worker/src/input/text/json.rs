//! Stub.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use futures::stream::BoxStream;
use keyloom_common::{Error, Result, input::*, plan::FileSlice};
use object_store::{ObjectMeta, ObjectStore};

pub(in crate::input) async fn infer(
    _: &dyn ObjectStore,
    _: &[ObjectMeta],
    _: &Schema,
    _: u64,
) -> Result<(SchemaRef, bool)> {
    Err(Error::internal("stub"))
}

pub(in crate::input) async fn pieces(
    _: &dyn ObjectStore,
    _: &ObjectMeta,
    _: u64,
) -> Result<Vec<Piece>> {
    Err(Error::internal("stub"))
}

pub(in crate::input) async fn open(
    _: Arc<dyn ObjectStore>,
    _: FileSlice,
    _: JsonLayout,
    _: SchemaRef,
    _: Vec<usize>,
    _: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    Err(Error::internal("stub"))
}
