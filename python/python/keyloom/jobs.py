"""Jobs that go on by themselves, what is known of them, and what they have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias

from keyloom import _keyloom
from keyloom.exceptions import (
    CancelledError,
    InternalError,
    InvalidError,
    KeyloomError,
    KeyloomTimeoutError,
    UnavailableError,
)

if TYPE_CHECKING:
    from keyloom.dataframe import DataFrame
    from keyloom.session import Session

__all__ = ["JobHandle", "JobInfo", "JobState", "LogKind", "LogLine", "Written"]

JobState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
"""How a job is. One that is ``"interrupted"`` ended with its coordinator, and can be resumed."""

LogKind: TypeAlias = Literal[
    "submitted",
    "queued",
    "started",
    "stage_begun",
    "stage_done",
    "stage_stopped",
    "attempt_failed",
    "worker_lost",
    "retried",
    "no_worker",
    "misses",
    "committing",
    "committed",
    "refused",
    "resumed",
    "not_resumed",
    "interrupted",
    "cancelled",
    "done",
    "failed",
    "not_shuffled",
]
"""What may happen to a job."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Written(NamedTuple):
    """What was written, all of which can be seen."""

    output: str
    """The path or the URL of the folder, the file or the dataset."""
    rows: int
    """How many rows."""
    bytes: int
    """How many bytes of files."""
    files: int
    """How many files."""
    version: int | None = None
    """The version of a Lance dataset that it made; ``None`` for files."""


@dataclass(frozen=True)
class JobInfo:
    """What is known of a job. Times are in UTC."""

    id: str
    """Its id, a UUID."""
    name: str | None
    """The name that it was given."""
    statement: str | None
    """The statement that it came from, if it was handed in with one."""
    owner: str
    """Whose it is, as its connection said."""
    state: JobState
    """How it is."""
    output: str | None
    """Where its rows go, if workers write them."""
    submitted: datetime
    """When it was handed in."""
    started: datetime | None
    """When it began to run."""
    ended: datetime | None
    """When it ended."""
    tasks: int | None
    """How many tasks are known so far; None where that is not known of a job that was interrupted."""
    tasks_done: int | None
    """How many of these are done; of a job that was interrupted, those that do not run again."""
    workers: int
    """How many workers could take tasks when it was last looked."""
    rows: int | None
    """How many rows it gave or has written, once it is done."""
    written: Written | None
    """What it has written, once all of it can be seen."""
    error: KeyloomError | None = field(compare=False)
    """Why it failed."""


@dataclass(frozen=True)
class LogLine:
    """One thing that happened to a job."""

    number: int
    """Its number in the job's log, from 0 on: it stays when others are left out."""
    at: datetime
    """When it was, in UTC."""
    kind: LogKind
    """What it was."""
    text: str
    """The same for people."""
    stage: int | None
    """The stage that it is about."""
    task: int | None
    """The task of the stage."""
    worker: str | None
    """The name of the worker."""
    left_out: int
    """For how many lines of this kind that are left out this one stands: 0 of one that stands for itself."""

    def __str__(self) -> str:
        at = self.at.isoformat(timespec="milliseconds")
        worker = "" if self.worker is None else f" [{self.worker}]"
        return f"{at}  {self.kind:14}  {self.text}{worker}"


class JobHandle:
    """A job by its id: handed in by ``DataFrame.submit``, or found by ``Session.job``.

    The job goes on when this is gone, unless it was handed in with ``detached=False``: then it is
    cancelled.
    """

    def __init__(
        self, handle: _keyloom.JobHandle, session: Session, engine: _keyloom.Session
    ) -> None:
        self._handle = handle
        # It works on when its session is closed.
        self._session = session
        self._engine = engine
        self._results: DataFrame | None = None

    @property
    def id(self) -> str:
        """Its id, a UUID. In any session of the same client, ``session.job(id)`` finds it."""
        return self._handle.id

    @property
    def state(self) -> JobState:
        """How it is now. The coordinator is asked."""
        return self.info().state

    def info(self) -> JobInfo:
        """What the coordinator knows of it now.

        Raises:
            NotFoundError: It is not known any more.
            UnavailableError: The coordinator is gone.

        Example:
            >>> import keyloom
            >>> with keyloom.Session():
            ...     job = keyloom.from_pydict({"x": [1, 2]}).submit(name="two rows")
            ...     job.wait().state, job.info().name, job.info().rows
            ('done', 'two rows', 2)
        """
        return job_info(self._handle.info())

    def logs(self) -> list[LogLine]:
        """What happened to it, in order: when it was handed in and by whom, when its stages began and ended,
        what went wrong on the way, and how it ended. The coordinator keeps as much of it as
        ``job_log_bytes`` says.

        Raises:
            NotFoundError: It is not known any more.
            UnavailableError: The coordinator is gone.

        Example:
            >>> import keyloom
            >>> with keyloom.Session():
            ...     job = keyloom.from_pydict({"x": [1, 2]}).submit()
            ...     info = job.wait()
            ...     [line.kind for line in job.logs()][:2], job.logs()[-1].text
            (['submitted', 'started'], '2 rows')
        """
        return [
            LogLine(**{**told, "at": _EPOCH + timedelta(milliseconds=told["at"])})
            for told in self._handle.logs()
        ]

    def wait(self, timeout: float | None = None) -> JobInfo:
        """Waits until it is done. A coordinator that is restarted meanwhile is waited for, a minute or
        two. Ctrl-C ends the waiting, and no job that is detached.

        Args:
            timeout: The most seconds to wait; as long as it takes if not given.

        Returns:
            What is known of it then.

        Raises:
            KeyloomTimeoutError: It has not ended by then; it goes on.
            CancelledError: It was cancelled.
            UnavailableError: It ended with its coordinator; ``resume`` goes on with it.
            KeyloomError: Why it failed.
        """
        told = self._handle.wait(timeout)
        if told is None:
            raise KeyloomTimeoutError(f"job {self.id} has not ended within {timeout} s")
        info = job_info(told)
        if info.state != "done":
            raise _failure(info)
        return info

    def cancel(self) -> None:
        """Stops it, and has what it has written removed. Of one that is done, the rows that were not taken
        go; what it has written stays.

        Raises:
            UnavailableError: The coordinator is gone.
        """
        self._handle.cancel()

    def resume(self) -> None:
        """Goes on with it, if it failed or ended with its coordinator before its output could be seen: what
        was written by then is not written again. One that runs stays as it is.

        Raises:
            InvalidError: It cannot be resumed: it is done, was cancelled or was not detached, it has no
                output, it reads rows that came from its client, or the coordinator has no
                ``state_folder``.
            NotFoundError: It is not known any more.
        """
        self._handle.resume()

    def results(self) -> DataFrame:
        """Waits for its rows and takes them, as a frame that is collected. The coordinator gives them once,
        and keeps them for a while only; this keeps the frame.

        Raises:
            InvalidError: Workers write the rows; ``wait().written`` says where. Or another call waits
                for them now.
            NotFoundError: The rows are not there any more.
            KeyloomError: Why it failed.

        Example:
            >>> import keyloom
            >>> with keyloom.Session():
            ...     job = keyloom.from_pydict({"x": [1, 2]}).submit()
            ...     job.results().to_pydict()
            {'x': [1, 2]}
        """
        # Frames know jobs, and not the other way round.
        from keyloom.dataframe import DataFrame

        if self._results is None:
            output = self.info().output
            if output is not None:
                raise InvalidError(
                    f"the rows of job {self.id} are written to {output}; wait() waits for them"
                )
            rows = self._handle.results()
            frame = DataFrame(self._engine.frame_of(rows), self._session, self._engine)
            frame._rows = rows
            self._results = frame
        return self._results

    def __repr__(self) -> str:
        return f"JobHandle(id={self.id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a job belongs to a session and cannot be pickled; session.job(id) finds it elsewhere"
        )


def job_info(told: Mapping[str, Any]) -> JobInfo:
    """What the compiled module knows of a job."""
    output, written = told["output"], told["written"]
    given = {
        **told,
        **{name: _time(told[name]) for name in ("submitted", "started", "ended")},
        "written": None if written is None else Written(output or "", *written),
    }
    return JobInfo(**given)


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _failure(info: JobInfo) -> KeyloomError:
    """Why a job has ended otherwise than it was to."""
    if info.error is not None:
        return info.error
    if info.state == "cancelled":
        return CancelledError(f"job {info.id} was cancelled")
    if info.state == "interrupted":
        return UnavailableError(
            f"the coordinator ended before job {info.id} did; resume() goes on with it"
        )
    return InternalError(f"job {info.id} is {info.state}, and it is not told why")
