"""Files: which are read, with which options, and what is left behind by writing them."""

import sys

import keyloom
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from keyloom import col


@pytest.fixture
def files(tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": [3], "b": ["z"]}), tmp_path / "two.parquet")
    (tmp_path / "zips.csv").write_text("id,zip\n1,01234\n2,NA\n")
    (tmp_path / "bare.csv").write_text("1;'a;b'\n#no row\n2;x\n")
    (tmp_path / "rows.json").write_text('{"a":1,"b":{"c":"x"}}\n{"a":null,"b":null}\n')
    feather = pa.table({"a": [1, 2]})
    pyarrow.feather.write_feather(feather, tmp_path / "file.arrow", compression="uncompressed")
    with pa.ipc.new_stream(tmp_path / "stream.arrows", feather.schema) as stream:
        stream.write_table(feather)
    return tmp_path


# Reading.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("one.parquet", {"a": [1, 2], "b": ["x", None]}),
        ("*.parquet", {"a": [1, 2, 3], "b": ["x", None, "z"]}),
    ],
)
def test_parquet_is_read_by_path_and_glob(files, path, expected):
    assert keyloom.read_parquet(files / path).to_pydict() == expected
    assert keyloom.read_parquet(str(files / path)).to_pydict() == expected


def test_a_folder_is_read_as_one_frame(files, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ["one.parquet", "two.parquet"]:
        (files / name).rename(folder / name)
    assert keyloom.read_parquet(folder).to_pydict() == {"a": [1, 2, 3], "b": ["x", None, "z"]}


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_paths_is_read_in_its_order(files, kind):
    paths = kind([files / "two.parquet", str(files / "one.parquet")])
    assert keyloom.read_parquet(paths).to_pydict() == {"a": [3, 1, 2], "b": ["z", "x", None]}


def test_an_empty_list_of_paths_is_refused():
    for read in [keyloom.read_parquet, keyloom.read_csv, keyloom.read_json, keyloom.read_ipc]:
        with pytest.raises(keyloom.InvalidError, match="^a list of paths names at least one$"):
            read([])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"id": [1, 2], "zip": ["01234", "NA"]}),
        ({"nulls": ["NA"]}, {"id": [1, 2], "zip": ["01234", None]}),
        ({"columns": {"id": "text"}}, {"id": ["1", "2"], "zip": ["01234", "NA"]}),
        ({"columns": {"id": "double"}}, {"id": [1.0, 2.0], "zip": ["01234", "NA"]}),
        ({"nulls": None}, {"id": [1, 2], "zip": ["01234", "NA"]}),
    ],
    ids=repr,
)
def test_csv_is_read_as_its_options_say(files, options, expected):
    assert keyloom.read_csv(files / "zips.csv", **options).to_pydict() == expected


def test_csv_of_another_dialect_is_read(files):
    df = keyloom.read_csv(files / "bare.csv", header=False, delimiter=";", quote="'", comment="#")
    assert df.to_pydict() == {"column_1": [1, 2], "column_2": ["a;b", "x"]}


def test_json_ipc_and_read_by_ending_are_read(files):
    rows = {"a": [1, None], "b": [{"c": "x"}, None]}
    assert keyloom.read_json(files / "rows.json").to_pydict() == rows
    assert keyloom.read(files / "rows.json").to_pydict() == rows
    assert keyloom.read_ipc(files / "file.arrow").to_pydict() == {"a": [1, 2]}
    assert keyloom.read_ipc(files / "stream.arrows").to_pydict() == {"a": [1, 2]}
    assert keyloom.read(files / "file.arrow").to_pydict() == {"a": [1, 2]}
    assert keyloom.read(files / "one.parquet").column_names == ["a", "b"]
    assert keyloom.read(files / "zips.csv").count_rows() == 2


def test_folders_named_by_values_are_columns(tmp_path):
    for part in [1, 2]:
        folder = tmp_path / f"part={part}"
        folder.mkdir()
        pq.write_table(pa.table({"a": [part * 10]}), folder / "rows.parquet")
    df = keyloom.read_parquet(tmp_path, hive_partitioning=True)
    assert df.sort("a").to_pydict() == {"a": [10, 20], "part": [1, 2]}


def test_a_lance_dataset_is_read_at_its_newest_or_another_version(lance):
    lance("rows", {"a": [1, 2, 3]}, rows_per_file=2)
    uri = lance("rows", {"a": [4]})
    assert keyloom.read_lance(uri, version=1).to_pydict() == {"a": [1, 2, 3]}
    newest = keyloom.read_lance(uri).to_pydict()
    assert newest == keyloom.read_lance(uri, version=2).to_pydict() == keyloom.read(uri).to_pydict()
    assert newest["a"][-1] == 4


def test_nothing_is_read_before_rows_are_asked_for(files):
    df = keyloom.read_csv(files / "zips.csv").with_column("more", col("id") + 1)
    (files / "zips.csv").write_text("id,zip\n7,00000\n")
    assert df.to_pydict() == {"id": [7], "zip": ["00000"], "more": [8]}


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda path: keyloom.read_parquet(path / "one.parquet", nope=1), "unknown field `nope`"),
        (
            lambda path: keyloom.read_parquet(path / "one.parquet", delimiter=","),
            "delimiter is no option of parquet",
        ),
        (
            lambda path: keyloom.read_csv(path / "zips.csv", delimiter=";;"),
            "delimiter is one ASCII character",
        ),
        (
            lambda path: keyloom.read_csv(path / "zips.csv", columns={"zip": "nope"}),
            "'zip': unknown type 'nope'",
        ),
        (
            lambda path: keyloom.read_csv(path / "zips.csv", columns={"zop": "text"}),
            "no file has 'zop'; the columns are id, zip",
        ),
        (lambda path: keyloom.read_csv(path / "zips.csv", nulls="NA"), "expected a sequence"),
        (lambda path: keyloom.read_parquet(path / "zips.csv"), "zips.csv"),
        (lambda path: keyloom.read_lance(path / "zips.csv", version="one"), "one"),
    ],
)
def test_an_option_that_is_not_understood_is_named(files, use, said):
    with pytest.raises(keyloom.InvalidError) as error:
        use(files)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "read",
    [
        keyloom.read_parquet,
        keyloom.read_csv,
        keyloom.read_json,
        keyloom.read_ipc,
        keyloom.read_lance,
        lambda path: keyloom.read_parquet([path]),
        lambda path: keyloom.read(f"{path}.parquet"),
    ],
)
def test_a_file_that_is_not_there_is_named(tmp_path, read):
    with pytest.raises(keyloom.NotFoundError) as error:
        read(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)


# Writing.

ROWS = {"a": [1, 2, None], "s": ["x", "y", "z"]}


@pytest.fixture
def df():
    return keyloom.from_pydict(ROWS)


def failing():
    """A frame whose second batch fails."""
    rows = [pa.record_batch({"a": ["1"] * 10_000}), pa.record_batch({"a": ["x"]})]
    return keyloom.from_arrow(rows).select(a=col("a").cast("int64"))


def listed(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_write_parquet_answers_the_path_that_it_wrote(df, tmp_path):
    written = df.write_parquet(tmp_path / "new" / "folder")
    [path] = written.to_pydict()["path"]
    assert listed(tmp_path / "new" / "folder") == [path.rpartition("/")[2]]
    assert pq.read_table(path).to_pydict() == ROWS
    assert pq.read_metadata(path).row_group(0).column(0).compression == "SNAPPY"


def test_write_parquet_appends_files_or_puts_one_in_place_of_all(df, tmp_path):
    df.write_parquet(tmp_path)
    df.write_parquet(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert keyloom.read_parquet(tmp_path / "*.parquet").count_rows() == 6
    [path] = df.write_parquet(tmp_path, write_mode="overwrite").to_pydict()["path"]
    assert listed(tmp_path) == sorted([path.rpartition("/")[2], "notes.txt"])
    assert pq.read_table(path).to_pydict() == ROWS


def test_write_parquet_writes_a_single_file_anew(df, tmp_path):
    path = tmp_path / "one.parquet"
    written = df.write_parquet(path, compression="zstd", single_file=True)
    assert written.to_pydict() == {"path": [str(path)]}
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    df.limit(1).write_parquet(path, single_file=True)
    assert pq.read_table(path).to_pydict() == {"a": [1], "s": ["x"]}
    assert listed(tmp_path) == ["one.parquet"]


def test_write_parquet_may_write_over_what_it_reads(df, tmp_path):
    path = tmp_path / "one.parquet"
    df.write_parquet(path, single_file=True)
    more = keyloom.read_parquet(path).with_column("a", col("a") + 1)
    more.write_parquet(path, single_file=True)
    assert pq.read_table(path).to_pydict() == {"a": [2, 3, None], "s": ["x", "y", "z"]}
    keyloom.read_parquet(tmp_path).limit(1).write_parquet(tmp_path, write_mode="overwrite")
    assert pq.read_table(tmp_path).to_pydict() == {"a": [2], "s": ["x"]}


def test_a_failed_write_leaves_everything_as_it_was(df, tmp_path):
    [kept] = df.write_parquet(tmp_path).to_pydict()["path"]
    for options in [{}, {"write_mode": "overwrite"}]:
        with pytest.raises(keyloom.InvalidError, match="Cannot cast string 'x'"):
            failing().write_parquet(tmp_path, **options)
    with pytest.raises(keyloom.InvalidError, match="Cannot cast string 'x'"):
        failing().write_parquet(kept, single_file=True)
    assert listed(tmp_path) == [kept.rpartition("/")[2]]
    assert pq.read_table(kept).to_pydict() == ROWS


def test_a_mode_or_a_compression_that_is_none_is_refused_before_anything_is_made(df, tmp_path):
    with pytest.raises(keyloom.InvalidError) as error:
        df.write_parquet(tmp_path / "new", write_mode="nope")
    assert str(error.value) == "write_mode is 'append' or 'overwrite', not 'nope'"
    with pytest.raises(keyloom.InvalidError, match="nope"):
        df.write_parquet(tmp_path / "new", compression="nope")
    assert listed(tmp_path) == []


def test_a_frame_without_rows_is_written_with_its_types(tmp_path):
    df = keyloom.from_pydict(
        {"a": pa.array([], pa.int8()), "l": pa.array([], pa.list_(pa.string()))}
    )
    df.write_parquet(tmp_path)
    assert keyloom.read_parquet(tmp_path).schema() == df.schema()


def test_what_is_collected_is_written_without_computing_it_again(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\n")
    df = keyloom.read_csv(path).collect()
    path.unlink()
    [written] = df.write_parquet(tmp_path / "out").to_pydict()["path"]
    assert pq.read_table(written).to_pydict() == {"a": [1]}


def test_write_lance_names_the_package_that_it_needs(df, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(ImportError) as error:
        df.write_lance(tmp_path / "rows.lance")
    assert str(error.value) == "write_lance needs the package pylance: pip install pylance"
    assert listed(tmp_path) == []
