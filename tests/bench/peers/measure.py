"""Measures all peers on all workloads, each time in a fresh process, and writes the figures."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from job import STORES, Job

# What the figures call each peer, and its module.
PEERS = {
    "keyloom in python": "keyloom_package",
    "daft join": "daft_join",
    "polars join": "polars_join",
    "pylance script": "pylance_script",
}


def main() -> None:
    """Reads the arguments (`run` has checked most), measures and writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workloads", type=lambda names: names.split(","), required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()

    jobs = [Job(arguments.data, workload) for workload in arguments.workloads if workload in STORES]
    if len(jobs) != len(arguments.workloads):
        fail(f"workloads are {', '.join(STORES)}, not all of {', '.join(arguments.workloads)}")
    for path in {path for job in jobs for path in (job.requests, job.items, job.meta)}:
        if not Path(path).exists():
            fail(f"no '{path}'")

    measured = [figures for job in jobs for figures in measure(job, arguments.runs)]
    arguments.json.write_text(json.dumps(measured, indent=2) + "\n")


def measure(job: Job, runs: int) -> list[dict[str, Any]]:
    """The figures of all peers on one workload.

    The peers take turns, so that what else the machine does falls on all of them alike.
    """
    warm(job)
    measured: dict[str, dict[str, Any]] = {
        variant: {"workload": job.workload, "variant": variant, "seconds": [], "peak_bytes": 0}
        for variant in PEERS
    }
    answers: dict[str, dict[str, Any]] = {}
    for run in range(1, runs + 1):
        for variant, module in PEERS.items():
            once = measure_once(job, module)
            figures = measured[variant]
            figures["seconds"].append(round(once["seconds"], 4))
            figures["peak_bytes"] = max(figures["peak_bytes"], once["peak_bytes"])
            answers[variant] = {"rows": once["rows"], "checksum": once["checksum"]}
            if len({json.dumps(answer) for answer in answers.values()}) > 1:
                fail(f"the answers for {job.workload} differ: {json.dumps(answers, indent=2)}")
            figures |= answers[variant]
            peak = f"{once['peak_bytes'] / 1e9:5.2f} GB"
            say(f"{job.workload:7} {variant:15} {run}/{runs} {once['seconds']:7.2f} s {peak}")
    for variant, figures in measured.items():
        say(f"{job.workload:7} {variant:15} median {statistics.median(figures['seconds']):.2f} s")
    return list(measured.values())


def warm(job: Job) -> None:
    """Reads the files once: all are measured with a warm page cache."""
    for path in (job.requests, job.items, job.meta):
        for file in [Path(path), *Path(path).rglob("*")]:
            if file.is_file():
                with file.open("rb", buffering=0) as opened:
                    while opened.read(1 << 20):
                        pass


def measure_once(job: Job, module: str) -> dict[str, Any]:
    """The figures of one process, whose errors go to our stderr."""
    script = Path(__file__).with_name("once.py")
    command = [sys.executable, str(script), str(job.data), job.workload, module]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail(f"{module} failed on {job.workload}: exit status {done.returncode}")
    return json.loads(done.stdout)


def say(line: str) -> None:
    """Progress, for a person."""
    print(f"peers: {line}", file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Ends with an error."""
    say(message)
    sys.exit(1)


if __name__ == "__main__":
    main()
