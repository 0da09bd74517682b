"""Sessions: where stores are attached and queries run, in this process or on a cluster."""

from __future__ import annotations

import json
import os
import threading
import uuid
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from keyloom import _keyloom
from keyloom._security import StrPath, with_security
from keyloom.exceptions import InvalidError, NotFoundError
from keyloom.jobs import JobHandle, JobInfo, Written, job_info
from keyloom.kv import AttachedKV, ClusterKV, KVStore

if TYPE_CHECKING:
    from keyloom.dataframe import DataFrame

__all__ = [
    "Session",
    "attach",
    "attach_kv",
    "connect",
    "current_kv",
    "current_session",
    "detach_kv",
    "get_kv",
    "has_kv",
    "list_kv",
    "session",
    "set_kv",
    "workers",
]

JoinPath: TypeAlias = Literal["auto", "lookup", "scan"]
"""How joins with stores are made."""

Shuffle: TypeAlias = Literal["never", "auto", "always"]
"""Whether the workers of a cluster shuffle rows among themselves."""

_active: ContextVar[tuple[Session, ...]] = ContextVar("keyloom_sessions", default=())
"""The sessions of the ``with`` around this code, the innermost one last. Threads and tasks have theirs."""

_default: Session | None = None
"""The session of code outside of any ``with``."""


class Session:
    """A catalog of stores and the engine that looks keys up in them.

    A session is its own cluster, in this process, with a worker a core. :func:`connect` makes one whose
    queries run on a cluster. Within ``with`` it is the one that ``keyloom.attach``,
    ``keyloom.from_pydict``, ``kv_get`` and the like mean; outside of any ``with`` they share one of the
    process, which is opened when it is first needed.

    Args:
        workers: How many lookups tasks run at once; one a core if not given.
        join_path: How joins with stores are made: ``"lookup"``, ``"scan"``, or ``"auto"``, the
            cheaper of these, if not given.
        settings: Further settings by their names in settings files, as nested dicts:
            ``{"session": {"batch_rows": 4096}, "worker": {...}, "coordinator": {...}}``.
        catalog: A file with the sections ``[stores.ALIAS]`` and ``[inputs.NAME]`` of a project, as the
            commands use ``keyloom.toml``. What it names is opened when it is first used, but for memory
            stores, which are read at once.

    Raises:
        InvalidError: A setting has a name or a value that is not understood.

    Example:
        >>> import keyloom
        >>> with keyloom.Session(workers=2):
        ...     keyloom.from_pydict({"x": [1, 2]}).count_rows()
        2
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        join_path: JoinPath | None = None,
        settings: Mapping[str, Any] | None = None,
        catalog: StrPath | None = None,
    ) -> None:
        given = dict(settings or {})
        if join_path is not None:
            given["session"] = {**given.get("session", {}), "join_path": join_path}
        if workers is not None:
            if not isinstance(workers, int) or workers < 1:
                raise InvalidError(f"workers is a whole number of at least 1, not {workers!r}")
            given["workers"] = workers
        self._open(_keyloom.Session.embedded(json.dumps(given)), "embedded", catalog)

    @classmethod
    def _connect(
        cls, address: str, settings: Mapping[str, Any] | None, catalog: StrPath | None
    ) -> Session:
        new = cls.__new__(cls)
        session = _keyloom.Session.connect(address, json.dumps(dict(settings or {})))
        new._open(session, address, catalog)
        return new

    def _open(self, session: _keyloom.Session, address: str, catalog: StrPath | None) -> None:
        if catalog is not None:
            session.use_catalog(os.fspath(catalog))
        self._session: _keyloom.Session | None = session
        self._address = address
        self._attached: dict[str, KVStore] = {}
        self._entered = 0
        self._lock = threading.Lock()

    @property
    def _rust(self) -> _keyloom.Session:
        if self._session is None:
            raise InvalidError("the session is closed")
        return self._session

    @property
    def address(self) -> str:
        """Where its queries run: ``"embedded"``, or the coordinator's address."""
        return self._address

    def close(self) -> None:
        """Lets go of the engine, as leaving the last ``with`` of it does. Frames that were made in it
        keep it until they go, too."""
        self._session = None
        self._attached.clear()

    def __enter__(self) -> Session:
        with self._lock:
            # A closed one is not entered again.
            self._rust.list_kv()
            self._entered += 1
        _active.set((*_active.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        around = list(_active.get())
        if self in around:
            del around[len(around) - 1 - around[::-1].index(self)]
        _active.set(tuple(around))
        with self._lock:
            self._entered -= 1
            last = self._entered == 0
        if last:
            self.close()

    def __repr__(self) -> str:
        state = (
            "closed" if self._session is None else f"stores: {', '.join(self.list_kv()) or 'none'}"
        )
        return f"Session({self._address}, {state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session cannot be pickled; open one in the other process")

    def attach(
        self, store: KVStore, alias: str | None = None, *, replace: bool = False
    ) -> AttachedKV:
        """Opens a store once, to learn its columns, and gives it an alias.

        Args:
            store: What :func:`keyloom.kv.load_kv` made.
            alias: The name by which ``source=`` finds it; the store's own name if not given.
            replace: Whether a store under that alias gives way.

        Raises:
            InvalidError: The alias is taken, or is no identifier.
            KeyloomError: The store cannot be opened; the message says why.

        Example:
            >>> import keyloom
            >>> from keyloom.kv import load_kv
            >>> with keyloom.Session() as session:
            ...     ages = session.attach(load_kv("memory", initial_data={"ann": 30}), "ages")
            ...     ages.get("ann"), session.list_kv()
            ({'key': 'ann', 'value': 30}, ['ages'])
        """
        if not isinstance(store, KVStore):
            raise TypeError(f"attach takes a store that load_kv made, not {type(store).__name__}")
        alias = store.name if alias is None else alias
        # A store that the cluster lent gives way.
        if not replace and alias in self._attached:
            raise InvalidError(
                f"KV store '{alias}' is already attached; detach it first, or attach with replace=True"
            )
        self._rust.attach(store._rust(), alias, replace)
        self._attached[alias] = store
        return AttachedKV(self, alias, store)

    attach_kv = attach

    def detach_kv(self, alias: str) -> None:
        """Forgets an alias. Expressions that were built before keep working.

        Raises:
            NotFoundError: Nothing is attached under the alias.
        """
        self._rust.detach_kv(alias)
        self._attached.pop(alias, None)

    def set_kv(self, alias: str | None) -> None:
        """Makes a store the current one, which calls without ``source`` mean; ``None``: no store.

        An expression means the store that is current when it is built; later calls do not change it.

        Raises:
            NotFoundError: Nothing is attached under the alias.
        """
        self._rust.set_kv(alias)

    def current_kv(self) -> AttachedKV | None:
        """The current store, if one was set."""
        alias = self._rust.current_kv()
        return None if alias is None else self.get_kv(alias)

    def has_kv(self, alias: str) -> bool:
        """Whether a store is attached under the alias."""
        return self._rust.has_kv(alias)

    def get_kv(self, alias: str) -> AttachedKV:
        """The store under an alias. One that the session does not have is opened if the cluster's catalog
        has it.

        Raises:
            NotFoundError: Nothing is attached under the alias, and the cluster has no such store.
        """
        # Asks for the alias first, whose error names those that there are.
        self._rust.open_kv(alias)
        store = self._attached.get(alias)
        if store is None:
            store = ClusterKV(alias, self._rust.kind(alias))
        return AttachedKV(self, alias, store)

    def list_kv(self) -> list[str]:
        """The aliases, sorted; among them those of the cluster's stores that were used."""
        return self._rust.list_kv()

    def cluster_catalog(self) -> dict[str, list[str]]:
        """The names that the cluster's catalog offers: its ``"stores"`` and its ``"inputs"``.

        Statements, ``source=`` and :meth:`table` use them as if they were attached; what is attached
        here goes before.

        Raises:
            UnavailableError: The coordinator is gone.

        Example:
            >>> import keyloom
            >>> with keyloom.Session() as session:
            ...     session.cluster_catalog()
            {'stores': [], 'inputs': []}
        """
        stores, inputs = self._rust.cluster_catalog()
        return {"stores": stores, "inputs": inputs}

    def table(self, alias: str) -> DataFrame:
        """The rows of an attached store, or of a store or an input of the cluster's catalog. Joins on a
        store's key become lookups.

        Args:
            alias: The alias of the store, or the name of the input.

        Raises:
            NotFoundError: Nothing is attached under the alias.
            InvalidError: When it is collected: a store of this kind is asked by its keys alone.

        Example:
            >>> import keyloom
            >>> from keyloom.kv import load_kv
            >>> with keyloom.Session() as session:
            ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
            ...     session.table("ages").to_pydict()
            {'key': ['ann'], 'value': [30]}
        """
        # Frames know sessions, and not the other way round.
        from keyloom.dataframe import DataFrame

        if not self.has_kv(alias) and alias not in self.cluster_catalog()["inputs"]:
            self.get_kv(alias)
        return DataFrame(self._rust.table(alias), self)

    def put(self, rows: DataFrame, alias: str) -> Written:
        """Has the workers put rows into an attached Lance store: a row whose key is there replaces the one
        that holds it, and others are added. All of them can be seen when this returns, or none.

        Queries read them from then on; lookups without a query do so after ``refresh()``.

        Args:
            rows: The rows, with the columns of the store.
            alias: The alias of the store.

        Returns:
            Where how much was written, and the dataset's new version.

        Raises:
            NotFoundError: Nothing is attached under the alias.
            InvalidError: It is no Lance store, has no column as its key, or was attached at one version;
                or the rows do not fit it.
            PermissionDeniedError: The workers' settings do not allow to write there.
            KeyloomError: The query fails, or the dataset cannot be written.

        Example:
            >>> import keyloom, pathlib, tempfile
            >>> with keyloom.Session() as session, tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "ages.lance")
            ...     _ = keyloom.from_pydict({"who": ["ann"], "age": [30]}).write_lance(path)
            ...     _ = session.attach(keyloom.load_kv("lance", uri=path, key="who"), "ages")
            ...     changed = keyloom.from_pydict({"who": ["ann", "bob"], "age": [31, 40]})
            ...     session.put(changed, "ages").rows
            ...     session.table("ages").sort("who").to_pydict()
            2
            {'who': ['ann', 'bob'], 'age': [31, 40]}
        """
        from keyloom.dataframe import DataFrame

        if not isinstance(rows, DataFrame):
            raise TypeError(f"the rows are a frame, not a {type(rows).__name__}")
        if rows._engine is not self._rust:
            raise InvalidError("the rows are a frame of another session")
        return rows._write(lambda: rows._frame.put(alias))

    def jobs(self) -> list[JobInfo]:
        """What is known of the jobs that this session may see, the newest first: those that run, and for a
        while those that have ended. Of more than an answer of the coordinator holds, the oldest are left
        out, and a warning says how many.

        Raises:
            UnavailableError: The coordinator is gone.

        Example:
            >>> import keyloom
            >>> with keyloom.Session() as session:
            ...     job = keyloom.from_pydict({"x": [1]}).submit("one row")
            ...     [known.name for known in session.jobs()]
            ['one row']
        """
        jobs, left_out = self._rust.jobs()
        if left_out > 0:
            warnings.warn(
                f"{left_out} older jobs are left out: an answer holds no more "
                "(rpc.max_frame_bytes of the coordinator); session.job(id) finds each",
                stacklevel=2,
            )
        return [job_info(told) for told in jobs]

    def job(self, id: str | uuid.UUID) -> JobHandle:
        """A job that was handed in before, by this program or by another one of the same client.

        Raises:
            InvalidError: The id is no UUID.
            NotFoundError: No such job is known, or not any more.
            PermissionDeniedError: It is another client's.

        Example:
            >>> import keyloom
            >>> with keyloom.Session() as session:
            ...     job = keyloom.from_pydict({"x": [1]}).submit()
            ...     session.job(job.id).results().to_pydict()
            {'x': [1]}
        """
        return JobHandle(self._rust.job(str(id)), self, self._rust)

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are registered: ``id``, ``name``, ``slots``, ``running``, ``draining``.

        Raises:
            UnavailableError: The coordinator is gone.
        """
        return self._rust.workers()


def connect(
    address: str,
    *,
    ca_file: StrPath | None = None,
    cert_file: StrPath | None = None,
    key_file: StrPath | None = None,
    token_file: StrPath | None = None,
    token: str | None = None,
    join_path: JoinPath | None = None,
    shuffle: Shuffle | None = None,
    settings: Mapping[str, Any] | None = None,
    catalog: StrPath | None = None,
) -> Session:
    """A session whose queries run on a cluster.

    What is not said by an argument or in ``settings["security"]``, the environment may say:
    ``KEYLOOM_CA_FILE``, ``KEYLOOM_CERT_FILE``, ``KEYLOOM_KEY_FILE``, ``KEYLOOM_TOKEN_FILE`` and
    ``KEYLOOM_TOKEN``, as for the commands.

    Args:
        address: Where the coordinator listens, as in ``"tcp://10.0.0.5:7700"``, or
            ``"tls://10.0.0.5:7700"`` if it has a certificate.
        ca_file: The certificates of the authorities that are believed, in PEM; needed for ``tls://``.
        cert_file: A certificate that is shown to the cluster, in PEM.
        key_file: The key of that certificate, in PEM.
        token_file: A file with a token that the cluster knows. It is proved to be known, and not sent.
        token: The token itself. It is shown nowhere.
        join_path: How joins with stores are made, as for :class:`Session`.
        shuffle: Whether its workers shuffle rows among themselves, for groups, joins and windows:
            ``"never"`` (if not given), ``"always"``, or ``"auto"``: where an input is large. Rows that
            are shuffled come in the order of a query's ``sort`` or ``ORDER BY``, and in no other.
        settings: Settings of the session by their names in settings files, also as a section
            ``session``, as for :class:`Session`.
        catalog: A file that names stores and inputs of a project, as for :class:`Session`.

    Raises:
        UnavailableError: Nobody answers there.
        PermissionDeniedError: The coordinator lets in nobody without a certificate or a token that it knows.
        InvalidError: The coordinator is of another build, a file does not do, or the address and what is
            given do not go together.

    Example:
        >>> with keyloom.connect("tcp://127.0.0.1:7700") as session:  # doctest: +SKIP
        ...     session.workers()
        >>> keyloom.connect(  # doctest: +SKIP
        ...     "tls://10.0.0.5:7700", ca_file="ca.pem", token_file="token"
        ... )
        Session(tls://10.0.0.5:7700, stores: none)
    """
    # A settings file has its session's in a section; other sections are of its daemons.
    section = (settings or {}).get("session")
    own = {**section} if isinstance(section, Mapping) and len(settings or {}) == 1 else settings
    given = with_security(
        own or {},
        token=token,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        token_file=token_file,
    )
    if join_path is not None:
        given["join_path"] = join_path
    if shuffle is not None:
        given["shuffle"] = shuffle
    return Session._connect(address, given, catalog)


def current_session() -> Session:
    """The session of the innermost ``with``, or the one of the process.

    Example:
        >>> import keyloom
        >>> with keyloom.Session() as opened:
        ...     keyloom.current_session() is opened
        True
    """
    for session in reversed(_active.get()):
        if session._session is not None:
            return session
    return process_session()


def process_session() -> Session:
    """The session of code outside of any ``with``."""
    global _default
    if _default is None or _default._session is None:
        _default = Session()
    return _default


def session() -> Session:
    """The same as :func:`current_session`.

    Example:
        >>> import keyloom
        >>> keyloom.session() is keyloom.current_session()
        True
    """
    return current_session()


def attach(store: KVStore, alias: str | None = None, *, replace: bool = False) -> AttachedKV:
    """Attaches a store to the current session: :meth:`Session.attach`.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     keyloom.attach(load_kv("memory", initial_data={"ann": 30}), alias="ages")
        AttachedKV(alias='ages', store=MemoryKV(name='memory', rows=1))
    """
    return current_session().attach(store, alias, replace=replace)


attach_kv = attach


def detach_kv(alias: str) -> None:
    """Forgets an alias of the current session: :meth:`Session.detach_kv`.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages"))
        ...     keyloom.detach_kv("ages")
        ...     keyloom.list_kv()
        []
    """
    current_session().detach_kv(alias)


def set_kv(alias: str | None) -> None:
    """Sets or clears the current store of the current session: :meth:`Session.set_kv`.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", initial_data={"ann": 30}), alias="ages")
        ...     keyloom.set_kv("ages")
        ...     df = keyloom.from_pydict({"who": ["ann"]})
        ...     df.with_column("age", keyloom.kv_get("who")["value"]).to_pydict()
        {'who': ['ann'], 'age': [30]}
    """
    current_session().set_kv(alias)


def current_kv() -> AttachedKV | None:
    """The current store of the current session, if one was set.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages"))
        ...     keyloom.set_kv("ages")
        ...     keyloom.current_kv().name
        'ages'
    """
    return current_session().current_kv()


def has_kv(alias: str) -> bool:
    """Whether the current session has a store under the alias.

    Example:
        >>> import keyloom
        >>> with keyloom.Session():
        ...     keyloom.has_kv("ages")
        False
    """
    return current_session().has_kv(alias)


def get_kv(alias: str) -> AttachedKV:
    """The store under an alias of the current session: :meth:`Session.get_kv`.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
        ...     keyloom.get_kv("ages").schema.names
        ['key', 'value']
    """
    return current_session().get_kv(alias)


def source_kv(alias: str | None) -> AttachedKV:
    """The store that a call means: the one under an alias of the current session, or its current one.

    Raises:
        NotFoundError: Nothing is attached under the alias, or no store is current.
    """
    store = current_kv() if alias is None else get_kv(alias)
    if store is None:
        raise NotFoundError("No KV store is currently attached to the session")
    return store


def list_kv() -> list[str]:
    """The aliases of the current session, sorted.

    Example:
        >>> import keyloom
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     for name in ("users", "ages"):
        ...         _ = keyloom.attach(load_kv("memory", name=name))
        ...     keyloom.list_kv()
        ['ages', 'users']
    """
    return current_session().list_kv()


def workers() -> list[dict[str, Any]]:
    """The workers of the current session: :meth:`Session.workers`.

    Example:
        >>> import keyloom
        >>> with keyloom.Session(workers=1):
        ...     _ = keyloom.from_pydict({"x": [1]}).collect()
        ...     [(worker["slots"], worker["draining"]) for worker in keyloom.workers()]
        [(1, False)]
    """
    return current_session().workers()
