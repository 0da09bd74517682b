"""The work as lookups in Keyloom's Python package."""

import keyloom
import pyarrow as pa
from keyloom.functions.kv import kv_exists, kv_get
from keyloom.kv import load_kv

from job import EXISTS, ITEM_COLUMNS, KEY, META_COLUMNS, RESULT_COLUMNS, Job


def enrich(job: Job) -> pa.Table:
    """The enriched table, as pyarrow has it."""
    keyloom.attach(load_kv("lance", name="items", uri=job.items, key=KEY))
    keyloom.attach(load_kv("lance", name="meta", uri=job.meta, key=KEY))
    item = kv_get(KEY, source="items", columns=ITEM_COLUMNS, on_error="null")
    meta = kv_get(KEY, source="meta", columns=META_COLUMNS, on_error="null")
    requests = keyloom.read_parquet(job.requests)
    columns = {name: item[name] for name in ITEM_COLUMNS}
    columns |= {name: meta[name] for name in META_COLUMNS}
    return requests.select(KEY, **columns, **{EXISTS: kv_exists(KEY, source="meta")}).to_arrow()


def to_arrow(result: pa.Table) -> pa.Table:
    """The result for comparison with others."""
    return result.select(RESULT_COLUMNS)
