"""Lookups as Daft expressions: two stores, a choice between them by row, and a fallback."""

import daft
import keyloom.daft
from keyloom.daft import kv_batch_get, kv_exists, kv_get, load_kv


def main() -> None:
    # Adds daft.attach for stores, daft.set_kv, daft.when and so on, for this process.
    keyloom.daft.install()
    users = {"user_001": {"name": "ann", "age": 30}, "user_002": {"name": "bob", "age": 40}}
    products = {"product_101": {"name": "lamp", "age": 1}}
    daft.attach(load_kv("memory", name="users", initial_data=users))
    daft.attach(load_kv("memory", name="products", initial_data=products))
    daft.set_kv("users")

    df = daft.from_pydict(
        {
            "item_id": ["user_001", "product_101", "user_002"],
            "item_type": ["user", "product", "user"],
            "friends": [["user_002"], [], None],
        }
    )

    # Each store is asked for the rows alone that take its branch: no key is missing.
    name = (
        daft.when(df["item_type"] == "user")
        .then(kv_get("item_id")["name"])
        .otherwise(kv_get("item_id", source="products")["name"])
    )
    print(df.select("item_id", name.alias("name")).to_pydict())

    # A missing key is an error, unless it may be a null.
    known = df.select(
        kv_get("item_id", "age", on_error="null").alias("age"),
        kv_exists("item_id").alias("known"),
        kv_batch_get("friends", "name").alias("friends"),
    )
    print(known.to_pydict())
    try:
        df.select(kv_get("item_id")).collect()
    except keyloom.KeyloomError as error:
        print(error)


if __name__ == "__main__":
    main()
