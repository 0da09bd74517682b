"""Several key-value stores in one frame: what the guide describes, step by step.

Without arguments, all stores are in memory. With the path of a Lance dataset, lookups in it follow:

    python multi_source_kv_demo.py [DATASET [KEY]]

KEY is the dataset's column of keys; without one, the first.
"""

from __future__ import annotations

import sys
import textwrap

import keyloom
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import load_kv


def title(text: str) -> None:
    print(f"\n== {text}")


def attach_stores() -> None:
    title("Stores, attached under aliases")
    users = {
        "user_001": {"name": "Ann", "segment": "premium"},
        "user_002": {"name": "Bob", "segment": "basic"},
    }
    products = {
        "product_101": {"name": "Lamp", "category": "home", "price": 40.0},
        "product_102": {"name": "Mug", "category": "kitchen", "price": 8.5},
    }
    user_vectors = {"user_001": {"vector": [0.1, 0.2]}, "user_002": {"vector": [0.3, 0.4]}}
    product_vectors = {"product_101": {"vector": [0.5, 0.6]}, "product_102": {"vector": [0.7, 0.8]}}
    for alias, data in {
        "user_profiles": users,
        "product_catalog": products,
        "user_embeddings": user_vectors,
        "product_embeddings": product_vectors,
        "inventory": {"product_101": 12},
        "primary_store": {"item_1": "primary 1"},
        "secondary_store": {"item_1": "secondary 1", "item_2": "secondary 2"},
        "categories": {"home": "first floor", "kitchen": "second floor"},
    }.items():
        keyloom.attach(load_kv("memory", name=alias, initial_data=data), alias=alias)
    print(textwrap.fill(", ".join(keyloom.list_kv()), 88))
    print(keyloom.get_kv("product_catalog").schema.names)


def sources() -> None:
    title("Several sources in one frame")
    visits = keyloom.from_pydict(
        {"user_id": ["user_001", "user_002"], "product_id": ["product_102", "product_101"]}
    )
    enriched = (
        visits.with_column("user", kv_get("user_id", source="user_profiles")["name"])
        .with_column("user_vector", kv_get("user_id", source="user_embeddings")["vector"])
        .with_column("product", kv_get("product_id", ["name", "price"], source="product_catalog"))
        .with_column("in_stock", kv_exists("product_id", source="inventory"))
    )
    enriched.select("user", "user_vector", "product", "in_stock").show()


def current_store() -> None:
    title("The current store, which calls without a source mean")
    df = keyloom.from_pydict({"user_id": ["user_002", "user_001"]})
    try:
        kv_get("user_id")
    except ValueError as error:
        print(error)
    keyloom.set_kv("user_profiles")
    current = keyloom.current_kv()
    print(current.name if current else "No current KV set")
    print(df.with_column("segment", kv_get("user_id")["segment"]).to_pydict())
    keyloom.set_kv(None)


def conditions() -> None:
    title("Conditions: a row asks the store of its branch alone")
    df = keyloom.from_pydict(
        {
            "item_id": ["user_001", "product_101", "user_002"],
            "item_type": ["user", "product", "user"],
        }
    )
    vector = (
        keyloom.when(df["item_type"] == "user")
        .then(kv_get("item_id", source="user_embeddings")["vector"])
        .otherwise(kv_get("item_id", source="product_embeddings")["vector"])
    )
    df.with_column("vector", vector).show()


def fallbacks() -> None:
    title("Missing keys and fallbacks")
    df = keyloom.from_pydict({"item_id": ["item_1", "item_2", "missing_item", None]})
    try:
        df.select(kv_get("item_id", source="primary_store")).collect()
    except keyloom.NotFoundError as error:
        print(error)
    df = (
        df.with_column("primary_data", kv_get("item_id", source="primary_store", on_error="null"))
        .with_column("secondary_data", kv_get("item_id", source="secondary_store", on_error="null"))
        .with_column(
            "final_data",
            keyloom.when(keyloom.col("primary_data").is_not_null())
            .then(keyloom.col("primary_data"))
            .otherwise(keyloom.col("secondary_data")),
        )
    )
    df.select("item_id", value=df["final_data"]["value"]).show()
    # The same, with the second store asked for what the first does not hold, and for nothing else.
    either = keyloom.coalesce(
        kv_get("item_id", source="primary_store", on_error="null"),
        kv_get("item_id", source="secondary_store", on_error="null"),
    )
    print(df.select(value=either["value"]).to_pydict())


def lists() -> None:
    title("Lists of keys")
    carts = keyloom.from_pydict(
        {"cart": [1, 2, 3], "product_ids": [["product_102", "product_101"], [], None]}
    )
    products = kv_batch_get("product_ids", ["name"], batch_size=500, source="product_catalog")
    for row in carts.with_column("products", products):
        print(row["cart"], row["products"])


def nested() -> None:
    title("Keys that come from lookups")
    df = keyloom.from_pydict({"product_id": ["product_101", "product_102"]})
    category = kv_get("product_id", source="product_catalog")["category"]
    floor = kv_get(category, source="categories")["value"]
    print(df.select("product_id", floor=floor).to_pydict())


def existence() -> None:
    title("Existence, as a filter and in SQL")
    products = keyloom.from_pydict({"product_id": ["product_101", "product_102", "product_103"]})
    print(products.where(kv_exists("product_id", source="inventory")).to_pydict())
    counted = keyloom.sql("""
        SELECT kv_exists(product_id, source => 'product_catalog') AS known, count(*) AS n
        FROM products GROUP BY known ORDER BY known
    """)
    print(counted.to_pydict())


def without_a_query() -> None:
    title("Lookups without a query")
    catalog = keyloom.get_kv("product_catalog")
    print(catalog.get("product_101"))
    print(catalog.get("product_103", on_error="null"))
    print(catalog.get(["product_102", "product_101"], columns="price").to_pylist())
    print(catalog.exists(["product_101", "product_103"]).to_pylist())


def mistakes() -> None:
    title("Mistakes, which are found before anything runs")
    for wrong in (
        lambda: kv_get("item_id", source="my_store"),
        lambda: kv_get("item_id", columns=["colour"], source="product_catalog"),
        lambda: keyloom.from_pydict({"n": [1]}).select(kv_get("n", source="inventory")),
    ):
        try:
            wrong()
        except keyloom.KeyloomError as error:
            print(textwrap.fill(f"{error.kind}: {error}", 88, subsequent_indent="    "))


def dataset(path: str, key: str | None) -> None:
    title("A Lance dataset")
    store = keyloom.attach(load_kv("lance", name="dataset", uri=path, key=key))
    print(store.schema.names)
    rows = keyloom.read_lance(path).limit(3)
    column = key or store.schema.names[0]
    asked = rows.select(column).with_column("found", kv_exists(column, source="dataset"))
    asked.with_column("row", kv_get(column, source="dataset")).show()


def detach() -> None:
    title("Stores that are not needed any more")
    for alias in keyloom.list_kv():
        keyloom.detach_kv(alias)
    print(keyloom.list_kv(), keyloom.has_kv("inventory"))


def main(path: str | None = None, key: str | None = None) -> None:
    # Aliases belong to a session. Outside of `with`, there is one for the whole process.
    with keyloom.Session():
        attach_stores()
        sources()
        current_store()
        conditions()
        fallbacks()
        lists()
        nested()
        existence()
        without_a_query()
        mistakes()
        if path is not None:
            dataset(path, key)
        detach()


if __name__ == "__main__":
    main(*sys.argv[1:3])
