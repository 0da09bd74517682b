//! What a message of an Arrow IPC stream says of itself, against what it holds.
//!
//! Arrow believes the lengths that it is told, and allocates for them; a process that is not given
//! as much is aborted, and no panic is caught then. So nothing is handed to it that was not looked
//! at here. It checks by itself that offsets, views, runs and text are sound within their buffers.

use std::fmt;

use arrow::datatypes::{DataType, Field};
use arrow_ipc::{
    DictionaryBatch, Field as FieldTable, KeyValue, Message, RecordBatch, Schema, root_as_message,
};

use super::decode::bad;
use crate::error::{Error, Result};

/// The most rows of a batch that takes less than a bit for each: of nulls, or without columns.
/// Encoders cut batches so that they have no more.
pub(super) const MAX_BARE_ROWS: usize = 1 << 24;

/// The most bytes, or values of a fixed length, that one value of a type may have.
const MAX_FIXED: u64 = i32::MAX as u64;

/// About the bytes of a value's place in an array of values of no fixed length.
const VARIABLE_BYTES: u64 = 16;

/// The least bytes that a table of a field or of metadata takes in a message, beside its text.
const TABLE_BYTES: usize = 16;

/// A message by its head. Its tables are as they should be, not nested deeper than 64, and not more
/// than a million.
pub(super) fn parse(head: &[u8]) -> Result<Message<'_>> {
    root_as_message(head).map_err(|_| bad("the head of a message is malformed"))
}

/// Refuses a message of rows, or of a dictionary's values, that says more than its body holds,
/// which is of so many bytes. For messages that Arrow is to read without a [`super::Decoder`].
///
/// # Errors
/// `internal`, saying what is wrong.
pub fn check_message(head: &[u8], body_bytes: usize) -> Result<()> {
    let message = parse(head)?;
    if let Some(rows) = message.header_as_record_batch() {
        return check_rows(rows, body_bytes);
    }
    match message.header_as_dictionary_batch() {
        Some(dictionary) => check_dictionary(dictionary, body_bytes),
        None => Err(bad_rows("there are none")),
    }
}

/// Refuses rows that say more than their body holds, which is of so many bytes.
///
/// No byte of it may be claimed by two buffers: Arrow copies those that are not aligned, and a
/// thousand could be the whole body each.
pub(super) fn check_rows(rows: RecordBatch<'_>, body_bytes: usize) -> Result<()> {
    // Never written here. What it decompresses to is claimed, too.
    if rows.compression().is_some() {
        return Err(bad_rows("compressed"));
    }
    let mut unclaimed = body_bytes;
    for buffer in rows.buffers().into_iter().flatten() {
        let (start, length) = (claim(buffer.offset())?, claim(buffer.length())?);
        let left = unclaimed.checked_sub(length);
        unclaimed = left.filter(|_| start <= body_bytes - length).ok_or_else(|| {
            bad_rows(format_args!("buffers that a body of {body_bytes} bytes has no room for"))
        })?;
    }
    let most = body_bytes.saturating_mul(8).max(MAX_BARE_ROWS);
    let nodes = rows.nodes().into_iter().flatten().map(|node| node.length());
    for length in nodes.chain([rows.length()]) {
        if claim(length)? > most {
            return Err(bad_rows(format_args!("{length} of them in {body_bytes} bytes")));
        }
    }
    Ok(())
}

/// Refuses a dictionary as [`check_rows`] does.
pub(super) fn check_dictionary(dictionary: DictionaryBatch<'_>, body_bytes: usize) -> Result<()> {
    // Never written here. Arrow would copy all the values before for each few that come.
    if dictionary.isDelta() {
        return Err(bad_rows("a dictionary in pieces"));
    }
    match dictionary.data() {
        Some(values) => check_rows(values, body_bytes),
        None => Err(bad_rows("a dictionary without values")),
    }
}

/// Refuses a schema whose text is longer than its message, in which the same may stand for many:
/// each field gets a copy.
pub(super) fn check_schema(schema: Schema<'_>, head_bytes: usize) -> Result<()> {
    let mut unread = Unread(head_bytes);
    schema.custom_metadata().into_iter().flatten().try_for_each(|pair| unread.pair(pair))?;
    schema.fields().into_iter().flatten().try_for_each(|field| unread.field(field))
}

/// How many bytes of a message may still be read.
struct Unread(usize);

impl Unread {
    fn table(&mut self, texts: [Option<&str>; 2]) -> Result<()> {
        let text: usize = texts.into_iter().flatten().map(str::len).sum();
        let left = self.0.checked_sub(TABLE_BYTES + text);
        self.0 = left.ok_or_else(|| bad("a schema says more than its message has room for"))?;
        Ok(())
    }

    fn pair(&mut self, pair: KeyValue<'_>) -> Result<()> {
        self.table([pair.key(), pair.value()])
    }

    fn field(&mut self, field: FieldTable<'_>) -> Result<()> {
        let timestamp = field.type_as_timestamp();
        self.table([field.name(), timestamp.and_then(|timestamp| timestamp.timezone())])?;
        field.custom_metadata().into_iter().flatten().try_for_each(|pair| self.pair(pair))?;
        field.children().into_iter().flatten().try_for_each(|child| self.field(child))
    }
}

/// Refuses a type of which a single value has an absurd length, or a negative one: a null of it
/// takes as much memory as any other value.
///
/// # Errors
/// `internal`, saying what is wrong.
pub fn check_type(data_type: &DataType) -> Result<()> {
    fixed_length(data_type).map(drop)
}

/// How many bytes or values each value of a type has, whatever it is.
fn fixed_length(data_type: &DataType) -> Result<u64> {
    match data_type {
        DataType::FixedSizeBinary(length) => checked(*length, 1),
        DataType::FixedSizeList(item, length) => {
            checked(*length, fixed_length(item.data_type())?.max(1))
        }
        DataType::Struct(fields) => sum(fields.iter().map(AsRef::as_ref)),
        DataType::Union(fields, _) => sum(fields.iter().map(|(_, field)| field.as_ref())),
        DataType::Dictionary(_, values) => fixed_length(values),
        DataType::RunEndEncoded(_, values) => fixed_length(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => fixed_length(item.data_type()).map(|_| 1),
        _ => Ok(1),
    }
}

/// About how many bytes a null takes, of a type that [`check_type`] lets pass: as many as any other
/// value, for those of a fixed length.
pub fn null_bytes(data_type: &DataType) -> u64 {
    let length = |length: i32| u64::try_from(length).unwrap_or(0);
    match data_type {
        DataType::FixedSizeBinary(bytes) => length(*bytes),
        DataType::FixedSizeList(item, items) => {
            length(*items).saturating_mul(null_bytes(item.data_type()).max(1))
        }
        DataType::Struct(fields) => nulls_bytes(fields.iter().map(AsRef::as_ref)),
        DataType::Union(fields, _) => nulls_bytes(fields.iter().map(|(_, field)| field.as_ref())),
        DataType::Dictionary(_, values) => null_bytes(values),
        DataType::RunEndEncoded(_, values) => null_bytes(values.data_type()),
        other => other.primitive_width().map_or(VARIABLE_BYTES, |width| width as u64),
    }
}

fn nulls_bytes<'a>(fields: impl Iterator<Item = &'a Field>) -> u64 {
    fields.map(|field| null_bytes(field.data_type())).fold(0, u64::saturating_add)
}

fn sum<'a>(fields: impl Iterator<Item = &'a Field>) -> Result<u64> {
    let mut lengths = fields.map(|field| fixed_length(field.data_type()));
    lengths.try_fold(0_u64, |sum, length| Ok(sum.saturating_add(length?)))
}

fn checked(length: i32, of_each: u64) -> Result<u64> {
    let total = u64::try_from(length).map(|length| length.saturating_mul(of_each));
    total
        .ok()
        .filter(|total| *total <= MAX_FIXED)
        .ok_or_else(|| bad(format_args!("a type of fixed length {length}, each of {of_each}")))
}

fn claim(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| bad_rows(format_args!("a length or place of {number}")))
}

fn bad_rows(what: impl fmt::Display) -> Error {
    Error::internal(format!("bad rows from a peer: {what}"))
}

#[cfg(test)]
mod tests;
