"""Functions that make expressions."""

from keyloom.expressions import coalesce, col, lit, struct, when
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get

__all__ = [
    "coalesce",
    "col",
    "kv_batch_get",
    "kv_exists",
    "kv_get",
    "lit",
    "struct",
    "when",
]
