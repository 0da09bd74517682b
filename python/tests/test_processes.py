"""Processes, threads and signals: what a fork may use, what Ctrl-C ends, what goes on meanwhile, and
that sessions leave no threads behind.

Whatever could take the test process down runs in one of its own; the two meet by lines on pipes.
"""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import keyloom
import pytest
from keyloom import col
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

DEADLINE_SECONDS = 60

ENDLESS = """
    numbers = keyloom.from_pydict({"a": range(100_000)})
    pairs = numbers.join(numbers.select(b=col("a")), how="cross")
    endless = pairs.where(col("a") + col("b") < 0)
"""


class Script:
    """A Python process that runs a script, and whose lines its parent reads as they come."""

    def __init__(self, script):
        head = "import os, signal, sys, threading\nimport keyloom\nfrom keyloom import col\n"
        command = [sys.executable, "-u", "-c", head + textwrap.dedent(script)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        self._late = threading.Timer(DEADLINE_SECONDS, self._process.kill)
        self._late.start()

    def line(self):
        """The next line that it prints."""
        return self._process.stdout.readline().rstrip("\n")

    def interrupt(self):
        """Presses Ctrl-C once it is at work: when it has used half a second of processors."""
        before = self._used()
        assert wait_until(lambda: self._used() > before + 0.5)
        self._process.send_signal(signal.SIGINT)

    def _used(self):
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(stat[11]) / os.sysconf("SC_CLK_TCK")

    def end(self):
        """Its exit code, its further lines, and what it wrote to stderr."""
        with self._process as process:
            out, err = process.stdout.read(), process.stderr.read()
        self._late.cancel()
        return process.returncode, out.splitlines(), err

    def lines(self):
        """Its further lines, if it ended well."""
        code, out, err = self.end()
        assert code == 0, f"{out} {err}"
        return out


def run(script):
    return Script(script).lines()


def wait_until(holds):
    """Waits for something that another thread or process brings about."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds() and time.monotonic() < deadline:
        os.sched_yield()
    return holds()


# Forks.

IN_CHILD = """
    def in_child(work):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException as error:
                print(type(error).__name__, error)
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""


def test_a_child_that_was_forked_after_use_is_refused_and_told_what_to_do():
    script = (
        IN_CHILD
        + """
    from keyloom.functions.kv import kv_get
    from keyloom.kv import load_kv

    ages = load_kv("memory", name="ages", initial_data={"ann": 30})
    df = keyloom.from_pydict({"x": [1, 2]})
    print(df.to_pydict())

    def open_session():
        with keyloom.Session(workers=1):
            keyloom.attach(ages)

    in_child(lambda: print(df.to_pydict()))
    in_child(lambda: df.where(col("x") > 1))
    in_child(lambda: print(df.count_rows()))
    in_child(lambda: print(keyloom.from_pydict({"x": [1]}).to_pydict()))
    in_child(lambda: print(keyloom.list_kv()))
    in_child(open_session)
    in_child(lambda: in_child(open_session))
    print(df.where(col("x") > 1).to_pydict())
    """
    )
    first, *children, last = run(script)
    assert first == "{'x': [1, 2]}"
    assert len(children) == 7
    for line in children:
        assert line.startswith("InvalidError keyloom was used before this process was forked")
        assert "'spawn'" in line
    assert last == "{'x': [2]}"


def test_a_forked_child_may_read_what_its_parent_collected():
    script = (
        IN_CHILD
        + """
    df = keyloom.from_pydict({"x": [1, 2]}).collect()
    in_child(lambda: print(df.to_pydict(), len(df), repr(df).splitlines()[-1]))
    """
    )
    assert run(script) == ["{'x': [1, 2]} 2 2 rows"]


def test_a_parents_session_in_a_child_is_refused_as_the_current_one_too():
    script = (
        IN_CHILD
        + """
    with keyloom.Session() as session:
        in_child(lambda: keyloom.from_pydict({"x": [1]}))
        in_child(session.list_kv)
        in_child(session.close)
        print(keyloom.from_pydict({"x": [1]}).to_pydict())
    """
    )
    first, second, last = run(script)
    assert "'spawn'" in first and "'spawn'" in second
    assert last == "{'x': [1]}"


def test_children_that_were_forked_before_first_use_answer():
    script = (
        IN_CHILD
        + """
    from keyloom.functions.kv import kv_get
    from keyloom.kv import load_kv

    ages = load_kv("memory", name="ages", initial_data={"ann": 30})

    def answer():
        with keyloom.Session(workers=1):
            keyloom.attach(ages)
            df = keyloom.from_pydict({"who": ["ann"]})
            print(df.select(kv_get("who", source="ages")["value"]).to_pydict())

    in_child(answer)
    in_child(lambda: in_child(answer))
    in_child(lambda: print(keyloom.list_kv(), keyloom.from_pydict({"x": [7]}).to_pydict()))
    answer()
    """
    )
    looked_up = "{'value': [30]}"
    assert run(script) == [looked_up, looked_up, "[] {'x': [7]}", looked_up]


def test_a_forked_child_exits_by_itself():
    script = """
    df = keyloom.from_pydict({"x": [1]})
    df.collect()
    job = iter(keyloom.from_pydict({"x": range(100_000)}))
    next(job)
    child = os.fork()
    if child == 0:
        del df, job
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(sum(1 for _ in job))
    """
    assert run(script) == ["3", "99999"]


# Processes that are started anew.


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_store_travels_to_a_process_that_is_started_anew(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import multiprocessing

            import keyloom
            from keyloom.functions.kv import kv_get
            from keyloom.kv import load_kv

            def ages(store, who):
                with keyloom.Session(workers=1):
                    keyloom.attach(store)
                    df = keyloom.from_pydict({{"who": who}})
                    found = kv_get("who", source=store.name, on_error="null")["value"]
                    return df.select(found).to_pydict()

            if __name__ == "__main__":
                store = load_kv("memory", name="ages", initial_data={{"ann": 30, "bob": 40}})
                print(ages(store, ["bob"]))
                with multiprocessing.get_context("{method}").Pool(1) as pool:
                    print(pool.apply(ages, (store, ["ann", "eve"])))
                print(ages(store, ["ann"]))
            """)
    )
    command = [sys.executable, "-u", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["{'value': [40]}", "{'value': [30, None]}", "{'value': [30]}"],
    ), done.stderr


# Ctrl-C.


@pytest.mark.parametrize(
    "query",
    [
        "endless.collect()",
        "endless.count_rows()",
        "endless.to_arrow()",
        "list(endless.iter_rows())",
        "endless.show()",
        "endless.explain(analyze=True)",
    ],
)
def test_ctrl_c_ends_a_query_and_the_session_works_afterwards(query):
    script = (
        ENDLESS
        + f"""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print("running")
        {query}
    except KeyboardInterrupt:
        print("interrupted")
    print(numbers.limit(2).to_pydict())
    """
    )
    process = Script(script)
    assert process.line() == "running"
    process.interrupt()
    assert process.line() == "interrupted"
    assert process.lines() == ["{'a': [0, 1]}"]


def test_ctrl_c_ends_a_stream_that_another_library_reads():
    script = (
        ENDLESS
        + """
    import pyarrow as pa

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print("running")
        try:
            pa.table(endless)
        except Exception:
            # What pyarrow makes of the end of the stream; Python raises the signal as it runs on.
            for _ in range(1000):
                pass
    except KeyboardInterrupt:
        print("interrupted")
    print(numbers.limit(2).to_pydict())
    """
    )
    process = Script(script)
    assert process.line() == "running"
    process.interrupt()
    assert process.line() == "interrupted"
    assert process.lines() == ["{'a': [0, 1]}"]


def test_a_handler_of_signals_runs_while_a_query_waits():
    script = (
        ENDLESS
        + """
    class Enough(Exception):
        pass

    def handle(*_):
        raise Enough

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        endless.collect()
    except Enough:
        print("enough")
    """
    )
    assert run(script) == ["enough"]


# Threads.


def test_queries_of_many_threads_get_their_own_rows():
    keyloom.attach(load_kv("memory", name="doubles", initial_data={n: 2 * n for n in range(800)}))
    found = {}

    def work(thread):
        keys = list(range(thread * 100, thread * 100 + 100))
        df = keyloom.from_pydict({"x": keys})
        rows = df.with_column("y", kv_get("x", source="doubles")["value"]).to_pydict()
        found[thread] = rows == {"x": keys, "y": [2 * key for key in keys]}

    threads = [
        threading.Thread(target=copy_context().run, args=(work, thread)) for thread in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(8), True)


def test_one_frame_answers_many_threads():
    df = keyloom.from_pydict({"x": range(1000)}).with_column("y", col("x") + 1)
    expected = {"x": list(range(1000)), "y": list(range(1, 1001))}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: df.to_pydict(), range(16))) == [expected] * 16
        assert {id(frame) for frame in pool.map(lambda _: df.collect(), range(16))} == {id(df)}
    assert df.to_pydict() == expected


def test_other_threads_run_while_a_query_waits():
    def run_query(started, done):
        rows = keyloom.from_pydict({"a": range(3_000)})
        pairs = rows.join(rows.select(b=col("a")), how="cross").where(col("a") + col("b") < 0)
        started.set()
        pairs.collect()
        done.set()

    started, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=copy_context().run, args=(run_query, started, done))
    thread.start()
    started.wait()
    turns = 0
    while not done.is_set():
        turns += 1
    thread.join()
    # If the query held Python up, there would be a turn before it and one after.
    assert turns > 1000


def test_a_thread_has_the_default_session_and_a_context_carries_its_own():
    sessions = []
    inner = keyloom.current_session()
    carried = copy_context()

    def look():
        sessions.append(keyloom.current_session())

    for target in [look, lambda: carried.run(look)]:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert sessions[0] is not inner
    assert sessions[1] is inner


def test_tasks_of_asyncio_keep_their_sessions_apart():
    async def work(value, turn):
        with keyloom.Session(workers=1) as session:
            keyloom.attach(load_kv("memory", name="store", initial_data={1: value}))
            await turn.wait()
            assert keyloom.current_session() is session
            df = keyloom.from_pydict({"k": [1]})
            return df.select(kv_get("k", source="store")["value"]).to_pydict()["value"]

    async def both():
        turn = asyncio.Event()
        tasks = [asyncio.create_task(work(value, turn)) for value in [10, 20]]
        turn.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(both()) == [[10], [20]]


# Sessions.


def test_with_nests_and_the_outer_session_comes_back():
    store = load_kv("memory", name="store", initial_data={1: 1})
    with keyloom.Session() as outer:
        keyloom.attach(store, alias="outer")
        with keyloom.Session() as inner:
            keyloom.attach(store, alias="inner")
            assert keyloom.current_session() is keyloom.session() is inner
            assert keyloom.list_kv() == ["inner"]
        assert keyloom.current_session() is outer
        assert keyloom.list_kv() == ["outer"]
        with pytest.raises(ValueError, match="^the session is closed$"):
            inner.list_kv()
    assert keyloom.current_session() not in (outer, inner)


def test_an_error_leaves_the_session_that_was_current_before():
    before = keyloom.current_session()
    with pytest.raises(RuntimeError, match="^stop$"):
        with keyloom.Session():
            raise RuntimeError("stop")
    assert keyloom.current_session() is before


def test_one_session_may_be_entered_twice():
    session = keyloom.Session()
    with session, session:
        assert keyloom.from_pydict({"x": [1]}).count_rows() == 1
    with pytest.raises(ValueError, match="^the session is closed$"):
        session.list_kv()


def test_code_outside_of_any_with_shares_one_session():
    script = """
    from keyloom.kv import load_kv

    one = keyloom.current_session()
    keyloom.attach(load_kv("memory", name="store", initial_data={1: 1}))
    print(keyloom.current_session() is one, keyloom.list_kv())
    with keyloom.Session():
        print(keyloom.list_kv())
    print(keyloom.list_kv())
    one.close()
    print(keyloom.current_session() is one, keyloom.list_kv())
    """
    assert run(script) == ["True ['store']", "[]", "['store']", "False []"]


def threads_of_this_process():
    return len(os.listdir("/proc/self/task"))


def test_sessions_and_frames_that_are_gone_leave_no_threads():
    def use():
        with keyloom.Session(workers=2):
            df = keyloom.from_pydict({"x": [1, 2]}).with_column("y", col("x") + 1)
            assert df.collect().to_pydict() == {"x": [1, 2], "y": [2, 3]}

    use()
    before = threads_of_this_process()
    for _ in range(30):
        use()
    assert wait_until(lambda: threads_of_this_process() <= before)


def test_frames_that_are_gone_leave_no_threads_and_no_files():
    keyloom.from_pydict({"x": [0]}).collect()
    before = threads_of_this_process(), len(os.listdir("/proc/self/fd"))
    for number in range(200):
        df = keyloom.from_pydict({"x": [number]}).with_column("y", col("x") + 1)
        assert df.to_pydict() == {"x": [number], "y": [number + 1]}
        next(iter(df))
        df.__arrow_c_stream__()
    assert wait_until(lambda: threads_of_this_process() <= before[0])
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before[1])


# The end.


def test_the_interpreter_exits_cleanly_while_a_thread_waits_for_a_query():
    script = (
        ENDLESS
        + """
    started = threading.Event()

    def work():
        job = endless._frame.submit()
        started.set()
        job.collect(None)

    threading.Thread(target=work, daemon=True).start()
    started.wait()
    print("leaving")
    """
    )
    assert Script(script).end() == (0, ["leaving"], "")


def test_the_interpreter_exits_cleanly_with_everything_open():
    script = """
    from keyloom.kv import load_kv

    session = keyloom.Session().__enter__()
    session.attach(load_kv("memory", name="store", initial_data={1: 1}))
    df = keyloom.from_pydict({"x": range(100_000)}).collect()
    rows = iter(keyloom.from_pydict({"x": range(100_000)}))
    print(next(rows))
    stream = df.__arrow_c_stream__()
    """
    assert Script(script).end() == (0, ["{'x': 0}"], "")


def test_importing_writes_nothing_and_knows_its_version():
    script = """
    print(keyloom.__version__ == keyloom.__build__.partition("+")[0])
    """
    assert Script(script).end() == (0, ["True"], "")


def test_ctrl_c_stops_a_job_of_a_cluster(cluster):
    script = f"""
    import time

    def wait_for(running):
        deadline = time.monotonic() + {DEADLINE_SECONDS}
        while any(worker["running"] for worker in keyloom.workers()) != running:
            assert time.monotonic() < deadline

    def interrupt():
        with keyloom.connect({cluster!r}):
            wait_for(True)
        os.kill(os.getpid(), signal.SIGINT)

    with keyloom.connect({cluster!r}):
        slow = col("x")
        for _ in range(15):
            slow = slow.hash()
        df = keyloom.from_pydict({{"x": range(500_000)}}).select(slow.count())
        threading.Thread(target=interrupt).start()
        try:
            df.collect()
        except KeyboardInterrupt:
            print("interrupted")
        wait_for(False)
        print(keyloom.from_pydict({{"x": [1]}}).to_pydict())
    """
    assert run(script) == ["interrupted", "{'x': [1]}"]


def test_a_handler_of_signals_may_ask_for_something_itself():
    script = (
        ENDLESS
        + """
    other = keyloom.Session()

    def ask(*_):
        with other:
            print(keyloom.from_pydict({"x": [1]}).to_pydict())
        raise TimeoutError("late")

    signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        endless.count_rows()
    except TimeoutError as error:
        print(error)
    """
    )
    assert run(script) == ["{'x': [1]}", "late"]


def test_threads_and_tasks_may_enter_one_session_at_once():
    shared, barrier = keyloom.Session(), threading.Barrier(4)

    def work(number):
        with shared:
            barrier.wait(timeout=DEADLINE_SECONDS)
            return keyloom.from_pydict({"x": [number]}).to_pydict()["x"][0]

    with shared, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    with pytest.raises(keyloom.InvalidError, match="^the session is closed$"):
        shared.__enter__()
    assert keyloom.from_pydict({"x": [1]}).count_rows() == 1

    async def tasks():
        other, both = keyloom.Session(), asyncio.Event()

        async def task(wait):
            with other:
                await both.wait() if wait else both.set()
                return keyloom.current_session() is other

        return await asyncio.gather(task(True), task(False))

    assert asyncio.run(tasks()) == [True, True]


def test_sessions_may_be_left_in_any_order():
    def rows():
        with keyloom.Session():
            yield keyloom.current_session()
            yield keyloom.current_session()

    outer = keyloom.current_session()
    one, two = rows(), rows()
    first, second = next(one), next(two)
    one.close()
    assert keyloom.current_session() is second is not first
    two.close()
    assert keyloom.current_session() is outer


def test_a_stopped_cross_join_stops():
    script = """
    import time

    def spent():
        ticks = 0
        for task in os.listdir("/proc/self/task"):
            name, _, rest = open(f"/proc/self/task/{task}/stat").read().rpartition(") ")
            if name.endswith("keyloom-plans"):
                ticks += int(rest.split()[11])
        return ticks

    n = keyloom.from_pydict({"a": range(60_000)})
    endless = n.join(n.select(b=col("a")), how="cross").agg((col("a") * col("b") % 7).sum())
    signal.setitimer(signal.ITIMER_REAL, 1)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        endless.collect()
    except KeyboardInterrupt:
        print("interrupted")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        before = spent()
        # Queries whose rows are only passed on are the clock.
        for _ in range(30):
            n.where(col("a") < 3).to_pydict()
        if spent() == before:
            print("idle")
            break
    """
    assert run(script) == ["interrupted", "idle"]
