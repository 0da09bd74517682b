"""Lookups in Ray Data, by an actor that opens the store once."""

import pyarrow as pa
import ray
from keyloom.kv import load_kv
from keyloom.ray import KVEnrich


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    # Without this, Ray gives rows as they are ready.
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    ages = {"ann": {"age": 30, "city": "rome"}, "bob": {"age": 40, "city": None}}
    store = load_kv("memory", name="people", initial_data=ages)
    clicks = ray.data.from_arrow(
        [pa.table({"who": ["bob", "ann"]}), pa.table({"who": pa.array([None, "eve"])})]
    )

    nested = clicks.map_batches(
        KVEnrich,
        fn_constructor_kwargs={"store": store, "keys": "who", "on_error": "null"},
        batch_format="pyarrow",
        concurrency=1,
    )
    for row in nested.take_all():
        print(row)

    flat = clicks.map_batches(
        KVEnrich,
        fn_constructor_kwargs={
            "store": store,
            "keys": "who",
            "columns": ["age", "city"],
            "on_error": "null",
            "flatten": True,
        },
        batch_format="pyarrow",
        concurrency=1,
    )
    for row in flat.take_all():
        print(row)


if __name__ == "__main__":
    main()
