//! TPC-H with its dimensions in stores: its queries as they are written, and the right rows of
//! each, whichever way the joins with stores go. The tables and the rows stand in `data/tpch`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use keyloom_client::{JoinPath, LanceOptions, Settings, load_kv};

use crate::harness::{TestSession, on_all_deployments, run, write_lance};

on_all_deployments! {
    all_queries_are_right_whichever_way_joins_go,
}

/// The tables that are stores, and their keys.
const STORES: [(&str, &[&str]); 7] = [
    ("customer", &["c_custkey"]),
    ("nation", &["n_nationkey"]),
    ("orders", &["o_orderkey"]),
    ("part", &["p_partkey"]),
    ("partsupp", &["ps_partkey", "ps_suppkey"]),
    ("region", &["r_regionkey"]),
    ("supplier", &["s_suppkey"]),
];

/// The queries that join on stores' keys, and the stores that are looked up in each where that is
/// wanted. What the other queries join is not on a key, or wants all rows of the store.
const LOOKED_UP: &[(&str, &[&str])] = &[
    ("q02", &["nation", "part", "region", "supplier"]),
    ("q03", &["customer"]),
    ("q05", &["customer", "nation", "region", "supplier"]),
    ("q07", &["customer", "nation", "orders", "supplier"]),
    ("q08", &["customer", "nation", "orders", "part", "region", "supplier"]),
    ("q09", &["nation", "orders", "part", "partsupp", "supplier"]),
    ("q10", &["customer", "nation"]),
    ("q11", &["nation", "supplier"]),
    ("q12", &["orders"]),
    ("q14", &["part"]),
    ("q15", &["supplier"]),
    ("q16", &["part"]),
    ("q17", &["part"]),
    ("q18", &["customer"]),
    ("q19", &["part"]),
    ("q21", &["nation", "orders", "supplier"]),
];

/// The queries whose rows ask for few of a store's rows: these are looked up without a word.
const FEW: &[(&str, &[&str])] = &[("q12", &["orders"]), ("q14", &["part"])];

/// A query with its right rows.
struct Query {
    /// `q01` to `q22`.
    name: String,
    sql: String,
    answer: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tpch")
}

/// The queries, in the order of their numbers.
fn queries() -> Result<Vec<Query>> {
    let entries = fs::read_dir(folder().join("queries"))?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>>>()?;
    paths.sort();
    let read = |path: PathBuf| -> Result<Query> {
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let answer = folder().join("answers").join(&name).with_extension("txt");
        let (sql, answer) = (fs::read_to_string(&path)?, fs::read_to_string(answer)?);
        Ok(Query { name, sql, answer })
    };
    paths.into_iter().map(read).collect()
}

async fn all_queries_are_right_whichever_way_joins_go(session: &TestSession) -> Result<()> {
    write_stores(session).await?;
    let queries = queries()?;
    assert_eq!(queries.len(), 22);
    let mut wrong = Vec::new();
    for path in [JoinPath::Auto, JoinPath::Lookup, JoinPath::Scan] {
        let joining = open(session, path).await?;
        for query in &queries {
            if let Err(error) = check(&joining, path, query).await {
                wrong.push(format!("{}, {path}: {error:#}", query.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

/// Writes the tables that are stores as datasets of several fragments.
async fn write_stores(session: &TestSession) -> Result<()> {
    for (name, _) in STORES {
        let file = File::open(folder().join(name).with_extension("parquet"))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        let rows = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
        write_lance(&session.path(name), &rows, 200).await?;
    }
    Ok(())
}

/// A session on the same deployment, in which the stores are joined this way. The other table is a
/// file that is cut into a task for each row group.
async fn open(session: &TestSession, path: JoinPath) -> Result<TestSession> {
    let settings =
        Settings { task_rows: 400, task_bytes: 1024, join_path: path, ..Settings::default() };
    let joining = session.deployment().session_with(settings).await?;
    for (name, key) in STORES {
        let options = LanceOptions::new(session.path(name)).key(key.to_vec());
        joining.attach(load_kv(name, options)?, name).await?;
    }
    let lines = folder().join("lineitem.parquet");
    joining.register("lineitem", &*lines.to_string_lossy()).await?;
    Ok(joining)
}

/// Fails unless the rows are right, and the stores were looked up that should have been.
async fn check(session: &TestSession, path: JoinPath, query: &Query) -> Result<()> {
    let (rows, summary) = run(session, &query.sql).await?;
    let expected: Vec<_> = query.answer.lines().collect();
    let is_right = rows.len() == expected.len()
        && rows.iter().zip(&expected).all(|(row, expected)| is_same(row, expected));
    ensure!(is_right, "not the right rows:\n{}\nbut\n{}", query.answer, rows.join("\n"));
    let looked_up = looked_up(&summary.plan);
    let wanted = match path {
        JoinPath::Auto => FEW,
        JoinPath::Lookup => LOOKED_UP,
        JoinPath::Scan => &[],
    };
    let wanted = wanted.iter().filter(|(name, _)| *name == query.name);
    let missing: Vec<_> = wanted
        .flat_map(|(_, stores)| *stores)
        .filter(|store| !looked_up.contains(**store))
        .collect();
    ensure!(missing.is_empty(), "{missing:?} not looked up, but {looked_up:?}:\n{}", summary.plan);
    let asked = summary.stores.iter().filter(|(_, counted)| counted.keys > 0);
    let asked: Vec<_> = asked.map(|(store, _)| store).collect();
    if path == JoinPath::Scan {
        ensure!(looked_up.is_empty() && asked.is_empty(), "looked up: {looked_up:?}, {asked:?}");
    }
    ensure!(
        asked.iter().all(|store| looked_up.contains(store.as_str())),
        "keys of {asked:?}, but looked up are {looked_up:?}"
    );
    Ok(())
}

/// The stores that the lookups of a plan ask.
fn looked_up(plan: &str) -> BTreeSet<&'static str> {
    let lookups: Vec<_> = plan.lines().filter(|line| line.contains("KvLookupExec: ")).collect();
    let is_asked = |store: &str| {
        let fetch = format!(" {store}@v");
        lookups.iter().any(|line| line.contains(&fetch))
    };
    STORES.into_iter().map(|(store, _)| store).filter(|store| is_asked(store)).collect()
}

/// Whether rows are the same but for how many digits their numbers have: engines differ in the
/// types of averages and quotients.
fn is_same(row: &str, expected: &str) -> bool {
    let (values, expected): (Vec<_>, Vec<_>) =
        (row.split(" | ").collect(), expected.split(" | ").collect());
    let is_equal =
        |value: &str, expected: &str| match (value.parse::<f64>(), expected.parse::<f64>()) {
            (Ok(value), Ok(expected)) => is_close(value, expected),
            _ => value == expected,
        };
    values.len() == expected.len()
        && values.iter().zip(&expected).all(|(value, expected)| is_equal(value, expected))
}

fn is_close(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

#[test]
fn rows_are_compared_by_their_numbers() {
    assert!(is_same("a | 1.50 | 0.333333", "a | 1.5 | 0.3333333333"));
    assert!(!is_same("a | 1.51", "a | 1.5"));
    assert!(!is_same("a", "a | 1"));
    assert!(!is_same("NULL", "0"));
}
