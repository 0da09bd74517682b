//! A JSON object a line. Arrow's own encoder writes null for what JSON has no number for, and the
//! text of an error for a date that it cannot name; here, both fail the job.

use std::{
    fmt::Debug,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, new_empty_array},
    datatypes::{DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type},
    error::ArrowError,
    json::{
        LineDelimitedWriter,
        writer::{
            Encoder, EncoderFactory, EncoderOptions, NullableEncoder, WriterBuilder, make_encoder,
        },
    },
    util::display::{ArrayFormatter, FormatOptions},
};

use super::{Refused, types::refused};

/// The columns that JSON can hold.
pub(super) fn rule(column: &str, data_type: &DataType) -> Result<DataType, Refused> {
    let field = Arc::new(Field::new(column, data_type.clone(), true));
    let array = new_empty_array(data_type);
    match make_encoder(&field, &array, &EncoderOptions::default()) {
        Ok(_) => Ok(data_type.clone()),
        Err(_) => Err(refused(column, data_type, "JSON").help("write .parquet or .arrow")),
    }
}

/// Appends a line for each row. A null stays in sight: readers that infer columns find them all.
pub(super) fn rows(batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), Refused> {
    encode(batch, text).map_err(|message| {
        let columns = batch.schema_ref().fields().iter().enumerate();
        let guilty = columns.filter(|(index, _)| {
            let column = batch.project(&[*index]).map_err(|error| error.to_string());
            column.and_then(|column| encode(&column, &mut Vec::new())).is_err()
        });
        let name = guilty.map(|(_, field)| field.name().as_str()).next().unwrap_or_default();
        Refused::failed(format!("column '{name}' cannot be written as JSON: {message}"))
            .help("write .parquet, .arrow or .csv, or replace the value in the statement")
    })
}

fn encode(batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), String> {
    let strict = Arc::new(Strict::default());
    let builder = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::clone(&strict) as Arc<dyn EncoderFactory>);
    let mut writer: LineDelimitedWriter<&mut Vec<u8>> = builder.build(text);
    let written = writer.write(batch).and_then(|()| writer.finish());
    written.map_err(|error| error.to_string())?;
    strict.fault.take().map_or(Ok(()), Err)
}

/// The first value that could not be encoded: encoders themselves have no word for it.
#[derive(Clone, Debug, Default)]
struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    fn set(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes encoders of floats and of times that notice what they cannot encode.
#[derive(Debug, Default)]
struct Strict {
    fault: Fault,
}

impl EncoderFactory for Strict {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let value: Value<'a> = match array.data_type() {
            DataType::Float16 => float::<Float16Type>(array),
            DataType::Float32 => float::<Float32Type>(array),
            DataType::Float64 => float::<Float64Type>(array),
            other if other.is_temporal() => time(array)?,
            _ => return Ok(None),
        };
        let encoder = Checked { value, fault: self.fault.clone() };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}

/// Appends the value of a row as JSON.
type Value<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), String> + 'a>;

struct Checked<'a> {
    value: Value<'a>,
    fault: Fault,
}

impl Encoder for Checked<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        if let Err(message) = (self.value)(row, out) {
            self.fault.set(message);
        }
    }
}

fn float<T: ArrowPrimitiveType>(array: &dyn Array) -> Value<'_>
where
    T::Native: Debug + Into<f64>,
{
    let values: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| {
        let value = values.value(row);
        if !value.into().is_finite() {
            return Err(format!("JSON has no number {value:?}"));
        }
        // The shortest text that reads back as the same number.
        write!(out, "{value:?}").map_err(|error| error.to_string())
    })
}

fn time(array: &dyn Array) -> Result<Value<'_>, ArrowError> {
    let values = ArrayFormatter::try_new(array, &FormatOptions::new())?;
    Ok(Box::new(move |row, out| {
        let text = values.value(row).try_to_string().map_err(|error| error.to_string())?;
        // Dates, times and intervals have no characters that JSON would escape.
        write!(out, "\"{text}\"").map_err(|error| error.to_string())
    }))
}
