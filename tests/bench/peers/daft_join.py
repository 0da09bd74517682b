"""The work as left joins in Daft."""

# daft_lance is what read_lance would import first while the clock runs.
import daft
import daft_lance  # noqa: F401
import lance
import pyarrow as pa
import pyarrow.compute as pc
from daft import DataFrame, col, lit
from daft.functions import monotonically_increasing_id

from job import EXISTS, ITEM_COLUMNS, KEY, META_COLUMNS, RESULT_COLUMNS, Job

ROW = "row"


def enrich(job: Job) -> DataFrame:
    """The enriched table, collected."""
    requests = daft.read_parquet(job.requests).with_column(ROW, monotonically_increasing_id())
    items = read(job.items, ITEM_COLUMNS, job.is_sparse)
    meta = read(job.meta, META_COLUMNS, job.is_sparse).with_column(EXISTS, lit(True))
    joined = (
        requests.join(items, on=KEY, how="left")
        .join(meta, on=KEY, how="left")
        .with_column(EXISTS, col(EXISTS).fill_null(False))
        .collect()
    )
    # A join that builds its hash table of the left side loses the order. To sort a million rows as
    # wide as these costs a second and more, so it is done only where it is needed.
    rows = joined.select(ROW).to_arrow()[ROW].combine_chunks()
    if not pc.all(pc.less(rows[:-1], rows[1:])).as_py():
        joined = joined.sort(ROW).collect()
    return joined


def read(store: str, columns: list[str], is_sparse: bool) -> DataFrame:
    """A store's keys and wanted columns.

    Streaming with Daft's own reader is faster, and takes half the memory, where the joins drop
    nearly all rows. Where most are kept, Lance's scan is faster: it uses all cores on one fragment.
    """
    if is_sparse:
        return daft.read_lance(store).select(KEY, *columns)
    return daft.from_arrow(lance.dataset(store).to_table(columns=[KEY, *columns]))


def to_arrow(result: DataFrame) -> pa.Table:
    """The result for comparison with others."""
    return result.select(*RESULT_COLUMNS).to_arrow()
