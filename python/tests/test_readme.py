"""The Python of the repository's README: it runs where the README's first commands were typed, and
prints what stands below it. (`tests/tests/it/readme.rs` runs the commands and the Rust.)"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"

FENCED = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
WRITTEN = re.compile(r"^\$ cat > (\S+) <<END\n(.*?)^END\n", re.MULTILINE | re.DOTALL)
CREATE = re.compile(r"^\$ (keyloom stores create .*)$", re.MULTILINE)


@pytest.fixture
def blocks():
    """The blocks of the README: their languages and texts."""
    return FENCED.findall(README.read_text())


@pytest.fixture
def folder(blocks, bin_dir, tmp_path, monkeypatch):
    """The current folder, with the files and the store that the first commands make."""
    console = next(text for language, text in blocks if language == "console")
    for name, text in WRITTEN.findall(console):
        (tmp_path / name).write_text(text)
    _, *arguments = shlex.split(CREATE.search(console)[1])
    subprocess.run(
        [bin_dir / "keyloom", *arguments], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_prints_what_the_readme_says(blocks, folder):
    compared = 0
    for (language, code), (next_language, expected) in zip(blocks, blocks[1:]):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
        assert (next_language, expected) == ("text", printed.getvalue())
        compared += 1
    assert compared == 1
