"""Functions that make expressions."""

from keyloom.expressions import coalesce, col, get, lit, struct, when
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get, kv_get_all

__all__ = [
    "coalesce",
    "col",
    "get",
    "kv_batch_get",
    "kv_exists",
    "kv_get",
    "kv_get_all",
    "lit",
    "struct",
    "when",
]
