"""Outputs in object storage: all rows once, or nothing that anybody sees or pays for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keyloom
import pytest
from clusters import local_cluster
from keyloom import JobHandle, Written, col
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto[server] is not installed")
import s3

if TYPE_CHECKING:
    from s3 import Storage

DEADLINE_SECONDS = 60.0

ROWS = 1_000
TASK_ROWS = 100
TABLE: dict[str, list[Any]] = {
    "n": list(range(ROWS)),
    "word": [None if n % 7 == 0 else f"word {n}" for n in range(ROWS)],
}
SMALL = {"task_rows": TASK_ROWS}
"""So that a frame is many tasks."""
WRITE_ROWS = {"write_slice_rows": TASK_ROWS}
"""So that as many write."""
ENVIRONMENT = {"KEYLOOM_COORDINATOR_WRITE_SLICE_ROWS": str(TASK_ROWS)}
"""The same for the processes of a cluster."""


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """A bucket of moto's, for all tests here."""
    opened = s3.Storage()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def s3_cluster(
    storage: Storage, bin_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a cluster whose workers have a profile for the bucket."""
    state = tmp_path_factory.mktemp("s3-cluster")
    environment = {**storage.environment, **ENVIRONMENT}
    with local_cluster(bin_dir, state, environment=environment) as address:
        yield address


@pytest.fixture(params=["embedded", "cluster"])
def session(request: pytest.FixtureRequest, storage: Storage) -> Iterator[keyloom.Session]:
    """The current session, in this process or on the cluster."""
    if request.param == "embedded":
        opened = embedded(storage)
    else:
        opened = keyloom.connect(request.getfixturevalue("s3_cluster"), settings=SMALL)
    with opened as current:
        yield current


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the bucket that is this test's."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def embedded(storage: Storage) -> keyloom.Session:
    worker = {"store": {"storage_profiles": {s3.PROFILE: storage.profile}}}
    return keyloom.Session(settings={"session": SMALL, "coordinator": WRITE_ROWS, "worker": worker})


def rows() -> keyloom.DataFrame:
    return keyloom.from_pydict(TABLE)


def output(url: str, **options: str) -> dict[str, str]:
    return {"path": url, "storage_options": s3.PROFILE, **options}


def read(url: str) -> dict[str, list[Any]]:
    """What Keyloom finds there."""
    return keyloom.read(url, storage_options=s3.PROFILE).to_pydict()


def data(names: list[str]) -> list[str]:
    """The files that readers see."""
    return [name for name in names if not any(part[0] in "._" for part in name.split("/"))]


def ask_until(holds: Callable[[], object]) -> None:
    """Asks another process again and again, until it answers what is waited for."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"


def ended(job: JobHandle) -> Written:
    written = job.wait(timeout=DEADLINE_SECONDS).written
    assert written is not None
    return written


# Folders of files.


def test_a_folder_holds_the_rows(session: keyloom.Session, storage: Storage, folder: str) -> None:
    url = storage.url(folder)
    written = rows().write_parquet(url, storage_options=s3.PROFILE)
    files = data(storage.names(folder))
    assert (written.rows, written.files, len(files)) == (ROWS, ROWS // TASK_ROWS, written.files)
    assert storage.table(folder).to_pydict() == TABLE
    assert read(f"{url}/") == TABLE
    # Beside them are the manifest and the word that all is there.
    others = sorted(set(storage.names(folder)) - set(files))
    assert [name.partition("/")[0] for name in others] == ["_SUCCESS", "_keyloom"]
    assert storage.uploads(folder) == []


def test_large_files_are_uploads_of_several_parts(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    df = keyloom.from_pydict({"text": ["x" * 20_000_000]})
    written = df.write_parquet(storage.url(folder), compression="none", storage_options=s3.PROFILE)
    assert (written.rows, written.files) == (1, 1)
    assert written.bytes > 20_000_000
    [text] = storage.table(folder)["text"].to_pylist()
    assert (len(text), set(text)) == (20_000_000, {"x"})
    assert storage.uploads(folder) == []


def test_folders_of_values_hold_their_rows(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    df = rows().select(n=col("n"), third=col("n") % 3)
    df.write_parquet(storage.url(folder), partition_by="third", storage_options=s3.PROFILE)
    for third in range(3):
        there = storage.table(f"{folder}/third={third}").to_pydict()
        assert there == {"n": list(range(third, ROWS, 3))}
    assert storage.uploads(folder) == []


def test_files_that_are_there_are_kept_added_to_or_replaced(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    url, df = storage.url(folder), keyloom.from_pydict({"n": [1, 2]})

    def write(**options: Any) -> Written:
        return df.write_parquet(url, storage_options=s3.PROFILE, **options)

    storage.put(f"{folder}/notes.txt", b"mine")
    write()
    before = storage.names(folder)
    with pytest.raises(keyloom.InvalidError, match="if_exists is error"):
        write()
    assert storage.names(folder) == before
    write(if_exists="append")
    write(if_exists="append")
    assert sorted(storage.table(folder)["n"].to_pylist()) == [1, 1, 1, 2, 2, 2]
    assert set(data(before)) < set(storage.names(folder))
    df = df.where(col("n") == 2)
    replaced = write(if_exists="overwrite")
    assert (replaced.rows, replaced.files) == (1, 1)
    assert storage.table(folder).to_pydict() == {"n": [2]}
    assert "notes.txt" in storage.names(folder)
    assert storage.uploads(folder) == []


@pytest.mark.parametrize("if_exists", ["error", "append", "overwrite"])
def test_nothing_is_left_of_a_job_whose_last_row_fails(
    session: keyloom.Session, storage: Storage, folder: str, if_exists: str
) -> None:
    if if_exists != "error":
        rows().write_parquet(storage.url(folder), storage_options=s3.PROFILE)
    before = storage.names(folder)
    failing = keyloom.from_pydict({"a": [*map(str, range(ROWS)), "x"]})
    job = failing.select(a=col("a").cast("int64")).submit(
        output=output(storage.url(folder), if_exists=if_exists)
    )
    with pytest.raises(keyloom.InvalidError, match="Cannot cast string 'x'"):
        job.wait(timeout=DEADLINE_SECONDS)
    # It is removed in the background, also what other tasks are just about to begin.
    storage.wait_until(lambda: (storage.names(folder), storage.uploads(folder)) == (before, []))
    if if_exists != "error":
        assert read(f"{storage.url(folder)}/") == TABLE


def test_nothing_is_left_of_a_job_that_misses_too_many_keys(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    keyloom.attach(load_kv("memory", name="few", initial_data={n: n for n in range(10)}))
    # Only all tasks together know how many that are: they have written all of their rows.
    found = kv_get("n", source="few", on_error="null", max_misses="98%")["value"]
    job = rows().select("n", found=found).submit(output=output(storage.url(folder)))
    with pytest.raises(keyloom.NotFoundError):
        job.wait(timeout=DEADLINE_SECONDS)
    storage.wait_until(lambda: storage.names(folder) == storage.uploads(folder) == [])


def test_nothing_is_left_of_a_job_that_is_cancelled_while_it_writes(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    slots = sum(worker["slots"] for worker in session.workers())
    with storage.holding(f"/{folder}/part-.*partNumber="):
        job = rows().submit(output=output(storage.url(folder)))
        # All that run have noted their uploads by then.
        storage.wait_until(lambda: storage.held >= min(slots, ROWS // TASK_ROWS))
        job.cancel()
        with pytest.raises(keyloom.CancelledError):
            job.wait(timeout=DEADLINE_SECONDS)
    storage.wait_until(lambda: storage.names(folder) == storage.uploads(folder) == [])


# Workers that die.


def kill(worker: str, state: Path, session: keyloom.Session) -> None:
    """Kills a worker while it runs a task, and waits until the coordinator knows."""

    def running() -> int:
        return sum(told["running"] for told in session.workers() if told["name"] == worker)

    ask_until(running)
    os.kill(int((state / f"{worker}.pid").read_text()), signal.SIGKILL)
    ask_until(lambda: all(told["name"] != worker for told in session.workers()))


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        ("rows", "partNumber="),
        ("rows.lance", r"\.lance/data/"),
    ],
)
def test_workers_that_are_killed_while_they_write_change_no_row(
    storage: Storage, bin_dir: Path, tmp_path: Path, folder: str, name: str, begun: str
) -> None:
    state, url = tmp_path / "cluster", storage.url(f"{folder}/{name}")
    with (
        local_cluster(bin_dir, state, 3, {**storage.environment, **ENVIRONMENT}) as address,
        keyloom.connect(address, settings=SMALL) as session,
    ):
        with storage.holding(begun):
            job = rows().submit(output=output(url))
            # All that workers have by now waits here, and nothing can be done before.
            storage.wait_until(lambda: storage.held)
            for victim in ("worker-0", "worker-1"):
                kill(victim, state, session)
        assert ended(job).rows == ROWS
        if name == "rows":
            assert storage.table(f"{folder}/{name}").to_pydict() == TABLE
            names = storage.names(f"{folder}/{name}")
            assert len(data(names)) == ROWS // TASK_ROWS
            # Of the dead ones there were records.
            assert not any(found.startswith(".keyloom") for found in names)
            # But for those that were begun and not noted yet: one a slot at most.
            assert len(storage.uploads(f"{folder}/{name}")) <= 4
        assert read(url if name.endswith(".lance") else f"{url}/") == TABLE


# Datasets.


def test_a_dataset_is_made_added_to_and_replaced(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    url = storage.url(f"{folder}/rows.lance")

    def write(df: keyloom.DataFrame, **options: Any) -> Written:
        return df.write_lance(url, storage_options=s3.PROFILE, **options)

    assert write(rows()).rows == ROWS
    with pytest.raises(keyloom.InvalidError, match=r"rows\.lance"):
        write(rows())
    assert write(rows().limit(2), if_exists="append").version == 2
    assert read(url)["n"] == [*range(ROWS), 0, 1]
    changed = keyloom.from_pydict({"n": [5, ROWS], "word": ["five", "thousand"]})
    assert write(changed, if_exists="upsert", key="n").version == 3
    there = keyloom.read_lance(url, storage_options=s3.PROFILE).sort("n").to_pydict()
    words = dict(zip(there["n"], there["word"]))
    assert (words[5], words[ROWS], words[6]) == ("five", "thousand", "word 6")
    assert write(rows().limit(1), if_exists="overwrite").version == 4
    assert read(url) == {"n": [0], "word": [None]}


def test_while_a_job_makes_a_dataset_another_is_refused_by_its_id(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    url = storage.url(f"{folder}/made.lance")

    def make(start: int, if_exists: str) -> JobHandle:
        df = keyloom.from_pydict({"n": range(start, start + ROWS)})
        return df.submit(output=output(url, if_exists=if_exists))

    with storage.holding(r"\.lance/data/"):
        job = make(0, "error")
        storage.wait_until(lambda: storage.held)
        refused = rf"job {job.id} writes to .*made\.lance"
        for if_exists in ("error", "overwrite"):
            with pytest.raises(keyloom.InvalidError, match=refused):
                make(ROWS, if_exists)
    ended(job)
    assert read(url) == {"n": list(range(ROWS))}
    assert ended(make(ROWS, "overwrite")).version == 2


def test_two_jobs_add_to_one_dataset_at_once(
    session: keyloom.Session, storage: Storage, folder: str
) -> None:
    url, starts = storage.url(f"{folder}/added.lance"), [ROWS, 2 * ROWS]
    keyloom.from_pydict({"n": range(ROWS)}).write_lance(url, storage_options=s3.PROFILE)
    # None commits before both have begun to write.
    with storage.holding(r"\.lance/data/"):
        jobs = [
            keyloom.from_pydict({"n": range(start, start + ROWS)}).submit(
                output=output(url, if_exists="append")
            )
            for start in starts
        ]
        storage.wait_until(lambda: storage.held)
    assert sorted(ended(job).version or 0 for job in jobs) == [2, 3]
    there = read(url)["n"]
    # One after the other, each in its order.
    blocks = [there[start : start + ROWS] for start in range(0, len(there), ROWS)]
    expected = [list(range(start, start + ROWS)) for start in (0, *starts)]
    assert blocks[0] == expected[0]
    assert sorted(blocks[1:]) == expected[1:]
