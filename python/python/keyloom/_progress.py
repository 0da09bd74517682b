"""How far a job is, on a terminal or in a notebook: with tqdm where it is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from typing import Any

AFTER_SECONDS = 1.0
"""Jobs that are done before show nothing."""


class Progress:
    """A line that says how far a job is. It shows nothing where nobody looks."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Any = None
        self._width = 0

    def __call__(
        self, rows: int, done: int, tasks: int, workers: int, parts: dict[str, Any] | None = None
    ) -> None:
        """Tells how far it is, and part by part: ``rows`` computed so far, the ``stages``, the
        ``stores`` with what they found, and the ``share`` of all that is done."""
        if time.monotonic() - self._started < AFTER_SECONDS or tasks == 0:
            return
        parts = parts or {}
        note = _note(rows, parts) if workers else "waiting for workers"
        share = parts.get("share")
        tqdm = _tqdm()
        if tqdm is None:
            percent = "" if share is None else f" ({int(share * 100)}%)"
            line = f"\rtasks {done}/{tasks}{percent}, {note}"
            self._width = max(self._width, len(line))
            print(line.ljust(self._width), end="", file=_stream(), flush=True)
            return
        if self._bar is None:
            self._bar = tqdm(total=tasks, unit="task", file=_stream(), leave=False)
        self._bar.total = tasks
        # Of tasks that run, a part is done.
        self._bar.n = done if share is None else round(share * tasks, 1)
        self._bar.set_postfix_str(note)

    def close(self) -> None:
        """Takes the line away."""
        if self._bar is not None:
            self._bar.close()
        elif self._width:
            print("\r" + " " * self._width, end="\r", file=_stream(), flush=True)


def _note(rows: int, parts: dict[str, Any]) -> str:
    # Of rows that workers write, none come.
    notes = [f"{max(rows, parts.get('rows', 0)):,} rows"]
    stages = parts.get("stages", [])
    if len(stages) > 1:
        going = [stage for stage in stages if stage["tasks_done"] < stage["tasks"]]
        notes += [stage["work"] for stage in going[-1:]]
    for alias, store in parts.get("stores", {}).items():
        notes.append(f"{alias}: {store['hits']:,} hits, {store['misses']:,} misses")
    return ", ".join(notes)


def progress() -> Progress | None:
    """Progress to tell, if somebody looks."""
    if os.environ.get("KEYLOOM_PROGRESS") == "0":
        return None
    # Other threads leave Python alone while they wait.
    if threading.current_thread() is not threading.main_thread():
        return None
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Progress() if terminal or in_notebook() else None


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    kernel = sys.modules.get("ipykernel")
    return kernel is not None and "IPKernelApp" in getattr(
        getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)(), "config", {}
    )


def _stream() -> Any:
    return sys.stdout if in_notebook() else sys.stderr


def _tqdm() -> Any:
    try:
        # Without the widgets, a notebook's bar would only warn of them.
        if in_notebook() and importlib.util.find_spec("ipywidgets") is not None:
            from tqdm.notebook import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
