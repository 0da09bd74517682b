"""What workers write: the rows are there, in their order, all of them or none."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyloom
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from keyloom import Written, col
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

Lance = Callable[..., str]

ROWS = 1_000
DAYS = ["mon", "tue", None]
TABLE: dict[str, list[Any]] = {
    "n": list(range(ROWS)),
    "word": [None if n % 7 == 0 else f"word {n}" for n in range(ROWS)],
    "day": [DAYS[n % 3] for n in range(ROWS)],
}


@pytest.fixture(params=["embedded", "cluster"])
def session(request: pytest.FixtureRequest) -> Iterator[keyloom.Session]:
    """The current session, in this process, where many tasks write a frame, or on the cluster."""
    small = {"task_rows": 100}
    if request.param == "embedded":
        write = {"write_slice_rows": 100}
        opened = keyloom.Session(settings={"session": small, "coordinator": write})
    else:
        opened = keyloom.connect(request.getfixturevalue("cluster"), settings=small)
    with opened as current:
        yield current


def rows() -> keyloom.DataFrame:
    return keyloom.from_pydict(TABLE)


def failing() -> keyloom.DataFrame:
    """A frame whose last row fails."""
    values = [*map(str, range(ROWS)), "x"]
    return keyloom.from_pydict({"a": values}).select(a=col("a").cast("int64"))


def seen(folder: Path) -> list[Path]:
    """The files of a folder that readers see, in the order of their rows."""
    # Hidden folders may go while they are looked at.
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    hidden = [path for path in files if any(p[0] in "._" for p in path.relative_to(folder).parts)]
    return sorted(set(files) - set(hidden))


def check(written: Written, folder: Path, count: int) -> list[Path]:
    """The files that were written, if that is what the result says."""
    files = seen(folder)
    size = sum(path.stat().st_size for path in files)
    assert written == Written(str(folder), count, size, len(files), None)
    return files


# Files.


def test_parquet_files_hold_the_rows(session: keyloom.Session, tmp_path: Path) -> None:
    written = rows().write_parquet(tmp_path / "out")
    files = check(written, tmp_path / "out", ROWS)
    table = pa.concat_tables(pq.ParquetFile(file).read() for file in files)
    assert table.to_pydict() == TABLE
    assert {pq.read_metadata(file).row_group(0).column(0).compression for file in files} == {
        "SNAPPY"
    }
    assert keyloom.read_parquet(tmp_path / "out").to_pydict() == TABLE


def test_csv_files_hold_the_rows(session: keyloom.Session, tmp_path: Path) -> None:
    written = rows().select("n", "word").write_csv(str(tmp_path / "out"))
    files = check(written, tmp_path / "out", ROWS)
    options = pa.csv.ConvertOptions(strings_can_be_null=True)
    tables = [pa.csv.read_csv(file, convert_options=options) for file in files]
    assert pa.concat_tables(tables).to_pydict() == {"n": TABLE["n"], "word": TABLE["word"]}


def test_json_files_hold_the_rows(session: keyloom.Session, tmp_path: Path) -> None:
    written = rows().write_json(tmp_path / "out")
    lines = [
        json.loads(line)
        for file in check(written, tmp_path / "out", ROWS)
        for line in file.read_text().splitlines()
    ]
    assert [{name: line.get(name) for name in TABLE} for line in lines] == rows().to_pylist()


def test_arrow_files_hold_the_rows(session: keyloom.Session, tmp_path: Path) -> None:
    written = rows().with_column("pair", keyloom.struct("n", "day")).write_arrow(tmp_path / "out")
    files = check(written, tmp_path / "out", ROWS)
    table = pa.concat_tables(pa.ipc.open_file(file).read_all() for file in map(str, files))
    pairs = [{"n": n, "day": day} for n, day in zip(TABLE["n"], TABLE["day"], strict=True)]
    assert table.to_pydict() == {**TABLE, "pair": pairs}


def test_what_workers_look_up_is_written(session: keyloom.Session, tmp_path: Path) -> None:
    keyloom.attach(load_kv("memory", name="days", initial_data={"mon": 1, "tue": 2}))
    number = kv_get("day", source="days", on_error="null")["value"]
    rows().select("n", number=number).write_parquet(tmp_path / "out")
    numbers = {"mon": 1, "tue": 2, None: None}
    expected = {"n": TABLE["n"], "number": [numbers[day] for day in TABLE["day"]]}
    assert keyloom.read_parquet(tmp_path / "out").to_pydict() == expected


def test_sorted_rows_are_written_in_their_order(session: keyloom.Session, tmp_path: Path) -> None:
    rows().sort("n", desc=True).select("n").write_parquet(tmp_path / "out")
    table = pa.concat_tables(pq.ParquetFile(file).read() for file in seen(tmp_path / "out"))
    assert table.to_pydict() == {"n": TABLE["n"][::-1]}


@pytest.mark.parametrize("columns", ["day", ["day"]])
def test_partitions_are_folders(
    session: keyloom.Session, tmp_path: Path, columns: str | list[str]
) -> None:
    written = rows().write_parquet(tmp_path / "out", partition_by=columns)
    files = check(written, tmp_path / "out", ROWS)
    nobody = "day=__HIVE_DEFAULT_PARTITION__"
    assert {file.parent.name for file in files} == {"day=mon", "day=tue", nobody}
    for folder, day in [("day=mon", "mon"), ("day=tue", "tue"), (nobody, None)]:
        parts = [pq.ParquetFile(file).read() for file in seen(tmp_path / "out" / folder)]
        expected = rows().where(col("day") == day if day else col("day").is_null())
        assert pa.concat_tables(parts).to_pydict() == expected.select("n", "word").to_pydict()


def test_files_have_about_the_size_that_is_asked_for(tmp_path: Path) -> None:
    with keyloom.Session():
        df = keyloom.from_pydict({"n": range(100_000)})
        one = df.write_csv(tmp_path / "one")
        several = df.write_csv(tmp_path / "several", target_file_bytes="64KiB")
        files = check(several, tmp_path / "several", 100_000)
    assert one.files < several.files
    text = "".join(file.read_text().removeprefix("n\n") for file in files)
    assert text == "".join(f"{n}\n" for n in range(100_000))


def test_files_are_compressed_as_is_asked_for(session: keyloom.Session, tmp_path: Path) -> None:
    df = rows().select("n")
    df.write_parquet(tmp_path / "parquet", compression="zstd")
    codecs = [
        pq.read_metadata(file).row_group(0).column(0).compression
        for file in seen(tmp_path / "parquet")
    ]
    assert set(codecs) == {"ZSTD"}
    df.write_csv(tmp_path / "csv", compression="gzip")
    texts = [gzip.decompress(file.read_bytes()).decode() for file in seen(tmp_path / "csv")]
    lines = [line for text in texts for line in text.splitlines()[1:]]
    assert lines == [str(n) for n in TABLE["n"]]


# What is there already.


def test_files_that_are_there_are_kept_added_to_or_replaced(
    session: keyloom.Session, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    df, folder = keyloom.from_pydict({"n": [1, 2]}), tmp_path / "out"
    df.write_parquet(folder)
    before = seen(folder)
    for refused in ({}, {"if_exists": "error"}):
        with pytest.raises(keyloom.InvalidError, match="if_exists is error"):
            df.write_parquet(folder, **refused)
    assert seen(folder) == before
    df.write_parquet(folder, "append")
    df.write_parquet(folder, write_mode="append")
    assert keyloom.read_parquet(folder).to_pydict()["n"].count(2) == 3
    assert set(before) < set(seen(folder))
    (folder / "notes.txt").write_text("mine")
    written = df.limit(1).write_parquet(folder, write_mode="overwrite")
    assert (written.rows, written.files) == (1, 1)
    assert keyloom.read_parquet(folder / "*.parquet").to_pydict() == {"n": [1]}
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"if_exists": "append"}, {"if_exists": "overwrite"}])
def test_a_query_that_fails_leaves_everything_as_it_was(
    session: keyloom.Session, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = tmp_path / "out"
    if options:
        rows().write_parquet(folder)
    before = seen(folder)
    with pytest.raises(keyloom.InvalidError, match="Cannot cast string 'x'"):
        failing().write_parquet(folder, **options)
    assert seen(folder) == before
    if options:
        assert keyloom.read_parquet(folder).to_pydict() == TABLE


Call = Callable[[keyloom.DataFrame, Path], object]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda df, to: df.write_csv(to, compression="snappy"), "choose one of none, gzip, zstd"),
        (lambda df, to: df.write_parquet(to, compression="nope"), "nope"),
        (lambda df, to: df.write_parquet(to, "replace"), "replace"),
        (lambda df, to: df.write_parquet(to, write_mode="upsert"), "is for Lance datasets"),
        (lambda df, to: df.write_json(to, partition_by="nope"), "nope"),
        (lambda df, to: df.write_json(to, partition_by=["n", "n"]), "partition_by names 'n' twice"),
        (lambda df, to: df.write_json(to, target_file_bytes=0), "at least 1"),
        (lambda df, to: df.write_json(to, target_file_bytes=1.5), "target_file_bytes"),
        (lambda df, to: df.write_lance(to, "upsert"), "needs key"),
        (lambda df, to: df.write_lance(to, key="n"), "key of an output is for if_exists"),
        (
            lambda df, to: df.write_parquet(to, "append", write_mode="append"),
            "if_exists and write_mode are one option",
        ),
        (
            lambda df, to: df.write_lance(to, "append", mode="append"),
            "if_exists and mode are one option",
        ),
        (lambda df, to: df.submit(output={"path": to, "formt": "csv"}), "unknown field `formt`"),
        (lambda df, to: df.submit(resumes=True, detached=False, output=to), "detached"),
        (lambda df, to: df.submit(id="newest", output=to), "no id of a job"),
    ],
)
def test_what_is_no_output_is_refused_and_nothing_is_made(
    call: Call, message: str, tmp_path: Path
) -> None:
    with pytest.raises(keyloom.InvalidError, match=message):
        call(rows(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda df: df.write_parquet(1),
        lambda df: df.write_lance(None),
        lambda df: df.submit(output=1),
        lambda df: df.submit(output={"path": ["x"]}),
    ],
)
def test_what_is_no_path_is_a_type_error(call: Callable[[keyloom.DataFrame], object]) -> None:
    with pytest.raises(TypeError, match="a path is a string or a Path"):
        call(rows())


def test_the_home_folder_and_this_one_are_meant_by_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    df = keyloom.from_pydict({"n": [1]})
    assert df.write_json("~/home").output == str(tmp_path / "home")
    assert df.write_json("here").output == str(tmp_path / "here")
    assert keyloom.read_json("here").to_pydict() == {"n": [1]}


# Datasets.


def test_a_dataset_is_made_added_to_and_replaced(session: keyloom.Session, tmp_path: Path) -> None:
    path = tmp_path / "rows.lance"
    made = rows().write_lance(path)
    assert (made.output, made.rows, made.version) == (str(path), ROWS, 1)
    assert made.bytes > 0 and made.files > 0
    assert keyloom.read_lance(path).to_pydict() == TABLE
    for refused in ({}, {"mode": "create"}, {"if_exists": "create"}):
        with pytest.raises(keyloom.InvalidError):
            rows().write_lance(path, **refused)
    added = rows().limit(2).write_lance(path, "append")
    assert (added.rows, added.version) == (2, 2)
    assert keyloom.read_lance(path).to_pydict()["n"] == [*range(ROWS), 0, 1]
    replaced = rows().limit(1).write_lance(path, mode="overwrite")
    assert replaced.version == 3
    assert keyloom.read_lance(path).to_pydict() == {"n": [0], "word": [None], "day": ["mon"]}
    assert keyloom.read_lance(path, version=1).to_pydict() == TABLE


@pytest.mark.parametrize("key", ["n", ["n", "day"]])
def test_rows_with_the_same_keys_are_replaced(
    session: keyloom.Session, tmp_path: Path, key: str | list[str]
) -> None:
    path = tmp_path / "rows.lance"
    keyloom.from_pydict({"n": [1, 2, 3], "day": ["mon"] * 3, "x": ["a", "b", "c"]}).write_lance(
        path
    )
    changed = keyloom.from_pydict({"n": [3, 4], "day": ["mon"] * 2, "x": ["C", "D"]})
    written = changed.write_lance(path, "upsert", key=key)
    assert written.rows == 2
    there = keyloom.read_lance(path).sort("n").select("n", "x")
    assert there.to_pydict() == {"n": [1, 2, 3, 4], "x": ["a", "b", "C", "D"]}


def test_columns_are_added_in_place(session: keyloom.Session, tmp_path: Path) -> None:
    path = tmp_path / "rows.lance"
    rows().select("n").write_lance(path)
    written = keyloom.read_lance(path).select(double=col("n") * 2).write_lance(path, "add_columns")
    assert (written.rows, written.version) == (ROWS, 2)
    doubles = [n * 2 for n in TABLE["n"]]
    assert keyloom.read_lance(path).to_pydict() == {"n": TABLE["n"], "double": doubles}


def test_rows_are_put_into_a_store(session: keyloom.Session, lance: Lance) -> None:
    ages = lance("ages", {"who": ["ann", "bob"], "age": [30, 40]})
    store = session.attach(load_kv("lance", uri=ages, key="who"), "ages")
    written = session.put(keyloom.from_pydict({"who": ["bob", "eve"], "age": [41, 50]}), "ages")
    assert (written.output, written.rows, written.version) == (ages, 2, 2)
    asked = keyloom.from_pydict({"who": ["ann", "bob", "eve"]})
    answers = asked.select(age=kv_get("who", source="ages")["age"])
    assert answers.to_pydict() == {"age": [30, 41, 50]}
    assert store.refresh().get("bob") == {"who": "bob", "age": 41}


def test_what_rows_cannot_be_put_into_is_named(session: keyloom.Session, lance: Lance) -> None:
    ages = {"who": ["ann"], "age": [30]}
    df = keyloom.from_pydict(ages)
    session.attach(load_kv("memory", name="held", initial_data=ages, key="who"))
    with pytest.raises(keyloom.InvalidError, match="KV store 'held'"):
        session.put(df, "held")
    session.attach(load_kv("lance", name="pinned", uri=lance("ages", ages), key="who", version=1))
    with pytest.raises(keyloom.InvalidError, match="KV store 'pinned'"):
        session.put(df, "pinned")
    with pytest.raises(keyloom.NotFoundError, match="nowhere"):
        session.put(df, "nowhere")
    with pytest.raises(TypeError, match="the rows are a frame, not a dict"):
        session.put(ages, "held")
    with keyloom.Session():
        other = keyloom.from_pydict(ages)
    with pytest.raises(keyloom.InvalidError, match="a frame of another session"):
        session.put(other, "held")


def test_a_single_file_needs_its_folder(tmp_path):
    with pytest.raises(keyloom.NotFoundError, match="there is no folder"):
        keyloom.from_pydict({"x": [1]}).write_parquet(
            tmp_path / "no" / "x.parquet", single_file=True
        )
