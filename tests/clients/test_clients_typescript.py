"""Octopus' own TypeScript client, unchanged, drives the emulator. Each `.mjs` file beside it is one judge.

The package is installed once, by `npm install` in that folder, or lies in the folder that OCTOSTEPS_NODE_MODULES names. The
judges themselves talk to loopback only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.emulator import Emulator
from tests.commandline import Ended, octosteps
from tests.requirements import require
from tests.scene import ROOT, open_scene

FOLDER = Path(__file__).parent / "typescript"
JUDGES = sorted(path.stem for path in FOLDER.glob("*.mjs"))
CLIENT = Path("@octopusdeploy") / "api-client" / "package.json"
LONGEST = 120.0
EXAMPLE = ROOT / "examples" / "page"
BODY = "Octopus.Action.Script.ScriptBody"
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


COORDINATION = """\
projects:
  Shop:
    process: deployment
    steps:
      - {key: page, template: Web - Check Page, name: Check the page, with: {page: "https://shop.example.com", patience: 10s}}
"""


def test_the_official_client_reads_what_was_published_and_its_edits_are_drift(
    node_modules: Path, tmp_path: Path
) -> None:
    """A template of a library of its own and a step imported from it, by the real command line on both sides."""
    folder = tmp_path / "page"
    shutil.copytree(EXAMPLE, folder)
    (folder / "coordination.yaml").write_text(COORDINATION)
    with open_scene(environments=(), virtual_directory="octopus") as scene:
        scene.make_project("Shop")

        def command(*words: str) -> Ended:
            return octosteps(*words, folder=folder, environ=scene.environ)

        def client(wish: str) -> Any:
            done = node(node_modules, "published.js", wish, **scene.environ)
            assert 0 == done.returncode, f"{done.stdout}{done.stderr}"
            return json.loads(done.stdout)

        for words in (["build"], ["apply", "--no-prompt"], ["apply", "coordination.yaml", "--no-prompt"]):
            assert 0 == (ended := command(*words)).exit_code, ended
        read = client("read")
        built = json.loads((folder / "build" / "check-page.json").read_text())
        published = read["template"]
        assert built["Properties"].items() <= published["Properties"].items()
        assert [(p["Id"], p["Name"], p["DefaultValue"]) for p in built["Parameters"]] == [
            (p["Id"], p["Name"], p["DefaultValue"]) for p in published["Parameters"]
        ]
        [step] = read["process"]["Steps"]
        properties = step["Actions"][0]["Properties"]
        assert ("Check the page", "10s", built["Properties"][BODY]) == (
            step["Name"],
            properties["CheckPage.Patience"],
            properties[BODY],
        )
        assert 0 == command("plan", "--exit-code").exit_code
        assert 0 == command("plan", "coordination.yaml", "--exit-code").exit_code
        client("edit-step")
        kept = command("plan", "coordination.yaml")
        assert "CheckPage.Patience" in kept.out, kept
        client("edit-template")
        drift = command("plan", "--exit-code")
        assert 4 == drift.exit_code, drift
        assert "it was edited on the server by admin" in drift.out, drift
        assert "print('edited by the official client')" in drift.out, drift
        behind = command("usages", "--behind")
        assert "owned" in behind.out, behind


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
