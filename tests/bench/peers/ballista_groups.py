"""The work of `groups` in Ballista: a scheduler, and an executor of two tasks at once.

`ballista_groups.py REQUESTS ITEMS` groups the rows of a folder of Parquet files by the names that a
Parquet file of items has for them, and prints figures as JSON. It needs the packages
`ballista==54.1.0` and `datafusion==54.1.0`. Their wheels want glibc 2.39, so `run` does not set them
up. From Python, there can be one executor a host.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from ballista import BallistaExecutor, BallistaScheduler, BallistaSessionContext

HOST = "127.0.0.1"
SCHEDULER = 50550
EXECUTOR = 50560
TASKS = 2
# Nothing tells when an executor is registered, and a statement fails before.
SETTLE_SECONDS = 3

GROUPS = """
    SELECT i.name, count(*) AS n, sum(r.delay) AS delay
    FROM requests AS r LEFT JOIN items AS i ON r.id = i.id GROUP BY i.name
"""


def main() -> None:
    """Times the statement twice, the first time with the registration of its tables."""
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
        return
    requests, items = sys.argv[1:]
    with cluster():
        begin = time.perf_counter()
        context = connected()
        context.register_parquet("requests", requests)
        context.register_parquet("items", items)
        groups(context)
        cold = time.perf_counter() - begin

        begin = time.perf_counter()
        rows = groups(context)
        warm = time.perf_counter() - begin
    json.dump({"cold": cold, "warm": warm, "rows": rows}, sys.stdout)


def connected() -> BallistaSessionContext:
    """A session of as many partitions as tasks run at once."""
    partitions = {"datafusion.execution.target_partitions": str(TASKS)}
    return BallistaSessionContext(f"df://{HOST}:{SCHEDULER}", cluster_config=partitions)


def groups(context: BallistaSessionContext) -> int:
    """How many groups there are, all of which came to this process."""
    return sum(batch.num_rows for batch in context.sql(GROUPS).collect())


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Processes of their own, which end with this."""
    processes: list[subprocess.Popen[Any]] = []
    try:
        processes.append(started("scheduler", SCHEDULER))
        processes.append(started("executor", EXECUTOR))
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def started(role: str, port: int) -> subprocess.Popen[Any]:
    """A process that has said that it serves."""
    command = [sys.executable, __file__, "serve", role, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "serves\n":
        raise SystemExit(f"the {role} at port {port} did not start")
    return process


def serve(role: str, port: str) -> None:
    """Is a scheduler or an executor until it is killed."""
    if role == "scheduler":
        process = BallistaScheduler(bind_host=HOST, bind_port=int(port))
    else:
        process = BallistaExecutor(
            bind_host=HOST,
            bind_port=int(port),
            scheduler_host=HOST,
            scheduler_port=SCHEDULER,
            concurrent_tasks=TASKS,
        )
    process.start()
    print("serves", flush=True)
    process.wait_for_termination()


if __name__ == "__main__":
    main()
