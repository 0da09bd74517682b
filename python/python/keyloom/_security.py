"""By what a cluster is known, and what it is shown: arguments, and the environment under them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from keyloom.exceptions import InvalidError

StrPath: TypeAlias = str | os.PathLike[str]
"""The path of a file."""

_FILES = ("ca_file", "cert_file", "key_file", "token_file")
_VARIABLES = {name: f"KEYLOOM_{name.upper()}" for name in (*_FILES, "token")}
_TOKENS = frozenset(("token", "token_file"))


def with_security(
    settings: Mapping[str, Any], *, token: str | None, **files: StrPath | None
) -> dict[str, Any]:
    """Settings of a session with a section ``security``: the environment, then what the settings have,
    then arguments. A token in whatever form goes before one in the other."""
    own = settings.get("security", {})
    if not isinstance(own, Mapping):
        # What is wrong with it is said by whoever reads settings.
        return dict(settings)
    given: dict[str, Any] = {}
    for source in (_environment(), own, _arguments(token, files)):
        if not _TOKENS.isdisjoint(source):
            given = {name: value for name, value in given.items() if name not in _TOKENS}
        given.update(source)
    return {**settings, "security": given} if given else dict(settings)


def _environment() -> dict[str, str]:
    """What the environment says. A variable that is empty says nothing."""
    said = {name: os.environ.get(variable, "") for name, variable in _VARIABLES.items()}
    return {name: value for name, value in said.items() if value}


def _arguments(token: str | None, files: Mapping[str, StrPath | None]) -> dict[str, str]:
    """What arguments say, as text."""
    said = {name: _path(name, path) for name, path in files.items() if path is not None}
    if token is None:
        return said
    if "token_file" in said:
        raise InvalidError("token and token_file both say what the token is; give one of them")
    # What it is instead may be a secret all the same.
    if not isinstance(token, str):
        raise InvalidError(f"token is a str, not {type(token).__name__}")
    return {**said, "token": token}


def _path(name: str, path: StrPath) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        kind = type(path).__name__
        raise InvalidError(f"{name} is the path of a file, not {kind}") from None
