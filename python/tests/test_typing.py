"""Types: the stubs of the compiled module, the package under mypy --strict, and a typed user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keyloom
import pytest
import typed_sample

TESTS = Path(__file__).resolve().parent
PACKAGE = Path(keyloom.__file__).resolve().parent

# What a check finds depends on the package alone, not on which of these are installed.
CONFIG = """
[mypy]
python_version = 3.10
strict = true

[mypy-IPython.*,daft.*,lance.*,pandas.*,polars.*,pyarrow.*,ray.*,torch.*,tqdm.*]
follow_imports = skip
ignore_missing_imports = true

# Classes of theirs are bases of ours.
[mypy-keyloom.daft,keyloom.torch]
disallow_subclassing_any = false
"""

WRONG = {
    "df.limit('2')": 'Argument 1 to "limit" of "DataFrame" has incompatible type "str"',
    "df.where(1)": 'Argument 1 to "where" of "DataFrame" has incompatible type "int"',
    "df.with_column('x', 1)": 'Argument 2 to "with_column" of "DataFrame" has incompatible type',
    "df.join(df, on='x', how='innner')": 'Argument "how" to "join" of "DataFrame" has incompatible',
    "df.write_parquet('x', write_mode='new')": 'Argument "write_mode" to "write_parquet"',
    "df.write_lance('x', 'merge')": 'Argument 2 to "write_lance" of "DataFrame" has incompatible',
    "df.submit(output=1)": 'Argument "output" to "submit" of "DataFrame" has incompatible type "int"',
    "df.submit().wait('1')": 'Argument 1 to "wait" of "JobHandle" has incompatible type "str"',
    "df.transform(len)": 'Argument 1 to "transform" of "DataFrame" has incompatible type',
    "keyloom.when(df['x'] > 1).otherwise(1)": '"When" has no attribute "otherwise"',
    "keyloom.kv_get('x', on_error='skip')": 'Argument "on_error" to "kv_get" has incompatible type',
    "keyloom.kv_get(1)": 'Argument 1 to "kv_get" has incompatible type "int"',
    "keyloom.attach('x')": 'Argument 1 to "attach" has incompatible type "str"',
    "keyloom.get_kv('x').get('y')['z']": 'Value of type "dict[str, Any] | None" is not indexable',
    "len(keyloom.get_kv('x').exists('y'))": 'Argument 1 to "len" has incompatible type "bool | No',
    "keyloom.Session(workers='2')": 'Argument "workers" to "Session" has incompatible type "str"',
    "df['x'].cast('int64').sun()": '"Expression" has no attribute "sun"',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the settings of mypy and the package, and nothing that it does not need."""
    path = tmp_path_factory.mktemp("typing")
    (path / "mypy.ini").write_text(CONFIG)
    (path / "keyloom").symlink_to(PACKAGE)
    return path


def checked(folder, module, *arguments):
    """What a checker says, and whether it is content."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "MYPY_CACHE_DIR": str(folder / "cache"), "MYPYPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + done.stderr, done.returncode == 0


def test_the_stubs_are_what_is_compiled(folder):
    said, content = checked(
        folder, "mypy.stubtest", "--mypy-config-file", "mypy.ini", "keyloom._keyloom"
    )
    assert content, said


def test_the_package_is_strictly_typed(folder):
    said, content = checked(folder, "mypy", "-p", "keyloom")
    assert content, said


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").read_text() == ""
    assert (PACKAGE / "_keyloom.pyi").is_file()


def test_a_typed_user_is_content(folder):
    said, content = checked(folder, "mypy", TESTS / "typed_sample.py")
    assert content, said


def test_what_a_typed_user_wrote_runs():
    typed_sample.main()


def test_mistakes_are_found_before_anything_runs(folder):
    (folder / "wrong.py").write_text(
        "import keyloom\n\n\ndef use(df: keyloom.DataFrame) -> None:\n"
        + "".join(f"    {line}\n" for line in WRONG)
    )
    said, content = checked(folder, "mypy", "wrong.py")
    assert not content
    errors = {int(line.split(":")[1]): line for line in said.splitlines() if ": error: " in line}
    for number, (line, expected) in enumerate(WRONG.items(), start=5):
        assert expected in errors.pop(number, ""), (line, said)
    assert not errors
