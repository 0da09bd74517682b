"""Clusters that let nobody in whom they do not know."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyloom
import pytest
from keyloom._security import with_security

CLIENTS, WORKERS, STRANGERS = "clients-may-enter", "workers-may-enter", "nobody-knows-this-one"

NOBODY = "tcp://127.0.0.1:1"
"""Nobody listens there, and nobody is asked."""


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CA_FILE", "CERT_FILE", "KEY_FILE", "TOKEN_FILE", "TOKEN"):
        monkeypatch.delenv(f"KEYLOOM_{name}", raising=False)


@pytest.fixture
def guarded(bin_dir: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a coordinator that asks for tokens."""
    env = dict(os.environ)
    for role, token in (("client", CLIENTS), ("worker", WORKERS)):
        path = tmp_path / f"{role}.token"
        path.write_text(f"{token}\n")
        env[f"KEYLOOM_COORDINATOR_SECURITY__TOKENS__{role.upper()}"] = str(path)
    command = [str(bin_dir / "keyloom-coordinator"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as started:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        assert address.startswith("tcp://"), "the coordinator did not start"
        try:
            yield address
        finally:
            started.terminate()


def test_a_token_lets_in_and_is_not_shown(guarded: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{CLIENTS}\n")
    for session in (
        keyloom.connect(guarded, token=CLIENTS),
        keyloom.connect(guarded, token_file=path),
        keyloom.connect(guarded, settings={"security": {"token": CLIENTS}}),
    ):
        with session:
            assert keyloom.workers() == []
            assert repr(session) == f"Session({guarded}, stores: none)"


def test_the_environment_lets_in_and_an_argument_goes_before_it(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text(STRANGERS)
    monkeypatch.setenv("KEYLOOM_TOKEN_FILE", str(path))
    with keyloom.connect(guarded, token=CLIENTS):
        assert keyloom.workers() == []
    with pytest.raises(keyloom.PermissionDeniedError):
        keyloom.connect(guarded)
    monkeypatch.delenv("KEYLOOM_TOKEN_FILE")
    monkeypatch.setenv("KEYLOOM_TOKEN", CLIENTS)
    with keyloom.connect(guarded):
        assert keyloom.workers() == []


@pytest.mark.parametrize("token", [None, STRANGERS, WORKERS])
def test_others_are_kept_out_and_no_token_is_told(guarded: str, token: str | None) -> None:
    with pytest.raises(keyloom.PermissionDeniedError) as refused:
        keyloom.connect(guarded, token=token)
    assert not any(known in str(refused.value) for known in (CLIENTS, WORKERS, STRANGERS))


def test_the_environment_goes_below_settings_and_these_below_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYLOOM_CA_FILE", "environment.pem")
    monkeypatch.setenv("KEYLOOM_KEY_FILE", "")
    monkeypatch.setenv("KEYLOOM_TOKEN", "of the environment")
    assert with_security({}, token=None) == {
        "security": {"ca_file": "environment.pem", "token": "of the environment"}
    }
    settings = {"batch_rows": 8, "security": {"token_file": "settings.token"}}
    assert with_security(settings, token=None, ca_file=Path("argument.pem")) == {
        "batch_rows": 8,
        "security": {"ca_file": "argument.pem", "token_file": "settings.token"},
    }
    assert with_security(settings, token="of an argument")["security"] == {
        "ca_file": "environment.pem",
        "token": "of an argument",
    }
    assert settings == {"batch_rows": 8, "security": {"token_file": "settings.token"}}


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: keyloom.connect(NOBODY, token="x" * 16, token_file="token"),
        "token and token_file both say what the token is; give one of them",
    ),
    (
        lambda: keyloom.connect(NOBODY, token=4711),  # type: ignore[arg-type]
        "token is a str, not int",
    ),
    (
        lambda: keyloom.connect(NOBODY, ca_file=7),  # type: ignore[arg-type]
        "ca_file is the path of a file, not int",
    ),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(keyloom.InvalidError) as refused:
        call()
    assert str(refused.value) == message


def test_an_address_with_tls_needs_an_authority() -> None:
    with pytest.raises(keyloom.InvalidError, match="ca_file"):
        keyloom.connect("tls://127.0.0.1:1")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nope"
    with pytest.raises(keyloom.InvalidError) as refused:
        keyloom.connect(NOBODY, token_file=path)
    assert "token_file" in str(refused.value)
    assert str(path) in str(refused.value)
