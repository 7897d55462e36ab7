"""The documentation is true: its examples run, its links lead somewhere, every command is in it."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from generator.cli import octosteps as commands
from tests.commandline import octosteps
from tests.scene import known

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLE = ROOT / "examples" / "page"


def without_comments(text: str) -> str:
    return "\n".join(line for line in text.strip().splitlines() if not line.startswith("#"))


def test_the_readmes_spec_is_the_example() -> None:
    """What a newcomer sees first is a file that is built and run below."""
    [spec] = re.findall(r"```yaml\n(# step_templates/check-page\.yaml\n.*?)```", README, re.DOTALL)
    assert without_comments((EXAMPLE / "step_templates" / "check-page.yaml").read_text()) == without_comments(
        spec
    )


@pytest.fixture
def page() -> Iterator[str]:
    """A page that answers."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_readmes_example_builds_and_runs(page: str, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(EXAMPLE, folder)
    built = octosteps("build", folder=folder)
    assert built.exit_code == 0, built
    ran = octosteps("run", "Web - Check Page", "--set", f"page={page}", folder=folder)
    assert ran.exit_code == 0, ran
    assert f"{page} answers 204" in ran.out, ran
    failed = octosteps("run", "Web - Check Page", "--set", "page=", folder=folder)
    assert failed.exit_code == 1, failed
    assert "misconfigured: Page" in failed.out + failed.err, failed


def test_every_command_is_in_the_readme() -> None:
    for name, command in commands.commands.items():
        assert f"octosteps {name}" in README, name
        assert command.help, name


def test_every_built_in_template_is_in_the_readme() -> None:
    for name in known():
        assert name in README, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http:", "https:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page}: {target}"


def yaml_blocks() -> list[object]:
    """Every coordination file that the pages show."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            if "projects:" in block and "\nspaces:" not in block:
                found.append(pytest.param(block, id=f"{page.name}: {block.splitlines()[0]}"))
    return found


@pytest.mark.parametrize("block", yaml_blocks())
def test_the_coordination_files_shown_are_sound(block: str, tmp_path: Path) -> None:
    (tmp_path / "coordination.yaml").write_text(block)
    ended = octosteps("check", folder=tmp_path)
    assert ended.exit_code == 0, ended
