"""How many keys may be missing, and what is told of them."""

from __future__ import annotations

from typing import Any

import keyloom
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
