"""Stores in PyTorch: rows as tensors, batches with one request, and workers of a DataLoader."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")

import keyloom  # noqa: E402
from keyloom.kv import KVStore, load_kv  # noqa: E402
from keyloom.torch import KVCollate, KVDataset  # noqa: E402
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "examples" / "torch_loader.py"
TIMEOUT = 60


def store_of(columns: dict[str, Any], key: Any = "id") -> KVStore:
    return load_kv("memory", name="items", initial_data=pa.table(columns), key=key)


def same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compares names, their order, types, shapes and values."""
    assert list(got) == list(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert got[name].dtype == value.dtype, name
            assert got[name].shape == value.shape, name
            assert torch.equal(got[name], value), name
        else:
            assert got[name] == value, name


def message_of(error: type[Exception], function: Callable[[], Any]) -> str:
    with pytest.raises(error) as raised:
        function()
    return str(raised.value)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys each request to a store asked for."""
    asked: list[int] = []
    whole = keyloom._embed.Call.answers

    def answers(self: Any, keys: Any) -> Any:
        asked.append(len(keys))
        return whole(self, keys)

    monkeypatch.setattr(keyloom._embed.Call, "answers", answers)
    return asked


# Types.


@pytest.mark.parametrize(
    ("arrow", "values", "tensor"),
    [
        (pa.int8(), [1, -2], torch.tensor([1, -2], dtype=torch.int8)),
        (pa.int16(), [1, -2], torch.tensor([1, -2], dtype=torch.int16)),
        (pa.int32(), [1, -2], torch.tensor([1, -2], dtype=torch.int32)),
        (pa.int64(), [1, -2], torch.tensor([1, -2])),
        (pa.uint8(), [1, 255], torch.tensor([1, 255], dtype=torch.uint8)),
        (pa.uint16(), [1, 65535], torch.tensor([1, 65535], dtype=torch.int32)),
        (pa.uint32(), [1, 2**32 - 1], torch.tensor([1, 2**32 - 1])),
        (pa.uint64(), [1, 2**63 - 1], torch.tensor([1, 2**63 - 1])),
        (pa.float32(), [0.5, -1.5], torch.tensor([0.5, -1.5])),
        (pa.float64(), [0.5, -1.5], torch.tensor([0.5, -1.5], dtype=torch.float64)),
        (pa.bool_(), [True, False], torch.tensor([True, False])),
        (pa.list_(pa.int64(), 2), [[1, 2], [3, 4]], torch.tensor([[1, 2], [3, 4]])),
        (
            pa.list_(pa.list_(pa.float32(), 2), 1),
            [[[1.0, 2.0]], [[3.0, 4.0]]],
            torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]),
        ),
        (pa.string(), ["a", "b"], ["a", "b"]),
        (pa.list_(pa.int64()), [[1], []], [[1], []]),
        (pa.struct([("x", pa.int64())]), [{"x": 1}, None], [{"x": 1}, None]),
    ],
    ids=str,
)
def test_columns_become_tensors_or_lists(arrow: pa.DataType, values: Any, tensor: Any) -> None:
    store = store_of({"id": [1, 2], "x": pa.array(values, arrow)})
    dataset = KVDataset([1, 2], store, columns="x")
    same(dataset[[0, 1]], {"x": tensor})
    same(dataset[1], {"x": tensor[1]})
    same(dataset[[]], {"x": tensor[:0]})


def test_dictionaries_are_decoded() -> None:
    numbers = pa.array([5, 6, 5]).dictionary_encode()
    words = pa.array(["a", "b", None]).dictionary_encode()
    dataset = KVDataset([3, 1], store_of({"id": [1, 2, 3], "n": numbers, "w": words}))
    expected = {"id": torch.tensor([3, 1]), "n": torch.tensor([5, 5]), "w": [None, "a"]}
    same(dataset[[0, 1]], expected)


def test_an_unsigned_integer_that_does_not_fit_is_refused() -> None:
    dataset = KVDataset([1], store_of({"id": [1], "u": pa.array([2**63], pa.uint64())}))
    refused = message_of(keyloom.InvalidError, lambda: dataset[0])
    assert refused.startswith("column 'u' does not fit signed integers")


def test_tensors_share_no_memory_with_the_store() -> None:
    dataset = KVDataset([1, 2], store_of({"id": [1, 2], "x": [0.5, 1.5]}), columns="x")
    batch = dataset[[0, 1]]
    batch["x"] *= 2
    assert batch["x"].tolist() == [1.0, 3.0]
    assert dataset[[0, 1]]["x"].tolist() == [0.5, 1.5]


# Nulls and missing keys.

WITH_NULLS = {
    "id": [1, 2, 3],
    "x": [10, None, 30],
    "flag": [True, False, None],
    "v": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "s": ["a", None, "c"],
}


def test_nulls_are_masked_and_filled_with_zeros_under_null() -> None:
    dataset = KVDataset([3, None, 2, 9], store_of(WITH_NULLS), on_error="null")
    valid = torch.tensor([True, False, False, False])
    expected = {
        "id": torch.tensor([3, 0, 2, 0]),
        "id_valid": torch.tensor([True, False, True, False]),
        "x": torch.tensor([30, 0, 0, 0]),
        "x_valid": valid,
        "flag": torch.tensor([False, False, False, False]),
        "flag_valid": torch.tensor([False, False, True, False]),
        "v": torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
        "v_valid": valid,
        "s": ["c", None, None, None],
    }
    same(dataset[[0, 1, 2, 3]], expected)
    same(dataset[3], {name: values[3] for name, values in expected.items()})


def test_masks_are_there_without_nulls_too() -> None:
    dataset = KVDataset([1], store_of(WITH_NULLS), columns=["x", "s"], on_error="null")
    expected = {"x": torch.tensor([10]), "x_valid": torch.tensor([True]), "s": ["a"]}
    same(dataset[[0]], expected)


def test_a_null_under_raise_is_an_error_that_names_the_column() -> None:
    dataset = KVDataset([1, 2], store_of(WITH_NULLS), columns=["id", "x"])
    refused = message_of(keyloom.InvalidError, lambda: dataset[[0, 1]])
    assert refused == (
        "column 'x' is null in 1 of 2 rows; on_error='null' gives 0 there, and a mask 'x_valid'"
    )


def test_a_null_within_a_list_is_an_error_in_both_modes() -> None:
    vectors = pa.array([[1.0, None]], pa.list_(pa.float32(), 2))
    for on_error in ("raise", "null"):
        dataset = KVDataset([1], store_of({"id": [1], "v": vectors}), on_error=on_error)
        refused = message_of(keyloom.InvalidError, lambda: dataset[0])  # noqa: B023
        assert refused == "column 'v' has lists with nulls in them"


def test_a_mask_that_has_the_name_of_a_column_is_an_error() -> None:
    store = store_of({"id": [1], "x": [1], "x_valid": [1]})
    dataset = KVDataset([1], store, columns=["x", "x_valid"], on_error="null")
    refused = message_of(keyloom.InvalidError, lambda: dataset[0])
    assert refused == "the mask of column 'x' has the name of column 'x_valid'"


def test_a_missing_key_under_raise_is_named() -> None:
    dataset = KVDataset([1, 7], store_of(WITH_NULLS), columns="id")
    refused = message_of(keyloom.NotFoundError, lambda: dataset[[0, 1]])
    assert refused == "Key not found in KV store 'items': 7"
    same(dataset[0], {"id": torch.tensor(1)})


# Datasets.


@pytest.mark.parametrize(
    "keys",
    [
        [2, 1],
        pa.array([2, 1]),
        torch.tensor([2, 1]),
        [torch.tensor(2), 1],
        pa.chunked_array([[2], [1]]),
    ],
    ids=lambda keys: type(keys).__name__,
)
def test_keys_of_many_kinds(keys: Any) -> None:
    dataset = KVDataset(keys, store_of({"id": [1, 2], "x": [10, 20]}))
    assert len(dataset) == 2
    same(dataset[0], {"id": torch.tensor(2), "x": torch.tensor(20)})
    same(dataset[-1], {"id": torch.tensor(1), "x": torch.tensor(10)})


def test_composite_keys() -> None:
    store = store_of({"a": [1, 1], "b": ["x", "y"], "v": [5, 6]}, key=["a", "b"])
    dataset = KVDataset([{"a": 1, "b": "y"}, {"a": 1, "b": "x"}], store, columns="v")
    same(dataset[[0, 1]], {"v": torch.tensor([6, 5])})


def test_a_batch_is_one_request(counted: list[int]) -> None:
    dataset = KVDataset([1, 2, 3], store_of({"id": [1, 2, 3], "x": [10, 20, 30]}), columns="x")
    rows = dataset.__getitems__([2, 0, 2])
    assert [row["x"].tolist() for row in rows] == [30, 10, 30]
    assert dataset[[1, 2]]["x"].tolist() == [20, 30]
    assert dataset[torch.tensor([0, 1])]["x"].tolist() == [10, 20]
    assert dataset[torch.tensor(2)]["x"].tolist() == 30
    assert counted == [3, 2, 2, 1]


def test_an_index_that_is_not_there_ends_iteration() -> None:
    dataset = KVDataset([1, 2], store_of({"id": [1, 2]}))
    assert [row["id"].item() for row in dataset] == [1, 2]
    for index in (2, -3):
        refused = message_of(IndexError, lambda: dataset[index])  # noqa: B023
        assert refused == f"there is no key {index}; there are 2"


def test_transform_gets_rows_and_batches() -> None:
    store = store_of({"id": [1, 2], "x": [10, 20]})
    dataset = KVDataset([1, 2], store, transform=lambda columns: (columns["x"] + 1).tolist())
    assert (dataset[0], dataset[[1, 0]], dataset.__getitems__([1, 0])) == (11, [21, 11], [21, 11])


def test_a_store_of_a_session_keeps_its_alias() -> None:
    attached = keyloom.attach(store_of({"id": [1]}), alias="of_session")
    dataset = KVDataset([1, 2], attached)
    same(pickle.loads(pickle.dumps(dataset))[0], {"id": torch.tensor(1)})
    refused = message_of(keyloom.NotFoundError, lambda: dataset[1])
    assert refused == "Key not found in KV store 'of_session': 2"


def test_what_is_no_store_is_refused() -> None:
    refused = message_of(TypeError, lambda: KVDataset([1], {"a": 1}))  # type: ignore[arg-type]
    assert refused == "a store is what load_kv or attach returned, not dict"


# Collate functions.


def test_collate_of_keys() -> None:
    collate = KVCollate(store_of({"id": [1, 2], "x": [10, 20]}))
    same(collate([2, 2, 1]), {"id": torch.tensor([2, 2, 1]), "x": torch.tensor([20, 20, 10])})
    same(collate([torch.tensor(1)]), {"id": torch.tensor([1]), "x": torch.tensor([10])})


def test_collate_of_samples_adds_the_columns_of_the_store(counted: list[int]) -> None:
    collate = KVCollate(store_of({"id": [1, 2], "x": [10, 20]}), key="id")
    batch = collate([{"id": 2, "label": 0.5, "text": "b"}, {"id": 1, "label": 1.5, "text": "a"}])
    expected = {
        "id": torch.tensor([2, 1]),
        "label": torch.tensor([0.5, 1.5], dtype=torch.float64),
        "text": ["b", "a"],
        "x": torch.tensor([20, 10]),
    }
    same(batch, expected)
    assert counted == [2]


def test_collate_of_composite_keys() -> None:
    store = store_of({"a": [1, 1], "b": ["x", "y"], "v": [5, 6]}, key=["a", "b"])
    batch = KVCollate(store, key=["a", "b"])([{"a": torch.tensor(1), "b": "y"}])
    same(batch, {"a": torch.tensor([1]), "b": ["y"], "v": torch.tensor([6])})


def test_collate_refuses_samples_that_do_not_fit() -> None:
    store = store_of({"id": [1], "x": [10]})
    samples = [{"id": 1, "x": 0}]
    assert message_of(keyloom.InvalidError, lambda: KVCollate(store)(samples)) == (
        "samples are dicts; key= says which field is the key"
    )
    assert message_of(keyloom.InvalidError, lambda: KVCollate(store, key="who")(samples)) == (
        "samples have no field 'who'; they have 'id', 'x'"
    )
    assert message_of(keyloom.InvalidError, lambda: KVCollate(store, key="id")(samples)) == (
        "there is a column 'x' already, and the store has one; "
        "columns= says which of the store's are wanted"
    )


# Loaders.

ROWS = {"id": [0, 1, 2, 3, 4], "x": [0, 10, 20, 30, 40]}
BATCHES = [[0, 10], [20, 30], [40]]


@pytest.mark.parametrize("kind", ["memory", "lance"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_of_a_loader(kind: str, method: str, lance: Callable[..., str]) -> None:
    if kind == "memory":
        store: KVStore = store_of(ROWS)
    else:
        store = load_kv("lance", name="items", uri=lance("items", ROWS), key="id")
    dataset = KVDataset(ROWS["id"], store)
    if method == "spawn":
        # What the parent has opened is no use to its children.
        assert dataset[1]["x"].item() == 10
    workers = {"num_workers": 2, "multiprocessing_context": method, "timeout": TIMEOUT}
    batches = BatchSampler(SequentialSampler(dataset), 2, drop_last=False)
    by_sampler = DataLoader(dataset, sampler=batches, batch_size=None, **workers)
    assert [batch["x"].tolist() for batch in by_sampler] == BATCHES
    samples = [{"id": key} for key in ROWS["id"]]
    collate = KVCollate(store, key="id")
    by_collate = DataLoader(samples, batch_size=2, collate_fn=collate, **workers)
    assert [batch["x"].tolist() for batch in by_collate] == BATCHES


def test_a_loader_of_rows_collates_them_as_ever() -> None:
    dataset = KVDataset([1, 9], store_of(WITH_NULLS), columns=["x", "v"], on_error="null")
    (batch,) = DataLoader(dataset, batch_size=2)
    same(batch, dataset[[0, 1]])


def test_the_example() -> None:
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "[120.0, 8.5] [[2.5, 3.0], [0.5, 1.0]]",
            "[40.0] [[1.5, 2.0]]",
            "['bowl', 'sofa'] [1, 0]",
            "[0.0, 0.0] [False, False]",
            "[[3.5, 4.0], [0.0, 0.0]] [True, False]",
        ],
    ), done.stderr
