"""Lookups as Daft expressions: values, types at plan time, laziness in ``when``, and the guide's code.

``install`` changes the module ``daft``; here it is undone after each test.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

daft = pytest.importorskip("daft")

import keyloom  # noqa: E402
import keyloom.daft  # noqa: E402
from daft import DataType, col  # noqa: E402
from keyloom.daft import (  # noqa: E402
    attach,
    kv_batch_get,
    kv_exists,
    kv_get,
    load_kv,
    set_kv,
    when,
)

EXAMPLE = Path(__file__).parents[1] / "examples" / "daft_expressions.py"
GUIDE = Path(__file__).parent / "guide" / "multi_source_kv_guide.md"
TIMEOUT = 100
PEOPLE = {"id": [3, 1, 2], "name": ["cid", "ann", "bob"], "age": [50, 30, None]}
ANN = {"id": 1, "name": "ann", "age": 30}
BOB = {"id": 2, "name": "bob", "age": None}
CID = {"id": 3, "name": "cid", "age": 50}


def memory(alias: str, initial_data: Any, **options: Any) -> None:
    attach(load_kv("memory", name=f"{alias}_store", initial_data=initial_data, **options), alias)


@pytest.fixture(autouse=True)
def people() -> None:
    memory("people", PEOPLE, key="id")


@pytest.fixture
def installed() -> Iterator[None]:
    before, expressions = dict(vars(daft)), set(vars(daft.Expression))
    keyloom.daft.install()
    yield
    for name in set(vars(daft)) - set(before):
        delattr(daft, name)
    daft.attach = before["attach"]
    for name in set(vars(daft.Expression)) - expressions:
        delattr(daft.Expression, name)


def message_of(error: type[Exception], function: Callable[[], Any]) -> str:
    with pytest.raises(error) as raised:
        function()
    return str(raised.value)


def found(expression: Any, **columns: Any) -> list[Any]:
    """What an expression answers in a frame of some columns."""
    return daft.from_pydict(columns).select(expression.alias("found")).to_pydict()["found"]


# Values.


def test_kv_get_is_null_for_null_and_missing_keys() -> None:
    df = daft.from_pydict({"id": [2, None, 9, 1, 2]})
    df = df.with_column("found", kv_get("id", on_error="null", source="people"))
    df = df.with_column("there", col("found").not_null())
    assert df.to_pydict() == {
        "id": [2, None, 9, 1, 2],
        "found": [BOB, None, None, ANN, BOB],
        "there": [True, False, False, True, True],
    }


def test_columns_come_in_the_order_they_are_asked_for() -> None:
    (row,) = found(kv_get("id", ["age", "name"], source="people"), id=[3])
    assert list(row.items()) == [("age", 50), ("name", "cid")]
    assert found(kv_get("id", "age", source="people"), id=[1]) == [{"age": 30}]


def test_kv_batch_get_keeps_lengths_and_order() -> None:
    lists = [[3, 1], [], None, [9, None, 3]]
    cid, ann = {"name": "cid"}, {"name": "ann"}
    for batch_size in (1, 2, 1000):
        call = kv_batch_get("ids", "name", batch_size, "null", "people")
        assert found(call, ids=lists) == [[cid, ann], [], None, [None, None, cid]]
    assert found(kv_batch_get("ids", source="people"), ids=[None, None]) == [None, None]


def test_kv_batch_get_refuses_single_keys() -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: found(kv_batch_get("id", source="people"), id=[1])
    )
    assert (
        refused == "kv_batch_get takes lists of keys in Daft, not int64; kv_get takes single keys"
    )


def test_kv_exists_answers_in_both_modes() -> None:
    for on_error in ("raise", "null"):
        assert found(kv_exists("id", on_error, "people"), id=[1, 9, None]) == [True, False, None]


def test_composite_keys() -> None:
    memory("pairs", {"a": [1, 1], "b": ["x", "y"], "v": [5, 6]}, key=["a", "b"])
    call = kv_get(["a", "b"], "v", source="pairs")
    assert found(call, a=[1, None, 1], b=["y", "x", "x"]) == [{"v": 6}, None, {"v": 5}]
    lazily = when(col("a") == 1).then(kv_get(["a", "b"], "v", source="pairs"))
    assert found(lazily, a=[1, 7], b=["x", "x"]) == [{"v": 5}, None]


def test_no_rows_and_empty_partitions(tmp_path: Path) -> None:
    for number, ids in enumerate([[1, 9], [], [9], [3, 2]]):
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), tmp_path / f"{number}.parquet")
    df = daft.read_parquet(str(tmp_path / "*.parquet"))
    known = df.where(col("id") != 9).with_column("name", kv_get("id", source="people")["name"])
    # Daft reads files in an order of its own.
    assert known.sort("id").to_pydict() == {"id": [1, 2, 3], "name": ["ann", "bob", "cid"]}
    none = df.where(col("id") > 100).with_column("found", kv_get("id", source="people"))
    assert none.to_pydict() == {"id": [], "found": []}
    struct = pa.struct([("id", pa.int64()), ("name", pa.large_string()), ("age", pa.int64())])
    assert none.to_arrow().schema.field("found").type == struct


def test_types_that_daft_lacks_become_plain_ones() -> None:
    rows = {
        "id": [1, 2],
        "word": pa.array(["a", None]).dictionary_encode(),
        "view": pa.array(["b", "c"], pa.string_view()),
        "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    }
    memory("rows", pa.table(rows), key="id")
    df = daft.from_pydict({"id": [2, 1]}).select(kv_get("id", source="rows").alias("row"))
    fields = {
        "id": DataType.int64(),
        "word": DataType.string(),
        "view": DataType.string(),
        "vector": DataType.fixed_size_list(DataType.float32(), 2),
    }
    assert df.schema()["row"].dtype == DataType.struct(fields)
    assert df.to_pydict()["row"] == [
        {"id": 2, "word": None, "view": "c", "vector": None},
        {"id": 1, "word": "a", "view": "b", "vector": [1.0, 2.0]},
    ]


def test_a_type_that_daft_has_not_at_all_is_named() -> None:
    rows = pa.table({"id": [1], "big": pa.array([None], pa.decimal256(50, 2))})
    memory("rows", rows, key="id")
    refused = message_of(keyloom.InvalidError, lambda: kv_get("id", source="rows"))
    assert refused == (
        "column 'big' of KV store 'rows' is of type decimal256(50, 2), which Daft does not have; "
        "columns= says which columns are wanted"
    )
    assert found(kv_get("id", "id", source="rows"), id=[1]) == [{"id": 1}]


# Plans.


def test_types_are_known_and_nothing_is_asked_before_it_is_collected() -> None:
    df = daft.from_pydict({"id": [9], "ids": [[9]]}).select(
        kv_get("id", source="people").alias("one"),
        kv_batch_get("ids", "name", source="people").alias("many"),
        kv_exists("id", source="people").alias("there"),
        kv_get("id", source="people")["age"],
    )
    # collecting would fail: there is no 9
    assert [(field.name, field.dtype) for field in df.schema()] == [
        (
            "one",
            DataType.struct(
                {"id": DataType.int64(), "name": DataType.string(), "age": DataType.int64()}
            ),
        ),
        ("many", DataType.list(DataType.struct({"name": DataType.string()}))),
        ("there", DataType.bool()),
        ("age", DataType.int64()),
    ]


def test_a_lookup_is_called_like_its_key_and_a_field_like_itself() -> None:
    call = kv_get("id", source="people")
    assert (call.name(), call["name"].name(), call.alias("x").name()) == ("id", "name", "x")
    assert call.alias("x")["name"].name() == "name"
    assert call["name"].alias("x").name() == "x"
    assert kv_get(col("id") + 1, source="people").name() == "id"


def test_a_field_is_all_that_is_fetched() -> None:
    assert kv_get("id", source="people")["name"]._lookup.call.columns == ("name",)
    listed = kv_get("id", ["age", "name"], source="people")["name"]
    assert listed._lookup.call.columns == ("name",)


def test_rows_that_are_filtered_out_are_not_asked_for() -> None:
    df = daft.from_pydict({"id": [1, 9], "day": [1, 2]})
    df = df.with_column("name", kv_get("id", source="people")["name"])
    assert df.where(col("day") == 1).to_pydict() == {"id": [1], "day": [1], "name": ["ann"]}
    assert df.select("day").to_pydict() == {"day": [1, 2]}


def test_the_store_is_read_at_the_version_that_was_newest_when_the_call_was_built(
    lance: Callable[..., str],
) -> None:
    uri = lance("ages", {"id": [1], "age": [30]})
    attach(load_kv("lance", name="ages", uri=uri), "ages")
    df = daft.from_pydict({"id": [1]})
    before = df.select(kv_get("id", source="ages")["age"])
    lance("ages", {"id": [1], "age": [31]})
    after = df.select(kv_get("id", source="ages")["age"])
    assert (before.to_pydict(), after.to_pydict()) == ({"age": [30]}, {"age": [31]})


def test_which_store_is_meant_is_settled_when_the_call_is_built() -> None:
    memory("one", {1: "one"})
    memory("two", {1: "two"})
    set_kv("one")
    first = kv_get("id")["value"].alias("first")
    set_kv("two")
    df = daft.from_pydict({"id": [1]}).select(first, kv_get("id")["value"].alias("second"))
    for alias in ("one", "two"):
        keyloom.daft.detach_kv(alias)
    assert df.to_pydict() == {"first": ["one"], "second": ["two"]}


def test_a_call_travels_by_value() -> None:
    call = pickle.loads(pickle.dumps(kv_get("id", source="people")._lookup.call))
    assert call.answers([1]).to_pylist() == [ANN]
    assert call.store.name == "people"


# Errors.


def test_a_missing_key_is_named_as_in_keyloom() -> None:
    df = daft.from_pydict({"id": [9, 1, 8]}).select(kv_get("id", source="people"))
    for run in (df.collect, df.to_pydict):
        refused = message_of(keyloom.NotFoundError, run)
        assert refused == "Key not found in KV store 'people': 9, 8 (2 missing in one batch)"


def test_mistakes_are_found_when_the_call_is_built() -> None:
    assert message_of(keyloom.NotFoundError, lambda: kv_get("id")) == (
        "No KV store is currently attached to the session"
    )
    assert message_of(keyloom.NotFoundError, lambda: kv_get("id", source="nope")) == (
        "KV store 'nope' not found in session (attached: 'people')"
    )
    assert message_of(keyloom.InvalidError, lambda: kv_get("id", "nope", source="people")) == (
        "column 'nope' not found in KV store 'people'; it has 'id', 'name', 'age'"
    )
    assert message_of(keyloom.InvalidError, lambda: kv_get("id", source="people")["nope"]) == (
        "column 'nope' not found in KV store 'people'; it has 'id', 'name', 'age'"
    )
    refused = message_of(ValueError, lambda: kv_get("id", on_error="no", source="people"))
    assert refused == "on_error is 'raise' or 'null', not 'no'"


def test_keys_of_another_type_are_refused_when_the_query_runs() -> None:
    df = daft.from_pydict({"id": ["1"]}).select(kv_get("id", source="people"))
    refused = message_of(keyloom.InvalidError, df.collect)
    assert refused.startswith("a key of type LargeUtf8 cannot be looked up in KV store 'people'")


# Branches.


@pytest.fixture
def halves() -> Any:
    """Items of which each of two stores knows one; a lookup of the other raises."""
    memory("left", {"a": 1})
    memory("right", {"b": 2})
    return daft.from_pydict({"id": ["a", "b", "c"], "side": ["left", "right", None]})


def test_when_asks_for_the_rows_alone_that_take_its_branch(halves: Any) -> None:
    left, right = kv_get("id", source="left"), kv_get("id", source="right")
    is_left, is_right = halves["side"] == "left", halves["side"] == "right"
    a, b = {"key": "a", "value": 1}, {"key": "b", "value": 2}
    answers = halves.select(
        when(is_left).then(left).alias("one"),
        when(is_left, left).when(is_right, right).alias("chained"),
        when(is_left)
        .then(left["value"])
        .when(is_right)
        .then(right["value"])
        .otherwise(0)
        .alias("value"),
        when(is_right).then("r").otherwise(when(is_left).then("l")).alias("plain"),
        when(is_left).then(left.alias("x")).when(is_right).then(right.alias("x")),
    )
    assert answers.to_pydict() == {
        "one": [a, None, None],
        "chained": [a, b, None],
        "value": [1, 2, 0],
        "plain": ["l", "r", None],
        "x": [a, b, None],
    }


def test_the_first_branch_whose_condition_is_met_counts(halves: Any) -> None:
    left = kv_get("id", source="left")["value"]
    is_left = halves["side"] == "left"
    answer = halves.select(when(is_left, left).when(True, -1).otherwise(left).alias("value"))
    assert answer.to_pydict() == {"value": [1, -1, -1]}


def test_a_missing_key_in_a_branch_that_is_taken_raises(halves: Any) -> None:
    df = halves.select(when(halves["side"] == "right").then(kv_get("id", source="left")))
    refused = message_of(keyloom.NotFoundError, df.collect)
    assert refused == "Key not found in KV store 'left': b"


def test_a_missing_key_of_a_branch_is_no_reason_to_take_another(halves: Any) -> None:
    left = kv_get("id", on_error="null", source="left")
    right = kv_get("id", on_error="null", source="right")
    df = halves.select(when(halves["side"] == "right").then(left).otherwise(right).alias("none"))
    assert df.to_pydict() == {"none": [None, None, None]}


def test_lookups_that_daft_would_confuse_are_refused() -> None:
    memory("names", {1: "ann", 2: "eve"})
    one = kv_get("id", source="people")["name"]
    two = kv_get("id", source="names")["value"]
    # Both are arguments of one operator: Daft tells them apart.
    assert found(one == two, id=[1, 2]) == [True, False]
    assert found(one.upper() + "!", id=[1]) == ["ANN!"]
    message = "Daft would take the lookups in this expression for one"
    for confused in (
        lambda: (one == "ann") & (two == "eve"),
        lambda: one + two.upper(),
        lambda: "x" + one == two,
        lambda: one.lower() == two,
    ):
        assert message_of(keyloom.InvalidError, confused).startswith(message)
    part = "into a column first"
    assert part in message_of(keyloom.InvalidError, lambda: when(one == "ann", 1))
    assert part in message_of(keyloom.InvalidError, lambda: when(col("id") == 1, one.upper()))
    # What the message says to do.
    df = daft.from_pydict({"id": [1, 2]}).with_column("one", one).with_column("two", two)
    both = df.where((col("one") == "bob") & (col("two") == "eve"))
    assert both.to_pydict() == {"id": [2], "one": ["bob"], "two": ["eve"]}


def test_a_lookup_may_be_the_key_of_another() -> None:
    memory("boss", {1: 2, 2: 3})
    boss = kv_get("id", source="boss")["value"]
    assert found(kv_get(boss, source="people")["name"], id=[2, 1]) == ["cid", "bob"]


# Names in Daft.


def test_importing_changes_nothing_of_daft() -> None:
    assert not any(hasattr(daft, name) for name in ("set_kv", "has_kv", "attach_kv", "when"))
    assert not hasattr(daft.Expression, "is_not_null")


def test_installed_names_attach_stores_and_leave_the_rest_to_daft(installed: None) -> None:
    keyloom.daft.install()
    attached = daft.attach(load_kv("memory", name="ages", initial_data={"ann": 30}), alias="a")
    assert (attached.alias, attached.name) == ("a", "ages")
    assert (daft.has_kv("a"), daft.list_kv(), daft.current_kv()) == (True, ["a", "people"], None)
    daft.set_kv("a")
    assert daft.current_kv().name == "ages"
    assert daft.get_kv("a").alias == "a"
    daft.detach_kv("a")
    assert not daft.has_kv("a")
    table = daft.from_pydict({"x": [1]})
    daft.attach(table, alias="of_daft")
    assert daft.read_table("of_daft").to_pydict() == {"x": [1]}
    daft.detach_table("of_daft")
    with pytest.raises(ValueError, match="^Cannot attach object with type"):
        daft.attach(7)
    answer = daft.from_pydict({"x": [1, None]}).select(col("x").is_not_null())
    assert answer.to_pydict() == {"x": [True, False]}


# The guide.

IMPORTS = {
    "from daft.kv import load_kv": "from keyloom.daft import load_kv",
    "from daft.functions.kv import kv_get, kv_batch_get, kv_exists": (
        "from keyloom.daft import kv_get, kv_batch_get, kv_exists"
    ),
}


def guide_block(heading: str) -> str:
    """The code under a heading of the guide, with the imports of stores changed."""
    text = GUIDE.read_text()
    after = text[re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE).end() :]
    code = re.search(r"```python\n(.*?)```", after, re.DOTALL)[1]
    return "\n".join(IMPORTS.get(line, line) for line in textwrap.dedent(code).splitlines())


def run(code: str) -> dict[str, Any]:
    """Runs code of the guide, and answers the names it leaves."""
    functions = {"kv_get": kv_get, "kv_batch_get": kv_batch_get, "kv_exists": kv_exists}
    space: dict[str, Any] = {"daft": daft, "load_kv": load_kv, **functions}
    exec(code, space)
    return space


def rows(column: str, values: dict[str, dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{column: key, **row} for key, row in values.items()])


@pytest.fixture
def attach_lance(lance: Callable[..., str], installed: None) -> Callable[..., None]:
    """Attaches rows as a Lance store without a key, as the guide does."""

    def attach_rows(alias: str, column: str, values: dict[str, dict[str, Any]]) -> None:
        daft.attach(load_kv("lance", uri=lance(alias, rows(column, values))), alias=alias)

    return attach_rows


def test_the_guides_first_block(lance: Callable[..., str], installed: None) -> None:
    vectors = {"item_1": {"vector": [0.5, 1.0]}}
    metadata = {"item_1": {"name": "lamp"}}
    code = guide_block("Setting Up Multiple KV Stores")
    for name, values in (("embeddings", vectors), ("metadata", metadata)):
        code = code.replace(f"s3://bucket/{name}", lance(name, rows("item_id", values)))
    run(code)
    assert daft.list_kv() == ["feature_store", "lance_embeddings", "lance_metadata", "people"]
    assert daft.current_kv().alias == "lance_embeddings"
    df = daft.from_pydict({"item_id": ["item_1"]}).select(
        kv_get("item_id")["vector"],
        kv_get("item_id", source="lance_metadata")["name"],
        kv_get("item_id", source="feature_store")["value"],
    )
    assert df.to_pydict() == {"vector": [[0.5, 1.0]], "name": ["lamp"], "value": ["feature_data"]}


def test_the_guides_lookups(attach_lance: Callable[..., None]) -> None:
    values = {item: {"name": f"name of {item}"} for item in ("item_1", "item_2", "item_3")}
    for alias in ("lance_embeddings", "lance_metadata"):
        attach_lance(alias, "item_id", values)
    memory("feature_store", {item: item.upper() for item in values})
    answers = run(guide_block("Using the Source Parameter"))["df_enriched"].to_pydict()
    found_rows = [{"item_id": item, **row} for item, row in values.items()]
    assert answers == {
        "item_id": list(values),
        "embeddings": found_rows,
        "metadata": found_rows,
        "features": [{"key": item, "value": item.upper()} for item in values],
    }


def test_the_guides_conditions(attach_lance: Callable[..., None]) -> None:
    # No store knows the others' items, and a missing key raises.
    users = {"user_001": {"name": "ann"}, "user_002": {"name": "bob"}}
    products = {"product_101": {"name": "lamp"}}
    for alias in ("user_embeddings", "user_profiles"):
        attach_lance(alias, "item_id", users)
    for alias in ("product_embeddings", "product_catalog"):
        attach_lance(alias, "item_id", products)
    answers = run(guide_block("Conditional Data Access"))["df_conditional"].to_pydict()
    items = ["user_001", "product_101", "user_002"]
    expected = [{"item_id": item, **(users | products)[item]} for item in items]
    assert answers == {
        "item_id": items,
        "item_type": ["user", "product", "user"],
        "embeddings": expected,
        "metadata": expected,
    }


def test_the_guides_fallbacks(attach_lance: Callable[..., None]) -> None:
    attach_lance("primary_store", "item_id", {"item_1": {"name": "lamp"}})
    attach_lance(
        "secondary_store", "item_id", {"item_1": {"name": "x"}, "item_2": {"name": "desk"}}
    )
    # Daft refuses to name a column that a frame does not have yet: df["primary_data"].
    code = re.sub(r'df\[("\w+")\]', r"daft.col(\1)", guide_block("Error Handling and Fallbacks"))
    answers = run(code)["df_with_fallback"].to_pydict()
    lamp = {"item_id": "item_1", "name": "lamp"}
    desk = {"item_id": "item_2", "name": "desk"}
    assert answers == {
        "item_id": ["item_1", "item_2", "missing_item"],
        "primary_data": [lamp, None, None],
        "secondary_data": [{"item_id": "item_1", "name": "x"}, desk, None],
        "final_data": [lamp, desk, None],
    }


def test_the_guides_resource_management(installed: None) -> None:
    memory("temporary_store", {1: 1})
    daft.set_kv("people")
    run(guide_block("4. Resource Management"))
    assert (daft.list_kv(), daft.current_kv()) == (["people"], None)


# Other processes.

ON_RAY = """
    import daft
    import ray
    from keyloom.daft import attach, kv_batch_get, kv_get, load_kv, when

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    daft.set_runner_ray(noop_if_initialized=True)
    people = {"id": [1, 2], "name": ["ann", None]}
    attach(load_kv("memory", name="people", initial_data=people, key="id"))
    df = daft.from_pydict({"id": [2, 9, None, 1], "ids": [[1], None, [], [9, 2]]}).into_partitions(2)
    name = kv_get("id", source="people")["name"]
    answers = df.select(
        kv_get("id", on_error="null", source="people").alias("row"),
        kv_batch_get("ids", "name", on_error="null", source="people").alias("rows"),
        when(daft.col("id") < 5).then(name).otherwise("-").alias("name"),
    )
    print(answers.to_pydict())
    try:
        df.select(kv_get("id", source="people")).collect()
    except Exception as error:
        print("Key not found in KV store 'people': 9" in str(error))
"""


def test_on_rays_runner() -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-c", textwrap.dedent(ON_RAY)]
    environment = {**os.environ, "DAFT_PROGRESS_BAR": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    expected = {
        "row": [{"id": 2, "name": None}, None, None, {"id": 1, "name": "ann"}],
        "rows": [[{"name": "ann"}], None, [], [None, {"name": None}]],
        "name": [None, "-", "-", "ann"],
    }
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(expected), "True"], done.stderr


def test_the_example() -> None:
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "{'item_id': ['user_001', 'product_101', 'user_002'], 'name': ['ann', 'lamp', 'bob']}",
            "{'age': [{'age': 30}, None, {'age': 40}], 'known': [True, False, True], "
            "'friends': [[{'name': 'bob'}], [], None]}",
            "Key not found in KV store 'users': product_101",
        ],
    ), done.stderr
