"""Octopus' own TypeScript client, unchanged, drives the emulator. Each `.mjs` file beside it is one judge.

The package is installed once, by `npm install` in that folder, or lies in the folder that OCTOSTEPS_NODE_MODULES names. The
judges themselves talk to loopback only.
"""

from __future__ import annotations

import os
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
INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the client in it, installed when it is missing."""
    require("node", shutil.which("node") is not None, "there is no `node` on the PATH")
    named = os.environ.get("OCTOSTEPS_NODE_MODULES")
    folder = Path(named) if named else FOLDER / "node_modules"
    if not named and not (folder / CLIENT).is_file():
        require(
            "node", shutil.which("npm") is not None, "there is no `npm` on the PATH to install the client"
        )
        install(tmp_path_factory.mktemp("npm"), folder)
    require("node", (folder / CLIENT).is_file(), f"{folder} does not hold {CLIENT.parent.as_posix()}")
    return folder.resolve()


def install(scratch: Path, folder: Path) -> None:
    """What package.json names, in `folder`. Made aside and then moved: several test processes may be at it at once."""
    shutil.copy(FOLDER / "package.json", scratch)
    done = subprocess.run(INSTALL, cwd=scratch, capture_output=True, text=True, timeout=300)
    reason = f"`{' '.join(INSTALL)}` failed: {done.stderr.strip()[-500:]}"
    require("node", done.returncode == 0, reason)
    beside = folder.with_name(f"node_modules.{os.getpid()}")
    shutil.move(scratch / "node_modules", beside)
    try:
        beside.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(beside)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Under a virtual directory, as many installations are. An unknown request fails the judge that made it."""
    with Emulator(virtual_directory="octopus") as running:
        yield running
        assert [] == running.refused


@pytest.mark.parametrize("judge", JUDGES)
def test_the_official_client_is_content(judge: str, node_modules: Path, emulator: Emulator) -> None:
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "OCTOSTEPS_NODE_MODULES": str(node_modules),
        "OCTOPUS_URL": emulator.url,
        "OCTOPUS_API_KEY": emulator.api_key,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["node", f"{judge}.mjs"], cwd=FOLDER, env=environ, capture_output=True, text=True, timeout=LONGEST
    )
    assert 0 == done.returncode, f"{judge}.mjs:\n{done.stdout}{done.stderr}"
