"""Lookups in Polars, in eager and in lazy frames."""

import keyloom
import keyloom.polars  # gives frames the namespace `keyloom`
import polars as pl
from keyloom.kv import load_kv


def main() -> None:
    people = {"ann": {"age": 30, "city": "rome"}, "bob": {"age": 40, "city": None}}
    keyloom.attach(load_kv("memory", name="people", initial_data=people))
    clicks = pl.DataFrame({"who": ["bob", "eve", "ann"], "day": [1, 1, 2]})

    found = clicks.keyloom.kv_get("who", ["age"], on_error="null", source="people")
    print(found.to_dict(as_series=False))

    # Polars filters first, so that no key is asked for of rows that go; eve is no error here.
    query = clicks.lazy().keyloom.kv_get("who", source="people").filter(pl.col("day") == 2)
    print(query.collect_schema())
    print(query.unnest("people").collect().to_dict(as_series=False))

    known = clicks.lazy().keyloom.kv_exists("who", source="people", output="known")
    print(known.collect().to_dict(as_series=False))


if __name__ == "__main__":
    main()
