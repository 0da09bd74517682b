"""Notebooks: what cells show that end with a frame, and what show, progress and errors look like."""

import textwrap

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

SETUP = """
import keyloom
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30, "<b>": 40}))
df = keyloom.from_pydict({"who": ["ann", "<b>", None]})
older = df.with_column("age", kv_get("who", source="ages")["value"] + 1)
"""

HEAD = "<table><thead><tr><th>who<br>string</th><th>age<br>int64</th></tr></thead>"
ROWS = (
    "<tbody>"
    "<tr><td>ann</td><td>31</td></tr>"
    "<tr><td>&lt;b&gt;</td><td>41</td></tr>"
    "<tr><td>null</td><td>null</td></tr>"
    "</tbody></table>"
)
NOT_YET = "<small>not computed yet: show() prints the first rows, collect() computes all</small>"

CELLS = {
    "setup": SETUP,
    "frame": "older",
    "shown": "older.show()",
    "shown in part": "older.show(1)",
    "collected": "older.collect()",
    "printed": "print(older)",
    "sql": "keyloom.sql(\"SELECT who FROM df WHERE who = 'ann'\").collect()",
    "plan": "older.explain()",
    "error": 'kv_get("who", source="nope")',
    "missing": 'df.select(kv_get(keyloom.lit("eve"), source="ages")).collect()',
    "progress": """
from keyloom import _progress

_progress.AFTER_SECONDS = 0.0
numbers = keyloom.from_pydict({"a": range(8_000)})
pairs = numbers.join(numbers.select(b=keyloom.col("a")), how="cross")
pairs.where(keyloom.col("a") + keyloom.col("b") < 0).count_rows()
""",
    "afterwards": "df.count_rows()",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each cell of a notebook answers."""
    notebook = new_notebook(cells=[new_code_cell(textwrap.dedent(code)) for code in CELLS.values()])
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": folder}},
    )
    client.execute()
    nbformat.validate(notebook)
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells)}


def html(outputs):
    [output] = [output for output in outputs if "data" in output]
    return output["data"]["text/html"]


def test_a_cell_that_prepares_shows_nothing(outputs):
    assert outputs["setup"] == []


def test_a_cell_that_ends_with_a_frame_shows_its_columns_and_computes_nothing(outputs):
    assert html(outputs["frame"]) == f"{HEAD}<tbody></tbody></table>{NOT_YET}"
    assert outputs["frame"][0]["data"]["text/plain"].endswith(
        "not computed yet: show() prints the first rows, collect() computes all"
    )


def test_show_shows_rows_as_a_table(outputs):
    assert html(outputs["shown"]) == f"{HEAD}{ROWS}<small>3 rows</small>"
    assert html(outputs["shown in part"]) == (
        f"{HEAD}<tbody><tr><td>ann</td><td>31</td></tr></tbody></table><small>the first row</small>"
    )


def test_a_cell_that_ends_with_a_collected_frame_shows_its_rows(outputs):
    assert html(outputs["collected"]) == f"{HEAD}{ROWS}<small>3 rows</small>"


def test_print_shows_text(outputs):
    [output] = outputs["printed"]
    assert (output["output_type"], output["name"]) == ("stream", "stdout")
    assert output["text"].splitlines() == [
        "+--------+-------+",
        "| who    | age   |",
        "| string | int64 |",
        "+--------+-------+",
        "| ann    | 31    |",
        "| <b>    | 41    |",
        "| null   | null  |",
        "+--------+-------+",
        "3 rows",
    ]


def test_sql_sees_the_frames_of_other_cells(outputs):
    assert html(outputs["sql"]) == (
        "<table><thead><tr><th>who<br>string</th></tr></thead>"
        "<tbody><tr><td>ann</td></tr></tbody></table><small>1 row</small>"
    )


def test_explain_is_text_of_the_cell(outputs):
    [output] = outputs["plan"]
    assert output["name"] == "stdout" and "FrameScanExec" in output["text"]


def test_errors_name_themselves_and_the_notebook_goes_on(outputs):
    [output] = outputs["error"]
    assert output["ename"] == "NotFoundError"
    assert output["evalue"].startswith("KV store 'nope' not found in session")
    [output] = outputs["missing"]
    assert output["ename"] == "NotFoundError"
    assert "Key not found in KV store 'ages'" in output["evalue"] and "eve" in output["evalue"]
    assert outputs["afterwards"][0]["data"]["text/plain"] == "3"


def test_progress_leaves_the_answer_alone(outputs):
    [answer] = [
        output for output in outputs["progress"] if output["output_type"] == "execute_result"
    ]
    assert answer["data"]["text/plain"] == "0"
    assert not any(output["output_type"] == "error" for output in outputs["progress"])
