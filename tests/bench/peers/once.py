"""One measurement: `once.py DATA WORKLOAD PEER` does the work once and prints figures as JSON."""

import importlib
import json
import resource
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from job import EXISTS, KEY, RESULT_COLUMNS, Job


def main() -> None:
    """Times the work alone: imports stand before it, the comparison after it."""
    data, workload, peer = sys.argv[1:]
    job = Job(Path(data), workload)
    module = importlib.import_module(peer)
    _ = job.is_sparse

    begin = time.perf_counter()
    result = module.enrich(job)
    seconds = time.perf_counter() - begin
    # Linux counts in KiB.
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    table = module.to_arrow(result)
    if table.column_names != RESULT_COLUMNS:
        raise SystemExit(f"{peer}: columns {table.column_names}, not {RESULT_COLUMNS}")
    wanted = pq.read_table(job.requests, columns=[KEY])[KEY]
    if not table[KEY].cast(wanted.type).equals(wanted):
        raise SystemExit(
            f"{peer}: the rows of {workload} are not those of the request table in its order"
        )
    figures = {"seconds": seconds, "peak_bytes": peak_bytes, "rows": len(table)}
    json.dump(figures | {"checksum": checksum(table)}, sys.stdout)


def checksum(table: pa.Table) -> dict[str, int | float]:
    """Figures that are equal for equal tables, however the peer holds them in memory."""
    embedding = table["embedding"].combine_chunks().drop_null()
    floats = embedding.flatten().to_numpy()
    first = floats[:: embedding.type.list_size]
    crc = zlib.crc32(floats.data)
    for column in table.select(["name", "category", EXISTS]).columns:
        # Nulls and lengths count, so that no value can pass for a neighbour's.
        lines = column.cast(pa.string()).fill_null("\0").to_pylist()
        crc = zlib.crc32("\n".join(lines).encode(), crc)
    return {
        "exists": table[EXISTS].to_pylist().count(True),
        "null_embeddings": table["embedding"].null_count,
        "null_names": table["name"].null_count,
        "null_categories": table["category"].null_count,
        "first_floats": round(float(first.sum(dtype=np.float64)), 3),
        "crc32": crc,
    }


if __name__ == "__main__":
    main()
