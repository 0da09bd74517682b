//! Arrow IPC: files, which can be read from any batch on, and streams, which can be read from the
//! start alone. They are told apart by their first bytes.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ipc::{
        Block, Footer,
        convert::fb_to_schema,
        reader::{FileDecoder, StreamDecoder, read_footer_length},
        root_as_footer,
    },
};
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt, future,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, input::Piece, plan::FileSlice};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

use super::{
    adapt::{Adapter, check_fits},
    describe::whole,
    from_store,
};

/// The first bytes of a file, and the last.
const MAGIC: &[u8] = b"ARROW1";
/// The first bytes of Feather's first version, which is not Arrow IPC.
const FEATHER_1: &[u8] = b"FEA1";
/// The length of the footer and the magic, behind the footer.
const TAIL: usize = 10;
/// How many batches of a file are fetched at once.
const BATCHES_AHEAD: usize = 2;

/// The columns of a file, and where it may be cut.
pub(super) async fn look(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    piece_bytes: u64,
) -> Result<(Schema, Vec<Piece>)> {
    if !is_file(store, &meta.location, meta.size).await? {
        return Ok((stream_schema(store, &meta.location).await?, whole(meta)));
    }
    let end = End::read(store, &meta.location).await?;
    let footer = end.footer()?;
    let mut pieces: Vec<Piece> = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let start = if pieces.is_empty() { 0 } else { block.offset() as u64 };
        // Whoever wrote the file may have named its blocks in any order.
        if pieces.last().is_none_or(|last| start.saturating_sub(last.start) >= piece_bytes) {
            pieces.push(Piece { start, rows: None, lines_before: 0 });
        }
    }
    Ok((end.schema()?, pieces))
}

/// The rows of a slice, in the wanted columns.
pub(super) async fn open(
    store: Arc<dyn ObjectStore>,
    slice: FileSlice,
    table: SchemaRef,
    wanted: SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let path = Path::parse(&slice.path).map_err(|error| Error::invalid(error.to_string()))?;
    if !is_file(&store, &path, slice.size).await? {
        return read_stream(store, &path, table, wanted).await;
    }
    let end = End::read(&store, &path).await?;
    let schema = end.schema()?;
    check_fits(&schema, &table)?;
    let adapter = Adapter::new(&schema, wanted);
    let (footer, size) = (end.footer()?, slice.size);
    let mut decoder = FileDecoder::new(Arc::new(schema), footer.version())
        .with_projection(adapter.read().to_vec());
    for block in footer.dictionaries().iter().flatten() {
        let bytes = fetch(&store, &path, *block, size).await?;
        decoder.read_dictionary(block, &bytes).map_err(broken)?;
    }
    let starts_here = |block: &&Block| slice.bytes.contains(&(block.offset() as u64));
    let blocks: Vec<Block> =
        footer.recordBatches().iter().flatten().filter(starts_here).copied().collect();
    let fetched = stream::iter(blocks).map(move |block| {
        let (store, path) = (Arc::clone(&store), path.clone());
        async move { Ok::<_, Error>((block, fetch(&store, &path, block, size).await?)) }
    });
    let batches = fetched.buffered(BATCHES_AHEAD).map(move |fetched| {
        let (block, bytes) = fetched?;
        let batch = decoder.read_record_batch(&block, &bytes).map_err(broken)?;
        batch.map(|batch| adapter.adapt(&batch)).transpose()
    });
    Ok(batches.try_filter_map(future::ok).boxed())
}

/// Whether the bytes are those of a file, not of a stream.
async fn is_file(store: &Arc<dyn ObjectStore>, path: &Path, size: u64) -> Result<bool> {
    let first = get(store, path, GetRange::Bounded(0..size.min(8))).await?;
    if first.starts_with(FEATHER_1) {
        return Err(Error::invalid(
            "it is Feather of version 1, which is not Arrow IPC; write it with version 2",
        ));
    }
    Ok(first.starts_with(MAGIC))
}

async fn get(store: &Arc<dyn ObjectStore>, path: &Path, range: GetRange) -> Result<Bytes> {
    let options = GetOptions { range: Some(range), ..GetOptions::default() };
    let got = store.get_opts(path, options).await.map_err(from_store)?;
    got.bytes().await.map_err(from_store)
}

async fn fetch(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    block: Block,
    size: u64,
) -> Result<Buffer> {
    let range = extent(block, size)?;
    let bytes = store.get_range(path, range).await.map_err(from_store)?;
    Ok(Buffer::from(bytes))
}

/// Where a block is in a file of so many bytes. Stores take memory for all that they are asked for,
/// before they see that it is not there.
fn extent(block: Block, size: u64) -> Result<Range<u64>> {
    let start = u64::try_from(block.offset()).map_err(|_| not_ipc("a block before its start"))?;
    let length =
        u64::try_from(block.bodyLength()).ok().zip(u64::try_from(block.metaDataLength()).ok());
    let (body, head) = length.ok_or_else(|| not_ipc("a block of negative length"))?;
    let end = start.checked_add(head).and_then(|end| end.checked_add(body));
    match end.filter(|end| *end <= size) {
        Some(end) => Ok(start..end),
        None => Err(not_ipc(format_args!("a block beyond its end, which is at byte {size}"))),
    }
}

/// What stands at the end of a file.
struct End(Bytes);

impl End {
    async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Self> {
        let tail = get(store, path, GetRange::Suffix(TAIL as u64)).await?;
        let tail: [u8; TAIL] =
            tail.as_ref().try_into().map_err(|_| not_ipc("it ends before its footer"))?;
        let length = read_footer_length(tail).map_err(broken)?;
        let bytes = get(store, path, GetRange::Suffix((length + TAIL) as u64)).await?;
        if bytes.len() < length + TAIL {
            return Err(not_ipc("it ends before its footer"));
        }
        Ok(Self(bytes.slice(..length)))
    }

    fn footer(&self) -> Result<Footer<'_>> {
        root_as_footer(&self.0).map_err(not_ipc)
    }

    fn schema(&self) -> Result<Schema> {
        let footer = self.footer()?;
        let schema = footer.schema().ok_or_else(|| not_ipc("its footer has no schema"))?;
        Ok(fb_to_schema(schema))
    }
}

async fn stream_schema(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Schema> {
    let mut bytes = store.get(path).await.map_err(from_store)?.into_stream();
    let mut decoder = StreamDecoder::new();
    while let Some(chunk) = bytes.next().await {
        let mut chunk = Buffer::from(chunk.map_err(from_store)?);
        while !chunk.is_empty() && decoder.schema().is_none() {
            decoder.decode(&mut chunk).map_err(broken)?;
        }
        if let Some(schema) = decoder.schema() {
            return Ok(schema.as_ref().clone());
        }
    }
    Err(not_ipc("it ends before its schema"))
}

async fn read_stream(
    store: Arc<dyn ObjectStore>,
    path: &Path,
    table: SchemaRef,
    wanted: SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let bytes = store.get(path).await.map_err(from_store)?.into_stream();
    let state = StreamState {
        bytes: bytes.map_err(from_store).boxed(),
        decoder: StreamDecoder::new(),
        chunk: Buffer::default(),
        table,
        wanted,
        adapter: None,
    };
    let batches = stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Ok(batches.boxed())
}

/// A stream that is being read.
struct StreamState {
    bytes: BoxStream<'static, Result<Bytes>>,
    decoder: StreamDecoder,
    chunk: Buffer,
    table: SchemaRef,
    wanted: SchemaRef,
    adapter: Option<Adapter>,
}

impl StreamState {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while !self.chunk.is_empty() {
                if let Some(batch) = self.decoder.decode(&mut self.chunk).map_err(broken)? {
                    return self.adapt(&batch).map(Some);
                }
            }
            match self.bytes.next().await {
                Some(chunk) => self.chunk = Buffer::from(chunk?),
                None => {
                    self.decoder.finish().map_err(broken)?;
                    return Ok(None);
                }
            }
        }
    }

    fn adapt(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let adapter = match &self.adapter {
            Some(adapter) => adapter,
            None => {
                check_fits(&batch.schema(), &self.table)?;
                self.adapter.insert(Adapter::new(&batch.schema(), Arc::clone(&self.wanted)))
            }
        };
        adapter.adapt(&batch.project(adapter.read())?)
    }
}

fn broken(error: ArrowError) -> Error {
    not_ipc(error)
}

fn not_ipc(reason: impl std::fmt::Display) -> Error {
    Error::invalid(format!("it cannot be read as Arrow IPC: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_within_its_file_or_an_error() {
        let at = |offset, head, body| extent(Block::new(offset, head, body), 1_000);
        assert_eq!(at(8, 100, 892), Ok(8..1_000));
        for (block, message) in [
            (at(8, 100, 893), "a block beyond its end, which is at byte 1000"),
            (at(8, 100, i64::MAX), "a block beyond its end, which is at byte 1000"),
            (at(i64::MAX, i32::MAX, i64::MAX), "a block beyond its end, which is at byte 1000"),
            (at(-8, 100, 100), "a block before its start"),
            (at(8, -1, 100), "a block of negative length"),
            (at(8, 100, -1), "a block of negative length"),
        ] {
            let message = format!("it cannot be read as Arrow IPC: {message}");
            assert_eq!(block, Err(Error::invalid(message)));
        }
    }
}
