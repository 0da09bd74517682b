//! The files that a task reads, as they were when its job was submitted.
//!
//! Every answer is compared with what was pinned; E-tags are not sent along as conditions, for
//! listings and answers of one store write them in different ways, and web servers may refuse weak
//! ones. Reads of local files do not say which content they saw: those files are looked at before,
//! and once more when the task is done ([`Pinned::verify`]).
//!
//! Small ones of many local files are read whole, and looked at before and after that alone
//! ([`small`]).
//!
//! Long reads from behind a network are made in spans, each kept in memory: no request is open for
//! longer than its bounds allow while a reader is busy with what came.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, input::Location, plan::FileSlice};
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result as StoreResult, coalesce_ranges, path::Path,
};

use self::small::SmallFiles;
use super::{from_store, is_local, timed_out};

mod small;

/// Bytes that one request of a long read asks for.
const SPAN_BYTES: u64 = 8 << 20;

/// How many of them are in flight, or in memory, at once.
const SPANS_AHEAD: usize = 2;

/// How many files are looked at at once when a task is done.
const FILES_IN_FLIGHT: usize = 16;

/// An object store that reads the files of some slices as long as they are what was pinned, and
/// nothing else.
#[derive(Clone)]
pub(crate) struct Pinned(Arc<Shared>);

struct Shared {
    inner: Arc<dyn ObjectStore>,
    location: Location,
    pins: HashMap<String, Pin>,
    /// Those that are read whole.
    small: SmallFiles,
    /// The local files that were read piece by piece.
    read: Mutex<HashSet<Path>>,
}

/// What a file was known by.
#[derive(Clone, Debug)]
struct Pin {
    size: u64,
    e_tag: Option<String>,
    /// In seconds, for answers of web servers have no more.
    modified: i64,
}

impl Pinned {
    /// Pins the files of slices that are at a location.
    pub(super) fn new(
        inner: Arc<dyn ObjectStore>,
        location: &Location,
        slices: &[FileSlice],
    ) -> Self {
        let pins = slices.iter().map(|slice| {
            let (size, e_tag) = (slice.size, slice.e_tag.clone());
            let modified = slice.modified_ns.div_euclid(1_000_000_000);
            (slice.path.clone(), Pin { size, e_tag, modified })
        });
        Self::of(inner, location, pins.collect())
    }

    /// Pins files that were listed.
    pub(crate) fn of_files(
        inner: Arc<dyn ObjectStore>,
        location: &Location,
        files: &[&ObjectMeta],
    ) -> Self {
        let pins = files.iter().map(|file| {
            let (size, e_tag) = (file.size, file.e_tag.clone());
            let modified = file.last_modified.timestamp();
            (file.location.to_string(), Pin { size, e_tag, modified })
        });
        Self::of(inner, location, pins.collect())
    }

    fn of(inner: Arc<dyn ObjectStore>, location: &Location, pins: Vec<(String, Pin)>) -> Self {
        let location = location.clone();
        let small = match is_local(&location) {
            true => SmallFiles::new(pins.iter().map(|(path, pin)| (path.as_str(), pin.size))),
            false => SmallFiles::default(),
        };
        let pins = pins.into_iter().collect();
        Self(Arc::new(Shared { inner, location, pins, small, read: Mutex::default() }))
    }

    /// Which files a file is read together with: those of the same group.
    pub(super) fn group(&self, path: &Path) -> Option<usize> {
        self.0.small.group(path)
    }

    /// Looks once more at all local files that were read: their reads did not see all changes.
    ///
    /// # Errors
    /// `invalid` if one is not what was pinned, `not_found` if it is gone, and whatever else keeps
    /// it from being looked at.
    pub(super) async fn verify(&self) -> Result<()> {
        if !self.is_local() {
            return Ok(());
        }
        let read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.look_at(read.into_iter().collect()).await
    }

    /// Looks at all files, be they read or not.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) async fn look(&self) -> Result<()> {
        let paths = self.0.pins.keys().map(Path::parse).collect::<Result<Vec<_>, _>>();
        self.look_at(paths.map_err(|error| Error::invalid(error.to_string()))?).await
    }

    async fn look_at(&self, files: Vec<Path>) -> Result<()> {
        let looks = stream::iter(files)
            .map(|path| async move { self.head(&path).await.map(|_| ()).map_err(from_store) });
        looks.buffer_unordered(FILES_IN_FLIGHT).try_collect().await
    }

    fn pin(&self, path: &Path) -> StoreResult<&Pin> {
        self.0.pins.get(path.as_ref()).ok_or_else(|| {
            carried(Error::internal(format!("file {path} is read without being pinned")))
        })
    }

    fn changed(&self, path: &Path) -> Error {
        let shown = self.0.location.shown(path.as_ref());
        Error::invalid(format!("input file {shown} changed while the job ran; run the job again"))
    }

    fn vanished(&self, path: &Path) -> Error {
        let shown = self.0.location.shown(path.as_ref());
        Error::not_found(format!(
            "input file {shown} vanished while the job ran; run the job again"
        ))
    }

    fn is_local(&self) -> bool {
        is_local(&self.0.location)
    }

    async fn get_checked(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let pin = self.pin(path)?;
        let got = match self.0.inner.get_opts(path, options).await {
            Ok(got) => got,
            Err(error) => return Err(self.explain(path, pin, error).await),
        };
        if !pin.is(&got.meta) {
            return Err(carried(self.changed(path)));
        }
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        Ok(got)
    }

    /// Why a read failed. Of a file that is shorter now, what is missing is asked for in vain.
    async fn explain(&self, path: &Path, pin: &Pin, error: StoreError) -> StoreError {
        // It would be waited for as long again.
        if timed_out(&error) {
            return error;
        }
        let found = match &error {
            StoreError::Precondition { .. } => return carried(self.changed(path)),
            StoreError::NotFound { .. } => return carried(self.vanished(path)),
            _ => self.0.inner.head(path).await,
        };
        match found {
            Err(StoreError::NotFound { .. }) => carried(self.vanished(path)),
            Ok(found) if !pin.is(&found) => carried(self.changed(path)),
            Ok(_) | Err(_) => error,
        }
    }

    /// A long read as many.
    async fn get_in_spans(
        &self,
        path: &Path,
        options: GetOptions,
        range: Range<u64>,
    ) -> StoreResult<GetResult> {
        let starts = (range.start..range.end).step_by(SPAN_BYTES as usize);
        let mut spans = starts.map(|start| start..(start + SPAN_BYTES).min(range.end));
        let first = spans.next().unwrap_or(range.clone());
        let get = |span: Range<u64>| options.clone().with_range(Some(GetRange::Bounded(span)));
        let whole = options.range.is_none();
        let got = match self.get_checked(path, get(first)).await {
            // Some web servers only give whole files.
            Err(StoreError::NotSupported { .. }) if whole => {
                return self.get_checked(path, options).await;
            }
            got => got?,
        };
        let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
        let (this, path) = (self.clone(), path.clone());
        let rest = spans.map(get).collect::<Vec<_>>();
        let rest = stream::iter(rest).map(move |options| {
            let (this, path) = (this.clone(), path.clone());
            async move { this.get_checked(&path, options).await?.bytes().await }
        });
        let payload = stream::once(got.bytes()).chain(rest.buffered(SPANS_AHEAD));
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload.boxed()),
            meta,
            range,
            attributes,
        })
    }
}

impl Pin {
    fn is(&self, found: &ObjectMeta) -> bool {
        let same = match (&self.e_tag, &found.e_tag) {
            (Some(pinned), Some(found)) => opaque(pinned) == opaque(found),
            _ => self.modified == found.last_modified.timestamp(),
        };
        same && self.size == found.size
    }
}

/// An e-tag without its quotes, which listings may leave out, and the mark of a weak one.
fn opaque(e_tag: &str) -> &str {
    e_tag.strip_prefix("W/").unwrap_or(e_tag).trim_matches('"')
}

/// An error on its way through an object store's interface.
fn carried(error: Error) -> StoreError {
    StoreError::Generic { store: "input", source: Box::new(error) }
}

fn read_only() -> StoreError {
    let error = Error::internal("input files are never written");
    StoreError::NotSupported { source: Box::new(error) }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("files", &self.0.pins.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pinned files of {}", self.0.inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for Pinned {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if !options.head
            && let Some(files) = self.0.small.get(location, self).await
        {
            return files.get_opts(location, options).await;
        }
        if options.head || self.is_local() {
            return self.get_checked(location, options).await;
        }
        let size = self.pin(location)?.size;
        let range = match &options.range {
            None => 0..size,
            Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
            Some(GetRange::Offset(start)) => *start..size,
            Some(GetRange::Suffix(length)) => size.saturating_sub(*length)..size,
        };
        match range.end.saturating_sub(range.start) > SPAN_BYTES {
            true => self.get_in_spans(location, options, range).await,
            false => self.get_checked(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        if let Some(files) = self.0.small.get(location, self).await {
            return files.get_ranges(location, ranges).await;
        }
        if self.is_local() {
            self.head(location).await?;
            return match self.0.inner.get_ranges(location, ranges).await {
                Ok(got) => Ok(got),
                Err(error) => Err(self.explain(location, self.pin(location)?, error).await),
            };
        }
        let get = |range: Range<u64>| async move {
            let options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
            self.get_opts(location, options).await?.bytes().await
        };
        coalesce_ranges(ranges, get, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.0.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.0.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.0.inner.list_with_delimiter(prefix).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> StoreResult<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(read_only())
    }

    async fn rename_opts(&self, _: &Path, _: &Path, _: RenameOptions) -> StoreResult<()> {
        Err(read_only())
    }
}

#[cfg(test)]
mod tests;
