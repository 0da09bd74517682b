"""The namespace ``keyloom`` of Polars frames: values, types before anything runs, and what is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pl = pytest.importorskip("polars")

import keyloom  # noqa: E402
import keyloom.polars  # noqa: E402
from keyloom.kv import load_kv  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "examples" / "polars_namespace.py"
ENGINES = ["in-memory", "streaming"]
PEOPLE = {"id": [3, 1, 2], "name": ["cid", "ann", "bob"], "age": [50, 30, None]}
ANN = {"id": 1, "name": "ann", "age": 30}
BOB = {"id": 2, "name": "bob", "age": None}
CID = {"id": 3, "name": "cid", "age": 50}


@pytest.fixture(autouse=True)
def people() -> None:
    store = load_kv("memory", name="of_people", initial_data=PEOPLE, key="id")
    keyloom.attach(store, alias="people")


def frames(data: dict[str, Any]) -> list[Callable[[Callable[[Any], Any]], Any]]:
    """An eager frame, and a lazy one for each engine: they run what is made of a frame."""
    eager = pl.DataFrame(data)
    lazy = [
        lambda make, engine=engine: make(eager.lazy()).collect(engine=engine) for engine in ENGINES
    ]
    return [lambda make: make(eager), *lazy]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The keys that a store was asked for."""
    keys_asked: list[Any] = []
    whole = keyloom._embed.Call.answers

    def answers(self: Any, keys: Any) -> Any:
        keys_asked.extend(keys.to_pylist() if isinstance(keys, pa.Array) else keys.to_list())
        return whole(self, keys)

    monkeypatch.setattr(keyloom._embed.Call, "answers", answers)
    return keys_asked


def message_of(error: type[Exception], function: Callable[[], Any]) -> str:
    with pytest.raises(error) as raised:
        function()
    return str(raised.value)


# Values.


def test_kv_get_adds_a_column_of_structs_that_is_null_for_null_and_missing_keys() -> None:
    for run in frames({"id": [2, None, 9, 1, 2]}):
        found = run(lambda df: df.keyloom.kv_get("id", on_error="null", source="people"))
        assert found["people"].to_list() == [BOB, None, None, ANN, BOB]
        assert found["people"].is_null().to_list() == [False, True, True, False, False]
        assert found.columns == ["id", "people"]


def test_columns_come_in_the_order_they_are_asked_for() -> None:
    for run in frames({"id": [3]}):
        found = run(lambda df: df.keyloom.kv_get("id", ["age", "name"], source="people"))
        assert found.schema["people"] == pl.Struct({"age": pl.Int64, "name": pl.String})
        assert found["people"].to_list() == [{"age": 50, "name": "cid"}]


def test_kv_batch_get_keeps_lengths_and_order() -> None:
    for run in frames({"ids": [[3, 1], [], None, [9, None, 3]]}):
        found = run(
            lambda df: df.keyloom.kv_batch_get("ids", "name", 2, "null", "people", output="found")
        )
        cid, ann = {"name": "cid"}, {"name": "ann"}
        assert found["found"].to_list() == [[cid, ann], [], None, [None, None, cid]]


def test_kv_batch_get_of_single_keys_is_kv_get() -> None:
    for run in frames({"id": [1, None]}):
        found = run(lambda df: df.keyloom.kv_batch_get("id", source="people"))
        assert found["people"].to_list() == [ANN, None]


def test_kv_exists_answers_in_both_modes() -> None:
    for run in frames({"id": [1, 9, None]}):
        for on_error in ("raise", "null"):
            found = run(lambda df: df.keyloom.kv_exists("id", on_error, "people"))  # noqa: B023
            assert found["people_exists"].to_list() == [True, False, None]


def test_no_rows_are_no_rows_of_the_right_type() -> None:
    for run in frames({"id": pl.Series([], dtype=pl.Int64)}):
        found = run(lambda df: df.keyloom.kv_get("id", source="people"))
        assert found.shape == (0, 2)
        assert found.schema["people"] == pl.Struct(
            {"id": pl.Int64, "name": pl.String, "age": pl.Int64}
        )


def test_composite_keys_and_expressions() -> None:
    pairs = {"a": [1, 1], "b": ["x", "y"], "v": [5, 6]}
    keyloom.attach(load_kv("memory", name="pairs", initial_data=pairs, key=["a", "b"]))
    for run in frames({"a": [1, None, 1], "b": ["y", "x", "x"], "n": [0, 1, 2]}):
        found = run(lambda df: df.keyloom.kv_get(["a", "b"], "v", source="pairs"))
        assert found["pairs"].to_list() == [{"v": 6}, None, {"v": 5}]
        found = run(lambda df: df.keyloom.kv_get(pl.col("n") + 1, "name", source="people"))
        assert found["people"].to_list() == [{"name": "ann"}, {"name": "bob"}, {"name": "cid"}]


def test_types_that_polars_lacks_become_plain_ones() -> None:
    rows = pa.table(
        {
            "id": [1, 2],
            "word": pa.array(["a", None]).dictionary_encode(),
            "view": pa.array(["b", "c"], pa.string_view()),
            "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        }
    )
    keyloom.attach(load_kv("memory", name="rows", initial_data=rows, key="id"))
    for run in frames({"id": [2, 1]}):
        found = run(lambda df: df.keyloom.kv_get("id", source="rows"))
        assert found.schema["rows"] == pl.Struct(
            {
                "id": pl.Int64,
                "word": pl.String,
                "view": pl.String,
                "vector": pl.Array(pl.Float32, 2),
            }
        )
        assert found.unnest("rows", separator=".").rows() == [
            (2, 2, None, "c", None),
            (1, 1, "a", "b", [1.0, 2.0]),
        ]


# Stores.


def test_a_store_may_be_given_itself(lance: Callable[..., str]) -> None:
    store = load_kv("lance", name="of_lance", uri=lance("people", PEOPLE))
    # Its key is the column of the name that is looked up.
    found = pl.DataFrame({"name": ["bob"]}).keyloom.kv_get("name", source=store)
    assert found.to_dicts() == [{"name": "bob", "of_lance": BOB}]
    found = pl.DataFrame({"id": [3]}).keyloom.kv_get("id", source=keyloom.get_kv("people"))
    assert found.to_dicts() == [{"id": 3, "people": CID}]


def test_the_current_store_is_meant_without_a_source() -> None:
    df = pl.DataFrame({"id": [1]})
    assert message_of(keyloom.NotFoundError, lambda: df.keyloom.kv_get("id")) == (
        "No KV store is currently attached to the session"
    )
    keyloom.set_kv("people")
    query = df.lazy().keyloom.kv_get("id")
    keyloom.set_kv(None)
    keyloom.detach_kv("people")
    assert query.collect().to_dicts() == [{"id": 1, "people": ANN}]


def test_lookups_on_a_cluster(cluster: str) -> None:
    with keyloom.connect(cluster):
        keyloom.attach(load_kv("memory", name="people", initial_data=PEOPLE, key="id"))
        query = pl.LazyFrame({"id": [2, 3]}).keyloom.kv_get("id", source="people")
        assert query.collect().to_dicts() == [{"id": 2, "people": BOB}, {"id": 3, "people": CID}]


# Errors.


def test_a_missing_key_is_named() -> None:
    for run in frames({"id": [1, 9]}):
        refused = message_of(
            keyloom.NotFoundError,
            lambda: run(lambda df: df.keyloom.kv_get("id", source="people")),  # noqa: B023
        )
        # Polars adds which expression it was.
        assert refused.splitlines()[0] == "Key not found in KV store 'people': 9"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda df: df.kv_get("id", source="nope"), "KV store 'nope' not found in session"),
        (lambda df: df.kv_get("id", "nope", source="people"), "column 'nope' not found"),
        (lambda df: df.kv_get("text", source="people"), "a key of type"),
        (lambda df: df.kv_get("id", on_error="no", source="people"), "on_error is 'raise' or"),
        (lambda df: df.kv_batch_get("id", batch_size=0, source="people"), "batch_size"),
    ],
    ids=["source", "columns", "type", "on_error", "batch_size"],
)
def test_mistakes_are_found_before_a_lazy_frame_is_collected(call: Any, message: str) -> None:
    frame = pl.LazyFrame({"id": [1], "text": ["a"]})
    assert message in message_of(ValueError, lambda: call(frame.keyloom))


# What Polars' optimizer sees.


def test_the_schema_is_known_and_nothing_is_asked_before_it_is_collected(asked: list[Any]) -> None:
    query = pl.LazyFrame({"id": [1, 9]}).keyloom.kv_get("id", "age", source="people")
    assert query.collect_schema() == {"id": pl.Int64, "people": pl.Struct({"age": pl.Int64})}
    assert asked == []


@pytest.mark.parametrize("engine", ENGINES)
def test_no_keys_are_asked_of_rows_and_columns_that_nobody_wants(
    asked: list[Any], engine: Any
) -> None:
    frame = pl.LazyFrame({"id": [1, 9, 3], "day": [1, 2, 1]})
    query = frame.keyloom.kv_get("id", "name", source="people")
    assert query.select("day").collect(engine=engine)["day"].to_list() == [1, 2, 1]
    assert asked == []
    names = query.filter(pl.col("day") == 1).select(pl.col("people").struct["name"])
    assert names.collect(engine=engine)["name"].to_list() == ["ann", "cid"]
    # An engine may ask in another order than the rows'.
    assert sorted(asked) == [1, 3]


@pytest.mark.parametrize("engine", ENGINES)
def test_many_rows_keep_their_order(engine: Any) -> None:
    count = 50_000
    doubles = pa.table({"id": range(count), "y": range(0, 2 * count, 2)})
    store = load_kv("memory", name="doubles", initial_data=doubles, key="id")
    keys = range(count - 1, -1, -1)
    query = pl.LazyFrame({"id": keys}).keyloom.kv_get("id", "y", source=store)
    found = query.select(pl.col("doubles").struct["y"]).collect(engine=engine)
    assert found["y"].to_list() == [2 * key for key in keys]


def test_the_example() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "{'who': ['bob', 'eve', 'ann'], 'day': [1, 1, 2], "
            "'people': [{'age': 40}, None, {'age': 30}]}",
            "Schema([('who', String), ('day', Int64), "
            "('people', Struct({'key': String, 'age': Int64, 'city': String}))])",
            "{'who': ['ann'], 'day': [2], 'key': ['ann'], 'age': [30], 'city': ['rome']}",
            "{'who': ['bob', 'eve', 'ann'], 'day': [1, 1, 2], 'known': [True, False, True]}",
        ],
    ), done.stderr
