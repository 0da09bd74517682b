"""Batches for training whose features come from a store: a dataset of keys, and a collate function."""

import pyarrow as pa
from keyloom.kv import load_kv
from keyloom.torch import KVCollate, KVDataset
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

ITEMS = pa.table(
    {
        "item": ["mug", "lamp", "desk", "bowl"],
        "price": [8.5, 40.0, 120.0, None],
        "vector": pa.array(
            [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0], [3.5, 4.0]], pa.list_(pa.float32(), 2)
        ),
    }
)


def main() -> None:
    # With load_kv("lance", uri=…) the rows stay on disk or in object storage.
    store = load_kv("memory", name="items", initial_data=ITEMS, key="item")

    # A dataset of keys. Each batch of indices is one request, in a worker process of the loader.
    dataset = KVDataset(["desk", "mug", "lamp"], store, columns=["price", "vector"])
    batches = BatchSampler(SequentialSampler(dataset), batch_size=2, drop_last=False)
    loader = DataLoader(
        dataset,
        sampler=batches,
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    for batch in loader:
        print(batch["price"].tolist(), batch["vector"].tolist())

    # Samples with labels and keys: the store's columns join them. What is missing is masked.
    clicks = [{"item": "bowl", "label": 1}, {"item": "sofa", "label": 0}]
    collate = KVCollate(store, columns=["price", "vector"], on_error="null", key="item")
    for batch in DataLoader(clicks, batch_size=2, collate_fn=collate):
        print(batch["item"], batch["label"].tolist())
        print(batch["price"].tolist(), batch["price_valid"].tolist())
        print(batch["vector"].tolist(), batch["vector_valid"].tolist())


if __name__ == "__main__":
    main()
