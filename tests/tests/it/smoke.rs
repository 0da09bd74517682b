use std::sync::Arc;

use arrow::{array::*, util::pretty::pretty_format_batches};
use keyloom_client::{LanceOptions, MemoryOptions, OnError, Session, load_kv};

fn items() -> RecordBatch {
    let ids: ArrayRef = Arc::new(StringArray::from(vec![
        Some("item_1"),
        Some("item_2"),
        None,
        Some("nope"),
        Some("item_1"),
    ]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]));
    RecordBatch::try_from_iter([("item_id", ids), ("n", n)]).unwrap()
}

#[tokio::test]
async fn smoke() -> anyhow::Result<()> {
    let session = Session::embedded().await?;
    session
        .attach(
            load_kv("features", MemoryOptions::pairs([("item_1", "f1"), ("item_2", "f2")]))?,
            "feature_store",
        )
        .await?;
    session.register_batches("items", &[items()])?;
    session.set_kv("feature_store")?;
    let df = session.sql("SELECT item_id, kv_get(item_id, on_error => 'null') AS f, kv_exists(item_id) AS e, CASE WHEN n < 3 THEN kv_get(item_id)['value'] ELSE 'none' END AS v FROM items").await?;
    println!("{}", session.explain(df.clone(), false).await?);
    let batches = df.clone().collect().await?;
    println!("{}", pretty_format_batches(&batches)?);
    println!("{}", session.explain(df, true).await?);
    let error =
        session.sql("SELECT kv_get(item_id) FROM items").await?.collect().await.unwrap_err();
    println!("{error}");
    let df = session.from_batches(&[items()])?;
    let df = df.with_column(
        "f",
        session.kv_get("item_id").columns(["value"]).on_error(OnError::Null).build()?,
    )?;
    println!("{}", pretty_format_batches(&df.collect().await?)?);
    let df = session.sql("SELECT kv_get(item_id, on_error => 'null')['value'] AS v, count(*) AS c, sum(n) FROM items GROUP BY kv_get(item_id, on_error => 'null')['value'] ORDER BY v").await?;
    println!("{}", session.explain(df.clone(), true).await?);
    println!("{}", pretty_format_batches(&df.collect().await?)?);
    let df = session.sql("SELECT n, kv_get(item_id, on_error => 'null') FROM (SELECT * FROM items ORDER BY n DESC LIMIT 3)").await?;
    println!("{}", session.explain(df.clone(), true).await?);
    println!("{}", pretty_format_batches(&df.collect().await?)?);
    let _ = LanceOptions::new("x");
    Ok(())
}
