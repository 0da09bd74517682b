//! Learns the columns of JSON files and their types from the beginning of their text.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use keyloom_common::{Error, Result};
use object_store::{ObjectMeta, ObjectStore, path::Path};

use super::{
    elements,
    misfit::{ONE_KIND, not_json},
    rows::RowReader,
    shape::Fields,
    visit,
};
use crate::input::text::{error::at_line, source};

/// Learns columns from the first bytes of all files in their order, at least from one row: fields
/// in the order in which they first come, then given ones that did not come. Also tells whether all
/// fields of all files were seen, each with a type that holds all its values.
///
/// # Errors
/// If text cannot be read, or if a field that is not given has values that no type holds together.
pub(in crate::input) async fn infer(
    store: &dyn ObjectStore,
    files: &[ObjectMeta],
    given: &Schema,
    infer_bytes: u64,
) -> Result<(SchemaRef, bool)> {
    let names = given.fields().iter().map(|field| field.name().as_str()).collect();
    let mut learner =
        Learner { given: names, fields: Fields::default(), rows: 0, left: infer_bytes };
    let mut complete = true;
    for file in files.iter().filter(|file| file.size > 0) {
        complete = complete && !learner.is_done() && learner.learn(store, file).await?;
    }
    if learner.rows == 0 && given.fields().is_empty() {
        return Err(Error::invalid("no columns: the files hold no rows, and none are given"));
    }
    // Whether all values are of a type that was given is not known.
    let complete = complete && given.fields().is_empty();
    Ok((schema(&learner.fields, given), complete))
}

fn schema(fields: &Fields, given: &Schema) -> SchemaRef {
    let mut left: HashMap<_, _> =
        given.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let mut columns = Vec::new();
    for (name, data_type) in fields.types() {
        let data_type = left.remove(name).cloned().unwrap_or(data_type);
        columns.push(Field::new(name, data_type, true));
    }
    let unseen = given.fields().iter().filter(|field| left.contains_key(field.name().as_str()));
    columns.extend(unseen.map(|field| Field::new(field.name(), field.data_type().clone(), true)));
    Arc::new(Schema::new(columns))
}

struct Learner<'a> {
    given: HashSet<&'a str>,
    fields: Fields,
    /// How many rows were looked at.
    rows: u64,
    /// How many bytes are still to be looked at.
    left: u64,
}

impl Learner<'_> {
    fn is_done(&self) -> bool {
        self.rows > 0 && self.left == 0
    }

    /// Takes the rows of a file into account; whether these were all.
    async fn learn(&mut self, store: &dyn ObjectStore, file: &ObjectMeta) -> Result<bool> {
        let path = &file.location;
        let text = source::open(store, path, 0..file.size).await?;
        let mut chunks = elements::rows(text.chunks, path).await?;
        let mut rows = RowReader::new(0);
        loop {
            let chunk = chunks.try_next().await?;
            let ended = chunk.is_none();
            let mut rest = chunk.unwrap_or_default();
            while ended || !rest.is_empty() {
                let (used, done) = rows.read(&rest);
                let _read = rest.split_to(used);
                self.left = self.left.saturating_sub(used as u64);
                if done {
                    self.observe(&rows, path)?;
                }
                if ended {
                    return Ok(true);
                }
                if self.is_done() {
                    return Ok(rest.is_empty() && chunks.try_next().await?.is_none());
                }
            }
        }
    }

    fn observe(&mut self, rows: &RowReader, path: &Path) -> Result<()> {
        self.rows += 1;
        let goes_with = visit::observe(rows.row(), &mut self.fields, &self.given)
            .map_err(|error| not_json(path, rows, &error))?;
        if goes_with {
            return Ok(());
        }
        let field = self.fields.find_mixed().unwrap_or_default();
        let what = "is of another kind than in the rows before (objects, lists and other values)";
        Err(at_line(path, rows.line(), format!("the field '{field}' {what}; {ONE_KIND}")))
    }
}
