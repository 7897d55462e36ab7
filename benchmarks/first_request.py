"""How long a step takes to its first request, above a Python that does nothing.

The script is started as Octopus' bootstrap starts it (`run_path`, the helper functions as its globals, no compiled copy), without
the bootstrap's own work of decrypting variables. The server is a bare socket that notes when the first request arrives.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generator.workspace import Built, render_known

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("Octopus - Deploy Release", "Octopus - Wait For Deployment", "Octopus - Cancel Orphans")
RUNS = 21
BOOTSTRAP = """\
import json, sys
from runpy import run_path
values = json.load(open(sys.argv[2]))
def nothing(*arguments): pass
def failstep(message=None): sys.exit(255)
names = ("set_octopusvariable", "createartifact", "updateprogress", "printverbose", "printhighlight", "printwait", "printwarning")
helpers = dict.fromkeys(names, nothing)
helpers.update(get_octopusvariable=lambda name: values.get(name, ""), failstep=failstep)
run_path(sys.argv[1], helpers, "__main__")
"""
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def measure_starts(folder: Path) -> list[str]:
    """A line for each step: the median of what it takes longer than `python -c pass` to its first request."""
    known = render_known(ROOT)
    (folder / "bootstrap.py").write_text(BOOTSTRAP)
    with listening() as (port, arrived):
        return [measure_start(folder, known[name], port, arrived) for name in STEPS]


def measure_start(folder: Path, built: Built, port: int, arrived: list[float]) -> str:
    script, values = folder / "Script.py", folder / "values.json"
    script.write_text(built.script)
    form = {"server": f"http://127.0.0.1:{port}", "api_key": "API-BENCHMARK", "space": "Spaces-1"}
    form.update(project="Web", environment="Test", tenant="")
    filled = {one.variable: form.get(one.key, one.default or "") for one in built.spec.parameters}
    values.write_text(json.dumps(filled))
    nothing = [sys.executable, "-c", "pass"]
    ours = [sys.executable, str(folder / "bootstrap.py"), str(script), str(values)]
    pairs = []
    for number in range(RUNS + 1):
        arrived.clear()
        pair = (run(nothing, folder)[1], -run(ours, folder)[0] + arrived[0])
        pairs.extend([pair] if number else [])  # the first is for warming up
    extra = statistics.median(step - base for base, step in pairs) * 1000
    best = (min(step for _, step in pairs) - min(base for base, _ in pairs)) * 1000
    return (
        f"{built.spec.name}: first request {extra:.0f} ms after python -c pass, at best {best:.0f} ms (at most 80); "
        f"{len(built.script) // 1000} KB"
    )


def run(words: list[str], folder: Path) -> tuple[float, float]:
    """When it began, and how long it took."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    begun = time.perf_counter()
    subprocess.run(words, cwd=folder, env=environ, capture_output=True, check=False)
    return begun, time.perf_counter() - begun


@contextmanager
def listening() -> Iterator[tuple[int, list[float]]]:
    """A port, and the moments at which requests arrived there; each is refused."""
    arrived: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    arrived.append(time.perf_counter())
                    connection.sendall(REFUSAL)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], arrived
        server.shutdown(socket.SHUT_RDWR)
