# Octopus - Acquire Lock
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/acquire-lock.yaml or templates/steps/acquire_lock.py, then run: octosteps build
#
# spec: step_templates/acquire-lock.yaml
# id: 7dc755af-e549-4ba6-9d66-f055c80e2ddb
# revision: 1
# digest: sha256:dcbf5bea68901562dcddc93a0d95d089d3e9f31d72c55d065809f4bfaed4ffce

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any, Callable, Collection, Iterable, Iterator, Mapping, NoReturn, Optional, Sequence

# ---- generator/runtime/moments.py ----

UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION_PATTERN = r"(?i)(?:[0-9]+[dhms]\s*)+"
MOMENT_PATTERN = (
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.(?P<fraction>[0-9]+))?"
    r"\s*(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2}|[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)+|UTC)?"
)


def parse_duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d`, `1h30m`: a number without a unit is refused (ValueError), it could mean anything."""
    if not re.fullmatch(DURATION_PATTERN, text.strip()):
        raise ValueError(f"{text!r} is not a duration such as 90s, 30m, 2h, 1d or 1h30m")
    parts = re.findall(r"([0-9]+)([dhms])", text.lower())
    try:
        return timedelta(seconds=sum(int(number) * UNIT_SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar") from None


def parse_moment(text: str, now: Optional[datetime] = None) -> datetime:
    """ISO 8601 with an offset, `Z` or the name of a zone; or `+90m` from `now`. Always aware.

    Raises ValueError: no zone, a zone that this Python has no data for, a local time that the clock change skips or repeats.
    """
    stripped = text.strip()
    if stripped.startswith("+"):
        return (now or datetime.now(timezone.utc)) + parse_duration(stripped[1:])
    match = re.fullmatch(MOMENT_PATTERN, stripped)
    if match is None:
        raise ValueError(
            f"{text!r} is neither a moment such as 2026-08-01T10:00+02:00 nor a delay such as +90m"
        )
    try:
        naive = datetime.fromisoformat(match.group("date") + "T" + match.group("time"))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a moment: {error}") from None
    naive = naive.replace(microsecond=int((match.group("fraction") or "0").ljust(6, "0")[:6]))
    zone = match.group("zone")
    if zone is None:
        raise ValueError(f"{text!r} has no zone: add an offset such as +02:00 or Z")
    if zone in ("Z", "z", "UTC") or zone[0] in "+-":
        return naive.replace(tzinfo=find_zone(zone))
    return in_named_zone(naive, zone)


def in_named_zone(naive: datetime, name: str) -> datetime:
    """`naive` as the wall clock of the zone shows it; ValueError where that is no single moment."""
    zone = find_zone(name)
    first, second = naive.replace(tzinfo=zone), naive.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise ValueError(
            f"the clock change makes {naive} in {name} ambiguous or skips it: write the offset instead"
        )
    return first


def find_zone(name: str) -> Any:
    """An offset or a named zone as tzinfo; ValueError where Python has no data for it."""
    if name in ("Z", "z", "UTC"):
        return timezone.utc
    if name[0] in "+-":
        hours, minutes = int(name[1:3]), int(name[-2:])
        if hours > 23 or minutes > 59:
            raise ValueError(f"{name!r} is an offset that no place has")
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if name[0] == "-" else offset)
    try:
        from zoneinfo import ZoneInfo

        return ZoneInfo(name)
    except (ImportError, KeyError, ValueError, OSError):
        raise ValueError(
            f"this Python has no data for the zone {name}: write the offset instead, such as +02:00"
        ) from None


def moment_or_none(value: Any) -> Optional[datetime]:
    """A moment in a document of Octopus; None when there is none or it is written otherwise."""
    try:
        return parse_moment(value) if isinstance(value, str) else None
    except ValueError:
        return None


def spoken(length: timedelta) -> str:
    """`length` for people: 45 s, 3 m 20 s, 2 h 5 m, 1 d 3 h; never more than two units."""
    seconds = max(0, round(length.total_seconds()))
    for unit, size, lower, lower_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // lower_size
            return f"{seconds // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{seconds} s"


# ---- generator/runtime/record.py ----

class Record(tuple):
    """Base of a class whose annotations are its fields, with their defaults as values. Of NamedTuple's names there are these."""

    _fields: tuple[str, ...] = ()
    _defaults: Mapping[str, Any] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}
        for index, name in enumerate(cls._fields):
            setattr(cls, name, property(itemgetter(index)))

    def __new__(cls, *values: Any, **named: Any) -> Any:
        given = {**cls._defaults, **dict(zip(cls._fields, values)), **named}
        wrong = len(values) > len(cls._fields) or any(name in named for name in cls._fields[: len(values)])
        if wrong or given.keys() != set(cls._fields):
            raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
        return tuple.__new__(cls, [given[name] for name in cls._fields])

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self))

    def _replace(self, **named: Any) -> Any:
        return type(self)(**{**self._asdict(), **named})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"


# ---- generator/runtime/activities.py ----

STEP_TITLE = r"(?i)Step [0-9]+(?:\.[0-9]+)?: "

PASSED_STATUSES = ("Success", "SuccessWithWarning")


class StepState(Record):
    """One step of a task: `title` as the log shows it, `name` without its number."""

    title: str
    name: str
    status: str
    started: Optional[datetime]
    ended: Optional[datetime]

    def __str__(self) -> str:
        """For people, with the times that the server tells: a poll may come later."""
        if self.started and self.ended:
            return f"{self.title}: {self.status} after {spoken(self.ended - self.started)}"
        return f"{self.title}: {self.status}" + (
            f" since {self.started:%H:%M:%S} UTC" if self.started else ""
        )


def step_states(details: Mapping[str, Any]) -> list[StepState]:
    """The steps in a task's details. Source: docs, API reference, tasks; titles read "Step 1: Name" (Chain Deployment)."""
    found = []
    for root in details.get("ActivityLogs") or ():
        for step in root.get("Children") or ():
            found.append(step_state(step))
            numbered = [
                child for child in step.get("Children") or () if re.match(STEP_TITLE, child.get("Name") or "")
            ]
            found.extend(step_state(child) for child in numbered)
    return found


def step_state(activity: Mapping[str, Any]) -> StepState:
    title = activity.get("Name") or ""
    return StepState(
        title=title,
        name=re.sub(STEP_TITLE, "", title, count=1).strip(),
        status=activity.get("Status") or "",
        started=moment_or_none(activity.get("Started")),
        ended=moment_or_none(activity.get("Ended")),
    )


def find_step(states: list[StepState], name: str) -> Optional[StepState]:
    """The step of that name. Names are unique in a process ignoring case."""
    for state in states:
        if name.strip().lower() in (state.name.lower(), state.title.lower()):
            return state
    return None


def has_come_to(state: Optional[StepState], *, passed: bool) -> bool:
    """Whether a step has begun, or with `passed` has succeeded. A skipped step has not."""
    if state is None:
        return False
    return state.status in PASSED_STATUSES or (
        not passed and state.status in ("Running", "Failed", "Canceled")
    )


# ---- generator/runtime/log.py ----

HELPERS = (
    "get_octopusvariable",
    "set_octopusvariable",
    "createartifact",
    "updateprogress",
    "failstep",
    "printverbose",
    "printhighlight",
    "printwait",
    "printwarning",
)

# The parser of service messages finds an opener anywhere in a line, and its state survives line ends (source: Calamari,
# ServiceMessageParser). So a pair of hashes is parted wherever an opener could follow, in this text or in the next one.
# A pattern is text, here and elsewhere: it is compiled when it is first used, not whenever a script is loaded.
SERVICE_MESSAGE_OPENER = r"(?i)#(?=[\r\n]*#[\r\n]*(?:o|\Z))|#(?=[\r\n]*\Z)"
CONTROL_CHARACTER = r"[\x00-\x08\x0b-\x1f\x7f]"


def neutralised(text: str) -> str:
    """`text` without anything that Octopus would take for a service message, nor control characters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(SERVICE_MESSAGE_OPENER, "# ", re.sub(CONTROL_CHARACTER, "?", lines))


def unexpandable(text: str) -> str:
    """`text` as an output value: Octopus evaluates values again wherever they are read, so no expression may open in it."""
    return text.replace("#" + "{", "# {")


def one_line(text: str) -> str:
    return " ".join(text.split())


def prepare_console(streams: tuple[Any, ...], platform: str) -> None:
    """Lets `streams` write any character, in the encoding that Octopus reads.

    UTF-8, on Windows the OEM code page (source: Calamari and Tentacle, SilentProcessRunner); what that cannot hold is
    written as an escape and never raises.
    """
    encoding = "oem" if platform == "win32" else "utf-8"
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


class Log:
    """Writes to the task log; every text is neutralised. `helpers` is the main script's `globals()`."""

    def __init__(self, helpers: Mapping[str, Any], write: Callable[[str], object] = print) -> None:
        missing = [name for name in HELPERS if not callable(helpers.get(name))]
        if missing:
            raise SystemExit(
                "This script runs inside Octopus, or by `octosteps run`: there is no {}().".format(missing[0])
            )
        self._helpers = {name: helpers[name] for name in HELPERS}
        self._write = write

    def info(self, text: str) -> None:
        self._write(neutralised(text))

    def verbose(self, text: str) -> None:
        self._helpers["printverbose"](neutralised(text))

    def highlight(self, text: str) -> None:
        self._helpers["printhighlight"](neutralised(text))

    def waiting(self, text: str) -> None:
        self._helpers["printwait"](neutralised(text))

    def warning(self, text: str) -> None:
        self._helpers["printwarning"](neutralised(text))

    def error(self, text: str) -> None:
        """An error in the log that does not fail the step. There is no helper for it, only the service message (source: docs,
        Logging messages from scripts)."""
        for line in ("##" + "octopus[stdout-error]", neutralised(text), "##" + "octopus[stdout-default]"):
            self._write(line)

    def progress(self, percentage: int, message: str) -> None:
        """Shows `message` beside the step. It is never left out: `updateprogress` raises without one (source: Calamari)."""
        self._helpers["updateprogress"](max(0, min(100, percentage)), one_line(message))

    def read(self, name: str) -> str:
        """The variable's value; "" when there is none, on servers before 2023.3.1477 too, where a missing one raises."""
        try:
            return self._helpers["get_octopusvariable"](name) or ""
        except KeyError:
            return ""

    def output(self, name: str, value: str) -> None:
        self._helpers["set_octopusvariable"](name, unexpandable(value))

    def artifact(self, path: str, name: str) -> None:
        """Announces a file that Octopus collects when the script has ended: it must stay as it is until then."""
        self._helpers["createartifact"](path, name)

    def fail(self, sentence: str) -> NoReturn:
        """Ends the script; `sentence` becomes the step's error message. The helper raises SystemExit."""
        self._helpers["failstep"](one_line(sentence))
        sys.exit(1)


# ---- generator/runtime/announcements.py ----

TASK_ID = r"ServerTasks-[0-9]+"
ANNOUNCEMENT = (
    r"\[octosteps waits (?P<wait>[0-9a-f]{8}) since (?P<since>[0-9]{1,12}) for (?P<need>all|any|lock): "
    r"(?P<targets>[^\]]*)\]"
)
OPENER = "[octosteps waits "
# How long a progress message may be is not documented; what is left out is not found, and never made up.
MOST_ANNOUNCED = 25


class Target(Record):
    """A task, and the name of its step when only that is waited for."""

    task: str
    step: str = ""
    passed: bool = False  # the step must have ended well, not only have begun

    def __str__(self) -> str:
        if not self.step:
            return self.task
        return (
            f"{self.task}/{'passed' if self.passed else 'reached'}/{urllib.parse.quote(self.step, safe='')}"
        )


class Announcement(Record):
    """One wait: its random id, when it began (seconds since 1970), what it needs of its targets (see `deadlocks`)."""

    wait: str
    since: int
    need: str
    targets: Sequence[Target]

    def __str__(self) -> str:
        told = " ".join(str(target) for target in self.targets[:MOST_ANNOUNCED])
        return f"{OPENER}{self.wait} since {self.since} for {self.need}: {told}]"


def parse_announcement(message: str) -> Optional[Announcement]:
    """The announcement at the end of a progress message; None without a whole one."""
    found = list(re.finditer(ANNOUNCEMENT, message))
    if not found:
        return None
    targets = []
    for word in found[-1].group("targets").split():
        task, _, rest = word.partition("/")
        goal, _, step = rest.partition("/")
        if not re.fullmatch(TASK_ID, task):
            return None
        targets.append(Target(task, urllib.parse.unquote(step), goal == "passed"))
    return Announcement(
        found[-1].group("wait"), int(found[-1].group("since")), found[-1].group("need"), targets
    )


class Announced(Record):
    """An announcement with the title of the step that makes it."""

    announcement: Announcement
    step: str


def announced_waits(details: Mapping[str, Any]) -> list[Announced]:
    """The waits that a task's running activities announce."""
    found: list[Announced] = []
    for root in details.get("ActivityLogs") or ():
        for step in root.get("Children") or ():
            collect_waits(step, step.get("Name") or "", found)
    return found


def collect_waits(activity: Mapping[str, Any], step: str, found: list[Announced]) -> None:
    if activity.get("Status") != "Running":
        return
    announcement = parse_announcement(activity.get("ProgressMessage") or "")
    if announcement is not None:
        found.append(Announced(announcement, step))
    for child in activity.get("Children") or ():
        collect_waits(child, step, found)


def still_needs(target: Target, details: Mapping[str, Any], held: Sequence[str]) -> bool:
    """Whether a wait for `target` cannot end before one of the steps titled `held` does, which wait themselves.

    A wait for a whole task cannot. A wait for a step cannot either while that step is to come, for the steps that run have to end
    first; of one that runs already only if it is itself among the waiting ones.
    """
    if not target.step:
        return True
    steps: list[StepState] = step_states(details)
    state = find_step(steps, target.step)
    if state is None or has_come_to(state, passed=target.passed):
        return False
    return state.status == "Pending" or (state.status == "Running" and state.title in held)


class Announcer:
    """Writes the progress of this step: for people, and behind that the wait that is announced. `task` is the own one's id.

    Without a task (outside Octopus, or where the awaited are on another server) nothing is announced.
    """

    def __init__(self, log: Log, task: str) -> None:
        self._log = log
        self.task = task
        self.current: Optional[Announcement] = None
        self._percentage = 0
        self._message = ""

    def tell(self, percentage: int, message: str) -> None:
        self._percentage, self._message = percentage, message
        words = message.replace(OPENER, "(octosteps waits ")
        self._log.progress(percentage, f"{words} {self.current}" if self.current else words)

    def announce(self, need: str, targets: Sequence[Target], now: float) -> None:
        """From now on this step waits for `targets`. With none it waits no more. A wait keeps its id while no target is added."""
        import os

        before = self.current
        if not self.task or (not targets and before is None):
            return
        if not targets:
            self.current = None
        elif before is None or before.need != need or not set(targets) <= set(before.targets):
            since = int(now) if before is None else before.since
            self.current = Announcement(os.urandom(4).hex(), since, need, list(targets))
        elif list(targets) != list(before.targets):
            self.current = before._replace(targets=list(targets))
        if self.current != before:
            self.tell(self._percentage, self._message or "Waiting")


# ---- generator/runtime/versions.py ----

VERSION_PATTERN = (
    r"[vV]?(?P<numbers>[0-9]+(?:\.[0-9]+){0,3})"
    r"(?:-(?P<prerelease>[0-9A-Za-z.-]+))?"
    r"(?:\+(?P<metadata>[0-9A-Za-z.-]+))?"
)
WILDCARD_PATTERN = r"(?:[0-9]+\.){0,3}\*"


class Version(Record):
    """A release number; `numbers` always has four places, so that `1.0` is `1.0.0`."""

    text: str
    numbers: tuple[int, ...]
    prerelease: tuple[str, ...]

    def rank(self) -> tuple[Any, ...]:
        """Sorts by SemVer precedence; build metadata does not count, pre-release words ignore case as in NuGet."""
        words = tuple(
            (0, int(word), "") if word.isdigit() else (1, 0, word.lower()) for word in self.prerelease
        )
        return (self.numbers, not words, words)


def parse_version(text: str) -> Version:
    """`text` as a number of one to four places with an optional pre-release; ValueError when it is none."""
    match = re.fullmatch(VERSION_PATTERN, text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a version")
    numbers = [int(number) for number in match.group("numbers").split(".")]
    prerelease = match.group("prerelease")
    return Version(
        text=text.strip(),
        numbers=tuple(numbers + [0] * (4 - len(numbers))),
        prerelease=tuple(prerelease.split(".")) if prerelease else (),
    )


class VersionRange(Record):
    """What a version may be: between two ends, or beginning with `prefix` (of `2026.4.*`)."""

    text: str
    low: Optional[Version] = None
    includes_low: bool = False
    high: Optional[Version] = None
    includes_high: bool = False
    prefix: Optional[tuple[int, ...]] = None

    def admits(self, version: Version) -> bool:
        if self.prefix is not None:
            return version.numbers[: len(self.prefix)] == self.prefix
        if self.low is not None:
            below = version.rank() < self.low.rank()
            if below or (version.rank() == self.low.rank() and not self.includes_low):
                return False
        if self.high is not None:
            above = version.rank() > self.high.rank()
            if above or (version.rank() == self.high.rank() and not self.includes_high):
                return False
        return True

    def __str__(self) -> str:
        return self.text


def parse_version_range(text: str) -> VersionRange:
    """An exact version `1.2.3`, a wildcard `2026.4.*`, or a NuGet range such as `[1.0,2.0)`, `[1.0,)`, `[1.0]`.

    A lone version means exactly that one. By precedence `2.0.0-rc.1` comes before `2.0.0`, and so lies in `[1.0,2.0)`.
    Raises ValueError with what is wrong.
    """
    stripped = text.strip()
    if re.fullmatch(WILDCARD_PATTERN, stripped):
        numbers = stripped.split(".")[:-1]
        return VersionRange(stripped, prefix=tuple(int(number) for number in numbers))
    if not stripped.startswith(("[", "(")):
        try:
            version = parse_version(stripped)
        except ValueError:
            raise ValueError(
                f"{text!r} is neither a version, nor 2026.4.*, nor a range such as [1.0,2.0)"
            ) from None
        return VersionRange(stripped, version, True, version, True)
    if not stripped.endswith(("]", ")")):
        raise ValueError(f"the range {text!r} must end with ] or )")
    ends = [end.strip() for end in stripped[1:-1].split(",")]
    includes_low, includes_high = stripped[0] == "[", stripped[-1] == "]"
    if len(ends) == 1:
        if not (includes_low and includes_high and ends[0]):
            raise ValueError(f"the range {text!r} must have two ends, or be one version in [ ]")
        ends = ends * 2
    if len(ends) != 2 or not (ends[0] or ends[1]):
        raise ValueError(f"the range {text!r} must have one or two ends")
    low = parse_version(ends[0]) if ends[0] else None
    high = parse_version(ends[1]) if ends[1] else None
    if low is not None and high is not None:
        empty = low.rank() > high.rank()
        if empty or (low.rank() == high.rank() and not (includes_low and includes_high)):
            raise ValueError(f"no version lies in the range {text!r}")
    return VersionRange(stripped, low, includes_low, high, includes_high)


# ---- generator/runtime/parameters.py ----

EXPRESSION_OPENER = "#" + "{"
EXPRESSION = "#" + r"\{[^{}]*\}"


class Secret:
    """A value that no `repr`, message or format shows; only `reveal()` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "********"

    def __format__(self, specification: str) -> str:
        return "********"


class Reference:
    """A parameter that stands for a document of Octopus: an account, certificate or package.

    Its fields arrive as variables of their own, `<parameter>.Thumbprint` (source: docs, Certificate variables, Account
    variables) or `Octopus.Action.Package[<parameter>].PackageId` (source: docs, Reference files within a package).
    """

    def __init__(self, id: str, prefix: str, read: Callable[[str], str]) -> None:
        self.id = id
        self._prefix = prefix
        self._read = read

    def value(self, field: str) -> str:
        return self._read(self._prefix + "." + field)

    def secret(self, field: str) -> Secret:
        return Secret(self.value(field))

    def __repr__(self) -> str:
        return "Reference({!r})".format(self.id)


class FormFault(Record):
    """One bad value: the label that people see, and what is wrong."""

    label: str
    message: str

    def __str__(self) -> str:
        return f"{self.label}: {self.message}"


def parse_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def parse_pairs(text: str) -> dict[str, str]:
    """`name = value` lines in their order; an `=` inside a value is kept.

    `name = <<END` begins a value of several lines, kept as they are up to a line `END` (any word). A fault names the line
    by its number only, for a value may be secret.
    """
    pairs: dict[str, str] = {}
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if not line.strip():
            continue
        name, separator, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not separator or not name:
            raise ValueError(f"line {position} is not of the form: name = value")
        if name in pairs:
            raise ValueError(f"{name!r} is given twice")
        if value.startswith("<<") and value[2:].isidentifier():
            try:
                end = [one.strip() for one in lines].index(value[2:], position)
            except ValueError:
                raise ValueError(f"the value of {name!r} has no end: a line {value[2:]}") from None
            value, position = "\n".join(lines[position:end]), end + 1
        pairs[name] = value
    return pairs


def parse_boolean(text: str) -> bool:
    """A checkbox: True or False, ignoring case."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def parse_choice(text: str, choices: Mapping[str, str]) -> str:
    """The chosen key; its label is understood too, ignoring case, since expressions often give what people see."""
    if text in choices:
        return text
    for key, label in choices.items():
        if text.lower() in (key.lower(), label.lower()):
            return key
    raise ValueError("{!r} is none of: {}".format(text, ", ".join(choices)))


# The types whose typed value depends on the text alone. `step` is a step's name, `worker_pool` an id.
PLAIN_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "lines": parse_lines,
    "pairs": parse_pairs,
    "boolean": parse_boolean,
    "integer": parse_integer,
    "duration": parse_duration,
    "moment": parse_moment,
    "secret": Secret,
    "version_range": parse_version_range,
    "step": str,
    "worker_pool": str,
}


def parse_value(entry: Mapping[str, Any], text: str, read: Callable[[str], str]) -> Any:
    """The typed value of one row of the parameter table; ValueError with what is wrong."""
    kind, variable = entry["type"], entry["variable"]
    if kind == "choice":
        return parse_choice(text, entry["choices"])
    if kind == "package":
        return Reference(text, f"Octopus.Action.Package[{variable}]", read)
    if kind == "certificate" or kind.endswith("_account"):
        return Reference(text, variable, read)
    return PLAIN_PARSERS[kind](text)


def is_unresolved(text: str) -> bool:
    """Whether an expression in `text` was left as it is: Octopus writes unknown ones back."""
    return EXPRESSION_OPENER in text


class Parameters:
    """The typed values as attributes, None where a field is not set, and `step`, the handle to everything else."""

    step: Any

    def __init__(self, values: Mapping[str, Any], labels: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._labels = dict(labels)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no parameter is named {name!r}") from None

    def label(self, key: str) -> str:
        """The field's name as people see it."""
        return self._labels[key]


class ParsedForm(Record):
    """What one reading of the form gave: values, faults by label, and the labels of optional fields left unresolved."""

    parameters: Parameters
    faults: Sequence[FormFault]
    unresolved: Sequence[tuple[str, str]]


def reads(**grammars: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Gives `main` grammars for fields of its own: `grammar(value)` replaces a value that is set, or raises ValueError.

    So that those faults are reported together with all others, before anything is done.
    """

    def mark(main: Any) -> Any:
        main.grammars = grammars
        return main

    return mark


def parse_parameters(
    table: Sequence[Mapping[str, Any]],
    read: Callable[[str], str],
    grammars: Optional[Mapping[str, Callable[[Any], Any]]] = None,
) -> ParsedForm:
    """Reads every row of `table` (`key, variable, label, type, required, choices`); never raises for a bad value."""
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    faults: list[FormFault] = []
    unresolved: list[tuple[str, str]] = []
    for entry in table:
        key, label = entry["key"], entry["label"]
        values[key], labels[key] = None, label
        text = read(entry["variable"]).strip()
        if entry["type"] == "package" and not text:
            text = read("Octopus.Action.Package[{}].PackageId".format(entry["variable"])).strip()
        if entry["type"] in ("lines", "pairs") and is_unresolved(text) and not re.fullmatch(EXPRESSION, text):
            # Leaving the whole field out, or taking the expression for a name, could widen what the others mean.
            left = ", ".join(dict.fromkeys(re.findall(EXPRESSION, text))) or "an expression"
            faults.append(FormFault(label, f"{left} was not resolved"))
            continue
        if not text or is_unresolved(text):
            shown = "its expression" if entry["type"] == "secret" else text
            if entry["required"]:
                faults.append(
                    FormFault(label, f"{shown} was not resolved" if text else "a value is required")
                )
            elif text:
                unresolved.append((label, shown))
            continue
        try:
            value = parse_value(entry, text, read)
            grammar = (grammars or {}).get(key)
            values[key] = grammar(value) if grammar else value
        except ValueError as error:
            faults.append(FormFault(label, str(error)))
    return ParsedForm(Parameters(values, labels), faults, unresolved)


# ---- generator/runtime/step.py ----

MISCONFIGURED = "misconfigured"
REFUSED = "refused"
REFUSED_BY_SERVER = "refused by the server"

TIMED_OUT = "timed out"
DEADLOCK = "deadlock"
CANCELLED = "cancelled"
GAVE_UP = "gave up on the API"


class StepFailure(Exception):
    """The step fails with one sentence; `kind` is one of the words above and begins it."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind = kind
        self.sentence = sentence


class Step:
    """What an entry script reaches beside its parameters: the log, Octopus' variables, outputs, artifacts, the result."""

    def __init__(self, log: Log, about: Mapping[str, Any]) -> None:
        self.log = log
        self.about = about
        self.result: dict[str, Any] = {}
        self.outputs: dict[str, str] = {}

    def variable(self, name: str) -> str:
        """A variable of Octopus; "" when it is missing or its expression was left unresolved."""
        value = self.log.read(name)
        return "" if is_unresolved(value) else value

    def output(self, name: str, value: str) -> None:
        """Sets an output variable for the steps that follow."""
        self.outputs[name] = value
        self.log.output(name, value)

    def artifact(self, filename: str, text: str) -> None:
        """Attaches a text file to the task. `filename` may hold anything; the file on disk is named safely."""
        safe = safe_filename(filename)
        path = safe.encode("ascii", "replace").decode().replace("?", "_").replace(" ", "_")
        with open(path, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - pathlib costs start-up time
            file.write(text)
        self.log.artifact(path, safe)

    def fail(self, kind: str, sentence: str) -> NoReturn:
        raise StepFailure(kind, sentence)


def safe_filename(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " ._-" else "_" for letter in name)


def result_name(step: Step) -> str:
    """How the artifact with the step's result is named."""
    action = step.variable("Octopus.Action.Name") or str(step.about.get("name"))
    return safe_filename(f"{action}.result.json")


def run_step(
    main: Callable[[Any], object],
    about: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
    helpers: Mapping[str, Any],
) -> None:
    """Runs `main` with the values of the form. A StepFailure becomes the step's one error sentence (exit code 255)."""
    prepare_console((sys.stdout, sys.stderr), sys.platform)
    step = Step(Log(helpers), about)
    failure: Optional[StepFailure] = None
    try:
        main(read_form(step, table, getattr(main, "grammars", {})))
    except StepFailure as error:
        failure = error
    write_result(step, failure)
    if failure is not None:
        step.log.fail(str(failure))


def read_form(step: Step, table: Sequence[Mapping[str, Any]], grammars: Mapping[str, Any]) -> Any:
    """The typed values; a StepFailure that names every bad one."""
    form = parse_parameters(table, step.log.read, grammars)
    for label, text in form.unresolved:
        # The parent's tenant is the default of a field and simply absent from an untenanted deployment.
        quiet = one_line(text).startswith("#" + "{Octopus.Deployment.Tenant.")
        tell = step.log.verbose if quiet else step.log.warning
        tell(f"{label}: {text} was not resolved, so that the field counts as not set.")
    if form.faults:
        step.fail(MISCONFIGURED, "; ".join(str(fault) for fault in form.faults))
    form.parameters.step = step
    return form.parameters


def write_result(step: Step, failure: Optional[StepFailure]) -> None:
    """The whole outcome as one JSON file among the task's artifacts."""
    import json

    document = {
        "step": step.about.get("name"),
        "spec": step.about.get("id"),
        "revision": step.about.get("revision"),
        "succeeded": failure is None,
        "failure": None if failure is None else {"kind": failure.kind, "message": failure.sentence},
        "outputs": step.outputs,
    }
    document.update(step.result)
    step.artifact(result_name(step), json.dumps(document, indent=2, ensure_ascii=False) + "\n")


# ---- generator/runtime/transport.py ----

PORTS = {"http": 80, "https": 443}


class ConnectionMisconfigured(StepFailure):
    """No request can succeed before somebody changes the connection fields."""

    def __init__(self, sentence: str) -> None:
        super().__init__(MISCONFIGURED, sentence)


class BrokenAnswer(OSError):
    """The answer is cut short, or no HTTP."""


class HttpRequest(Record):
    method: str
    url: str
    headers: Mapping[str, str]
    body: Optional[bytes]


class HttpAnswer(Record):
    """`headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Transport = Callable[[HttpRequest, float], HttpAnswer]


def http_transport(ca: str) -> Transport:
    """Sends each request over a connection of its own. `ca` is a file or PEM text to trust as well, or ""."""
    client = load_http_client()
    contexts: list[Any] = []  # none before the first https request, for loading the trust store takes 20 ms

    def send(request: HttpRequest, timeout: float) -> HttpAnswer:
        server = urllib.parse.urlsplit(request.url)
        proxy = find_proxy(server)
        reached = proxy or server
        headers = {**request.headers, "Connection": "close"}
        target = urllib.parse.urlunsplit(("", "", server.path or "/", server.query, ""))
        host = reached.hostname or ""
        connection = client.HTTPConnection(host, reached.port or PORTS[reached.scheme], timeout=timeout)
        if proxy is not None and server.scheme == "https":
            connection.set_tunnel(server.hostname, server.port or 443, authorization(proxy))
        elif proxy is not None:
            target = request.url
            headers.update(authorization(proxy))
        try:
            if "https" in (server.scheme, reached.scheme):
                contexts.extend([] if contexts else [tls_context(ca)])
                connection.connect()
                name = server.hostname if server.scheme == "https" else host
                connection.sock = contexts[0].wrap_socket(connection.sock, server_hostname=name)
                connection.default_port = PORTS["https"]  # which the header Host leaves out
            connection.request(request.method, target, request.body, headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.headers.items()}
            return HttpAnswer(answer.status, names, answer.read())
        except client.HTTPException as error:
            raise BrokenAnswer(f"{type(error).__name__}: {error}") from None
        except UnicodeError:  # raised for host names alone
            raise ConnectionMisconfigured(f"no server can be called {host!r}") from None
        finally:
            connection.close()

    return send


def load_http_client() -> Any:
    """`http.client`, which loads `ssl` for a class that is of no use here; a copy of our own: others find theirs whole."""
    if "ssl" not in sys.modules and "http.client" not in sys.modules:
        missing: Any = None
        sys.modules["ssl"] = missing
        try:
            import http.client

            return sys.modules.pop("http.client")
        finally:
            del sys.modules["ssl"]
    import http.client

    return http.client


def find_proxy(server: urllib.parse.SplitResult) -> Optional[urllib.parse.SplitResult]:
    """The proxy that the environment, on Windows and macOS also the system, names for `server`; None to go there directly."""
    names = (f"{server.scheme}_proxy", f"{server.scheme}_proxy".upper())
    if sys.platform not in ("win32", "darwin") and not any(os.environ.get(name) for name in names):
        return None
    from urllib.request import getproxies, proxy_bypass

    text = getproxies().get(server.scheme)
    if not text or proxy_bypass(server.netloc):
        return None
    try:
        proxy = urllib.parse.urlsplit(text if "://" in text else "http://" + text)
        usable = proxy.scheme in PORTS and proxy.hostname and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:  # not shown: it may hold a password
        raise ConnectionMisconfigured(f"the variable {names[1]} is not the address of an HTTP proxy")
    return proxy


def authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    """The header for a proxy whose address holds a user and password."""
    if not proxy.username:
        return {}
    import base64

    words = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(words.encode()).decode()}


def tls_context(ca: str) -> Any:
    """Verifies always: against the interpreter's own store and `ca`."""
    import ssl

    context = ssl.create_default_context()
    if ca:
        try:
            if ca.lstrip().startswith("-----BEGIN"):
                context.load_verify_locations(cadata=ca)
            else:
                context.load_verify_locations(cafile=ca)
        except (OSError, ValueError) as error:
            raise ConnectionMisconfigured(f"the CA file cannot be read: {error}") from None
    return context


# ---- generator/runtime/api.py ----

USER_AGENT = "octosteps"
FIRST_PATIENCE = (
    60.0  # seconds, while the server has never answered: then a wrong address is the likelier cause
)
USUAL_PATIENCE = 300.0
REQUEST_TIMEOUT = 60.0
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 120.0
PAGE_SIZE = 100
IDS_PER_REQUEST = 200  # an id takes some 20 bytes of the URL
TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)

# The permission that a request most likely lacks, by the first word of its path within the space.
PERMISSIONS: Mapping[tuple[str, str], str] = {
    ("GET", "projects"): "ProjectView (and ReleaseView for releases)",
    ("GET", "environments"): "EnvironmentView",
    ("GET", "tenants"): "TenantView",
    ("GET", "channels"): "ProjectView",
    ("GET", "releases"): "ReleaseView",
    ("GET", "deployments"): "DeploymentView",
    ("POST", "deployments"): "DeploymentCreate",
    ("GET", "tasks"): "TaskView",
    ("POST", "tasks"): "TaskCancel",
    ("GET", "interruptions"): "InterruptionView",
    ("PUT", "interruptions"): "InterruptionSubmit",
    ("POST", "interruptions"): "InterruptionSubmit",
    ("GET", "runbooks"): "RunbookView",
    ("GET", "runbooksnapshots"): "RunbookView",
    ("GET", "runbookruns"): "RunbookRunView",
    ("POST", "runbookruns"): "RunbookRunCreate",
    ("GET", "libraryvariablesets"): "LibraryVariableSetView",
    ("GET", "variables"): "LibraryVariableSetView, VariableView and VariableViewUnscoped",
    ("PUT", "variables"): "LibraryVariableSetEdit, VariableEdit and VariableEditUnscoped",
}


class ApiError(StepFailure):
    """The server's refusal, in its own words, with what to fix."""

    def __init__(
        self, request: str, status: int, message: str, *, hint: str = "", retry_after: float = 0.0
    ) -> None:
        words = f"{request}: {status} {message}".rstrip() + (f" ({hint})" if hint else "")
        super().__init__(REFUSED_BY_SERVER, words)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class ApiUnreachable(StepFailure):
    """A read brought no usable answer within its patience."""

    def __init__(self, sentence: str) -> None:
        super().__init__(GAVE_UP, sentence)


class LostAnswer(StepFailure):
    """Whether a write took place is not known."""

    def __init__(self, sentence: str) -> None:
        super().__init__(GAVE_UP, sentence)


def parse_server_url(text: str) -> str:
    """The server's address without a trailing slash; a virtual directory stays, what a browser adds goes."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(text.split()) != 1 or not text.isprintable():
        raise ValueError(f"{text!r} is not an address such as https://octopus.example.com")
    if parts.username or parts.password:
        raise ValueError("the address must not hold a user or password")
    path = parts.path.rstrip("/")
    for ending in ("/app", "/api"):
        if path.lower().endswith(ending):
            path = path[: -len(ending)]
    return f"{parts.scheme}://{parts.netloc}{path}"


def credential_headers(credential: Secret) -> dict[str, str]:
    """`API-...` is an API key, anything else an access token."""
    text = credential.reveal().strip()
    if text.upper().startswith("API-"):
        return {"X-Octopus-ApiKey": text}
    return {"Authorization": "Bearer " + text}


def parse_credential(credential: Secret) -> Secret:
    """The credential if it can stand in a header; the ValueError does not show it."""
    text = credential.reveal().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            "this is neither an API key nor an access token: it holds spaces, line breaks or other signs"
        )
    return Secret(text)


def token_expiry(credential: Secret) -> Optional[float]:
    """When an access token ends, in seconds since 1970; None for API keys and tokens that do not say."""
    import base64

    parts = credential.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def refusal_text(answer: HttpAnswer) -> str:
    """ErrorMessage and Errors[] in one sentence; both are used by real servers (source: go-octopusdeploy, APIError)."""
    try:
        document = json.loads(answer.body)
        texts = [document.get("ErrorMessage") or "", *(document.get("Errors") or [])]
    except (ValueError, AttributeError, TypeError):
        return "" if not answer.body.strip() else "the answer is not from Octopus, perhaps from a proxy"
    return " ".join(str(text).strip() for text in texts if text)


def likely_cause(method: str, path: str, status: int) -> str:
    """What to fix, in words."""
    if status == 401:
        return "the API key or access token is wrong, or has expired"
    words = urllib.parse.urlsplit(path).path.split("/api/", 1)[-1].split("/")
    inner = [word for word in words if word and not word.startswith("Spaces-")]
    permission = PERMISSIONS.get((method, inner[0].lower() if inner else ""), "")
    if status == 403:
        return (
            f"the account lacks a permission, probably {permission}"
            if permission
            else "the account lacks a permission"
        )
    if status == 404 and permission:
        return f"it does not exist there, or the account may not see it: that takes {permission}"
    return ""


def retry_after(answer: HttpAnswer, now: float) -> float:
    """Seconds that the server asks to wait, 0 without a hint. `now` in seconds since 1970."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    if not text:
        return 0.0
    import email.utils

    moment = email.utils.parsedate_tz(text)
    return max(0.0, email.utils.mktime_tz(moment) - now) if moment else 0.0


def advised_pause(headers: Mapping[str, str]) -> float:
    """Seconds to leave to others who use the same account, when `Octopus-RateLimit: r=7;t=18` says that few requests are left.

    r = requests left, t = seconds until all are back, l = all of them (source: docs, Rate limiting).
    """
    left = advisory(headers.get("octopus-ratelimit", ""))
    all_of_them = advisory(headers.get("octopus-ratelimit-policy", ""))
    if "r" not in left or left["r"] >= all_of_them.get("l", 200.0) / 4:
        return 0.0
    return min(left.get("t", LONGEST_PAUSE), LONGEST_PAUSE)


def advisory(text: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            continue
    return numbers


def any_fraction() -> float:
    """A number from 0 up to 1. Some Pythons take 3 ms to load `random`, so nothing is loaded before the first pause."""
    import random

    return random.random()


class Api:
    """One server and space. Paths are relative to the space, or begin with `/api`; answers are the JSON documents."""

    def __init__(
        self,
        url: str,
        credential: Secret,
        *,
        space: str = "",
        transport: Transport,
        tell: Callable[[str], object] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = any_fraction,
    ) -> None:
        self.url = url
        self.space = space
        self.clock = clock
        self.sleep = sleep
        self.wall_clock = wall_clock
        self.chance = chance
        self.tell = tell
        self.requests = 0
        self.advised_pause = 0.0
        self._headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            **credential_headers(credential),
        }
        self._transport = transport
        self._has_answered = False

    def get(self, path: str, *, patience: Optional[float] = None, **query: Any) -> Any:
        """The document at `path`. A list in `query` becomes `a,b`, None leaves a filter out, an empty list is a mistake.

        Raises ApiError at once for a refusal, ApiUnreachable when `patience` seconds brought no usable answer.
        """
        target = self._target(path, query)
        usual = USUAL_PATIENCE if self._has_answered else FIRST_PATIENCE
        deadline = self.clock() + (usual if patience is None else patience)
        attempt = 0
        while True:
            trouble, wait = self._try_get(target)
            if not isinstance(trouble, str):
                return trouble[0]
            attempt += 1
            left = deadline - self.clock()
            if left <= 0:
                raise ApiUnreachable(f"GET {target}: {trouble}; tried {attempt} times")
            pause = min(LONGEST_PAUSE, 2.0 ** min(attempt, 10)) * (0.5 + self.chance() / 2)
            pause = min(max(pause, min(wait, LONGEST_RETRY_AFTER)), left)
            self.tell(f"GET {target}: {trouble}. Trying again in {pause:.0f} s.")
            self.sleep(pause)

    def post(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> Any:
        """The answer to one POST, which is never repeated here.

        Raises ApiError when the server refused it (429 too: nothing was executed), LostAnswer when that is not known.
        """
        return self._write("POST", path, body, timeout)

    def put(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> Any:
        """The answer to one PUT, under the same rules."""
        return self._write("PUT", path, body, timeout)

    def pages(self, path: str, *, take: int = PAGE_SIZE, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Every item of a collection, page by page, as long as somebody asks for more."""
        skip = 0
        while True:
            page = self.get(path, skip=skip, take=take, **query)
            items = page.get("Items") or []
            yield from items
            skip += len(items)
            if not items or skip >= page.get("TotalResults", 0):
                return

    def by_ids(
        self, path: str, ids: Sequence[str], *, patience: Optional[float] = None
    ) -> list[Mapping[str, Any]]:
        """What the server returns of the documents `ids`; without ids nothing is asked, for that would mean all of them."""
        wanted = list(dict.fromkeys(ids))
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            chunk = wanted[start : start + IDS_PER_REQUEST]
            page = self.get(path, patience=patience, ids=chunk, take=len(chunk))
            found.extend(item for item in page.get("Items") or () if item["Id"] in chunk)
        return found

    def web_link(self, document: Mapping[str, Any]) -> str:
        """The portal's page of `document`, "" without one. Links are relative to the server, virtual directory or not."""
        path = (document.get("Links") or {}).get("Web") or ""
        if not path:
            return ""
        parts = urllib.parse.urlsplit(self.url)
        within = parts.path and not (path == parts.path or path.startswith(parts.path + "/"))
        return f"{parts.scheme}://{parts.netloc}{parts.path if within else ''}{path}"

    def _target(self, path: str, query: Mapping[str, Any]) -> str:
        """Path and query below the server's address."""
        pairs = []
        for name, value in query.items():
            if isinstance(value, (list, tuple)):
                if not value:
                    raise ValueError(
                        f"an empty {name} would mean all"
                    )  # source: api-client.ts, ServerTaskWaiter
                value = ",".join(value)
            if value is not None:
                pairs.append((name, str(value)))
        root = path if path.startswith("/") else f"/api/{self.space}/{path}"
        return root + ("?" + urllib.parse.urlencode(pairs, safe=",") if pairs else "")

    def _send(self, method: str, target: str, body: Optional[bytes], timeout: float) -> HttpAnswer:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.requests += 1
        try:
            answer = self._transport(HttpRequest(method, self.url + target, headers, body), timeout)
        except OSError as error:
            if type(error).__name__ == "SSLCertVerificationError":
                raise ConnectionMisconfigured(
                    f"the certificate of {self.url} is not trusted: {getattr(error, 'verify_message', error)} "
                    "(give the field CA file the authority that signed it)"
                ) from None
            raise
        self.advised_pause = advised_pause(answer.headers)
        return answer

    def _write(self, method: str, path: str, body: Mapping[str, Any], timeout: float) -> Any:
        target = self._target(path, {})
        try:
            answer = self._send(method, target, json.dumps(body).encode(), timeout)
        except OSError as error:
            raise LostAnswer(f"{method} {target}: {trouble_in_words(error)}") from None
        if answer.status in REDIRECTS:
            raise ConnectionMisconfigured(self._redirect_sentence(answer))
        if answer.status in (408,) or answer.status >= 500:
            raise LostAnswer(f"{method} {target}: {answer.status} {refusal_text(answer)}")
        if answer.status >= 400:
            raise self._refusal(method, target, answer)
        try:
            return json.loads(answer.body) if answer.body.strip() else None
        except ValueError:
            raise LostAnswer(f"{method} {target}: the answer is not whole, or not from Octopus") from None

    def _try_get(self, target: str) -> tuple[Any, float]:
        """The document in a tuple, or the trouble as text; and the seconds that the server asks to wait."""
        try:
            answer = self._send("GET", target, None, REQUEST_TIMEOUT)
            if answer.status in REDIRECTS:
                answer = self._follow(target, answer)
        except OSError as error:
            return trouble_in_words(error), 0.0
        if answer.status in TRANSIENT_STATUSES:
            return f"{answer.status} {refusal_text(answer)}".strip(), retry_after(answer, self.wall_clock())
        if answer.status >= 400:
            raise self._refusal("GET", target, answer)
        try:
            document = json.loads(answer.body)
        except ValueError:
            return "the answer is not whole, or not from Octopus (a proxy's page?)", 0.0
        self._has_answered = True
        return (document,), 0.0

    def _follow(self, target: str, answer: HttpAnswer) -> HttpAnswer:
        """The answer behind a redirect that leads to the same host, no less secure; the address is changed for good.

        Any other is refused: the key must not go to a host that nobody named.
        """
        location = urllib.parse.urljoin(self.url + target, answer.headers.get("location", ""))
        old, new = urllib.parse.urlsplit(self.url), urllib.parse.urlsplit(location)
        upgraded = old.scheme == new.scheme and old.netloc == new.netloc
        upgraded = upgraded or (
            old.scheme == "http" and new.scheme == "https" and old.hostname == new.hostname
        )
        if not upgraded or not location.endswith(target) or location == self.url + target:
            raise ConnectionMisconfigured(self._redirect_sentence(answer))
        self.tell(f"{self.url} redirects to {location[: -len(target)]}, which is used from here on.")
        self.url = location[: -len(target)]
        following = self._send("GET", target, None, REQUEST_TIMEOUT)
        if following.status in REDIRECTS:
            raise ConnectionMisconfigured(self._redirect_sentence(following))
        return following

    def _redirect_sentence(self, answer: HttpAnswer) -> str:
        location = answer.headers.get("location", "an unknown place")
        return f"{self.url} redirects to {location}, where no key is sent: put the right address into the field Server"

    def _refusal(self, method: str, target: str, answer: HttpAnswer) -> ApiError:
        return ApiError(
            f"{method} {target}",
            answer.status,
            refusal_text(answer),
            hint=likely_cause(method, target, answer.status),
            retry_after=retry_after(answer, self.wall_clock()),
        )


def trouble_in_words(error: Exception) -> str:
    """A failed exchange for people."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


# ---- generator/runtime/lookup.py ----

DOCUMENT_ID = r"(?:Spaces|Projects|Environments|Tenants|Channels|Runbooks)-[0-9]+"


class NotFound(StepFailure):
    """Nothing on the server has that name, or the account may not see it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(MISCONFIGURED, sentence)


def best_match(documents: list[Mapping[str, Any]], name: str) -> Optional[Mapping[str, Any]]:
    """By name, then id, then name ignoring case, then slug."""
    for key, wanted in (("Name", name), ("Id", name)):
        for document in documents:
            if document.get(key) == wanted:
                return document
    for key in ("Name", "Slug"):
        for document in documents:
            if (document.get(key) or "").lower() == name.lower():
                return document
    return None


def absence(what: str, name: str, names: Sequence[str]) -> str:
    return f"there is no {what} {name!r} that this account can see ({hint_among(name, names)})"


def hint_among(name: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return "did you mean {}?".format(" or ".join(near)) if near else "none has a similar name"


def find_space(api: Api, name: str) -> str:
    """The space's id. An id is taken as it is: the first request within it shows whether it exists."""
    if re.fullmatch(DOCUMENT_ID, name):
        return name
    spaces = api.get("/api/spaces/all")
    match = best_match(spaces, name)
    if match is None:
        raise NotFound(absence("space", name, [space["Name"] for space in spaces]))
    return str(match["Id"])


# ---- generator/runtime/connection.py ----

CONNECTION_GRAMMARS: Mapping[str, Callable[[Any], Any]] = {
    "server": parse_server_url,
    "api_key": parse_credential,
}


def connect(parameters: Any, limit: timedelta, *, transport: Any = None) -> Api:
    """The server, account and space that the form names. `limit` is how long this step may have to wait at most."""
    step = parameters.step
    api = Api(
        parameters.server,
        parameters.api_key,
        transport=transport or http_transport(parameters.ca_file or ""),
        tell=step.log.info,
    )
    expiry = token_expiry(parameters.api_key)
    if expiry is not None:
        left = timedelta(seconds=expiry - api.wall_clock())
        if left.total_seconds() <= 0:
            step.fail(MISCONFIGURED, f"{parameters.label('api_key')}: the access token has expired")
        if left < limit:
            step.log.warning(
                f"The access token ends in {spoken(left)}, but this step may wait for {spoken(limit)}: "
                "after that the server refuses every request with 401."
            )
    api.space = find_space(api, parameters.space)
    return api


# ---- generator/runtime/deadlocks.py ----

# What a waiter needs of its targets. Those that count by themselves, those that count together, and the one that never counts.
NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND = "all", "lock", "behind"
NEEDS_SLOT = "slot"
NEEDS_ANY = "any"
HARD_NEEDS = (NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND)


class Edge(Record):
    """`waiter` cannot go on before `target` has (task ids).

    `need` all: it waits for the end of each target, or for a step of it; lock: the target holds it; behind: it is queued behind
    one with the same concurrency tag; slot: it is queued for one of the slots that the targets hold, and the first to end gives
    it way; any: one of several targets will do. `wait` names the announced wait, "" for a queued task; `since` is when that
    began, in seconds since 1970. `is_sure` is False for a guess. `why` explains the edge to people.
    """

    waiter: str
    target: str
    need: str
    wait: str = ""
    since: int = 0
    is_sure: bool = True
    why: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.waiter, self.target, self.need, self.wait


class Deadlock(Record):
    """A circle of waits. `chain` leads from the asking task into the circle and once around; `waits` are the announced ones in
    it, the one that began last first, as (since, wait id, task)."""

    chain: Sequence[Edge]
    waits: Sequence[tuple[int, str, str]]
    is_certain: bool

    def rank_of(self, wait: str) -> Optional[int]:
        """0 for the wait that is to give way, 1 for the next, None for one outside of the circle."""
        ids = [one for _, one, _ in self.waits]
        return ids.index(wait) if wait in ids else None


def persistent(first: Iterable[Edge], second: Sequence[Edge]) -> list[Edge]:
    """The edges that both passes have. Those for slots stay together: another holder may end first."""
    before = {edge.identity for edge in first}
    slots_before: dict[str, set[str]] = {}
    for waiter, target, need, _ in before:
        if need == NEEDS_SLOT:
            slots_before.setdefault(waiter, set()).add(target)
    slots: dict[str, set[str]] = {}
    for edge in second:
        if edge.need == NEEDS_SLOT:
            slots.setdefault(edge.waiter, set()).add(edge.target)
    return [
        edge
        for edge in second
        if edge.identity in before
        and (edge.need != NEEDS_SLOT or slots[edge.waiter] == slots_before[edge.waiter])
    ]


def find_deadlock(edges: Sequence[Edge], task: str) -> Optional[Deadlock]:
    """The deadlock in which `task` is, or for which it waits; None when nothing proves one.

    A guess makes it a suspicion only if there is none without guesses.
    """
    sure = [edge for edge in edges if edge.is_sure]
    return find_knot(sure, task, certain=True) or find_knot(edges, task, certain=False)


def find_knot(edges: Sequence[Edge], task: str, *, certain: bool) -> Optional[Deadlock]:
    blocked = blocked_tasks(edges)
    if task not in blocked:
        return None
    after: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.need != NEEDS_ANY and edge.waiter in blocked and edge.target in blocked:
            after.setdefault(edge.waiter, []).append(edge)
    chain = chain_from(after, task)
    circle = reachable(after, chain[-1].target)
    waits = {
        (edge.since, edge.wait, edge.waiter)
        for one in circle
        for edge in after[one]
        if edge.wait and edge.target in circle and one in reachable(after, edge.target)
    }
    return Deadlock(chain, sorted(waits, reverse=True), certain)


def blocked_tasks(edges: Iterable[Edge]) -> set[str]:
    """The tasks that cannot go on: each needs another one of them, or stands in line for slots that they hold."""
    needs: dict[str, list[Edge]] = {}
    for edge in edges:
        needs.setdefault(edge.waiter, []).append(edge)
    blocked = set(needs)
    while True:
        free = {task for task in blocked if not is_held(needs[task], blocked)}
        if not free:
            return blocked
        blocked -= free


def is_held(needs: Sequence[Edge], blocked: set[str]) -> bool:
    slots = [edge.target in blocked for edge in needs if edge.need == NEEDS_SLOT]
    return (bool(slots) and all(slots)) or any(
        edge.need in HARD_NEEDS and edge.target in blocked for edge in needs
    )


def chain_from(after: Mapping[str, Sequence[Edge]], task: str) -> list[Edge]:
    """The edges from `task` back to itself by the shortest way; where none leads back, to a circle and once around it."""
    way = shortest_way(after, task, task)
    if way:
        return way
    seen: list[str] = []
    chain: list[Edge] = []
    here = task
    while here not in seen:  # each blocked task has a blocked one after it
        seen.append(here)
        circle = shortest_way(after, here, here)
        if circle:
            return chain + circle
        chain.append(after[here][0])
        here = after[here][0].target
    return chain


def shortest_way(after: Mapping[str, Sequence[Edge]], start: str, end: str) -> list[Edge]:
    """The edges from `start` to `end`, at least one; none when there is no way."""
    ways: list[list[Edge]] = [[edge] for edge in after.get(start, ())]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        here = way[-1].target
        if here == end:
            return way
        if here not in seen:
            seen.add(here)
            ways.extend([*way, edge] for edge in after.get(here, ()))
    return []


def reachable(after: Mapping[str, Sequence[Edge]], task: str) -> set[str]:
    """`task` and all to which edges lead from it."""
    found, left = {task}, [task]
    while left:
        for edge in after.get(left.pop(), ()):
            if edge.target not in found:
                found.add(edge.target)
                left.append(edge.target)
    return found


def chain_in_words(chain: Sequence[Edge], names: Mapping[str, str], own: str) -> str:
    """`this task waits for X (ServerTasks-2), which waits for this task`."""

    def name(task: str) -> str:
        if task == own:
            return "this task"
        return f"{names[task]} ({task})" if task in names else task

    parts = []
    for place, edge in enumerate(chain):
        subject = name(edge.waiter) if place == 0 else "which"
        parts.append(f"{subject} {verb_of(edge)} {name(edge.target)}{' ' if edge.why else ''}{edge.why}")
    return ", ".join(parts)


def verb_of(edge: Edge) -> str:
    return {
        NEEDS_LOCK: "waits for a lock that is held by",
        STANDS_BEHIND: "stands in the queue behind",
        NEEDS_SLOT: "stands in the queue behind",
    }.get(edge.need, "waits for")


# ---- generator/runtime/lock_state.py ----

LOCK_SET_NAME = "octosteps locks"

# An unscoped variable that every such set has. Whoever is not shown it may not see unscoped variables, and so no locks.
LOCK_FORMAT_VARIABLE = "octosteps.locks"
LOCK_FORMAT = "1"
LONGEST_LOCK_NAME = 200
LONGEST_TEXT = 100
EXCLUSIVE = 1
ABOUT = ("project", "release", "environment", "step", "link")


class LockClaim(Record):
    """One holder of a lock, or one that waits for it: task, action and machine say which step it is, the nonce which run of it.

    `share`: beside how many, itself included, it may hold the lock; 1 is exclusive. `since`: when it came to hold or to wait, by
    its worker's clock (ISO 8601). `fence`: 0 while it waits. `about`: for people, see ABOUT; `link` is a path on the server.
    """

    nonce: str
    space: str
    task: str
    action: str
    machine: str
    share: int
    since: str
    fence: int
    about: Mapping[str, str]

    def is_step_of(self, other: LockClaim) -> bool:
        """Whether both are runs of the same step, on the same machine if it runs on machines."""
        return (self.task, self.action, self.machine) == (other.task, other.action, other.machine)

    def is_rival_in_task(self, other: LockClaim) -> bool:
        """Whether both are different steps of one task. Task ids are unique on a server."""
        return self.task == other.task and self.action != other.action

    def to_json(self) -> dict[str, Any]:
        own = {name: value for name, value in self._asdict().items() if name != "about"}
        return {**own, **self.about}

    def __str__(self) -> str:
        """For people, without the link: `Shop 1.2.3 to Production, step Migrate (ServerTasks-7)`."""
        about = self.about
        what = " ".join(part for part in (about.get("project"), about.get("release")) if part)
        where = f" to {about['environment']}" if about.get("environment") else ""
        step = f", step {about['step']}" if about.get("step") else ""
        return f"{what or 'a task'}{where}{step} ({self.task})"


class LockState(Record):
    """`waiters` in the order in which they came. `fence` is the number of the last time that somebody came to hold it."""

    fence: int
    holders: tuple[LockClaim, ...] = ()
    waiters: tuple[LockClaim, ...] = ()

    def without(self, nonces: Collection[str]) -> LockState:
        """The lock once those have left it."""
        return self._replace(
            holders=tuple(one for one in self.holders if one.nonce not in nonces),
            waiters=tuple(one for one in self.waiters if one.nonce not in nonces),
        )


class Attempt(Record):
    """What came of one look at a lock. `state` is the lock as it is to be from now on, the same if nothing changes.

    `held`: the own claim once it holds. `behind`: whom it has to wait for otherwise, holders and then those in front.
    `rival`: the claim of another step of the own task that holds it. `successor`: a later run of the own step.
    """

    state: LockState
    held: Optional[LockClaim] = None
    behind: tuple[LockClaim, ...] = ()
    rival: Optional[LockClaim] = None
    successor: Optional[LockClaim] = None


def attempt_lock(
    state: LockState,
    own: LockClaim,
    *,
    now: str,
    gone: Collection[str] = (),
    known: bool = False,
    waits: bool = True,
) -> Attempt:
    """What the step `own` can make of the lock `now`.

    `gone`: the nonces of claims that count no more. `known`: an earlier look of this run has made it a waiter. Without `waits`
    it does not get into line. Steps of one task never wait for each other, for they would wait for ever.
    """
    state = state.without(gone)
    for holder in state.holders:
        if holder.nonce == own.nonce:  # it was written, and the answer lost
            return Attempt(state, held=holder)
        if holder.is_step_of(own):
            return Attempt(state, successor=holder) if known else reentry(state, own, holder)
        if holder.is_rival_in_task(own):
            return Attempt(state, rival=holder)
    place = next((index for index, one in enumerate(state.waiters) if one.is_step_of(own)), None)
    if place is not None and known and state.waiters[place].nonce != own.nonce:
        return Attempt(state, successor=state.waiters[place])
    ahead = tuple(one for one in state.waiters[:place] if not one.is_rival_in_task(own))
    others = tuple(one for one in state.waiters if not one.is_step_of(own))
    if has_room([*state.holders, *ahead, own]):
        held = own._replace(fence=state.fence + 1, since=now)
        return Attempt(LockState(held.fence, (*state.holders, held), others), held=held)
    behind = (*state.holders, *ahead)
    if not waits:
        return Attempt(state._replace(waiters=others), behind=behind)
    if place is None:
        waiters = (*state.waiters, own)
    else:
        waiter = own._replace(since=state.waiters[place].since)
        waiters = (*state.waiters[:place], waiter, *state.waiters[place + 1 :])
    return Attempt(state._replace(waiters=waiters), behind=behind)


def reentry(state: LockState, own: LockClaim, earlier: LockClaim) -> Attempt:
    """The step holds the lock from an earlier run, which was killed or has lost the answer: it holds on, with a new fence."""
    held = own._replace(fence=state.fence + 1, since=earlier.since, share=earlier.share)
    holders = tuple(held if one is earlier else one for one in state.holders)
    others = tuple(one for one in state.waiters if not one.is_step_of(own))
    return Attempt(LockState(held.fence, holders, others), held=held)


def has_room(claims: Sequence[LockClaim]) -> bool:
    """Whether all of them may hold a lock together: no more than each of them allows."""
    return len(claims) <= min(claim.share for claim in claims)


def certain_blockers(behind: Sequence[LockClaim], own: LockClaim) -> tuple[LockClaim, ...]:
    """Those of `behind` that keep `own` out for as long as they are there. Sharers are none: any one that leaves makes room."""
    return tuple(one for one in behind if not has_room([one, own]))


def lock_to_text(state: LockState) -> str:
    """The value of a lock's variable."""
    document = {
        "fence": state.fence,
        "holders": [claim.to_json() for claim in state.holders],
        "waiters": [claim.to_json() for claim in state.waiters],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def parse_lock(text: Any) -> LockState:
    """The reverse of `lock_to_text`; ValueError for everything else."""
    try:
        document = json.loads(text)
        fence = parse_number(document["fence"])
        holders, waiters = (tuple(map(parse_claim, document[part])) for part in ("holders", "waiters"))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    nonces = [claim.nonce for claim in (*holders, *waiters)]
    if len(set(nonces)) != len(nonces):
        raise ValueError("a nonce stands in it twice")
    return LockState(fence, holders, waiters)


def parse_claim(document: Mapping[str, Any]) -> LockClaim:
    claim = LockClaim(
        nonce=str(document["nonce"]),
        space=str(document["space"]),
        task=str(document["task"]),
        action=str(document["action"]),
        machine=str(document["machine"]),
        share=parse_number(document["share"]),
        since=str(document["since"]),
        fence=parse_number(document["fence"]),
        about={name: str(document.get(name) or "") for name in ABOUT},
    )
    if not claim.nonce or not claim.task or claim.share < 1:
        raise ValueError("a claim has no nonce, no task or no share")
    return claim


def parse_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def scoped_name(name: str, environment: str = "", tenant: str = "") -> str:
    """The whole name of a lock that each environment, or each tenant, has for itself: `Shop (in Production, for Acme)`."""
    scope = ", ".join(
        part for part in (environment and f"in {environment}", tenant and f"for {tenant}") if part
    )
    return f"{name} ({scope})" if scope else name


def parse_lock_name(text: str) -> str:
    """The name with its blanks tidied; ValueError when it cannot be a lock's. Case does not tell locks apart."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_LOCK_NAME or not name.isprintable():
        raise ValueError(f"a lock's name has 1 to {LONGEST_LOCK_NAME} letters that can be seen")
    if name.lower() == LOCK_FORMAT_VARIABLE:
        raise ValueError(f"{LOCK_FORMAT_VARIABLE} cannot be the name of a lock")
    return name


# ---- generator/runtime/markers.py ----

NOBODY = "nobody"


class ParentTask(Record):
    """The task whose step made a child. Task ids are unique on one server only, hence `server`, its address."""

    server: str
    space: str
    id: str

    def __str__(self) -> str:
        """What stands in the marker: `https://octopus.example.com/Spaces-1/ServerTasks-7`, or `nobody` outside a task."""
        return "/".join(part for part in self if part) or NOBODY

    @property
    def is_known(self) -> bool:
        return bool(self.server and self.space and self.id)


def own_task(step: Any) -> ParentTask:
    """The task that runs this step; empty outside Octopus."""
    task = step.variable("Octopus.Task.Id")
    if not task:
        return ParentTask("", "", "")
    server = step.variable("Octopus.Web.ServerUri").rstrip("/").lower()
    return ParentTask(server, step.variable("Octopus.Space.Id"), task)


# ---- generator/runtime/once.py ----

def own_identity(step: Any) -> list[str]:
    """Server, task, action, and the machine of a step that runs for targets: what stays the same when a step is retried.

    A worker is no part of it, for a retry may run on another one. Outside a task every run is an intention of its own.
    """
    import os

    task = step.variable("Octopus.Task.Id") or "no task " + os.urandom(12).hex()
    on_worker = step.variable("Octopus.Action.RunOnServer").lower() == "true"
    for_targets = bool(step.variable("Octopus.Action.TargetRoles")) or not on_worker
    machine = step.variable("Octopus.Machine.Id") if for_targets else ""
    server = step.variable("Octopus.Web.ServerUri").rstrip("/").lower()
    return [server, task, step.variable("Octopus.Action.Id") or step.variable("Octopus.Action.Name"), machine]


# ---- generator/runtime/tasks.py ----

ALIVE_STATES = ("Queued", "Executing", "Cancelling")
RUNNING_STATES = ("Executing", "Cancelling")
CLOCK_TOLERANCE = timedelta(seconds=30)  # between the worker's clock and the server's


class Task:
    """One server task. Its state alone does not tell whether a person is asked: `is_paused` does."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.id: str = document["Id"]
        self.state: str = document["State"]
        self.description: str = document.get("Description") or self.id
        self.error: str = document.get("ErrorMessage") or ""
        arguments = document.get("Arguments") or {}
        self.deployment_id: str = arguments.get("DeploymentId") or ""
        self.runbook_run_id: str = arguments.get("RunbookRunId") or ""
        self.space_id: str = document.get("SpaceId") or ""
        # Approvals outside of Octopus, by type; servers that know none leave them out.
        self.preconditions: Sequence[str] = document.get("PendingPreconditionTypes") or ()
        self.is_paused: bool = bool(document.get("HasPendingInterruptions")) and self.is_alive
        self.has_warnings: bool = bool(document.get("HasWarningsOrErrors"))
        self.queued = moment_or_none(document.get("QueueTime"))
        self.started = moment_or_none(document.get("StartTime"))
        self.completed = moment_or_none(document.get("CompletedTime"))
        self.was_picked_up: bool = (
            bool(document.get("HasBeenPickedUpByProcessor")) or self.started is not None
        )

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE_STATES

    @property
    def is_waiting_in_queue(self) -> bool:
        """Queued, and nothing of it has begun: a task that waits for a person reads Queued as well."""
        return self.state == "Queued" and not self.is_paused and not self.was_picked_up

    @property
    def never_began(self) -> bool:
        return self.started is None and not self.was_picked_up

    def is_scheduled(self, now: datetime) -> bool:
        """Queued for a time that has not come."""
        return self.is_waiting_in_queue and self.queued is not None and self.queued > now + CLOCK_TOLERANCE

    def is_active(self, now: datetime) -> bool:
        """Executing, Cancelling, waiting for a person, or Queued and due."""
        return self.is_alive and not self.is_scheduled(now)

    @property
    def queue_time(self) -> Optional[timedelta]:
        return self.started - self.queued if self.started and self.queued else None

    @property
    def run_time(self) -> Optional[timedelta]:
        return self.completed - self.started if self.started and self.completed else None


def utc_now(api: Api) -> datetime:
    return datetime.fromtimestamp(api.wall_clock(), timezone.utc)


# ---- generator/runtime/orphans.py ----

SAME_MOMENT = 1.0  # seconds between two writings of one queue time


def read_own_task(api: Api, step: Any) -> Optional[Task]:
    """The task that runs this step as the server of `api` returns it; None on another server, and without the right to see it.

    One server may have several addresses, and two servers the same ids: where the addresses differ the queue time decides.
    """
    own = own_task(step)
    if not own.space or not own.id:
        return None
    try:
        found = [
            Task(item) for item in api.by_ids(f"/api/{own.space}/tasks", [own.id]) if item["Id"] == own.id
        ]
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return None
    if not found or api.url.lower() == own.server:
        return found[0] if found else None
    told, seen = moment_or_none(step.variable("Octopus.Task.QueueTime")), found[0].queued
    same = told is not None and seen is not None and abs((told - seen).total_seconds()) <= SAME_MOMENT
    return found[0] if same else None


# ---- generator/runtime/lock_claims.py ----

def own_claim(api: Api, step: Any, share: int, *, is_to_last: bool) -> LockClaim:
    """What this run of the step claims; a StepFailure where nobody could ever find out that its task has ended.

    `is_to_last`: it will stand in a lock, so that it matters whether this account can tell.
    """
    _, task, action, machine = own_identity(step)
    own = own_task(step)
    if not own.id:
        raise StepFailure(MISCONFIGURED, "a lock is held by a task of Octopus, and this runs in none")
    if read_own_task(api, step) is None:
        if api.url.lower() != own.server:
            raise StepFailure(
                MISCONFIGURED,
                f"{api.url} does not show this account the running task {own.id}, so that nobody can tell whether it is the "
                "server that runs it: a lock works within one server, and takes TaskView for this project",
            )
        if is_to_last:
            step.log.warning(
                f"The server does not show this account the running task {own.id} (that takes TaskView for this project): should "
                "it end without giving the lock back, steps with the same account cannot tell, and wait."
            )
    return LockClaim(
        nonce=os.urandom(8).hex(),
        space=own.space,
        task=task,
        action=action,
        machine=machine,
        share=share,
        since=iso_now(api),
        fence=0,
        about={name: shortened_text(value) for name, value in about_step(step).items()},
    )


def about_step(step: Any) -> dict[str, str]:
    """Who claims, for people."""
    machine = step.variable("Octopus.Machine.Name") if own_identity(step)[3] else ""
    name = step.variable("Octopus.Step.Name") or step.variable("Octopus.Action.Name")
    tenant = step.variable("Octopus.Deployment.Tenant.Name")
    return {
        "project": step.variable("Octopus.Project.Name"),
        "release": step.variable("Octopus.Release.Number") or step.variable("Octopus.Runbook.Name"),
        "environment": step.variable("Octopus.Environment.Name") + (f" for {tenant}" if tenant else ""),
        "step": name + (f" on {machine}" if machine else ""),
        "link": step.variable("Octopus.Web.DeploymentLink") or step.variable("Octopus.Web.RunbookRunLink"),
    }


def shortened_text(text: str) -> str:
    tidy = one_line(text)
    return tidy if len(tidy) <= LONGEST_TEXT else tidy[: LONGEST_TEXT - 3] + "..."


def iso_now(api: Api) -> str:
    return utc_now(api).isoformat(timespec="seconds")


def link_of(api: Api, claim: LockClaim) -> str:
    return api.web_link({"Links": {"Web": claim.about.get("link", "")}})


def claim_in_words(api: Api, claim: LockClaim) -> str:
    """Who, since when, and where to look."""
    since = moment_or_none(claim.since)
    link = link_of(api, claim)
    return (
        f"{claim}" + (f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "") + (f" {link}" if link else "")
    )


def lock_of(step: Any, name: str, scope: str) -> str:
    """The whole name of the lock that a form means: one for all, or one for each environment, tenant or both."""
    environment = step.variable("Octopus.Environment.Name") if "environment" in scope else ""
    tenant = step.variable("Octopus.Deployment.Tenant.Name") or "no tenant" if "tenant" in scope else ""
    return scoped_name(name, environment, tenant)


# ---- generator/runtime/lock_set.py ----

SHORTEST_WRITE = 60.0  # seconds in which a change may fail to succeed, though its own deadline is nearer
FIRST_WRITE_PAUSE, LONGEST_WRITE_PAUSE = 0.25, 10.0
REFUSED_STATUSES = (400, 409)


class LockSet:
    """One set, by the path of its variables."""

    def __init__(self, api: Api, path: str) -> None:
        self.api = api
        self.path = path

    def read(self, *, patience: Optional[float] = None) -> Mapping[str, Any]:
        """The variables as the server has them. A StepFailure when they are not those of a set for locks."""
        document: Mapping[str, Any] = self.api.get(self.path, patience=patience)
        mark = find_lock_variable(document, LOCK_FORMAT_VARIABLE)
        if mark is None:
            raise StepFailure(
                MISCONFIGURED,
                f"the variable set {LOCK_SET_NAME!r} shows no variable {LOCK_FORMAT_VARIABLE}: `octosteps apply` completes a set "
                f"(by hand: add it, unscoped, with the value {LOCK_FORMAT}), or the account lacks VariableViewUnscoped",
            )
        if mark.get("Value") != LOCK_FORMAT:
            raise StepFailure(
                MISCONFIGURED,
                f"the locks are kept in format {mark.get('Value')!r}, and this step knows {LOCK_FORMAT}: publish the newer steps",
            )
        return document

    def lock(self, document: Mapping[str, Any], name: str) -> LockState:
        """The lock of that name; one that nobody ever held has nothing in it, and a fence of now."""
        variable = find_lock_variable(document, name)
        if variable is None:
            return LockState(int(self.api.wall_clock()))
        try:
            if any((variable.get("Scope") or {}).values()):
                raise ValueError("it is scoped")
            return parse_lock(variable.get("Value"))
        except ValueError as error:
            raise StepFailure(
                MISCONFIGURED,
                f"the variable {name!r} of the set {LOCK_SET_NAME!r} holds no lock ({error}): make sure that nobody needs it, "
                "and delete the variable",
            ) from None

    def change(self, name: str, decide: Callable[[LockState], Attempt], *, deadline: float) -> Attempt:
        """Makes of the lock what `decide` says, as one step that nobody comes between; what it said.

        It is asked again for each fresh read: after a stale Version, and after an answer that was lost, when it sees its own
        earlier work. Raises StepFailure when that has not succeeded at `deadline`.
        """
        deadline = max(deadline, self.api.clock() + SHORTEST_WRITE)
        refused_version: Any = None
        tries = 0
        while True:
            document = self.read(patience=max(0.0, deadline - self.api.clock()))
            state = self.lock(document, name)
            wanted = decide(state)
            if wanted.state == state:
                return wanted
            pause = 0.0
            try:
                answer = self.api.put(self.path, with_lock(document, name, wanted.state))
            except LostAnswer as error:
                trouble: StepFailure = error
                self.api.tell(f"{error.sentence}. Looking whether the lock was changed.")
            except ApiError as error:
                version_stands = error.status == 400 and document.get("Version") == refused_version
                if version_stands or error.status not in (*REFUSED_STATUSES, 429):
                    raise
                trouble, pause = error, min(error.retry_after, LONGEST_RETRY_AFTER)
                refused_version = document.get("Version") if error.status == 400 else None
            else:
                if self.shows(answer, name, wanted.state):
                    return wanted
                trouble = StepFailure(GAVE_UP, "the server answers a PUT of variables with nothing")
            tries += 1
            if self.api.clock() >= deadline:
                raise StepFailure(
                    GAVE_UP, f"the lock could not be changed in {tries} attempts; last: {trouble.sentence}"
                )
            if isinstance(trouble, LostAnswer):
                pause = min(LONGEST_PAUSE, 2.0 ** min(tries - 1, 10)) * (0.5 + self.api.chance() / 2)
            else:  # somebody was faster: whoever waits the shortest is the next
                longest = min(LONGEST_WRITE_PAUSE, FIRST_WRITE_PAUSE * 2.0 ** min(tries, 10))
                pause = max(pause, longest * self.api.chance())
            self.api.sleep(pause)

    def shows(self, answer: Any, name: str, wanted: LockState) -> bool:
        """Whether the answer to a write holds the lock as written; False when it holds no variables at all.

        A server that says yes and keeps something else has left out what the account may not edit.
        """
        if not isinstance(answer, dict) or "Variables" not in answer:
            return False
        variable = find_lock_variable(answer, name)
        if variable is None or variable.get("Value") != lock_to_text(wanted):
            raise StepFailure(
                REFUSED_BY_SERVER,
                "the server took the lock's variable without keeping it: the account needs VariableViewUnscoped and "
                "VariableEditUnscoped",
            )
        return True


def find_lock_variable(document: Mapping[str, Any], name: str) -> Optional[Mapping[str, Any]]:
    """The variable of that name, ignoring case; a StepFailure when there are several."""
    found = [one for one in document.get("Variables") or () if one["Name"].lower() == name.lower()]
    if len(found) > 1:
        raise StepFailure(
            MISCONFIGURED,
            f"the set {LOCK_SET_NAME!r} has {len(found)} variables {name!r}: delete all but one of them",
        )
    return found[0] if found else None


def with_lock(document: Mapping[str, Any], name: str, state: LockState) -> dict[str, Any]:
    """The variables as they were read, with this lock."""
    text = lock_to_text(state)
    variables = [
        {**one, "Value": text} if one["Name"].lower() == name.lower() else one
        for one in document["Variables"]
    ]
    if find_lock_variable(document, name) is None:
        variables.append(
            {
                "Name": name,
                "Value": text,
                "Type": "String",
                "IsSensitive": False,
                "IsEditable": True,
                "Scope": {},
            }
        )
    return {**document, "Variables": variables}


def find_lock_set(api: Api) -> LockSet:
    """The set of the space; a StepFailure that says how to get one when it has none."""
    for document in api.pages("libraryvariablesets", contentType="Variables", partialName=LOCK_SET_NAME):
        if (document.get("Name") or "").lower() == LOCK_SET_NAME.lower():
            return LockSet(api, f"variables/{document['VariableSetId']}")
    raise StepFailure(
        MISCONFIGURED,
        f"the library has no variable set {LOCK_SET_NAME!r} that this account can see (that takes LibraryVariableSetView): "
        "`octosteps apply` makes it together with the steps that need it; the field Space says in which space",
    )


# ---- generator/runtime/queues.py ----

CONCURRENCY_TAG = "Octopus.Task.ConcurrencyTag"
MOST_AHEAD = 30
MOST_MANIFESTS = 8
KEPT = 300.0  # seconds for which freezes and nodes that were read are good enough for words
MOST_NAMED = 3
SAME_TAG, NO_SLOT, NOT_KNOWN = "same tag", "no slot", "not known"
TAG_EXPRESSION = r"#\{\s*([^{}|\s]+)\s*\}"
# What may stand in a tag, as the field of the run that tells it. A name is as good as the id of what has it.
TAG_FIELDS: Mapping[str, str] = {
    "Octopus.Project.Id": "ProjectId",
    "Octopus.Project.Name": "ProjectId",
    "Octopus.Environment.Id": "EnvironmentId",
    "Octopus.Environment.Name": "EnvironmentId",
    "Octopus.Deployment.Tenant.Id": "TenantId",
    "Octopus.Deployment.Tenant.Name": "TenantId",
    "Octopus.Release.Channel.Id": "ChannelId",
    "Octopus.Release.Channel.Name": "ChannelId",
    "Octopus.Runbook.Id": "RunbookId",
    "Octopus.Runbook.Name": "RunbookId",
    "Octopus.Space.Id": "SpaceId",
    "Octopus.Space.Name": "SpaceId",
}


class Ahead(Record):
    """A task that comes first, and why it holds the other one up: SAME_TAG, NO_SLOT or NOT_KNOWN."""

    task: Task
    cause: str


class Standing(Record):
    """Where a task stands in the queue. `tasks` are the first of those ahead, `position` counts all of them and itself.

    `cap` is how many tasks run at once on all nodes, 0 when that cannot be read; `is_whole`: no other task than those runs.
    `reason` says why, for people, `notes` what else keeps it there.
    """

    tasks: Sequence[Ahead]
    position: int
    reason: str
    notes: Sequence[str] = ()
    cap: int = 0
    is_whole: bool = False

    def __str__(self) -> str:
        parts = []
        if self.tasks:
            names = [one.task.description for one in self.tasks[:MOST_NAMED]]
            more = self.position - 1 - len(names)
            parts.append("behind " + ", ".join(names) + (f" and {more} more" if more > 0 else ""))
            parts.append(f"({self.reason})")
        elif self.reason:
            parts.append(f"({self.reason})")
        return " ".join(parts) + "".join(f"; {note}" for note in self.notes)


class Nodes(Record):
    """The task caps of the nodes that start tasks together, and how many tasks run there."""

    cap: int
    running: int


class Queues:
    """Reads standings; what stays the same is read once. `refused` are the questions that this account may not ask."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.refused: set[str] = set()
        self.kept: dict[str, tuple[float, Any]] = {}
        self.runs: dict[str, Mapping[str, Any]] = {}
        self.tags: dict[str, Optional[str]] = {}
        self.manifests: dict[str, Any] = {}

    def read(self, task: Task, *, for_people: bool = True) -> Optional[Standing]:
        """Where `task` stands now, in one to a handful of requests; None when the account may not see that.

        `for_people`: with notes, and from what was read some minutes ago as far as that will do.
        """
        page = self.ask(f"/api/tasks/{task.id}/queued-behind", what="queued-behind", take=MOST_AHEAD)
        if page is None:
            return None
        ahead = [Task(item) for item in page.get("Items") or ()]
        total = max(len(ahead), int(page.get("TotalResults") or 0))
        told = self.notes(task) if for_people else []
        if not ahead:
            return Standing([], 1, self.why_nothing_is_ahead(task) if for_people else "", told)
        self.read_runs([task, *ahead])
        causes = [Ahead(one, self.cause(task, one)) for one in ahead]
        others = any(one.cause != SAME_TAG for one in causes)
        nodes = self.read_nodes() if others else None
        running = [one for one in ahead if one.state in RUNNING_STATES]
        if nodes is not None:
            full = nodes.running >= nodes.cap
            causes = [
                one if one.cause == SAME_TAG else Ahead(one.task, NO_SLOT if full else SAME_TAG)
                for one in causes
            ]
        whole = nodes is not None and nodes.running == len(running) and total == len(ahead)
        cap = nodes.cap if nodes is not None else 0
        return Standing(causes, total + 1, self.reason(task, causes, cap), told, cap, whole)

    def ask(self, path: str, *, what: str, max_age: float = 0.0, **query: Any) -> Any:
        """The answer, up to `max_age` seconds old; None where the account may not ask, and then the question is not repeated."""
        if what in self.refused:
            return None
        now = self.api.clock()
        if what in self.kept and now - self.kept[what][0] < max_age:
            return self.kept[what][1]
        try:
            answer = self.api.get(path, **query)
            self.kept[what] = now, answer
            return answer
        except ApiError as error:
            if error.status == 401:
                raise
            self.refused.add(what)
            return None

    # --- the cause -------------------------------------------------------------------------------------------------

    def read_runs(self, tasks: Sequence[Task]) -> None:
        """The deployments and runbook runs of `tasks`, as far as they are in this space."""
        for collection, ids in (
            ("deployments", [task.deployment_id for task in tasks]),
            ("runbookRuns", [task.runbook_run_id for task in tasks]),
        ):
            wanted = [one for one in ids if one and one not in self.runs]
            if not wanted or collection in self.refused:
                continue
            try:
                found = self.api.by_ids(collection, wanted)
            except ApiError as error:
                if error.status == 401:
                    raise
                self.refused.add(collection)
                continue
            self.runs.update({item["Id"]: item for item in found})
            self.runs.update({one: {} for one in wanted if one not in self.runs})

    def run_of(self, task: Task) -> Mapping[str, Any]:
        return self.runs.get(task.deployment_id or task.runbook_run_id) or {}

    def cause(self, task: Task, other: Task) -> str:
        """Why `other` comes before `task`."""
        run, first = self.run_of(task), self.run_of(other)
        if not run or not first:
            return NOT_KNOWN
        own, same_cell = self.tag(run), cell_of(run) == cell_of(first)
        if own is None:
            return SAME_TAG if same_cell else NOT_KNOWN
        if own == default_tag(run):
            return SAME_TAG if same_cell else NO_SLOT
        theirs = self.tag(first)
        if theirs is None:
            return NOT_KNOWN
        return SAME_TAG if own == theirs else NO_SLOT

    def tag(self, run: Mapping[str, Any]) -> Optional[str]:
        """The concurrency tag of a deployment or run; None when it cannot be told."""
        identifier = str(run["Id"])
        if identifier not in self.tags:
            manifest = self.read_manifest(run)
            self.tags[identifier] = None if manifest is None else evaluated_tag(manifest, run)
        return self.tags[identifier]

    def read_manifest(self, run: Mapping[str, Any]) -> Any:
        """The variables of a run, those of its release being good enough: they may be many. None when they cannot be read."""
        release = str(run.get("ReleaseId") or run.get("RunbookSnapshotId"))
        if release not in self.manifests and len(self.manifests) < MOST_MANIFESTS:
            path = f"variables/{run.get('ManifestVariableSetId')}"
            self.manifests[release] = self.ask(path, what="variables")
        return self.manifests.get(release)

    def read_nodes(self) -> Optional[Nodes]:
        """Source: api-client.ts, OctopusServerNodeSummaryResource; takes AdministerSystem."""
        document = self.ask("/api/octopusservernodes/summary", what="nodes", max_age=KEPT)
        if document is None:
            return None
        nodes = [one for one in document.get("Nodes") or () if not one.get("IsOffline")]
        starting = [one for one in nodes if not one.get("IsInMaintenanceMode")]
        return Nodes(
            sum(int(one.get("MaxConcurrentTasks") or 0) for one in starting),
            sum(int(one.get("RunningTaskCount") or 0) for one in nodes),
        )

    # --- in words --------------------------------------------------------------------------------------------------

    def reason(self, task: Task, ahead: Sequence[Ahead], cap: int) -> str:
        causes = {one.cause for one in ahead}
        full = f"the task cap of {cap} is full" if cap else "the task cap is full"
        if NOT_KNOWN in causes:
            return "the task cap is full, or they have a concurrency tag in common"
        if SAME_TAG not in causes:
            return full
        run = self.run_of(task)
        tag = self.tags.get(str(run.get("Id"))) if run else None
        same = [one.task for one in ahead if one.cause == SAME_TAG]
        if run and all(cell_of(self.run_of(one)) == cell_of(run) for one in same):
            words = "one at a time in the same project, environment and tenant"
        else:
            words = "they have a concurrency tag in common" + (f", {tag}" if tag else "")
        return f"{words}; and {full}" if NO_SLOT in causes else words

    def why_nothing_is_ahead(self, task: Task) -> str:
        space = self.ask(f"/api/spaces/{task.space_id}", what="space") if task.space_id else None
        if space is not None and space.get("TaskQueueStopped"):
            return f"the task queue of the space {space.get('Name')} is stopped"
        return ""

    def notes(self, task: Task) -> list[str]:
        """What keeps it there beside the tasks ahead: approvals outside of Octopus, deployment freezes."""
        found = []
        if task.preconditions:
            found.append(f"it waits for {', '.join(task.preconditions)}")
        freeze = self.freeze_of(task)
        if freeze:
            found.append(freeze)
        return found

    def freeze_of(self, task: Task) -> str:
        """The freeze that holds where the task deploys to: what begins then fails (source: docs, Deployment freezes)."""
        self.read_runs([task])
        run = self.run_of(task)
        if not run or not task.deployment_id:
            return ""
        document = self.ask("/api/deploymentfreezes", what="freezes", max_age=KEPT, skip=0, take=1000)
        now = utc_now(self.api)
        for freeze in (document or {}).get("DeploymentFreezes") or ():
            start, end = moment_or_none(freeze.get("Start")), moment_or_none(freeze.get("End"))
            if start is not None and end is not None and start <= now < end and holds_for(freeze, run):
                return (
                    f"the deployment freeze {freeze.get('Name')} holds there until {end:%Y-%m-%d %H:%M} UTC"
                )
        return ""


def cell_of(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the default concurrency tag is made of."""
    return run.get("ProjectId"), run.get("EnvironmentId"), run.get("TenantId") or None


def default_tag(run: Mapping[str, Any]) -> str:
    """Source: docs, System variables, `Octopus.Task.ConcurrencyTag`."""
    project, environment, tenant = cell_of(run)
    return f"{tenant}/{project}/{environment}" if tenant else f"{project}/{environment}"


def holds_for(freeze: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    project, environment, tenant = cell_of(run)
    if environment in ((freeze.get("ProjectEnvironmentScope") or {}).get(project) or ()):
        return True
    return any(
        (one.get("TenantId"), one.get("ProjectId"), one.get("EnvironmentId"))
        == (tenant, project, environment)
        for one in freeze.get("TenantProjectEnvironmentScope") or ()
    )


def evaluated_tag(manifest: Mapping[str, Any], run: Mapping[str, Any]) -> Optional[str]:
    """The tag that the variables of a run give it, the default one included; None when it cannot be told from them alone.

    Names of projects, environments and the like are written as their ids, so that equal tags are equal texts.
    """
    values: dict[str, list[Mapping[str, Any]]] = {}
    for variable in manifest.get("Variables") or ():
        values.setdefault((variable.get("Name") or "").lower(), []).append(variable)
    wanted = values.get(CONCURRENCY_TAG.lower())
    if not wanted:
        return default_tag(run)
    return expanded(scoped_value(wanted, run), values, run, 5)


def scoped_value(variables: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> Optional[str]:
    """The one value that holds for `run`; None when none or several do, or when it is a secret."""
    fields = {"Environment": "EnvironmentId", "Channel": "ChannelId"}
    fitting = []
    for variable in variables:
        scope = {name: ids for name, ids in (variable.get("Scope") or {}).items() if ids}
        if set(scope) - set(fields):
            return None
        if all(run.get(fields[name]) in ids for name, ids in scope.items()):
            fitting.append((len(scope), variable))
    best = [one for count, one in fitting if count == max(count for count, _ in fitting)]
    if len(best) != 1 or best[0].get("IsSensitive"):
        return None
    return str(best[0].get("Value") or "")


def expanded(
    text: Optional[str], values: Mapping[str, Sequence[Mapping[str, Any]]], run: Mapping[str, Any], depth: int
) -> Optional[str]:
    """`text` with what is known about `run` put in; None when something in it is not known."""
    if text is None or depth == 0:
        return None
    result, end = "", 0
    for match in re.finditer(TAG_EXPRESSION, text):
        name = match.group(1)
        if name in TAG_FIELDS:
            value: Optional[str] = str(run.get(TAG_FIELDS[name]) or "")
        elif name.lower() in values:
            value = expanded(scoped_value(values[name.lower()], run), values, run, depth - 1)
        else:
            return None
        if value is None:
            return None
        result += text[end : match.start()] + value
        end = match.end()
    result += text[end:]
    return None if "#" + "{" in result else result


# ---- generator/runtime/wait_graph.py ----

FIRST_PASS = 45.0  # seconds after a wait began, or has got another target
# Seconds after a pass that found something. Who waits looks every 25 s at the latest and announces what it finds: what is still
# announced after this is no wait that has ended without its announcer knowing yet.
SECOND_PASS = 30.0
NEXT_PASS = 120.0  # seconds after one that found nothing, or that leaves it to somebody else
TURN = 240.0  # seconds for which the next youngest lets the younger ones give way
MOST_READ = 14  # tasks in one pass
LEAST_COST = 3.0  # requests
CREDIT = 5.0  # requests that a second pass may be ahead of the budget
MOST_OWN_TARGETS = 4  # in one pass
MOST_SLOTS = 12  # a task cap above that is not read through
MOST_DEPTH = 8
CAP_ADVICE = "raise the task cap, or let fewer tasks wait at the same time"


class Seen(Record):
    """A task as it was last read, with the details of its log; None where they were not needed."""

    task: Task
    details: Optional[Mapping[str, Any]]


class WaitGraph:
    """Reads edges. `may_ask` says before each request whether the budget still allows one."""

    def __init__(self, api: Api, queues: Queues, own: str, may_ask: Callable[[], bool]) -> None:
        self.api = api
        self.queues = queues
        self.own = own
        self.may_ask = may_ask
        self.names: dict[str, str] = {}
        self.is_complete = True
        self._seen: dict[str, Seen] = {}
        self._goals: dict[tuple[str, str, str], Target] = {}

    def read(self, own: Announcement, targets: Sequence[Target], fresh: Mapping[str, Seen]) -> list[Edge]:
        """The edges that lead away from the own wait for `targets`. `fresh` was read in this very moment for other purposes."""
        self.is_complete = True
        self._seen, self._goals = dict(fresh), {}
        edges = [self.edge(self.own, own, target, "") for target in targets]
        line = [(target.task, 1) for target in targets]
        done = {self.own}
        while line:
            task, depth = line.pop(0)
            if task in done or depth > MOST_DEPTH:
                continue
            if len(done) > MOST_READ:
                break
            done.add(task)
            found = self.edges_from(task)
            edges.extend(found)
            line.extend((edge.target, depth + 1) for edge in found)
        return [edge for edge in edges if self.stands(edge)]

    def edge(self, waiter: str, wait: Announcement, target: Target, step: str) -> Edge:
        why = " ".join(
            words
            for words in (
                f"for its step {target.step}" if target.step else "",
                f'in "{step}"' if step else "",
            )
            if words
        )
        self._goals[waiter, wait.wait, target.task] = target
        return Edge(waiter, target.task, wait.need, wait.wait, wait.since, True, why)

    def stands(self, edge: Edge) -> bool:
        """Whether what the waiter needs cannot come before the steps of the target that wait: see `still_needs`."""
        goal, seen = self._goals.get((edge.waiter, edge.wait, edge.target)), self._seen.get(edge.target)
        if goal is None or not goal.step:
            return True
        if edge.target == self.own and seen is None:
            seen = self.look_at(self.own)
        if seen is None:
            return False
        if seen.details is None:
            return seen.task.is_waiting_in_queue
        held = [
            step for announcement, step in announced_waits(seen.details) if announcement.need != NEEDS_ANY
        ]
        return seen.task.is_waiting_in_queue or still_needs(goal, seen.details, held)

    def edges_from(self, task_id: str) -> list[Edge]:
        """What this task waits for now; nothing when it runs, has ended, or is unknown."""
        known = self._seen.get(task_id) or self.look_at(task_id)
        if known is None:
            return []
        task = known.task
        self.names[task.id] = task.description
        if task.is_waiting_in_queue:
            return [] if task.is_scheduled(utc_now(self.api)) else self.queue_edges(task)
        if task.state != "Executing" or task.is_paused:
            return []
        details = known.details or getattr(self.look_at(task_id), "details", None)
        return [
            self.edge(task.id, announcement, target, step)
            for announcement, step in announced_waits(details or {})
            for target in announcement.targets
        ]

    def look_at(self, task_id: str) -> Optional[Seen]:
        """The task with its log; ids are unique on the server, and so the space is left out."""
        details = self.ask(lambda: self.api.get(f"/api/tasks/{task_id}/details", verbose="false", tail=0))
        document = (details or {}).get("Task") or {}
        if document.get("Id") != task_id:
            return None
        self._seen[task_id] = Seen(Task(document), details)
        return self._seen[task_id]

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer; None where the account may not see it, or when the budget is spent: then the pass is not complete."""
        if not self.may_ask():
            self.is_complete = False
            return None
        try:
            return question()
        except ApiError as error:
            if error.status == 401:
                raise
            return None

    def queue_edges(self, task: Task) -> list[Edge]:
        standing: Optional[Standing] = self.ask(lambda: self.queues.read(task, for_people=False))
        if standing is None:
            return []
        edges = [
            Edge(task.id, one.task.id, STANDS_BEHIND, why=f"({standing.reason})")
            for one in standing.tasks
            if one.cause == SAME_TAG
        ]
        holders = [
            one for one in standing.tasks if one.cause != SAME_TAG and one.task.state in RUNNING_STATES
        ]
        if holders and len(holders) <= MOST_SLOTS:
            # Those that run with the same tag hold a slot too.
            running = [one for one in standing.tasks if one.task.state in RUNNING_STATES]
            sure = standing.is_whole and all(one.cause in (SAME_TAG, NO_SLOT) for one in standing.tasks)
            edges += [
                Edge(task.id, one.task.id, NEEDS_SLOT, is_sure=sure, why=f"({standing.reason})")
                for one in running
            ]
        for one in standing.tasks:
            self.names[one.task.id] = one.task.description
        return edges


class Lookout:
    """Announces what this step waits for, and finds out whether that can never end. `need` is a word of `deadlocks`.

        lookout = Lookout(api, step)                        # once a step
        lookout.announce(NEEDS_LOCK, [Target(owner)])       # whenever that changes; [] when the wait is over
        sentence = lookout.look(budget.level)               # once a poll: why this step is to give way, "" while it is not

    Elsewhere than in a task, and for tasks of another server, it does nothing.
    """

    def __init__(self, api: Api, step: Any) -> None:
        self.api = api
        self.log: Log = step.log
        self.own = visible_own_task(api, step)
        self.announcer = Announcer(step.log, self.own)
        self.queues = Queues(api)
        self.suspicion = ""
        self.held: set[str] = set()  # the own targets that can never end
        self._names: dict[str, str] = {}
        self._first: Optional[list[Edge]] = None
        self._targets: Sequence[Target] = ()
        self._wait = ""
        self._due = 0.0
        self._cost = LEAST_COST  # of the last pass, in requests
        self._found_at: Optional[float] = None
        self.told: set[str] = set()  # warnings

    @property
    def is_proving(self) -> bool:
        """Whether one pass has found something, which the next is to find again."""
        return self._first is not None

    def announce(self, need: str, targets: Sequence[Target]) -> None:
        self.announcer.announce(need, targets, self.api.wall_clock())
        current = self.announcer.current
        wait = current.wait if current is not None else ""
        if wait != self._wait:
            self._wait = wait
            self._forget(FIRST_PASS)

    def look(
        self,
        level: Callable[[], float] = lambda: float(MOST_READ),
        *,
        suspects: Optional[Sequence[Target]] = None,
        fresh: Mapping[str, Seen] = {},
    ) -> str:
        """`level`: how many requests may still be made. `suspects`: of the own targets those that may wait themselves. `fresh`:
        see `WaitGraph.read`."""
        current, now = self.announcer.current, self.api.clock()
        if current is None or current.need == NEEDS_ANY or now < self._due or suspects == []:
            return ""
        credit = CREDIT if self._first is not None else 0.0
        if level() + credit < self._cost:
            return ""
        if self._first is None:
            self._targets = list(current.targets if suspects is None else suspects)[:MOST_OWN_TARGETS]
        self.queues.kept.pop("nodes", None)
        requests = self.api.requests
        graph = WaitGraph(self.api, self.queues, self.own, lambda: level() + credit >= 1)
        edges = graph.read(current, [one for one in self._targets if one in current.targets], fresh)
        self._names.update(graph.names)
        self._cost = self.api.requests - requests
        if not graph.is_complete:
            self._cost += LEAST_COST
            return ""
        standing = edges if self._first is None else persistent(self._first, edges)
        deadlock = find_deadlock(standing, self.own)
        if deadlock is None:
            self._forget(NEXT_PASS)
            return ""
        is_proved, self._first = self._first is not None, edges
        self._due = now + SECOND_PASS
        return self._judge(deadlock, current.wait) if is_proved else ""

    def _forget(self, pause: float) -> None:
        self._first, self._found_at = None, None
        self.suspicion, self.held = "", set()
        self._due = self.api.clock() + pause

    def _judge(self, deadlock: Deadlock, wait: str) -> str:
        """The sentence with which this step gives way, or "" when that is for another one, or when nothing is certain."""
        now = self.api.clock()
        self._due = now + NEXT_PASS
        chain = chain_in_words(deadlock.chain, self._names, self.own)
        advice = ""
        if any(edge.need == NEEDS_SLOT for edge in deadlock.chain):
            others = dict.fromkeys(task for _, _, task in deadlock.waits if task != self.own)
            who = ", ".join(f"{self._names.get(task, task)} ({task})" for task in others)
            among = f"; waiting tasks hold all slots, {who} among them" if who else ""
            advice = f"{among}; {CAP_ADVICE}"
        if not deadlock.is_certain:
            self.suspicion = f"this looks like a deadlock: {chain}{advice}"
            self._warn(f"T{self.suspicion[1:]}. Not certain: this account cannot see everything that runs.")
            return ""
        self.held = {edge.target for edge in deadlock.chain[:1]}
        self._found_at = now if self._found_at is None else self._found_at
        rank = deadlock.rank_of(wait)
        if rank is None:
            self._warn(f"This step waits for a deadlock of others: {chain}{advice}.")
            return ""
        if now - self._found_at >= rank * TURN:
            return f"{chain}; of those that wait this step began last, and gives way{advice}"
        _, _, youngest = deadlock.waits[0]
        who = self._names.get(youngest, youngest)
        self._warn(
            f"Deadlock: {chain}. It is for {who} ({youngest}) to give way, which began to wait last{advice}."
        )
        return ""

    def _warn(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.log.warning(text)


def visible_own_task(api: Api, step: Any) -> str:
    """The id of the task that runs this step, when its tasks are those of the server in `api`; "" otherwise."""
    own = own_task(step)
    if own.is_known and own.server == api.url.lower():
        return own.id
    seen = read_own_task(api, step)
    return seen.id if seen is not None else ""


# ---- generator/runtime/waiting.py ----

SHORTEST_INTERVAL = 2.0

BURST = 26.0
REQUESTS_PER_MINUTE = 5.4  # so that an hour with its first burst stays within 6 a minute
RESERVE = 10.0  # of them, kept for questions about the queue and about deadlocks

PROGRESS_INTERVAL = 30.0
LEAST_PATIENCE = 30.0


class RequestBudget:
    """How many requests may still be made: a burst at first, then a steady trickle."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._level = BURST
        self._seen = api.requests
        self._at = api.clock()

    def level(self) -> float:
        now = self._api.clock()
        earned = (now - self._at) * REQUESTS_PER_MINUTE / 60
        spent = self._api.requests - self._seen
        self._level = max(-5.0, min(BURST, self._level + earned) - spent)
        self._at, self._seen = now, self._api.requests
        return self._level


# ---- generator/runtime/locks.py ----

ENDED_STATES = ("Success", "Failed", "Canceled", "TimedOut")
LONGEST_RICH_INTERVAL = 11.0
# A living waiter looks every 25 s or so. One that leaves a free lock alone for so long was killed while its task goes on.
PASS_OVER_AFTER = 90.0


class LockWaiter:
    """One step that wants a lock. `take` gives back its claim as a holder, and raises StepFailure for everything else.

    `limit`: how long it may wait. Without `waits` it does not. `break_after`: how old a holder's claim must be to count no more
    when the server does not return its task; None keeps it. A `lookout` tells others
    for whom it waits, and finds out when that could never end.
    """

    def __init__(
        self,
        api: Api,
        log: Log,
        locks: LockSet,
        name: str,
        own: LockClaim,
        *,
        limit: timedelta,
        waits: bool = True,
        break_after: Optional[timedelta] = None,
        lookout: Optional[Lookout] = None,
    ) -> None:
        self.api = api
        self.log = log
        self.locks = locks
        self.name = name
        self.own = own
        self.limit = limit.total_seconds()
        self.waits = waits
        self.break_after = break_after
        self.lookout = lookout
        self.begun = self.changed_at = self.idle_since = api.clock()
        self.known = False
        self.behind: tuple[LockClaim, ...] = ()
        self.tasks: dict[str, Task] = {}  # of those in `behind`, as last returned
        self.gone: set[str] = set()  # nonces of claims that count no more
        self.passed: set[str] = set()  # of those that are passed over, at the next try only
        self.told: set[str] = set()
        self.told_state = ""
        self.told_progress = ""
        self.progress_at = -PROGRESS_INTERVAL
        self.budget = RequestBudget(api)

    @property
    def waited(self) -> float:
        return self.api.clock() - self.begun

    def blockers(self) -> tuple[LockClaim, ...]:
        """The holders in other tasks that keep this step out for as long as they are there: the edges of a graph of waits."""
        certain = certain_blockers(self.behind, self.own)
        return tuple(claim for claim in certain if claim.fence and claim.task != self.own.task)

    def take(self) -> LockClaim:
        while True:
            held = self.try_to_enter()
            if held is None and self.look_at_owners():
                held = self.try_to_enter()
            if held is not None:
                return held
            if not self.waits:
                raise StepFailure(REFUSED, f"{self.in_words()}, and this step does not wait")
            self.tell()
            if self.waited >= self.limit:
                self.leave()
                raise StepFailure(
                    TIMED_OUT, f"not within {spoken(timedelta(seconds=self.limit))}: {self.in_words()}"
                )
            self.look_for_deadlocks()
            self.api.sleep(self.interval())

    def look_for_deadlocks(self) -> None:
        """Tells others for whom this step waits, and gives way where that could never end."""
        if self.lookout is None:
            return
        holders = dict.fromkeys(claim.task for claim in self.blockers())
        self.lookout.announce(NEEDS_LOCK, [Target(task) for task in holders])
        sentence = self.lookout.look(self.budget.level)
        if sentence:
            self.leave()
            raise StepFailure(DEADLOCK, f"this step could never take the lock {self.name}: {sentence}")

    def try_to_enter(self) -> Optional[LockClaim]:
        """One look at the lock, with whatever it takes to change it: the own claim once it holds."""
        before = self.behind
        result = self.locks.change(self.name, self.decide, deadline=self.begun + self.limit)
        self.passed.clear()
        if result.rival is not None:
            self.leave()
            raise StepFailure(
                MISCONFIGURED,
                f"the lock {self.name} is held by another step of this task ({result.rival.about.get('step')}), which would "
                "wait for itself: give it back first, or let both steps be one",
            )
        if result.successor is not None:
            raise StepFailure(
                CANCELLED, f"a later run of this step has taken its place at the lock {self.name}"
            )
        self.known = self.waits and result.held is None
        self.behind = result.behind
        if result.behind != before or not self.only_line_is_ahead():
            self.idle_since = self.api.clock()
        if result.behind != before:
            self.changed_at = self.api.clock()
        return result.held

    def decide(self, state: LockState) -> Attempt:
        return attempt_lock(
            state,
            self.own,
            now=iso_now(self.api),
            gone=self.gone | self.passed,
            known=self.known,
            waits=self.waits,
        )

    def only_line_is_ahead(self) -> bool:
        """Whether the lock itself is free for this step, and only those in front of it leave it there."""
        holders = [claim for claim in self.behind if claim.fence]
        return len(holders) < len(self.behind) and has_room([*holders, self.own])

    def look_at_owners(self) -> bool:
        """Whether some of those in front were found to count no more."""
        before = len(self.gone)
        others = [claim for claim in self.behind if claim.task != self.own.task]
        for space in list(dict.fromkeys(claim.space for claim in others)):
            if self.budget.level() >= 1 or space == others[0].space:
                self.judge([claim for claim in others if claim.space == space])
        self.pass_over()
        return len(self.gone) > before or bool(self.passed)

    def judge(self, claims: Sequence[LockClaim]) -> None:
        """Notes which of the claims, all of one space, have outlived their tasks."""
        found = self.read_tasks(claims[0].space, [claim.task for claim in claims])
        for claim in claims:
            task = found.get(claim.task)
            if task is None:
                self.judge_unseen(claim)
                continue
            self.tasks[claim.task] = task
            if task.state in ENDED_STATES:
                self.gone.add(claim.nonce)
                self.log.info(
                    f"The lock {self.name}: {claim} has ended as {task.state} without giving its place back, and loses it."
                )

    def judge_unseen(self, claim: LockClaim) -> None:
        """A task that the server does not return: only an explicit limit ends its claim."""
        since = moment_or_none(claim.since)
        now = utc_now(self.api)
        if self.break_after is not None and since is not None and now - since > self.break_after:
            self.gone.add(claim.nonce)
            self.log.warning(
                f"The lock {self.name}: {claim} is broken, for its task is not to be seen and it is older than "
                f"{spoken(self.break_after)}. Whether its process still runs nobody knows."
            )
        elif claim.nonce not in self.told:
            self.told.add(claim.nonce)
            self.log.warning(
                f"The lock {self.name}: the server does not show this account the task of {claim_in_words(self.api, claim)}: it "
                f"was deleted, or TaskView is missing for its project in {claim.space}. It keeps its place; if it runs no "
                f"more, `octosteps locks --break` frees the lock."
            )

    def read_tasks(self, space: str, ids: Iterable[str]) -> Mapping[str, Task]:
        """What the server returns of these tasks; a space that the account may not see returns none."""
        wanted = list(dict.fromkeys(ids))
        patience = max(LEAST_PATIENCE, self.limit - self.waited)
        try:
            items = self.api.by_ids(f"/api/{space}/tasks", wanted, patience=patience)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            return {}
        return {item["Id"]: Task(item) for item in items}

    def pass_over(self) -> None:
        """The first in line loses its place when it has left a free lock alone for too long; the further behind, the later."""
        line = [claim for claim in self.behind if not claim.fence]
        if self.only_line_is_ahead() and self.api.clock() - self.idle_since >= PASS_OVER_AFTER * len(line):
            for claim in line:
                self.passed.add(claim.nonce)
                self.log.info(
                    f"The lock {self.name} is free, and {claim} has left it alone for a long time: it is passed over."
                )

    def leave(self) -> None:
        """Gives up the own place in line. What cannot be written now is cleared by others once this task has ended."""
        try:
            self.locks.change(
                self.name, lambda state: Attempt(state.without([self.own.nonce])), deadline=self.api.clock()
            )
        except StepFailure as failure:
            self.log.verbose(f"The place in line for {self.name} stays until this task has ended: {failure}")

    def interval(self) -> float:
        """Seconds until the next look, within the budget: one request for the lock, one for each space of its owners."""
        cost = 1 + len({claim.space for claim in self.behind})
        if self.budget.level() >= cost + RESERVE:
            seconds = min(
                LONGEST_RICH_INTERVAL, max(SHORTEST_INTERVAL, (self.api.clock() - self.changed_at) / 5)
            )
        else:
            seconds = cost * 60 / REQUESTS_PER_MINUTE
        seconds = max(seconds * (0.9 + self.api.chance() / 5), self.api.advised_pause)
        return max(0.1, min(seconds, self.limit - self.waited))

    # --- What people are told ---

    def in_words(self) -> str:
        """Who has the lock, or who comes first."""
        holders = [claim for claim in self.behind if claim.fence]
        line = [claim for claim in self.behind if not claim.fence]
        parts = [f"the lock {self.name} is held by {self.claim_with_state(claim)}" for claim in holders[:1]]
        if holders[1:]:
            parts.append(f"and {len(holders) - 1} more")
        if not holders and line:
            parts.append(f"the lock {self.name} goes first to {self.claim_with_state(line[0])}")
        words = " ".join(parts) or f"the lock {self.name} is free"
        return words + (f"; {len(line)} in front" if line else "")

    def claim_with_state(self, claim: LockClaim) -> str:
        task = self.tasks.get(claim.task)
        state = ""
        if task is not None and task.is_paused:
            state = ", waits for a person"
        elif task is not None and task.state == "Queued" and task.was_picked_up:
            state = ", waits for a free slot of the task cap to go on"  # as after a person has answered
        elif task is not None and task.state != "Executing":
            state = f", {task.state}"
        return claim_in_words(self.api, claim) + state

    def tell(self) -> None:
        """Prints what is new, and moves the progress message at most twice a minute."""
        words = self.in_words()
        if words != self.told_state:
            tell = self.log.info if self.told_state else self.log.waiting
            tell(f"Waiting: {words}.")
            self.told_state = words
        place = 1 + sum(1 for claim in self.behind if not claim.fence)
        holder = self.behind[0].about.get("project") or self.behind[0].task if self.behind else "nobody"
        shown = f"waits for the lock {self.name}, number {place} in line, behind {holder}"
        now = self.api.clock()
        if shown != self.told_progress and now - self.progress_at >= PROGRESS_INTERVAL:
            self.told_progress, self.progress_at = shown, now
            tell_progress = self.lookout.announcer.tell if self.lookout is not None else self.log.progress
            tell_progress(0, shown)


# ---- templates/steps/acquire_lock.py ----

SHARED = re.compile(r"shared(?:\s+by)?(?:\s+up\s+to)?\s+([0-9]{1,6})", re.IGNORECASE)


def parse_mode(text: str) -> int:
    """How many may hold the lock together: 1 for `exclusive`, n for `shared by up to n`."""
    if text.lower() == "exclusive":
        return EXCLUSIVE
    match = SHARED.fullmatch(text)
    if match is None or int(match.group(1)) < 1:
        raise ValueError(f"{text!r} is neither exclusive nor like: shared by up to 3")
    return int(match.group(1))


@reads(lock=parse_lock_name, mode=parse_mode, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    name = lock_of(step, parameters.lock, parameters.scope)
    waits = parameters.when_busy == "wait"
    api = connect(parameters, parameters.wait_limit if waits else timedelta())
    waiter = LockWaiter(
        api,
        step.log,
        find_lock_set(api),
        name,
        own_claim(api, step, parameters.mode, is_to_last=True),
        limit=parameters.wait_limit if waits else timedelta(),
        waits=waits,
        break_after=parameters.break_after,
        lookout=Lookout(api, step) if waits else None,
    )
    try:
        held = waiter.take()
    except StepFailure:
        set_outputs(step, waiter, None)
        raise
    set_outputs(step, waiter, held)
    shared = f", shared by up to {held.share}" if held.share > EXCLUSIVE else ""
    waited = f" after {spoken(timedelta(seconds=waiter.waited))} of waiting" if waiter.told_state else ""
    step.log.highlight(f"This task holds the lock {name}{shared}{waited}. Fence {held.fence}.")


def set_outputs(step: Step, waiter: LockWaiter, held: Optional[LockClaim]) -> None:
    first = waiter.behind[0].task if held is None and waiter.behind else ""
    step.output("Lock", waiter.name)
    step.output("Fence", str(held.fence) if held else "")
    step.output("Since", held.since if held else "")
    step.output("Waited", str(round(waiter.waited)))
    step.output("HeldBy", first)
    claims = [claim.to_json() for claim in waiter.behind] if held is None else []
    step.result["lock"] = {"name": waiter.name, "held": held and held.to_json(), "behind": claims}


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Acquire Lock", "spec": "step_templates/acquire-lock.yaml", "id": "7dc755af-e549-4ba6-9d66-f055c80e2ddb", "revision": 1}
PARAMETERS = (
    {"key": "lock", "variable": "AcquireLock.Lock", "label": "Lock", "type": "text", "required": True, "choices": None},
    {"key": "mode", "variable": "AcquireLock.Mode", "label": "Mode", "type": "text", "required": True, "choices": None},
    {"key": "scope", "variable": "AcquireLock.Scope", "label": "One lock", "type": "choice", "required": True, "choices": {"server": "For all", "environment": "For each environment", "tenant": "For each tenant", "environment_and_tenant": "For each environment and tenant"}},
    {"key": "when_busy", "variable": "AcquireLock.WhenBusy", "label": "When it is busy", "type": "choice", "required": True, "choices": {"wait": "Wait in line", "fail": "Fail this step"}},
    {"key": "wait_limit", "variable": "AcquireLock.WaitLimit", "label": "Wait limit", "type": "duration", "required": True, "choices": None},
    {"key": "break_after", "variable": "AcquireLock.BreakAfter", "label": "Break after", "type": "duration", "required": False, "choices": None},
    {"key": "server", "variable": "AcquireLock.Server", "label": "Server", "type": "text", "required": True, "choices": None},
    {"key": "api_key", "variable": "AcquireLock.ApiKey", "label": "API key or access token", "type": "secret", "required": True, "choices": None},
    {"key": "ca_file", "variable": "AcquireLock.CaFile", "label": "CA file", "type": "text", "required": False, "choices": None},
    {"key": "space", "variable": "AcquireLock.Space", "label": "Space", "type": "text", "required": True, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
