//! Learns the columns of CSV files and their types from the beginning of their text.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::TryStreamExt;
use keyloom_common::{Error, Result, input::CsvOptions};
use object_store::{ObjectMeta, ObjectStore, path::Path};

use super::{convert, guess::Guess, header, misfit, nulls::is_null, records::RecordReader};
use crate::input::text::source;

/// What was learnt of CSV files.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::input) struct Learnt {
    /// The columns and their types.
    pub(in crate::input) schema: SchemaRef,
    /// The columns of numbers whose type was learnt from a part of the text.
    pub(in crate::input) unproven: Vec<String>,
}

/// Learns columns from the first bytes of all files in their order, at least from one row: those of
/// the first file that has any, then given ones of other files.
///
/// # Errors
/// If text cannot be read, names other columns than the first file and `given` do, or if `given`
/// names columns that are in no file.
pub(in crate::input) async fn infer(
    store: &dyn ObjectStore,
    files: &[ObjectMeta],
    options: &CsvOptions,
    given: &Schema,
    infer_bytes: u64,
) -> Result<Learnt> {
    check_types(given)?;
    let mut learner = Learner { options, given, columns: None, rows: 0, left: infer_bytes };
    let mut records = RecordReader::new(options, 0);
    let mut unread = files.iter();
    while !learner.is_done() {
        let Some(file) = unread.next() else { break };
        records.restart(0);
        learner.learn(store, file, &mut records).await?;
    }
    let unproven = if learner.is_done() { learner.numbers() } else { Vec::new() };
    if options.header {
        learner.find_given(store, unread, &mut records).await?;
    }
    Ok(Learnt { schema: learner.finish()?, unproven })
}

fn check_types(given: &Schema) -> Result<()> {
    match given.fields().iter().find(|field| convert::decoded(field.data_type()).is_none()) {
        Some(field) => Err(Error::invalid(format!(
            "columns: '{}' cannot be of type {} in CSV",
            field.name(),
            field.data_type()
        ))),
        None => Ok(()),
    }
}

/// A column as far as it is known.
struct Column {
    name: String,
    /// Its type, if it was given.
    given: Option<DataType>,
    guess: Guess,
}

struct Learner<'a> {
    options: &'a CsvOptions,
    given: &'a Schema,
    columns: Option<Vec<Column>>,
    /// How many rows were looked at.
    rows: u64,
    /// How many bytes are still to be looked at.
    left: u64,
}

impl Learner<'_> {
    fn is_done(&self) -> bool {
        self.rows > 0 && self.left == 0
    }

    /// The columns that are numbers as far as is known.
    fn numbers(&self) -> Vec<String> {
        let is_number = |column: &&Column| {
            let data_type = column.guess.data_type();
            column.given.is_none() && matches!(data_type, DataType::Int64 | DataType::Float64)
        };
        let columns = self.columns.iter().flatten().filter(is_number);
        columns.map(|column| column.name.clone()).collect()
    }

    /// Takes the rows of a file into account, by a reader that is at its start.
    async fn learn(
        &mut self,
        store: &dyn ObjectStore,
        file: &ObjectMeta,
        records: &mut RecordReader,
    ) -> Result<()> {
        let path = &file.location;
        let mut chunks = source::open(store, path, 0..file.size).await?.chunks;
        let mut places = None;
        loop {
            let chunk = chunks.try_next().await?;
            let ended = chunk.is_none();
            let mut rest = chunk.unwrap_or_default();
            while ended || !rest.is_empty() {
                let done = self.step(records, &mut rest);
                if done {
                    match &places {
                        None => places = Some(self.start_file(records, path)?),
                        Some(places) => self.observe(records, places, path)?,
                    }
                }
                if (ended && !done) || self.is_done() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads on; whether a record ended.
    fn step(&mut self, records: &mut RecordReader, rest: &mut Bytes) -> bool {
        let (used, done) = records.read(rest);
        let _read = rest.split_to(used);
        self.left = self.left.saturating_sub(used as u64);
        done
    }

    /// Takes the first record of a file: which column each of its values belongs to.
    fn start_file(&mut self, records: &RecordReader, path: &Path) -> Result<Vec<usize>> {
        if self.options.header {
            return self.take_names(header::names(records, path)?, path);
        }
        let count = records.values().len();
        if self.columns.is_none() {
            self.columns = Some(unnamed(count, self.given, path)?);
        }
        let places: Vec<_> = (0..self.columns.iter().flatten().count()).collect();
        self.observe(records, &places, path)?;
        Ok(places)
    }

    /// The columns that a file's header names.
    fn take_names(&mut self, names: Vec<String>, path: &Path) -> Result<Vec<usize>> {
        let given = |name: &str| self.given.field_with_name(name).ok();
        let is_first = self.columns.is_none();
        let columns = self.columns.get_or_insert_default();
        let mut known: HashMap<_, _> =
            columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at)).collect();
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = match (known.get(&name), given(&name)) {
                (Some(place), _) => *place,
                (None, None) if !is_first => return Err(misfit::unknown(path, &name)),
                (None, given) => {
                    known.insert(name.clone(), columns.len());
                    let given = given.map(|field| field.data_type().clone());
                    columns.push(Column { name, given, guess: Guess::default() });
                    columns.len() - 1
                }
            };
            places.push(place);
        }
        Ok(places)
    }

    /// Takes the values of a record into account.
    fn observe(&mut self, records: &RecordReader, places: &[usize], path: &Path) -> Result<()> {
        if records.values().len() != places.len() {
            let (found, line) = (records.values().len(), records.line());
            return Err(misfit::wrong_count(path, line, found, places.len()));
        }
        self.rows += 1;
        let columns = self.columns.as_deref_mut().unwrap_or_default();
        for (value, place) in records.values().zip(places) {
            let column = &mut columns[*place];
            if column.given.is_none() && !is_null(self.options, value) {
                column.guess.observe(value);
            }
        }
        Ok(())
    }

    /// Looks for given names in the headers of the files whose text was not looked at.
    async fn find_given(
        &mut self,
        store: &dyn ObjectStore,
        mut unread: impl Iterator<Item = &ObjectMeta>,
        records: &mut RecordReader,
    ) -> Result<()> {
        loop {
            let columns = self.columns.as_deref().unwrap_or_default();
            let missing: Vec<_> = (self.given.fields().iter())
                .filter(|field| !columns.iter().any(|column| column.name == *field.name()))
                .map(|field| field.name().as_str())
                .collect();
            if missing.is_empty() || columns.is_empty() {
                return Ok(());
            }
            let Some(file) = unread.next() else {
                let names = columns.iter().map(|column| column.name.as_str());
                return Err(not_found(&missing, names));
            };
            let names = header::look(store, &file.location, file.size, records).await?;
            self.take_names(names.unwrap_or_default(), &file.location)?;
        }
    }

    fn finish(self) -> Result<SchemaRef> {
        let Some(columns) = self.columns else {
            if self.given.fields().is_empty() {
                return Err(Error::invalid("no columns: the files are empty, and none are given"));
            }
            let fields = self.given.fields().iter();
            let fields: Vec<_> =
                fields.map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
            return Ok(Arc::new(Schema::new(fields)));
        };
        let fields: Vec<_> = (columns.into_iter())
            .map(|column| {
                let data_type = column.given.unwrap_or_else(|| column.guess.data_type());
                Field::new(column.name, data_type, true)
            })
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// The columns of files without a header.
fn unnamed(count: usize, given: &Schema, path: &Path) -> Result<Vec<Column>> {
    let given = given.fields();
    if !given.is_empty() && given.len() != count {
        return Err(Error::invalid(format!(
            "columns: {} are named, but rows of file '{path}' have {count} values; without a header, \
             all are named, in order",
            given.len()
        )));
    }
    let column = |index: usize| {
        let given = given.get(index);
        let name = given.map_or_else(|| format!("column_{}", index + 1), |f| f.name().clone());
        let given = given.map(|field| field.data_type().clone());
        Column { name, given, guess: Guess::default() }
    };
    Ok((0..count).map(column).collect())
}

fn not_found<'a>(missing: &[&str], columns: impl Iterator<Item = &'a str>) -> Error {
    let columns: Vec<_> = columns.collect();
    Error::invalid(format!(
        "columns: no file has '{}'; the columns are {}",
        missing.join("', '"),
        columns.join(", ")
    ))
}
