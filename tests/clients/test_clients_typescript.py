"""Octopus' own TypeScript client, unchanged, drives the emulator. Each `.mjs` file beside it is one judge.

The package is installed once, by `npm install` in that folder, or lies in the folder that OCTOSTEPS_NODE_MODULES names. The
judges themselves talk to loopback only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from generator.emulator import Emulator
from tests.requirements import require

FOLDER = Path(__file__).parent / "typescript"
JUDGES = sorted(path.stem for path in FOLDER.glob("*.mjs"))
CLIENT = Path("@octopusdeploy") / "api-client" / "package.json"
LONGEST = 120.0
# What no judge calls, by `Class.method`, and why.
NOT_CALLED = {
    r"(Observability|KubernetesMonitor)Repository\..*": "live status of Kubernetes; the emulator has no clusters",
    r"EnvironmentRepository\..*Ephemeral.*": "ephemeral environments are not imitated",
    r"EnvironmentRepository\.(summary|variablesScopedOnlyToThisEnvironment)": "what the portal shows; not imitated",
    r"TenantRepository\.\w+(Common|Project)Variables(ById)?": "the second form of tenant variables is not imitated; the first is",
    r"Runbook\w*\.(\w+WithGitRef|createGit)": "runbooks in Git are not imitated",
    r"PackageRepository\.(packageUpload|upload)": "the client's own parts of push",
    r"ServerTaskWaiter\.(waitForTasks|cancelTasks|getTasksWithRetry|isRetryableError)": "the client's own parts of waiting",
    r"BasicRepository\.(subscribeToDataModifications|unsubscribeFromDataModifications|extend)": "send nothing",
    r"Client\.(on\w+|doUpdate|doCommand|post|tryGetServerInformation|dispatchRequest|resolveUrl)": "below the repositories",
}
INSTALL = "npm install --prefix tests/clients/typescript --no-package-lock --ignore-scripts"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with the client in it. No test installs it: tests stay off the network."""
    require("node", shutil.which("node") is not None, "there is no `node` on the PATH")
    named = os.environ.get("OCTOSTEPS_NODE_MODULES")
    folder = Path(named) if named else FOLDER / "node_modules"
    reason = f"{folder} does not hold {CLIENT.parent.as_posix()}: run `{INSTALL}`"
    require("node", (folder / CLIENT).is_file(), reason)
    return folder.resolve()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Under a virtual directory, as many installations are. An unknown request fails the judge that made it."""
    with Emulator(virtual_directory="octopus") as running:
        yield running
        assert [] == running.refused


@pytest.mark.parametrize("judge", JUDGES)
def test_the_official_client_is_content(judge: str, node_modules: Path, emulator: Emulator) -> None:
    if judge == "troubles":
        for status in (503, 429):
            emulator.faults.add(path="/tasks$", method="GET", status=status)
    done = node(node_modules, f"{judge}.mjs", OCTOPUS_URL=emulator.url, OCTOPUS_API_KEY=emulator.api_key)
    assert 0 == done.returncode, f"{judge}.mjs:\n{done.stdout}{done.stderr}"


def test_what_no_judge_calls_has_its_reason(node_modules: Path) -> None:
    """Every public method of the client is called by some judge, or stands in the table."""
    listing = """
        import { octopus } from "./scene.js";
        for (const [name, value] of Object.entries(octopus)) {
            if (/(Repository|Waiter|Client|Builder)$/.test(name)) {
                for (const method of Object.getOwnPropertyNames(value.prototype)) console.log(`${name}.${method}`);
            }
        }
    """
    done = node(node_modules, "--input-type=module", "--eval", listing)
    methods = {line for line in done.stdout.splitlines() if not line.endswith(".constructor")}
    assert len(methods) > 80, done.stderr
    text = "".join(path.read_text() for path in FOLDER.glob("*.*js"))
    missing = {method for method in methods if f".{method.partition('.')[2]}(" not in text}
    explained = {method for method in missing for pattern in NOT_CALLED if re.fullmatch(pattern, method)}
    assert set() == missing - explained
    for pattern in NOT_CALLED:
        assert any(re.fullmatch(pattern, method) for method in missing), f"in vain: {pattern}"


def node(node_modules: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Node in the folder of the judges, with nothing of our environment but the PATH."""
    return subprocess.run(
        ["node", *arguments],
        cwd=FOLDER,
        env={
            "PATH": os.environ.get("PATH", ""),
            "OCTOSTEPS_NODE_MODULES": str(node_modules),
            "NO_PROXY": "127.0.0.1",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
