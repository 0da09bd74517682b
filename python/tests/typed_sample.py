"""The package as a typed user writes it: mypy checks the types, running it checks the values."""

from __future__ import annotations

import asyncio
import io
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import keyloom
import pandas as pd
import polars as pl
import pyarrow as pa
from keyloom import (
    DataFrame,
    DataType,
    Expression,
    GroupedDataFrame,
    JobHandle,
    JobInfo,
    LogLine,
    Missed,
    Schema,
    Session,
    Written,
)
from keyloom.expressions import CaseExpression, When
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import AttachedKV, KVStore, LanceKV, MemoryKV, OtherKV, load_kv
from typing_extensions import assert_type

PEOPLE = {"ann": {"age": 30, "city": "rome"}, "bob": {"age": 40, "city": None}}


def stores(session: Session) -> AttachedKV:
    people = load_kv("memory", name="people", initial_data=PEOPLE)
    assert_type(people, MemoryKV)
    assert_type(load_kv("lance", uri=Path("ages.lance"), key="id", version=3), LanceKV)
    assert_type(KVStore.other("redis", "localhost:6379", key=["a", "b"], batch_keys=2), OtherKV)
    kind: str = "memory"
    assert_type(load_kv(kind, name="other"), KVStore)
    attached = session.attach(people)
    assert_type(attached, AttachedKV)
    assert_type(attached.alias, str)
    assert_type(attached.backend_type, str)
    assert_type(session.attach(people, "again", replace=True), AttachedKV)
    session.detach_kv("again")
    keyloom.set_kv("people")
    assert_type(keyloom.current_kv(), AttachedKV | None)
    assert_type(keyloom.has_kv("people"), bool)
    assert_type(keyloom.get_kv("people").name, str)
    assert_type(keyloom.list_kv(), list[str])
    assert_type(keyloom.workers(), list[dict[str, Any]])
    assert_type(keyloom.current_session(), Session)
    return attached


def lookups(people: AttachedKV) -> None:
    assert_type(people.get("ann"), dict[str, Any] | None)
    assert_type(people.get("eve", columns="age", on_error="null"), dict[str, Any] | None)
    assert_type(people.exists("ann"), bool | None)
    assert people.get("ann", columns=["age"]) == {"age": 30}
    many: pa.Array = people.get(["ann", "eve"], on_error="null")
    known: pa.Array = people.exists(pa.array(["ann", "eve"]))
    lists: pa.Array = people.batch_get([["ann"], []], columns=["city"], batch_size=10)
    assert (len(many), known.to_pylist(), len(lists)) == (2, [True, False], 2)
    people.refresh()

    async def later() -> None:
        assert_type(await people.aget("ann"), dict[str, Any] | None)
        assert_type(await people.aexists("ann"), bool | None)
        found: pa.Array = await people.aget(["ann"])
        assert len(found) == len(await people.abatch_get([["ann"]]))

    asyncio.run(later())


def expressions(df: DataFrame) -> None:
    assert_type(df["who"], Expression)
    assert_type(df[0], Expression)
    assert_type(df[:1], list[Expression])
    assert_type(df["n"] == 1, Expression)
    assert_type((df["n"] + 1 > 2) & ~df["who"].is_null() | (3 - df["n"] < 0), Expression)
    assert_type(-df["n"] // 2 % 3 / 4, Expression)
    assert_type(keyloom.when(df["n"] > 1), When)
    assert_type(keyloom.when(df["n"] > 1, "many"), CaseExpression)
    assert_type(keyloom.when(df["n"] > 1).then("many"), CaseExpression)
    assert_type(keyloom.when(df["n"] > 1, 2).when(df["n"] > 0).then(1).otherwise(0), Expression)
    assert_type(keyloom.coalesce(df["n"], 0), Expression)
    assert_type(keyloom.struct("who", df["n"]), Expression)
    assert_type(keyloom.lit(None), Expression)
    assert_type(df["n"].cast("string").upper().contains("1").alias("has one"), Expression)
    assert_type(df["n"].cast(DataType.float32()).round(1), Expression)
    assert_type(df["n"].sum().name(), str)
    assert_type(kv_get("who"), Expression)
    assert_type(kv_get("who", ["age"], "null", "people")["age"].fill_null(0), Expression)
    assert_type(kv_batch_get(df["friends"], columns="age", batch_size=10), Expression)
    assert_type(kv_exists("who", source="people"), Expression)


def frames(df: DataFrame) -> None:
    age = kv_get("who", on_error="null")["age"]
    enriched = (
        df.with_column("age", age)
        .with_columns({"known": kv_exists("who")})
        .where(keyloom.col("n") > 0)
        .filter("n < 10")
        .select("who", "n", "age", "known")
        .with_column_renamed("n", "count")
        .exclude("count")
        .sort(["who"], desc=True)
        .limit(10)
        .offset(0)
    )
    assert_type(enriched, DataFrame)
    assert_type(enriched.collect(), DataFrame)
    assert_type(enriched.to_pydict(), dict[str, list[Any]])
    assert enriched.to_pydict() == {
        "who": ["eve", "bob", "ann"],
        "age": [None, 40, 30],
        "known": [False, True, True],
    }
    assert_type(enriched.to_pylist(), list[dict[str, Any]])
    assert_type(enriched.to_pandas(), pd.DataFrame)
    assert_type(enriched.to_polars(), pl.DataFrame)
    assert_type(enriched.iter_rows(), Iterator[dict[str, Any]])
    assert_type(enriched.count_rows(), int)
    assert_type(len(enriched), int)
    assert_type(enriched.schema(), Schema)
    assert_type(enriched.schema()["age"].name, str)
    assert_type(enriched.column_names, list[str])
    assert_type(enriched.columns, list[Expression])
    assert_type("age" in enriched, bool)
    for row in enriched:
        assert_type(row, dict[str, Any])
    table: pa.Table = enriched.to_arrow()
    assert pa.table(enriched).equals(table)

    grouped = enriched.groupby("known")
    assert_type(grouped, GroupedDataFrame)
    assert_type(grouped.agg(keyloom.col("age").mean().alias("mean")), DataFrame)
    assert_type(grouped.agg([keyloom.col("age").max()]), DataFrame)
    assert_type(enriched.agg(keyloom.col("age").sum()), DataFrame)
    assert enriched.sum("age").to_pydict() == {"age": [70]}
    joined = enriched.join(df, on="who", how="left", suffix="_right")
    assert_type(joined, DataFrame)
    assert_type(df.explode("friends").drop_null("friends").distinct("who"), DataFrame)
    assert_type(df.concat(df), DataFrame)

    def first(frame: DataFrame, rows: int) -> DataFrame:
        return frame.limit(rows)

    def count(frame: DataFrame, factor: float) -> float:
        return frame.count_rows() * factor

    assert_type(enriched.transform(first, 1), DataFrame)
    assert_type(enriched.transform(first, rows=1), DataFrame)
    assert_type(enriched.pipe(count, 0.5), float)
    assert enriched.pipe(count, factor=0.5) == 1.5

    missed = df.with_column("age", age).collect(keep_missed=True).missed()
    assert_type(missed, Missed)
    assert_type(missed.rows, DataFrame)
    assert_type(missed.left_out, int)
    assert missed.rows.to_pydict() == {"store": ["people"], "key": ["eve"], "row": [2]}

    text = io.StringIO()
    enriched.explain(file=text)
    assert "who" in text.getvalue()


def inputs_and_outputs(df: DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        flat, files = df.select("who", "n"), Path(folder, "parquet")
        written = flat.write_parquet(files, write_mode="overwrite", target_file_bytes="1MiB")
        assert_type(written, Written)
        assert_type(written.version, int | None)
        assert written.rows == 3
        assert_type(flat.write_csv(f"{folder}/csv", "append", partition_by="n"), Written)
        assert_type(flat.write_json(f"{folder}/json", partition_by=["n"]), Written)
        assert_type(flat.write_arrow(f"{folder}/arrow", compression="zstd"), Written)
        dataset = Path(folder, "rows.lance")
        assert_type(flat.write_lance(dataset), Written)
        assert_type(flat.write_lance(dataset, "upsert", key=["who"]), Written)
        assert_type(keyloom.read_parquet(files), DataFrame)
        assert_type(keyloom.read_parquet([files, str(files)]), DataFrame)
        assert keyloom.read(files, format="parquet").count_rows() == 3
    ages = keyloom.from_pandas(pd.DataFrame({"age": [30, 40]}))
    assert_type(ages, DataFrame)
    assert_type(keyloom.from_polars(pl.DataFrame({"age": [30]})), DataFrame)
    assert_type(keyloom.from_pylist([{"age": 30}]), DataFrame)
    assert_type(keyloom.from_arrow(pa.table({"age": [30]})), DataFrame)
    assert_type(keyloom.sql("SELECT max(age) AS age FROM ages"), DataFrame)
    assert keyloom.sql("SELECT max(age) AS age FROM t", t=ages).to_pydict() == {"age": [40]}


def jobs(session: Session, df: DataFrame) -> None:
    job = df.submit("sample", id=uuid.uuid4())
    assert_type(job, JobHandle)
    info = job.wait(timeout=60)
    assert_type(info, JobInfo)
    assert_type(info.ended, datetime | None)
    assert_type(info.written, Written | None)
    assert_type(info.error, keyloom.KeyloomError | None)
    assert_type(job.results(), DataFrame)
    assert_type(job.logs(), list[LogLine])
    assert_type(session.jobs(), list[JobInfo])
    assert session.job(job.id).state == "done"


def errors() -> None:
    try:
        kv_get("who", source="nobody")
    except keyloom.NotFoundError as error:
        assert_type(error.kind, str)
        value_error: ValueError = error
        assert str(value_error).startswith("KV store 'nobody' not found")


def main() -> None:
    with keyloom.Session(workers=2, settings={"session": {"batch_rows": 4096}}) as session:
        assert_type(session, Session)
        lookups(stores(session))
        df = keyloom.from_pydict(
            {"who": ["ann", "bob", "eve"], "n": [1, 2, 3], "friends": [["bob"], [], None]}
        )
        expressions(df)
        frames(df)
        inputs_and_outputs(df)
        jobs(session, df)
        errors()


if __name__ == "__main__":
    main()
