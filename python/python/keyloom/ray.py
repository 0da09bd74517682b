"""Keyloom on a Ray cluster: lookups in Ray Data, and workers of a Keyloom cluster as Ray actors."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from keyloom import _convert
from keyloom._commands import worker
from keyloom._embed import Call, add_columns, by_value
from keyloom._lookups import Columns, names_of
from keyloom.exceptions import InvalidError, UnavailableError
from keyloom.session import connect

try:
    import ray
except ImportError as error:
    raise ImportError("keyloom.ray needs Ray: pip install 'keyloom[ray]'") from error

if TYPE_CHECKING:
    from keyloom.kv import AttachedKV, KVStore, OnError

__all__ = ["KVEnrich", "Workers", "start_workers"]

_PARENT_DEATH = 1
"""What Linux calls PR_SET_PDEATHSIG."""


class KVEnrich:
    """What ``ray.data.Dataset.map_batches`` calls to add what a store has for the keys of a batch.

    Each actor opens the store once, at its newest version; with ``load_kv(…, version=…)`` all of them read
    the same. Each batch is one request.

    Args:
        store: What ``load_kv`` returned. It travels to the actors by value.
        keys: The column of keys, or the columns that are a key together.
        columns: The columns wanted, in this order; all of the store if not given.
        on_error: What a missing key means: ``"raise"`` fails the job, ``"null"`` gives a null.
        output: The name of the column of structs that is added.
        flatten: Whether the store's columns are added by themselves instead; the key's, which is there
            already, is not.

    Raises:
        TypeError: ``store`` is no store.

    Example:
        >>> import pyarrow as pa
        >>> from keyloom.kv import load_kv
        >>> from keyloom.ray import KVEnrich
        >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
        >>> options = {"store": ages, "keys": "who", "columns": "value", "flatten": True}
        >>> ds = ray.data.from_items([{"who": "bob"}])  # doctest: +SKIP
        >>> ds.map_batches(  # doctest: +SKIP
        ...     KVEnrich, fn_constructor_kwargs=options, batch_format="pyarrow", concurrency=1
        ... )
        >>> KVEnrich(**options)(pa.table({"who": ["bob", "ann"]})).to_pydict()
        {'who': ['bob', 'ann'], 'value': [40, 30]}
    """

    def __init__(
        self,
        store: KVStore | AttachedKV,
        keys: str | list[str] = "id",
        columns: Columns = None,
        on_error: OnError = "raise",
        output: str = "kv",
        *,
        flatten: bool = False,
    ) -> None:
        self._keys = names_of(keys) or ()
        self._call = Call(
            by_value(store), "kv_get", names_of(columns), on_error, key=self._keys or None
        )
        self._output = output
        self._flatten = flatten

    def __call__(self, batch: Any) -> pa.Table:
        """The batch with the columns that are added.

        Args:
            batch: A batch of ``batch_format="pyarrow"``. Ray's other formats are taken, too; but they turn
                integers into floats where there are nulls, which are no keys of integers.

        Raises:
            NotFoundError: The store lacks a key.
            InvalidError: The store has no such columns, or nothing says what its key is; or the batch
                lacks the keys, or has a column of a name that is to be added.
        """
        rows = _convert.table(batch)
        answers = self._call.answers(self._keys_of(rows))
        if not self._flatten:
            add_columns(rows.column_names, [self._output], ())
            return rows.append_column(self._output, answers)
        found = dict(zip([field.name for field in answers.type], answers.flatten()))
        for name in add_columns(rows.column_names, list(found), self._keys):
            rows = rows.append_column(name, found[name])
        return rows

    def _keys_of(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        for name in self._keys:
            if name not in rows.column_names:
                there = ", ".join(repr(name) for name in rows.column_names)
                raise InvalidError(f"a batch has no column of keys '{name}'; it has {there}")
        if len(self._keys) == 1:
            return rows.column(self._keys[0])
        parts = rows.select(list(self._keys)).combine_chunks()
        return pa.StructArray.from_arrays(
            [_whole(part) for part in parts.columns], names=list(self._keys)
        )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


class _Worker:
    """An actor with a worker as its child process, which ends when the actor does."""

    def __init__(self, arguments: list[str]) -> None:
        code = "from keyloom.ray import _run_worker; _run_worker()"
        command = [sys.executable, "-c", code, str(os.getpid()), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def exit_code(self) -> int | None:
        """What the worker ended with, if it has."""
        return self._process.poll()

    def stop(self, timeout: float) -> None:
        """Ends the worker: its running tasks may end within the timeout."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _run_worker() -> None:
    """The child of an actor: a worker that gets SIGTERM when its parent is gone."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)
    if os.getppid() == parent:
        worker()


class Workers:
    """Workers that are Ray actors: what :func:`start_workers` returns. ``with`` stops them at its end."""

    def __init__(self, actors: Mapping[str, Any]) -> None:
        self._actors = dict(actors)

    @property
    def names(self) -> list[str]:
        """The names under which the coordinator knows them."""
        return list(self._actors)

    def __len__(self) -> int:
        return len(self._actors)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, timeout: float = 30.0) -> None:
        """Ends the workers: their running tasks may end within the timeout, in seconds."""
        actors = list(self._actors.values())
        self._actors = {}
        if actors:
            stopped = [actor.stop.remote(timeout) for actor in actors]
            # An actor for which there was no room never answers.
            ray.wait(stopped, num_returns=len(stopped), timeout=timeout + 1.0)
        for actor in actors:
            ray.kill(actor)

    def __repr__(self) -> str:
        return f"Workers({', '.join(self._actors) or 'stopped'})"


def start_workers(
    coordinator: str,
    count: int,
    *,
    slots: int | None = None,
    num_cpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    arguments: list[str] | None = None,
    timeout: float = 60.0,
) -> Workers:
    """Starts workers of a Keyloom cluster where Ray finds room for them, one actor each.

    An actor runs the command ``keyloom-worker`` as a child process, which ends with it.

    Args:
        coordinator: The coordinator's address, as the machines of the Ray cluster reach it.
        count: How many workers.
        slots: How many tasks a worker runs at once; as many as ``num_cpus``, and at least one, if not given.
        num_cpus: How many cores Ray sets aside for each; as many as ``slots`` if not given, or one.
        resources: Further resources of Ray that each needs.
        arguments: Further arguments of ``keyloom-worker``, such as ``["--config", "worker.toml"]``.
        timeout: How many seconds they may take to register with the coordinator.

    Returns:
        The workers, all of them registered.

    Raises:
        UnavailableError: Nobody answers at the address, a worker ended, or they have not registered in time;
            those that did start are stopped.

    Example:
        >>> import keyloom
        >>> from keyloom.ray import start_workers
        >>> with start_workers("tcp://10.0.0.5:7700", 4, slots=8):  # doctest: +SKIP
        ...     with keyloom.connect("tcp://10.0.0.5:7700") as session:
        ...         session.workers()
    """
    cpus = float(slots or 1) if num_cpus is None else num_cpus
    slots = max(int(cpus), 1) if slots is None else slots
    actor = ray.remote(num_cpus=cpus, resources=dict(resources or {}))(_Worker)
    group = f"ray-{uuid.uuid4().hex[:8]}"
    common = ["--coordinator", coordinator, "--slots", str(slots), *(arguments or [])]
    actors = {}
    session = connect(coordinator)
    try:
        for number in range(count):
            name = f"{group}-{number}"
            actors[name] = actor.remote([*common, "--name", name])
        _wait_until_registered(session, actors, timeout)
    except BaseException:
        Workers(actors).stop(timeout=0.0)
        raise
    finally:
        session.close()
    return Workers(actors)


def _wait_until_registered(session: Any, actors: Mapping[str, Any], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        registered = {each["name"] for each in session.workers()}
        missing = [name for name in actors if name not in registered]
        if not missing:
            return
        # An actor answers once Ray has found room for it.
        asked = {actors[name].exit_code.remote(): name for name in missing}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0.1)
        for answer in answered:
            code = ray.get(answer)
            if code is not None:
                raise UnavailableError(f"worker '{asked[answer]}' ended with exit code {code}")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{len(missing)} of {len(actors)} workers have not registered within {timeout:g} s: "
                f"{', '.join(missing)}"
            )
        time.sleep(0.1)
