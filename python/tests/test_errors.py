"""The promises of errors: their classes and kinds, when they come, and what they say."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyloom
import pytest
from keyloom import exceptions
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import load_kv

Call = Callable[[], Any]
Lance = Callable[..., str]


def memory(alias: str, initial_data: Any = None) -> None:
    keyloom.attach(load_kv("memory", name=alias, initial_data=initial_data))


def raised_by(call: Call) -> Exception:
    with pytest.raises(Exception) as raised:
        call()
    return raised.value


def refusal(call: Call) -> tuple[type[Exception], str]:
    """The class and the message of what a call raises."""
    error = raised_by(call)
    return type(error), str(error)


# Classes and kinds.

CLASSES = {
    "InvalidError": ("invalid", ValueError),
    "NotFoundError": ("not_found", ValueError),
    "PermissionDeniedError": ("permission_denied", PermissionError),
    "StoreError": ("store", OSError),
    "UnavailableError": ("unavailable", ConnectionError),
    "CancelledError": ("cancelled", Exception),
    "KeyloomTimeoutError": ("timeout", TimeoutError),
    "ResourceExhaustedError": ("resource_exhausted", MemoryError),
    "InternalError": ("internal", RuntimeError),
}


@pytest.mark.parametrize("name", CLASSES)
def test_each_kind_has_a_class_with_the_bases_of_its_meaning(name: str) -> None:
    kind, base = CLASSES[name]
    error = getattr(keyloom, name)
    assert error.kind == kind
    bases = (keyloom.KeyloomError,) if base is Exception else (keyloom.KeyloomError, base)
    assert error.__bases__ == bases
    assert getattr(exceptions, name) is error
    assert str(error("what went wrong")) == "what went wrong"


def test_only_the_users_own_mistakes_are_value_errors() -> None:
    mistakes = [name for name in CLASSES if issubclass(getattr(keyloom, name), ValueError)]
    assert mistakes == ["InvalidError", "NotFoundError"]


def test_no_error_is_a_key_error() -> None:
    # str of a KeyError puts its message in quotes
    assert not any(issubclass(getattr(keyloom, name), KeyError) for name in CLASSES)


def test_daft_code_catches_every_error() -> None:
    assert keyloom.DaftError is keyloom.DaftCoreException is keyloom.KeyloomError
    assert all(issubclass(getattr(keyloom, name), keyloom.DaftError) for name in CLASSES)
    assert keyloom.KeyloomError.__bases__ == (Exception,)


@pytest.mark.parametrize("name", CLASSES)
def test_errors_can_be_pickled(name: str) -> None:
    error = getattr(keyloom, name)("what went wrong")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.kind) == (type(error), "what went wrong", error.kind)


# Each kind, as it happens.


def test_a_mistake_is_invalid() -> None:
    memory("ages", {"ann": 30})
    error = raised_by(lambda: kv_get("who", columns=["nope"], source="ages"))
    assert isinstance(error, keyloom.InvalidError)
    assert error.kind == "invalid"


def test_a_missing_key_is_not_found_and_caught_by_the_words_of_the_guide() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["eve"]}).select(kv_get("who", source="ages"))
    for caught in (keyloom.NotFoundError, keyloom.DaftError, ValueError):
        with pytest.raises(caught) as raised:
            df.collect()
        assert type(raised.value) is keyloom.NotFoundError
        assert raised.value.kind == "not_found"
        assert str(raised.value) == "Key not found in KV store 'ages': eve"


@pytest.mark.parametrize("on_error", ["raise", "null"])
def test_a_store_that_cannot_be_read_fails_in_both_modes(lance: Lance, on_error: str) -> None:
    uri = lance("people", {"id": [1], "name": ["ann"]})
    keyloom.attach(load_kv("lance", name="people", uri=uri), "who")
    for file in (Path(uri) / "data").iterdir():
        file.write_bytes(b"")
    df = keyloom.from_pydict({"id": [1]}).select(kv_get("id", on_error=on_error, source="who"))
    error = raised_by(df.collect)
    assert isinstance(error, keyloom.StoreError)
    assert isinstance(error, OSError)
    assert error.kind == "store"
    assert "KV store 'who' cannot be read" in str(error)


def test_a_bound_on_memory_is_resource_exhausted() -> None:
    with keyloom.Session(settings={"worker": {"operator_memory_bytes": 1000}}):
        df = keyloom.from_pydict({"x": list(range(100_000))}).sort("x", desc=True).limit(99_999)
        error = raised_by(df.collect)
    assert isinstance(error, keyloom.ResourceExhaustedError)
    assert isinstance(error, MemoryError)
    assert error.kind == "resource_exhausted"


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_cluster_that_is_not_there_is_unavailable(free_port: int) -> None:
    address = f"tcp://127.0.0.1:{free_port}"
    error = raised_by(lambda: keyloom.connect(address))
    assert isinstance(error, keyloom.UnavailableError)
    assert isinstance(error, ConnectionError)
    assert error.kind == "unavailable"
    assert str(error).startswith(f"no coordinator answers at {address}: ")


@pytest.mark.parametrize("address", ["127.0.0.1", "http://127.0.0.1:7700", "tcp://127.0.0.1", ""])
def test_an_address_that_is_none_is_invalid(address: str) -> None:
    error, message = refusal(lambda: keyloom.connect(address))
    assert error is keyloom.InvalidError
    assert message == f"a cluster's address is tcp://HOST:PORT or tls://HOST:PORT, not '{address}'"


# Mistakes are found when an expression is built.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda: kv_get("who", source="nope"),
            keyloom.NotFoundError,
            "KV store 'nope' not found in session (attached: 'ages', 'heights')",
            id="kv_get, no such store",
        ),
        pytest.param(
            lambda: kv_batch_get("who", source="nope"),
            keyloom.NotFoundError,
            "KV store 'nope' not found in session (attached: 'ages', 'heights')",
            id="kv_batch_get, no such store",
        ),
        pytest.param(
            lambda: kv_exists("who", source="nope"),
            keyloom.NotFoundError,
            "KV store 'nope' not found in session (attached: 'ages', 'heights')",
            id="kv_exists, no such store",
        ),
        pytest.param(
            lambda: kv_get("who"),
            keyloom.NotFoundError,
            "No KV store is currently attached to the session",
            id="kv_get, no current store",
        ),
        pytest.param(
            lambda: kv_batch_get("who"),
            keyloom.NotFoundError,
            "No KV store is currently attached to the session",
            id="kv_batch_get, no current store",
        ),
        pytest.param(
            lambda: kv_exists("who"),
            keyloom.NotFoundError,
            "No KV store is currently attached to the session",
            id="kv_exists, no current store",
        ),
        pytest.param(
            lambda: kv_get("who", ["value", "nope"], source="ages"),
            keyloom.InvalidError,
            "column 'nope' not found in KV store 'ages'; it has 'key', 'value'",
            id="no such column",
        ),
        pytest.param(
            lambda: kv_get("who", "nope", source="ages"),
            keyloom.InvalidError,
            "column 'nope' not found in KV store 'ages'; it has 'key', 'value'",
            id="no such column, as a string",
        ),
        pytest.param(
            lambda: kv_batch_get("who", "", source="ages"),
            keyloom.InvalidError,
            "column '' not found in KV store 'ages'; it has 'key', 'value'",
            id="an empty name",
        ),
        pytest.param(
            lambda: kv_get("who", [], source="ages"),
            keyloom.InvalidError,
            "columns names no column of KV store 'ages'; leave it out for all of them",
            id="no columns",
        ),
        pytest.param(
            lambda: kv_get("who", ["value", "value"], source="ages"),
            keyloom.InvalidError,
            "columns names 'value' twice",
            id="a column twice",
        ),
        pytest.param(
            lambda: kv_get("who", source="ages", on_error="ignore"),
            keyloom.InvalidError,
            "on_error is 'raise' or 'null', not 'ignore'",
            id="on_error",
        ),
        pytest.param(
            lambda: kv_exists("who", "Raise", "ages"),
            keyloom.InvalidError,
            "on_error is 'raise' or 'null', not 'Raise'",
            id="on_error in capitals",
        ),
        pytest.param(
            lambda: kv_batch_get("who", batch_size=0, source="ages"),
            keyloom.InvalidError,
            "batch_size must be at least 1, not 0",
            id="batch_size 0",
        ),
        pytest.param(
            lambda: kv_batch_get("who", batch_size=-1, source="ages"),
            keyloom.InvalidError,
            "batch_size must be at least 1, not -1",
            id="batch_size -1",
        ),
        pytest.param(
            lambda: load_kv("redis", name="x"),
            keyloom.InvalidError,
            "KV store type 'redis' is not yet supported; the types are 'lance' and 'memory'",
            id="no such type of store",
        ),
        pytest.param(
            lambda: load_kv("lance", name="x"),
            keyloom.InvalidError,
            "uri is required for Lance KV store",
            id="no uri",
        ),
        pytest.param(
            lambda: load_kv("lance", name="x", uri=""),
            keyloom.InvalidError,
            "KV store 'x' needs a uri",
            id="an empty uri",
        ),
    ],
)
def test_a_mistake_is_found_where_it_is_made(
    call: Call, error: type[Exception], message: str
) -> None:
    memory("ages", {"ann": 30})
    memory("heights", {"ann": 170})
    assert refusal(call) == (error, message)


def test_no_policy_is_refused_like_any_other_word() -> None:
    memory("ages", {"ann": 30})
    error, message = refusal(lambda: kv_get("who", on_error=None, source="ages"))
    assert error is keyloom.InvalidError
    assert message.startswith("on_error is 'raise' or 'null'")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: kv_get(1, source="ages"), id="a key"),
        pytest.param(lambda: kv_get("who", source=1), id="a source"),
        pytest.param(lambda: kv_get("who", columns=[1], source="ages"), id="a column"),
        pytest.param(lambda: kv_batch_get("who", batch_size="1", source="ages"), id="a batch size"),
        pytest.param(lambda: keyloom.attach("ages"), id="a store"),
    ],
)
def test_an_argument_of_another_type_is_a_type_error(call: Call) -> None:
    memory("ages", {"ann": 30})
    assert type(raised_by(call)) is TypeError


def test_the_error_without_stores_says_that_there_are_none() -> None:
    message = "KV store 'nope' not found in session (no store is attached)"
    assert refusal(lambda: kv_get("who", source="nope")) == (keyloom.NotFoundError, message)
    assert refusal(lambda: keyloom.set_kv("nope")) == (keyloom.NotFoundError, message)


# Mistakes are found when a frame is built, before anything runs.


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda df: df.with_column("x", kv_get("nope", source="ages")), id="a lookup"),
        pytest.param(lambda df: df.select("nope"), id="select"),
        pytest.param(lambda df: df.where(df["nope"] == 1), id="where"),
        pytest.param(lambda df: df.sort("nope"), id="sort"),
        pytest.param(lambda df: df.exclude("nope"), id="exclude"),
        pytest.param(lambda df: df.groupby("nope").count(), id="groupby"),
    ],
)
def test_an_unknown_column_is_refused_with_the_columns_there_are(
    build: Callable[[keyloom.DataFrame], Any],
) -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["ann"], "Where.at": ["x"]})
    message = "column 'nope' not found; there are: who, Where.at"
    assert refusal(lambda: build(df)) == (keyloom.InvalidError, message)


def test_a_list_of_keys_for_kv_get_is_refused_with_what_to_use() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": [["ann"]]})
    error, message = refusal(lambda: df.select(kv_get("who", source="ages")))
    assert error is keyloom.InvalidError
    assert message.startswith("kv_get takes one key a row, not List(Utf8")
    assert message.endswith("kv_batch_get takes lists")


def test_an_unknown_field_of_an_answer_is_refused_by_its_name() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["ann"]})
    error, message = refusal(lambda: df.select(kv_get("who", source="ages")["nope"]))
    assert error is keyloom.InvalidError
    assert "nope" in message


def test_sql_refuses_what_the_functions_refuse() -> None:
    memory("ages", {"ann": 30})
    df = keyloom.from_pydict({"who": ["ann"]})
    mistakes = {
        "kv_get(who)": (
            keyloom.NotFoundError,
            "No KV store is currently attached to the session",
        ),
        "kv_get(who, source => 'nope')": (
            keyloom.NotFoundError,
            "KV store 'nope' not found in session (attached: 'ages')",
        ),
        "kv_get(who, sauce => 'ages')": (
            keyloom.InvalidError,
            "kv_get has no argument 'sauce'; it takes row_ids, columns, on_error, source, max_misses",
        ),
        "kv_get(who, source => 'ages', on_error => NULL)": (
            keyloom.InvalidError,
            "on_error is 'raise' or 'null' in quotes, not NULL",
        ),
        "kv_get(who, source => 'ages', columns => ['nope'])": (
            keyloom.InvalidError,
            "column 'nope' not found in KV store 'ages'; it has 'key', 'value'",
        ),
    }
    for call, expected in mistakes.items():
        assert refusal(lambda call=call: keyloom.sql(f"SELECT {call} FROM df", df=df)) == expected


def test_an_unknown_setting_is_refused_with_the_choices() -> None:
    error, message = refusal(lambda: keyloom.Session(settings={"nope": 1}))
    assert error is keyloom.InvalidError
    assert message == (
        "settings: unknown field `nope`, expected one of `workers`, `session`, `coordinator`, "
        "`worker`"
    )


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "nope.parquet"
    error, message = refusal(lambda: keyloom.read_parquet(path))
    assert error is keyloom.NotFoundError
    assert str(path) in message


def test_a_file_of_another_format_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_text("no parquet")
    error, message = refusal(lambda: keyloom.read_parquet(path))
    assert error is keyloom.InvalidError
    assert message.startswith(f"file {path}: ")


# Sessions.


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda session: session.list_kv(), id="list_kv"),
        pytest.param(lambda session: session.current_kv(), id="current_kv"),
        pytest.param(lambda session: session.has_kv("ages"), id="has_kv"),
        pytest.param(lambda session: session.get_kv("ages"), id="get_kv"),
        pytest.param(lambda session: session.set_kv(None), id="set_kv"),
        pytest.param(lambda session: session.detach_kv("ages"), id="detach_kv"),
        pytest.param(lambda session: session.attach(load_kv("memory")), id="attach"),
        pytest.param(lambda session: session.workers(), id="workers"),
    ],
)
def test_a_closed_session_says_that_it_is_closed(call: Callable[[keyloom.Session], Any]) -> None:
    session = keyloom.Session()
    session.close()
    # closing it again does no harm
    session.close()
    assert refusal(lambda: call(session)) == (keyloom.InvalidError, "the session is closed")
    assert repr(session) == "Session(embedded, closed)"


def test_a_session_is_closed_at_the_end_of_its_outermost_with() -> None:
    session = keyloom.Session()
    with session:
        with session:
            memory("ages", {"ann": 30})
        assert keyloom.list_kv() == ["ages"]
    assert isinstance(raised_by(session.list_kv), ValueError)


def test_a_frame_outlives_the_with_of_its_session() -> None:
    with keyloom.Session():
        memory("ages", {"ann": 30})
        df = keyloom.from_pydict({"who": ["ann"]}).select(kv_get("who", "value", source="ages"))
    expected = {"ages": [{"value": 30}]}
    assert df.to_pydict() == expected
    assert df.where("ages IS NOT NULL").to_pydict() == expected
    assert df.collect().limit(1).to_pydict() == expected


def test_an_expression_of_another_session_is_refused() -> None:
    df = keyloom.from_pydict({"who": ["ann"]})
    with keyloom.Session():
        memory("ages", {"ann": 30})
        of_another = kv_get("who", source="ages")
    message = (
        "an expression looks up the stores of another session; build it in the session of the frame"
    )
    for build in (
        lambda: df.with_column("x", of_another),
        lambda: df.select(keyloom.coalesce(of_another["value"], 0)),
        lambda: df.where(of_another.not_null()),
        lambda: df.sort(of_another["value"]),
    ):
        assert refusal(build) == (keyloom.InvalidError, message)


def test_lookups_of_two_sessions_in_one_expression_are_refused() -> None:
    memory("ages", {"ann": 30})
    here = kv_get("who", source="ages")
    with keyloom.Session():
        memory("ages", {"ann": 31})
        there = kv_get("who", source="ages")
    error, message = refusal(lambda: keyloom.coalesce(here, there))
    assert error is keyloom.InvalidError
    assert "session" in message


def test_frames_of_two_sessions_are_not_combined() -> None:
    df = keyloom.from_pydict({"who": ["ann"]})
    with keyloom.Session():
        other = keyloom.from_pydict({"who": ["bob"]})
        expected = (keyloom.InvalidError, "frames of two sessions cannot be combined")
        assert refusal(lambda: df.concat(other)) == expected
        assert refusal(lambda: df.join(other, on="who")) == expected
        assert refusal(lambda: keyloom.sql("SELECT * FROM df", df=df)) == expected


def test_a_column_of_no_session_fits_every_frame() -> None:
    column = keyloom.col("x") + 1
    with keyloom.Session():
        assert keyloom.from_pydict({"x": [1]}).select(column).to_pydict() == {"x": [2]}
    assert keyloom.from_pydict({"x": [2]}).select(column).to_pydict() == {"x": [3]}


def test_what_belongs_to_a_session_is_not_pickled() -> None:
    df = keyloom.from_pydict({"x": [1]})
    for unfit in (keyloom.current_session(), df, df["x"]):
        error, message = refusal(lambda unfit=unfit: pickle.dumps(unfit))
        assert error is TypeError
        assert "cannot be pickled" in message


# Credentials.


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: load_kv("lance", uri="s3://me:pa55word@bucket/x"), id="a store"),
        pytest.param(lambda: keyloom.read("s3://me:pa55word@bucket/x.parquet"), id="an input"),
        pytest.param(
            lambda: keyloom.read("https://127.0.0.1/x.parquet?X-Amz-Signature=pa55word"),
            id="a signed url",
        ),
        pytest.param(
            lambda: load_kv("lance", uri="az://container/x?sig=pa55word"), id="a store's query"
        ),
        pytest.param(
            lambda: load_kv("lance", uri="x", storage_options={"secret": "pa55word"}),
            id="storage options",
        ),
        pytest.param(
            lambda: keyloom.connect("tcp://me:pa55word@127.0.0.1:1"), id="a cluster's address"
        ),
        pytest.param(
            lambda: keyloom.connect("me:pa55word@127.0.0.1:1"), id="an address without a scheme"
        ),
        pytest.param(
            lambda: keyloom.attach(load_kv("lance", uri="ftp://127.0.0.1/x?token=pa55word")),
            id="a store that cannot be opened",
        ),
    ],
)
def test_no_message_holds_a_credential(call: Call) -> None:
    error = raised_by(call)
    assert isinstance(error, keyloom.InvalidError)
    assert "pa55word" not in str(error)
    assert "pa55word" not in repr(error)
