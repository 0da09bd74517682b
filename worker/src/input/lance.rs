//! Lance datasets as inputs: one file of fragments, read at one snapshot.

use std::{ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema};
use datafusion::physical_expr::PhysicalExpr;
use futures::stream::BoxStream;
use keyloom_common::{
    Result,
    input::{
        Fingerprint, Format, InputDescription, InputFile, InputInspection, InputSpec, Layout,
        Location, Piece,
    },
    plan::FileSlice,
    store::{LANCE, Options, STORAGE_OPTIONS, Snapshot, StoreKey, StoreSpec},
};

use crate::store::{OpenStores, lance::DatasetScan};

/// Whether an input is a Lance dataset: it says so, or its name does.
pub(super) fn is_lance(spec: &InputSpec) -> bool {
    match spec.format {
        Some(format) => format == Format::Lance,
        None => Format::of_path(&spec.path) == Some(Format::Lance),
    }
}

/// The dataset, unless it is at the snapshot that is known.
pub(super) async fn describe(
    stores: &OpenStores,
    spec: &InputSpec,
    known: Option<Fingerprint>,
) -> Result<InputInspection> {
    let location = Location { url: spec.path.clone(), profile: spec.storage_profile.clone() };
    let store = store(&location);
    let pinned = StoreSpec { pin: spec.pin.clone(), ..store.clone() };
    let description = stores.describe(&pinned).await?;
    let fingerprint = fingerprint(description.snapshot)?;
    if known == Some(fingerprint) {
        return Ok(InputInspection::Unchanged);
    }
    let table = stores.table(&store, description.snapshot).await?;
    let rows = table.fragment_rows().await?;
    let piece = |(place, rows): (usize, &u64)| Piece {
        start: place as u64,
        rows: Some(*rows),
        lines_before: 0,
    };
    let file = InputFile {
        path: spec.path.clone(),
        size: rows.len() as u64,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        pieces: rows.iter().enumerate().map(piece).collect(),
    };
    Ok(InputInspection::Described(Box::new(InputDescription {
        layout: Layout::Lance(description.snapshot),
        file_schema: description.schema,
        partition_schema: Arc::new(Schema::empty()),
        location,
        files: vec![file],
        fragments: table.fragment_marks(),
        fingerprint,
    })))
}

/// How the fragments of a slice are read.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) stores: Arc<OpenStores>,
    pub(super) location: Location,
    pub(super) columns: Vec<usize>,
    pub(super) predicate: Option<Arc<dyn PhysicalExpr>>,
    pub(super) batch_rows: usize,
}

impl Reader {
    /// The rows of a slice, or some of them.
    pub(super) async fn open(
        &self,
        snapshot: Snapshot,
        slice: &FileSlice,
        rows: Option<Range<usize>>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let table = self.stores.table(&store(&self.location), snapshot).await?;
        let place = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        let scan = DatasetScan {
            columns: self.columns.clone(),
            fragments: place(slice.bytes.start)..place(slice.bytes.end),
            rows,
            predicate: self.predicate.clone(),
            batch_rows: self.batch_rows,
        };
        table.scan_dataset(scan).await
    }
}

/// The dataset as stores are named. Nothing is looked up in it.
pub(super) fn store(location: &Location) -> StoreSpec {
    let mut options = Options::default();
    options.set(STORAGE_OPTIONS, location.profile.as_deref());
    let key = Some(StoreKey::Offset);
    StoreSpec { key, options, ..StoreSpec::new(&location.url, LANCE, &location.url) }
}

fn fingerprint(snapshot: Snapshot) -> Result<Fingerprint> {
    let bytes = keyloom_common::rpc::bincode::encode(&snapshot)?;
    Ok(Fingerprint(blake3::hash(&bytes).into()))
}
