"""Jobs over HTTP by a client that is generated of what a coordinator says of itself, with the
commands of the documentation."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from clusters import REPOSITORY, local_cluster
from data import write_lance

ADDRESS = "http://127.0.0.1:9700"
"""The coordinator of the documentation."""

OPERATIONS = {
    "jobs": [
        "cancel_job",
        "list_jobs",
        "read_logs",
        "read_rows",
        "read_rows_as_arrow",
        "read_rows_as_csv",
        "resume_job",
        "show_job",
        "submit_job",
    ],
    "workers": ["drain_worker", "list_workers"],
    "description": ["describe_api"],
}

STATEMENT = "SELECT id, kv_get(product_id, on_error => 'null')['name'] AS product FROM orders"


@pytest.fixture(scope="module")
def http(bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The HTTP port of a cluster of two workers."""
    state = tmp_path_factory.mktemp("http")
    listen = {"KEYLOOM_COORDINATOR_HTTP__LISTEN": "127.0.0.1:0"}
    with local_cluster(bin_dir, state, workers=2, environment=listen):
        told = re.search(r"^http://\S+", (state / "coordinator.log").read_text(), re.MULTILINE)
        assert told, "the coordinator did not say where it answers HTTP"
        yield told[0]


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """What the section on generated clients has, by language."""
    text = (REPOSITORY / "docs" / "http-api.md").read_text()
    section = text.partition("\n## A generated client\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in found] == ["bash", "python", "text"]
    return dict(found)


@pytest.fixture(scope="module")
def folder(
    http: str, documented: dict[str, str], bin_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the generated client, and with orders and products."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "orders.csv").write_text("id,product_id\n1,a\n2,b\n3,a\n")
    (folder / "products.csv").write_text("id,name\na,mug\nb,lamp\n")
    write_lance(bin_dir, folder, "products", {"id": ["a", "b"], "name": ["mug", "lamp"]})
    install, _, generate = documented["bash"].partition("\n")
    assert install == "pip install openapi-python-client"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", generate.replace(ADDRESS, http)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    # Whatever cannot be generated is left out with a warning.
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout
    return folder


@pytest.fixture
def client(http: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """All operations of the generated client, bound to the coordinator, and its models."""
    monkeypatch.syspath_prepend(str(folder))
    package = importlib.import_module("keyloom_client")
    with package.Client(base_url=http, raise_on_unexpected_status=True) as port:

        def bound(module: str) -> Callable[..., Any]:
            operation = importlib.import_module(f"keyloom_client.api.{module}")
            return lambda *given, **named: operation.sync(*given, client=port, **named)

        yield SimpleNamespace(
            models=importlib.import_module("keyloom_client.models"),
            **{name: bound(f"{tag}.{name}") for tag, names in OPERATIONS.items() for name in names},
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "keyloom_client"]:
        del sys.modules[name]


def order(client: SimpleNamespace, folder: Path, **options: Any) -> Any:
    """A job that looks the products of orders up in a store that it brings."""
    models = client.models
    job = models.JobRequest(
        sql=STATEMENT,
        inputs=models.JobRequestInputs(),
        stores=models.JobRequestStores(),
        **options,
    )
    job.inputs["orders"] = models.Input(path=str(folder / "orders.csv"))
    path = str(folder / "products.csv")
    job.stores["products"] = models.Store(kind="memory", path=path, key="id")
    return job


def ended(client: SimpleNamespace, job: Any) -> Any:
    """The job that was handed in, once it has ended."""
    assert isinstance(job, client.models.Job), job
    end = time.monotonic() + 60
    while job.state in ("queued", "running"):
        assert time.monotonic() < end, job
        job = client.show_job(job.id)
    return job


def refused(client: SimpleNamespace, answer: Any) -> Any:
    """What is said to what is refused."""
    assert isinstance(answer, client.models.Refusal), answer
    return answer.error


def test_the_documented_client_prints_what_stands_below_it(http, documented, folder):
    program = documented["python"].replace(ADDRESS, http).replace("/data/", f"{folder}/")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", documented["text"])


def test_rows_are_the_same_by_every_format_and_are_told_of(client, folder):
    rows = [
        {"id": 1, "product": "mug"},
        {"id": 2, "product": "lamp"},
        {"id": 3, "product": "mug"},
    ]
    own = uuid.uuid4()
    job = ended(client, client.submit_job(body=order(client, folder, id=own, name="orders")))
    assert (job.id, job.name, job.state, job.error) == (own, "orders", "done", None)
    assert job.summary.stores["products"].hits == 2
    assert [row.to_dict() for row in client.read_rows(job.id)] == rows
    log = client.read_logs(job.id)
    assert (log.id, log.lines[0].kind, log.lines[-1].kind) == (own, "submitted", "done")
    assert own in [job.id for job in client.list_jobs().jobs]

    job = ended(client, client.submit_job(body=order(client, folder)))
    assert client.read_rows_as_csv(job.id) == "id,product\n1,mug\n2,lamp\n3,mug\n"
    job = ended(client, client.submit_job(body=order(client, folder)))
    with pa.ipc.open_stream(client.read_rows_as_arrow(job.id).payload) as stream:
        assert stream.read_all().to_pylist() == rows


def test_values_of_a_statement_keep_their_types(client):
    values = client.models.JobRequestParams.from_dict({"least": 0.5, "most": 1, "all": False})
    statement = (
        "SELECT v FROM (VALUES (0.25), (1.5), (2.5)) t(v) WHERE v > $least OR $all "
        "ORDER BY v LIMIT $most"
    )
    job = client.submit_job(body=client.models.JobRequest(sql=statement, params=values))
    rows = client.read_rows(ended(client, job).id)
    assert [row.to_dict() for row in rows] == [{"v": 1.5}]


def test_what_is_wrong_is_refused_with_a_kind(client, folder):
    models = client.models
    error = refused(client, client.submit_job(body=models.JobRequest(sql="SELECT nothing")))
    assert error.kind is models.ErrorKind.INVALID
    assert "nothing" in error.message
    assert refused(client, client.show_job(uuid.uuid4())).kind is models.ErrorKind.NOT_FOUND
    done = ended(client, client.submit_job(body=order(client, folder)))
    resumed = refused(client, client.resume_job(done.id))
    assert resumed.kind is models.ErrorKind.INVALID


def test_jobs_are_cancelled_and_workers_drained(client):
    endless = "SELECT count(*) AS n FROM generate_series(1, 1000000000000)"
    job = client.submit_job(body=client.models.JobRequest(sql=endless))
    assert client.cancel_job(job.id) is None
    assert ended(client, job).state is client.models.JobState.CANCELLED
    worker = next(one for one in client.list_workers().workers if one.name == "worker-1")
    assert client.drain_worker(worker.id) is None
    end = time.monotonic() + 60
    while worker.id in [one.id for one in client.list_workers().workers]:
        assert time.monotonic() < end, "the worker did not go"
    assert client.describe_api()["info"]["title"] == "Keyloom"
