use std::{collections::HashMap, slice::from_ref, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array},
    datatypes::{SchemaRef, TimeUnit},
};
use bytes::Buf;

use super::*;
use crate::{ErrorKind, ipc::encode_all};

/// The heads of a stream's messages, and the lengths of their bodies.
fn messages(stream: &[u8]) -> Vec<(&[u8], usize)> {
    let (mut rest, mut messages) = (stream, Vec::new());
    loop {
        let (_marker, length) = (rest.get_u32_le(), rest.get_u32_le() as usize);
        if length == 0 {
            return messages;
        }
        let (head, behind) = rest.split_at(length);
        let body = parse(head).unwrap().bodyLength() as usize;
        messages.push((head, body));
        rest = &behind[body..];
    }
}

fn refused(checked: Result<()>, expected: &str) {
    let error = checked.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, expected));
}

#[test]
fn rows_are_checked_against_the_length_of_their_body() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let batch = arrow::array::RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let stream = encode_all(&batch.schema(), from_ref(&batch)).unwrap();
    let [(schema, 0), (rows, body)] = messages(&stream)[..] else { panic!("two messages") };
    assert_eq!(check_message(rows, body), Ok(()));
    let room = "bad rows from a peer: buffers that a body of 4000 bytes has no room for";
    refused(check_message(rows, 4000), room);
    refused(check_message(schema, 0), "bad rows from a peer: there are none");
    let malformed = "bad Arrow IPC from a peer: the head of a message is malformed";
    refused(check_message(&rows[..rows.len() / 2], body), malformed);
    refused(check_message(&[], 0), malformed);
}

/// Fields that say as little as they can, and others that say much.
fn schema() -> SchemaRef {
    let bare = (0..100).map(|_| Field::new("", DataType::Null, true));
    let zone = DataType::Timestamp(TimeUnit::Second, Some("Europe/Paris".into()));
    let metadata = |pairs: usize| -> HashMap<_, _> {
        (0..pairs).map(|pair| (pair.to_string(), String::new())).collect()
    };
    let noted = Field::new("at", zone, true).with_metadata(metadata(10));
    let nested = DataType::new_list(DataType::Struct(vec![noted].into()), true);
    let fields: Vec<_> = bare.chain([Field::new("a column", nested, true)]).collect();
    Arc::new(arrow::datatypes::Schema::new_with_metadata(fields, metadata(100)))
}

#[test]
fn a_schema_says_no_more_than_its_message() {
    let stream = encode_all(&schema(), &[]).unwrap();
    let [(head, 0)] = messages(&stream)[..] else { panic!("one message") };
    let message = parse(head).unwrap();
    let table = message.header_as_schema().unwrap();
    assert_eq!(check_schema(table, head.len()), Ok(()));
    let message = "bad Arrow IPC from a peer: a schema says more than its message has room for";
    // 103 fields and 110 pairs take at least 16 bytes each.
    refused(check_schema(table, 213 * TABLE_BYTES), message);
    refused(check_schema(table, 0), message);
}

#[test]
fn types_of_usual_lengths_pass() {
    let list = |item, length| DataType::new_fixed_size_list(item, length, true);
    let types = [
        DataType::Null,
        DataType::FixedSizeBinary(0),
        DataType::FixedSizeBinary(i32::MAX),
        list(DataType::Float32, 0),
        list(list(list(DataType::UInt8, 3), 3840), 2160),
        DataType::new_list(list(DataType::FixedSizeBinary(1 << 15), 1 << 15), true),
    ];
    for data_type in types {
        assert_eq!(check_type(&data_type), Ok(()), "{data_type}");
    }
}

#[test]
fn a_null_of_a_fixed_length_takes_as_much_as_any_value() {
    let list = |item, length| DataType::new_fixed_size_list(item, length, true);
    let fields = vec![
        Field::new("a", list(DataType::Float32, 3), true),
        Field::new("b", DataType::FixedSizeBinary(5), true),
    ];
    for (data_type, bytes) in [
        (DataType::Int64, 8),
        (DataType::FixedSizeBinary(i32::MAX), 2_147_483_647),
        (list(DataType::Float32, 768), 3_072),
        (list(list(DataType::UInt8, 3), 1_000), 3_000),
        (list(DataType::Utf8, 2), 32),
        (DataType::Struct(fields.into()), 17),
        (list(list(DataType::Int64, i32::MAX), i32::MAX), u64::MAX),
    ] {
        assert_eq!(null_bytes(&data_type), bytes, "{data_type}");
    }
}
