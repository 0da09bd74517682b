"""The work as a script over Lance's own calls: scan the keys, take the rows, realign them."""

import os
from concurrent.futures import ThreadPoolExecutor

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job import EXISTS, ITEM_COLUMNS, KEY, META_COLUMNS, RESULT_COLUMNS, Job

THREADS = os.cpu_count() or 1
# Rows in one take: one call for all of them is slower by a third or more.
TAKE_ROWS = 32 * 1024
# The position of a key that the store does not have.
MISSING = -1


def enrich(job: Job) -> pa.Table:
    """The enriched table."""
    result = pq.read_table(job.requests)
    keys = result[KEY].combine_chunks().dictionary_encode()
    distinct, which = keys.dictionary, keys.indices.to_numpy()
    with ThreadPoolExecutor(THREADS) as threads:
        for store, columns in ((job.items, ITEM_COLUMNS), (job.meta, META_COLUMNS)):
            dataset = lance.dataset(store)
            positions = locate(threads, dataset, distinct)
            values = fetch(threads, dataset, positions, columns, which)
            for column in columns:
                result = result.append_column(column, values[column])
    # The positions are now those of the second store.
    return result.append_column(EXISTS, pa.array(positions[which] != MISSING))


def locate(threads: ThreadPoolExecutor, dataset: lance.LanceDataset, keys: pa.Array) -> np.ndarray:
    """For each key its position in the dataset.

    The hash table is made of the wanted keys, not of the store's: there are fewer of them.
    """
    stored = dataset.to_table(columns=[KEY])[KEY]
    positions = np.full(len(keys), MISSING)
    step = max(1, -(-len(stored) // THREADS))

    def probe(start: int) -> None:
        found = pc.index_in(stored.slice(start, step), value_set=keys).combine_chunks()
        hits = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
        positions[found.drop_null().to_numpy()] = start + hits

    list(threads.map(probe, range(0, len(stored), step)))
    return positions


def fetch(
    threads: ThreadPoolExecutor,
    dataset: lance.LanceDataset,
    positions: np.ndarray,
    columns: list[str],
    which: np.ndarray,
) -> pa.Table:
    """A row for each of `which`, an index into `positions`; nulls where there is no position."""
    order = np.argsort(positions)
    order = order[positions[order] != MISSING]
    wanted = positions[order]
    starts = range(0, len(wanted), TAKE_ROWS)
    parts = threads.map(
        lambda start: dataset.take(wanted[start : start + TAKE_ROWS], columns=columns), starts
    )
    taken = pa.concat_tables(parts).combine_chunks()
    places = np.full(len(positions), MISSING)
    places[order] = np.arange(len(order))
    return taken.take(pa.array(places[which], mask=places[which] == MISSING))


def to_arrow(result: pa.Table) -> pa.Table:
    """The result for comparison with others."""
    return result.select(RESULT_COLUMNS)
