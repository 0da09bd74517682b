"""Clusters of processes on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data import WORKERS

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def local_cluster(
    bin_dir: Path,
    state: Path,
    workers: int = WORKERS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The address of a cluster that is there until this is left. Its workers are ``worker-0`` and so on; the
    folder has their logs and the numbers of their processes."""
    script = str(REPOSITORY / "scripts" / "local-cluster")
    started = subprocess.Popen(
        [script, "--workers", str(workers), "--port", "0", "--state-dir", str(state)],
        env={**os.environ, "KEYLOOM_BIN_DIR": str(bin_dir), **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    try:
        address = started.stdout.readline().strip()
        assert address.startswith("tcp://"), "the cluster did not start; stderr says why"
        yield address
    finally:
        started.terminate()
        started.wait(timeout=60)
        started.stdout.close()
