"""What a command came to, and the only code that prints it.

A command's `run(...)` gives back an `Outcome`; `show` writes it as a person, a pipe or a program wants it. Diagnostics go to
stderr; with `json` nothing but one JSON document goes to stdout. rich is loaded only when something has to be drawn.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol, TextIO, TypeAlias, TypeVar

from generator.errors import Problem

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings. Cells are text; `None` shows as a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    title: str = ""


Part: TypeAlias = str | Table
Confirm: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command found or did.

    `data` is the document for `-f json`. `parts` is what a person reads, in order: text lines and tables. `lines` is what
    `-f basic` prints, one id or name each. `problems` go to stderr whatever the format is.
    """

    data: object = None
    parts: Sequence[Part] = ()
    lines: Sequence[str] = ()
    problems: Sequence[Problem] = field(default=())
    exit_code: int = 0


class OutputRefused(Exception):
    """The output could not be written: the disk that it goes to is full, for example."""


class ReaderGone(Exception):
    """Nobody reads the output any more, as after `| head -1`. Not a BrokenPipeError: click would take that for its own.

    `exit_code` is what the command came to.
    """

    exit_code = 0


@contextmanager
def writing() -> Iterator[None]:
    """Around everything that is printed. Errors: OutputRefused, ReaderGone."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise OutputRefused(error.strerror or str(error)) from error


def complain(text: str) -> None:
    """A line on stderr; where that is gone, too, the exit code has to do."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Standard streams that carry every text: a console without some letter shows its code instead, a closed stream swallows."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Progress(Protocol):
    """Tells a waiting person how far a long piece of work has come."""

    def __call__(self, items: Sequence[Item], description: str) -> Iterable[Item]: ...


def quiet(items: Sequence[Item], description: str) -> Iterable[Item]:
    """The items, without a word: for tests, pipes and CI."""
    return items


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a person looks at `stream`: a terminal, and not in CI."""
    return stream.isatty() and not environ.get("CI")


def show_progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """The items, with a bar on stderr once they have taken longer than a second."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(description, total=len(items))
    begun, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not shown and time.monotonic() - begun > 1:
                bar.start()
                shown = True
    finally:
        bar.stop()


def pick_progress(environ: Mapping[str, str] = os.environ) -> Progress:
    """A bar where a person watches, silence elsewhere."""
    return show_progress if is_terminal(sys.stderr, environ) else quiet


def ask(question: str) -> bool:
    """Whether the person at the terminal answers yes. Anything but y or yes is a no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def announce(document: Mapping[str, object], text: str, *, output_format: str) -> None:
    """One line on stdout before the command has ended, as the format wants it: a server's address, a task's log line."""
    with writing():
        print(to_json(document, sys.stdout) if output_format == "json" else text, flush=True)


def show(outcome: Outcome, *, output_format: str = "table", out: TextIO | None = None) -> int:
    """Print the outcome in `output_format` (table, json or basic) and give back its exit code."""
    try:
        _show(outcome, output_format, out or sys.stdout)
    except ReaderGone as gone:
        gone.exit_code = outcome.exit_code
        raise
    return outcome.exit_code


def _show(outcome: Outcome, output_format: str, stream: TextIO) -> None:
    with writing():
        for problem in outcome.problems:
            print(problem, file=sys.stderr)
        if output_format == "json":
            if outcome.data is not None:
                document: object = outcome.data
            else:
                document = {"problems": [problem_json(problem) for problem in outcome.problems]}
            print(to_json(document, stream, indent=2), file=stream)
        elif output_format == "basic":
            for line in outcome.lines:
                print(line, file=stream)
        else:
            for part in outcome.parts:
                draw(part, stream)
        stream.flush()


def to_json(document: object, stream: TextIO, *, indent: int | None = None) -> str:
    """The document as JSON that the stream can carry."""
    plain = "utf" not in (stream.encoding or "utf-8").lower()
    return json.dumps(document, indent=indent, ensure_ascii=plain)


def draw(part: Part, stream: TextIO) -> None:
    """One part for a person: a table, a diff, or plain lines."""
    if isinstance(part, Table):
        draw_table(part, stream)
    elif part.startswith(("--- ", "diff ")) or "\n--- " in part:
        draw_diff(part, stream)
    else:
        print(part, file=stream, flush=True)


def problem_json(problem: Problem) -> dict[str, object]:
    """A problem as data: path, line, column, message, hint."""
    return {
        "path": problem.path,
        "line": problem.place.line,
        "column": problem.place.column,
        "message": problem.message,
        "hint": problem.hint,
    }


def draw_table(table: Table, stream: TextIO) -> None:
    """A table as wide as its cells. Cells are never folded off a terminal: people grep them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        drawn.add_column(column, no_wrap=not stream.isatty(), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text("-" if cell is None else cell) for cell in row))
    width = None if stream.isatty() else 10_000
    console = Console(file=stream, width=width, highlight=False)
    with console.capture() as captured:
        console.print(drawn)
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    print(text, file=stream)


DIFF_STYLES: Mapping[str, str] = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def draw_diff(text: str, stream: TextIO) -> None:
    """A unified diff, coloured on a terminal and plain elsewhere."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        print(text, file=stream)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for line in text.split("\n"):
        style = next((style for mark, style in DIFF_STYLES.items() if line.startswith(mark)), "")
        console.print(Text(line, style=style))
