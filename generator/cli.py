"""The command line: the only code that knows the argument parser, and the only one that catches everything.

Each verb lives in `commands/<verb>.py`; it is imported when it is called, so that `--help` stays quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from generator.errors import Problems, Refusal
from generator.outcome import (
    Outcome,
    OutputRefused,
    ReaderGone,
    announce,
    ask,
    complain,
    draw,
    pick_progress,
    prepare_streams,
    show,
    writing,
)

if TYPE_CHECKING:
    from generator.emulator.runner import LogLine

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_PROBLEMS, EXIT_USAGE, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 130
FORMATS = ("table", "json", "basic")


def common(command: Command) -> Command:
    """The options that every verb has: where the library is, and how to print."""
    options = (
        click.option(
            "-f",
            "--output-format",
            type=click.Choice(FORMATS),
            default="table",
            help="How to print: for a person, a program or a pipe.",
        ),
        click.option(
            "-C",
            "--root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=Path(),
            help="The library's folder. Default: this one.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def server(command: Command) -> Command:
    """The options of verbs that talk to a server. Credentials come from the environment only."""
    options = (
        click.option("-t", "--target", help="A target of octosteps.yaml. Default: OCTOPUS_URL."),
        click.option("-s", "--space", help="The space's name or id. Default: OCTOPUS_SPACE."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def finish(outcome: Outcome, output_format: str) -> NoReturn:
    """Print what came out, and end with its exit code."""
    sys.exit(show(outcome, output_format=output_format))


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="OCTOPUS_URL, OCTOPUS_API_KEY or OCTOPUS_ACCESS_TOKEN, and OCTOPUS_SPACE name the server. "
    "Exit codes: 0 done, 1 problems or a refusal, 2 usage, 3 a bug, 4 changes wait, 130 interrupted.",
)
@click.version_option(None, "-v", "--version", package_name="octosteps")
def octosteps() -> None:
    """Python step templates for Octopus Deploy: from YAML specs into projects that cooperate."""


@octosteps.command()
@click.argument("name")
@common
def new(name: str, root: Path, output_format: str) -> None:
    """Begin a step template: a spec and its entry script, ready to pass `check`."""
    from generator.commands import new as verb

    finish(verb.run(root=root, name=name), output_format)


@octosteps.command(short_help="Find every fault.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="REF",
    help="Also fail when content differs from build/ at this git ref and version: does not.",
)
@common
def check(files: Sequence[Path], against: str | None, root: Path, output_format: str) -> None:
    """Find every fault in the library's specs and scripts, its coordination.yaml, and the coordination FILES."""
    from generator.commands import check as verb

    finish(verb.run(root=root, files=files, against=against), output_format)


@octosteps.command()
@click.option("--check", "check_only", is_flag=True, help="Write nothing; exit 1 when build/ is not current.")
@common
def build(check_only: bool, root: Path, output_format: str) -> None:
    """Render every spec into build/: the step template's JSON and the script to review."""
    from generator.commands import build as verb

    finish(verb.run(root=root, check_only=check_only, progress=pick_progress()), output_format)


@octosteps.command()
@click.argument("names", nargs=-1)
@common
def bump(names: Sequence[str], root: Path, output_format: str) -> None:
    """Raise `version:` by one in the named specs, or in all that differ from build/."""
    from generator.commands import bump as verb

    finish(verb.run(root=root, names=names), output_format)


@octosteps.command()
@click.argument("name")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter's value; a secret as KEY=env:NAME.",
)
@click.option(
    "--variable",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable as Octopus would give it.",
)
@click.option("--interpreter", metavar="PYTHON", help="The Python to run it with. Default: this one.")
@common
def run(
    name: str,
    settings: Sequence[str],
    variables: Sequence[str],
    interpreter: str | None,
    root: Path,
    output_format: str,
) -> None:
    """Run a step template's script here, outside Octopus, as Octopus' runner starts it."""
    from generator.commands import run as verb

    refused: list[Exception] = []

    def tell(line: LogLine) -> None:
        """In a thread that must go on reading when nobody listens any more; as JSON the log is part of the one document."""
        if output_format == "table" and not refused:
            try:
                announce({}, f"{line.category:9} {line.text}", output_format=output_format)
            except (ReaderGone, OutputRefused) as error:
                refused.append(error)

    outcome = verb.run(
        root=root,
        name=name,
        settings=settings,
        variables=variables,
        environ=os.environ,
        interpreter=interpreter,
        on_line=tell,
    )
    if refused:
        raise refused[0]
    finish(outcome, output_format)


def interactive(no_prompt: bool) -> bool:
    """Whether a person can be asked: at a terminal, outside CI, and not forbidden."""
    return sys.stdin.isatty() and not no_prompt and not os.environ.get("CI")


def tell_now(part: str) -> None:
    """Print a part of what a command comes to before it has come to it."""
    with writing():
        draw(part, sys.stdout)
        sys.stdout.flush()


def publishing(command: Command) -> Command:
    """The options that `plan` and `apply` share: what is wanted, and where."""
    options = (
        click.argument("files", nargs=-1, type=click.Path(path_type=Path)),
        click.option(
            "-n",
            "--name",
            "names",
            multiple=True,
            help="Only this step template; a built-in one too. Repeat for several.",
        ),
        click.option("--force", is_flag=True, help="Take over, or overwrite what was edited on the server."),
        click.option("--prune", is_flag=True, help="Remove owned steps that the file no longer names."),
        click.option(
            "--thorough", is_flag=True, help="Also look for names that Octopus keeps reserved; takes longer."
        ),
        click.option(
            "-t",
            "--target",
            "targets",
            multiple=True,
            help="A target of octosteps.yaml; repeat for several. Default: OCTOPUS_URL.",
        ),
        click.option("--all-targets", is_flag=True, help="Every target of octosteps.yaml."),
        click.option("-s", "--space", help="The space's name or id. Default: OCTOPUS_SPACE."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@octosteps.command()
@publishing
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save the plan, for `apply --plan`.",
)
@click.option("--exit-code", is_flag=True, help="Exit 4 when changes wait.")
@common
def plan(root: Path, output_format: str, **wishes: Any) -> None:
    """Show what `apply` would change: the library's templates, or with coordination FILES the projects' steps."""
    from generator.commands import plan as verb

    finish(verb.run(root=root, environ=os.environ, progress=pick_progress(), **wishes), output_format)


@octosteps.command()
@publishing
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Do what `plan --out` saved, exactly that or nothing.",
)
@click.option(
    "--delete",
    multiple=True,
    metavar="NAME",
    help="Delete this step template instead, if nothing uses it. Repeat for several.",
)
@click.option("--no-prompt", is_flag=True, help="Do not ask; write what the plan says.")
@common
def apply(no_prompt: bool, root: Path, output_format: str, **wishes: Any) -> None:
    """Publish the library's templates, or with coordination FILES import their steps into the projects."""
    from generator.commands import apply as verb

    outcome = verb.run(
        root=root,
        environ=os.environ,
        confirm=ask if interactive(no_prompt) else None,
        tell=tell_now if output_format == "table" else None,
        progress=pick_progress(),
        **wishes,
    )
    finish(outcome, output_format)


@octosteps.command(short_help="Bring in what others made or edited.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-n", "--name", "names", multiple=True, help="This step template of the server. Repeat for several."
)
@click.option(
    "-p",
    "--project",
    help="Write this project's steps of ours into a coordination file: FILE, or coordination.yaml.",
)
@click.option("--force", is_flag=True, help="Take theirs where both sides have changed.")
@server
@common
def pull(root: Path, output_format: str, **wishes: Any) -> None:
    """Bring step templates into specs and scripts: from FILES in the community Library's format (folders, too), else from the
    server, all of the space or those named. What people edited in a published one is merged into its spec and script."""
    from generator.commands import pull as verb

    finish(verb.run(root=root, environ=os.environ, progress=pick_progress(), **wishes), output_format)


@octosteps.command(short_help="Where templates are used; update those steps.")
@click.argument("names", nargs=-1)
@click.option("-p", "--project", "projects", multiple=True, help="Only this project; * and ? match. Repeat.")
@click.option(
    "-b", "--branch", "branches", multiple=True, help="Branches of projects in Git; * and ? match. Repeat."
)
@click.option("--all-spaces", is_flag=True, help="Look at every space that the account may enter.")
@click.option("--behind", is_flag=True, help="List only steps that are behind their template.")
@click.option("--diff", is_flag=True, help="Show what an update would change. Nothing is written.")
@click.option("--update", is_flag=True, help="Move steps that are behind to the current version.")
@click.option(
    "--first", metavar="PROJECT", help="Update this project, then ask, or stop where nobody is asked."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A new parameter's value; a secret as KEY=env:NAME.",
)
@click.option("--force", is_flag=True, help="Also where people edited the copy in the process.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where --update keeps the former copies. Default: usages-TIME.jsonl.",
)
@click.option(
    "--put-back",
    "back",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show what going back to a record's copies changes; with --update do it.",
)
@click.option("--exit-code", is_flag=True, help="Exit 4 when steps are behind.")
@click.option("--no-prompt", is_flag=True, help="Do not ask.")
@server
@common
def usages(
    names: Sequence[str],
    projects: Sequence[str],
    branches: Sequence[str],
    all_spaces: bool,
    behind: bool,
    diff: bool,
    update: bool,
    first: str | None,
    settings: Sequence[str],
    force: bool,
    record: Path | None,
    back: Path | None,
    exit_code: bool,
    no_prompt: bool,
    target: str | None,
    space: str | None,
    root: Path,
    output_format: str,
) -> None:
    """List the steps that are made from the step templates NAMES (from all without), and update them.

    Nothing is written without --update. Steps that a coordination file owns are left to `apply`.
    """
    from generator.commands import usages as verb
    from generator.usages import Wish

    if not update and (first or record):
        raise click.UsageError(f"{'--first' if first else '--record'} is about --update")
    if update and exit_code:
        raise click.UsageError("--exit-code is about what waits: leave --update out")
    if not (update or diff) and settings:
        raise click.UsageError("--set is about --update and --diff")
    choices = (names, projects, branches, all_spaces, behind, settings, first, record, exit_code)
    if back is not None and any(choices):
        raise click.UsageError("--put-back is about what its FILE names, and takes no other choice")
    wish = Wish(templates=names, projects=projects, branches=branches, all_spaces=all_spaces)
    asked = verb.Asked(
        wish=wish,
        behind=behind,
        diff=diff,
        update=update,
        settings=settings,
        first=first,
        force=force,
        record=record,
        exit_code=exit_code,
    )
    outcome = verb.run(
        root=root,
        asked=asked,
        back=back,
        environ=os.environ,
        target=target,
        space=space,
        confirm=ask if interactive(no_prompt) else None,
        tell=tell_now if output_format == "table" else None,
        note=complain,
        progress=pick_progress(),
    )
    finish(outcome, output_format)


@octosteps.command()
@click.option("--break", "name", metavar="LOCK", help="Take this lock from whoever holds it; asks first.")
@click.option("--no-prompt", is_flag=True, help="Break it without asking.")
@server
@common
def locks(
    name: str | None,
    no_prompt: bool,
    target: str | None,
    space: str | None,
    root: Path,
    output_format: str,
) -> None:
    """List the locks of a space: who holds them, who waits, since when, by which fence."""
    from generator.commands import locks as verb

    if name is None and no_prompt:
        raise click.UsageError("--no-prompt is about --break")
    if name is not None and not no_prompt and not interactive(no_prompt):
        raise click.UsageError("--break asks first: where nobody can answer, give --no-prompt")
    outcome = verb.run(
        root=root,
        environ=os.environ,
        target=target,
        space=space,
        name=name,
        confirm=None if no_prompt else ask,
    )
    finish(outcome, output_format)


@octosteps.command()
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the server holds when it starts: spaces, projects, releases, history, faults, and more.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8065, show_default=True, help="0 picks a free one."
)
@click.option("--api-key", help="The key that it accepts, for tests only. Default: a new one.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.1),
    help="60: an hour passes in a minute. Default: the scenario's, else 1.",
)
@click.option(
    "--task-cap",
    type=click.IntRange(min=1),
    help="Tasks that run at the same time. Default: the scenario's, else 5.",
)
@click.option("--interpreter", metavar="PYTHON", help="The Python for the steps' scripts. Default: this one.")
@common
def emulate(
    scenario: Path | None,
    port: int,
    api_key: str | None,
    speed: float | None,
    task_cap: int | None,
    interpreter: str | None,
    root: Path,
    output_format: str,
) -> None:
    """Serve a local Octopus Server that runs Python steps for real, until interrupted. Loopback only."""
    from generator.commands import emulate as verb

    def tell(facts: Mapping[str, Any]) -> None:
        lines = [f"OCTOPUS_URL={facts['url']}", f"OCTOPUS_API_KEY={facts['apiKey']}"]
        lines += [f"# {name}: {key}" for name, key in facts.get("apiKeys", {}).items()]
        announce(facts, "\n".join(lines), output_format=output_format)

    verb.run(
        root=root,
        scenario=scenario,
        environ=os.environ,
        port=port,
        api_key=api_key,
        speed=speed,
        task_cap=task_cap,
        interpreter=interpreter,
        announce=tell,
    )


@octosteps.command()
@common
def demo(root: Path, output_format: str) -> None:
    """Show the whole way on the emulator: build, publish, import, deploy four cooperating projects."""
    from generator.commands import demo as verb

    stream = sys.stdout if output_format == "table" else sys.stderr
    finish(verb.run(tell=lambda part: draw(part, stream)), output_format)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit with the code that design and README list."""
    prepare_streams()
    try:
        code = run_words(list(sys.argv[1:] if arguments is None else arguments))
    except ReaderGone as gone:  # it has seen enough
        code = gone.exit_code
    except OutputRefused as fault:
        complain(f"octosteps: the output cannot be written: {fault}")
        code = EXIT_PROBLEMS
    sys.exit(flushed(code))


def run_words(words: Sequence[str]) -> int:
    """The exit code of one command line; whatever goes wrong is told. Errors: only those of the output itself."""
    try:
        octosteps.main(args=list(words), prog_name="octosteps", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except (ReaderGone, OutputRefused):
        raise
    except click.ClickException as fault:
        with writing():
            fault.show()
        if asked_format(words) == "json":
            show(Outcome(data={"usage": fault.format_message()}), output_format="json")
        return fault.exit_code if fault.exit_code != 1 else EXIT_USAGE
    except Problems as fault:
        outcome = Outcome(problems=fault.problems, exit_code=EXIT_PROBLEMS)
        return show(outcome, output_format=asked_format(words))
    except Refusal as fault:
        complain(f"octosteps: {fault}")
        if asked_format(words) == "json":
            show(Outcome(data={"refused": str(fault)}), output_format="json")
        return EXIT_PROBLEMS
    except (KeyboardInterrupt, Exception) as fault:
        # click makes an Abort of Ctrl-C, and of any EOFError.
        aborted = isinstance(fault, click.exceptions.Abort) and not isinstance(fault.__cause__, EOFError)
        if aborted or isinstance(fault, KeyboardInterrupt):
            complain("octosteps: interrupted")
            return EXIT_INTERRUPTED
        import traceback

        complain(
            f"{traceback.format_exc()}octosteps: this is a bug of ours: please report it with the lines above"
        )
        return EXIT_BUG
    return 0


def flushed(code: int) -> int:
    """The exit code, with nothing left in the streams at which Python could stumble while it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def asked_format(words: Sequence[str]) -> str:
    """The output format on a command line that ended before its options could be handed on."""
    for place, word in enumerate(words):
        if word in ("-f", "--output-format") and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(("--output-format=", "-f")):
            return word.removeprefix("--output-format=").removeprefix("-f")
    return "table"
