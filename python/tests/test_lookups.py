"""Lookups without a query: what a store answers by itself, for one key and for many, and which version
of it answers."""

import asyncio
import datetime
import pickle
import uuid
from decimal import Decimal

import keyloom
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

AGES = {"ann": 30, "bob": 40}


@pytest.fixture
def ages():
    return load_kv("memory", name="ages", initial_data=AGES)


@pytest.fixture
def items(lance):
    rows = {"id": [1, 2, 3], "name": ["a", "b", None], "size": [10, 20, 30]}
    return load_kv("lance", name="items", uri=lance("items", rows), key="id")


def test_one_key_is_answered_by_a_dict(ages, items):
    assert ages.get("bob") == {"key": "bob", "value": 40}
    assert items.get(2, columns=["size", "name"]) == {"size": 20, "name": "b"}
    assert items.get(3, columns="name") == {"name": None}


def test_a_missing_key_raises_or_is_none(items):
    with pytest.raises(keyloom.NotFoundError, match="^Key not found in KV store 'items': 9$"):
        items.get(9)
    assert items.get(9, on_error="null") is None
    assert items.get(None) is None


def test_many_keys_are_answered_by_an_array_in_their_order(items):
    answers = items.get([3, None, 1, 9, 3], columns=["size"], on_error="null")
    assert answers.type == pa.struct([("size", pa.int64())])
    assert answers.to_pylist() == [{"size": 30}, None, {"size": 10}, None, {"size": 30}]


def test_keys_come_from_any_library(items):
    expected = [{"name": "b"}, {"name": "a"}]
    for keys in (
        [2, 1],
        (2, 1),
        np.array([2, 1]),
        pa.array([2, 1], pa.uint8()),
        pa.chunked_array([[2], [1]]),
        pl.Series([2, 1]),
        pl.DataFrame({"id": [2, 1]})["id"].to_pandas(),
    ):
        assert items.get(keys, columns="name").to_pylist() == expected


def test_no_keys_are_answered_by_an_empty_array(items):
    answers = items.get(pa.array([], pa.int64()), columns="name")
    assert (len(answers), answers.type) == (0, pa.struct([("name", pa.string())]))


def test_existence_is_asked_of_one_key_and_of_many(ages):
    assert ages.exists("ann") is True
    assert ages.exists("eve") is False
    assert ages.exists(None) is None
    assert ages.exists(["ann", "eve", None]).to_pylist() == [True, False, None]


def test_lists_of_keys_keep_their_shape(items):
    lists = [[1, 9], [], None, [3]]
    answers = items.batch_get(lists, columns="size", on_error="null")
    assert answers.to_pylist() == [[{"size": 10}, None], [], None, [{"size": 30}]]
    assert items.batch_get([[1, 2, 3]], columns="size", batch_size=1).to_pylist() == [
        [{"size": 10}, {"size": 20}, {"size": 30}]
    ]


def test_keys_of_python_values_are_found():
    day, price, name = datetime.date(2026, 1, 2), Decimal("1.50"), uuid.UUID(int=7)
    for key in (day, price, b"x", True):
        store = load_kv("memory", name="s", initial_data={"k": [key], "v": [1]}, key="k")
        assert store.get(key, columns="v") == {"v": 1}
    store = load_kv("memory", name="s", initial_data={name.bytes: 1})
    assert store.get(name, columns="value") == {"value": 1}


def test_keys_of_several_columns_are_dicts():
    rows = {"shop": [1, 1], "article": ["a", "b"], "price": [5, 6]}
    prices = load_kv("memory", name="prices", initial_data=rows, key=["shop", "article"])
    assert prices.get({"shop": 1, "article": "b"}, columns="price") == {"price": 6}
    keys = [{"shop": 1, "article": "a"}, {"shop": 2, "article": "a"}]
    assert prices.exists(keys).to_pylist() == [True, False]


def test_keys_of_another_type_are_refused(ages):
    with pytest.raises(keyloom.InvalidError, match="^a key of type Int64 cannot be looked up"):
        ages.get([1, 2])


def test_columns_and_options_are_checked(items):
    with pytest.raises(keyloom.InvalidError, match="^column 'nope' not found in KV store 'items'"):
        items.get(1, columns="nope")
    with pytest.raises(keyloom.InvalidError, match="^columns names no column of KV store 'items'"):
        items.get(1, columns=[])
    with pytest.raises(keyloom.InvalidError, match="^on_error is 'raise' or 'null', not 'skip'$"):
        items.get(1, on_error="skip")
    with pytest.raises(keyloom.InvalidError, match="^batch_size must be at least 1, not 0$"):
        items.batch_get([[1]], batch_size=0)


def test_a_store_without_a_key_is_told_one(lance):
    store = load_kv("lance", name="items", uri=lance("items", {"id": [7], "name": ["a"]}))
    with pytest.raises(keyloom.InvalidError, match="was given no key"):
        store.get(7)
    assert store.get(7, "name", key="id") == {"name": "a"}


def test_an_attached_store_answers_in_its_session(session, items, ages):
    session.attach(items)
    session.attach(ages, alias="years")
    assert session.get_kv("items").get(1, columns="name") == {"name": "a"}
    assert session.get_kv("years").get(["ann", "bob"], columns="value").to_pylist() == [
        {"value": 30},
        {"value": 40},
    ]
    with pytest.raises(keyloom.NotFoundError, match="^Key not found in KV store 'years': eve$"):
        session.get_kv("years").get("eve")
    assert session.get_kv("items").batch_get([[1], []], columns="size").to_pylist() == [
        [{"size": 10}],
        [],
    ]


def test_lookups_read_the_version_that_was_opened_until_they_are_refreshed(lance):
    uri = lance("items", {"id": [1], "name": ["old"]})
    store = load_kv("lance", name="items", uri=uri, key="id")
    attached = keyloom.attach(store)
    assert (store.get(1, "name"), attached.version) == ({"name": "old"}, 1)
    lance("items", {"id": [1], "name": ["new"]})
    assert store.get(1, "name") == attached.get(1, "name") == {"name": "old"}
    df = keyloom.from_pydict({"id": [1]})
    newest = df.select(kv_get("id", source="items")["name"])
    assert newest.to_pydict() == {"name": ["new"]}
    store.refresh()
    attached = attached.refresh()
    assert store.get(1, "name") == attached.get(1, "name") == {"name": "new"}
    assert attached.version == 2


def test_a_pickled_store_answers_as_the_store_does(ages, items):
    for store, key in ((ages, "ann"), (items, 2)):
        assert pickle.loads(pickle.dumps(store)).get(key) == store.get(key)


def test_asynchronous_forms_answer_the_same(items):
    async def ask():
        return await asyncio.gather(
            items.aget(1, "name"), items.aexists([1, 9]), items.abatch_get([[2]], "name")
        )

    one, known, lists = asyncio.run(ask())
    assert one == {"name": "a"}
    assert known.to_pylist() == [True, False]
    assert lists.to_pylist() == [[{"name": "b"}]]


def test_many_keys_are_answered_as_a_query_answers_them(lance):
    count = 30_000
    rows = {"id": list(range(count)), "square": [n * n for n in range(count)]}
    store = load_kv("lance", name="squares", uri=lance("squares", rows), key="id")
    keys = [(n * 7919) % (count + 10) for n in range(count)]
    answers = store.get(keys, columns="square", on_error="null").to_pylist()
    assert answers == [{"square": key * key} if key < count else None for key in keys]


def test_an_attached_store_stays_itself_when_another_gets_its_alias(lance):
    old = keyloom.attach(load_kv("memory", name="s", initial_data={"a": 1}))
    assert old.get("a", "value") == {"value": 1}
    new = keyloom.attach(load_kv("memory", name="s", initial_data={"a": 2}), replace=True)
    assert old.get("a", "value") == old.get("a", ["value"]) == {"value": 1}
    assert old.get("a") == {"key": "a", "value": 1}
    assert new.get("a", "value") == {"value": 2}
    keyloom.detach_kv("s")
    assert old.exists("a") is new.exists("a") is True


def test_few_rows_of_many_keys_are_looked_up_in_parts(items):
    lists = [[1, 2, 3] * 3000, [], None, [3] * 9000]
    sizes = [
        [entry["size"] for entry in entries]
        for entries in (items.batch_get(lists, columns="size").to_pylist()[at] for at in (0, 3))
    ]
    assert sizes == [[10, 20, 30] * 3000, [30] * 9000]


def test_a_key_of_numpy_is_one_key(items):
    assert items.get(np.int64(1), "name") == {"name": "a"}
    store = load_kv("memory", name="s", initial_data={b"k": 1})
    assert (
        store.get(bytearray(b"k"), "value") == store.get(memoryview(b"k"), "value") == {"value": 1}
    )


def test_a_key_beyond_all_integers_is_missing(items):
    assert items.exists(2**70) is False
    assert items.get(2**70, on_error="null") is None
    with pytest.raises(
        keyloom.NotFoundError, match=f"^Key not found in KV store 'items': {2**70}$"
    ):
        items.get(2**70)
    words = load_kv("memory", name="words", initial_data={"a": 1})
    with pytest.raises(keyloom.InvalidError, match="^a key of type Int64 cannot be looked up"):
        words.get(2**70, on_error="null")


@pytest.mark.parametrize("large", [2**63 + 1, np.uint64(2**63 + 1)])
def test_the_largest_keys_without_a_sign_are_found(large):
    store = load_kv("memory", name="s", initial_data={2**63 + 1: "large", 5: "small"})
    assert store.get(large, "value") == {"value": "large"}
    assert store.exists([large, 5, 6, None]).to_pylist() == [True, True, False, None]


@pytest.mark.parametrize(
    "key",
    [
        pd.Timestamp(5),
        np.datetime64(5, "ns"),
        np.array(5, "M8[ns]"),
        pa.scalar(5, pa.timestamp("ns")),
    ],
)
def test_a_moment_is_looked_up_to_the_nanosecond(key):
    moments = pa.table({"key": pa.array([0, 5], pa.timestamp("ns")), "v": ["zero", "five"]})
    store = load_kv("memory", name="s", initial_data=moments)
    assert store.get(key, "v") == {"v": "five"}
    assert store.get(
        [key] if not isinstance(key, np.ndarray) else key.reshape(1), "v"
    ).to_pylist() == [{"v": "five"}]


@pytest.mark.parametrize("key", [np.datetime64(5, "ns"), np.timedelta64(5, "ns")])
def test_a_time_is_no_number(key):
    store = load_kv("memory", name="s", initial_data={5: "five"})
    with pytest.raises(keyloom.InvalidError, match="cannot be looked up"):
        store.get(key)


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT, np.datetime64("NaT")])
def test_what_pandas_calls_missing_is_a_null_key(ages, missing):
    assert ages.get(missing) is None
    assert ages.exists(missing) is None
    assert ages.exists(["ann", None, pd.NA]).to_pylist() == [True, None, None]


def test_an_array_of_no_dimension_is_one_key(ages):
    assert ages.get(np.array("ann"), "value") == {"value": 30}


@pytest.mark.parametrize("columns", [{"value"}, frozenset(["value"]), {"value": 1}, b"value", 5])
def test_columns_that_have_no_order_are_refused(ages, columns):
    with pytest.raises(TypeError, match="^columns are a name or a list of names, not a "):
        ages.get("ann", columns)


def test_values_without_fields_are_keys_alone():
    store = load_kv("memory", name="seen", initial_data={"ann": {}, "bob": {}})
    assert store.exists(["ann", "eve"]).to_pylist() == [True, False]
