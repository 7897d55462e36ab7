"""The emulator under load: 200 tasks side by side and 50 clients that poll, beside one client that polls an idle server.

Latency is what the clients see over their sockets; the clients share the machine with the server. Memory is the resident set of
the server's process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

TASKS, CLIENTS = 200, 50
SECONDS = 10.0
BIN = Path(sys.executable).parent
PROJECTS = 4

SCENARIO = """\
speed: 1
task_cap: {tasks}
spaces:
  Default:
    environments: [{environments}]
    lifecycles: {{All: [{{name: All}}]}}
    projects:
{projects}
    deployments:
{deployments}
"""


def make_scenario() -> str:
    """Projects whose deployments last longer than the benchmark, all queued when the server starts."""
    environments = [f"E{number}" for number in range(TASKS // PROJECTS)]
    projects = [f"P{number}" for number in range(PROJECTS)]
    return SCENARIO.format(
        tasks=TASKS,
        environments=", ".join(environments),
        projects="\n".join(
            f'      {name}: {{lifecycle: All, steps: [{{name: Last, duration: 1h}}], releases: ["1.0.0"]}}'
            for name in projects
        ),
        deployments="\n".join(
            f"      - {{project: {project}, release: 1.0.0, environment: {environment}, state: queued}}"
            for project in projects
            for environment in environments
        ),
    )


@contextmanager
def emulate(*arguments: str) -> Iterator[tuple[str, str, int]]:
    """A server of its own: its URL, key and process id."""
    words = [str(BIN / "octosteps"), "emulate", "--port", "0", "-f", "json", *arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            yield facts["url"], facts["apiKey"], process.pid
        finally:
            process.terminate()
            process.wait(timeout=60)


def megabytes(process: int) -> float:
    """The resident set."""
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True
    )
    return int(told.stdout) / 1024


def poll(url: str, key: str, until: float, pause: float, into: list[float]) -> None:
    """Ask for the running tasks until the moment has come, as a step that waits for children does; seconds of each answer."""
    with httpx.Client(base_url=f"{url}/api/Spaces-1/", headers={"X-Octopus-ApiKey": key}, timeout=60) as http:
        while time.monotonic() < until:
            begun = time.perf_counter()
            http.get("tasks", params={"ids": "ServerTasks-1,ServerTasks-2,ServerTasks-3"}).raise_for_status()
            into.append(time.perf_counter() - begun)
            time.sleep(pause)


def measure_polls(url: str, key: str, *, clients: int, pause: float) -> list[float]:
    """The answer times that so many clients see, sorted."""
    times: list[list[float]] = [[] for _ in range(clients)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=poll, args=(url, key, until, pause, into)) for into in times]
    for thread in threads:
        thread.start()
        time.sleep(pause / clients)  # clients do not begin in one moment
    for thread in threads:
        thread.join()
    return sorted(seconds for into in times for seconds in into)


def spread(times: Sequence[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"median {statistics.median(times) * 1000:.1f} ms, 95 of 100 within {cuts[94] * 1000:.1f} ms"


def measure() -> list[str]:
    """The lines of the report."""
    with emulate() as (url, key, process):
        empty = megabytes(process)
        alone = measure_polls(url, key, clients=1, pause=0.02)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.yaml"
        file.write_text(make_scenario())
        with emulate("--scenario", str(file)) as (url, key, process):
            loaded = measure_polls(url, key, clients=CLIENTS, pause=1.0)
            full = megabytes(process)
            running = httpx.get(
                f"{url}/api/octopusservernodes/summary", headers={"X-Octopus-ApiKey": key}
            ).json()
            count = running["Nodes"][0]["RunningTaskCount"]
    slower = statistics.median(loaded) / statistics.median(alone)
    return [
        f"emulator idle, 1 client: {spread(alone)}; {empty:.0f} MB",
        f"emulator with {count} running tasks, {CLIENTS} clients polling each second: {spread(loaded)} "
        f"({slower:.1f} times the idle one); {full:.0f} MB ({(full - empty) / count * 1024:.0f} kB a task)",
    ]
