//! From row addresses to rows: in chunks, several at once, each fragment opened once a request.
//!
//! Addresses are sorted, distinct and hold live rows, and what comes back must be exactly these
//! rows: a chunk that reads anything else is an error, never a shorter answer.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{Schema as ArrowSchema, SchemaRef, UInt64Type},
};
use keyloom_common::{Error, Result};
use lance::{
    Dataset,
    dataset::fragment::{FileFragment, FragReadConfig, FragmentReader},
    datatypes::Schema,
};
use tokio::sync::OnceCell;

use super::{column, error::from_lance, tasks};
use crate::store::StoreSettings;

/// The name under which Lance gives a row's address.
pub(super) const ROW_ADDRESS: &str = "_rowaddr";

/// One read of some columns of one dataset.
pub(super) struct Fetch {
    dataset: Arc<Dataset>,
    schema: Schema,
    output: SchemaRef,
}

/// The fragments that a read touches, opened by the first chunk that needs them.
type Readers = HashMap<u32, OnceCell<FragmentReader>>;

impl Fetch {
    /// A read of distinct top-level columns.
    pub(super) fn new(dataset: &Arc<Dataset>, columns: &[&str]) -> Result<Arc<Self>> {
        let schema = projection(dataset, columns)?;
        let output = Arc::new(ArrowSchema::from(&schema));
        Ok(Arc::new(Self { dataset: dataset.clone(), schema, output }))
    }

    /// The rows at these addresses, in their order.
    pub(super) async fn rows(
        self: &Arc<Self>,
        addresses: &[u64],
        settings: &StoreSettings,
    ) -> Result<RecordBatch> {
        let ids = addresses.chunk_by(|left, right| left >> 32 == right >> 32);
        let readers = ids.map(|chunk| ((chunk[0] >> 32) as u32, OnceCell::new()));
        let readers = Arc::new(readers.collect::<Readers>());
        let jobs = addresses.chunks(settings.take_chunk_rows.max(1)).map(|chunk| {
            let (fetch, readers, chunk) = (self.clone(), readers.clone(), chunk.to_vec());
            async move { fetch.chunk(&readers, &chunk).await }
        });
        let jobs: Vec<_> = jobs.collect();
        let chunks = tasks::run_all(jobs, settings.take_chunks_in_flight).await?;
        concat_batches(&self.output, chunks.iter().flatten()).map_err(|error| {
            Error::resource_exhausted(format!(
                "{} rows do not fit one batch, ask for fewer keys at a time: {error}",
                addresses.len()
            ))
        })
    }

    async fn chunk(&self, readers: &Readers, addresses: &[u64]) -> Result<Vec<RecordBatch>> {
        let mut batches = vec![];
        for addresses in addresses.chunk_by(|left, right| left >> 32 == right >> 32) {
            let id = (addresses[0] >> 32) as u32;
            let reader = readers
                .get(&id)
                .ok_or_else(|| Error::internal(format!("fragment {id} was not to be read")))?;
            let reader = reader.get_or_try_init(|| self.open(id)).await?;
            let offsets: Vec<_> = addresses.iter().map(|address| *address as u32).collect();
            let rows = reader.take_as_batch(&offsets, None).await.map_err(from_lance)?;
            batches.push(self.checked(rows, addresses)?);
        }
        Ok(batches)
    }

    async fn open(&self, id: u32) -> Result<FragmentReader> {
        let config = FragReadConfig::default().with_row_address(true);
        fragment(&self.dataset, id)?.open(&self.schema, config).await.map_err(from_lance)
    }

    /// The columns of exactly the rows asked for.
    fn checked(&self, rows: RecordBatch, addresses: &[u64]) -> Result<RecordBatch> {
        let given = column(&rows, ROW_ADDRESS)?.as_primitive::<UInt64Type>();
        if given.values().as_ref() != addresses {
            return Err(Error::store(format!(
                "asked for {} rows, Lance gave {} others",
                addresses.len(),
                rows.num_rows()
            )));
        }
        let columns = self.output.fields().iter().map(|field| column(&rows, field.name()).cloned());
        Ok(RecordBatch::try_new(self.output.clone(), columns.collect::<Result<_>>()?)?)
    }
}

/// The columns as Lance knows them, in this order. Names are compared whole: a dot in a name is
/// no path.
pub(super) fn projection(dataset: &Dataset, columns: &[&str]) -> Result<Schema> {
    let fields = columns.iter().map(|name| {
        let field = dataset.schema().fields.iter().find(|field| field.name == *name);
        field.cloned().ok_or_else(|| Error::internal(format!("the dataset has no column '{name}'")))
    });
    Ok(Schema { fields: fields.collect::<Result<_>>()?, metadata: HashMap::new() })
}

pub(super) fn fragment(dataset: &Dataset, id: u32) -> Result<FileFragment> {
    dataset
        .get_fragment(id as usize)
        .ok_or_else(|| Error::internal(format!("the snapshot has no fragment {id}")))
}
