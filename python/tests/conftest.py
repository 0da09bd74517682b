"""What the tests share: sessions, a cluster of this machine, and Lance datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyloom
import pyarrow as pa
import pytest
from clusters import REPOSITORY, local_cluster
from data import write_lance


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """The folder with the programs."""
    return Path(os.environ.get("KEYLOOM_BIN_DIR", REPOSITORY / "target" / "debug")).resolve()


@pytest.fixture(scope="session")
def cluster(bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of processes, started once."""
    with local_cluster(bin_dir, tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.fixture(params=["embedded", "cluster"])
def session(request: pytest.FixtureRequest) -> Iterator[keyloom.Session]:
    """The current session: one in this process, then one on the cluster."""
    if request.param == "embedded":
        opened = keyloom.Session()
    else:
        opened = keyloom.connect(request.getfixturevalue("cluster"))
    with opened as current:
        yield current


@pytest.fixture(autouse=True)
def fresh_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test sees the aliases of another."""
    if "session" in request.fixturenames:
        yield
        return
    with keyloom.Session():
        yield


@pytest.fixture
def lance(bin_dir: Path, tmp_path: Path) -> Callable[..., str]:
    """Writes rows as a Lance dataset; again under the same name, as its next version."""

    def write(name: str, rows: dict[str, Any] | pa.Table, rows_per_file: int | None = None) -> str:
        return write_lance(bin_dir, tmp_path, name, rows, rows_per_file)

    return write
