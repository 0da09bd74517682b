"""What people see: tables in text and in HTML, plans, and how far a job is."""

import io
import sys
from decimal import Decimal
from types import SimpleNamespace

import keyloom
import pyarrow as pa
import pytest
from keyloom import _progress, col
from keyloom._progress import Progress
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv


@pytest.fixture
def df():
    return keyloom.from_pydict({"id": [1, 2, None], "name": ["ann", "<b>&\"'", None]})


def shown(df, capsys, *args):
    capsys.readouterr()
    assert df.show(*args) is None
    return capsys.readouterr().out


def lines(*lines):
    return "\n".join(lines)


# Text.


def test_a_frame_that_is_not_collected_prints_its_columns(df):
    assert (
        repr(df)
        == str(df)
        == lines(
            "+-------+--------+",
            "| id    | name   |",
            "| int64 | string |",
            "+-------+--------+",
            "+-------+--------+",
            "not computed yet: show() prints the first rows, collect() computes all",
        )
    )


def test_a_collected_frame_prints_its_rows(df):
    assert repr(df.collect()) == lines(
        "+-------+--------+",
        "| id    | name   |",
        "| int64 | string |",
        "+-------+--------+",
        "| 1     | ann    |",
        "| 2     | <b>&\"' |",
        "| null  | null   |",
        "+-------+--------+",
        "3 rows",
    )


def test_a_collected_frame_prints_as_many_rows_as_it_was_told(df):
    assert repr(df.collect(2)) == lines(
        "+-------+--------+",
        "| id    | name   |",
        "| int64 | string |",
        "+-------+--------+",
        "| 1     | ann    |",
        "| 2     | <b>&\"' |",
        "+-------+--------+",
        "the first 2 of 3 rows",
    )
    assert repr(df.collect(0)).endswith("\nthe first 0 of 3 rows")


def test_a_long_frame_prints_its_first_rows_and_how_many_there_are():
    df = keyloom.from_pydict({"a": range(12_000)}).collect()
    assert repr(df) == lines(
        "+-------+",
        "| a     |",
        "| int64 |",
        "+-------+",
        *(f"| {row}     |" for row in range(8)),
        "+-------+",
        "the first 8 of 12,000 rows",
    )


def test_show_prints_rows_to_sys_stdout(df, capsys):
    assert shown(df, capsys) == lines(
        "+-------+--------+",
        "| id    | name   |",
        "| int64 | string |",
        "+-------+--------+",
        "| 1     | ann    |",
        "| 2     | <b>&\"' |",
        "| null  | null   |",
        "+-------+--------+",
        "3 rows",
        "",
    )


def test_show_of_the_first_rows_does_not_count_the_others(df, capsys):
    assert shown(df, capsys, 2) == lines(
        "+-------+--------+",
        "| id    | name   |",
        "| int64 | string |",
        "+-------+--------+",
        "| 1     | ann    |",
        "| 2     | <b>&\"' |",
        "+-------+--------+",
        "the first 2 rows",
        "",
    )
    assert shown(df.collect(), capsys, 2).endswith("\nthe first 2 of 3 rows\n")


def test_show_asks_stores_for_no_more_than_it_shows(capsys):
    keyloom.attach(load_kv("memory", name="ages", initial_data={0: "none", 1: "one", 2: "two"}))
    df = keyloom.from_pydict({"a": range(100)}).with_column("age", kv_get("a", source="ages"))
    assert shown(df.limit(2).select("a", col("age")["value"]), capsys) == lines(
        "+-------+--------+",
        "| a     | value  |",
        "| int64 | string |",
        "+-------+--------+",
        "| 0     | none   |",
        "| 1     | one    |",
        "+-------+--------+",
        "2 rows",
        "",
    )


def test_show_follows_a_stdout_that_was_replaced(df, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    df.select("id").show(1)
    assert out.getvalue() == lines(
        "+-------+",
        "| id    |",
        "| int64 |",
        "+-------+",
        "| 1     |",
        "+-------+",
        "the first row",
        "",
    )


def test_show_of_less_than_nothing_is_refused(df):
    for frame in [df, df.limit(3).collect()]:
        with pytest.raises(keyloom.InvalidError, match="^a number of rows is a whole number"):
            frame.show(-1)


def test_one_row_is_no_rows(capsys):
    df = keyloom.from_pydict({"a": [1]})
    assert shown(df, capsys).endswith("\n1 row\n")
    assert repr(df.collect()).endswith("\n1 row")


def test_a_frame_without_rows_or_columns_is_shown(capsys):
    empty = keyloom.from_pydict({"a": pa.array([], pa.int64())})
    head = ["+-------+", "| a     |", "| int64 |", "+-------+", "+-------+"]
    assert shown(empty, capsys) == lines(*head, "0 rows", "")
    assert shown(keyloom.from_pydict({}), capsys).endswith("\n0 rows\n")
    assert repr(keyloom.from_pydict({}).collect()).endswith("\n0 rows")


def test_long_values_and_names_are_cut(capsys):
    df = keyloom.from_pydict({"n" * 31: ["x" * 31], "m" * 30: ["y" * 30]})
    assert shown(df, capsys) == lines(
        "+" + "-" * 32 + "+" + "-" * 32 + "+",
        "| " + "n" * 29 + "… | " + "m" * 30 + " |",
        "| string" + " " * 25 + "| string" + " " * 25 + "|",
        "+" + "-" * 32 + "+" + "-" * 32 + "+",
        "| " + "x" * 29 + "… | " + "y" * 30 + " |",
        "+" + "-" * 32 + "+" + "-" * 32 + "+",
        "1 row",
        "",
    )


def test_many_columns_are_cut_and_counted(capsys):
    df = keyloom.from_pydict({f"c{place}": [place] for place in range(23)})
    head, names, types, _, row, *_ = shown(df, capsys).splitlines()
    assert names.split("|")[1:-1] == [f" {f'c{place}':<5} " for place in range(20)] + [" … 3 more "]
    assert types.split("|")[1:-1] == [" int64 "] * 20 + [" " * 10]
    assert row.split("|")[1:-1] == [f" {place:<5} " for place in range(20)] + [" …        "]
    assert head == "+" + "-------+" * 20 + "----------+"


def test_values_of_all_types_are_shown_as_python_has_them(capsys):
    df = keyloom.from_pydict(
        {
            "b": [True],
            "f": [0.1],
            "dec": [Decimal("1.50")],
            "bin": [b"\x00"],
            "list": [[1, None]],
            "st": [{"a": 1}],
            "day": pa.array([19724], pa.date32()),
            "ns": pa.array([1], pa.timestamp("ns")),
            "z": pa.array([0], pa.timestamp("s", "UTC")),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "null": pa.nulls(1),
        }
    )
    row = shown(df, capsys).splitlines()[4]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "True",
        "0.1",
        "1.50",
        "b'\\x00'",
        "[1, None]",
        "{'a': 1}",
        "2024-01-02",
        "1970-01-01 00:00:00.000000001",
        "1970-01-01 00:00:00+00:00",
        "[('a', 1)]",
        "null",
    ]


@pytest.mark.parametrize("control", ["\n", "\t", "\r", "\x1b[31m", "\x07", "\x0b", "\u2028"])
def test_a_value_or_a_name_does_not_break_the_table(capsys, control):
    df = keyloom.from_pydict({f"na{control}me": [f"a{control}b"]})
    for text in [shown(df, capsys), repr(df.collect()) + "\n"]:
        assert len(text.splitlines()) == 7
        assert all(part.isprintable() for part in text.split("\n"))


# HTML.

HEAD = "<table><thead><tr><th>id<br>int64</th><th>name<br>string</th></tr></thead>"


def test_html_of_a_frame_that_is_not_collected_has_its_columns(df):
    assert df._repr_html_() == (
        f"{HEAD}<tbody></tbody></table>"
        "<small>not computed yet: show() prints the first rows, collect() computes all</small>"
    )


def test_html_of_a_collected_frame_has_its_rows_escaped(df):
    assert df.collect()._repr_html_() == (
        f"{HEAD}<tbody>"
        "<tr><td>1</td><td>ann</td></tr>"
        "<tr><td>2</td><td>&lt;b&gt;&amp;&quot;&#x27;</td></tr>"
        "<tr><td>null</td><td>null</td></tr>"
        "</tbody></table><small>3 rows</small>"
    )


def test_html_escapes_names_and_types():
    df = keyloom.from_pydict({"<i>&": [[1]]})
    assert df.collect()._repr_html_() == (
        "<table><thead><tr><th>&lt;i&gt;&amp;<br>list&lt;item: int64&gt;</th></tr></thead>"
        "<tbody><tr><td>[1]</td></tr></tbody></table><small>1 row</small>"
    )


def test_html_is_cut_like_text():
    df = keyloom.from_pydict({f"c{place}": ["<" * 40] for place in range(21)}).collect()
    found = df._repr_html_()
    assert found.count("<th>") == found.count("<td>") == 21
    assert "<th>… 1 more</th>" in found
    assert f"<td>{'&lt;' * 29}…</td>" in found


# Plans.


def test_explain_prints_the_plan_and_runs_nothing(capsys):
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
    df = keyloom.from_pydict({"who": ["nobody"]})
    assert df.with_column("age", kv_get("who", source="ages")).explain() is None
    plan = capsys.readouterr().out
    assert "ages" in plan and "FrameScanExec: partitions=1, rows=1, columns=[who]" in plan


def test_explain_analyze_runs_the_query_and_counts(df, capsys):
    df.explain(analyze=True)
    assert "RemoteExec: stage=0, tasks=1, workers=1, rows=3" in capsys.readouterr().out
    df.explain(True)
    assert "rows=3" in capsys.readouterr().out


def test_explain_analyze_tells_times_and_notes(capsys):
    rows = pa.table({"id": ["a"], "x": [1], "y": [2], "z": [3]})
    keyloom.attach(load_kv("memory", name="rows", initial_data=rows, key="id"))
    df = keyloom.from_pydict({"who": ["a", "a"]})
    df.select(kv_get("who", source="rows")["x"].alias("x")).explain(analyze=True)
    out = capsys.readouterr().out
    assert out.startswith("elapsed: ")
    assert "- rows: 1 of 4 columns used" in out


def test_explain_advises_where_stores_have_several_ways(df, capsys):
    df.explain(advise=True)
    out = capsys.readouterr().out
    assert "No store that is looked up has several ways to its rows." in out


def test_explain_prints_into_a_file(df, capsys):
    file = io.StringIO()
    df.explain(file=file)
    assert "FrameScanExec" in file.getvalue()
    assert capsys.readouterr().out == ""


# Progress.


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to look at, and a clock that does not wait for a job to be slow."""
    out = Terminal()
    streams = SimpleNamespace(stderr=out, stdout=sys.stdout, modules=sys.modules)
    monkeypatch.setattr(_progress, "sys", streams)
    monkeypatch.setattr(_progress, "AFTER_SECONDS", 0.0)
    monkeypatch.delenv("KEYLOOM_PROGRESS", raising=False)
    return out


@pytest.fixture
def no_tqdm(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def test_progress_without_tqdm_is_one_line_that_goes_away(terminal, no_tqdm):
    progress = Progress()
    progress(1234, 1, 4, 2)
    assert terminal.getvalue() == "\rtasks 1/4, 1,234 rows"
    progress(5, 2, 4, 2)
    assert terminal.getvalue().endswith("\rtasks 2/4, 5 rows    ")
    progress.close()
    written = terminal.getvalue()
    *_, blank, end = written.split("\r")
    assert (blank.strip(), end) == ("", "")
    assert len(blank) >= len("tasks 1/4, 1,234 rows")
    assert "\n" not in written


def test_progress_tells_what_goes_on_and_what_stores_found(terminal, no_tqdm):
    stage = {"stage": 0, "work": "lookups", "tasks": 4, "tasks_done": 4, "rows": 70, "bytes": 0}
    parts = {
        "rows": 1200,
        "stages": [stage, {**stage, "stage": 1, "work": "writing", "tasks_done": 1}],
        "stores": {"products": {"keys": 90, "hits": 1500, "misses": 3}},
        "left_out": 0,
    }
    progress = Progress()
    progress(0, 5, 8, 2, parts)
    expected = "\rtasks 5/8, 1,200 rows, writing, products: 1,500 hits, 3 misses"
    assert terminal.getvalue() == expected
    progress.close()


def test_tasks_that_run_count_by_what_they_have_done(terminal, no_tqdm):
    progress = Progress()
    progress(7, 1, 4, 2, {"share": 0.4375})
    assert terminal.getvalue() == "\rtasks 1/4 (43%), 7 rows"
    progress.close()


def test_progress_without_workers_says_what_it_waits_for(terminal, no_tqdm):
    progress = Progress()
    progress(0, 0, 4, 0)
    assert terminal.getvalue() == "\rtasks 0/4, waiting for workers"
    progress.close()


def test_progress_with_tqdm_is_a_bar_that_goes_away(terminal):
    progress = Progress()
    progress(1234, 1, 4, 2)
    progress(5678, 3, 4, 2)
    assert (progress._bar.n, progress._bar.total, progress._bar.postfix) == (3, 4, "5,678 rows")
    progress.close()
    written = terminal.getvalue()
    assert "3/4" in written and "5,678 rows" in written
    assert "\n" not in written


def test_a_bar_of_tqdm_grows_with_tasks_that_run(terminal):
    progress = Progress()
    for share, shown in [(0.25, 1.0), (0.5625, 2.2), (1.0, 4.0)]:
        progress(1234, 1, 4, 2, {"share": share})
        assert progress._bar.n == shown
    progress.close()


def test_jobs_that_are_done_at_once_show_nothing(terminal, no_tqdm, monkeypatch):
    monkeypatch.setattr(_progress, "AFTER_SECONDS", 3600.0)
    progress = Progress()
    progress(1, 1, 4, 2)
    progress.close()
    assert terminal.getvalue() == ""


def test_progress_is_told_on_a_terminal_alone(terminal, monkeypatch):
    assert isinstance(_progress.progress(), Progress)
    monkeypatch.setenv("KEYLOOM_PROGRESS", "0")
    assert _progress.progress() is None
    monkeypatch.delenv("KEYLOOM_PROGRESS")
    monkeypatch.setattr(_progress.sys, "stderr", io.StringIO())
    assert _progress.progress() is None


def test_a_process_without_stderr_shows_nothing(monkeypatch, df):
    monkeypatch.setattr(sys, "stderr", None)
    assert df.to_pydict()["id"] == [1, 2, None]


def test_a_job_tells_its_progress_while_it_runs(monkeypatch):
    told = []

    class Listener(Progress):
        def __call__(self, rows, done, tasks, workers, parts):
            told.append((rows, done, tasks, workers))
            assert all(stage["tasks_done"] <= stage["tasks"] for stage in parts["stages"])
            assert parts["share"] is None or 0 <= parts["share"] <= 1

        def close(self):
            told.append("closed")

    monkeypatch.setattr("keyloom.dataframe.progress", Listener)
    numbers = keyloom.from_pydict({"a": range(4_000)})
    pairs = numbers.join(numbers.select(b=col("a")), how="cross")
    assert pairs.where(col("a") + col("b") < 0).count_rows() == 0
    assert told[-1] == "closed"
    for rows, done, tasks, workers in told[:-1]:
        assert 0 <= done <= tasks and rows <= 1 and workers >= 0


def test_an_error_of_progress_ends_the_job_and_is_told(monkeypatch):
    class Broken(Progress):
        def __call__(self, rows, done, tasks, workers, parts):
            raise OSError("the terminal is gone")

    monkeypatch.setattr("keyloom.dataframe.progress", Broken)
    numbers = keyloom.from_pydict({"a": range(100_000)})
    pairs = numbers.join(numbers.select(b=col("a")), how="cross")
    with pytest.raises(OSError, match="the terminal is gone"):
        pairs.where(col("a") + col("b") < 0).collect()
