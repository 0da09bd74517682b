use std::slice::from_ref;

use arrow::{
    array::{DictionaryArray, Int64Array, NullArray, RecordBatchOptions, StringArray},
    datatypes::{DataType, Field, Int32Type, Schema},
};
use arrow_ipc::{
    CompressionType,
    writer::{DictionaryHandling, IpcWriteOptions, StreamWriter},
};

use super::*;
use crate::{
    ErrorKind,
    ipc::{Encoder, check::MAX_BARE_ROWS, encode_all},
    stack::deep,
};

/// What stands at the end of a stream.
const END_BYTES: usize = 8;

/// Two columns of so many numbers take so many bytes, filled up to a multiple of 64 each.
const NUMBERS: i64 = 1001;
const NUMBERS_BYTES: i64 = 8008;
const BODY_BYTES: i64 = 2 * 8064;

fn sample(rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("name {i}"))));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn numbers() -> Vec<u8> {
    let column = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..NUMBERS)) };
    encoded(&RecordBatch::try_from_iter([("a", column()), ("b", column())]).unwrap())
}

fn encoded(batch: &RecordBatch) -> Vec<u8> {
    encode_all(&batch.schema(), from_ref(batch)).unwrap().to_vec()
}

fn decoded(bytes: Vec<u8>) -> Result<Vec<RecordBatch>> {
    decode_all(bytes.into()).map(|(_, batches)| batches)
}

fn check(bytes: Vec<u8>, expected: &str) {
    let error = decoded(bytes).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, expected));
}

/// The same bytes, in which other numbers stand in the place of some.
fn with<const N: usize>(mut bytes: Vec<u8>, old: [i64; N], new: [i64; N]) -> Vec<u8> {
    let [old, new] = [old, new].map(|numbers| numbers.map(i64::to_le_bytes).concat());
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    bytes[at..at + new.len()].copy_from_slice(&new);
    bytes
}

fn with_options(options: IpcWriteOptions, batches: &[RecordBatch]) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

#[test]
fn chunks_are_bounded_and_decode_to_the_same_rows() {
    let batch = sample(10_000);
    let mut encoder = Encoder::try_new(&batch.schema(), 4096).unwrap();
    let mut chunks = encoder.write(&batch).unwrap();
    chunks.extend(encoder.finish().unwrap());
    assert!(chunks.len() > 10);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 4096));
    let mut decoder = Decoder::new();
    let batches: Vec<_> =
        chunks.into_iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
    let whole = arrow::compute::concat_batches(&batch.schema(), &batches).unwrap();
    assert_eq!(whole, batch);
}

#[test]
fn a_row_larger_than_a_chunk_passes() {
    let big: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    let batch = RecordBatch::try_from_iter([("big", big)]).unwrap();
    let mut encoder = Encoder::try_new(&batch.schema(), 4096).unwrap();
    let mut chunks = encoder.write(&batch).unwrap();
    chunks.extend(encoder.finish().unwrap());
    assert!(chunks.iter().all(|chunk| chunk.len() <= 4096));
    let mut decoder = Decoder::new();
    let batches: Vec<_> =
        chunks.into_iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
    assert_eq!(batches, [batch]);
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let batch = sample(20);
    let bytes = Bytes::from(encoded(&batch));
    for at in 0..=bytes.len() {
        let mut decoder = Decoder::new();
        let mut batches = decoder.push(bytes.slice(..at)).unwrap();
        batches.extend(decoder.push(bytes.slice(at..)).unwrap());
        assert!(decoder.is_complete());
        assert_eq!(batches, from_ref(&batch), "cut at {at}");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let bytes = encoded(&sample(50));
    for position in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[position] ^= 0x55;
        // Any outcome but a panic: a flipped value is still a value.
        let _ = decoded(bad);
    }
}

#[test]
fn rows_that_are_compressed_are_refused() {
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default().try_with_compression(Some(compression));
        let bytes = with_options(options.unwrap(), &[sample(1000)]);
        check(bytes, "bad rows from a peer: compressed");
    }
}

#[test]
fn dictionaries_come_whole_or_not_at_all() {
    let batch = |words: &[&str]| {
        let words: DictionaryArray<Int32Type> = words.iter().copied().collect();
        let words: ArrayRef = Arc::new(words);
        RecordBatch::try_from_iter([("word", words)]).unwrap()
    };
    let batches = [batch(&["a", "b", "a"]), batch(&["a", "b", "c"])];
    let written = |handling| {
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        with_options(options, &batches)
    };
    assert_eq!(decoded(written(DictionaryHandling::Resend)).unwrap(), batches);
    check(written(DictionaryHandling::Delta), "bad rows from a peer: a dictionary in pieces");
}

#[test]
fn lengths_of_parts_that_are_claimed_are_not_believed() {
    let longest = with(numbers(), [BODY_BYTES], [i64::MAX]);
    check(longest, "bad Arrow IPC from a peer: it breaks off");
    let negative = with(numbers(), [BODY_BYTES], [-1]);
    check(negative, "bad Arrow IPC from a peer: a message whose body is of -1 bytes");
    let mut head = numbers();
    head[4..8].fill(0xff);
    let message = "bad Arrow IPC from a peer: a message whose head is of 4294967295 bytes";
    check(head, message);
}

#[test]
fn buffers_that_claim_more_than_their_body_are_refused() {
    let message = "bad rows from a peer: buffers that a body of 16128 bytes has no room for";
    let first = [0, NUMBERS_BYTES];
    for claim in [[0, i64::MAX], [i64::MAX, 8], [BODY_BYTES, 8], [0, 2 * NUMBERS_BYTES]] {
        check(with(numbers(), first, claim), message);
    }
    let negative = "bad rows from a peer: a length or place of -8";
    check(with(numbers(), first, [-8, NUMBERS_BYTES]), negative);
    check(with(numbers(), first, [0, -8]), negative);
}

#[test]
fn rows_that_no_bytes_stand_for_are_refused() {
    let many = 1 << 40;
    let message = "bad rows from a peer: 1099511627776 of them in 16128 bytes";
    check(with(numbers(), [NUMBERS, 0], [many, 0]), message);
    check(with(numbers(), [NUMBERS, 0], [-1, 0]), "bad rows from a peer: a length or place of -1");
    let nulls: ArrayRef = Arc::new(NullArray::new(77));
    let nulls = encoded(&RecordBatch::try_from_iter_with_nullable([("n", nulls, true)]).unwrap());
    let message = "bad rows from a peer: 1099511627776 of them in 0 bytes";
    check(with(nulls, [77, 77], [many, many]), message);
}

#[test]
fn rows_without_bytes_are_cut_as_decoders_want_them() {
    let rows = 2 * MAX_BARE_ROWS + 5;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::empty());
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
    let mut encoder = Encoder::try_new(&schema, 4096).unwrap();
    let mut chunks = encoder.write(&batch).unwrap();
    chunks.extend(encoder.finish().unwrap());
    for bytes in [chunks.concat(), encoded(&batch)] {
        let lengths: Vec<_> = decoded(bytes).unwrap().iter().map(RecordBatch::num_rows).collect();
        assert_eq!(lengths, [MAX_BARE_ROWS, MAX_BARE_ROWS, 5]);
    }
}

#[test]
fn messages_come_in_their_order() {
    let batch = sample(3);
    let (mut schema, all) = (encode_all(&batch.schema(), &[]).unwrap().to_vec(), encoded(&batch));
    schema.truncate(schema.len() - END_BYTES);
    let rest = all[schema.len()..].to_vec();
    check(rest.clone(), "bad Arrow IPC from a peer: rows before their schema");
    let twice = [schema.clone(), all.clone()].concat();
    check(twice, "bad Arrow IPC from a peer: a second schema");
    assert_eq!(decoded([schema, rest].concat()).unwrap(), [batch]);
    let longer = [all.clone(), vec![0]].concat();
    check(longer, "bad Arrow IPC from a peer: it goes on after its end");
    check(all[4..].to_vec(), "bad Arrow IPC from a peer: no message where one should be");
    check(Vec::new(), "bad Arrow IPC from a peer: it has no schema");
}

#[test]
fn after_an_error_nothing_is_taken() {
    let mut decoder = Decoder::new();
    let bytes = Bytes::from(encoded(&sample(3)));
    assert!(decoder.push(bytes.slice(4..)).is_err());
    let error = decoder.push(bytes).unwrap_err();
    assert_eq!(error.message(), "bad Arrow IPC from a peer: it goes on after its end");
}

fn nested(levels: usize) -> SchemaRef {
    let lists = (0..levels).fold(DataType::Int64, |item, _| DataType::new_list(item, true));
    Arc::new(Schema::new(vec![Field::new("deep", lists, true)]))
}

#[test]
fn a_schema_is_as_deep_as_a_stack_bears() {
    let schema = nested(50);
    let bytes = encode_all(&schema, &[]).unwrap();
    assert_eq!(decode_schema(bytes).unwrap(), schema);
    let bytes = deep(|| encode_all(&nested(10_000), &[]).unwrap());
    let error = decode_schema(bytes).unwrap_err();
    let message = "bad Arrow IPC from a peer: the head of a message is malformed";
    assert_eq!(error.message(), message);
}

#[test]
fn types_of_absurd_lengths_are_refused() {
    let list = |item, length| DataType::new_fixed_size_list(item, length, true);
    let check = |data_type, expected: &str| {
        let schema = Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
        let error = decode_schema(encode_all(&schema, &[]).unwrap()).unwrap_err();
        let expected = format!("bad Arrow IPC from a peer: a type of fixed length {expected}");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, expected.as_str()));
    };
    check(DataType::FixedSizeBinary(-1), "-1, each of 1");
    check(list(DataType::Int8, -1), "-1, each of 1");
    check(list(list(DataType::Int8, 1 << 20), 1 << 20), "1048576, each of 1048576");
    let inner = DataType::FixedSizeBinary(i32::MAX);
    check(DataType::new_list(list(inner, 2), true), "2, each of 2147483647");
}
