"""What tests share that is no fixture."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORKERS = 3
"""How many workers the cluster has."""


def write_lance(
    bin_dir: Path,
    folder: Path,
    name: str,
    rows: dict[str, Any] | pa.Table,
    rows_per_file: int | None = None,
) -> str:
    """Writes a Lance dataset into a folder, and answers its path."""
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    parquet, dataset = folder / f"{name}.parquet", folder / f"{name}.lance"
    pq.write_table(table, parquet)
    options = [] if rows_per_file is None else ["--rows-per-file", str(rows_per_file)]
    subprocess.run(
        [bin_dir / "make-lance", *options, parquet, dataset],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return str(dataset)
