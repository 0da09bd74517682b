"""Lookups in Ray Data, and workers that are Ray actors, on a small Ray of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

ray = pytest.importorskip("ray")

import keyloom  # noqa: E402
from keyloom.functions.kv import kv_get  # noqa: E402
from keyloom.kv import load_kv  # noqa: E402
from keyloom.ray import KVEnrich, start_workers  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "examples" / "ray_data.py"
TIMEOUT = 100
PEOPLE = {"id": [3, 1, 2], "name": ["cid", "ann", "bob"], "age": [50, 30, None]}
ANN = {"id": 1, "name": "ann", "age": 30}
BOB = {"id": 2, "name": "bob", "age": None}
STORE = load_kv("memory", name="people", initial_data=PEOPLE, key="id")


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Whatever hangs ends."""

    def end(*_: object) -> None:
        raise TimeoutError(f"the test took more than {TIMEOUT} s")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(TIMEOUT)
    yield
    signal.alarm(0)


@pytest.fixture
def coordinator(bin_dir: Path) -> Iterator[str]:
    """The address of a coordinator without workers."""
    command = [str(bin_dir / "keyloom-coordinator"), "--listen", "127.0.0.1:0"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert started.stdout is not None
    try:
        yield started.stdout.readline().strip()
    finally:
        started.terminate()
        started.wait(timeout=60)
        started.stdout.close()


def message_of(error: type[Exception], function: Callable[[], Any]) -> str:
    with pytest.raises(error) as raised:
        function()
    return str(raised.value)


def enriched(blocks: list[Any], **options: Any) -> list[dict[str, Any]]:
    """The rows of blocks of ids, after an actor has added what the store has for them."""
    tables = [pa.table({"id": pa.array(block, pa.int64())}) for block in blocks]
    return (
        ray.data.from_arrow(tables)
        .map_batches(
            KVEnrich,
            fn_constructor_kwargs={"store": STORE, **options},
            batch_format="pyarrow",
            concurrency=1,
        )
        .take_all()
    )


# Ray Data.


def test_an_actor_adds_a_column_of_structs_to_each_block() -> None:
    assert enriched([[2, None], [9, 1, 2]], on_error="null") == [
        {"id": 2, "kv": BOB},
        {"id": None, "kv": None},
        {"id": 9, "kv": None},
        {"id": 1, "kv": ANN},
        {"id": 2, "kv": BOB},
    ]


def test_an_actor_adds_the_columns_of_the_store_by_themselves() -> None:
    assert enriched([[2, 9]], columns=["age", "name"], on_error="null", flatten=True) == [
        {"id": 2, "age": None, "name": "bob"},
        {"id": 9, "age": None, "name": None},
    ]


def test_a_missing_key_fails_the_job_and_is_named() -> None:
    refused = message_of(ray.exceptions.RayTaskError, lambda: enriched([[1, 9]]))
    assert "keyloom.exceptions.NotFoundError: Key not found in KV store 'people': 9" in refused


def test_a_store_on_disk_is_opened_by_the_actor(lance: Callable[..., str]) -> None:
    store = load_kv("lance", name="people", uri=lance("people", PEOPLE))
    assert enriched([[2], [1]], store=store, output="row") == [
        {"id": 2, "row": BOB},
        {"id": 1, "row": ANN},
    ]


# The class by itself.


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


def test_columns_have_their_types() -> None:
    answer = KVEnrich(STORE, output="row")(table(id=[1]))
    struct = pa.struct([("id", pa.int64()), ("name", pa.string()), ("age", pa.int64())])
    assert answer.schema == pa.schema([("id", pa.int64()), ("row", struct)])
    empty = KVEnrich(STORE, flatten=True)(pa.schema([("id", pa.int64())]).empty_table())
    fields = [("id", pa.int64()), ("name", pa.string()), ("age", pa.int64())]
    assert (empty.num_rows, empty.schema) == (0, pa.schema(fields))


def test_a_batch_of_chunks_keeps_its_order() -> None:
    chunked = pa.table({"id": pa.chunked_array([[3, 1], [], [2]], pa.int64())})
    answer = KVEnrich(STORE, columns="name", flatten=True)(chunked)
    assert answer.to_pydict() == {"id": [3, 1, 2], "name": ["cid", "ann", "bob"]}


def test_composite_keys() -> None:
    pairs = {"a": [1, 1], "b": ["x", "y"], "v": [5, 6]}
    store = load_kv("memory", name="pairs", initial_data=pairs, key=["a", "b"])
    enrich = KVEnrich(store, keys=["a", "b"], flatten=True)
    answer = enrich(table(a=[1, None, 1], b=["y", "x", "x"]))
    assert answer.to_pydict() == {"a": [1, None, 1], "b": ["y", "x", "x"], "v": [6, None, 5]}


def test_mistakes_are_named() -> None:
    batch = table(id=[1], kv=[0], name=["x"])
    assert message_of(keyloom.InvalidError, lambda: KVEnrich(STORE)(batch)) == (
        "there is a column 'kv' already, and the store has one; "
        "columns= says which of the store's are wanted"
    )
    assert message_of(keyloom.InvalidError, lambda: KVEnrich(STORE, flatten=True)(batch)) == (
        "there is a column 'name' already, and the store has one; "
        "columns= says which of the store's are wanted"
    )
    assert message_of(keyloom.InvalidError, lambda: KVEnrich(STORE, keys="who")(batch)) == (
        "a batch has no column of keys 'who'; it has 'id', 'kv', 'name'"
    )
    assert message_of(keyloom.InvalidError, lambda: KVEnrich(STORE, columns="no")(batch)) == (
        "column 'no' not found in KV store 'people'; it has 'id', 'name', 'age'"
    )
    refused = message_of(TypeError, lambda: KVEnrich("people"))  # type: ignore[arg-type]
    assert refused == "a store is what load_kv or attach returned, not str"


# Workers.


def test_workers_that_are_actors_run_queries_and_stop(coordinator: str) -> None:
    with start_workers(coordinator, 2, slots=1, num_cpus=0.5) as workers:
        assert len(workers) == 2
        with keyloom.connect(coordinator) as session:
            assert sorted(each["name"] for each in session.workers()) == workers.names
            assert [each["slots"] for each in session.workers()] == [1, 1]
            session.attach(STORE)
            df = keyloom.from_pydict({"id": [2, 1]}).select(kv_get("id", source="people"))
            assert df.to_pydict() == {"people": [BOB, ANN]}
            workers.stop()
            while session.workers():
                os.sched_yield()
    assert (len(workers), repr(workers)) == (0, "Workers(stopped)")


def test_a_worker_ends_with_its_actor(coordinator: str) -> None:
    with start_workers(coordinator, 1, num_cpus=0.5) as workers:
        with keyloom.connect(coordinator) as session:
            assert len(session.workers()) == 1
            (actor,) = workers._actors.values()
            ray.kill(actor)
            while session.workers():
                os.sched_yield()


def test_a_worker_that_does_not_start_is_an_error(coordinator: str) -> None:
    def start() -> None:
        start_workers(coordinator, 1, num_cpus=0.5, arguments=["--no-such-option"])

    refused = message_of(keyloom.UnavailableError, start)
    assert refused.endswith("ended with exit code 2")


def test_workers_without_room_are_an_error(coordinator: str) -> None:
    def start() -> None:
        start_workers(coordinator, 1, num_cpus=0, resources={"no_such_resource": 1}, timeout=0.5)

    refused = message_of(keyloom.UnavailableError, start)
    assert refused.startswith("1 of 1 workers have not registered within 0.5 s: ray-")


def test_the_example() -> None:
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "{'who': 'bob', 'kv': {'key': 'bob', 'age': 40, 'city': None}}",
            "{'who': 'ann', 'kv': {'key': 'ann', 'age': 30, 'city': 'rome'}}",
            "{'who': None, 'kv': None}",
            "{'who': 'eve', 'kv': None}",
            "{'who': 'bob', 'age': 40, 'city': None}",
            "{'who': 'ann', 'age': 30, 'city': 'rome'}",
            "{'who': None, 'age': None, 'city': None}",
            "{'who': 'eve', 'age': None, 'city': None}",
        ],
    ), done.stderr
