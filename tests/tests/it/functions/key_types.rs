//! Keys of dates, times, decimals, booleans and UUIDs: compared by what they say, whatever the
//! units.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Date64Array, Decimal128Array, FixedSizeBinaryArray,
        RecordBatch, Time32SecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    },
    compute::cast,
    datatypes::{DataType, Field, Schema},
};
use keyloom_client::ErrorKind;

use super::check;
use crate::harness::{TestSession, batch, column, ints, on_all_deployments_and_ways, strings};

on_all_deployments_and_ways! {
    dates_of_both_widths_meet,
    wide_dates_are_keys,
    timestamps_of_all_units_meet,
    instants_meet_whatever_their_zones,
    clock_times_and_instants_are_kept_apart,
    times_of_day_meet,
    booleans_are_keys,
    decimals_meet_by_their_values,
    integers_and_decimals_meet_by_their_values,
    text_is_looked_up_among_uuids,
    bytes_that_may_be_uuids_are_not_looked_up_by_text,
    floats_are_refused_with_the_cast_to_write,
    what_a_refusal_says_to_write_works,
}

/// Attaches the keys, with rows that are numbered from 1, as `lance` and `memory`.
async fn attach(session: &TestSession, keys: ArrayRef) -> Result<()> {
    let numbers = ints(1..=keys.len() as i64);
    let rows = batch([("id", keys), ("n", numbers)]);
    session.attach_lance("lance", rows.clone(), "id").await?;
    session.attach_memory("memory", rows, "id").await
}

/// Looks the columns of a table `t` up and compares the numbers of the rows found, column by
/// column.
async fn check_columns(
    session: &TestSession,
    columns: impl IntoIterator<Item = (&str, ArrayRef)>,
    expected: &[&str],
) -> Result<()> {
    let table = batch(columns);
    let schema = table.schema();
    let calls = schema.fields().iter().map(|field| {
        format!("kv_get({0}, source => 'STORE', on_error => 'null')['n'] AS {0}", field.name())
    });
    let sql = format!("SELECT {} FROM t", calls.collect::<Vec<_>>().join(", "));
    session.context().deregister_table("t")?;
    session.register_batches("t", &[table])?;
    check(session, &sql, expected).await
}

const DAY: i64 = 86_400_000;

/// Checks dates of both widths against a store of the day before the first, the first, and the
/// nineteen thousandth after it.
async fn check_dates(session: &TestSession) -> Result<()> {
    let wide = vec![Some(19_000 * DAY), None, Some(-DAY), Some(7 * DAY + 1), Some(1)];
    let narrow = vec![Some(19_000), None, Some(-1), Some(7), Some(0)];
    check_columns(
        session,
        [("wide", column(Date64Array::from(wide))), ("narrow", column(Date32Array::from(narrow)))],
        &["3 | 3", "NULL | NULL", "1 | 1", "NULL | NULL", "NULL | 2"],
    )
    .await?;
    check(
        session,
        "SELECT kv_get(DATE '2022-01-08', source => 'STORE')['n'], kv_exists(DATE '2022-01-09', \
         source => 'STORE')",
        &["3 | false"],
    )
    .await
}

async fn dates_of_both_widths_meet(session: &TestSession) -> Result<()> {
    attach(session, column(Date32Array::from(vec![-1, 0, 19_000]))).await?;
    check_dates(session).await
}

async fn wide_dates_are_keys(session: &TestSession) -> Result<()> {
    attach(session, column(Date64Array::from(vec![-DAY, 0, 19_000 * DAY]))).await?;
    check_dates(session).await
}

async fn timestamps_of_all_units_meet(session: &TestSession) -> Result<()> {
    attach(session, column(TimestampMillisecondArray::from(vec![-1, 0, 5_000]))).await?;
    let seconds = vec![Some(5), None, Some(0), Some(i64::MAX)];
    let milliseconds = vec![Some(5_000), None, Some(0), Some(1)];
    let microseconds = vec![Some(5_000_000), Some(-1_000), Some(1), Some(i64::MAX)];
    let nanoseconds = vec![Some(5_000_000_000), Some(-1_000_000), Some(-1), Some(i64::MIN)];
    check_columns(
        session,
        [
            ("s", column(TimestampSecondArray::from(seconds))),
            ("ms", column(TimestampMillisecondArray::from(milliseconds))),
            ("us", column(TimestampMicrosecondArray::from(microseconds))),
            ("ns", column(TimestampNanosecondArray::from(nanoseconds))),
        ],
        &[
            "3 | 3 | 3 | 3",
            "NULL | NULL | 1 | 1",
            "2 | 2 | NULL | NULL",
            "NULL | NULL | NULL | NULL",
        ],
    )
    .await?;
    check(session, "SELECT kv_get(TIMESTAMP '1970-01-01 00:00:05', source => 'STORE')['n']", &["3"])
        .await
}

async fn instants_meet_whatever_their_zones(session: &TestSession) -> Result<()> {
    let held = TimestampMicrosecondArray::from(vec![0, 3_600_000_000]).with_timezone("UTC");
    attach(session, column(held)).await?;
    let tokyo = TimestampSecondArray::from(vec![3_600, 1]).with_timezone("Asia/Tokyo");
    let offset = TimestampNanosecondArray::from(vec![0, 3_600_000_000_001]).with_timezone("+02:00");
    check_columns(
        session,
        [("tokyo", column(tokyo)), ("offset_2", column(offset))],
        &["2 | 1", "NULL | NULL"],
    )
    .await
}

async fn clock_times_and_instants_are_kept_apart(session: &TestSession) -> Result<()> {
    let zoned = || TimestampMicrosecondArray::from(vec![0, 3_600_000_000]).with_timezone("UTC");
    let plain = || TimestampSecondArray::from(vec![3_600, 0]);
    let rows = |keys| batch([("id", keys), ("n", ints([1, 2]))]);
    session.attach_lance("instants", rows(column(zoned())), "id").await?;
    session.attach_memory("clocks", rows(column(plain())), "id").await?;
    session.register_batches("t", &[batch([("z", column(zoned())), ("p", column(plain()))])])?;
    session
        .check_refusal(
            "SELECT kv_get(p, source => 'instants') FROM t",
            ErrorKind::Invalid,
            "a key of type Timestamp(s) cannot be looked up in KV store 'instants', whose keys are \
             of type Timestamp(µs, \"UTC\"); write kv_get(p AT TIME ZONE 'UTC', …)",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_get(z, source => 'clocks') FROM t",
            ErrorKind::Invalid,
            "a key of type Timestamp(µs, \"UTC\") cannot be looked up in KV store 'clocks', whose \
             keys are of type Timestamp(s); write kv_get(CAST(z AS TIMESTAMP), …)",
        )
        .await?;
    session
        .check(
            "SELECT kv_get(p AT TIME ZONE 'UTC', source => 'instants')['n'], \
             kv_get(CAST(z AS TIMESTAMP), source => 'clocks')['n'] FROM t",
            &["2 | 2", "1 | 1"],
        )
        .await
}

async fn times_of_day_meet(session: &TestSession) -> Result<()> {
    attach(session, column(Time32SecondArray::from(vec![0, 3_600, 86_399]))).await?;
    let nanoseconds = vec![Some(3_600_000_000_000), Some(1), None];
    check_columns(
        session,
        [
            ("s", column(Time32SecondArray::from(vec![86_399, 5, 0]))),
            ("ns", column(Time64NanosecondArray::from(nanoseconds))),
        ],
        &["3 | 2", "NULL | NULL", "1 | NULL"],
    )
    .await
}

async fn booleans_are_keys(session: &TestSession) -> Result<()> {
    attach(session, column(BooleanArray::from(vec![true]))).await?;
    let asked = BooleanArray::from(vec![Some(false), None, Some(true)]);
    check_columns(session, [("b", column(asked))], &["NULL", "NULL", "1"]).await?;
    check(
        session,
        "SELECT kv_exists(1 > 0, source => 'STORE'), kv_exists(1 < 0, source => 'STORE')",
        &["true | false"],
    )
    .await
}

fn decimals(values: &[Option<i128>], precision: u8, scale: i8) -> Result<ArrayRef> {
    let values = Decimal128Array::from(values.to_vec());
    Ok(column(values.with_precision_and_scale(precision, scale)?))
}

async fn decimals_meet_by_their_values(session: &TestSession) -> Result<()> {
    // 1.50, -0.25, 1000.00 and the least.
    let held = [Some(150), Some(-25), Some(100_000), Some(-99_999_999_999_999_999_999)];
    attach(session, decimals(&held, 20, 2)?).await?;
    check_columns(
        session,
        [
            ("narrow", decimals(&[Some(15), Some(-2), None, Some(10_000)], 6, 1)?),
            ("wide", decimals(&[Some(15_000), Some(-2_501), Some(-2_500), None], 38, 4)?),
            (
                "packed",
                cast(
                    &decimals(&[Some(150), Some(151), Some(-25), Some(150)], 9, 2)?,
                    &DataType::Dictionary(
                        Box::new(DataType::Int32),
                        Box::new(DataType::Decimal128(9, 2)),
                    ),
                )?,
            ),
        ],
        &["1 | 1 | 1", "NULL | NULL | NULL", "NULL | 2 | 2", "3 | NULL | 1"],
    )
    .await?;
    check(
        session,
        "SELECT kv_get(CAST('-999999999999999999.99' AS DECIMAL(30, 2)), source => 'STORE')['n']",
        &["4"],
    )
    .await
}

async fn integers_and_decimals_meet_by_their_values(session: &TestSession) -> Result<()> {
    attach(session, decimals(&[Some(150), Some(700)], 5, 2)?).await?;
    let asked = || [Some(7), Some(1), None, Some(i64::MAX)];
    check_columns(session, [("i", ints(asked()))], &["2", "NULL", "NULL", "NULL"]).await?;
    session
        .attach_memory("whole", batch([("id", ints([7, 8])), ("n", ints([1, 2]))]), "id")
        .await?;
    let asked = decimals(&[Some(80), Some(75), None], 38, 1)?;
    session.register_batches("d", &[batch([("d", asked)])])?;
    session
        .check(
            "SELECT kv_get(d, source => 'whole', on_error => 'null')['n'] FROM d",
            &["2", "NULL", "NULL"],
        )
        .await
}

const UUIDS: [&str; 2] =
    ["00112233-4455-6677-8899-aabbccddeeff", "ffffffff-0000-4000-8000-000000000001"];

fn uuids() -> Result<ArrayRef> {
    let bytes = UUIDS.map(|uuid| {
        let digits = uuid.replace('-', "");
        u128::from_str_radix(&digits, 16).map(u128::to_be_bytes)
    });
    let bytes = bytes.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(column(FixedSizeBinaryArray::try_from_iter(bytes.into_iter())?))
}

/// The UUIDs with numbers, in a column that says what it holds.
fn labelled() -> Result<RecordBatch> {
    let name = ("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned());
    let id = Field::new("id", DataType::FixedSizeBinary(16), true).with_metadata([name].into());
    let schema = Schema::new(vec![id, Field::new("n", DataType::Int64, true)]);
    Ok(RecordBatch::try_new(Arc::new(schema), vec![uuids()?, ints([1, 2])])?)
}

async fn text_is_looked_up_among_uuids(session: &TestSession) -> Result<()> {
    session.attach_lance("lance", labelled()?, "id").await?;
    session.attach_memory("memory", labelled()?, "id").await?;
    let upper = UUIDS[0].to_uppercase();
    let short = UUIDS[0].replace('-', "");
    let texts = strings([Some(UUIDS[1]), Some(&*upper), None, Some(&*short), Some("none")]);
    let expected = ["2", "1", "NULL", "NULL", "NULL"];
    check_columns(session, [("text", texts)], &expected).await?;
    check_columns(session, [("bytes", uuids()?)], &["1", "2"]).await
}

async fn bytes_that_may_be_uuids_are_not_looked_up_by_text(session: &TestSession) -> Result<()> {
    attach(session, uuids()?).await?;
    session.register_batches("t", &[batch([("k", strings(UUIDS))])])?;
    for store in ["lance", "memory"] {
        let message = format!(
            "a key of type Utf8 cannot be looked up in KV store '{store}', whose keys are of type \
             FixedSizeBinary(16); write kv_get(decode(replace(k, '-', ''), 'hex'), …)"
        );
        let sql = format!("SELECT kv_get(k, source => '{store}') FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, &message).await?;
    }
    check(
        session,
        "SELECT kv_get(decode(replace(k, '-', ''), 'hex'), source => 'STORE')['n'] FROM t",
        &["1", "2"],
    )
    .await
}

async fn floats_are_refused_with_the_cast_to_write(session: &TestSession) -> Result<()> {
    attach(session, ints([1, 2])).await?;
    session.register_batches("t", &[batch([("id", cast(&ints([2]), &DataType::Float64)?)])])?;
    for store in ["lance", "memory"] {
        let message = format!(
            "a key of type Float64 cannot be looked up in KV store '{store}', whose keys are of \
             type Int64; write kv_get(CAST(id AS BIGINT), …)"
        );
        let sql = format!("SELECT kv_get(id, source => '{store}') FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, &message).await?;
    }
    check(session, "SELECT kv_get(CAST(id AS BIGINT), source => 'STORE')['n'] FROM t", &["2"]).await
}

async fn what_a_refusal_says_to_write_works(session: &TestSession) -> Result<()> {
    let stores = [
        ("days", column(Date32Array::from(vec![19_000]))),
        ("clocks", column(TimestampSecondArray::from(vec![19_000 * 86_400]))),
        (
            "instants",
            column(TimestampSecondArray::from(vec![19_000 * 86_400]).with_timezone("UTC")),
        ),
        ("hours", column(Time32SecondArray::from(vec![3_600]))),
        ("prices", decimals(&[Some(150)], 10, 2)?),
        ("flags", column(BooleanArray::from(vec![true]))),
        ("words", strings(["2022-01-08"])),
        ("bytes", cast(&strings(["abc"]), &DataType::Binary)?),
        ("small", cast(&ints([7]), &DataType::UInt8)?),
    ];
    for (alias, keys) in stores {
        let rows = batch([("id", keys), ("n", ints([1]))]);
        session.attach_memory(alias, rows, "id").await?;
    }
    let cases = [
        ("days", "'2022-01-08'"),
        ("days", "TIMESTAMP '2022-01-08 00:00:00'"),
        ("clocks", "'2022-01-08T00:00:00'"),
        ("clocks", "DATE '2022-01-08'"),
        ("instants", "'2022-01-08T00:00:00'"),
        ("instants", "DATE '2022-01-08'"),
        ("instants", "TIMESTAMP '2022-01-08 00:00:00'"),
        ("hours", "'01:00:00'"),
        ("prices", "1.5"),
        ("prices", "'1.5'"),
        ("flags", "'true'"),
        ("flags", "1"),
        ("words", "DATE '2022-01-08'"),
        ("bytes", "'abc'"),
        ("small", "7.0"),
        ("small", "'7'"),
    ];
    for (store, key) in cases {
        let ask = |lookup: &str| {
            format!("SELECT kv_get({lookup}, source => '{store}')['n'] FROM (SELECT {key} AS key)")
        };
        let error = session.failure(&ask("key")).await?;
        let advice = error.message().split_once("; write kv_get(").map(|(_, advice)| advice);
        let advice = advice.and_then(|advice| advice.strip_suffix(", …)"));
        let advice = advice.with_context(|| format!("{key} in {store}: {error}"))?;
        session.check(&ask(advice), &["1"]).await?;
    }
    Ok(())
}
