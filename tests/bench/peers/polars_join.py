"""The work as left joins in Polars."""

# lance and pyarrow are what scan_lance would import while the clock runs.
import lance  # noqa: F401
import polars as pl
import pyarrow as pa

from job import EXISTS, ITEM_COLUMNS, KEY, META_COLUMNS, RESULT_COLUMNS, Job

ROW = "row"


def enrich(job: Job) -> pl.DataFrame:
    """The enriched table, collected."""
    requests = pl.scan_parquet(job.requests)
    items = pl.scan_lance(job.items).select(KEY, *ITEM_COLUMNS)
    meta = (
        pl.scan_lance(job.meta).select(KEY, *META_COLUMNS).with_columns(pl.lit(True).alias(EXISTS))
    )
    exists = pl.col(EXISTS).fill_null(False)
    if job.is_sparse:
        # Free to build its hash table of the few requests, the streaming engine takes half the
        # time and memory of any join that keeps the order; the sort of few rows costs little.
        joined = (
            requests.with_row_index(ROW)
            .join(items, on=KEY, how="left")
            .join(meta, on=KEY, how="left")
        )
        return joined.with_columns(exists).sort(ROW).drop(ROW).collect(engine="streaming")
    joined = requests.join(items, on=KEY, how="left", maintain_order="left")
    joined = joined.join(meta, on=KEY, how="left", maintain_order="left")
    # Where most rows are kept, the in-memory engine is faster by a third.
    return joined.with_columns(exists).collect(engine="in-memory")


def to_arrow(result: pl.DataFrame) -> pa.Table:
    """The result for comparison with others."""
    return result.select(RESULT_COLUMNS).to_arrow()
