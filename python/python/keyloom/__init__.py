"""Keyloom weaves key-value stores into dataframes.

A table goes in, each row is enriched from any number of stores under aliases, and the rows come out in
their order: in this process, or on a cluster of workers.

Example:
    >>> import keyloom
    >>> from keyloom.functions.kv import kv_get
    >>> from keyloom.kv import load_kv
    >>> with keyloom.Session():
    ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40}))
    ...     df = keyloom.from_pydict({"who": ["bob", "ann"]})
    ...     df.with_column("age", kv_get("who", source="ages")["value"]).to_pydict()
    {'who': ['bob', 'ann'], 'age': [40, 30]}
"""

from keyloom import functions, kv
from keyloom._keyloom import BUILD as __build__
from keyloom.constructors import (
    from_arrow,
    from_pandas,
    from_polars,
    from_pydict,
    from_pylist,
)
from keyloom.dataframe import DataFrame, Missed
from keyloom.datatype import DataType
from keyloom.exceptions import (
    CancelledError,
    DaftCoreException,
    DaftError,
    InternalError,
    InvalidError,
    KeyloomError,
    KeyloomTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StoreError,
    UnavailableError,
)
from keyloom.expressions import Expression, coalesce, col, lit, struct, when
from keyloom.functions import kv_batch_get, kv_exists, kv_get, kv_get_all
from keyloom.grouped import GroupedDataFrame
from keyloom.io import read, read_csv, read_ipc, read_json, read_lance, read_parquet
from keyloom.jobs import JobHandle, JobInfo, LogLine, Written
from keyloom.kv import load_kv
from keyloom.schema import Schema
from keyloom.session import (
    Session,
    attach,
    attach_kv,
    connect,
    current_kv,
    current_session,
    detach_kv,
    get_kv,
    has_kv,
    list_kv,
    session,
    set_kv,
    workers,
)
from keyloom.sql import sql

__version__ = __build__.partition("+")[0]

__all__ = [
    "CancelledError",
    "DaftCoreException",
    "DaftError",
    "DataFrame",
    "DataType",
    "Expression",
    "GroupedDataFrame",
    "InternalError",
    "InvalidError",
    "JobHandle",
    "JobInfo",
    "KeyloomError",
    "KeyloomTimeoutError",
    "LogLine",
    "Missed",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "Schema",
    "Session",
    "StoreError",
    "UnavailableError",
    "Written",
    "attach",
    "attach_kv",
    "coalesce",
    "col",
    "connect",
    "current_kv",
    "current_session",
    "detach_kv",
    "from_arrow",
    "from_pandas",
    "from_polars",
    "from_pydict",
    "from_pylist",
    "functions",
    "get_kv",
    "has_kv",
    "kv",
    "kv_batch_get",
    "kv_exists",
    "kv_get",
    "kv_get_all",
    "list_kv",
    "lit",
    "load_kv",
    "read",
    "read_csv",
    "read_ipc",
    "read_json",
    "read_lance",
    "read_parquet",
    "session",
    "set_kv",
    "sql",
    "struct",
    "when",
    "workers",
]
