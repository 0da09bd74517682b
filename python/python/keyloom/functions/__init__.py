"""Functions that make expressions."""

from keyloom.expressions import coalesce, col, get, lit, struct, when
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get

__all__ = [
    "coalesce",
    "col",
    "get",
    "kv_batch_get",
    "kv_exists",
    "kv_get",
    "lit",
    "struct",
    "when",
]
