"""How many keys may be missing, and which rows missed theirs."""

from __future__ import annotations

from typing import Any

import keyloom
import pyarrow as pa
import pytest
from keyloom.functions.kv import kv_batch_get, kv_get
from keyloom.kv import load_kv


def open_ages() -> None:
    """Attaches a store that holds no age of eve."""
    ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
    keyloom.attach(ages, "ages")


@pytest.mark.parametrize("most", [1, "1", "25%", "100%"])
def test_as_many_keys_as_are_allowed_are_null(session: keyloom.Session, most: int | str) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": ["ann", "eve", "bob", None, "ann"]})
    age = kv_get("who", "value", source="ages", max_misses=most)
    ages = [{"value": 30}, None, {"value": 40}, None, {"value": 30}]
    assert df.select(age.alias("age")).to_pydict() == {"age": ages}


@pytest.mark.parametrize("most", [0, "0%", "24.9%"])
def test_more_of_them_fail_the_query(session: keyloom.Session, most: int | str) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": ["ann", "eve", "bob", None, "ann"]})
    age = kv_get("who", "value", "null", source="ages", max_misses=most)
    with pytest.raises(keyloom.NotFoundError) as raised:
        df.select(age).collect()
    assert "Too many keys not found in KV store 'ages', 1 of 4 rows" in str(raised.value)
    assert str(raised.value).endswith(f"max_misses is {most}: eve")


def test_each_element_of_a_list_counts(session: keyloom.Session) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": [["ann", "eve", "joe"]]})
    with pytest.raises(keyloom.NotFoundError, match="2 of 3 rows, and max_misses is 1: eve, joe"):
        df.select(kv_batch_get("who", source="ages", max_misses=1)).collect()


@pytest.mark.parametrize(
    ("most", "kind", "message"),
    [
        ("some", keyloom.InvalidError, "max_misses is a number of rows, as 10, or a share of them"),
        (-1, keyloom.InvalidError, "not '-1'"),
        (0.5, TypeError, "max_misses is a number of rows or a share as '1%', not 0.5"),
        (True, TypeError, "not True"),
    ],
)
def test_what_is_no_limit_is_refused(most: Any, kind: type[Exception], message: str) -> None:
    with keyloom.Session():
        open_ages()
        with pytest.raises(kind, match=message):
            kv_get("who", source="ages", max_misses=most)


def test_a_session_has_a_limit_for_its_jobs() -> None:
    with keyloom.Session(settings={"session": {"max_misses": "1%"}}):
        open_ages()
        df = keyloom.from_pydict({"who": ["ann", "eve"]})
        with pytest.raises(keyloom.NotFoundError, match="1 of 2 rows, and max_misses is 1%"):
            df.select(kv_get("who", on_error="null", source="ages")).collect()


MISSED = pa.schema(
    [
        pa.field("store", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
    ]
)


def test_rows_that_missed_their_keys_are_told_with_their_numbers(session: keyloom.Session) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": ["ann", "eve", "bob", None, "joe", "eve"]})
    age = kv_get("who", "value", "null", "ages")
    kept = df.select(age.alias("age")).collect(keep_missed=True)
    ages = [{"value": 30}, None, {"value": 40}, None, None, None]
    assert kept.to_pydict() == {"age": ages}
    rows, left_out = kept.missed()
    assert rows.to_arrow().schema == MISSED
    expected = {"store": ["ages"] * 3, "key": ["eve", "joe", "eve"], "row": [1, 4, 5]}
    assert (rows.to_pydict(), left_out, len(rows)) == (expected, 0, 3)
    # They are rows as all others, and may be told again.
    once = kept.missed().rows.select("key").distinct().sort("key")
    assert once.to_pydict() == {"key": ["eve", "joe"]}


def test_rows_behind_a_filter_have_no_numbers(session: keyloom.Session) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": ["ann", "eve", "joe"], "n": [1, 2, 3]})
    found = df.where(df["n"] > 1).select(kv_get("who", source="ages", on_error="null"))
    rows, left_out = found.collect(keep_missed=True).missed()
    expected = {"store": ["ages"] * 2, "key": ["eve", "joe"], "row": [None, None]}
    assert (rows.to_pydict(), left_out) == (expected, 0)


def test_where_nothing_is_missed_there_are_no_rows(session: keyloom.Session) -> None:
    open_ages()
    df = keyloom.from_pydict({"who": ["ann", None]})
    both = df.select(kv_get("who", source="ages"), known=keyloom.kv_exists("who", source="ages"))
    rows, left_out = both.collect(keep_missed=True).missed()
    assert rows.to_arrow() == MISSED.empty_table()
    assert left_out == 0


def test_those_that_there_is_no_room_for_are_counted() -> None:
    settings = {"coordinator": {"missed_row_bytes": 1000}}
    with keyloom.Session(workers=1, settings=settings):
        open_ages()
        df = keyloom.from_pydict({"who": [f"nobody {n}" for n in range(1000)]})
        age = kv_get("who", source="ages", on_error="null")
        rows, left_out = df.select(age).collect(keep_missed=True).missed()
        told = rows.to_pylist()
    assert 1 <= len(told) < 100
    assert told == [{"store": "ages", "key": f"nobody {n}", "row": n} for n in range(len(told))]
    assert len(told) + left_out == 1000


def test_what_was_not_kept_is_not_there() -> None:
    with keyloom.Session():
        open_ages()
        df = keyloom.from_pydict({"who": ["eve"]})
        df = df.select(kv_get("who", source="ages", on_error="null"))
        known = "^which rows missed their keys is known of a frame that was collected with"
        with pytest.raises(RuntimeError, match=known):
            df.missed()
        df.collect()
        with pytest.raises(RuntimeError, match=known):
            df.missed()
        with pytest.raises(keyloom.InvalidError, match="were not kept; say keep_missed=True where"):
            df.collect(keep_missed=True)
        kept = keyloom.from_pydict({"who": ["ann"]}).collect(keep_missed=True)
        assert kept.collect() is kept.collect(keep_missed=True)
        assert len(kept.missed().rows) == 0
        with pytest.raises(RuntimeError, match=known):
            kept.limit(1).missed()
