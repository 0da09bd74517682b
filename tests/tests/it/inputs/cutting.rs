//! Into how many tasks inputs are cut, and that no row is lost or doubled by it.

use std::fs;

use anyhow::{Context, Result};
use arrow::array::{BinaryArray, Float64Array};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{LOOK, groups, look_at, looked, numbered, write_parquet};
use crate::harness::{TestSession, batch, column, ints, on_all_deployments, open_shop, strings};

on_all_deployments! {
    small_row_groups_are_one_task,
    a_large_row_group_is_cut_by_rows,
    filters_limits_and_sorts_of_a_cut_row_group,
    large_and_small_row_groups_keep_their_order,
    rows_with_large_answers_are_cut_by_their_bytes,
    large_csv_files_are_cut_between_rows,
    conditions_on_floats_find_the_same_rows_however_they_are_cut,
}

async fn small_row_groups_are_one_task(session: &TestSession) -> Result<()> {
    let path = session.path("rows.parquet");
    let pieces = [(0, 1), (1, 3), (3, 5), (5, 6), (6, 10), (10, 11)];
    write_parquet(&path, &pieces.map(|(from, to)| numbered(from, to)))?;
    open_shop(session).await?;
    session.register("f", &path).await?;
    // Row groups of 1 + 2, 2 + 1, 4 and 1 rows: no more than three together.
    assert_eq!(look_at(session, "f", 0, 11).await?, 4);
    let undivided = session.undivided().await?;
    open_shop(&undivided).await?;
    undivided.register("f", &path).await?;
    assert_eq!(look_at(&undivided, "f", 0, 11).await?, 1);
    Ok(())
}

async fn a_large_row_group_is_cut_by_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("large.parquet");
    write_parquet(&path, &[numbered(0, 40_000)])?;
    session.register("f", &path).await?;
    // The coordinator's slices are of at most 32,768 rows.
    assert_eq!(look_at(session, "f", 0, 40_000).await?, 2);
    Ok(())
}

/// What a scan skips by itself must not shift the rows at which it was cut.
async fn filters_limits_and_sorts_of_a_cut_row_group(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("large.parquet");
    write_parquet(&path, &[numbered(0, 40_000)])?;
    session.register("f", &path).await?;
    for (clause, from, to) in [
        ("WHERE n >= 39990", 39_990, 40_000),
        ("WHERE n BETWEEN 19996 AND 20003", 19_996, 20_004),
        ("WHERE n > 19990 AND n < 20005", 19_991, 20_005),
        ("WHERE n >= 20000 LIMIT 5", 20_000, 20_005),
        ("LIMIT 4", 0, 4),
        ("LIMIT 39999", 0, 39_999),
        ("LIMIT 4 OFFSET 19998", 19_998, 20_002),
        ("WHERE kv_exists(k, source => 'lance') AND n >= 39999", 39_999, 40_000),
        ("ORDER BY n LIMIT 3", 0, 3),
        ("WHERE n >= 30000 ORDER BY n LIMIT 3", 30_000, 30_003),
    ] {
        let rows = session.rows(&format!("{LOOK} {clause}")).await.context(clause)?;
        assert_eq!(rows, looked(from, to), "{clause}");
    }
    session.check("SELECT n FROM f ORDER BY n DESC LIMIT 2", &["39999", "39998"]).await?;
    let counted = "SELECT count(*), min(n), max(n), sum(n) FROM f";
    session.check(counted, &["40000 | 0 | 39999 | 799980000"]).await?;
    let half = format!("{counted} WHERE n >= 20000");
    session.check(&half, &["20000 | 20000 | 39999 | 599990000"]).await?;
    session.check("SELECT count(*) FROM f", &["40000"]).await?;
    session.check("SELECT count(*) FROM (SELECT n FROM f LIMIT 4)", &["4"]).await?;
    session.check("SELECT count(*) FROM f WHERE k = 'x'", &["10000"]).await
}

async fn large_and_small_row_groups_keep_their_order(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("parts");
    fs::create_dir(&folder)?;
    let write = |name: &str, groups: &[(i64, i64)]| {
        let groups: Vec<_> = groups.iter().map(|(from, to)| numbered(*from, *to)).collect();
        write_parquet(&format!("{folder}/{name}.parquet"), &groups)
    };
    write("1", &[(0, 2), (2, 40_000), (40_000, 40_001)])?;
    write("2", &[(40_001, 40_003)])?;
    write("3", &[(40_003, 80_000), (80_000, 80_004)])?;
    session.register("f", &folder).await?;
    // 2 rows; 39,998 in two; 1 + 2 rows of two files; 39,997 in two; 4.
    assert_eq!(look_at(session, "f", 0, 80_004).await?, 7);
    session.check("SELECT n FROM f WHERE n = 39999 OR n = 79999", &["39999", "79999"]).await
}

async fn rows_with_large_answers_are_cut_by_their_bytes(session: &TestSession) -> Result<()> {
    const MIB: usize = 1 << 20;
    let session = session.undivided().await?;
    // Noise, which no file format makes smaller.
    let mut noise = SmallRng::seed_from_u64(1);
    let images = (0..3).map(|_| (0..MIB).map(|_| noise.random()).collect::<Vec<u8>>());
    let images = images.collect::<Vec<_>>();
    let stored = batch([
        ("k", strings(["a", "b", "c"])),
        ("name", strings(["apple", "banana", "cherry"])),
        ("image", column(BinaryArray::from_iter_values(&images))),
    ]);
    session.attach_lance("lance", stored, "k").await?;
    session.register_batches("frame", &[numbered(0, 100)])?;
    let path = session.path("rows.parquet");
    write_parquet(&path, &[numbered(0, 100)])?;
    session.register("file", &path).await?;
    let path = session.path("groups.parquet");
    write_parquet(&path, &groups(0, 100, 10))?;
    session.register("row_groups", &path).await?;
    for table in ["frame", "file", "row_groups"] {
        // 100 MiB, at 32 MiB a task.
        let sql = format!(
            "SELECT n, kv_get(k, source => 'lance', on_error => 'null')['name'],
                 kv_get(k, source => 'lance', on_error => 'null')['image'] IS NULL
             FROM {table}"
        );
        let expected =
            looked(0, 100).into_iter().map(|row| format!("{row} | {}", row.ends_with("NULL")));
        let expected: Vec<_> = expected.collect();
        assert_eq!(session.rows(&sql).await?, expected);
        assert_eq!(session.summary(&sql).await?.tasks, 4, "{table}");
        // What a scan could pass over counts where it is cut.
        let late = session.rows(&format!("{sql} WHERE n >= 57")).await?;
        assert_eq!(late, expected[57..], "{table}");
        assert_eq!(look_at(&session, table, 0, 100).await?, 1, "without images");
        let few = format!("{sql} LIMIT 40");
        assert_eq!(session.rows(&few).await?.len(), 40);
        assert_eq!(session.stores(&few).await?["lance"].keys, 40, "{table}");
        let both = format!("{sql} UNION ALL SELECT n, k, true FROM {table}");
        assert_eq!(session.rows(&both).await?.len(), 200);
        assert_eq!(session.summary(&both).await?.tasks, 5, "{table}");
    }
    Ok(())
}

/// Statistics know nothing of NaN, which is greater than all numbers where conditions are asked.
async fn conditions_on_floats_find_the_same_rows_however_they_are_cut(
    session: &TestSession,
) -> Result<()> {
    let floats = |values: &[f64]| column(Float64Array::from(values.to_vec()));
    let rows =
        |ids: std::ops::Range<i64>, values| batch([("id", ints(ids)), ("f", floats(values))]);
    let whole = [rows(1..5, &[1.0, f64::NAN, -0.0, 20.0])];
    let halves = [rows(1..3, &[1.0, f64::NAN]), rows(3..5, &[-0.0, 20.0])];
    for (table, groups) in [("whole", whole.as_slice()), ("halves", halves.as_slice())] {
        let path = session.path(&format!("{table}.parquet"));
        write_parquet(&path, groups)?;
        session.register(table, &path).await?;
        for (condition, expected) in [
            ("f > 10", vec!["2", "4"]),
            ("f = 'NaN'::double", vec!["2"]),
            ("f <> 1", vec!["2", "3", "4"]),
            ("f > 10 AND id > 2", vec!["4"]),
        ] {
            let sql = format!("SELECT id FROM {table} WHERE {condition}");
            assert_eq!(session.rows(&sql).await?, expected, "{sql}");
        }
    }
    Ok(())
}

async fn large_csv_files_are_cut_between_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("parts");
    fs::create_dir(&folder)?;
    for (name, from, to) in [("b", 150, 200), ("a", 0, 150), ("c", 200, 203)] {
        let line = |n: i64| format!("{n},{}\n", ["a", "b", "x", "c"][(n % 4) as usize]);
        let lines: String = (from..to).map(line).collect();
        fs::write(format!("{folder}/{name}.csv"), format!("n,k\n{lines}"))?;
    }
    session.register("f", &folder).await?;
    // At 256 bytes a task.
    assert_eq!(look_at(session, "f", 0, 203).await?, 6);
    let undivided = session.undivided().await?;
    open_shop(&undivided).await?;
    undivided.register("f", &folder).await?;
    assert_eq!(look_at(&undivided, "f", 0, 203).await?, 1);
    Ok(())
}
