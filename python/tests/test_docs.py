"""What the documentation says: its code runs, and prints what stands below it. Docstrings, the
README, the documents, the demonstration and the notebook."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import keyloom
import nbformat
import pyarrow as pa
import pytest
from data import write_lance
from nbclient import NotebookClient

PYTHON = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "docs/coming-from.md"]

# Their packages may be missing; their examples have tests of their own.
INTEGRATIONS = {"keyloom.daft", "keyloom.polars", "keyloom.ray", "keyloom.torch"}
MODULES = sorted(
    {"keyloom"}
    | {
        module.name
        for module in pkgutil.walk_packages(keyloom.__path__, "keyloom.")
        if module.name not in INTEGRATIONS | {"keyloom.__main__", "keyloom._keyloom"}
    }
)

ITEMS = pa.table(
    {
        "item_id": ["item_1", "item_2", "item_3"],
        "name": ["mug", "lamp", "desk"],
        "weight": [0.5, 1.5, 30.0],
    }
)

FENCED = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def blocks(document):
    """The blocks of Python of a document: line, code, and what is printed, if that stands below."""
    text = (PYTHON / document).read_text()
    found = list(FENCED.finditer(text))
    for block, following in zip(found, [*found[1:], None]):
        if block[1] != "python":
            continue
        printed = None
        if following is not None and not text[block.end() : following.start()].strip():
            printed = following[2] if following[1] == "text" else None
        yield text.count("\n", 0, block.start()) + 1, block[2], printed


def run(document):
    """Runs the blocks of a document in one namespace: line, what is expected, what was printed."""
    namespace = {"__name__": "__main__"}
    for line, code, expected in blocks(document):
        # As many lines before as in the document, so that a failure names its line.
        program = compile("\n" * line + code, document, "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, namespace)
        yield line, expected, printed.getvalue()


@pytest.fixture
def folder(bin_dir, tmp_path, monkeypatch):
    """The current folder, with what documents read."""
    write_lance(bin_dir, tmp_path, "items", ITEMS)
    (tmp_path / "orders.csv").write_text("item_id,zip\nitem_1,01001\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_print_what_they_say(document, folder, cluster, monkeypatch):
    connect = keyloom.connect
    monkeypatch.setattr(keyloom, "connect", lambda address: connect(cluster))
    compared = 0
    for line, expected, printed in run(document):
        assert printed == (expected or ""), f"{document}:{line}"
        compared += expected is not None
    assert compared >= 5


def test_documents_hold_no_line_that_is_too_long():
    for document in DOCUMENTS:
        for number, line in enumerate((PYTHON / document).read_text().splitlines(), start=1):
            assert len(line) <= 100 or line.startswith("|"), f"{document}:{number}"


def test_documents_link_to_what_is_there():
    for document in DOCUMENTS:
        text = (PYTHON / document).read_text()
        links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`(examples/\w+\.\w+)`", text)
        assert links, document
        for link in links:
            root = PYTHON if link.startswith("examples/") else (PYTHON / document).parent
            assert (root / link).is_file(), f"{document}: {link}"


def test_the_table_of_errors_is_what_the_classes_say():
    text = (PYTHON / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|(?: `(\w+)`)? \|", text, re.MULTILINE)
    documented = {name: (kind, also) for kind, name, also in rows}
    classes = {
        error.__name__: (error.kind, "".join(also.__name__ for also in error.__bases__[1:]))
        for error in keyloom.KeyloomError.__subclasses__()
        if error.__module__ == "keyloom.exceptions"
    }
    assert documented == classes


def test_what_is_said_not_to_be_there_is_not_there():
    text = (PYTHON / "docs" / "coming-from.md").read_text()
    told = text.partition("## What of Daft is not there")[2].partition("- Types beyond")[0]
    names = re.findall(r"`(\.?[a-z_]+)`", told)
    assert {"pivot", ".str", "over", "write_iceberg", "stddev", "repartition"} <= set(names)
    owners = (keyloom, keyloom.DataFrame, keyloom.GroupedDataFrame, keyloom.Expression)
    for name in names:
        # With a dot before it, it is a namespace of expressions.
        there = owners[-1:] if name.startswith(".") else owners
        assert not any(hasattr(owner, name.removeprefix(".")) for owner in there), name


# Docstrings.


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_answer_what_they_say(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_most_of_the_package_has_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in tests) > 100


def documented():
    """Everything of the package that users call, by name."""
    for name in keyloom.__all__:
        value = getattr(keyloom, name)
        if inspect.ismodule(value) or not callable(value):
            continue
        yield name, value
    for kind in (
        keyloom.DataFrame,
        keyloom.GroupedDataFrame,
        keyloom.Expression,
        keyloom.JobHandle,
        keyloom.Schema,
        keyloom.Session,
        keyloom.kv.KVStore,
        keyloom.kv.AttachedKV,
    ):
        for name, value in inspect.getmembers(kind):
            if not name.startswith("_"):
                yield f"{kind.__name__}.{name}", value


def test_everything_that_users_call_is_documented():
    # What mappings have, users know.
    known = {"Schema.get", "Schema.items", "Schema.keys", "Schema.values"}
    missing = [
        name for name, value in documented() if not inspect.getdoc(value) and name not in known
    ]
    assert [name for name in missing if not name.endswith("backend_type")] == []


def test_sessions_have_a_say_where_docstrings_tell_of_it():
    told = [
        name.removeprefix("DataFrame.with_")
        for name, value in documented()
        if "whatever its session says" in " ".join((inspect.getdoc(value) or "").split())
    ]
    assert told == ["join_path", "shuffle"]
    assert set(told) <= set(inspect.signature(keyloom.connect).parameters)


def test_public_functions_have_examples():
    functions = {name: getattr(keyloom, name) for name in keyloom.__all__}
    missing = [
        name
        for name, value in functions.items()
        if inspect.isfunction(value) and ">>>" not in (value.__doc__ or "")
    ]
    assert missing == []


# Examples.

DEMO = """
== Stores, attached under aliases
categories, inventory, primary_store, product_catalog, product_embeddings,
secondary_store, user_embeddings, user_profiles
['key', 'name', 'category', 'price']

== Several sources in one frame
+--------+--------------------+--------------------------------+----------+
| user   | user_vector        | product                        | in_stock |
| string | list<item: double> | struct<name: string, price: d… | bool     |
+--------+--------------------+--------------------------------+----------+
| Ann    | [0.1, 0.2]         | {'name': 'Mug', 'price': 8.5}  | False    |
| Bob    | [0.3, 0.4]         | {'name': 'Lamp', 'price': 40.… | True     |
+--------+--------------------+--------------------------------+----------+
2 rows

== The current store, which calls without a source mean
No KV store is currently attached to the session
user_profiles
{'user_id': ['user_002', 'user_001'], 'segment': ['basic', 'premium']}

== Conditions: a row asks the store of its branch alone
+-------------+-----------+--------------------+
| item_id     | item_type | vector             |
| string      | string    | list<item: double> |
+-------------+-----------+--------------------+
| user_001    | user      | [0.1, 0.2]         |
| product_101 | product   | [0.5, 0.6]         |
| user_002    | user      | [0.3, 0.4]         |
+-------------+-----------+--------------------+
3 rows

== Missing keys and fallbacks
Key not found in KV store 'primary_store': item_2, missing_item (2 missing in one batch)
+--------------+-------------+
| item_id      | value       |
| string       | string      |
+--------------+-------------+
| item_1       | primary 1   |
| item_2       | secondary 2 |
| missing_item | null        |
| null         | null        |
+--------------+-------------+
4 rows
{'value': ['primary 1', 'secondary 2', None, None]}

== Lists of keys
1 [{'name': 'Mug'}, {'name': 'Lamp'}]
2 []
3 None

== Keys that come from lookups
{'product_id': ['product_101', 'product_102'], 'floor': ['first floor', 'second floor']}

== Existence, as a filter and in SQL
{'product_id': ['product_101']}
{'known': [False, True], 'n': [1, 2]}

== Lookups without a query
{'key': 'product_101', 'name': 'Lamp', 'category': 'home', 'price': 40.0}
None
[{'price': 8.5}, {'price': 40.0}]
[True, False]

== Mistakes, which are found before anything runs
not_found: KV store 'my_store' not found in session (attached: 'categories',
    'inventory', 'primary_store', 'product_catalog', 'product_embeddings',
    'secondary_store', 'user_embeddings', 'user_profiles')
invalid: column 'colour' not found in KV store 'product_catalog'; it has 'key', 'name',
    'category', 'price'
invalid: a key of type Int64 cannot be looked up in KV store 'inventory', whose keys are
    of type Utf8; write kv_get(CAST(n AS VARCHAR), …)
"""

DEMO_OF_A_DATASET = """
== A Lance dataset
['item_id', 'name', 'weight']
+---------+-------+--------------------------------+
| item_id | found | row                            |
| string  | bool  | struct<item_id: string, name:… |
+---------+-------+--------------------------------+
| item_1  | True  | {'item_id': 'item_1', 'name':… |
| item_2  | True  | {'item_id': 'item_2', 'name':… |
| item_3  | True  | {'item_id': 'item_3', 'name':… |
+---------+-------+--------------------------------+
3 rows
"""

DEMO_ENDS = """
== Stores that are not needed any more
[] False
"""


def demo(*arguments):
    """What the demonstration prints."""
    program = str(PYTHON / "examples" / "multi_source_kv_demo.py")
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_demonstration_makes_everything_itself():
    assert demo() == DEMO + DEMO_ENDS


@pytest.mark.parametrize("key", [[], ["item_id"]])
def test_the_demonstration_looks_into_a_dataset(key, folder):
    assert demo("items.lance", *key) == DEMO + DEMO_OF_A_DATASET + DEMO_ENDS


# The notebook.


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook of the examples, run."""
    path = PYTHON / "examples" / "first_minute.ipynb"
    read = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(read)
    assert (read.nbformat, read.nbformat_minor) == (4, 5)
    stored = [cell for cell in read.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in stored)
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(
        read, timeout=60, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    return [cell.outputs for cell in read.cells if cell.cell_type == "code"]


def page(head, rows, note):
    """A frame as HTML."""
    above = "".join(f"<th>{name}<br>{dtype}</th>" for name, dtype in head)
    below = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{above}</tr></thead><tbody>{below}</tbody></table>"
    return f"{table}<small>{note}</small>"


def shown(outputs, kind):
    """The only output of a cell."""
    [output] = outputs
    return output["text"] if kind == "text" else output["data"][kind]


def test_the_notebook_shows_what_it_says(notebook):
    imports, attached, planned, computed, queried, failed, explained = notebook
    head = [("item_id", "string"), ("amount", "int64"), ("price", "int64"), ("known", "bool")]
    assert imports == []
    assert shown(attached, "text/plain") == (
        "AttachedKV(alias='features', store=MemoryKV(name='features', rows=2))"
    )
    not_yet = "not computed yet: show() prints the first rows, collect() computes all"
    assert shown(planned, "text/html") == page(head, [], not_yet)
    rows = [
        ("item_2", 1, 5, True),
        ("item_9", 2, "null", False),
        ("item_1", 3, 3, True),
    ]
    assert shown(computed, "text/html") == page(head, rows, "3 rows")
    assert shown(queried, "text/html") == page(
        [("item_id", "string"), ("total", "int64")], [("item_2", 5), ("item_1", 9)], "2 rows"
    )
    assert shown(failed, "text") == "Key not found in KV store 'features': item_9\n"
    plan = shown(explained, "text")
    assert "KvLookupExec: wave 1: features@immutable by item_id@0 = key" in plan
