"""The work that every peer does."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# The column of the request tables and of the stores that holds the keys.
KEY = "id"
# What is wanted: columns of the first store, a column of the second, and whether the second has it.
ITEM_COLUMNS = ["embedding", "name"]
META_COLUMNS = ["category"]
EXISTS = "exists"
RESULT_COLUMNS = [KEY, *ITEM_COLUMNS, *META_COLUMNS, EXISTS]

# The size that a workload's stores have in their names.
STORES = {"sparse": "5m", "dense": "1m", "skewed": "1m"}


@dataclass(frozen=True)
class Job:
    """A request table to be enriched from two stores; its rows keep their order."""

    data: Path
    workload: str

    @property
    def requests(self) -> str:
        """The request table."""
        return str(self.data / f"{self.workload}.parquet")

    @property
    def items(self) -> str:
        """The store of embeddings and names."""
        return str(self.data / f"items_{STORES[self.workload]}.lance")

    @property
    def meta(self) -> str:
        """The store of categories."""
        return str(self.data / f"meta_{STORES[self.workload]}.lance")

    @cached_property
    def is_sparse(self) -> bool:
        """Whether few of the store's rows are wanted.

        Who writes a join by hand knows this of the data, and chooses engine and order by it.
        """
        import lance
        import pyarrow.parquet as pq

        wanted = pq.read_metadata(self.requests).num_rows
        return wanted * 10 <= lance.dataset(self.items).count_rows()
