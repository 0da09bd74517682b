"""Expressions: what Python's operators and the methods of columns compute, and what they refuse."""

import copy
import datetime
import pickle
from decimal import Decimal

import keyloom
import numpy as np
import pyarrow as pa
import pytest
from keyloom import DataType, col, lit, when
from keyloom.functions import coalesce, struct
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

INF = float("inf")


@pytest.fixture
def df():
    return keyloom.from_pydict(
        {
            "i": [7, -7, None],
            "two": [2, 2, 2],
            "f": [1.5, -2.5, None],
            "s": ["x", "Yz", None],
            "b": [True, False, None],
            "l": [[1, 2, 3, 4], [], None],
            "st": [{"x": 1, "y": "a"}, {"x": None, "y": "b"}, None],
        }
    )


def values(df, expression):
    """The values of an expression."""
    return df.select(expression.alias("it")).to_arrow().column("it").to_pylist()


def dtype(df, expression):
    """The type of an expression, which is the one that its values come out with."""
    selected = df.select(expression.alias("it"))
    promised = selected.schema()["it"].dtype
    assert selected.to_arrow().schema.field("it").type == promised
    return promised


# Operators.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("i") + 1, [8, -6, None]),
        (1 + col("i"), [8, -6, None]),
        (col("i") - 1, [6, -8, None]),
        (1 - col("i"), [-6, 8, None]),
        (col("i") * col("two"), [14, -14, None]),
        (3 * col("i"), [21, -21, None]),
        (-col("i"), [-7, 7, None]),
        (col("i") + 0.5, [7.5, -6.5, None]),
        (col("f") * 2, [3.0, -5.0, None]),
        (2 - col("f"), [0.5, 4.5, None]),
        (col("i") + None, [None, None, None]),
        (col("i") + Decimal("1.50"), [Decimal("8.50"), Decimal("-5.50"), None]),
        (col("i") - col("i"), [0, 0, None]),
    ],
    ids=repr,
)
def test_arithmetic_computes_and_null_stays_null(df, expression, expected):
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("i") / col("two"), [3.5, -3.5, None]),
        (7 / col("two"), [3.5, 3.5, 3.5]),
        (col("i") / 2, [3.5, -3.5, None]),
        (col("two") / 2, [1.0, 1.0, 1.0]),
        (col("f") / 0.5, [3.0, -5.0, None]),
        (1 / col("f"), [1 / 1.5, -0.4, None]),
        (col("i") / 0, [INF, -INF, None]),
        (col("f") / 0.0, [INF, -INF, None]),
        ((col("i") + 1) / 3, [8 / 3, -2.0, None]),
        (col("i").cast("int8") / col("two").cast("int8"), [3.5, -3.5, None]),
    ],
    ids=repr,
)
def test_a_quotient_is_a_fraction(df, expression, expected):
    assert dtype(df, expression) == pa.float64()
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("i") // col("two"), [3, -4, None]),
        (col("i") // -2, [-4, 3, None]),
        (col("i") // 7, [1, -1, None]),
        (15 // col("i"), [2, -3, None]),
        (-15 // col("i"), [-3, 2, None]),
        (0 // col("i"), [0, 0, None]),
        (col("i").cast("int8") // col("two").cast("int8"), [3, -4, None]),
        ((col("i") + 2**62) // 1, [7 + 2**62, 2**62 - 7, None]),
        (col("f") // 1, [1.0, -3.0, None]),
        (col("i") // 2.0, [3.0, -4.0, None]),
        (col("two").cast("uint8") // 3, [0, 0, 0]),
    ],
    ids=repr,
)
def test_a_floor_division_rounds_down(df, expression, expected):
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("two") % 2, [0, 0, 0]),
        (7 % col("two"), [1, 1, 1]),
        (col("i").abs() % 4, [3, 3, None]),
        (col("f").abs() % 1.0, [0.5, 0.5, None]),
    ],
    ids=repr,
)
def test_a_remainder_is_what_division_leaves(df, expression, expected):
    assert values(df, expression) == expected


@pytest.mark.parametrize("divisor", [2, 3, -2, -3, 2.0, -1.5])
def test_quotient_and_remainder_make_the_whole_as_in_python(divisor):
    wholes = [7, -7, 6, -6, 0]
    df = keyloom.from_pydict({"x": wholes})
    assert values(df, col("x") // divisor) == [whole // divisor for whole in wholes]
    assert values(df, col("x") % divisor) == [whole % divisor for whole in wholes]


def test_a_floor_division_of_integers_by_zero_is_an_error(df):
    with pytest.raises(keyloom.InvalidError, match="(?i)divi.* by zero"):
        values(df, col("i") // 0)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("i") == 7, [True, False, None]),
        (7 == col("i"), [True, False, None]),
        (col("i") != 7, [False, True, None]),
        (col("i") < 7, [False, True, None]),
        (col("i") <= 7, [True, True, None]),
        (col("i") > -7, [True, False, None]),
        (col("i") >= -7, [True, True, None]),
        (0 < col("i"), [True, False, None]),
        (col("i") == 7.0, [True, False, None]),
        (col("i") > col("two"), [True, False, None]),
        (col("f") < 0, [False, True, None]),
        (col("s") == "x", [True, False, None]),
        (col("s") < "a", [False, True, None]),
        (col("b") == True, [True, False, None]),  # noqa: E712
        (col("i") == None, [None, None, None]),  # noqa: E711
        (col("i").eq_null_safe(None), [False, False, True]),
        (col("i").eq_null_safe(7), [True, False, False]),
        (col("i").between(-7, 6), [False, True, None]),
        (col("i").between(col("two"), 7), [True, False, None]),
        (col("i").is_in([7, 8]), [True, False, None]),
        (col("i").is_in([]), [False, False, False]),
        (col("s").is_in({"x"}), [True, False, None]),
        (col("i").is_in([col("two"), -7]), [False, True, None]),
        (col("i").is_null(), [False, False, True]),
        (col("i").not_null(), [True, True, False]),
        (col("i").is_not_null(), [True, True, False]),
        (col("st").is_null(), [False, False, True]),
        (col("l").not_null(), [True, True, False]),
    ],
    ids=repr,
)
def test_comparisons_answer_true_false_or_null(df, expression, expected):
    assert dtype(df, expression) == pa.bool_()
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (~col("b"), [False, True, None]),
        (col("b") & True, [True, False, None]),
        (col("b") & False, [False, False, False]),
        (col("b") | True, [True, True, True]),
        (col("b") | False, [True, False, None]),
        (True & col("b"), [True, False, None]),
        (False | col("b"), [True, False, None]),
        ((col("i") > 0) & (col("f") > 0), [True, False, None]),
        (~(col("i") > 0) | col("s").is_null(), [False, True, True]),
    ],
    ids=repr,
)
def test_logic_knows_three_values(df, expression, expected):
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("s") + "!", ["x!", "Yz!", None]),
        ("<" + col("s") + ">", ["<x>", "<Yz>", None]),
        (col("s") + col("s"), ["xx", "YzYz", None]),
    ],
    ids=repr,
)
def test_plus_puts_strings_together(df, expression, expected):
    assert values(df, expression) == expected


def test_an_expression_has_no_truth(df):
    said = "^an expression has no truth of its own; use & for 'and', | for 'or' and ~ for 'not'"
    for use in [
        lambda: bool(col("b")),
        lambda: col("b") and col("b"),
        lambda: not col("b"),
        lambda: 0 < col("i") < 7,
        lambda: col("i") in [col("two")],
    ]:
        with pytest.raises(ValueError, match=said):
            use()


@pytest.mark.parametrize(
    "expression",
    [
        col("s") * 2,
        col("b") & col("s"),
        ~col("s"),
        -col("s"),
        ~col("i"),
        col("i").contains("x"),
        col("i").upper(),
        col("s").sum(),
        col("i").is_in(["x"]),
        col("i") == "x",
    ],
    ids=repr,
)
def test_types_that_do_not_fit_are_refused_whatever_the_rows(df, expression):
    for frame in [df, df.limit(0)]:
        with pytest.raises(keyloom.InvalidError):
            frame.select(expression).collect()


def test_an_unknown_column_is_told_with_the_choices(df):
    for expression in [
        col("nope"),
        col("i") + col("nope"),
        when(col("nope"), 1),
        col("nope").sum(),
        col("nope")["x"],
        struct("i", "nope"),
    ]:
        with pytest.raises(keyloom.InvalidError) as error:
            df.select(expression)
        said = "column 'nope' not found; there are: i, two, f, s, b, l, st"
        assert str(error.value) == said


# Casts.


@pytest.mark.parametrize(
    "target", [DataType.float32(), pa.float32(), "float32"], ids=["DataType", "pyarrow", "name"]
)
def test_cast_takes_types_of_all_kinds(df, target):
    assert dtype(df, col("i").cast(target)) == pa.float32()
    assert values(df, col("i").cast(target)) == [7.0, -7.0, None]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (bool, [True, True, None]),
        (int, [7, -7, None]),
        (float, [7.0, -7.0, None]),
        (str, ["7", "-7", None]),
        (Decimal, [Decimal(7), Decimal(-7), None]),
    ],
)
def test_cast_takes_pythons_types(df, target, expected):
    cast = values(df, col("i").cast(target))
    assert cast == expected
    assert [type(value) for value in cast[:2]] == [target, target]


@pytest.mark.parametrize(
    ("made", "arrow"),
    [
        (DataType.bool(), pa.bool_()),
        (DataType.int8(), pa.int8()),
        (DataType.uint64(), pa.uint64()),
        (DataType.float64(), pa.float64()),
        (DataType.string(), pa.string()),
        (DataType.binary(), pa.binary()),
        (DataType.fixed_size_binary(4), pa.binary(4)),
        (DataType.date(), pa.date32()),
        (DataType.null(), pa.null()),
        (DataType.timestamp("ms", "UTC"), pa.timestamp("ms", "UTC")),
        (DataType.timestamp(), pa.timestamp("us")),
        (DataType.decimal128(10, 2), pa.decimal128(10, 2)),
        (DataType.list("int32"), pa.list_(pa.int32())),
        (DataType.fixed_size_list(float, 3), pa.list_(pa.float64(), 3)),
        (DataType.embedding(DataType.float32(), 3), pa.list_(pa.float32(), 3)),
        (DataType.struct({"a": int, "b": str}), pa.struct({"a": pa.int64(), "b": pa.string()})),
    ],
)
def test_types_have_dafts_names(made, arrow):
    assert made == arrow


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (["1", "-2", None], "int64", [1, -2, None]),
        (["1.5", "inf", None], "float64", [1.5, INF, None]),
        (["true", "false", None], "bool", [True, False, None]),
        (["2024-01-02", None], pa.date32(), [datetime.date(2024, 1, 2), None]),
        ([1.9, -1.9, None], "int32", [1, -1, None]),
        ([True, False, None], "int8", [1, 0, None]),
        ([[1, 2], None], pa.list_(pa.float64()), [[1.0, 2.0], None]),
        ([b"ab", None], "string", ["ab", None]),
        ([0, None], pa.timestamp("s"), [datetime.datetime(1970, 1, 1), None]),
    ],
)
def test_cast_turns_values_into_their_equals(source, target, expected):
    df = keyloom.from_pydict({"x": source})
    assert values(df, col("x").cast(target)) == expected


@pytest.mark.parametrize(
    ("source", "target"), [(["1", "x"], "int64"), ([1, 300], "int8"), ([1, -1], "uint64")]
)
def test_a_value_without_an_equal_fails_or_is_null(source, target):
    df = keyloom.from_pydict({"x": source})
    with pytest.raises(keyloom.InvalidError, match="(?i)cast"):
        values(df, col("x").cast(target))
    assert values(df, col("x").cast(target, safe=False)) == [1, None]


def test_a_type_that_is_none_is_refused():
    with pytest.raises(keyloom.InvalidError, match="^'nope' is no name of a type"):
        col("x").cast("nope")
    with pytest.raises(keyloom.InvalidError, match="^<class 'object'> is no type"):
        col("x").cast(object)


# Nulls.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("i").fill_null(0), [7, -7, 0]),
        (col("i").fill_null(col("two")), [7, -7, 2]),
        (col("s").fill_null("none"), ["x", "Yz", "none"]),
        (col("i").coalesce(None, 5, 6), [7, -7, 5]),
        (col("st")["x"].coalesce(col("i"), col("two")), [1, -7, 2]),
        (coalesce(None, col("i"), 0), [7, -7, 0]),
        (coalesce(col("i")), [7, -7, None]),
        (keyloom.coalesce(None, 1), [1, 1, 1]),
    ],
    ids=repr,
)
def test_coalesce_takes_the_first_that_is_not_null(df, expression, expected):
    assert values(df, expression) == expected


@pytest.mark.parametrize(
    "expression",
    [col("s").fill_null(0), col("i").fill_null("x"), col("l").fill_null(0)],
    ids=repr,
)
def test_coalesce_of_types_that_have_no_common_one_is_refused_whatever_the_rows(df, expression):
    for frame in [df, df.limit(0)]:
        with pytest.raises(keyloom.InvalidError):
            frame.select(expression).collect()


def test_coalesce_of_nothing_is_refused():
    with pytest.raises(keyloom.InvalidError, match="^coalesce needs a value$"):
        coalesce()


# Strings.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("s").contains("Y"), [False, True, None]),
        (col("s").startswith("Y"), [False, True, None]),
        (col("s").endswith("z"), [False, True, None]),
        (col("s").contains(col("s")), [True, True, None]),
        (col("s").contains("%"), [False, False, None]),
        (col("s").contains(""), [True, True, None]),
        (col("s").upper(), ["X", "YZ", None]),
        (col("s").lower(), ["x", "yz", None]),
        (col("s").length(), [1, 2, None]),
        (
            col("s").hash(),
            ["9dd4e461268c8034f5c8564e155c67a6", "e5b5b43f0e4e7ce7558189825cd03226", None],
        ),
        (
            col("i").hash(),
            ["8f14e45fceea167a5a36dedd4bea2543", "74687a12d3915d3c4d83f1af7b3683d5", None],
        ),
    ],
    ids=repr,
)
def test_functions_of_strings(df, expression, expected):
    assert values(df, expression) == expected


def test_a_length_counts_characters_not_bytes():
    df = keyloom.from_pydict({"s": ["ünï", "☕", ""]})
    assert values(df, col("s").length()) == [3, 1, 0]
    assert values(df, col("s").upper()) == ["ÜNÏ", "☕", ""]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("f").abs(), [1.5, 2.5, None]),
        (col("i").abs(), [7, 7, None]),
        (col("f").round(), [2.0, -3.0, None]),
        ((col("f") / 7).round(2), [0.21, -0.36, None]),
    ],
    ids=repr,
)
def test_functions_of_numbers(df, expression, expected):
    assert values(df, expression) == expected


# Parts.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("st")["x"], [1, None, None]),
        (col("st")["y"], ["a", "b", None]),
        (col("st").get("x"), [1, None, None]),
        (col("st").get("x", -1), [1, -1, -1]),
        (col("l")[0], [1, None, None]),
        (col("l")[3], [4, None, None]),
        (col("l")[4], [None, None, None]),
        (col("l")[-1], [4, None, None]),
        (col("l")[-4], [1, None, None]),
        (col("l")[-5], [None, None, None]),
        (col("l").get(9, 0), [0, 0, 0]),
        (col("l").get(-1), [4, None, None]),
        (col("l")[1:3][0], [2, None, None]),
    ],
    ids=repr,
)
def test_parts_of_structs_and_lists(df, expression, expected):
    assert values(df, expression) == expected


def test_a_field_is_called_like_itself_and_an_element_like_its_list(df):
    assert df.select(col("st")["x"], col("l")[0], col("st").get("y", "-")).column_names == [
        "x",
        "l",
        "y",
    ]


def test_fields_of_fields_and_elements_of_fields():
    df = keyloom.from_pydict({"s": [{"in": {"l": [1, 2]}}, {"in": None}]})
    assert values(df, col("s")["in"]["l"][-1]) == [2, None]


def places():
    for start in [None, *range(-6, 7)]:
        for stop in [None, *range(-6, 7)]:
            yield slice(start, stop)


@pytest.mark.parametrize("dtype", [pa.list_(pa.int64()), pa.large_list(pa.int64())], ids=str)
def test_a_slice_of_a_list_is_the_one_that_python_takes(dtype):
    lists = [[1, 2, 3, 4], [1, 2], [None], [], None]
    df = keyloom.from_pydict({"l": pa.array(lists, dtype)})
    slices = {f"{part.start}:{part.stop}": part for part in places()}
    found = df.select(**{name: col("l")[part] for name, part in slices.items()}).to_pydict()
    expected = {
        name: [None if values is None else values[part] for values in lists]
        for name, part in slices.items()
    }
    assert {name for name in slices if found[name] != expected[name]} == set()


def test_a_slice_of_vectors_is_a_list():
    df = keyloom.from_pydict({"v": np.arange(6).reshape(2, 3)})
    assert values(df, col("v")[1:]) == [[1, 2], [4, 5]]
    assert values(df, col("v")[-1]) == [2, 5]


def test_a_slice_has_no_step():
    with pytest.raises(keyloom.InvalidError, match="^a slice of lists has no step$"):
        col("l")[::2]


@pytest.mark.parametrize("part", [True, 1.5, None])
def test_a_part_is_a_name_a_place_or_a_slice(part):
    with pytest.raises(TypeError, match="^a part is a name, a place or a slice, not "):
        col("l")[part]


@pytest.mark.parametrize(
    "expression", [col("st")["nope"], col("i")["x"], col("i")[0], col("i")[1:]]
)
def test_a_part_that_is_not_there_is_refused_before_anything_runs(df, expression):
    with pytest.raises(keyloom.InvalidError):
        df.select(expression)


def test_a_struct_is_made_of_columns_under_their_names(df):
    made = struct("i", col("st")["x"], (col("i") + 1).alias("next"))
    assert values(df, made) == [
        {"i": 7, "x": 1, "next": 8},
        {"i": -7, "x": None, "next": -6},
        {"i": None, "x": None, "next": None},
    ]
    assert df.select(made).column_names == ["struct"]


# When.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (when(col("i") > 0).then("plus").otherwise("other"), ["plus", "other", "other"]),
        (when(col("i") > 0, "plus").otherwise("other"), ["plus", "other", "other"]),
        (
            when(col("i") > 0).then("plus").when(col("i") < 0).then("minus").otherwise("none"),
            ["plus", "minus", "none"],
        ),
        (
            when(col("i") > 0, "plus").when(col("i") < 0, "minus").otherwise("none"),
            ["plus", "minus", "none"],
        ),
        (when(col("i") > 0).then("plus"), ["plus", None, None]),
        (when(col("i") > 0, "plus").when(col("i") < 0, "minus"), ["plus", "minus", None]),
        (
            when(col("i") > -9).then("first").when(col("i") > 0).then("second"),
            ["first", "first", None],
        ),
        (when(col("i") > 0).then(col("i")).otherwise(col("f")), [7.0, -2.5, None]),
        (when(col("i") > 0).then(None).otherwise(1), [None, 1, 1]),
        (when(col("b")).then(1).otherwise(None), [1, None, None]),
        (when(True).then(col("i")).otherwise(0), [7, -7, None]),
    ],
    ids=repr,
)
def test_when_takes_the_value_beside_the_first_condition_that_is_true(df, expression, expected):
    assert values(df, expression) == expected
    assert values(df, keyloom.functions.coalesce(expression)) == expected


def test_a_value_of_none_is_a_value_in_both_forms(df):
    assert values(df, when(col("i") > 0, None).otherwise(1)) == [None, 1, 1]
    assert values(df, when(col("i") < 0, 1).when(col("i") > 0, None).otherwise(2)) == [None, 1, 2]


def test_a_case_may_branch_into_two(df):
    start = when(col("i") > 0).then("plus")
    assert values(df, start.otherwise("a")) == ["plus", "a", "a"]
    assert values(df, start.when(col("i") < 0).then("minus")) == ["plus", "minus", None]
    assert values(df, start) == ["plus", None, None]


def test_a_condition_without_a_value_is_no_column(df):
    with pytest.raises(TypeError, match="^a column's name or an expression is wanted, not When$"):
        df.select(when(col("i") > 0))


def test_a_lookup_is_made_for_the_rows_that_take_its_branch():
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    df = keyloom.from_pydict({"who": ["ann", "nobody"]})
    age = kv_get("who", source="ages", on_error="raise")["value"]
    assert values(df, when(col("who") == "ann").then(age).otherwise(-1)) == [30, -1]
    assert values(df, when(col("who") == "ann", age)) == [30, None]
    known = when(col("who") != "ann", 0)
    assert values(df, known.coalesce(age)) == [30, 0]
    assert df.where((col("who") == "ann") & (age > 20)).to_pydict() == {"who": ["ann"]}


# Literals.

SUMMER = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (None, pa.null(), None),
        (True, pa.bool_(), True),
        (1, pa.int64(), 1),
        (-(2**63), pa.int64(), -(2**63)),
        (1.5, pa.float64(), 1.5),
        ("it's 5\" ☕", pa.string(), "it's 5\" ☕"),
        (b"\x00\xff", pa.binary(), b"\x00\xff"),
        (datetime.date(2024, 1, 2), pa.date32(), datetime.date(2024, 1, 2)),
        (
            datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
            pa.timestamp("us"),
            datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
        ),
        (
            datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone.utc),
            pa.timestamp("us", "UTC"),
            datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone.utc),
        ),
        (
            datetime.datetime(2024, 1, 2, 3, tzinfo=SUMMER),
            pa.timestamp("us", "+02:00"),
            datetime.datetime(2024, 1, 2, 3, tzinfo=SUMMER),
        ),
        (datetime.time(1, 2, 3), pa.time64("us"), datetime.time(1, 2, 3)),
        (datetime.timedelta(seconds=1), pa.duration("us"), datetime.timedelta(seconds=1)),
        (Decimal("1.20"), pa.decimal128(3, 2), Decimal("1.20")),
        ([1, None], pa.list_(pa.int64()), [1, None]),
        ((1, 2), pa.list_(pa.int64()), [1, 2]),
        ([], pa.list_(pa.null()), []),
        ([[1], []], pa.list_(pa.list_(pa.int64())), [[1], []]),
        ({"a": 1, "b": "x"}, pa.struct({"a": pa.int64(), "b": pa.string()}), {"a": 1, "b": "x"}),
        (np.int32(4), pa.int32(), 4),
        (np.float32(1.5), pa.float32(), 1.5),
        (pa.scalar(1, pa.int8()), pa.int8(), 1),
        (pa.scalar(None, pa.string()), pa.string(), None),
    ],
    ids=repr,
)
def test_a_value_of_python_is_a_literal_of_its_type(value, type_, expected):
    df = keyloom.from_pydict({"row": [1, 2]})
    assert dtype(df, lit(value)) == type_
    assert values(df, lit(value)) == [expected, expected]
    assert df.select(lit(value)).column_names == ["literal"]


def test_an_expression_is_its_own_literal():
    column = col("x")
    assert lit(column) is column


@pytest.mark.parametrize("value", [object(), 2**64, -(2**70)])
def test_a_value_that_no_type_holds_is_refused(value):
    with pytest.raises(keyloom.InvalidError):
        lit(value)


@pytest.mark.parametrize("name", [3, None, b"x"])
def test_a_column_has_a_name(name):
    with pytest.raises(TypeError, match="^a column has a name, not a "):
        col(name)


# Aggregates.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("x").sum(), 9),
        (col("x").mean(), 2.25),
        (col("x").avg(), 2.25),
        (col("x").min(), 1),
        (col("x").max(), 4),
        (col("x").count(), 4),
        (col("x").count_distinct(), 3),
        (col("x").any_value(), 2),
        (col("x").list_agg(), [None, 2, 2, 1, 4]),
        (col("x").agg_list(), [None, 2, 2, 1, 4]),
        ((col("x") * 2).sum(), 18),
        (col("x").sum() * 2, 18),
        (col("s").max(), "b"),
        (col("none").any_value(), None),
        (col("none").sum(), None),
        (col("none").count(), 0),
    ],
    ids=repr,
)
def test_aggregates_leave_nulls_out(expression, expected):
    df = keyloom.from_pydict(
        {
            "x": [None, 2, 2, 1, 4],
            "s": ["a", None, "b", "a", "a"],
            "none": pa.nulls(5, pa.int64()),
        }
    )
    assert df.agg(expression.alias("it")).to_pydict() == {"it": [expected]}


# Names.


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        (col("i"), "i"),
        (col("i") + col("two"), "i"),
        (1 - col("two"), "two"),
        (col("i").sum(), "i"),
        (col("i").cast("string"), "i"),
        ((col("i") > 0) & (col("s") == "x"), "i"),
        (when(col("b"), col("i")), "i"),
        (when(col("b"), 1).otherwise(col("i")), "literal"),
        (lit(1) + 1, "literal"),
        (col("i").alias("new"), "new"),
        (col("i").alias("new") + 1, "new"),
        (col("i").alias("new").alias("newer"), "newer"),
        (col("i").alias("A.b C"), "A.b C"),
        (struct("i"), "struct"),
        (coalesce(col("two"), col("i")), "two"),
    ],
    ids=repr,
)
def test_a_column_is_called_like_the_first_it_is_made_of_or_as_alias_says(df, expression, name):
    assert expression.name() == name
    assert df.select(expression).column_names == [name]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (col("i"), "i"),
        (col("i") + 1, "i + 1 as i"),
        (col("i").alias("new"), "i as new"),
        (col("i").cast("string"), "CAST(i AS Utf8) as i"),
        (when(col("b"), 1), "CASE WHEN b THEN 1 END as literal"),
        (col("i").sum(), "sum(i) as i"),
    ],
)
def test_an_expression_prints_what_it_computes(expression, text):
    assert repr(expression) == text


def test_expressions_are_hashable_and_neither_pickled_nor_iterated():
    column = col("x")
    assert {column: 1}[column] == 1
    with pytest.raises(
        TypeError, match="^an expression belongs to a session and cannot be pickled$"
    ):
        pickle.dumps(column)
    with pytest.raises(TypeError, match="^an expression has no elements before its frame is"):
        list(column)


def test_copies_of_expressions_are_the_same(df):
    assert values(df, copy.copy(col("i"))) == values(df, copy.deepcopy(col("i"))) == [7, -7, None]


@pytest.mark.parametrize("left", [pa.uint8(), pa.uint32(), pa.uint64(), pa.int32()])
@pytest.mark.parametrize("right", [pa.uint8(), pa.uint64(), pa.int16(), pa.int64()])
def test_integers_of_any_width_are_divided_as_in_python(left, right):
    df = keyloom.from_pydict({"a": pa.array([7, 9, 0], left), "b": pa.array([2, 3, 5], right)})
    a, b = col("a"), col("b")
    divided = df.select(whole=a // b, rest=a % b, part=a / b, two=a // 2, odd=a % 2)
    assert divided.to_pydict() == {
        "whole": [3, 3, 0],
        "rest": [1, 0, 0],
        "part": [3.5, 3.0, 0.0],
        "two": [3, 4, 0],
        "odd": [1, 1, 0],
    }
    assert all(pa.types.is_integer(divided.schema()[name].type) for name in ("whole", "rest"))


def test_the_length_is_that_of_strings_bytes_and_lists():
    df = keyloom.from_pydict(
        {
            "s": ["äb", "", None],
            "b": [b"abc", b"\xff", None],
            "l": [[1, 2], [], None],
            "n": [1, 2, 3],
        }
    )
    lengths = df.select(*(col(name).length() for name in "sbl"))
    assert lengths.to_pydict() == {"s": [2, 0, None], "b": [3, 1, None], "l": [2, 0, None]}
    with pytest.raises(keyloom.InvalidError, match="^Int64 has no length; strings, bytes and"):
        df.select(col("n").length())


def test_exclusive_or_powers_and_absolute_values_are_pythons():
    df = keyloom.from_pydict({"p": [True, True, False], "q": [True, False, False], "x": [-2, 3, 0]})
    made = df.select(
        xor=col("p") ^ col("q"), square=col("x") ** 2, size=abs(col("x")), same=+col("x")
    )
    assert made.to_pydict() == {
        "xor": [False, True, False],
        "square": [4, 9, 0],
        "size": [2, 3, 0],
        "same": [-2, 3, 0],
    }


def test_values_may_stand_before_every_operator():
    df = keyloom.from_pydict({"x": [3, 1]})
    assert df.select(y=2 ** col("x")).to_pydict() == {"y": [8, 2]}
    assert df.select(y=True ^ (col("x") > 1)).to_pydict() == {"y": [False, True]}


@pytest.mark.parametrize("values", ["ab", b"ab", keyloom.from_pydict])
def test_what_is_no_list_of_values_is_refused_by_is_in(values):
    other = values({"x": [1]}) if callable(values) else values
    with pytest.raises(TypeError, match="^the others are a list of values, not a "):
        col("x").is_in(other)
