"""What `pip install` brings: the command, the built-in library and a working demo, from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked as an installer would. It is built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = folder.glob("octosteps-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """octosteps from the unpacked wheel, not from this checkout."""
    return subprocess.run(
        [sys.executable, "-c", "from generator.cli import main; main()", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_only_the_package_is_installed(site: Path) -> None:
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"generator"}


def test_the_demo_works_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    ended = run(site, tmp_path, "demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Failed as it should: refused: Database in Test is at 1.4.0, wanted [2.0,3.0)" in ended.stdout
    assert "octosteps-demo-" in ended.stdout, "it built the installed library, not this checkout's"
    assert list(tmp_path.iterdir()) == [], "the demo writes nothing into the folder it is started in"


def test_the_built_in_library_is_found_by_name(site: Path, tmp_path: Path) -> None:
    (tmp_path / "coordination.yaml").write_text(
        "projects:\n  Web:\n    process: deployment\n    steps:\n      - key: database\n"
        "        template: Octopus - Deploy Release\n        name: Database\n        with: {projct: Database}\n"
    )
    ended = run(site, tmp_path, "check")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "coordination.yaml:8:16:" in ended.stderr
    assert "did you mean 'project'" in ended.stderr
