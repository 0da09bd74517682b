"""Rows of stores for PyTorch: a dataset of keys, and a collate function that looks a batch of keys up.

Both ask a store with one request a batch. They can be pickled, so that the workers of a
``DataLoader`` open the store once each; ``multiprocessing_context="spawn"`` is the way to start them.
Workers that are forked work only if their parent has not used Keyloom before, and say so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from keyloom._embed import Call, add_columns, by_value
from keyloom._lookups import Columns, _array, names_of
from keyloom.exceptions import InvalidError

try:
    import torch
    from torch.utils.data import Dataset, default_collate
except ImportError as error:
    raise ImportError("keyloom.torch needs PyTorch: pip install 'keyloom[torch]'") from error

if TYPE_CHECKING:
    from keyloom.kv import AttachedKV, KVStore, OnError

__all__ = ["KVCollate", "KVDataset"]

Row = dict[str, Any]
"""Tensors by the names of columns; lists, or single values, where there is no tensor of a type."""


class KVDataset(Dataset[Any]):
    """A map-style dataset: the rows that a store has for keys.

    Columns of numbers and booleans are tensors, and those of fixed-size lists of them tensors of one
    dimension more; all others are Python values, and lists of them in a batch. Unsigned integers of
    16, 32 and 64 bits are signed ones of 32, 64 and 64 bits. Tensors share the memory of the answer,
    which is theirs alone.

    An index is a number, which gives a row, or a list of numbers, which gives a batch with one request.
    The latter is what makes a ``DataLoader`` fast, whatever the version of PyTorch: let a
    ``BatchSampler`` be its ``sampler``, with ``batch_size=None``.

    Args:
        keys: An array of keys of any Arrow-compatible library, a tensor, of NumPy, or a list.
        store: What ``load_kv`` or ``attach`` returned. It is asked in the process of the dataset, and
            opens at its newest version unless it was given another.
        columns: The columns wanted, in this order; all of the store if not given.
        on_error: What a missing key means: ``"raise"`` is an error; with ``"null"``, each column that is
            a tensor has a mask ``<column>_valid``, and 0 where it is null; other columns have ``None``.
        transform: What is made of the dict that an index gives.

    Raises:
        TypeError: ``store`` is no store.

    Example:
        >>> from keyloom.kv import load_kv
        >>> from keyloom.torch import KVDataset
        >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
        >>> dataset = KVDataset(["bob", "ann"], ages, columns="value")
        >>> len(dataset), dataset[0], dataset[[1, 0]]
        (2, {'value': tensor(40)}, {'value': tensor([30, 40])})
    """

    def __init__(
        self,
        keys: Any,
        store: KVStore | AttachedKV,
        columns: Columns = None,
        on_error: OnError = "raise",
        transform: Callable[[Row], Any] | None = None,
    ) -> None:
        self._keys = _keys(keys)
        self._call = Call(by_value(store), "kv_get", names_of(columns), on_error)
        self._transform = transform

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:
        """A row, or the batch of several.

        Args:
            index: A number, from the end if it is negative; or a list, an array or a tensor of them.

        Returns:
            A dict of the columns, each without a first dimension for one index, and with one for a
            list of them; or what ``transform`` made of it.

        Raises:
            IndexError: There is no such key.
            NotFoundError: The store lacks a key.
            InvalidError: The store has no such columns, or a column is null and ``on_error`` is
                ``"raise"``.
        """
        if isinstance(index, Sequence) or getattr(index, "ndim", 0) > 0:
            return self._transformed(self._batch(index))
        batch = self._batch([index])
        return self._transformed({name: values[0] for name, values in batch.items()})

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several rows with one request, as a ``DataLoader`` of PyTorch 2 asks for a batch."""
        batch = self._batch(indices)
        rows = ({name: values[at] for name, values in batch.items()} for at in range(len(indices)))
        return [self._transformed(row) for row in rows]

    def _transformed(self, rows: Row) -> Any:
        return rows if self._transform is None else self._transform(rows)

    def _batch(self, indices: Sequence[int]) -> Row:
        count = len(self._keys)
        places = [operator.index(index) for index in indices]
        for place in places:
            if not -count <= place < count:
                raise IndexError(f"there is no key {place}; there are {count}")
        wanted = pa.array([place % count for place in places], pa.int64())
        return _columns(self._call.answers(self._keys.take(wanted)), self._call.on_error)


class KVCollate:
    """A ``collate_fn`` that looks the keys of a batch up with one request.

    Samples are keys, or dicts with a key among their fields. The fields of dicts are collated as PyTorch
    does it, and the store's columns join them.

    Args:
        store: As for :class:`KVDataset`.
        columns: The columns wanted; all of the store if not given.
        on_error: As for :class:`KVDataset`.
        key: The field with the key where samples are dicts, or the fields that are a key together.

    Raises:
        TypeError: ``store`` is no store.

    Example:
        >>> from keyloom.kv import load_kv
        >>> from keyloom.torch import KVCollate
        >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
        >>> KVCollate(ages, columns="value", key="who")([{"who": "bob", "label": 1}])
        {'who': ['bob'], 'label': tensor([1]), 'value': tensor([40])}
    """

    def __init__(
        self,
        store: KVStore | AttachedKV,
        columns: Columns = None,
        on_error: OnError = "raise",
        key: Columns = None,
    ) -> None:
        self._call = Call(by_value(store), "kv_get", names_of(columns), on_error, key=names_of(key))

    def __call__(self, samples: Sequence[Any]) -> Row:
        """The batch of samples: a dict of columns, as a :class:`KVDataset` has them.

        Raises:
            NotFoundError: The store lacks a key.
            InvalidError: A sample has no key, the store no such columns, or both have one column that is
                not the key.
        """
        key = self._call.key or ()
        if not (len(samples) > 0 and isinstance(samples[0], Mapping)):
            return self._found(samples)
        if not key:
            raise InvalidError("samples are dicts; key= says which field is the key")
        names = list(samples[0])
        for name in key:
            if name not in names:
                there = ", ".join(repr(name) for name in names)
                raise InvalidError(f"samples have no field '{name}'; they have {there}")
        batch = {name: default_collate([sample[name] for sample in samples]) for name in names}
        found = self._found([_key_of(sample, key) for sample in samples])
        return batch | {name: found[name] for name in add_columns(names, list(found), key)}

    def _found(self, keys: Any) -> Row:
        return _columns(self._call.answers(_keys(keys)), self._call.on_error)


def _key_of(sample: Mapping[str, Any], key: tuple[str, ...]) -> Any:
    return sample[key[0]] if len(key) == 1 else {name: _value(sample[name]) for name in key}


def _keys(keys: Any) -> pa.Array:
    if isinstance(keys, torch.Tensor):
        return _array(keys.detach().cpu().numpy())
    if isinstance(keys, (list, tuple)):
        return _array([_value(key) for key in keys])
    return _array(keys)


def _value(key: Any) -> Any:
    return key.item() if isinstance(key, torch.Tensor) else key


def _columns(answers: pa.Array, on_error: str) -> Row:
    """The fields of an array of structs as tensors and lists."""
    names = [field.name for field in answers.type]
    batch: Row = {}
    for name, values in zip(names, answers.flatten()):
        if not _is_tensor(values.type):
            batch[name] = values.to_pylist()
            continue
        batch[name] = _tensor(name, values, on_error)
        if on_error == "null":
            mask = f"{name}_valid"
            if mask in names:
                raise InvalidError(f"the mask of column '{name}' has the name of column '{mask}'")
            batch[mask] = _valid(values)
    return batch


def _is_tensor(data_type: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(data_type):
        return _is_tensor(data_type.value_type)
    types = pa.types
    kinds = (types.is_boolean, types.is_integer, types.is_floating)
    return any(is_kind(data_type) for is_kind in kinds)


def _tensor(name: str, values: pa.Array, on_error: str) -> torch.Tensor:
    if values.null_count == 0:
        return _tensor_without_nulls(name, values)
    if on_error == "raise":
        raise InvalidError(
            f"column '{name}' is null in {values.null_count} of {len(values)} rows; on_error='null' "
            f"gives 0 there, and a mask '{name}_valid'"
        )
    there = _tensor_without_nulls(name, values.drop_null())
    tensor = torch.zeros((len(values), *there.shape[1:]), dtype=there.dtype)
    tensor[_valid(values)] = there
    return tensor


def _valid(values: pa.Array) -> torch.Tensor:
    return torch.from_numpy(values.is_valid().to_numpy(zero_copy_only=False, writable=True))


def _tensor_without_nulls(name: str, values: pa.Array) -> torch.Tensor:
    shape = [len(values)]
    while pa.types.is_fixed_size_list(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
        if values.null_count > 0:
            raise InvalidError(f"column '{name}' has lists with nulls in them")
    tensor: torch.Tensor = _flat_tensor(name, values).reshape(shape)
    return tensor


_SIGNED = {pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
"""What holds unsigned integers, which not every version of PyTorch has."""


def _flat_tensor(name: str, values: pa.Array) -> torch.Tensor:
    if pa.types.is_boolean(values.type):
        return torch.from_numpy(values.to_numpy(zero_copy_only=False, writable=True))
    try:
        values = values.cast(_SIGNED.get(values.type, values.type))
    except pa.ArrowInvalid as error:
        raise InvalidError(f"column '{name}' does not fit signed integers: {error}") from error
    if len(values) == 0:
        return torch.from_numpy(values.to_numpy(writable=True, zero_copy_only=False))
    tensor: torch.Tensor = torch.utils.dlpack.from_dlpack(values)
    return tensor
