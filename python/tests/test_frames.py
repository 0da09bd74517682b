"""Frames: what makes them, what their methods answer, and what they refuse.

Rows come out in the order of the input unless a method says otherwise, a name of a column is taken
as it is written, and nothing runs before rows are asked for.
"""

import datetime
import pickle

import keyloom
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from keyloom import col, lit
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

NAMES = [
    "Name",
    "a.b",
    "A.b",
    "sp ace",
    'qu"ote',
    "sing'le",
    "back`tick",
    "ünïcode ☕",
    "SELECT",
    "count(*)",
    "right.k",
    "left",
    "new\nline",
    "tab\t",
    "",
    "x" * 200,
]


@pytest.fixture
def people():
    return keyloom.from_pydict(
        {
            "k": ["a", "b", "a", None],
            "x": [1, 2, 3, None],
            "y": [1.0, 2.0, None, 4.0],
        }
    )


def lists():
    return keyloom.from_pydict(
        {
            "i": [1, 2, 3, 4],
            "l": [[1, 2], [], None, [None]],
            "m": [["a"], ["b", "c"], [], None],
        }
    )


def lookup_that_raises():
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    df = keyloom.from_pydict({"who": ["nobody"]})
    return df.with_column("age", kv_get("who", source="ages"))


# What makes frames.


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        (1, 2, 3),
        range(1, 4),
        (number for number in [1, 2, 3]),
        np.array([1, 2, 3]),
        pa.array([1, 2, 3]),
        pa.chunked_array([[1, 2], [3]]),
        pd.Series([1, 2, 3]),
        pl.Series([1, 2, 3]),
    ],
    ids=lambda values: f"{type(values).__module__}.{type(values).__name__}",
)
def test_a_column_is_made_of_any_sequence(values):
    df = keyloom.from_pydict({"x": values})
    assert df.schema()["x"].dtype == pa.int64()
    assert df.to_pydict() == {"x": [1, 2, 3]}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1.5, 2.5], dtype="float32"), pa.float32()),
        (np.array([1, 2], dtype="uint8"), pa.uint8()),
        (np.array([True, False]), pa.bool_()),
        (np.array(["a", "b"]), pa.string()),
        (np.array(["2024-01-02", "2024-01-03"], dtype="datetime64[ms]"), pa.timestamp("ms")),
    ],
)
def test_an_array_of_numpy_keeps_its_type(values, dtype):
    df = keyloom.from_pydict({"x": values})
    assert df.schema()["x"].dtype == dtype
    assert df.to_pydict() == {"x": values.tolist()}


def test_a_matrix_of_numpy_is_a_column_of_vectors():
    matrix = np.arange(6, dtype="float32").reshape(2, 3)
    df = keyloom.from_pydict({"v": matrix})
    assert df.schema()["v"].dtype == pa.list_(pa.float32(), 3)
    assert df.to_pydict() == {"v": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]}


def test_a_transposed_matrix_of_numpy_keeps_its_rows():
    matrix = np.arange(6).reshape(3, 2).T
    assert keyloom.from_pydict({"v": matrix}).to_pydict() == {"v": [[0, 2, 4], [1, 3, 5]]}


def test_a_matrix_without_rows_keeps_its_width():
    df = keyloom.from_pydict({"v": np.zeros((0, 3))})
    assert df.schema()["v"].dtype == pa.list_(pa.float64(), 3)
    assert df.to_pydict() == {"v": []}


def test_a_list_of_vectors_of_numpy_is_a_column_of_lists():
    df = keyloom.from_pydict({"v": [np.array([1, 2]), np.array([3])]})
    assert df.to_pydict() == {"v": [[1, 2], [3]]}


def test_a_nan_of_pandas_is_null_and_one_of_a_list_is_a_number():
    df = keyloom.from_pydict({"p": pd.Series([1.0, float("nan")]), "l": [1.0, float("inf")]})
    assert df.to_pydict() == {"p": [1.0, None], "l": [1.0, float("inf")]}


def test_columns_of_different_lengths_are_refused_with_their_lengths():
    with pytest.raises(keyloom.InvalidError) as error:
        keyloom.from_pydict({"a": [1], "b": [1, 2]})
    assert str(error.value) == "the columns differ in length: 'a' has 1, 'b' has 2"


def test_values_without_a_common_type_are_refused():
    with pytest.raises(keyloom.InvalidError, match="^column 'a': the values have no common type: "):
        keyloom.from_pydict({"a": [1, "x"]})


@pytest.mark.parametrize("values", [[2**64], [-(2**63) - 1], [2**63, -1], [2**63, 0.5]])
def test_integers_that_no_type_holds_are_refused(values):
    with pytest.raises(keyloom.InvalidError):
        keyloom.from_pydict({"a": values})


def test_integers_without_a_sign_are_as_large_as_they_may_be():
    df = keyloom.from_pydict({"a": [2**63, None, 2**64 - 1]})
    assert df.schema()["a"].type == pa.uint64()
    assert df.where(col("a") == lit(2**64 - 1)).to_pydict() == {"a": [2**64 - 1]}


MIXED_DATES = [datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 5)]


@pytest.mark.parametrize(
    "values",
    [
        MIXED_DATES,
        np.array(MIXED_DATES, dtype=object),
        pd.Series(MIXED_DATES, dtype=object),
        [MIXED_DATES[0], pd.NaT],
    ],
)
def test_times_of_day_among_dates_are_refused(values):
    with pytest.raises(keyloom.InvalidError, match="stands among dates"):
        keyloom.from_pydict({"day": values})


def test_times_of_day_among_dates_of_pandas_are_refused():
    frame = pd.DataFrame({"x": [1, 2], "day": pd.Series(MIXED_DATES, dtype=object)})
    with pytest.raises(keyloom.InvalidError, match="stands among dates"):
        keyloom.from_pandas(frame)
    days = pd.DataFrame({"day": pd.Series([MIXED_DATES[0], pd.NaT], dtype=object)})
    assert keyloom.from_pandas(days).to_pydict() == {"day": [MIXED_DATES[0], None]}


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_nanoseconds_of_pandas_are_kept(zone):
    moment = pd.Timestamp(1_700_000_000_123_456_789, tz=zone)
    frame = pd.DataFrame({"at": pd.Series([moment, None], dtype=object)})
    for df in [
        keyloom.from_pydict({"at": [moment, None]}),
        keyloom.from_pandas(frame),
        keyloom.from_pydict({"x": [1]}).select(at=lit(moment)),
    ]:
        assert df.schema()["at"].type == pa.timestamp("ns", zone)
        assert df.to_arrow()["at"][0].value == moment.value
    lasted = keyloom.from_pydict({"lasted": [pd.Timedelta(5)]}).to_arrow()["lasted"]
    assert lasted.type == pa.duration("ns") and lasted[0].value == 5


def test_rows_without_columns_are_counted():
    for df in [keyloom.from_pylist([{}, {}]), keyloom.from_pandas(pd.DataFrame(index=range(2)))]:
        assert df.column_names == [] and df.count_rows() == 2


@pytest.mark.parametrize("make", [keyloom.from_pydict, lambda data: keyloom.from_pylist([data])])
def test_a_name_that_is_no_name_is_refused(make):
    with pytest.raises(TypeError, match="^a column has a name, not a int: 1$"):
        make({1: [1]})
    with pytest.raises(keyloom.InvalidError, match="Arrow has no names with the character 0"):
        make({"a\0b": [1]})


def test_what_has_no_rows_is_refused_by_its_kind():
    for data, kind in [
        (pa.array([1]), "pyarrow's Int64Array"),
        (pl.Series([1]), "polars's Series"),
        (pl.DataFrame({"x": pl.Series([1], dtype=pl.Int128)}), "polars's DataFrame"),
    ]:
        with pytest.raises(keyloom.InvalidError, match=f"^{kind} is no table of rows"):
            keyloom.from_arrow(data)
    with pytest.raises(keyloom.InvalidError, match="Duplicate column names"):
        keyloom.from_pandas(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(TypeError, match="not a Series"):
        keyloom.from_pandas(pd.Series([1]))


@pytest.fixture
def sorted_rows(session):
    return keyloom.from_pydict({"x": [3, 1, 2, 5, 4], "l": [[i, -i] for i in range(5)]}).sort(
        "x", desc=True
    )


def test_sorted_rows_keep_their_order_through_conditions_in_sql(sorted_rows):
    some = sorted_rows.where("x > 1").select("x")
    assert some.to_pydict() == {"x": [5, 4, 3, 2]}
    assert some.limit(2).to_pydict() == {"x": [5, 4]}


def test_sorted_rows_keep_their_order_through_concat(sorted_rows):
    rows = sorted_rows.select("x")
    other = keyloom.from_pydict({"x": [0, 7]})
    assert rows.concat(other).to_pydict() == {"x": [5, 4, 3, 2, 1, 0, 7]}
    assert other.concat(rows).limit(4).to_pydict() == {"x": [0, 7, 5, 4]}
    assert rows.concat(rows.sort("x")).to_pydict() == {"x": [5, 4, 3, 2, 1, 1, 2, 3, 4, 5]}


def test_sorted_rows_keep_their_order_through_explode(sorted_rows):
    exploded = sorted_rows.explode("l").limit(4)
    assert exploded.to_pydict() == {"x": [5, 5, 4, 4], "l": [3, -3, 4, -4]}


def test_groups_by_whether_a_store_holds_the_key(session):
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    found = kv_get("who", source="ages", on_error="null")
    who = keyloom.from_pydict({"who": ["ann", "eve", None]})
    for known in [found.is_not_null(), ~found.is_null()]:
        counted = who.with_column("known", known).groupby("known").agg(lit(1).count().alias("n"))
        assert counted.sort("known").to_pydict() == {"known": [False, True], "n": [2, 1]}
        assert who.select(known=known).distinct().sort("known").to_pydict()["known"] == [
            False,
            True,
        ]


def test_a_condition_in_sql_is_a_condition_alone():
    df = keyloom.from_pydict({"x": [1, 2]})
    assert df.where("x > 1 -- only these").to_pydict() == {"x": [2]}
    assert df.where("x > 1 OR x < 2").count_rows() == 2
    for more in ["x > 0 ORDER BY x", "x > 0 LIMIT 1", "true UNION ALL SELECT 3"]:
        with pytest.raises(keyloom.InvalidError):
            df.where(more)


def test_a_frame_goes_on_in_every_way_when_its_session_is_closed():
    with keyloom.Session():
        df = keyloom.from_pydict({"x": [1]})
    assert df.with_join_path("scan").to_pydict() == {"x": [1]}
    assert df.with_shuffle("auto").to_pydict() == {"x": [1]}
    assert df.with_group_keys("always").to_pydict() == {"x": [1]}


def test_what_a_dict_lacks_is_null_in_its_row():
    df = keyloom.from_pylist([{"a": 1}, {"b": "x", "a": None}, {}])
    assert df.to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": None, "b": None},
    ]


def test_rows_come_of_a_generator_of_dicts():
    df = keyloom.from_pylist({"a": number} for number in range(3))
    assert df.to_pydict() == {"a": [0, 1, 2]}


def test_a_row_that_is_no_dict_is_refused():
    with pytest.raises(keyloom.InvalidError, match="^a list of rows holds dicts, not int$"):
        keyloom.from_pylist([{"a": 1}, 3])


def batches():
    return [pa.record_batch({"a": [1, 2]}), pa.record_batch({"a": [3]})]


@pytest.mark.parametrize(
    "data",
    [
        lambda: pa.table({"a": [1, 2, 3]}),
        lambda: pa.record_batch({"a": [1, 2, 3]}),
        batches,
        lambda: tuple(batches()),
        lambda: iter(batches()),
        lambda: (batch for batch in batches()),
        lambda: [pa.table({"a": [1, 2]}), pa.record_batch({"a": [3]})],
        lambda: pa.RecordBatchReader.from_batches(batches()[0].schema, batches()),
        lambda: pl.DataFrame({"a": [1, 2, 3]}),
        lambda: keyloom.from_pydict({"a": [1, 2, 3]}),
    ],
    ids=[
        "table",
        "batch",
        "list of batches",
        "tuple of batches",
        "iterator",
        "generator",
        "list of both",
        "reader",
        "polars",
        "frame",
    ],
)
def test_a_frame_is_made_of_whatever_arrow_has(data):
    assert keyloom.from_arrow(data()).to_pydict() == {"a": [1, 2, 3]}


def test_tables_of_different_columns_make_no_frame():
    with pytest.raises(keyloom.InvalidError):
        keyloom.from_arrow([pa.table({"a": [1]}), pa.table({"b": [1]})])


@pytest.mark.parametrize("data", [3, "abc", None])
def test_a_frame_is_not_made_of_what_has_no_rows(data):
    with pytest.raises(TypeError, match="^a table of rows cannot be made of "):
        keyloom.from_arrow(data)


def test_a_frame_of_pandas_leaves_the_index_out():
    data = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 8])
    df = keyloom.from_pandas(data)
    assert df.to_pydict() == {"a": [1, 2], "b": ["x", None]}


def test_a_list_of_frames_of_pandas_is_one_frame():
    df = keyloom.from_pandas([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2, 3]})])
    assert df.to_pydict() == {"a": [1, 2, 3]}


def test_a_frame_of_polars_keeps_its_rows():
    df = keyloom.from_polars(pl.DataFrame({"a": [1, 2], "b": ["x", None]}))
    assert df.to_pydict() == {"a": [1, 2], "b": ["x", None]}


def test_two_columns_of_one_name_make_no_frame_and_the_name_is_told():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["same", "same"])
    with pytest.raises(keyloom.InvalidError, match="same"):
        keyloom.from_arrow(table)


@pytest.mark.parametrize(
    "empty",
    [lambda: keyloom.from_pydict({}), lambda: keyloom.from_pylist([])],
    ids=["dict", "list"],
)
def test_a_frame_of_nothing_has_no_columns_and_no_rows(empty):
    df = empty()
    assert (df.column_names, df.count_rows(), df.to_pydict()) == ([], 0, {})


def test_a_frame_without_rows_keeps_its_types_through_everything():
    df = keyloom.from_pydict({"k": pa.array([], pa.string()), "x": pa.array([], pa.int32())})
    assert df.to_arrow().schema == pa.schema([("k", pa.string()), ("x", pa.int32())])
    assert df.where(col("x") > 1).sort("x").limit(3).to_pydict() == {"k": [], "x": []}
    assert df.distinct().concat(df).to_pydict() == {"k": [], "x": []}
    assert df.groupby("k").agg(col("x").sum()).to_pydict() == {"k": [], "x": []}
    assert df.agg(col("x").count()).to_pydict() == {"x": [0]}
    assert df.join(df, on="k").to_pydict() == {"k": [], "x": [], "right.x": []}
    assert df.collect().to_pydict() == {"k": [], "x": []}
    assert list(df.iter_rows()) == []
    assert df.count_rows() == 0


# Columns.


def test_select_takes_names_expressions_lists_and_projections(people):
    df = people.select("x", [col("y")], z=col("x") + 1, three=3)
    assert df.to_pydict() == {
        "x": [1, 2, 3, None],
        "y": [1.0, 2.0, None, 4.0],
        "z": [2, 3, 4, None],
        "three": [3, 3, 3, 3],
    }


def test_select_keeps_the_order_that_it_is_given(people):
    assert people.select("y", "k", "x").column_names == ["y", "k", "x"]


def test_select_of_aggregates_is_one_row(people):
    df = people.select(col("x").sum(), (col("y").max() - col("y").min()).alias("span"))
    assert df.to_pydict() == {"x": [6], "span": [3.0]}


def test_select_of_one_name_twice_is_refused_by_that_name_alone(people):
    with pytest.raises(keyloom.InvalidError, match="'x'") as error:
        people.select(col("x") + 1, "x")
    assert "?table?" not in str(error.value)


def test_select_of_an_aggregate_beside_a_column_is_refused(people):
    with pytest.raises(keyloom.InvalidError) as error:
        people.select(col("x").sum() + col("x"))
    assert "?table?" not in str(error.value)


def test_an_unknown_column_is_told_with_those_there_are(people):
    for use in [
        lambda: people.select("z"),
        lambda: people.with_column("new", col("z") + 1),
        lambda: people.where(col("z") > 1),
        lambda: people.sort("z"),
        lambda: people.distinct("z"),
        lambda: people.drop_null("z"),
        lambda: people.explode("z"),
        lambda: people.exclude("z"),
        lambda: people.with_column_renamed("z", "new"),
        lambda: people.agg(col("z").sum()),
        lambda: people.groupby("z").agg(col("x").sum()),
    ]:
        with pytest.raises(keyloom.InvalidError) as error:
            use()
        assert str(error.value) == "column 'z' not found; there are: k, x, y"


def test_with_column_appends_a_new_name(people):
    df = people.with_column("z", col("x") * 2)
    assert df.to_pydict() == {**people.to_pydict(), "z": [2, 4, 6, None]}


def test_with_column_puts_a_known_name_in_its_place(people):
    df = people.with_column("x", col("x") * 2)
    assert list(df.to_pydict().items()) == [
        ("k", ["a", "b", "a", None]),
        ("x", [2, 4, 6, None]),
        ("y", [1.0, 2.0, None, 4.0]),
    ]


def test_with_columns_do_not_see_one_another(people):
    df = people.with_columns({"z": col("x") + 1, "x": col("y"), "w": lit("s")})
    assert list(df.to_pydict().items()) == [
        ("k", ["a", "b", "a", None]),
        ("x", [1.0, 2.0, None, 4.0]),
        ("y", [1.0, 2.0, None, 4.0]),
        ("z", [2, 3, 4, None]),
        ("w", ["s", "s", "s", "s"]),
    ]


def test_with_column_of_a_bare_value_is_refused_with_a_hint(people):
    with pytest.raises(TypeError) as error:
        people.with_column("x", 3)
    said = "column 'x' is an expression, not int; col(…) is a column, lit(…) a value"
    assert str(error.value) == said


def test_an_aggregate_outside_of_agg_is_refused_at_once_and_without_the_engines_words(people):
    for use in [
        lambda: people.with_column("s", col("x").sum()),
        lambda: people.where(col("x").sum() > 1),
    ]:
        with pytest.raises(keyloom.InvalidError) as error:
            use()
        assert len(str(error.value)) < 200


def test_renaming_keeps_places_and_may_swap_names(people):
    assert people.with_column_renamed("x", "z").column_names == ["k", "z", "y"]
    swapped = people.with_columns_renamed({"x": "y", "y": "x"})
    assert list(swapped.to_pydict().items()) == [
        ("k", ["a", "b", "a", None]),
        ("y", [1, 2, 3, None]),
        ("x", [1.0, 2.0, None, 4.0]),
    ]


def test_renaming_to_a_name_that_is_taken_is_refused(people):
    with pytest.raises(keyloom.InvalidError, match="'k'"):
        people.with_column_renamed("x", "k")


def test_exclude_leaves_names_out(people):
    assert people.exclude("x").to_pydict() == {
        "k": ["a", "b", "a", None],
        "y": [1.0, 2.0, None, 4.0],
    }
    assert people.exclude("x", "k").column_names == ["y"]


# Rows.


def test_where_keeps_rows_for_which_the_predicate_is_true(people):
    expected = {"k": ["b", "a"], "x": [2, 3], "y": [2.0, None]}
    assert people.where(col("x") > 1).to_pydict() == expected
    assert people.filter(people["x"] > 1).to_pydict() == expected
    assert people.where("x > 1").to_pydict() == expected
    assert people.where("x > 1 AND k = 'a'").to_pydict() == {"k": ["a"], "x": [3], "y": [None]}


def test_where_in_sql_may_look_a_store_up():
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40}))
    df = keyloom.from_pydict({"who": ["ann", "bob", "eve"]})
    old = df.where("kv_get(who, source => 'ages', on_error => 'null')['value'] > 35")
    assert old.to_pydict() == {"who": ["bob"]}


@pytest.mark.parametrize("predicate", [col("x"), "x", col("k")])
def test_where_refuses_what_is_neither_true_nor_false(people, predicate):
    with pytest.raises(keyloom.InvalidError):
        people.where(predicate)


def test_where_refuses_a_bare_value(people):
    with pytest.raises(TypeError, match="^a predicate is an expression or SQL, not bool$"):
        people.where(True)


def test_where_in_sql_is_one_predicate_and_no_more(people):
    with pytest.raises(keyloom.InvalidError):
        people.where("x > 1; DROP TABLE this")


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (lambda df: df.limit(2), [1, 2]),
        (lambda df: df.head(1), [1]),
        (lambda df: df.limit(0), []),
        (lambda df: df.limit(99), [1, 2, 3, None]),
        (lambda df: df.offset(3), [None]),
        (lambda df: df.offset(0), [1, 2, 3, None]),
        (lambda df: df.offset(99), []),
        (lambda df: df.offset(1).limit(2), [2, 3]),
        (lambda df: df.limit(3).offset(1), [2, 3]),
    ],
)
def test_limit_and_offset_cut_rows_where_they_say(people, cut, expected):
    assert cut(people).select("x").to_pydict() == {"x": expected}


@pytest.mark.parametrize("rows", [-1, True, 1.5, "2"])
def test_a_number_of_rows_is_a_whole_number(people, rows):
    for use in [people.limit, people.offset]:
        with pytest.raises(keyloom.InvalidError, match="^a number of rows is a whole number of at"):
            use(rows)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"by": "x"}, [1, 2, 3, None]),
        ({"by": "x", "desc": True}, [None, 3, 2, 1]),
        ({"by": "x", "nulls_first": True}, [None, 1, 2, 3]),
        ({"by": "x", "desc": True, "nulls_first": False}, [3, 2, 1, None]),
        ({"by": -col("x")}, [3, 2, 1, None]),
        ({"by": ["k", "x"]}, [1, 3, 2, None]),
        ({"by": ["k", col("x")], "desc": [False, True]}, [3, 1, 2, None]),
        ({"by": ["k", "x"], "desc": True, "nulls_first": [False, True]}, [2, 3, 1, None]),
        ({"by": ["k", "x"], "nulls_first": True}, [None, 1, 3, 2]),
    ],
)
def test_sort_orders_by_each_key_as_it_says(people, options, expected):
    assert people.sort(**options).select("x").to_pydict() == {"x": expected}


def test_sort_needs_as_many_directions_as_keys(people):
    with pytest.raises(keyloom.InvalidError) as error:
        people.sort(["k", "x"], desc=[True])
    assert str(error.value) == "2 keys to sort by, but 1 desc and 2 nulls_first"


def test_sort_by_nothing_is_no_defect_of_the_engine(people):
    with pytest.raises(keyloom.InvalidError):
        people.sort([]).collect()


def test_distinct_keeps_one_row_of_equal_ones():
    df = keyloom.from_pydict({"a": [1, 1, None, None, 2], "b": ["x", "x", None, None, "x"]})
    expected = {"a": [1, 2, None], "b": ["x", "x", None]}
    assert df.distinct().sort("a").to_pydict() == expected
    assert df.unique().sort("a").to_pydict() == expected
    assert df.drop_duplicates().sort("a").to_pydict() == expected


def test_distinct_on_columns_keeps_one_row_for_each_value():
    df = keyloom.from_pydict({"k": ["a", "b", "a", None], "x": [1, 2, 1, 4]})
    assert df.distinct("k").sort("x").to_pydict() == {"k": ["a", "b", None], "x": [1, 2, 4]}
    assert df.distinct(col("x") % 2).count_rows() == 2


def test_concat_puts_rows_behind_rows(people):
    x = people.select("x")
    assert x.concat(x.limit(1)).to_pydict() == {"x": [1, 2, 3, None, 1]}
    assert x.union_all(x.limit(0)).to_pydict() == {"x": [1, 2, 3, None]}


def test_concat_of_other_columns_is_refused_with_both(people):
    with pytest.raises(keyloom.InvalidError) as error:
        people.concat(people.select("x"))
    assert str(error.value) == "the columns differ: k, x, y and x"


def test_concat_does_not_make_numbers_strings(people):
    with pytest.raises(keyloom.InvalidError):
        people.select("x").concat(people.select(x=col("k")))


def test_explode_gives_a_row_an_element_and_one_to_lists_without_any():
    assert lists().explode("l").to_pydict() == {
        "i": [1, 1, 2, 3, 4],
        "l": [1, 2, None, None, None],
        "m": [["a"], ["a"], ["b", "c"], [], None],
    }


def test_explode_of_several_columns_goes_through_them_side_by_side():
    assert lists().explode("l", col("m")).to_pydict() == {
        "i": [1, 1, 2, 2, 3, 4],
        "l": [1, 2, None, None, None, None],
        "m": ["a", None, "b", "c", None, None],
    }


def test_explode_as_an_expression_does_the_same():
    assert lists().select("i", col("l").explode()).to_pydict() == {
        "i": [1, 1, 2, 3, 4],
        "l": [1, 2, None, None, None],
    }
    assert lists().select("i", "l").with_column("n", col("l").explode()).to_pydict() == {
        "i": [1, 1, 2, 3, 4],
        "l": [[1, 2], [1, 2], [], None, [None]],
        "n": [1, 2, None, None, None],
    }


@pytest.mark.parametrize(
    "dtype", [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2)]
)
def test_explode_takes_lists_of_all_kinds(dtype):
    df = keyloom.from_pydict({"l": pa.array([[1, 2], None, [3, 4]], dtype)})
    assert df.explode("l").to_pydict() == {"l": [1, 2, None, 3, 4]}


@pytest.mark.parametrize("names", [["i"], []])
def test_explode_of_no_list_is_the_users_mistake(names):
    with pytest.raises(keyloom.InvalidError):
        lists().explode(*names)


def test_drop_null_drops_rows_with_nulls_in_some_columns_or_any(people):
    assert people.drop_null().to_pydict() == {"k": ["a", "b"], "x": [1, 2], "y": [1.0, 2.0]}
    assert people.drop_null("x").select("x").to_pydict() == {"x": [1, 2, 3]}
    assert people.drop_null("x", col("y")).select("x").to_pydict() == {"x": [1, 2]}


def test_pipe_answers_what_the_function_does_and_transform_a_frame(people):
    assert people.pipe(lambda df, name: df.select(name).to_pydict(), name="k") == {
        "k": ["a", "b", "a", None]
    }
    assert people.transform(lambda df, rows: df.limit(rows), 1).select("x").to_pydict() == {
        "x": [1]
    }


# Groups.


def test_agg_of_groups_answers_keys_and_aggregates(people):
    df = people.groupby("k").agg(col("x").sum(), col("y").mean().alias("mean"))
    assert df.sort("k").to_pydict() == {
        "k": ["a", "b", None],
        "x": [4, 2, None],
        "mean": [1.0, 2.0, 4.0],
    }


def test_aggregates_may_stand_in_arithmetic(people):
    df = people.groupby("k").agg(
        (col("x").sum() / col("x").count()).alias("mean"),
        (col("x").max() - col("x").min() + 1).alias("span"),
    )
    assert df.where(col("k").not_null()).sort("k").to_pydict() == {
        "k": ["a", "b"],
        "mean": [2.0, 2.0],
        "span": [3, 1],
    }


def test_an_aggregate_may_be_used_twice_under_two_names(people):
    df = people.agg(col("x").sum().alias("one"), (col("x").sum() * 2).alias("two"))
    assert df.to_pydict() == {"one": [6], "two": [12]}


def test_agg_takes_a_list(people):
    df = people.groupby("k").agg([col("x").list_agg(), col("y").count_distinct()])
    assert df.sort("k").to_pydict() == {
        "k": ["a", "b", None],
        "x": [[1, 3], [2], [None]],
        "y": [1, 1, 1],
    }


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (lambda groups: groups.sum("x"), {"x": [4, 2, None]}),
        (lambda groups: groups.mean("x"), {"x": [2.0, 2.0, None]}),
        (lambda groups: groups.min("x"), {"x": [1, 2, None]}),
        (lambda groups: groups.max("x", "y"), {"x": [3, 2, None], "y": [1.0, 2.0, 4.0]}),
        (lambda groups: groups.count(), {"x": [2, 1, 0], "y": [1, 1, 1]}),
        (lambda groups: groups.min(), {"x": [1, 2, None], "y": [1.0, 2.0, 4.0]}),
        (lambda groups: groups.sum(col("x")), {"x": [4, 2, None]}),
    ],
)
def test_aggregates_of_groups_take_columns_or_all_but_the_keys(people, aggregate, expected):
    df = aggregate(people.groupby("k"))
    assert df.sort("k").to_pydict() == {"k": ["a", "b", None], **expected}


def test_groups_may_be_of_several_keys_and_of_expressions(people):
    df = people.groupby((col("x") % 2).alias("odd"), "k").agg(col("y").sum())
    assert df.sort("odd").to_pydict() == {
        "odd": [0, 1, None],
        "k": ["b", "a", None],
        "y": [2.0, 1.0, 4.0],
    }
    assert people.groupby(["k"]).agg(col("x").count()).sort("k").column_names == ["k", "x"]


def test_groups_without_aggregates_are_their_keys(people):
    assert people.groupby("k").agg().sort("k").to_pydict() == {"k": ["a", "b", None]}


def test_an_aggregate_under_the_name_of_a_key_is_refused_by_that_name(people):
    with pytest.raises(keyloom.InvalidError, match="'k'") as error:
        people.groupby("k").agg(col("k").count())
    assert "?table?" not in str(error.value)


def test_a_column_that_is_neither_key_nor_aggregated_is_refused(people):
    with pytest.raises(keyloom.InvalidError, match="x") as error:
        people.groupby("k").agg(col("x"))
    assert "?table?" not in str(error.value)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (lambda df: df.agg(col("x").sum(), col("x").min().alias("n")), {"x": [6], "n": [1]}),
        (lambda df: df.sum("x", "y"), {"x": [6], "y": [7.0]}),
        (lambda df: df.mean("x"), {"x": [2.0]}),
        (lambda df: df.min("k"), {"k": ["a"]}),
        (lambda df: df.max(col("k")), {"k": ["b"]}),
        (lambda df: df.count("x", "y"), {"x": [3], "y": [3]}),
    ],
)
def test_aggregates_of_a_frame_are_one_row(people, aggregate, expected):
    assert aggregate(people).to_pydict() == expected


# Joins.


@pytest.fixture
def left():
    return keyloom.from_pydict({"k": [1, 2, 3, None], "v": ["a", "b", "c", "d"]})


@pytest.fixture
def right():
    return keyloom.from_pydict(
        {"k": [2, 3, 4, None], "v": ["B", "C", "D", "E"], "w": [20, 30, 40, 50]}
    )


@pytest.mark.parametrize(
    ("how", "by", "expected"),
    [
        ("inner", "k", [(2, "b", "B", 20), (3, "c", "C", 30)]),
        (
            "left",
            "v",
            [(1, "a", None, None), (2, "b", "B", 20), (3, "c", "C", 30), (None, "d", None, None)],
        ),
        (
            "right",
            "w",
            [(2, "b", "B", 20), (3, "c", "C", 30), (4, None, "D", 40), (None, None, "E", 50)],
        ),
        (
            "outer",
            ["w", "v"],
            [
                (2, "b", "B", 20),
                (3, "c", "C", 30),
                (4, None, "D", 40),
                (None, None, "E", 50),
                (1, "a", None, None),
                (None, "d", None, None),
            ],
        ),
    ],
)
def test_a_join_has_the_shared_key_once(left, right, how, by, expected):
    df = left.join(right, on="k", how=how).sort(by)
    assert df.column_names == ["k", "v", "right.v", "w"]
    assert [tuple(row.values()) for row in df.to_pylist()] == expected


def test_semi_and_anti_joins_keep_rows_of_the_left_alone(left, right):
    semi = left.join(right, on="k", how="semi").sort("v")
    assert semi.to_pydict() == {"k": [2, 3], "v": ["b", "c"]}
    anti = left.join(right, on="k", how="anti").sort("v")
    assert anti.to_pydict() == {"k": [1, None], "v": ["a", "d"]}


def test_a_cross_join_pairs_all_rows(left, right):
    df = left.limit(2).join(right.limit(2), how="cross").sort(["k", "w"])
    assert df.to_pydict() == {
        "k": [1, 1, 2, 2],
        "v": ["a", "a", "b", "b"],
        "right.k": [2, 3, 2, 3],
        "right.v": ["B", "C", "B", "C"],
        "w": [20, 30, 20, 30],
    }


def test_keys_of_different_names_both_come_out(left, right):
    other = right.select("w", key=col("k"))
    df = left.join(other, left_on="k", right_on="key", how="outer").sort(["w", "v"])
    assert df.to_pydict() == {
        "k": [2, 3, None, None, 1, None],
        "v": ["b", "c", None, None, "a", "d"],
        "w": [20, 30, 40, 50, None, None],
        "key": [2, 3, 4, None, None, None],
    }


def test_a_join_on_several_keys_needs_all_equal(left, right):
    other = right.with_column("v", col("v").lower()).with_column("k", col("k") % 3)
    df = left.join(other, on=["k", "v"])
    assert df.to_pydict() == {"k": [2], "v": ["b"], "w": [20]}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "right.v"),
        ({"prefix": "other_"}, "other_v"),
        ({"suffix": "_2"}, "v_2"),
        ({"prefix": "p.", "suffix": "_2"}, "p.v_2"),
    ],
)
def test_a_name_that_is_taken_gets_prefix_and_suffix(left, right, options, name):
    df = left.join(right, on="k", **options).sort("k")
    assert df.to_pydict() == {"k": [2, 3], "v": ["b", "c"], name: ["B", "C"], "w": [20, 30]}


@pytest.mark.parametrize(
    ("join", "said"),
    [
        (
            lambda left, right: left.join(right, on="k", suffix=""),
            "both frames have a column 'v'; give prefix or suffix, or rename one",
        ),
        (
            lambda left, right: left.with_column("right.v", lit(1)).join(right, on="k"),
            "both frames have a column 'right.v'; give prefix or suffix, or rename one",
        ),
        (
            lambda left, right: left.join(right, on="k", how="sideways"),
            "how is one of inner, left, right, outer, semi, anti and cross, not 'sideways'",
        ),
        (
            lambda left, right: left.join(right),
            "a join needs as many keys of both frames, not 0 and 0",
        ),
        (
            lambda left, right: left.join(right, left_on=["k", "v"], right_on="k"),
            "a join needs as many keys of both frames, not 2 and 1",
        ),
        (
            lambda left, right: left.join(right, on="k", left_on="k"),
            "on names the keys of both frames; leave out left_on and right_on",
        ),
        (
            lambda left, right: left.join(right, on="k", how="cross"),
            "a cross join has no keys",
        ),
        (
            lambda left, right: left.join(right, on="w"),
            "column 'w' not found; there are: k, v",
        ),
        (
            lambda left, right: left.join(right, on=col("k") + 1),
            "a key of a join is a column; add k + 1 as k as one, with with_column",
        ),
    ],
)
def test_a_join_that_is_not_clear_is_refused(left, right, join, said):
    with pytest.raises(keyloom.InvalidError) as error:
        join(left, right)
    assert str(error.value) == said


def test_a_key_that_is_cast_is_not_taken_for_the_column_itself(left, right):
    with pytest.raises(keyloom.InvalidError, match="^a key of a join is a column"):
        left.join(right, on=col("k").cast("string"))


def test_a_frame_joins_itself_and_the_result_joins_again(left, right):
    twice = left.join(left, on="k").sort("k")
    assert twice.to_pydict() == {"k": [1, 2, 3], "v": ["a", "b", "c"], "right.v": ["a", "b", "c"]}
    again = twice.join(right, on="k", prefix="third.").sort("k")
    assert again.to_pydict() == {
        "k": [2, 3],
        "v": ["b", "c"],
        "right.v": ["b", "c"],
        "third.v": ["B", "C"],
        "w": [20, 30],
    }


def test_frames_of_two_sessions_are_not_combined(left):
    with keyloom.Session():
        other = keyloom.from_pydict({"k": [1], "v": ["a"]})
        for combine in [
            lambda: left.join(other, on="k"),
            lambda: left.concat(other),
            lambda: other.join(left, how="cross"),
        ]:
            with pytest.raises(keyloom.InvalidError) as error:
                combine()
            assert str(error.value) == "frames of two sessions cannot be combined"


def test_an_expression_that_looks_up_another_sessions_store_is_refused(left):
    with keyloom.Session():
        keyloom.attach(load_kv("memory", name="ages", initial_data={1: 30}))
        lookup = kv_get("k", source="ages")
    with pytest.raises(keyloom.InvalidError, match="stores of another session"):
        left.with_column("age", lookup)


# Rows out.


def test_count_rows_counts_and_len_waits_for_collect(people):
    assert people.count_rows() == 4
    with pytest.raises(RuntimeError, match="^a frame has no length before it is collected"):
        len(people)
    assert len(people.collect()) == 4
    assert people.count_rows() == 4


def test_a_frame_has_no_truth(people):
    with pytest.raises(ValueError, match="^a frame has no truth of its own"):
        bool(people)
    with pytest.raises(ValueError, match="^a frame has no truth of its own"):
        bool(people.collect())


def test_collect_keeps_rows_and_what_follows_uses_them(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x\n1\n2\n3\n")
    df = keyloom.read_csv(path)
    assert df.collect() is df
    path.unlink()
    assert df.to_pydict() == {"x": [1, 2, 3]}
    assert df.where(col("x") > 1).to_pydict() == {"x": [2, 3]}
    assert df.with_column("y", col("x") + 1).collect().to_pylist() == [
        {"x": 1, "y": 2},
        {"x": 2, "y": 3},
        {"x": 3, "y": 4},
    ]
    assert [row["x"] for row in df] == [1, 2, 3]
    assert df.count_rows() == 3


def test_what_is_not_collected_is_computed_anew_each_time(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x\n1\n2\n")
    df = keyloom.read_csv(path)
    assert df.to_pydict() == {"x": [1, 2]}
    assert df.to_arrow().num_rows == 2
    with pytest.raises(RuntimeError):
        len(df)


def test_rows_come_out_as_python_values_in_order(people):
    rows = [
        {"k": "a", "x": 1, "y": 1.0},
        {"k": "b", "x": 2, "y": 2.0},
        {"k": "a", "x": 3, "y": None},
        {"k": None, "x": None, "y": 4.0},
    ]
    assert people.to_pylist() == rows
    assert list(people.iter_rows()) == rows
    assert list(people) == rows
    assert people.collect().to_pylist() == rows


def test_rows_come_out_as_arrow_batches_as_they_come():
    df = keyloom.from_arrow(
        [pa.record_batch({"x": [start, start + 1]}) for start in range(0, 6, 2)]
    )
    batches = list(df.to_arrow_iter())
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    assert [value for batch in batches for value in batch["x"].to_pylist()] == [0, 1, 2, 3, 4, 5]
    again = pa.Table.from_batches(df.collect().to_arrow_iter())
    assert again.to_pydict() == {"x": [0, 1, 2, 3, 4, 5]}


def test_an_iterator_may_be_left_half_way():
    rows = iter(keyloom.from_pydict({"x": list(range(10_000))}))
    assert [next(rows), next(rows)] == [{"x": 0}, {"x": 1}]
    rows.close()
    assert keyloom.from_pydict({"x": [1]}).to_pydict() == {"x": [1]}


def test_many_rows_keep_their_order():
    numbers = list(range(100_000))
    df = keyloom.from_pydict({"x": numbers}).with_column("y", col("x") * 2)
    assert df.to_pydict() == {"x": numbers, "y": [2 * number for number in numbers]}


def test_rows_come_out_as_pandas_and_polars(people):
    frame = people.to_pandas()
    assert frame["x"].tolist()[:3] == [1.0, 2.0, 3.0] and frame["x"].isna().tolist()[3]
    assert frame["k"].tolist()[:3] == ["a", "b", "a"]
    whole = people.drop_null().to_pandas()
    pd.testing.assert_frame_equal(
        whole, pd.DataFrame({"k": ["a", "b"], "x": [1, 2], "y": [1.0, 2.0]})
    )
    assert people.to_pandas(types_mapper=pd.ArrowDtype)["x"].dtype == "int64[pyarrow]"
    assert people.to_polars().to_dict(as_series=False) == people.to_pydict()


def test_two_columns_of_one_name_do_not_fit_into_dicts():
    one = keyloom.from_pydict({"k": [1, 2]})
    df = keyloom.sql("SELECT a.k, b.k FROM one a JOIN one b ON a.k = b.k ORDER BY a.k", one=one)
    assert df.column_names == ["k", "k"]
    assert [column.to_pylist() for column in df.to_arrow().columns] == [[1, 2], [1, 2]]
    for use in [df.to_pydict, df.to_pylist, df.to_pandas, df.to_polars, lambda: list(df)]:
        with pytest.raises(keyloom.InvalidError) as error:
            use()
        assert str(error.value) == "two columns are called 'k'; give one another name"


# Looking at frames.


def test_columns_are_expressions_by_name_place_and_slice(people):
    assert people.column_names == ["k", "x", "y"]
    assert [column.name() for column in people.columns] == ["k", "x", "y"]
    assert people[0].name() == "k"
    assert people[-1].name() == "y"
    assert [column.name() for column in people[1:3]] == ["x", "y"]
    assert people.select(*people[1:]).column_names == ["x", "y"]
    assert people["anything"].name() == "anything"
    with pytest.raises(IndexError):
        people[9]
    with pytest.raises(TypeError, match="^a column has a name or a place, not a float$"):
        people[1.5]


def test_names_are_in_a_frame(people):
    assert "x" in people
    assert "z" not in people


def test_a_schema_is_a_mapping_of_names(people):
    schema = people.schema()
    assert list(schema) == schema.column_names() == ["k", "x", "y"]
    assert len(schema) == 3
    assert schema["x"].dtype == schema["x"].type == pa.int64()
    assert (schema["x"].name, schema["x"].nullable) == ("x", True)
    assert repr(schema["x"]) == "x: int64"
    assert repr(schema) == "k  string\nx  int64\ny  double"
    assert "x" in schema and "z" not in schema
    with pytest.raises(KeyError):
        schema["z"]
    assert schema.to_pyarrow_schema() == people.to_arrow().schema
    assert pa.schema(schema) == people.to_arrow().schema
    assert schema == people.schema() and schema != people.select("x").schema()


def test_the_schema_of_a_lookup_is_known_before_anything_runs():
    df = lookup_that_raises()
    assert df.schema()["age"].dtype == pa.struct(
        [pa.field("key", pa.string()), pa.field("value", pa.int64())]
    )


def test_printing_runs_nothing(capsys):
    df = lookup_that_raises()
    print(df)
    assert "not computed yet" in capsys.readouterr().out
    assert "not computed yet" in df._repr_html_()
    df.explain()
    assert "ages" in capsys.readouterr().out
    with pytest.raises(keyloom.NotFoundError, match="nobody"):
        df.collect()


def test_a_frame_is_not_pickled(people):
    with pytest.raises(TypeError, match="^a frame belongs to a session and cannot be pickled"):
        pickle.dumps(people)


def test_a_frame_outlives_its_session():
    with keyloom.Session():
        df = keyloom.from_pydict({"x": [1, 2]})
    assert df.with_column("y", col("x") + 1).to_pydict() == {"x": [1, 2], "y": [2, 3]}


def test_a_failed_collect_can_be_followed_by_another_query(people):
    failing = lookup_that_raises()
    for _ in range(2):
        with pytest.raises(keyloom.NotFoundError):
            failing.collect()
    assert people.count_rows() == 4


# Names.


def named(frame_of=keyloom.from_pydict):
    data = {name: [place, place + 1] for place, name in enumerate(NAMES)}
    return frame_of(data), data


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_is_written(name):
    df, data = named()
    first, second = data[name]
    others = {other: values for other, values in data.items() if other != name}
    backwards = {other: values[::-1] for other, values in data.items()}
    assert df.column_names == NAMES
    assert df.select(name).to_pydict() == {name: [first, second]}
    assert df.where(col(name) > first).to_pydict() == {n: v[1:] for n, v in data.items()}
    assert df.with_column(name, col(name) + 1).to_pydict() == {
        **data,
        name: [first + 1, second + 1],
    }
    assert df.exclude(name).to_pydict() == others
    assert df.sort(name, desc=True).to_pydict() == backwards
    assert df.distinct(name).sort(name).to_pydict() == data
    assert df.drop_null(name).to_pydict() == data
    assert df.agg(col(name).max()).to_pydict() == {name: [second]}
    assert df.with_column_renamed(name, "new").select("new").to_pydict() == {"new": [first, second]}
    assert df.collect().select(name).to_pydict() == {name: [first, second]}
    assert df.schema()[name].dtype == pa.int64()


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_groups_and_joins_is_taken_as_it_is_written(name):
    df, data = named()
    groups = df.groupby(name).agg(lit(1).count().alias("rows")).sort(name)
    assert groups.to_pydict() == {name: data[name], "rows": [1, 1]}
    other = df.select(name, extra=col(name) * 10)
    expected = {**data, "extra": [10 * value for value in data[name]]}
    assert df.join(other, on=name).sort(name).to_pydict() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_list_is_exploded_by_its_name_as_it_is_written(name):
    df = keyloom.from_pydict({name: [[1, 2], [3]], "other": ["a", "b"]})
    assert df.explode(name).to_pydict() == {name: [1, 2, 3], "other": ["a", "a", "b"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_name_in_sql_is_taken_as_it_is_written(name):
    df, data = named()
    quoted = '"' + name.replace('"', '""') + '"'
    assert keyloom.sql(f"SELECT {quoted} FROM df").to_pydict() == {name: data[name]}
    assert df.where(f"{quoted} > {data[name][0]}").select(name).to_pydict() == {
        name: data[name][1:]
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_a_field_is_taken_by_its_name_as_it_is_written(name):
    df = keyloom.from_pydict({"s": [{name: 1}, None]})
    assert df.select(col("s")[name]).to_pydict() == {name: [1, None]}


@pytest.mark.parametrize("name", NAMES)
def test_a_store_is_asked_with_a_column_of_any_name(name):
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": {name or "empty": 30}}))
    df = keyloom.from_pydict({name: ["ann", "bob"]})
    found = df.with_column("found", kv_get(name, source="ages", on_error="null"))
    assert found.to_pydict() == {
        name: ["ann", "bob"],
        "found": [{"key": "ann", name or "empty": 30}, None],
    }


def test_explode_goes_one_level_down():
    nested = [[[1, 2], [3]], [[]], [None, [4]], [], None]
    df = keyloom.from_pydict({"k": [0, 1, 2, 3, 4], "l": nested})
    assert df.explode("l").to_pydict() == {
        "k": [0, 0, 1, 2, 2, 3, 4],
        "l": [[1, 2], [3], [], None, [4], None, None],
    }


def test_explode_may_say_where_elements_were_and_leave_empty_lists_out():
    df = keyloom.from_pydict({"k": ["a", "b", "c", "d"], "l": [[7, 8], [], None, [9]]})
    assert df.explode("l", index_column="at").to_pydict() == {
        "k": ["a", "a", "b", "c", "d"],
        "l": [7, 8, None, None, 9],
        "at": [0, 1, None, None, 0],
    }
    assert df.explode("l", ignore_empty_and_null=True).to_pydict() == {
        "k": ["a", "a", "d"],
        "l": [7, 8, 9],
    }
    with pytest.raises(keyloom.InvalidError, match="^two columns would be called 'k'"):
        df.explode("l", index_column="k")


def test_rows_of_plans_that_differ_in_nulls_are_collected_together():
    one = keyloom.from_pydict({"x": [1, None]})
    two = one.with_column("x", keyloom.lit(5))
    both = one.concat(two).collect()
    assert both.to_pydict() == {"x": [1, None, 5, 5]}
    assert both.where(keyloom.col("x") == 5).count_rows() == 2
    query = "SELECT x FROM one UNION ALL SELECT 7"
    assert keyloom.sql(query).collect().to_pydict() == {"x": [1, None, 7]}


def test_the_memory_of_frames_goes_with_them():
    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    rows = 4_000_000
    for _ in range(3):
        keyloom.from_pydict({"x": np.arange(rows)}).count_rows()
    before = resident()
    for _ in range(20):
        assert keyloom.from_pydict({"x": np.arange(rows)}).count_rows() == rows
    assert resident() - before < 5 * rows * 8


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint32(), pa.int32(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.string_view(), pa.string(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.null(), pa.int64(), pa.int64()),
        (pa.binary_view(), pa.large_binary(), pa.large_binary()),
    ],
)
def test_frames_are_put_together_in_the_type_that_holds_both(one, two, both):
    def frame(dtype, value):
        null = pa.types.is_null(dtype)
        text = "string" in str(dtype)
        binary = "binary" in str(dtype)
        value = None if null else str(value) if text else str(value).encode() if binary else value
        plain = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
        return keyloom.from_pydict({"x": pa.array([value], plain).cast(dtype)}), value

    (first, a), (second, b) = frame(one, 1), frame(two, 2)
    for frames, values in ((first.concat(second), [a, b]), (second.concat(first), [b, a])):
        assert frames.schema()["x"].type == both
        assert frames.to_arrow().schema.field("x").type == both
        assert frames.to_pydict() == {"x": values}


def test_frames_whose_types_have_nothing_in_common_are_not_put_together():
    words, numbers = keyloom.from_pydict({"x": ["a"]}), keyloom.from_pydict({"x": [1]})
    with pytest.raises(keyloom.InvalidError, match="^column 'x' is string and int64; cast one"):
        words.concat(numbers)
    big, signed = pa.array([1], pa.uint64()), pa.array([1], pa.int64())
    with pytest.raises(keyloom.InvalidError, match="^column 'x' is uint64 and int64; cast one"):
        keyloom.from_pydict({"x": big}).concat(keyloom.from_pydict({"x": signed}))


def test_sums_of_groups_are_of_the_numbers():
    df = keyloom.from_pydict({"k": ["a", "a"], "s": ["x", "y"], "n": [1, 2], "l": [[1], [2]]})
    assert df.groupby("k").sum().to_pydict() == {"k": ["a"], "n": [3]}
    assert df.groupby("k").mean().to_pydict() == {"k": ["a"], "n": [1.5]}


def test_columns_may_be_given_as_lists():
    df = keyloom.from_pydict({"x": [2, 1, None], "y": [1, 1, 1]})
    assert df.exclude(["y"]).column_names == ["x"]
    assert df.exclude(keyloom.col("x")).column_names == ["y"]
    assert df.drop_null(["x", "y"]).to_pydict() == {"x": [2, 1], "y": [1, 1]}
    assert df.distinct(["y"]).count_rows() == 1
    assert df.sort(("y", "x")).to_pydict()["x"] == [1, 2, None]
    assert df.limit(np.int64(1)).count_rows() == 1
    for wrong in (
        lambda: df.sort("x", "y"),
        lambda: df.with_columns([keyloom.col("x")]),
        lambda: df.concat([1]),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_a_url_is_no_single_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    df = keyloom.from_pydict({"x": [1]})
    with pytest.raises(keyloom.InvalidError, match="^with single_file, files of this machine are"):
        df.write_parquet("s3://bucket/x", single_file=True)
    assert list(tmp_path.iterdir()) == []
