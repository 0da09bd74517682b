"""The commands ``keyloom``, ``keyloom-coordinator`` and ``keyloom-worker``."""

from __future__ import annotations

import sys

from keyloom import _keyloom


def keyloom() -> None:
    """Runs ``keyloom``."""
    _run("keyloom")


def coordinator() -> None:
    """Runs ``keyloom-coordinator``."""
    _run("keyloom-coordinator")


def worker() -> None:
    """Runs ``keyloom-worker``."""
    _run("keyloom-worker")


def _run(name: str) -> None:
    sys.exit(_keyloom.run_command([name, *sys.argv[1:]]))
