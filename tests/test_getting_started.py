"""docs/getting-started.md, word by word: its files are written, its commands run, and their output is what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8065"


class Terminal:
    """What a person has: a folder, an environment, and a second terminal for the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        self.server: subprocess.Popen[str] | None = None
        self.address = ADDRESS

    def type(self, line: str) -> str:
        """What the line prints."""
        line = line.partition(" #")[0].replace(ADDRESS, self.address)
        if line.startswith("pip install"):
            return ""
        if line.startswith("mkdir"):  # `mkdir steps && cd steps`
            self.folder = self.folder / shlex.split(line)[1]
            self.folder.mkdir()
            return ""
        if line.startswith("export"):
            self.environ.update(word.split("=", 1) for word in shlex.split(line)[1:])
            return ""
        name, *words = shlex.split(line)
        assert "octosteps" == name, line
        command = [sys.executable, "-m", "generator", *words]
        if words[0] == "emulate":
            return self.serve([*command, "--port", "0"])
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        assert 0 == ended.returncode, f"$ {line}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def serve(self, command: list[str]) -> str:
        self.server = subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, text=True
        )
        assert self.server.stdout is not None
        lines = [self.server.stdout.readline(), self.server.stdout.readline()]
        self.address = lines[0].strip().partition("=")[2]
        return "".join(lines)


def blocks() -> Iterator[tuple[str, str]]:
    """The page's blocks in order: their language and text."""
    yield from re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def exchanges(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output below it."""
    for exchange in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = exchange.partition("\n")
        yield line, output


def pattern(output: str, address: str) -> str:
    """A regular expression for shown output: `...` is left out text, checksums differ from spec id to spec id."""
    text = re.escape(output.replace(ADDRESS, address))
    text = re.sub(r"Checksum\\ \w+", r"Checksum\\ [0-9a-f]+", text)
    return re.sub(r"^\\\.\\\.\\\.(\\?\n)", "(.*\n)*", text, flags=re.MULTILINE)


def test_every_line_of_the_page_holds(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    typed = []
    try:
        for language, block in blocks():
            if language == "yaml":
                name = block.split("\n")[0].removeprefix("# ")
                (terminal.folder / name).write_text(block, encoding="utf-8")
                continue
            assert "console" == language
            for line, shown in exchanges(block):
                printed = terminal.type(line)
                typed.append(line.split()[1])
                assert re.fullmatch(pattern(shown, terminal.address), printed), f"$ {line}\n{printed}"
    finally:
        if terminal.server is not None:
            terminal.server.send_signal(signal.SIGINT)
            terminal.server.communicate()
    assert {"new", "check", "build", "run", "emulate", "plan", "apply"} <= set(typed)
