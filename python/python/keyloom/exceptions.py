"""What can go wrong, as exceptions.

Every error of Keyloom is a :class:`KeyloomError` with a ``kind``, the same word that programs in other
languages and the command line see. The user's own mistakes are ``ValueError``, too.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CancelledError",
    "DaftCoreException",
    "DaftError",
    "InternalError",
    "InvalidError",
    "KeyloomError",
    "KeyloomTimeoutError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "StoreError",
    "UnavailableError",
]


class KeyloomError(Exception):
    """An error of Keyloom. ``kind`` says what the caller can do about it."""

    kind: ClassVar[str] = "internal"


class InvalidError(KeyloomError, ValueError):
    """The request is wrong and will stay wrong: change it."""

    kind = "invalid"


class NotFoundError(KeyloomError, ValueError):
    """Something that the request names does not exist: a store, a file, a key."""

    kind = "not_found"


class PermissionDeniedError(KeyloomError, PermissionError):
    """Whoever asks may not have that: the settings of a worker or a coordinator do not allow it."""

    kind = "permission_denied"


class StoreError(KeyloomError, OSError):
    """A store or an input could not be read; trying again may help."""

    kind = "store"


class UnavailableError(KeyloomError, ConnectionError):
    """A coordinator or its workers are not there; trying again may help."""

    kind = "unavailable"


class CancelledError(KeyloomError):
    """The job was cancelled."""

    kind = "cancelled"


class KeyloomTimeoutError(KeyloomError, TimeoutError):
    """A bound on waiting was reached; trying again may help."""

    kind = "timeout"


class ResourceExhaustedError(KeyloomError, MemoryError):
    """A bound on memory, disk or size was reached."""

    kind = "resource_exhausted"


class InternalError(KeyloomError, RuntimeError):
    """A defect of Keyloom itself."""

    kind = "internal"


DaftError = DaftCoreException = KeyloomError
"""The names under which code written for Daft catches errors."""
