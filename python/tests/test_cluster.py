"""The promise of a cluster: the same frame gives the same table there as in this process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyloom
import pyarrow as pa
import pytest
from clusters import REPOSITORY
from data import WORKERS
from keyloom import col, when
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import load_kv

Lance = Callable[..., str]

ROWS = 2_000
PEOPLE: dict[str, list[Any]] = {
    "id": [f"p{n}" for n in range(100)],
    "name": [f"name {n}" if n % 7 else None for n in range(100)],
    "vector": [[float(n), n / 4] for n in range(100)],
}
SMALL_TASKS = {"session": {"task_rows": 100}}
"""So that a frame of some rows is many tasks."""


def on_both(cluster: str, build: Callable[[], keyloom.DataFrame]) -> tuple[pa.Table, pa.Table]:
    """What a frame gives in this process and on the cluster."""
    with keyloom.Session(settings=SMALL_TASKS):
        here = build().to_arrow()
    with keyloom.connect(cluster, settings=SMALL_TASKS["session"]):
        there = build().to_arrow()
    return here, there


def visits() -> keyloom.DataFrame:
    """Visits by people, some of whom nobody knows."""
    people = [None if n % 11 == 0 else f"p{n * 37 % 130}" for n in range(ROWS)]
    return keyloom.from_pydict({"visit": list(range(ROWS)), "id": people})


def known(person: str | None) -> bool:
    return person in set(PEOPLE["id"])


def test_the_cluster_has_its_workers(cluster: str) -> None:
    with keyloom.connect(cluster) as session:
        assert session.address == cluster
        workers = session.workers()
        assert keyloom.workers() == workers
    assert sorted(worker["name"] for worker in workers) == [f"worker-{n}" for n in range(WORKERS)]
    assert [sorted(worker) for worker in workers] == WORKERS * [
        ["draining", "id", "name", "running", "slots"]
    ]
    assert [(worker["slots"], worker["draining"]) for worker in workers] == WORKERS * [(2, False)]
    assert len({worker["id"] for worker in workers}) == WORKERS


def test_an_embedded_session_has_a_worker_of_its_own() -> None:
    with keyloom.Session(workers=1) as session:
        assert session.address == "embedded"
        assert keyloom.from_pydict({"x": [1, 2]}).count_rows() == 2
        assert [worker["name"] for worker in session.workers()] == ["embedded-0"]


def test_who_waits_for_a_worker_is_told_once(
    bin_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # the job fails after so long, and ends the test
    env = {**os.environ, "KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS": "4s"}
    command = [str(bin_dir / "keyloom-coordinator"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as started:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        try:
            with keyloom.connect(address):
                df = keyloom.from_pydict({"x": [1]})
                with pytest.raises(keyloom.UnavailableError, match="no workers: waited 4 s"):
                    df.collect()
        finally:
            started.terminate()
    words = f"keyloom: waiting for a worker: none is registered with the coordinator at {address};"
    assert capfd.readouterr().err.count(words) == 1


def test_lookups_in_lance_are_the_same(cluster: str, lance: Lance) -> None:
    uri = lance("people", PEOPLE, rows_per_file=30)

    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("lance", name="people", uri=uri))
        return visits().with_columns(
            {
                "person": kv_get("id", on_error="null", source="people"),
                "known": kv_exists("id", source="people"),
            }
        )

    here, there = on_both(cluster, build)
    assert here.equals(there)
    by_id = {row["id"]: row for row in pa.table(PEOPLE).to_pylist()}
    ids = visits().to_pydict()["id"]
    assert there.to_pydict() == {
        "visit": list(range(ROWS)),
        "id": ids,
        "person": [by_id.get(person) for person in ids],
        "known": [None if person is None else known(person) for person in ids],
    }


def test_lookups_in_memory_are_the_same(cluster: str) -> None:
    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("memory", name="people", initial_data=PEOPLE, key="id"))
        return visits().with_column("person", kv_get("id", "vector", "null", "people"))

    here, there = on_both(cluster, build)
    assert here.equals(there)
    vectors = dict(zip(PEOPLE["id"], PEOPLE["vector"], strict=True))
    ids = visits().to_pydict()["id"]
    expected = [{"vector": vectors[person]} if known(person) else None for person in ids]
    assert there.to_pydict()["person"] == expected


def test_lists_of_keys_are_the_same(cluster: str, lance: Lance) -> None:
    uri = lance("people", PEOPLE, rows_per_file=30)
    lists: list[Any] = [[f"p{(n + k) % 110}" for k in range(n % 5)] for n in range(300)]
    lists[7] = None

    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("lance", name="people", uri=uri, key="id"))
        df = keyloom.from_pydict({"ids": lists})
        return df.select(kv_batch_get("ids", "name", 10, "null", "people"))

    here, there = on_both(cluster, build)
    assert here.equals(there)
    names = {
        person: {"name": name} for person, name in zip(PEOPLE["id"], PEOPLE["name"], strict=True)
    }
    assert there.to_pydict()["people"] == [
        None if keys is None else [names.get(key) for key in keys] for keys in lists
    ]


def test_several_stores_with_conditions_and_fallbacks_are_the_same(
    cluster: str, lance: Lance
) -> None:
    uri = lance("people", PEOPLE, rows_per_file=30)
    spare = {f"p{n}": f"spare {n}" for n in range(90, 130)}

    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("lance", name="people", uri=uri))
        keyloom.attach(load_kv("memory", name="spare", initial_data=spare))
        first = kv_get("id", on_error="null", source="people")["name"]
        # a key that neither store holds would raise
        second = kv_get("id", source="spare")["value"]
        df = visits().where(col("id").not_null())
        is_known = kv_exists("id", source="people")
        df = df.with_column("name", when(is_known).then(first).otherwise(second))
        return df.where(col("visit") % 3 == 0).sort(["id", "visit"])

    here, there = on_both(cluster, build)
    assert here.equals(there)
    names = dict(zip(PEOPLE["id"], PEOPLE["name"], strict=True))
    rows = [
        (person, visit)
        for visit, person in enumerate(visits().to_pydict()["id"])
        if person is not None and visit % 3 == 0
    ]
    assert there.to_pydict() == {
        "visit": [visit for _, visit in sorted(rows)],
        "id": [person for person, _ in sorted(rows)],
        "name": [names.get(person, spare.get(person)) for person, _ in sorted(rows)],
    }


def test_groups_joins_and_sql_are_the_same(cluster: str) -> None:
    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("memory", name="people", initial_data=PEOPLE, key="id"))
        looked_up = visits().with_column("known", kv_exists("id", source="people"))
        counts = looked_up.groupby("known").agg(col("visit").count().alias("visits"))
        words = keyloom.from_pydict({"known": [True, False], "word": ["known", "unknown"]})
        joined = counts.join(words, on="known", how="left")
        return keyloom.sql("SELECT word, visits FROM joined ORDER BY visits DESC", joined=joined)

    here, there = on_both(cluster, build)
    assert here.equals(there)
    ids = visits().to_pydict()["id"]
    counts = {
        None: ids.count(None),
        "known": sum(known(person) for person in ids),
        "unknown": sum(person is not None and not known(person) for person in ids),
    }
    order = sorted(counts, key=lambda word: -counts[word])
    assert there.to_pydict() == {"word": order, "visits": [counts[word] for word in order]}


def test_files_are_read_by_the_workers(cluster: str, lance: Lance, tmp_path: Any) -> None:
    people = lance("people", PEOPLE, rows_per_file=30)
    visits().write_parquet(tmp_path / "visits")

    def build() -> keyloom.DataFrame:
        keyloom.attach(load_kv("lance", name="people", uri=people))
        df = keyloom.read_parquet(str(tmp_path / "visits" / "*.parquet"))
        return df.select("visit", kv_get("id", on_error="null", source="people")["name"])

    here, there = on_both(cluster, build)
    assert here.equals(there)
    names = dict(zip(PEOPLE["id"], PEOPLE["name"], strict=True))
    ids = visits().to_pydict()["id"]
    assert there.to_pydict() == {
        "visit": list(range(ROWS)),
        "name": [names.get(person) for person in ids],
    }


def test_a_collected_frame_is_the_start_of_others(session: keyloom.Session) -> None:
    keyloom.attach(load_kv("memory", name="people", initial_data=PEOPLE, key="id"))
    collected = visits().with_column("known", kv_exists("id", source="people")).collect()
    assert len(collected) == ROWS
    strangers = collected.where(~col("known"))
    ids = visits().to_pydict()["id"]
    expected = [n for n, person in enumerate(ids) if person is not None and not known(person)]
    assert strangers.to_pydict()["visit"] == expected


def test_a_missing_key_fails_with_the_same_error(session: keyloom.Session) -> None:
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    df = keyloom.from_pydict({"who": ["ann", "eve"]}).select(kv_get("who", source="ages"))
    with pytest.raises(keyloom.NotFoundError) as raised:
        df.collect()
    assert raised.value.kind == "not_found"
    assert str(raised.value) == "Key not found in KV store 'ages': eve"


def test_a_dataset_that_is_not_there_fails_with_the_same_error(
    session: keyloom.Session, tmp_path: Any
) -> None:
    store = load_kv("lance", name="nope", uri=tmp_path / "nope.lance")
    with pytest.raises(keyloom.NotFoundError) as raised:
        keyloom.attach(store)
    assert str(raised.value) == (
        f"store 'nope' cannot be opened: no Lance dataset at {tmp_path / 'nope.lance'}"
    )


def test_sessions_of_one_cluster_do_not_share_aliases(cluster: str) -> None:
    with keyloom.connect(cluster) as one, keyloom.connect(cluster) as two:
        for session, age in ((one, 30), (two, 31)):
            session.attach(load_kv("memory", name="ages", initial_data={"ann": age}))
        two.detach_kv("ages")
        assert (one.list_kv(), two.list_kv()) == (["ages"], [])
        with one:
            df = keyloom.from_pydict({"who": ["ann"]}).select(kv_get("who", "value", source="ages"))
            assert df.to_pydict() == {"ages": [{"value": 30}]}


def test_a_replaced_store_is_the_new_one_on_every_worker(cluster: str) -> None:
    with keyloom.connect(cluster, settings=SMALL_TASKS["session"]):
        answers = []
        for age in (30, 31):
            ages = load_kv("memory", name="ages", initial_data={"ann": age})
            keyloom.attach(ages, replace=True)
            df = keyloom.from_pydict({"who": ["ann"] * ROWS})
            answers.append(df.select(kv_get("who", source="ages")["value"]).to_pydict()["value"])
    assert answers == [[30] * ROWS, [31] * ROWS]


def test_a_shuffle_that_a_limit_forbids_is_told_of(
    cluster: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with keyloom.connect(cluster):
        keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
        df = keyloom.from_pydict({"who": ["ann", "bob"]})
        ages = df.select(kv_get("who", source="ages", max_misses="100%")["value"])
        assert ages.to_pydict()["value"] == [30, None]
        assert "shuffle" not in capfd.readouterr().err
        assert ages.with_shuffle("always").to_pydict()["value"] == [30, None]
    words = "keyloom: warning: shuffle = always has no effect: max_misses of a call limits"
    assert capfd.readouterr().err.count(words) == 1


GROUPS = "SELECT id, count(*) AS n, sum(visit) AS visits FROM v GROUP BY id ORDER BY id"


def test_workers_shuffle_where_a_session_or_a_frame_says_so(
    cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def groups() -> keyloom.DataFrame:
        return keyloom.sql(GROUPS, v=visits())

    def are_shuffled(frame: keyloom.DataFrame) -> bool:
        frame.explain(analyze=True)
        return "RepartitionExec" in capsys.readouterr().out

    small = SMALL_TASKS["session"]
    with keyloom.connect(cluster, settings=small):
        expected = groups().to_pydict()
        assert not are_shuffled(groups())
        always = groups().with_shuffle("always", partitions=2)
        assert are_shuffled(always) and always.to_pydict() == expected
        assert not are_shuffled(groups().with_shuffle("auto"))
        assert are_shuffled(groups().with_shuffle("auto", min_rows=ROWS))
        with pytest.raises(keyloom.InvalidError):
            groups().with_shuffle("sometimes")  # type: ignore[arg-type]
        with pytest.raises(keyloom.InvalidError):
            groups().with_shuffle("always", partitions=1)
    with keyloom.connect(cluster, shuffle="always", settings=small):
        assert are_shuffled(groups()) and groups().to_pydict() == expected
        assert not are_shuffled(groups().with_shuffle("never"))


def test_a_local_cluster_that_starts_says_its_address_and_nothing_else(
    bin_dir: Path, tmp_path: Path
) -> None:
    script = str(REPOSITORY / "scripts" / "local-cluster")
    started = subprocess.Popen(
        [script, "--workers", "1", "--port", "0", "--state-dir", str(tmp_path)],
        env={**os.environ, "KEYLOOM_BIN_DIR": str(bin_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    address = started.stdout.readline()
    started.terminate()
    rest, said = started.communicate(timeout=60)
    assert address.startswith("tcp://127.0.0.1:"), said
    assert (rest, said) == ("", "")


@pytest.mark.parametrize("settings", [{"batch_rows": 16}, {"session": {"batch_rows": 16}}])
def test_settings_stand_as_in_files_or_alone(cluster, settings):
    with keyloom.connect(cluster, settings=settings):
        assert keyloom.from_pydict({"x": [1, 2]}).count_rows() == 2
