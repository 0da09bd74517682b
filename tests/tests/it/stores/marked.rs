//! Columns that Lance marks: blobs are answered as bytes, JSON as text.

use std::{collections::HashMap, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{Array, ArrayRef, LargeBinaryArray, ListArray, RecordBatch, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema},
};
use keyloom_client::load_kv;
use lance::{
    blob::{BlobArrayBuilder, blob_field},
    dataset::WriteParams,
};

use crate::harness::{TestSession, batch, on_all_deployments_and_ways, strings, write_lance_with};

on_all_deployments_and_ways! {
    blobs_are_bytes_and_json_is_text,
    blobs_and_json_within_others_are_answered_alike,
}

const DOCUMENTS: [Option<&str>; 4] = [Some(r#"{"n":[1,2]}"#), None, Some("[]"), Some(r#""x""#)];

const BLOBS: [Option<&[u8]>; 4] = [Some(b"ab"), None, Some(b""), Some(b"\xff")];

fn json(name: &str) -> (Field, ArrayRef) {
    let metadata = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())]);
    (Field::new(name, DataType::Utf8, true).with_metadata(metadata), strings(DOCUMENTS))
}

/// Blobs within the data file, as older versions of Lance mark them.
fn marked(name: &str) -> Result<(Field, ArrayRef)> {
    let metadata = HashMap::from([("lance-encoding:blob".to_owned(), "true".to_owned())]);
    let field = Field::new(name, DataType::LargeBinary, true).with_metadata(metadata);
    Ok((field, Arc::new(LargeBinaryArray::from(BLOBS.to_vec()))))
}

/// Blobs as Lance describes them today.
fn described(name: &str) -> Result<(Field, ArrayRef)> {
    let mut builder = BlobArrayBuilder::new(BLOBS.len());
    for blob in BLOBS {
        match blob {
            Some(blob) => builder.push_bytes(blob)?,
            None => builder.push_null()?,
        }
    }
    Ok((blob_field(name, true), builder.finish()?))
}

/// Attaches a store of columns under the keys `a` to `d`.
async fn attach(
    session: &TestSession,
    alias: &str,
    version: &str,
    columns: Vec<(Field, ArrayRef)>,
) -> Result<()> {
    let id = (Field::new("id", DataType::Utf8, true), strings(["a", "b", "c", "d"]));
    let (fields, columns): (Vec<_>, Vec<_>) = [id].into_iter().chain(columns).unzip();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let params = WriteParams {
        max_rows_per_file: 2,
        data_storage_version: Some(version.parse()?),
        ..WriteParams::default()
    };
    let uri = session.path(&format!("{alias}.lance"));
    write_lance_with(&uri, &[rows], params).await?;
    Ok(session.attach(load_kv(alias, session.lance(uri, "id").await?)?, alias).await?)
}

async fn blobs_are_bytes_and_json_is_text(session: &TestSession) -> Result<()> {
    attach(session, "old", "2.1", vec![marked("image")?, json("doc")]).await?;
    attach(session, "new", "2.2", vec![described("image")?, json("doc")]).await?;
    let keys = strings([Some("c"), Some("a"), None, Some("z"), Some("b"), Some("d")]);
    session.register_batches("t", &[batch([("k", keys)])])?;
    for alias in ["old", "new"] {
        let sql = format!(
            "SELECT kv_get(k, source => '{alias}', on_error => 'null') AS g, \
             kv_exists(k, source => '{alias}') FROM t"
        );
        session
            .check(
                &sql,
                &[
                    "{id: c, image: , doc: []} | true",
                    "{id: a, image: 6162, doc: {\"n\":[1,2]}} | true",
                    "NULL | NULL",
                    "NULL | false",
                    "{id: b, image: NULL, doc: NULL} | true",
                    "{id: d, image: ff, doc: \"x\"} | true",
                ],
            )
            .await?;
        let answered = session.sql(&sql).await?.schema().field(0).data_type().clone();
        let fields = vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("image", DataType::LargeBinary, true),
            Field::new("doc", DataType::Utf8, true),
        ];
        assert_eq!(answered, DataType::Struct(fields.into()), "{alias}");
        let sql = format!(
            "SELECT octet_length(kv_get(k, source => '{alias}', on_error => 'null')['image']), \
             kv_get(k, source => '{alias}', on_error => 'null')['doc'], \
             kv_batch_get(make_array(k, 'd'), source => '{alias}', columns => ['doc'], \
             on_error => 'null') FROM t WHERE k <> 'z'"
        );
        session
            .check(
                &sql,
                &[
                    "0 | [] | [{doc: []}, {doc: \"x\"}]",
                    "2 | {\"n\":[1,2]} | [{doc: {\"n\":[1,2]}}, {doc: \"x\"}]",
                    "NULL | NULL | [{doc: NULL}, {doc: \"x\"}]",
                    "1 | \"x\" | [{doc: \"x\"}, {doc: \"x\"}]",
                ],
            )
            .await?;
    }
    Ok(())
}

async fn blobs_and_json_within_others_are_answered_alike(session: &TestSession) -> Result<()> {
    session.register_batches("t", &[batch([("k", strings(["d", "c", "b", "a"]))])])?;
    for (alias, (blob, blobs)) in [("old", marked("image")?), ("new", described("image")?)] {
        let (doc, docs) = json("doc");
        let valid = vec![true, true, false, true].into();
        let part = StructArray::new(
            vec![blob.clone(), doc].into(),
            vec![blobs.clone(), docs],
            Some(valid),
        );
        let lengths = OffsetBuffer::from_lengths([1, 2, 0, 1]);
        let list = ListArray::new(Arc::new(blob.with_name("item")), lengths, blobs, None);
        let part = (Field::new("part", part.data_type().clone(), true), Arc::new(part) as ArrayRef);
        let list = (Field::new("list", list.data_type().clone(), true), Arc::new(list) as ArrayRef);
        attach(session, alias, "2.2", vec![part, list]).await?;
        let sql = format!("SELECT kv_get(k, source => '{alias}') FROM t");
        session
            .check(
                &sql,
                &[
                    "{id: d, part: {image: ff, doc: \"x\"}, list: [ff]}",
                    "{id: c, part: NULL, list: []}",
                    "{id: b, part: {image: NULL, doc: NULL}, list: [NULL, ]}",
                    "{id: a, part: {image: 6162, doc: {\"n\":[1,2]}}, list: [6162]}",
                ],
            )
            .await?;
        let sql = format!("SELECT kv_get(k, source => '{alias}')['part']['doc'] FROM t");
        session.check(&sql, &["\"x\"", "NULL", "NULL", "{\"n\":[1,2]}"]).await?;
    }
    Ok(())
}
