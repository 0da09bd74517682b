"""Rows in and out by Arrow: every type comes back as it went in, and other libraries take frames as
they take Arrow's own tables."""

import datetime
from decimal import Decimal

import duckdb
import keyloom
import nanoarrow
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from keyloom import col

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)

ARRAYS = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    **{
        str(dtype): pa.array([0, None, 100], dtype)
        for dtype in [
            pa.int8(),
            pa.int16(),
            pa.int32(),
            pa.int64(),
            pa.uint8(),
            pa.uint16(),
            pa.uint32(),
            pa.uint64(),
            pa.float32(),
            pa.float64(),
        ]
    },
    "float16": pa.array([1.5, None, -2.0], pa.float16()),
    "widest": pa.array([0, None, 2**64 - 1], pa.uint64()),
    "string": pa.array(["x", None, "☕"]),
    "large_string": pa.array(["x", None, "☕"], pa.large_string()),
    "string_view": pa.array(["x", None, "longer than twelve bytes"], pa.string_view()),
    "binary": pa.array([b"x", None, b"\x00\xff"]),
    "large_binary": pa.array([b"x", None, b""], pa.large_binary()),
    "binary_view": pa.array([b"x", None, b"longer than twelve bytes"], pa.binary_view()),
    "fixed_size_binary": pa.array([b"abcd", None, b"efgh"], pa.binary(4)),
    "decimal128": pa.array([Decimal("1.50"), None, Decimal("-99.99")], pa.decimal128(10, 2)),
    "decimal256": pa.array([Decimal("1.50"), None, Decimal("-99.99")], pa.decimal256(50, 2)),
    "date32": pa.array([MOMENT.date(), None, MOMENT.date()]),
    "date64": pa.array([MOMENT.date(), None, MOMENT.date()], pa.date64()),
    "time32": pa.array([datetime.time(1, 2, 3), None, datetime.time(0)], pa.time32("ms")),
    "time64": pa.array([datetime.time(1, 2, 3), None, datetime.time(0)], pa.time64("us")),
    "duration": pa.array([datetime.timedelta(1), None, datetime.timedelta(0)], pa.duration("ms")),
    "interval": pa.array([(1, 2, 3), None, (0, 0, 0)], pa.month_day_nano_interval()),
    **{
        f"timestamp in {unit}": pa.array(
            [MOMENT.replace(tzinfo=None), None, None], pa.timestamp(unit)
        )
        for unit in ["s", "ms", "us", "ns"]
    },
    "timestamp of a zone": pa.array([MOMENT, None, MOMENT], pa.timestamp("us", "Europe/Berlin")),
    "timestamp of an offset": pa.array([MOMENT, None, MOMENT], pa.timestamp("ns", "+02:00")),
    "list": pa.array([[1, None], None, []]),
    "large_list": pa.array([[1, None], None, []], pa.large_list(pa.int64())),
    "fixed_size_list": pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32(), 2)),
    "list of lists": pa.array([[[1], []], None, [None]]),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "list of structs": pa.array([[{"a": 1}], None, []]),
    "struct of lists": pa.array([{"a": [1]}, None, {"a": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["x", None, "x"]).dictionary_encode(),
    "dictionary of bytes": pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.int8()), pa.array([b"x", b"y"])
    ),
    "dictionary of numbers": pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.uint32()), pa.array([10, 20])
    ),
}


@pytest.fixture
def table():
    return pa.table({"a": [1, 2, None], "s": ["x", None, "z"]})


# Types.


@pytest.mark.parametrize("name", ARRAYS)
def test_a_type_comes_back_as_it_went_in(name):
    table = pa.table({"x": ARRAYS[name]})
    df = keyloom.from_arrow(table)
    assert df.to_arrow().equals(table)
    assert df.schema()["x"].dtype == table.schema.field("x").type
    assert df.collect().to_arrow().equals(table)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_slice_of_a_type_holds_its_rows_alone(name):
    table = pa.table({"x": ARRAYS[name], "row": [0, 1, 2]}).slice(1, 2)
    assert keyloom.from_arrow(table).to_arrow().equals(table)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_type_without_rows_stays_itself(name):
    table = pa.table({"x": ARRAYS[name]}).slice(0, 0)
    df = keyloom.from_arrow(table)
    assert df.to_arrow().schema == table.schema
    assert df.count_rows() == 0


@pytest.mark.parametrize("name", ARRAYS)
def test_a_type_goes_through_a_query(name):
    table = pa.table({"x": ARRAYS[name], "row": [0, 1, 2]})
    df = keyloom.from_arrow(table).where(col("row") > 0).sort("row", desc=True)
    backwards = pa.concat_tables([table.slice(2, 1), table.slice(1, 1)]).combine_chunks()
    assert df.to_arrow().combine_chunks().equals(backwards)


def test_all_types_go_through_together():
    table = pa.table(ARRAYS)
    assert keyloom.from_arrow(table).to_arrow().equals(table)


def test_a_column_that_is_never_null_stays_so():
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string())])
    table = pa.table({"a": [1, 2], "b": ["x", None]}, schema=schema)
    df = keyloom.from_arrow(table)
    assert df.to_arrow().schema == schema
    assert not df.schema()["a"].nullable


def test_metadata_of_columns_and_tables_stays():
    field = pa.field("a", pa.int64(), metadata={"unit": "m"})
    schema = pa.schema([field], metadata={"made": "here"})
    found = keyloom.from_arrow(pa.table({"a": [1]}, schema=schema)).to_arrow().schema
    assert found.field("a").metadata == {b"unit": b"m"}


# Slices and chunks.


def test_a_slice_of_a_table_keeps_its_rows():
    table = pa.table({"a": range(1000), "s": [str(row) for row in range(1000)]})
    for part in [table.slice(990), table.slice(10, 5), table.slice(0, 0), table.slice(1000)]:
        assert keyloom.from_arrow(part).to_arrow().equals(part)


def test_batches_of_different_offsets_keep_their_order():
    batch = pa.record_batch({"a": range(10), "l": [[row] for row in range(10)]})
    parts = [batch.slice(7), batch.slice(0, 0), batch.slice(2, 3)]
    found = keyloom.from_arrow(parts).to_pydict()
    assert found == {"a": [7, 8, 9, 2, 3, 4], "l": [[7], [8], [9], [2], [3], [4]]}


def test_many_small_chunks_become_few_tasks(capsys):
    rows = pa.table({"a": range(5000)})
    chunks = pa.concat_tables([rows.slice(start, 1) for start in range(5000)])
    assert chunks.column("a").num_chunks == 5000
    df = keyloom.from_arrow(chunks)
    df.explain(analyze=True)
    assert "RemoteExec: stage=0, tasks=1," in capsys.readouterr().out
    assert df.to_pydict() == {"a": list(range(5000))}


def test_columns_of_different_chunks_stay_side_by_side():
    table = pa.table(
        {"a": pa.chunked_array([[1], [2, 3]]), "b": pa.chunked_array([["x", "y"], ["z"]])}
    )
    assert keyloom.from_arrow(table).to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}


# Without copies.


def address(table):
    return table.column("a").chunk(0).buffers()[1].address


def test_rows_go_in_and_out_without_copies(table):
    from keyloom import _keyloom

    rows = _keyloom.Batches(table)
    assert address(pa.table(rows)) == address(table)


def test_collected_rows_are_handed_out_without_copies(table):
    df = keyloom.from_arrow(table).collect()
    assert address(df.to_arrow()) == address(df.to_arrow()) == address(pa.table(df))


def test_rows_outlive_the_frame_and_the_session():
    with keyloom.Session():
        table = keyloom.from_pydict({"a": list(range(1000))}).to_arrow()
    assert table.to_pydict() == {"a": list(range(1000))}


# Other libraries.


def test_pyarrow_takes_a_frame_as_a_stream(table):
    df = keyloom.from_arrow(table)
    assert pa.table(df).equals(table)
    reader = pa.RecordBatchReader.from_stream(df)
    assert reader.schema == table.schema
    assert reader.read_all().equals(table)
    assert pa.table(df.collect()).equals(table)
    assert pa.schema(df) == table.schema


def test_a_stream_of_a_query_tells_its_error():
    df = keyloom.from_pydict({"a": ["1", "x"]}).select(a=col("a").cast("int64"))
    with pytest.raises(Exception, match="Cannot cast string 'x' to value of Int64 type"):
        pa.table(df)


def test_a_stream_left_unread_does_no_harm(table):
    df = keyloom.from_arrow(table)
    reader = pa.RecordBatchReader.from_stream(df)
    del reader
    capsule = df.__arrow_c_stream__()
    del capsule
    assert df.to_arrow().equals(table)


def test_pandas_gives_and_takes_rows():
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, None],
            "s": ["x", None],
            "t": pd.to_datetime(["2024-01-02", None]),
            "c": pd.Categorical(["a", "b"]),
        }
    )
    df = keyloom.from_pandas(frame)
    assert df.to_pydict() == {
        "i": [1, 2],
        "f": [1.5, None],
        "s": ["x", None],
        "t": [pd.Timestamp("2024-01-02"), None],
        "c": ["a", "b"],
    }
    pd.testing.assert_frame_equal(df.to_pandas(), frame, check_dtype=False, check_categorical=False)


def test_pandas_with_columns_of_arrow_gives_and_takes_rows():
    frame = pd.DataFrame({"i": [1, None], "s": ["x", None]}).astype(
        {"i": "int64[pyarrow]", "s": pd.ArrowDtype(pa.string())}
    )
    df = keyloom.from_pandas(frame)
    assert df.to_pydict() == {"i": [1, None], "s": ["x", None]}
    pd.testing.assert_frame_equal(df.to_pandas(types_mapper=pd.ArrowDtype), frame)


@pytest.mark.parametrize("index", [None, [7, 8], ["x", "y"]])
def test_an_index_of_pandas_is_left_out_wherever_its_frame_goes(index):
    frame = pd.DataFrame({"a": [1, 2]}, index=index)
    assert keyloom.from_pandas(frame).column_names == ["a"]
    assert keyloom.from_arrow(frame).column_names == ["a"]
    assert keyloom.from_pandas([frame, frame]).to_pydict() == {"a": [1, 2, 1, 2]}
    assert keyloom.from_pandas(frame[frame["a"] > 1]).to_pydict() == {"a": [2]}


def test_polars_gives_and_takes_rows():
    frame = pl.DataFrame(
        {
            "i": [1, None],
            "s": ["x", "longer than twelve bytes"],
            "l": [[1], []],
            "st": [{"a": 1}, {"a": None}],
            "d": [MOMENT.date(), None],
            "t": [MOMENT, None],
        }
    )
    df = keyloom.from_polars(frame)
    assert df.to_pydict() == frame.to_dict(as_series=False)
    assert df.to_polars().equals(frame)
    assert pl.DataFrame(df).equals(frame)
    assert pl.DataFrame(df.collect()).equals(frame)


def test_polars_categories_are_strings_that_can_be_compared():
    frame = pl.DataFrame({"c": pl.Series(["a", "b", "a"], dtype=pl.Categorical)})
    df = keyloom.from_polars(frame)
    assert df.to_pydict() == {"c": ["a", "b", "a"]}
    assert df.where(col("c") == "a").to_pydict() == {"c": ["a", "a"]}


def test_views_of_strings_are_strings_to_every_function():
    views = pa.array(["ann", None, "longer than twelve bytes"], pa.string_view())
    df = keyloom.from_arrow(pa.table({"s": views}))
    assert df.where(col("s").startswith("longer")).to_pydict() == {
        "s": ["longer than twelve bytes"]
    }
    assert df.select(col("s").upper()).to_pydict() == {
        "s": ["ANN", None, "LONGER THAN TWELVE BYTES"]
    }
    assert df.join(keyloom.from_pydict({"s": ["ann"], "x": [1]}), on="s").to_pydict() == {
        "s": ["ann"],
        "x": [1],
    }


def test_duckdb_gives_and_takes_rows():
    made = duckdb.sql("SELECT range AS i, 'row ' || range AS s FROM range(3)")
    df = keyloom.from_arrow(made)
    assert df.to_pydict() == {"i": [0, 1, 2], "s": ["row 0", "row 1", "row 2"]}
    wider = df.with_column("twice", col("i") * 2)
    assert duckdb.from_arrow(wider.to_arrow()).fetchall() == [
        (0, "row 0", 0),
        (1, "row 1", 2),
        (2, "row 2", 4),
    ]
    assert duckdb.sql("SELECT sum(twice), max(s) FROM wider").fetchall() == [(6, "row 2")]
    collected = wider.collect()  # noqa: F841 (DuckDB finds it by its name)
    assert duckdb.sql("SELECT sum(twice), max(s) FROM collected").fetchall() == [(6, "row 2")]


def test_nanoarrow_gives_and_takes_rows():
    array = nanoarrow.Array([1, 2, None], nanoarrow.int64())
    df = keyloom.from_pydict({"a": array})
    assert df.to_pydict() == {"a": [1, 2, None]}
    stream = nanoarrow.ArrayStream(df)
    assert [row for row in stream.read_all().to_pylist()] == [{"a": 1}, {"a": 2}, {"a": None}]
    assert nanoarrow.Schema(df.schema()).field(0).name == "a"


def test_one_frame_feeds_many_libraries(table):
    df = keyloom.from_arrow(table).collect()
    assert pl.DataFrame(df).to_dict(as_series=False) == table.to_pydict()
    assert duckdb.sql("SELECT * FROM df").fetchall() == [(1, "x"), (2, None), (None, "z")]
    assert pa.table(df).equals(table)
    assert keyloom.from_arrow(df).to_arrow().equals(table)


def test_a_stream_that_raises_tells_what_it_raised(table):
    def batches():
        yield table.to_batches()[0]
        raise RuntimeError("the source is gone")

    reader = pa.RecordBatchReader.from_batches(table.schema, batches())
    with pytest.raises(Exception, match="the source is gone"):
        keyloom.from_arrow(reader)


def test_buffers_that_are_not_aligned_are_taken():
    packed = pa.py_buffer(b"x" + bytes(range(64)))
    shifted = packed.slice(1)
    numbers = pa.Array.from_buffers(pa.int64(), 8, [None, shifted])
    decimals = pa.Array.from_buffers(pa.decimal128(38, 0), 4, [None, shifted])
    table = pa.table({"n": numbers.slice(0, 4), "d": decimals})
    assert keyloom.from_arrow(table).to_arrow().equals(table)
    store = keyloom.kv.load_kv("memory", name="s", initial_data=table, key="n")
    assert store.exists(numbers).to_pylist() == [True] * 4 + [False] * 4


def test_what_a_generator_of_rows_raises_is_told():
    def rows():
        yield pa.record_batch({"x": [1]})
        raise LookupError("no more")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), rows())
    with pytest.raises(pa.ArrowInvalid, match="no more"):
        keyloom.from_arrow(reader)
