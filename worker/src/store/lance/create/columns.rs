//! The columns of a new dataset: those of the rows, in types that Lance stores, with the key that
//! is declared.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{TryStreamExt, future::ready};
use keyloom_common::{
    Error, Result,
    store::{KEY_TYPES, KeyClass, column_names},
};

use super::NewDataset;

/// Says that a column is the primary key.
const PRIMARY_KEY: &str = "lance-schema:unenforced-primary-key";
/// Says which part of a primary key of several columns it is, from 1.
const POSITION: &str = "lance-schema:unenforced-primary-key:position";

/// The columns of a new dataset.
#[derive(Debug)]
pub(super) struct Columns(SchemaRef);

impl Columns {
    /// Those of the rows, if the key is among them.
    pub(super) fn new(dataset: &NewDataset, rows: &SchemaRef) -> Result<Self> {
        if dataset.key.is_empty() {
            return Err(Error::invalid("a store needs a key: a column, or several"));
        }
        dataset.key.iter().try_for_each(|name| check_key(name, rows))?;
        if dataset.index {
            check_index(&dataset.key, rows)?;
        }
        let declared = if dataset.declares_key { dataset.key.as_slice() } else { &[] };
        let fields = rows.fields().iter().map(|field| stored(field, declared));
        Ok(Self(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
    }

    /// The rows with these columns.
    pub(super) fn under(self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let Self(schema) = self;
        let columns = Arc::clone(&schema);
        let rows = rows.and_then(move |rows| ready(convert(&rows, &columns)));
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

fn convert(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?)?)
}

fn check_key(name: &str, rows: &SchemaRef) -> Result<()> {
    let mut named = rows.fields().iter().filter(|field| field.name() == name);
    match (named.next(), named.next()) {
        (Some(field), None) if KeyClass::of(field.data_type()).is_some() => Ok(()),
        (Some(field), None) => Err(Error::invalid(format!(
            "key column '{name}' has type {}; keys are {KEY_TYPES}",
            field.data_type()
        ))),
        (Some(_), Some(_)) => Err(Error::invalid(format!("there are two columns '{name}'"))),
        (None, _) => Err(Error::invalid(format!(
            "key column '{name}' not found; there are {}",
            column_names(rows)
        ))),
    }
}

/// Lance has no BTree of several columns, and none of some types.
fn check_index(key: &[String], rows: &SchemaRef) -> Result<()> {
    let [column] = key else {
        return Err(Error::invalid("an index is of one column, and the key has several"));
    };
    let of_key = rows.field_with_name(column)?.data_type();
    match of_key {
        DataType::Dictionary(..) | DataType::FixedSizeBinary(_) => {
            Err(Error::invalid(format!("there is no index on keys of type {of_key}; leave it out")))
        }
        _ => Ok(()),
    }
}

/// A column as it is stored in a new dataset. What the rows' own metadata declare is of another dataset.
pub(crate) fn stored(field: &Field, declared: &[String]) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    };
    let mut metadata: HashMap<_, _> = field.metadata().clone();
    metadata.retain(|name, _| !name.starts_with(PRIMARY_KEY));
    let position = declared.iter().position(|name| name == field.name());
    match position {
        Some(_) if declared.len() == 1 => {
            metadata.insert(PRIMARY_KEY.to_owned(), "true".to_owned());
        }
        Some(position) => {
            metadata.insert(POSITION.to_owned(), (position + 1).to_string());
        }
        None => {}
    }
    let nullable = field.is_nullable() && position.is_none();
    Field::new(field.name(), data_type, nullable).with_metadata(metadata)
}
