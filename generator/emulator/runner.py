"""Runs one script as Octopus' runner does: a fresh folder, two Python processes, its output read as events.

Owns the order of things: write, substitute, start, read, end. Leaves to others what the files say (`bootstrap`), what output
means (`messages`), expressions (`octostache`), faster time (`time_scale`) and how a process tree dies (`process_tree`).

Imitates a VM worker on Linux or macOS. Not imitated: the system-wide mutex around the first process, staging of packages,
`pip install` (a missing pycryptodome fails at once, with Octopus' own sentence).
Source: Calamari, RunScriptCommand, PythonScriptExecutor, PythonBootstrapper, FileSubstituter, SilentProcessRunner,
ExecuteScriptConvention; OctopusTentacle, ScriptExitCodes.
"""

from __future__ import annotations

import codecs
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from generator.emulator import bootstrap, process_tree, time_scale
from generator.emulator.arguments import split_arguments
from generator.emulator.lines import Lines
from generator.emulator.messages import (
    Artifact,
    Category,
    Event,
    LogLine,
    OutputReader,
    OutputVariable,
    Progress,
    ResultMessage,
)
from generator.emulator.octostache import SelfReferenceError, Variables

__all__ = [
    "CANCELLED",
    "TIMED_OUT",
    "Artifact",
    "Category",
    "Event",
    "LogLine",
    "OutputVariable",
    "Progress",
    "ResultMessage",
    "RunningScript",
    "ScriptJob",
    "ScriptResult",
    "start_script",
]

CANCELLED = -43  # exit codes that Tentacle records for a script it killed
TIMED_OUT = -44
FATAL = -1  # what Calamari records when it could not start the script, or fails it for its error output

EXIT_CODE_VARIABLE = "Octopus.Action.Script.ExitCode"

# After a kill, a detached process may still hold the pipes. Real seconds until they are closed on our side.
_GRACE = 1.0

# These say how our own process was started; a worker's service has none of them.
_OURS_ALONE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

_MODULE_PREFIX = "Octopus.Script.Module["


@dataclass(frozen=True, kw_only=True)
class ScriptJob:
    """One script and all that it gets.

    `variables` are raw (expressions in them are evaluated), `sensitive` names those whose values the log hides.
    `modules` maps the names of Python script modules to their source. `arguments` is Octopus' ScriptParameters, quoting included.
    `environment` is added to our own environment. `started_at` is the emulated time of the start in seconds since 1970
    (default: now), `speed` how much faster than real the script's clock runs, `timeout` in seconds on the script's clock.
    `missing_variable_raises` imitates servers before 2023.3.1477.
    """

    script: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    sensitive: frozenset[str] = frozenset()
    modules: Mapping[str, str] = field(default_factory=dict, repr=False)
    arguments: str = ""
    interpreter: str | None = None
    speed: float = 1.0
    started_at: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None
    missing_variable_raises: bool = False


@dataclass(frozen=True)
class ScriptResult:
    """How a script ended. `message` is the last result message (`failstep`'s sentence), if there was one.

    `exit_code` 0 is success; 128 + n means ended by signal n; CANCELLED and TIMED_OUT go with `killed`.
    """

    exit_code: int
    message: str | None
    killed: bool


def start_script(job: ScriptJob, on_event: Callable[[Event], None]) -> RunningScript:
    """`job`, running. `on_event` gets its events one at a time, in order, from one other thread."""
    return RunningScript(job, on_event)


class RunningScript:
    """A started script. `folder` is its working directory and lives until `close`, so that artifacts can be read."""

    def __init__(self, job: ScriptJob, on_event: Callable[[Event], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="octopus-work-")).resolve()
        self._job = job
        self._began = time.monotonic()
        self._on_event = on_event
        self._secrets: list[str] = []
        self._message: str | None = None
        self._outcome: ScriptResult | BaseException | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._killed_with: int | None = None
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"script in {self.folder.name}", daemon=True)
        self._timer: threading.Timer | None = None
        if job.timeout is not None:
            self._timer = threading.Timer(job.timeout / job.speed, self._stop, (TIMED_OUT,))
            self._timer.daemon = True
            self._timer.start()
        self._thread.start()

    def wait(self, timeout: float | None = None) -> ScriptResult:
        """How it ended. `timeout` in real seconds, then TimeoutError. What `on_event` raised is raised here."""
        self._thread.join(timeout)
        match self._outcome:
            case None:
                raise TimeoutError(f"the script still runs after {timeout} s")
            case BaseException() as error:
                raise error
            case result:
                return result

    def kill(self) -> None:
        """Kill the process tree, as cancelling a task does: no signal that a script could handle, recorded as CANCELLED."""
        self._stop(CANCELLED)

    def close(self) -> None:
        """Kill it if it still runs and remove its folder."""
        self.kill()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RunningScript:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stop(self, exit_code: int) -> None:
        with self._lock:
            if self._outcome is not None or self._killed_with is not None:
                return
            self._killed_with = exit_code
            if self._process is not None:
                process_tree.kill(self._process.pid)
            os.write(self._wake_write, b"!")

    def _run(self) -> None:
        outcome: ScriptResult | BaseException
        try:
            exit_code = self._execute()
            self._emit(OutputVariable(EXIT_CODE_VARIABLE, str(exit_code)))
            outcome = ScriptResult(exit_code, self._message, self._killed_with is not None)
        except BaseException as error:  # wait() raises it again, in the thread of the caller
            with self._lock:
                if self._process is not None:
                    process_tree.kill(self._process.pid)
                    self._process.wait()
            outcome = error
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._outcome = outcome
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _execute(self) -> int:
        """Do what Calamari's run-script command does, and give back the exit code that Octopus records."""
        job, environment = self._job, _environment(self._job, self._began)
        variables = _variables(job, environment)
        try:
            self._secrets = sorted(
                {value for name in job.sensitive if (value := variables.get(name))}, key=len, reverse=True
            )
            script = self._write_script(variables)
            self._verbose(f"Executing '{script}'")
            key = os.urandom(bootstrap.KEY_LENGTH)
            errors = False
            for write_files, arguments in (
                (self._write_installer, ""),
                (self._write_bootstrap, job.arguments),
            ):
                files = write_files(script, variables, key)
                try:
                    exit_code, errors = self._run_process(files[-1], arguments, key, environment)
                finally:
                    for path in files:
                        path.unlink(missing_ok=True)
                if self._killed_with is not None:
                    return self._killed_with
                if exit_code != 0:
                    return exit_code
        except (SelfReferenceError, _Refused) as error:
            self._emit(LogLine("Error", str(error)))
            return FATAL
        fails_on_errors = (
            variables.get("Octopus.Action.FailScriptOnErrorOutput") or ""
        ).strip().lower() == "true"
        return FATAL if errors and fails_on_errors else 0

    def _write_script(self, variables: Variables) -> Path:
        path = self.folder / "Script.py"
        path.write_bytes(codecs.BOM_UTF8 + _utf8(self._job.script))
        self._verbose(f"Performing variable substitution on '{path}'")
        evaluation = variables.evaluate(self._job.script, halt_on_error=False)
        if evaluation.error:
            message = (
                f"Parsing file '{path}' with Octostache returned the following error: `{evaluation.error}`"
            )
            if (
                variables.get("OctopusShouldFailDeploymentOnSubstitutionFails") or ""
            ).strip().lower() == "true":
                raise _Refused(message)
            self._verbose(message)
        # Calamari reads the file once more before the start, and writes it with the platform's line ends and no BOM.
        text = (evaluation.text or "").removeprefix("\ufeff").replace("\r\n", "\n")
        path.write_bytes(_utf8(text))
        return path

    def _write_installer(self, script: Path, variables: Variables, key: bytes) -> tuple[Path, ...]:
        path = self._hidden("InstallDependencies", "py")
        path.write_text(bootstrap.INSTALL_DEPENDENCIES, encoding="ascii", newline="")
        return (path,)

    def _write_bootstrap(self, script: Path, variables: Variables, key: bytes) -> tuple[Path, ...]:
        """The encrypted configuration and the file to start, the latter last; script modules are written beside them."""
        values = {name: variables.get(name) or "" for name in variables.names()}
        configure = self._hidden("Configure", "py")
        text = bootstrap.configure_text(values, key, missing_raises=self._job.missing_variable_raises)
        configure.write_text(text, encoding="ascii", newline="")
        for name, file_name in _python_modules(variables):
            self._verbose(
                f"Writing script module '{name}' as python module {file_name}.py. "
                f"Import this module via `import {file_name}`."
            )
            (self.folder / f"{file_name}.py").write_bytes(
                codecs.BOM_UTF8 + _utf8(values[f"{_MODULE_PREFIX}{name}]"])
            )
        start = self._hidden("Bootstrap", script.name)
        start.write_bytes(_utf8(bootstrap.bootstrap_text(str(configure), str(script))))
        return configure, start

    def _hidden(self, kind: str, suffix: str) -> Path:
        return self.folder / f"{kind}.{str(uuid.uuid4())[10:]}.{suffix}"

    def _run_process(
        self, file: Path, arguments: str, key: bytes, environment: Mapping[str, str]
    ) -> tuple[int, bool]:
        """The exit code of one Python process, and whether it wrote anything to standard error but service messages."""
        python = self._job.interpreter or sys.executable
        words = split_arguments(f'"-u" "{file}" {arguments} "{key.hex().upper()}"')
        with self._lock:
            if self._killed_with is not None:
                return self._killed_with, False
            try:
                # A session of its own: an interrupt at our terminal is not meant for it.
                self._process = process = subprocess.Popen(
                    [python, *words],
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise _Refused(
                    f"Unable to execute {python}, please ensure that {python} is installed and is in the PATH. ({error})"
                ) from error
        try:
            errors = self._read_output(process)
        finally:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        code = self._reap(process)
        return (128 - code if code < 0 else code), errors

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code, once it has ended. From then on its process id may be somebody else's, so no kill may come between."""
        pause = 0.001
        while True:
            with self._lock:
                code = process.poll()
                if code is not None:
                    self._process = None
                    return code
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _read_output(self, process: subprocess.Popen[bytes]) -> bool:
        """Emit what the process prints until both streams have ended; whether there were errors (see `_run_process`).

        As in Octopus, a descendant that keeps a stream open keeps the step running, but after a kill not for long.
        """
        assert process.stdout is not None and process.stderr is not None
        reader, errors = OutputReader(), False
        streams = {process.stdout.fileno(): Lines(), process.stderr.fileno(): Lines()}
        stdout = process.stdout.fileno()
        grace_ends: float | None = None
        with selectors.DefaultSelector() as selector:
            for descriptor in (*streams, self._wake_read):
                selector.register(descriptor, selectors.EVENT_READ)
            while streams:
                left = None if grace_ends is None else grace_ends - time.monotonic()
                if left is not None and left <= 0:
                    break
                for descriptor in sorted(ready.fd for ready, _ in selector.select(left)):
                    if descriptor == self._wake_read:
                        grace_ends = time.monotonic() + _GRACE
                        selector.unregister(descriptor)
                        continue
                    data = os.read(descriptor, 65536)
                    lines = streams[descriptor].feed(data) if data else streams.pop(descriptor).finish()
                    if not data:
                        selector.unregister(descriptor)
                    for line in lines:
                        if descriptor != stdout and line.strip() and not line.startswith("##octopus"):
                            errors = True
                        for event in reader.stdout(line) if descriptor == stdout else reader.stderr(line):
                            self._emit(event)
        for event in reader.finish():
            self._emit(event)
        return errors

    def _verbose(self, text: str) -> None:
        self._emit(LogLine("Verbose", text))

    def _emit(self, event: Event) -> None:
        match event:
            case LogLine(category, text):
                event = LogLine(category, self._masked(text))
            case Progress(percentage, message):
                event = Progress(percentage, self._masked(message))
            case ResultMessage(text):
                event = ResultMessage(self._masked(text))
                self._message = event.text
            case OutputVariable(_, value, True) if value:
                self._secrets = sorted({*self._secrets, value}, key=len, reverse=True)
        self._on_event(event)

    def _masked(self, text: str) -> str:
        """`text` as the log shows it. Which values the real server does not hide (short ones?) is unconfirmed: we hide all."""
        for secret in self._secrets:
            text = text.replace(secret, "********")
        return text


class _Refused(Exception):
    """Calamari ends before or instead of the script, with this line."""


def module_file_name(name: str) -> str:
    """The name, without `.py`, under which Octopus writes script module `name`: letters, digits and `_` of any script."""
    return "".join(
        character for character in name if character.isalpha() or character.isdecimal() or character == "_"
    )


def _python_modules(variables: Variables) -> Iterator[tuple[str, str]]:
    """The name and file name of each Python script module among the variables."""
    for variable in variables.names():
        if not variable.startswith(_MODULE_PREFIX):
            continue
        name = variable[len(_MODULE_PREFIX) :].removesuffix("]")
        if variables.get(f"Octopus.Script.Module.Language[{name}]") == "Python":
            yield name, module_file_name(name)


def _variables(job: ScriptJob, environment: Mapping[str, str]) -> Variables:
    """Everything that Calamari holds: the environment, the job's variables, its script and the modules."""
    values = {f"env:{name}": value for name, value in environment.items()}
    values.update(job.variables)
    values.setdefault("Octopus.Action.Script.ScriptBody", job.script)
    values.setdefault("Octopus.Action.Script.Syntax", "Python")
    values.setdefault("Octopus.Action.Script.ScriptFileName", "Script.py")
    for name, source in job.modules.items():
        values[f"{_MODULE_PREFIX}{name}]"] = source
        values[f"Octopus.Script.Module.Language[{name}]"] = "Python"
    return Variables(values)


def _environment(job: ScriptJob, began: float) -> dict[str, str]:
    """The environment of the processes: ours without what concerns our own start, the job's, proxies in both cases, the clock."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    environment.update(job.environment)
    present = {name for base in _PROXY_VARIABLES for name in (base, base.lower()) if name in environment}
    for name in sorted(present):
        for other in {name.upper(), name.lower()} - present:
            environment[other] = environment[name]
    if job.speed != 1 or job.started_at is not None:
        path = environment.get("PYTHONPATH")
        environment.update(time_scale.environment(job.speed, job.started_at, began=began, python_path=path))
    return environment


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
