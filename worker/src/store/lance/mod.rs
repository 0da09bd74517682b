//! Lance datasets as stores: keys → rows → values.
//!
//! Only rows that stand in the snapshot and are not deleted are ever answered, and every read says
//! which rows it read: Lance drops, repeats or refuses rows otherwise, and an answer must never be
//! short or shifted.
//!
//! [`open`] opens a snapshot ([`handle`]), [`layout`] knows its fragments and deletions. Three
//! rooms lead to an answer: [`keys`] turns keys into rows, [`values`] rows into the values of
//! [`mod@column`]s, and both read [`files`]. A whole dataset is read as a [`table`]. What later
//! requests can use is [`kept`] by its [`name`], in which the dataset's [`identity`] is. [`create`]
//! makes new datasets, and a [`target`] is one that jobs write. Those on object stores may be read
//! by the machine's own identity ([`cloud`]).
//!
//! The rooms lean on each other one way: what is kept on keys, keys on values, values on files. All
//! of them lean on the [`handle`] and the [`mod@column`]s that it holds, and these on them.

mod cloud;
mod column;
mod create;
mod error;
mod factory;
mod figures;
mod files;
mod handle;
mod identity;
mod kept;
pub(crate) mod keys;
mod layout;
mod name;
mod open;
mod row;
mod spec;
mod table;
mod target;
mod tasks;
#[cfg(test)]
mod tests;
mod values;

use std::{fmt, sync::Arc};

use arrow::{
    array::ArrayRef,
    compute::cast,
    datatypes::{Field, FieldRef, Schema, SchemaRef},
};
use async_trait::async_trait;
use keyloom_common::{
    Error, ErrorKind, Result,
    store::{
        Access, LANCE, LanceFigures, LanceWay, OnDuplicateKey, ResolvedStore, RowPath, StoreKey,
    },
};

pub use self::create::{NewDataset, WrittenDataset};
use self::{
    column::Column,
    keys::{learned::Learned, locate::Located},
    name::LearnedName,
    row::Row,
    values::known::{KnownName, KnownValues},
};
pub(crate) use self::{
    create::columns::stored as stored_column,
    error::{Scrub, from_lance},
    factory::LanceFactory,
    handle::LanceHandle,
    open::{LanceKind, is_absent},
    spec::LanceSpec,
    table::DatasetScan,
    target::{Files, Target, is_plain, snapshot, stored_columns},
};
use super::{
    Found, KeyRows, KeySet, ReadStats, Request, Store, Values, kept::Kept, keys::Keys,
    requested_schema,
};

/// A snapshot of a dataset under an alias.
#[derive(Clone)]
pub(super) struct LanceStore {
    alias: String,
    schema: SchemaRef,
    key: StoreKey,
    /// Whether there is a BTree of its key.
    is_indexed: bool,
    handle: Arc<LanceHandle>,
    /// Where the rows of the job's keys are, if these were looked for at once.
    learned: Option<Arc<Kept<Learned>>>,
    /// The values at these rows, if they were read at once, too.
    known: Option<Arc<Kept<KnownValues>>>,
}

impl LanceHandle {
    /// The store as a plan names it.
    ///
    /// # Errors
    /// `invalid` if the dataset does not have the columns that the plan was made for.
    pub(super) fn bound(self: &Arc<Self>, store: &ResolvedStore) -> Result<LanceStore> {
        let held = |field: &FieldRef| {
            let held = self.schema.fields().find(field.name());
            held.is_some_and(|(_, held)| held.data_type() == field.data_type())
        };
        debug_assert_eq!(store.spec.kind, LANCE);
        if !store.schema().fields().iter().all(held) {
            return Err(Error::invalid(format!(
                "KV store '{}' at {} has other columns than when the query was planned",
                store.alias, store.description.snapshot
            )));
        }
        let figures = store.description.figures.as_ref().map(LanceFigures::of).transpose()?;
        Ok(LanceStore {
            alias: store.alias.clone(),
            schema: store.schema().clone(),
            key: store.key().clone(),
            is_indexed: figures.is_some_and(|known| known.key_index(store.key()).is_some()),
            handle: self.clone(),
            learned: None,
            known: None,
        })
    }
}

#[async_trait]
impl Store for LanceStore {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let output = requested_schema(&self.schema, &request.columns)?;
        let keys = Keys::try_new(&request.keys)?;
        let way = LanceWay::of(&request.access)?;
        let watch = &self.handle.watch;
        let located = self.locate(&keys, way, request.rows);
        let located = watch.bounded(|| "reading its keys".to_owned(), located).await;
        let Located { matches, stats: searched, limit } = self.or_cannot_read(located).await?;
        let answered = keys.len().min(limit as usize);
        let (rows, counts) = match request.rows {
            KeyRows::One => {
                let policy = self.handle.spec.on_duplicate_key;
                (self.choose(&keys, &matches, policy)?, None)
            }
            KeyRows::Any => (self.choose(&keys, &matches, OnDuplicateKey::First)?, None),
            KeyRows::All(most) => {
                let (rows, counts) = self.all_of(&keys, answered, matches, most)?;
                (rows, Some(counts))
            }
        };
        let found = self.find(&output, rows, way.rows);
        let found = watch.bounded(|| reading(&output), found).await;
        let mut found = self.or_cannot_read(found).await?;
        found.stats.add(&searched);
        if let Some(counts) = counts {
            found.held = counts.iter().map(|count| *count > 0).collect();
            found.counts = Some(counts);
            found.is_cut = answered < keys.len();
        }
        Ok(found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        let output = requested_schema(&self.schema, columns)?;
        let bytes = self.handle.watch.bounded(|| reading(&output), self.width(&output)).await;
        self.or_cannot_read(bytes).await
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let output = requested_schema(&self.schema, columns)?;
        let way = LanceWay::of(&access)?;
        let watch = &self.handle.watch;
        let learned = watch.bounded(|| "reading its keys".to_owned(), self.learn(keys)).await;
        let Some((name, learned, mut stats)) = self.or_cannot_read(learned).await? else {
            return Ok(None);
        };
        let known = self.know(name, &learned, &output, way.rows);
        let known = watch.bounded(|| reading(&output), known).await;
        let known = self.or_cannot_read(known).await?.map(|(known, read)| {
            stats.add(&read);
            known
        });
        let store = Self { learned: Some(learned), known, ..self.clone() };
        Ok(Some((Arc::new(store), stats)))
    }
}

impl LanceStore {
    /// Names the store if it was not read, and says so if that is because its snapshot is gone;
    /// keeps secrets. Not for errors about what was asked of it.
    async fn or_cannot_read<T>(&self, read: Result<T>) -> Result<T> {
        let Err(mut error) = read else { return read };
        if matches!(error.kind(), ErrorKind::Store | ErrorKind::NotFound) {
            error = self.handle.gone().await.unwrap_or(error);
        }
        let error = error.context(format_args!("KV store '{}' cannot be read", self.alias));
        Err(self.handle.scrub.clean(error))
    }

    async fn width(&self, output: &Schema) -> Result<u64> {
        let layout = self.handle.layout().await?;
        let mut bytes = 0;
        for field in output.fields() {
            let column = self.handle.column(field.name())?;
            let (widths, _) = column.widths(&self.handle, layout).await?;
            bytes = u64::saturating_add(bytes, widths.typical());
        }
        Ok(bytes)
    }

    /// The values of all rows of a set of keys, if it is better to read them at once.
    async fn know(
        &self,
        keys: LearnedName,
        learned: &Arc<Kept<Learned>>,
        output: &Schema,
        path: RowPath,
    ) -> Result<Option<(Arc<Kept<KnownValues>>, ReadStats)>> {
        let columns = self.columns(output)?;
        let names = columns.iter().map(|column| column.name().to_owned()).collect();
        let name = KnownName { keys, columns: names };
        let learned = Arc::clone(learned);
        self.handle.know(&name, &columns, move || learned.rows().to_vec(), path).await
    }

    fn columns(&self, output: &Schema) -> Result<Vec<Arc<Column>>> {
        output.fields().iter().map(|field| self.handle.column(field.name())).collect()
    }

    /// The values of the keys' rows.
    async fn find(&self, output: &Schema, rows: Vec<Option<Row>>, path: RowPath) -> Result<Found> {
        let held: Vec<bool> = rows.iter().map(Option::is_some).collect();
        if output.fields().is_empty() {
            return Ok(Found { held, ..Found::default() });
        }
        let columns = self.columns(output)?;
        let wanted: Vec<Row> = rows.into_iter().flatten().collect();
        if wanted.is_empty() {
            let columns = columns.iter().map(|_| Values::none(held.len())).collect();
            return Ok(Found { held, columns, ..Found::default() });
        }
        let known = self.known.as_ref().and_then(|known| known.at(&columns, &wanted));
        let (values, stats) = match known {
            Some(values) => (values, ReadStats::default()),
            None => self.handle.fetch(&columns, &wanted, path).await?,
        };
        let columns = output.fields().iter().zip(Values::spread(values, &held));
        let columns = columns.map(|(field, values)| conform(values, field));
        let columns = columns.collect::<Result<_>>()?;
        Ok(Found { columns, held, stats, ..Found::default() })
    }
}

impl fmt::Debug for LanceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanceStore")
            .field("alias", &self.alias)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// What is being done, as messages say it.
fn reading(columns: &Schema) -> String {
    const NAMED: usize = 3;
    let names = columns.fields().iter().take(NAMED).map(|field| format!("'{}'", field.name()));
    let named = names.collect::<Vec<_>>().join(", ");
    match columns.fields().len() {
        0 => "reading no column".to_owned(),
        1 => format!("reading column {named}"),
        2..=NAMED => format!("reading columns {named}"),
        all => format!("reading columns {named} and {} more", all - NAMED),
    }
}

/// The values as the plan's type has them.
fn conform(values: Values, field: &Field) -> Result<Values> {
    let piece = |piece: ArrayRef| {
        let same = piece.data_type() == field.data_type();
        if same { Ok(piece) } else { Ok(cast(&piece, field.data_type())?) }
    };
    let pieces = values.pieces.into_iter().map(piece).collect::<Result<_>>()?;
    Ok(Values { pieces, ..values })
}
