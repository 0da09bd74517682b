//! How the bytes of a data file are shared among its columns of variable length.
//!
//! Files that hold the same columns, and about as many bytes a row, are taken to be alike, and what
//! stands at the end of the first of them says how many bytes each column has there. Where a column
//! came late or grew, rows have other bytes than before, and so another file is asked.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use keyloom_common::Result;
use lance::Dataset;
use lance_file::version::ConcreteFileVersion;
use lance_table::format::DataFile;

use super::Held;
use crate::store::lance::{
    error::from_lance, files::data_file::read_metadata, identity::cache_name, kept::caches::Caches,
    tasks,
};

/// Bytes by the ids of fields.
type FieldBytes = HashMap<i32, u64>;

/// What was read of a dataset's files, by the columns of variable length that they hold.
pub(super) struct Weights<'a> {
    dataset: &'a Dataset,
    caches: &'a Caches,
    known: HashMap<Vec<usize>, Vec<Known>>,
}

/// What was read of a file.
struct Known {
    /// The bytes of a row's values of variable length.
    row_bytes: u64,
    fields: FieldBytes,
}

impl<'a> Weights<'a> {
    pub(super) fn new(dataset: &'a Dataset, caches: &'a Caches) -> Self {
        Self { dataset, caches, known: HashMap::new() }
    }

    /// The bytes of each of the file's columns of variable length, whose fields are these.
    pub(super) async fn shares(&mut self, held: &Held<'_>, fields: &[&[i32]]) -> Vec<u64> {
        if fields.len() < 2 {
            return vec![held.bytes; fields.len()];
        }
        let row_bytes = held.bytes / held.rows.max(1);
        if self.like(held, row_bytes).is_none() {
            let read = Known { row_bytes, fields: self.field_bytes(held.file).await };
            self.known.entry(held.variable.clone()).or_default().push(read);
        }
        let known = self.like(held, row_bytes);
        let of_field = |field: &i32| known.and_then(|known| known.fields.get(field));
        let of = |fields: &&[i32]| fields.iter().filter_map(of_field).sum();
        let weights: Vec<u64> = fields.iter().map(of).collect();
        let all: u64 = weights.iter().sum();
        let share = |weight: u64| match all {
            0 => held.bytes / fields.len() as u64,
            all => (u128::from(held.bytes) * u128::from(weight) / u128::from(all)) as u64,
        };
        weights.into_iter().map(share).collect()
    }

    /// What was read of a file that has less than twice or more than half as many bytes a row. So
    /// few files are read, however many there are.
    fn like(&self, held: &Held<'_>, row_bytes: u64) -> Option<&Known> {
        let is_like = |known: &&Known| {
            let (less, more) = (known.row_bytes.min(row_bytes), known.row_bytes.max(row_bytes));
            more == less || more / 2 < less
        };
        self.known.get(&held.variable)?.iter().find(is_like)
    }

    /// Nothing, if the file cannot be read: its columns count alike from then on, and whoever needs
    /// their values will say what is wrong.
    async fn field_bytes(&self, file: &DataFile) -> FieldBytes {
        let name = cache_name(&self.dataset.manifest, &file.path);
        let name: Arc<str> = format!("{name} of {}", self.dataset.uri()).into();
        let read = tasks::run(column_bytes(self.dataset.clone(), file.clone()));
        let read = async { Ok::<_, Infallible>(read.await.unwrap_or_default()) };
        let Ok(by_column) = self.caches.column_bytes.get_or_insert_async(&name, read).await;
        let fields = file.fields.iter().zip(file.column_indices.iter());
        let bytes = fields.filter_map(|(field, column)| {
            Some((*field, *by_column.get(usize::try_from(*column).ok()?)?))
        });
        bytes.collect()
    }
}

/// The bytes of each column of a file.
async fn column_bytes(dataset: Dataset, file: DataFile) -> Result<Arc<[u64]>> {
    if file.file_version().map_err(from_lance)? == ConcreteFileVersion::V1 || file.base_id.is_some()
    {
        return Ok(Arc::default());
    }
    let metadata = read_metadata(&dataset, &file).await?;
    let bytes = metadata.column_infos.iter().map(|column| {
        let pages = column.page_infos.iter().flat_map(|page| page.buffer_offsets_and_sizes.iter());
        let buffers = pages.chain(column.buffer_offsets_and_sizes.iter());
        buffers.map(|(_, size)| size).sum()
    });
    Ok(bytes.collect())
}
