"""Jobs that are handed in: they go on by themselves, are known by their ids, and end as is told."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import keyloom
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from keyloom import JobHandle, JobInfo, Written, col
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

DEADLINE_SECONDS = 60.0


def endless() -> keyloom.DataFrame:
    """A query that nobody will see the end of."""
    numbers = keyloom.from_pydict({"a": range(100_000)})
    pairs = numbers.join(numbers.select(b=col("a")), how="cross")
    return pairs.where(col("a") + col("b") < 0)


def ended(job: JobHandle) -> JobInfo:
    return job.wait(timeout=DEADLINE_SECONDS)


def test_a_job_writes_and_says_what_it_has_written(
    session: keyloom.Session, tmp_path: Path
) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    out = tmp_path / "out"
    job = keyloom.from_pydict({"n": [1, 2, 3]}).submit("nightly", output=out)
    info = ended(job)
    written = info.written
    assert written is not None
    size = sum(file.stat().st_size for file in out.glob("part-*"))
    assert written == Written(str(out), 3, size, 1, None)
    assert pq.read_table(out).to_pydict() == {"n": [1, 2, 3]}
    assert (info.id, info.name, info.state, info.rows) == (job.id, "nightly", "done", 3)
    assert info.output is not None and str(out) in info.output
    assert info.error is None and info.tasks_done == info.tasks
    assert info.started is not None and info.ended is not None
    assert before <= info.submitted <= info.started <= info.ended
    assert info.ended < datetime.now(timezone.utc) + timedelta(seconds=1)
    assert session.job(job.id).info() == job.info() == info
    assert job.state == "done"
    with pytest.raises(keyloom.InvalidError, match="are written to .*; wait"):
        job.results()


def test_an_output_is_described_as_in_job_files(session: keyloom.Session, tmp_path: Path) -> None:
    options = {"path": tmp_path / "out", "format": "csv", "if_exists": "append"}
    for _ in range(2):
        ended(keyloom.from_pydict({"n": [1]}).submit(output=options))
    texts = [file.read_text() for file in (tmp_path / "out").glob("part-*.csv")]
    assert texts == ["n\n1\n"] * 2
    dataset = tmp_path / "rows.lance"
    written = ended(keyloom.from_pydict({"n": [1]}).submit(output=str(dataset))).written
    assert written is not None and written.version == 1
    assert keyloom.read_lance(dataset).to_pydict() == {"n": [1]}


@pytest.mark.parametrize("detached", [True, False])
def test_the_rows_of_a_job_are_taken_later(session: keyloom.Session, detached: bool) -> None:
    numbers = list(range(10_000))
    job = keyloom.from_pydict({"n": numbers}).submit(detached=detached)
    assert ended(job).rows == len(numbers)
    results = job.results()
    assert len(results) == len(numbers)
    assert results.where(col("n") >= 9_998).to_pydict() == {"n": [9_998, 9_999]}
    # They are kept here.
    assert job.results() is results
    assert results.to_pydict() == {"n": numbers}


@pytest.mark.parametrize("detached", [True, False])
def test_results_wait_for_the_rows(session: keyloom.Session, detached: bool) -> None:
    df = keyloom.from_pydict({"n": [None, 1]}).select(n=col("n").cast("int64"))
    assert df.submit(detached=detached).results().to_pydict() == {"n": [None, 1]}
    empty = df.where(col("n") > 1).submit(detached=detached).results()
    assert (len(empty), empty.column_names) == (0, ["n"])
    assert empty.to_arrow().schema == pa.schema([("n", pa.int64())])


def test_a_job_that_fails_says_why(session: keyloom.Session, tmp_path: Path) -> None:
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    df = keyloom.from_pydict({"who": ["ann", "eve"]}).select(kv_get("who", source="ages"))
    message = "Key not found in KV store 'ages': eve"
    for output in (None, tmp_path / "out"):
        job = df.submit(output=output)
        with pytest.raises(keyloom.NotFoundError) as raised:
            ended(job)
        assert str(raised.value) == message
        info = job.info()
        assert (info.state, info.written, str(info.error)) == ("failed", None, message)
        assert isinstance(info.error, keyloom.NotFoundError)
    with pytest.raises(keyloom.NotFoundError):
        df.submit().results()
    assert not list(tmp_path.glob("out/part-*"))


def test_a_job_is_cancelled(session: keyloom.Session, tmp_path: Path) -> None:
    job = endless().submit(output=tmp_path / "out")
    with pytest.raises(keyloom.KeyloomTimeoutError, match=f"job {job.id} has not ended within"):
        job.wait(timeout=0.05)
    assert job.state in ("queued", "running")
    job.cancel()
    with pytest.raises(keyloom.CancelledError):
        ended(job)
    assert job.state == "cancelled"
    assert not list(tmp_path.glob("out/part-*"))
    with pytest.raises(keyloom.InvalidError, match="cannot be resumed"):
        job.resume()


def test_a_job_that_is_not_detached_ends_with_its_handle(session: keyloom.Session) -> None:
    job = endless().submit(detached=False)
    found = session.job(job.id)
    assert found.state in ("queued", "running")
    del job
    with pytest.raises(keyloom.CancelledError):
        ended(found)


def test_a_detached_job_does_not_end_with_its_session(cluster: str, tmp_path: Path) -> None:
    with keyloom.connect(cluster):
        rows = keyloom.from_pydict({"n": [1, 2]})
        taken, written = rows.submit().id, rows.submit(output=tmp_path / "out").id
    with keyloom.connect(cluster) as session:
        assert session.job(uuid.UUID(taken)).results().to_pydict() == {"n": [1, 2]}
        assert ended(session.job(written)).rows == 2
    assert pq.read_table(tmp_path / "out").to_pydict() == {"n": [1, 2]}


def test_a_job_that_is_handed_in_twice_runs_once(session: keyloom.Session, tmp_path: Path) -> None:
    own = uuid.uuid4()
    df, output = keyloom.from_pydict({"n": [1]}), {"path": tmp_path / "out", "if_exists": "append"}
    for id in (own, str(own)):
        job = df.submit(output=output, id=id)
        assert job.id == str(own)
        assert ended(job).rows == 1
    assert [known.id for known in session.jobs()].count(str(own)) == 1
    assert pq.read_table(tmp_path / "out").to_pydict() == {"n": [1]}


def test_jobs_are_listed_the_newest_first(session: keyloom.Session) -> None:
    names = [f"{uuid.uuid4()}" for _ in range(3)]
    jobs = [keyloom.from_pydict({"n": [1]}).submit(name) for name in names]
    for job in jobs:
        ended(job)
    listed = [known for known in session.jobs() if known.name in names]
    assert [known.name for known in listed] == names[::-1]
    assert [known.id for known in listed] == [job.id for job in reversed(jobs)]
    assert {known.state for known in listed} == {"done"}


def test_what_happened_to_a_job_is_told_in_order(session: keyloom.Session, tmp_path: Path) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    job = keyloom.from_pydict({"n": [1, 2, 3]}).submit(output=tmp_path / "out")
    ended(job)
    lines = session.job(job.id).logs()
    kinds = [line.kind for line in lines]
    assert kinds[:2] == ["submitted", "started"]
    assert kinds[-3:] == ["committing", "committed", "done"]
    assert {"stage_begun", "stage_done"} <= set(kinds)
    assert [line.number for line in lines] == list(range(len(lines)))
    times = [line.at for line in lines]
    assert before <= times[0] and times == sorted(times)
    assert lines[-2].text.startswith("3 rows in 1 file, ")
    assert str(lines[-1]).split(maxsplit=1)[1] == f"{'done':14}  3 rows"


def test_jobs_that_are_left_out_are_counted_in_a_warning(
    session: keyloom.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def jobs(self) -> tuple[list[dict[str, object]], int]:
            return [], 7

    monkeypatch.setattr(keyloom.Session, "_rust", property(lambda _: Full()))
    with pytest.warns(UserWarning, match="^7 older jobs are left out: .*rpc.max_frame_bytes"):
        assert session.jobs() == []


def test_jobs_that_nobody_knows_are_named(session: keyloom.Session) -> None:
    unknown = str(uuid.uuid4())
    with pytest.raises(keyloom.NotFoundError, match=unknown):
        session.job(unknown)
    with pytest.raises(keyloom.InvalidError, match='"newest" is no id of a job'):
        session.job("newest")


def test_a_handle_works_when_its_session_is_closed_and_is_not_pickled() -> None:
    with keyloom.Session():
        job = keyloom.from_pydict({"n": [1]}).submit()
    assert job.results().select(n=col("n") + 1).to_pydict() == {"n": [2]}
    assert repr(job) == f"JobHandle(id='{job.id}')"
    with pytest.raises(TypeError, match=r"session\.job\(id\) finds it elsewhere"):
        pickle.dumps(job)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_what_is_no_time_is_refused(timeout: float) -> None:
    job = keyloom.from_pydict({"n": [1]}).submit()
    with pytest.raises(keyloom.InvalidError, match="timeout is a number of seconds of at least 0"):
        job.wait(timeout)
    assert ended(job).rows == 1


def test_rows_that_another_call_waits_for_are_refused() -> None:
    job = endless().submit(detached=False)
    told: queue.Queue[str] = queue.Queue()

    def take() -> None:
        try:
            job.results()
        except keyloom.KeyloomError as error:
            told.put(str(error))

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    # The other one waits for as long as the job goes on.
    refused = f"another call waits for job {job.id}; take its results when that has returned"
    assert told.get(timeout=DEADLINE_SECONDS) == refused
    job.cancel()
    assert told.get(timeout=DEADLINE_SECONDS) != refused
    for thread in threads:
        thread.join(DEADLINE_SECONDS)


def test_ctrl_c_ends_the_waiting_and_not_the_job() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = endless().submit()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            job.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert job.state in ("queued", "running")
    job.cancel()
