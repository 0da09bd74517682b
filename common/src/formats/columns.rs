//! The columns of a result as a format holds them.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Date64Type, Field, FieldRef, Schema, SchemaRef},
};

use super::{Refused, Rule};

const MS_A_DAY: i64 = 86_400_000;

/// What says that a column's values mean more than their type tells.
const EXTENSION: [&str; 2] = ["ARROW:extension:name", "ARROW:extension:metadata"];

/// The columns that are written for those of a result.
#[derive(Clone, Debug)]
pub struct Columns {
    written: SchemaRef,
}

impl Columns {
    /// Columns by the rule of a format, if it can hold all of them and can tell them apart.
    ///
    /// # Errors
    /// A mistake, naming the first column that it cannot hold.
    pub fn try_new(schema: &Schema, rule: Rule) -> Result<Self, Refused> {
        if let Some(name) = twice(schema.fields()) {
            let message = format!("two columns of the result are called '{name}'");
            return Err(Refused::mistake(message).help("rename one of them with AS"));
        }
        let fields = schema.fields().iter().map(|field| ruled_field(field.name(), field, rule));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let written = Schema::new_with_metadata(fields, schema.metadata().clone());
        Ok(Self { written: Arc::new(written) })
    }

    /// What they are in the format.
    pub fn written(&self) -> &SchemaRef {
        &self.written
    }

    /// A batch of the result as it is written. No value changes.
    ///
    /// # Errors
    /// If the format cannot hold a value.
    pub fn convert(&self, batch: RecordBatch) -> Result<RecordBatch, Refused> {
        let columns = batch.columns().iter().zip(self.written.fields());
        let columns = columns.map(|(column, field)| {
            converted(column, field.data_type()).map_err(|error| {
                let message = format!("column '{}' cannot be written: {error}", field.name());
                Refused::failed(message)
            })
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.written), columns, &options)
            .map_err(|error| Refused::failed(format!("rows cannot be written: {error}")))
    }
}

/// A name that stands twice. Readers find columns and fields by name.
fn twice(fields: &[FieldRef]) -> Option<&str> {
    let mut names = HashSet::new();
    fields.iter().map(|field| field.name().as_str()).find(|name| !names.insert(*name))
}

fn ruled_field(column: &str, field: &FieldRef, rule: Rule) -> Result<FieldRef, Refused> {
    let data_type = ruled(column, field.data_type(), rule)?;
    if &data_type == field.data_type() {
        return Ok(Arc::clone(field));
    }
    // An extension is one of a certain type.
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| !EXTENSION.contains(&key.as_str()));
    Ok(Arc::new(Field::clone(field).with_data_type(data_type).with_metadata(metadata)))
}

/// A type and what is in it, by a rule.
fn ruled(column: &str, data_type: &DataType, rule: Rule) -> Result<DataType, Refused> {
    let field = |field: &FieldRef| ruled_field(column, field, rule);
    Ok(match rule(column, data_type)? {
        DataType::List(item) => DataType::List(field(&item)?),
        DataType::LargeList(item) => DataType::LargeList(field(&item)?),
        DataType::ListView(item) => DataType::ListView(field(&item)?),
        DataType::LargeListView(item) => DataType::LargeListView(field(&item)?),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(&item)?, size),
        DataType::Struct(fields) => {
            if let Some(name) = twice(&fields) {
                return Err(Refused::mistake(format!(
                    "column '{column}' holds structs with two fields called '{name}'"
                )));
            }
            DataType::Struct(fields.iter().map(field).collect::<Result<_, _>>()?)
        }
        DataType::Map(entries, sorted) => DataType::Map(field(&entries)?, sorted),
        other => other,
    })
}

fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    if !whole_days(&column.to_data()) {
        return Err("dates (Date64) have a time of day; take CAST(… AS TIMESTAMP)".to_owned());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to, &options).map_err(|error| error.to_string())
}

/// Whether dates in milliseconds are dates.
fn whole_days(data: &ArrayData) -> bool {
    if data.data_type() == &DataType::Date64 {
        let dates = make_array(data.clone());
        return dates.as_primitive::<Date64Type>().iter().flatten().all(|ms| ms % MS_A_DAY == 0);
    }
    data.child_data().iter().all(whole_days)
}
