"""Files: which are read, with which options, and what is left behind by writing them."""

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


def test_a_single_file_is_written_by_this_process(df, tmp_path):
    path = tmp_path / "one.parquet"
    written = df.write_parquet(path, single_file=True)
    assert written == keyloom.Written(str(path), 3, path.stat().st_size, 1, None)
    assert listed(tmp_path) == ["one.parquet"]
    assert pq.read_table(path).to_pydict() == ROWS
    assert pq.read_metadata(path).row_group(0).column(0).compression == "SNAPPY"


def test_a_single_file_is_written_anew(df, tmp_path):
    path = tmp_path / "one.parquet"
    df.write_parquet(path, compression="zstd", single_file=True)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    df.limit(1).write_parquet(path, single_file=True)
    assert pq.read_table(path).to_pydict() == {"a": [1], "s": ["x"]}
    df.write_parquet(path, "overwrite", compression="none", single_file=True)
    assert pq.read_table(path).to_pydict() == ROWS
    assert listed(tmp_path) == ["one.parquet"]


def test_a_single_file_may_be_written_over_what_is_read(df, tmp_path):
    path = tmp_path / "one.parquet"
    df.write_parquet(path, single_file=True)
    more = keyloom.read_parquet(path).with_column("a", col("a") + 1)
    more.write_parquet(path, single_file=True)
    assert pq.read_table(path).to_pydict() == {"a": [2, 3, None], "s": ["x", "y", "z"]}


def test_a_failed_write_of_a_single_file_leaves_it_as_it_was(df, tmp_path):
    path = tmp_path / "one.parquet"
    df.write_parquet(path, single_file=True)
    with pytest.raises(keyloom.InvalidError, match="Cannot cast string 'x'"):
        failing().write_parquet(path, single_file=True)
    assert listed(tmp_path) == ["one.parquet"]
    assert pq.read_table(path).to_pydict() == ROWS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"if_exists": "error"}, "there is a file .*one.parquet already"),
        ({"write_mode": "append"}, "with single_file, if_exists is 'error' or 'overwrite'"),
        ({"compression": "nope"}, "compression is one of .*, not 'nope'"),
        ({"partition_by": "a"}, "partition_by does not go with single_file"),
        ({"target_file_bytes": 1}, "target_file_bytes does not go with single_file"),
        ({"storage_options": "own"}, "storage_options does not go with single_file"),
    ],
)
def test_what_does_not_go_with_a_single_file_is_refused(df, tmp_path, options, message):
    path = tmp_path / "one.parquet"
    path.write_text("mine")
    with pytest.raises(keyloom.InvalidError, match=message):
        df.write_parquet(path, single_file=True, **options)
    assert (listed(tmp_path), path.read_text()) == (["one.parquet"], "mine")


def test_a_frame_without_rows_is_written_with_its_types(tmp_path):
    df = keyloom.from_pydict(
        {"a": pa.array([], pa.int8()), "l": pa.array([], pa.list_(pa.string()))}
    )
    path = tmp_path / "none.parquet"
    assert df.write_parquet(path, single_file=True).rows == 0
    assert keyloom.read_parquet(path).schema() == df.schema()


def test_what_is_collected_is_written_without_computing_it_again(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\n")
    df = keyloom.read_csv(path).collect()
    path.unlink()
    df.write_parquet(tmp_path / "out")
    assert pq.read_table(tmp_path / "out").to_pydict() == {"a": [1]}
