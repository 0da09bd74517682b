"""The commands that come with the package: a cluster of its own programs, of its own build."""

import signal
import subprocess
import sys

import keyloom
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

RUN = "from keyloom import _commands; _commands.{}()"


def command(name, *arguments):
    return [sys.executable, "-c", RUN.format(name), *arguments]


def output(*line):
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_commands_are_of_the_build_of_the_package():
    for name, function in (
        ("keyloom", "keyloom"),
        ("keyloom-coordinator", "coordinator"),
        ("keyloom-worker", "worker"),
    ):
        assert output(*command(function, "--version")) == (0, f"{name} {keyloom.__build__}\n", "")


def test_the_module_is_the_command():
    code, out, err = output(
        sys.executable, "-m", "keyloom", "sql", "SELECT 1 + 1 AS two", "--format", "csv"
    )
    assert (code, out) == (0, "two\n2\n")
    assert err.startswith("1 row in ")


def test_a_mistake_ends_with_its_code():
    code, out, err = output(sys.executable, "-m", "keyloom", "sql", "SELECT nope")
    assert (code, out) == (2, "")
    assert "nope" in err


def test_the_programs_of_the_package_make_a_cluster():
    coordinator = subprocess.Popen(
        command("coordinator", "--listen", "127.0.0.1:0"), stdout=subprocess.PIPE, text=True
    )
    address = coordinator.stdout.readline().strip()
    worker = subprocess.Popen(command("worker", "--coordinator", address, "--slots", "1"))
    try:
        with keyloom.connect(address):
            keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
            df = keyloom.from_pydict({"who": ["ann"]})
            assert df.select(kv_get("who", source="ages")["value"]).to_pydict() == {"value": [30]}
            assert [one["slots"] for one in keyloom.workers()] == [1]
    finally:
        for process in (worker, coordinator):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(timeout=30) for process in (worker, coordinator)]
    assert codes == [0, 0]
