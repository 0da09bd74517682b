"""The promises of stores: what ``load_kv`` takes, which key is meant, and what lookups answer."""

from __future__ import annotations

import datetime
import decimal
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyloom
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from keyloom import coalesce, col, lit, when
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import KVStore, load_kv

Lance = Callable[..., str]

PEOPLE = {"id": [3, 1, 2], "name": ["cid", "ann", "bob"], "age": [50, 30, None]}
ANN = {"id": 1, "name": "ann", "age": 30}
BOB = {"id": 2, "name": "bob", "age": None}
CID = {"id": 3, "name": "cid", "age": 50}


def memory(alias: str, initial_data: Any = None, **options: Any) -> None:
    keyloom.attach(load_kv("memory", name=alias, initial_data=initial_data, **options))


def look_up(source: str, keys: Any, column: str = "id", **options: Any) -> list[Any]:
    """What the store answers for keys in a column."""
    df = keyloom.from_pydict({column: keys})
    return df.select(kv_get(column, source=source, **options).alias("found")).to_pydict()["found"]


def message_of(error: type[Exception], function: Callable[[], Any]) -> str:
    with pytest.raises(error) as raised:
        function()
    return str(raised.value)


# Lance stores.


@pytest.mark.parametrize("option", ["key", "key_column"])
def test_a_key_is_named_by_either_word(lance: Lance, option: str) -> None:
    uri = lance("people", PEOPLE, rows_per_file=2)
    keyloom.attach(load_kv("lance", name="people", uri=uri, **{option: "name"}))
    assert look_up("people", ["cid", "nobody", "ann"], on_error="null") == [CID, None, ANN]


def test_both_words_for_the_key_are_refused(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("lance", uri=uri, key="id", key_column="id")
    )
    assert refused == "key and key_column are one option; give one of them"


def test_a_path_may_be_a_path_object(lance: Lance, tmp_path: Any) -> None:
    lance("people", PEOPLE)
    keyloom.attach(load_kv("lance", name="people", uri=tmp_path / "people.lance", key="id"))
    assert look_up("people", [2]) == [BOB]


def test_without_a_key_the_column_of_the_same_name_is_looked_up(lance: Lance) -> None:
    keyloom.attach(load_kv("lance", name="people", uri=lance("people", PEOPLE)))
    assert look_up("people", [1, 3], column="id") == [ANN, CID]
    assert look_up("people", ["bob"], column="name") == [BOB]


def test_an_aliased_column_is_looked_up_by_its_own_name(lance: Lance) -> None:
    keyloom.attach(load_kv("lance", name="people", uri=lance("people", PEOPLE)))
    df = keyloom.from_pydict({"name": ["cid"]})
    assert df.select(kv_get("name", source="people").alias("who")).to_pydict() == {"who": [CID]}


def test_without_a_key_and_such_a_column_the_error_names_the_candidates(lance: Lance) -> None:
    keyloom.attach(load_kv("lance", name="people", uri=lance("people", PEOPLE)))
    df = keyloom.from_pydict({"person": [1]})
    refused = message_of(
        keyloom.InvalidError, lambda: df.with_column("x", kv_get("person", source="people"))
    )
    assert refused.startswith("KV store 'people' was given no key")
    assert "no column 'person'" in refused
    assert "the columns that can be keys are 'id', 'name', 'age'" in refused
    assert '"_rowid"' in refused


def test_the_key_that_a_dataset_declares_is_looked_up_by_columns_of_any_name(lance: Lance) -> None:
    declared = {"lance-schema:unenforced-primary-key": "true"}
    key = pa.field("id", pa.string(), nullable=False, metadata=declared)
    schema = pa.schema([key, pa.field("item", pa.int64())])
    rows = pa.table({"id": ["a", "b"], "item": [1, 2]}, schema=schema)
    keyloom.attach(load_kv("lance", name="items", uri=lance("items", rows)))
    df = keyloom.from_pydict({"item": ["b"], "item_ids": [["b", "a"]]}).select(
        kv_get("item", source="items"), kv_batch_get("item_ids", "item", source="items")
    )
    assert df.to_pydict() == {
        "item": [{"id": "b", "item": 2}],
        "item_ids": [[{"item": 2}, {"item": 1}]],
    }


def test_row_ids_are_looked_up_in_datasets_of_several_fragments(lance: Lance) -> None:
    uri = lance("people", PEOPLE, rows_per_file=2)
    keyloom.attach(load_kv("lance", name="people", uri=uri, key="_rowid"))
    second_fragment = 1 << 32
    keys = [0, second_fragment, 1, -1, 2]
    assert look_up("people", keys, on_error="null") == [CID, BOB, ANN, None, None]


def test_offsets_are_looked_up_in_datasets_of_several_fragments(lance: Lance) -> None:
    uri = lance("people", PEOPLE, rows_per_file=2)
    keyloom.attach(load_kv("lance", name="people", uri=uri, key="_offset"))
    assert look_up("people", [2, 0, 1, 3], on_error="null") == [BOB, CID, ANN, None]


def test_an_unknown_key_column_is_refused_at_attach(lance: Lance) -> None:
    store = load_kv("lance", name="people", uri=lance("people", PEOPLE), key="nope")
    refused = message_of(keyloom.InvalidError, lambda: keyloom.attach(store))
    assert refused == (
        "KV store 'people': key column 'nope' not found; the store has 'id', 'name', 'age'"
    )


def test_a_column_that_cannot_be_a_key_is_refused_at_attach(lance: Lance) -> None:
    uri = lance("vectors", {"id": [1], "vector": [[1.0]]})
    store = load_kv("lance", name="vectors", uri=uri, key="vector")
    refused = message_of(keyloom.InvalidError, lambda: keyloom.attach(store))
    assert refused.startswith("KV store 'vectors': key column 'vector' has type List")


def test_a_version_is_read_as_it_was(lance: Lance) -> None:
    uri = lance("prices", {"id": [1], "price": [10]})
    keyloom.attach(load_kv("lance", name="newest", uri=uri, key="id"))
    keyloom.attach(load_kv("lance", name="first", uri=uri, key="id", version=1))
    lance("prices", {"id": [1], "price": [20]})
    keyloom.attach(load_kv("lance", name="second", uri=uri, key="id", version=2))
    answers = {alias: look_up(alias, [1]) for alias in ("newest", "first", "second")}
    assert answers == {
        "newest": [{"id": 1, "price": 20}],
        "first": [{"id": 1, "price": 10}],
        "second": [{"id": 1, "price": 20}],
    }


def test_a_version_that_is_not_there_is_refused_at_attach(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    store = load_kv("lance", name="people", uri=uri, version=9)
    refused = message_of(keyloom.NotFoundError, lambda: keyloom.attach(store))
    assert refused == (
        f"store 'people' cannot be opened: no version 9 of the Lance dataset at {uri}, "
        "whose newest is 1"
    )


def test_a_tag_that_is_not_there_is_refused_at_attach(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    store = load_kv("lance", name="people", uri=uri, tag="gold")
    refused = message_of(keyloom.NotFoundError, lambda: keyloom.attach(store))
    assert refused == (
        f"store 'people' cannot be opened: no tag 'gold' on the Lance dataset at {uri}"
    )


def test_a_version_and_a_tag_together_are_refused() -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("lance", name="x", uri="x.lance", version=1, tag="a")
    )
    assert refused == "KV store 'x' names both a version and a tag; give one"


@pytest.mark.parametrize(
    ("option", "value"),
    [("version", "one"), ("tag", 1), ("storage_options", {"token": "s3cr3t"}), ("key", 1)],
)
def test_an_option_of_another_type_is_refused_by_its_name(option: str, value: Any) -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("lance", name="x", uri="x.lance", **{option: value})
    )
    assert refused.startswith("KV store 'x': ")
    assert option in refused
    assert "s3cr3t" not in refused


def test_an_unknown_option_is_refused_by_its_name_with_the_choices() -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("lance", name="x", uri="x.lance", verson=1)
    )
    assert refused == (
        "KV store 'x' has no option 'verson'; it takes uri, key, version, tag, storage_options, "
        "on_duplicate_key, key_path, row_path, requests_in_flight, request_timeout_ms, "
        "request_attempts"
    )
    refused = message_of(keyloom.InvalidError, lambda: load_kv("memory", name="x", version=1))
    assert refused == "KV store 'x' has no option 'version'; it takes key, initial_data"


def test_options_of_the_other_kind_are_refused() -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("lance", name="x", uri="x.lance", initial_data={})
    )
    assert refused == "KV store 'x': initial_data is for memory stores"
    refused = message_of(keyloom.InvalidError, lambda: load_kv("memory", name="x", uri="x.lance"))
    assert refused == "KV store 'x': uri is for Lance stores"


def test_a_storage_profile_that_workers_lack_is_refused_at_attach(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    store = load_kv("lance", name="people", uri=uri, storage_options="gold")
    refused = message_of(keyloom.InvalidError, lambda: keyloom.attach(store))
    assert refused.startswith("store 'people' cannot be opened: storage profile 'gold' not found")


def test_a_key_in_several_rows_means_what_the_option_says(lance: Lance) -> None:
    uri = lance("twice", {"id": [1, 2, 1], "v": ["a", "b", "c"]}, rows_per_file=2)
    for policy in ("first", "last"):
        store = load_kv("lance", name=policy, uri=uri, key="id", on_duplicate_key=policy)
        keyloom.attach(store)
    keyloom.attach(load_kv("lance", name="strict", uri=uri, key="id"))
    assert look_up("first", [1, 2], columns="v") == [{"v": "a"}, {"v": "b"}]
    assert look_up("last", [1, 2], columns="v") == [{"v": "c"}, {"v": "b"}]
    refused = message_of(keyloom.KeyloomError, lambda: look_up("strict", [1], columns="v"))
    assert "KV store 'strict'" in refused


def test_a_null_key_in_a_dataset_is_never_found(lance: Lance) -> None:
    uri = lance("nulls", {"id": [None, 1], "v": ["a", "b"]})
    keyloom.attach(load_kv("lance", name="nulls", uri=uri, key="id"))
    assert look_up("nulls", pa.array([1, None], pa.int64()), columns="v") == [{"v": "b"}, None]


# Keys of several columns.

PLACES = {"x": [1, 2, 2], "y": ["a", "a", "b"], "v": [0.5, 1.5, 2.5]}


@pytest.mark.parametrize("kind", ["lance", "memory"])
def test_a_key_of_several_columns(lance: Lance, kind: str) -> None:
    if kind == "lance":
        uri = lance("places", PLACES, rows_per_file=2)
        keyloom.attach(load_kv("lance", name="places", uri=uri, key=["x", "y"]))
    else:
        memory("places", PLACES, key=["x", "y"])
    df = keyloom.from_pydict({"x": [2, 2, 1, None], "y": ["b", "a", "b", "a"]})
    lookups = {
        "listed": kv_get(["x", "y"], "v", on_error="null", source="places"),
        "turned": kv_get(("y", "x"), "v", on_error="null", source="places"),
        "struct": kv_get(keyloom.struct("x", "y"), "v", on_error="null", source="places"),
        "exists": kv_exists(["x", "y"], source="places"),
    }
    values = [{"v": 2.5}, {"v": 1.5}, None, None]
    assert df.select(**lookups).to_pydict() == {
        "listed": values,
        "turned": values,
        "struct": values,
        "exists": [True, True, False, None],
    }


def test_columns_of_other_names_are_a_key_under_the_stores_names() -> None:
    memory("places", PLACES, key=["x", "y"])
    df = keyloom.from_pydict({"a": [2], "b": ["b"]})
    call = kv_get([col("a").alias("x"), col("b").alias("y")], "v", source="places")
    assert df.select(found=call).to_pydict() == {"found": [{"v": 2.5}]}


def test_part_of_a_key_is_refused() -> None:
    memory("places", PLACES, key=["x", "y"])
    df = keyloom.from_pydict({"x": [2]})
    for key in ("x", ["x"]):
        refused = message_of(
            keyloom.InvalidError, lambda key=key: df.select(kv_get(key, source="places"))
        )
        assert "KV store 'places'" in refused
        assert "'x', 'y'" in refused


# Memory stores.


def test_values_become_a_column_value() -> None:
    memory("features", {"b": 2, "a": None})
    answers = look_up("features", ["a", "b"])
    assert answers == [{"key": "a", "value": None}, {"key": "b", "value": 2}]


def test_dicts_become_columns_with_what_is_nested_in_them() -> None:
    data = {
        "a": {"embedding": [1.0, 2.0], "meta": {"tags": ["x"], "size": {"w": 1}}},
        "b": {"embedding": [], "score": 0.5},
    }
    memory("items", data)
    assert look_up("items", ["b", "a"]) == [
        {"key": "b", "embedding": [], "meta": None, "score": 0.5},
        {
            "key": "a",
            "embedding": [1.0, 2.0],
            "meta": {"tags": ["x"], "size": {"w": 1}},
            "score": None,
        },
    ]
    assert look_up("items", ["a"], columns=["embedding"]) == [{"embedding": [1.0, 2.0]}]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([ANN, BOB, CID], id="list of dicts"),
        pytest.param(PEOPLE, id="dict of columns"),
        pytest.param(pd.DataFrame(PEOPLE).convert_dtypes(), id="pandas"),
        pytest.param(pl.DataFrame(PEOPLE), id="polars"),
        pytest.param(pa.table(PEOPLE), id="table"),
        pytest.param(pa.record_batch(PEOPLE), id="record batch"),
        pytest.param([pa.table(PEOPLE).slice(0, 1), pa.table(PEOPLE).slice(1)], id="tables"),
    ],
)
def test_rows_of_all_kinds_are_a_store(data: Any) -> None:
    memory("people", data, key="id")
    assert look_up("people", [3, 2, 1, 2]) == [CID, BOB, ANN, BOB]


def test_a_frame_is_a_store() -> None:
    df = keyloom.from_pydict(PEOPLE).where(col("age").not_null())
    memory("people", df, key="id")
    assert look_up("people", [3, 2], on_error="null") == [CID, None]


def test_vectors_of_numpy_are_values() -> None:
    memory("vectors", {"a": np.array([0.5, 1.5], np.float32), "b": np.array([], np.float32)})
    answers = look_up("vectors", ["b", "a"], columns="value")
    assert answers == [{"value": []}, {"value": [0.5, 1.5]}]
    assert keyloom.get_kv("vectors").schema.field("value").type == pa.list_(pa.float32())


@pytest.mark.parametrize("data", [None, {}])
def test_an_empty_store_has_keys_and_values_of_strings(data: Any) -> None:
    memory("empty", data)
    assert look_up("empty", ["a", None], on_error="null") == [None, None]
    schema = keyloom.get_kv("empty").schema
    assert [(field.name, field.type) for field in schema] == [
        ("key", pa.string()),
        ("value", pa.string()),
    ]
    answer = keyloom.from_pydict({"id": ["a"]}).select(kv_exists("id", source="empty"))
    assert answer.to_pydict() == {"empty": [False]}


def test_an_empty_table_keeps_its_types() -> None:
    rows = pa.table({"id": pa.array([], pa.int32()), "v": pa.array([], pa.list_(pa.int8()))})
    memory("empty", rows, key="id")
    assert look_up("empty", [1], on_error="null") == [None]
    df = keyloom.from_pydict({"id": [1]}).select(kv_get("id", source="empty", on_error="null"))
    assert df.schema()["empty"].type == pa.struct([("id", pa.int32()), ("v", pa.list_(pa.int8()))])


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        pytest.param(
            {"a": 1, "b": {"x": 1}},
            {},
            "KV store 'x': some values are dicts and some are not",
            id="dicts among values",
        ),
        pytest.param(
            {"a": {"key": 1}},
            {},
            "KV store 'x': the values have a field 'key', which is what the column of keys is "
            "called",
            id="a field that is called like the key",
        ),
        pytest.param(
            {"id": ["a", "b", "a"], "v": [1, 2, 3]},
            {"key": "id"},
            "KV store 'x': key 'a' stands in several rows",
            id="a key twice",
        ),
        pytest.param(
            {"id": ["a", None], "v": [1, 2]},
            {"key": "id"},
            "KV store 'x': key column 'id' holds nulls",
            id="null among keys in a column",
        ),
        pytest.param(
            {"a": 1, None: 2},
            {},
            "KV store 'x': key column 'key' holds nulls",
            id="null among keys of a dict",
        ),
        pytest.param(
            {"id": ["a"], "v": [1, 2]},
            {"key": "id"},
            "KV store 'x': the columns differ in length: 'id' has 1, 'v' has 2",
            id="columns of different lengths",
        ),
        pytest.param(
            {"id": ["a"], "v": [1]},
            {"key": "nope"},
            "KV store 'x': key column 'nope' not found; the rows have 'id', 'v'",
            id="no such key column",
        ),
        pytest.param(
            [{"id": 1}, 2],
            {"key": "id"},
            "KV store 'x': a list of rows holds dicts, not int",
            id="a row that is no dict",
        ),
    ],
)
def test_data_that_are_no_store_are_refused(
    data: Any, options: dict[str, Any], message: str
) -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("memory", name="x", initial_data=data, **options)
    )
    assert refused == message


def test_pairs_together_with_a_key_are_refused() -> None:
    # with a key, a dict holds columns
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("memory", name="x", initial_data={"a": 1.5}, key="id")
    )
    assert refused.startswith("KV store 'x': ")
    assert "'a'" in refused


@pytest.mark.parametrize("data", [{"a": 1, "b": "x"}, {"a": 1, 2: 3}])
def test_values_and_keys_without_a_common_type_are_refused(data: Any) -> None:
    refused = message_of(
        keyloom.InvalidError, lambda: load_kv("memory", name="x", initial_data=data)
    )
    assert refused.startswith("KV store 'x': column '")
    assert "': the values have no common type: " in refused


def test_a_store_is_a_copy() -> None:
    data = {"a": 1}
    store = load_kv("memory", name="copy", initial_data=data)
    data["a"] = 2
    keyloom.attach(store)
    data["a"] = 3
    assert look_up("copy", ["a"], columns="value") == [{"value": 1}]


# Keys.


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(pa.array([1, -5, 9], pa.int8()), id="int8"),
        pytest.param(pa.array([1, 2**63, 2**64 - 1], pa.uint64()), id="uint64"),
        pytest.param(pa.array(["", "o'brien", 'say "x" OR 1=1']), id="string"),
        pytest.param(pa.array([b"", b"\x00\xff", b"z"]), id="binary"),
        pytest.param(pa.array([b"w" * 16, b"x" * 16, b"y" * 16], pa.binary(16)), id="uuid"),
        pytest.param(pa.array([datetime.date(2024, 2, day) for day in (1, 28, 29)]), id="date"),
        pytest.param(
            pa.array([datetime.datetime(2024, 1, 1, 0, 0, n) for n in range(3)]), id="timestamp"
        ),
        pytest.param(pa.array([decimal.Decimal(n) / 4 for n in (1, 2, 3)]), id="decimal"),
    ],
)
@pytest.mark.parametrize("kind", ["lance", "memory"])
def test_keys_of_all_types_are_found(lance: Lance, kind: str, keys: pa.Array) -> None:
    rows = pa.table({"k": keys.slice(0, 2), "n": ["first", "second"]})
    if kind == "lance":
        keyloom.attach(load_kv("lance", name="s", uri=lance("s", rows), key="k"))
    else:
        memory("s", rows, key="k")
    asked = pa.concat_arrays([keys.slice(1), keys.slice(0, 1), pa.nulls(1, keys.type)])
    answers = look_up("s", asked, columns="n", on_error="null")
    assert answers == [{"n": "second"}, None, {"n": "first"}, None]


def test_booleans_are_keys() -> None:
    memory("flags", {True: "yes", False: "no"})
    answers = look_up("flags", [False, None, True], columns="value")
    assert answers == [{"value": "no"}, None, {"value": "yes"}]


def test_a_dictionary_of_keys_is_looked_up_by_its_values() -> None:
    memory("ages", {"ann": 30, "bob": 40})
    keys = pa.array(["bob", "ann", None, "bob"]).dictionary_encode()
    answers = look_up("ages", keys, columns="value")
    assert answers == [{"value": 40}, {"value": 30}, None, {"value": 40}]


def test_integer_keys_of_other_widths_are_the_same_keys() -> None:
    memory("small", pa.table({"id": pa.array([1, 200], pa.uint8()), "v": ["a", "b"]}), key="id")
    answers = look_up("small", [200, 300, -1, 1], columns="v", on_error="null")
    assert answers == [{"v": "b"}, None, None, {"v": "a"}]
    df = keyloom.from_pydict({"id": [200, 300, -1, None]})
    there = df.select(kv_exists("id", source="small")).to_pydict()
    assert there == {"small": [True, False, False, None]}


def test_a_string_for_an_integer_key_is_refused_with_both_types() -> None:
    memory("ages", {1: "a"})
    df = keyloom.from_pydict({"id": ["1"]})
    refused = message_of(keyloom.InvalidError, lambda: df.select(kv_get("id", source="ages")))
    assert refused.startswith(
        "a key of type Utf8 cannot be looked up in KV store 'ages', whose keys are of type Int64"
    )
    cast = df.select(kv_get(col("id").cast("int64"), "value", source="ages"))
    assert cast.to_pydict() == {"ages": [{"value": "a"}]}


# Aliases.


def test_a_pickled_store_is_the_same_store(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    stores = [
        load_kv("lance", name="people", uri=uri, key="id", version=1),
        load_kv("memory", name="ages", initial_data={1: {"tags": ["x"]}}),
        load_kv("memory", name="places", initial_data=PLACES, key=["x", "y"]),
        load_kv("memory", name="empty"),
    ]
    copies = pickle.loads(pickle.dumps(stores))
    for store, copy in zip(stores, copies, strict=True):
        assert repr(copy) == repr(store)
        assert (copy.name, copy.backend_type) == (store.name, store.backend_type)
        keyloom.attach(copy)
    assert keyloom.list_kv() == ["ages", "empty", "people", "places"]
    df = keyloom.from_pydict({"id": [1], "x": [2], "y": ["b"]})
    answers = df.select(
        people=kv_get("id", source="people"),
        ages=kv_get("id", "tags", source="ages"),
        places=kv_get(["x", "y"], "v", source="places"),
        empty=kv_exists("y", source="empty"),
    )
    assert answers.to_pydict() == {
        "people": [ANN],
        "ages": [{"tags": ["x"]}],
        "places": [{"v": 2.5}],
        "empty": [False],
    }


def test_an_alias_is_taken_once() -> None:
    memory("s", {"a": 1})
    other = load_kv("memory", name="other", initial_data={"a": 2})
    refused = message_of(keyloom.InvalidError, lambda: keyloom.attach(other, "s"))
    assert refused.startswith("KV store 's' is already attached")
    assert look_up("s", ["a"], columns="value") == [{"value": 1}]
    assert keyloom.get_kv("s").name == "s"


def test_the_error_of_an_alias_that_is_taken_says_what_to_write() -> None:
    memory("s", {"a": 1})
    refused = message_of(keyloom.InvalidError, lambda: memory("s", {"a": 2}))
    assert "replace=True" in refused


def test_an_alias_is_given_anew_with_replace() -> None:
    memory("s", {"a": 1})
    df = keyloom.from_pydict({"id": ["a"]})
    before = df.select(kv_get("id", "value", source="s"))
    replaced = keyloom.attach(
        load_kv("memory", name="other", initial_data={"a": 2}), "s", replace=True
    )
    assert (replaced.alias, replaced.name) == ("s", "other")
    assert look_up("s", ["a"], columns="value") == [{"value": 2}]
    assert before.to_pydict() == {"s": [{"value": 1}]}


def test_a_store_has_as_many_aliases_as_it_is_given() -> None:
    store = load_kv("memory", name="ages", initial_data={"ann": 30})
    attached = [keyloom.attach(store), keyloom.attach_kv(store, alias="again")]
    assert [(kv.alias, kv.name) for kv in attached] == [("ages", "ages"), ("again", "ages")]
    assert keyloom.list_kv() == ["again", "ages"]
    assert look_up("ages", ["ann"]) == look_up("again", ["ann"]) == [{"key": "ann", "value": 30}]


def test_a_name_that_is_no_alias_needs_one() -> None:
    store = load_kv("memory", name="my-store", initial_data={"a": 1})
    refused = message_of(keyloom.InvalidError, lambda: keyloom.attach(store))
    assert refused.startswith("'my-store' cannot be an alias")
    assert keyloom.attach(store, alias="my_store").name == "my-store"


def test_a_detached_alias_is_forgotten_and_no_longer_current() -> None:
    memory("s", {"a": 1})
    keyloom.set_kv("s")
    df = keyloom.from_pydict({"id": ["a"]})
    built = df.select(kv_get("id", "value"))
    keyloom.detach_kv("s")
    assert (keyloom.has_kv("s"), keyloom.list_kv(), keyloom.current_kv()) == (False, [], None)
    missing = "KV store 's' not found in session"
    for call in (keyloom.detach_kv, keyloom.set_kv, keyloom.get_kv):
        refused = message_of(keyloom.NotFoundError, lambda call=call: call("s"))
        assert refused.startswith(missing)
    # what was built before keeps working
    assert built.to_pydict() == {"s": [{"value": 1}]}


def test_the_current_store_has_its_own_name_and_the_alias() -> None:
    store = load_kv("memory", name="own_name", initial_data={"a": 1})
    keyloom.attach(store, alias="the_alias")
    assert keyloom.current_kv() is None
    keyloom.set_kv("the_alias")
    current = keyloom.current_kv()
    assert current is not None
    assert (current.name, current.alias, current.backend_type) == (
        "own_name",
        "the_alias",
        "memory",
    )
    assert current.schema.names == ["key", "value"]
    assert repr(current) == (
        "AttachedKV(alias='the_alias', store=MemoryKV(name='own_name', rows=1))"
    )
    refused = message_of(keyloom.NotFoundError, lambda: keyloom.set_kv("own_name"))
    assert refused == "KV store 'own_name' not found in session (attached: 'the_alias')"
    keyloom.set_kv(None)
    assert keyloom.current_kv() is None


def test_an_expression_keeps_the_store_that_was_current_when_it_was_built() -> None:
    memory("one", {"a": 1})
    memory("two", {"a": 2})
    keyloom.set_kv("one")
    first = kv_get("id", "value").alias("first")
    keyloom.set_kv("two")
    df = keyloom.from_pydict({"id": ["a"]}).select(first, kv_get("id", "value").alias("second"))
    assert df.to_pydict() == {"first": [{"value": 1}], "second": [{"value": 2}]}


# The calls of Daft's pull requests.


def test_columns_are_a_name_or_names_by_place_or_by_word() -> None:
    memory("items", {"a": {"embedding": [1.0], "label": "x"}})
    keyloom.set_kv("items")
    df = keyloom.from_pydict({"id": ["a"], "ids": [["a"]]}).select(
        one=kv_get("id", "embedding"),
        listed=kv_get("id", ["label", "embedding"]),
        worded=kv_get("id", columns="label"),
        all_by_place=kv_get(col("id"), ["label"], "null", "items"),
        batch=kv_batch_get("ids", "label"),
        batch_by_place=kv_batch_get("ids", ["label"], 10, "null", "items"),
        exists=kv_exists("id", "null", "items"),
    )
    assert df.to_pydict() == {
        "one": [{"embedding": [1.0]}],
        "listed": [{"label": "x", "embedding": [1.0]}],
        "worded": [{"label": "x"}],
        "all_by_place": [{"label": "x"}],
        "batch": [[{"label": "x"}]],
        "batch_by_place": [[{"label": "x"}]],
        "exists": [True],
    }
    (name,) = [field.name for field in df.schema()["worded"].type]
    assert name == "label"


def test_store_objects_say_what_they_are(lance: Lance) -> None:
    uri = lance("people", PEOPLE)
    of_lance = load_kv("lance", name="people", uri=uri)
    of_memory = load_kv("memory", name="ages", initial_data={"ann": 30})
    assert (of_lance.name, of_lance.backend_type) == ("people", "lance")
    assert (of_memory.name, of_memory.backend_type) == ("ages", "memory")
    assert repr(of_lance) == f"LanceKV(name='people', uri={uri!r})"
    assert repr(of_memory) == "MemoryKV(name='ages', rows=1)"
    assert (len(of_memory), load_kv("memory").name) == (1, "memory")


# Stores of other kinds.


def test_a_store_of_another_kind_says_what_it_is_and_travels_by_value() -> None:
    store = KVStore.other("redis", "h:1", name="cache", key="id", batch_keys=100, tls=True)
    copy = pickle.loads(pickle.dumps(store))
    for described in (store, copy):
        assert (described.name, described.backend_type) == ("cache", "redis")
        assert repr(described) == "OtherKV(name='cache', kind='redis', place='h:1')"
        assert described._options == {"batch_keys": "100", "tls": "true"}
    assert KVStore.other("redis", "h:1").name == "redis"


def test_a_place_that_is_text_is_passed_on_and_a_path_is_made_absolute() -> None:
    assert KVStore.other("toy", "rows.arrow")._place == "rows.arrow"
    assert KVStore.other("toy", Path("rows.arrow"))._place == str(Path.cwd() / "rows.arrow")


def test_a_kind_that_no_worker_knows_is_refused_at_attach(session: keyloom.Session) -> None:
    store = KVStore.other("redis", "h:1", key=["a", "b"], request_attempts=3)
    refused = message_of(keyloom.InvalidError, lambda: session.attach(store, "cache"))
    assert refused.endswith("'redis' is no kind of store; the kinds are lance, memory")


@pytest.mark.parametrize(
    ("describe", "message"),
    [
        (lambda: KVStore.other("redis", "h:1", auth_token="x"), "'auth_token' may be a secret"),
        (lambda: KVStore.other("redis", "h:1", API_KEY="x"), "'API_KEY' may be a secret"),
        (lambda: KVStore.other("redis", "redis://u:p@h:1"), "holds credentials"),
        (lambda: KVStore.other("redis", "u:p@h:1"), "holds credentials"),
        (lambda: KVStore.other("redis", "redis://h:1/0?password=u:p"), "holds credentials"),
        (lambda: KVStore.other("redis", ""), "a redis store needs uri"),
        (lambda: KVStore.other("a b", "h:1"), "'a b' is no kind of store"),
        (lambda: KVStore.other("lance", "x.lance"), "has options of its own type"),
        (
            lambda: KVStore.other("redis", "h:1", ports=[1]),  # type: ignore[arg-type]
            "KV store 'redis': ports is text, a number, True or False, not a list",
        ),
    ],
)
def test_mistakes_in_stores_of_other_kinds_are_found_at_once(
    describe: Callable[[], Any], message: str
) -> None:
    refused = message_of(keyloom.InvalidError, describe)
    assert message in refused
    assert "u:p" not in refused


def test_the_first_attached_store_does_not_become_current() -> None:
    memory("first", {"a": 1})
    refused = message_of(keyloom.NotFoundError, lambda: kv_get("id"))
    assert refused == "No KV store is currently attached to the session"


# What lookups answer.


def test_rows_come_back_in_their_order_with_repeated_keys() -> None:
    memory("ages", {"ann": 30, "bob": 40})
    keys = ["bob", "ann", "bob", "bob", "ann"]
    answers = look_up("ages", keys, columns="value")
    assert answers == [{"value": 40}, {"value": 30}, {"value": 40}, {"value": 40}, {"value": 30}]


def test_columns_come_in_the_order_they_are_asked_for() -> None:
    memory("people", PEOPLE, key="id")
    df = keyloom.from_pydict({"id": [1]}).select(kv_get("id", ["age", "id"], source="people"))
    assert df.schema()["people"].type == pa.struct([("age", pa.int64()), ("id", pa.int64())])
    assert list(df.to_pylist()[0]["people"].items()) == [("age", 30), ("id", 1)]


def test_a_null_key_is_a_null_struct_in_both_modes() -> None:
    memory("ages", {"ann": 30})
    for on_error in ("raise", "null"):
        answers = look_up("ages", [None, "ann"], columns="value", on_error=on_error)
        assert answers == [None, {"value": 30}]


@pytest.mark.parametrize("columns", [None, "value", ["value", "key"]])
def test_a_missing_key_under_null_is_a_null_struct(columns: Any) -> None:
    memory("ages", {"ann": 30, "bob": None})
    df = keyloom.from_pydict({"who": ["ann", "eve", "bob"]})
    df = df.with_column("found", kv_get("who", columns, "null", "ages"))
    df = df.with_column("is_null", col("found").is_null())
    df = df.with_column("is_not_null", col("found").is_not_null())
    answer = df.to_pydict()
    # bob's value is null, but he is there
    assert answer["found"][1] is None
    assert answer["found"][2]["value"] is None
    assert answer["is_null"] == [False, True, False]
    assert answer["is_not_null"] == [True, False, True]


def test_a_missing_key_under_raise_is_counted_and_named() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["eve", "ann", "dan"]})
    df = df.with_column("found", kv_get("who", source="ages"))
    refused = message_of(keyloom.NotFoundError, df.collect)
    assert refused == "Key not found in KV store 'ages': eve, dan (2 missing in one batch)"


def test_kv_exists_answers_in_both_modes() -> None:
    memory("ages", {"ann": None})
    df = keyloom.from_pydict({"who": ["ann", "eve", None]})
    for on_error in ("raise", "null"):
        answer = df.select(kv_exists("who", on_error, "ages")).to_pydict()
        assert answer == {"ages": [True, False, None]}


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_kv_batch_get_keeps_lengths_and_order(batch_size: int) -> None:
    memory("ages", {"ann": 30, "bob": 40})
    lists = [["bob", "ann", "bob"], [], None, ["eve", None, "ann"]]
    df = keyloom.from_pydict({"who": lists}).select(
        kv_batch_get("who", "value", batch_size, "null", "ages")
    )
    assert df.to_pydict() == {
        "ages": [
            [{"value": 40}, {"value": 30}, {"value": 40}],
            [],
            None,
            [None, None, {"value": 30}],
        ]
    }


def test_kv_batch_get_of_single_keys_is_kv_get() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["ann", "eve", None]})
    df = df.select(kv_batch_get("who", on_error="null", source="ages"))
    assert df.to_pydict() == {"ages": [{"key": "ann", "value": 30}, None, None]}


def test_kv_batch_get_raises_for_a_missing_key() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": [["ann"], ["ann", "eve"]]})
    df = df.select(kv_batch_get("who", source="ages"))
    refused = message_of(keyloom.NotFoundError, df.collect)
    assert refused == "Key not found in KV store 'ages': eve"


def test_no_rows_are_no_rows_of_the_right_type() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": pa.array([], pa.string())})
    table = df.select(kv_get("who", source="ages")).to_arrow()
    assert table.num_rows == 0
    struct = pa.struct([("key", pa.string()), ("value", pa.int64())])
    assert table.schema.field("ages").type == struct


def test_a_lookup_without_a_name_is_called_like_its_store_unless_another_column_is() -> None:
    memory("ages", {"ann": 30})
    memory("towns", {"ann": "rome"})
    keyloom.set_kv("ages")
    df = keyloom.from_pydict({"who": ["ann"], "towns": ["bonn"]})
    for columns, expected in [
        ([kv_get("who")], ["ages"]),
        (["who", kv_exists("who"), kv_get("who", source="towns")], ["who", "ages", "towns"]),
        (["towns", kv_get("who", source="towns")], ["towns", "who"]),
        ([kv_get("who"), kv_exists("towns")], ["who", "towns"]),
        ([kv_get("who").alias("age"), kv_exists("who")], ["age", "ages"]),
        ([kv_get("who").is_null(), kv_get("who")["value"]], ["who", "value"]),
    ]:
        assert df.select(*columns).column_names == expected
    assert df.select(kv_exists("who"), ages=col("towns")).to_pydict() == {
        "who": [True],
        "ages": ["bonn"],
    }


def test_a_field_of_an_answer_is_a_column_of_its_name() -> None:
    memory("people", {"a": {"name": "ann", "address": {"city": "rome"}}})
    df = keyloom.from_pydict({"id": ["a", "z"]})
    found = kv_get("id", source="people", on_error="null")
    answer = df.select("id", found["name"], found["address"]["city"], none=found.get("name", "?"))
    assert answer.to_pydict() == {
        "id": ["a", "z"],
        "name": ["ann", None],
        "city": ["rome", None],
        "none": ["ann", "?"],
    }


def test_a_lookup_may_be_the_key_of_another() -> None:
    memory("boss", {"ann": "bob", "bob": "cid"})
    memory("ages", {"bob": 40, "cid": 50})
    df = keyloom.from_pydict({"who": ["bob", "ann"]})
    boss = kv_get("who", source="boss")["value"]
    answer = df.select("who", age=kv_get(boss, source="ages")["value"])
    assert answer.to_pydict() == {"who": ["bob", "ann"], "age": [50, 40]}


# Laziness: an untaken branch asks for nothing.


@pytest.fixture
def two_halves() -> keyloom.DataFrame:
    """Items of which each of two stores knows one; a lookup of the other raises."""
    memory("left", {"a": 1})
    memory("right", {"b": 2})
    return keyloom.from_pydict({"id": ["a", "b"], "side": ["left", "right"]})


def test_when_does_not_look_up_in_branches_that_are_not_taken(
    two_halves: keyloom.DataFrame,
) -> None:
    is_left = two_halves["side"] == "left"
    left, right = kv_get("id", source="left"), kv_get("id", source="right")
    answer = two_halves.select(
        both=when(is_left).then(left).otherwise(right),
        short=when(is_left, left).otherwise(right),
        one=when(is_left).then(left),
        chained=when(is_left).then(left).when(~is_left).then(right),
    )
    a, b = {"key": "a", "value": 1}, {"key": "b", "value": 2}
    assert answer.to_pydict() == {
        "both": [a, b],
        "short": [a, b],
        "one": [a, None],
        "chained": [a, b],
    }


def test_coalesce_does_not_look_up_what_it_does_not_need(two_halves: keyloom.DataFrame) -> None:
    left = kv_get("id", source="left", on_error="null")
    right = kv_get("id", source="right", on_error="raise")
    known = keyloom.col("known")
    df = two_halves.with_column("known", when(col("side") == "left").then(lit(9)))
    answer = df.select(
        structs=coalesce(left, right),
        values=known.coalesce(right["value"]),
        filled=left["value"].fill_null(right["value"]),
    )
    assert answer.to_pydict() == {
        "structs": [{"key": "a", "value": 1}, {"key": "b", "value": 2}],
        "values": [9, 2],
        "filled": [1, 2],
    }


def test_and_and_or_do_not_look_up_what_is_decided(two_halves: keyloom.DataFrame) -> None:
    is_left = two_halves["side"] == "left"
    value = kv_get("id", source="left")["value"]
    assert two_halves.where(is_left & (value == 1)).to_pydict() == {"id": ["a"], "side": ["left"]}
    assert two_halves.where(~is_left | (value == 2)).to_pydict() == {"id": ["b"], "side": ["right"]}


def test_a_missing_key_in_a_branch_that_is_taken_raises(two_halves: keyloom.DataFrame) -> None:
    df = two_halves.select(when(col("side") == "right").then(kv_get("id", source="left")))
    refused = message_of(keyloom.NotFoundError, df.collect)
    assert refused == "Key not found in KV store 'left': b"


# Nothing is opened early, and everything is typed.


def test_load_kv_opens_nothing(tmp_path: Any) -> None:
    store = load_kv("lance", name="later", uri=tmp_path / "later.lance")
    refused = message_of(keyloom.NotFoundError, lambda: keyloom.attach(store))
    assert refused == (
        f"store 'later' cannot be opened: no Lance dataset at {tmp_path / 'later.lance'}"
    )


def test_lookups_have_their_types_before_anything_runs() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["eve"], "all": [["eve"]]}).select(
        one=kv_get("who", source="ages"),
        many=kv_batch_get("all", "value", source="ages"),
        there=kv_exists("who", source="ages"),
    )
    # collecting would fail: there is no eve
    schema = df.schema()
    struct = pa.struct([("key", pa.string()), ("value", pa.int64())])
    assert schema["one"].type == struct
    assert schema["many"].type.value_type == pa.struct([("value", pa.int64())])
    assert schema["there"].type == pa.bool_()
