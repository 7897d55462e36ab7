# Octopus - Wait For Deployment
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/wait-for-deployment.yaml or templates/steps/wait_for_deployment.py, then run: octosteps build
#
# spec: step_templates/wait-for-deployment.yaml
# id: c7f9d6f3-524a-4b5e-9a6d-1fc23dca74cf
# revision: 2
# digest: sha256:79e220eaee5861553ce0616cb91d81903d39c28d942d549210a25da7dbe7dd17

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any, Callable, Container, Iterable, Iterator, Mapping, NoReturn, Optional, Sequence

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
TROUBLE_LEVELS = ("Warning", "Error", "Fatal")
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


class Trouble(Record):
    """A warning or an error in a task's log. `key` tells it from all others of the task."""

    key: str
    level: str
    where: str
    text: str


def troubles(details: Mapping[str, Any]) -> list[Trouble]:
    """Every warning and error in a task's details, in the order of the log's tree."""
    found: list[Trouble] = []
    for root in details.get("ActivityLogs") or ():
        collect_troubles(root, "", found)
    return found


def collect_troubles(activity: Mapping[str, Any], above: str, found: list[Trouble]) -> None:
    name = activity.get("Name") or ""
    where = name if re.match(STEP_TITLE, name) else above
    for order, element in enumerate(activity.get("LogElements") or ()):
        level = element.get("Category") or ""
        if level in TROUBLE_LEVELS:
            text = element.get("MessageText") or ""
            mark = element.get("Number") if element.get("Number") is not None else order
            key = f"{activity.get('Id') or name} {mark} {element.get('OccurredAt')} {text}"
            found.append(Trouble(key, level, where, text))
    for child in activity.get("Children") or ():
        collect_troubles(child, where, found)


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


def version_or_none(text: str) -> Optional[Version]:
    try:
        return parse_version(text)
    except ValueError:
        return None


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
CHILD_FAILED = "child failed"
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


def find_named(api: Api, collection: str, what: str, name: str) -> Mapping[str, Any]:
    """The document of `collection` with that name, id or slug; an exact name goes before one in another case.

    `what` says in messages what is looked for. Raises NotFound with near names.
    """
    if re.fullmatch(DOCUMENT_ID, name):
        found = api.by_ids(collection, [name])
    else:
        found = list(api.pages(collection, partialName=name))
    match = best_match(found, name)
    if match is None:
        # The filter knows names only: slugs and near names need the whole list, read only when something is wrong.
        everything = list(api.pages(collection))
        match = best_match(everything, name)
        if match is None:
            raise NotFound(absence(what, name, [document["Name"] for document in everything]))
    return match


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


class Place(Record):
    """Where deployments happen: a project in an environment, for a tenant or untenanted (tenant None).

    With a `runbook` of the project: where that is run. Its run has the fields of a deployment, with a snapshot for a release.
    """

    project: Mapping[str, Any]
    environment: Mapping[str, Any]
    tenant: Optional[Mapping[str, Any]]
    runbook: Optional[Mapping[str, Any]] = None

    @property
    def collection(self) -> str:
        return "runbookRuns" if self.runbook is not None else "deployments"

    @property
    def frozen_field(self) -> str:
        """What a deployment or run names as the thing that it carries out."""
        return "RunbookSnapshotId" if self.runbook is not None else "ReleaseId"

    @property
    def verb(self) -> str:
        return "run" if self.runbook is not None else "deployed"

    @property
    def tenant_id(self) -> Optional[str]:
        return str(self.tenant["Id"]) if self.tenant is not None else None

    def __str__(self) -> str:
        what = "{} of ".format(self.runbook["Name"]) if self.runbook is not None else ""
        where = what + "{} in {}".format(self.project["Name"], self.environment["Name"])
        return where + (" for {}".format(self.tenant["Name"]) if self.tenant is not None else "")

    def query(self) -> dict[str, Any]:
        """Filters for a list of deployments. Without a tenant the list holds tenanted ones too: `holds` sorts them out."""
        query = {
            "projects": self.project["Id"],
            "environments": self.environment["Id"],
            "tenants": self.tenant_id,
        }
        return query if self.runbook is None else {**query, "runbooks": self.runbook["Id"]}

    def task_query(self) -> dict[str, Any]:
        """The same for a list of tasks."""
        query = {
            "project": self.project["Id"],
            "environment": self.environment["Id"],
            "tenant": self.tenant_id,
        }
        if self.runbook is not None:
            return {**query, "runbook": self.runbook["Id"], "name": "RunbookRun"}
        return {**query, "name": "Deploy"}

    def holds(self, deployment: Mapping[str, Any]) -> bool:
        return (
            deployment["ProjectId"] == self.project["Id"]
            and deployment["EnvironmentId"] == self.environment["Id"]
            and (deployment.get("TenantId") or None) == self.tenant_id
            and deployment.get("RunbookId") == (self.runbook["Id"] if self.runbook is not None else None)
        )


# ---- generator/runtime/tasks.py ----

ALIVE_STATES = ("Queued", "Executing", "Cancelling")
RUNNING_STATES = ("Executing", "Cancelling")
CLOCK_TOLERANCE = timedelta(seconds=30)  # between the worker's clock and the server's
LONGEST_CANCEL = (
    120.0  # seconds; a task may hang in Cancelling for ever (source: docs, Abandoning stuck tasks)
)
CANCEL_INTERVAL = 3.0


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


def id_number(document_id: str) -> int:
    """The order in which the server made documents of one kind: the 12 of `Deployments-12`."""
    return int(document_id.rsplit("-", 1)[-1])


def read_tasks(api: Api, ids: Iterable[str], *, patience: Optional[float] = None) -> dict[str, Task]:
    """The tasks that the server returns of `ids`, by id; without ids nothing is asked, for that would mean all tasks."""
    return {item["Id"]: Task(item) for item in api.by_ids("tasks", list(ids), patience=patience)}


# ---- generator/runtime/deployments.py ----

HISTORY_PAGE = 30
MOST_TENANTS_IN_A_FILTER = 50


class Deployment(Record):
    """A deployment with its task, for the result of a deployment is its task's."""

    document: Mapping[str, Any]
    task: Task
    link: str

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def number(self) -> int:
        """Its place in the order of creation."""
        return id_number(self.id)

    @property
    def release_id(self) -> str:
        return str(self.document.get("RunbookSnapshotId") or self.document["ReleaseId"])

    @property
    def comments(self) -> str:
        return self.document.get("Comments") or ""

    @property
    def created(self) -> Optional[datetime]:
        return moment_or_none(self.document.get("Created"))

    @property
    def began(self) -> bool:
        """Whether it may have changed anything."""
        return not self.task.never_began


def join_tasks(api: Api, documents: list[Mapping[str, Any]]) -> list[Deployment]:
    """The deployments whose task the server returns, in the same order."""
    tasks = read_tasks(api, [document["TaskId"] for document in documents if document.get("TaskId")])
    return [
        Deployment(document, tasks[document["TaskId"]], api.web_link(document))
        for document in documents
        if document.get("TaskId") in tasks
    ]


def deployments_since(api: Api, place: Place, since: Optional[datetime]) -> list[Deployment]:
    """Those created at or after `since` (all without it), newest first."""
    return recent_deployments(api, [place], since)


def recent_deployments(api: Api, places: Sequence[Place], since: Optional[datetime]) -> list[Deployment]:
    """Those of one project to any of `places`, created at or after `since` (all without it), newest first: one list for all."""
    query: dict[str, Any] = {
        "projects": places[0].project["Id"],
        "environments": list(dict.fromkeys(place.environment["Id"] for place in places)),
    }
    tenants = list(dict.fromkeys(place.tenant_id for place in places))
    # Where an untenanted place is among them no filter will do; many tenants would make the address too long.
    if None not in tenants and len(tenants) <= MOST_TENANTS_IN_A_FILTER:
        query["tenants"] = tenants
    if places[0].runbook is not None:
        query["runbooks"] = places[0].runbook["Id"]
    recent: list[Mapping[str, Any]] = []
    take = HISTORY_PAGE if len(places) == 1 else PAGE_SIZE
    for document in api.pages(places[0].collection, take=take, **query):
        created = moment_or_none(document.get("Created"))
        if since is not None and created is not None and created < since:
            break
        if any(place.holds(document) for place in places):
            recent.append(document)
    return join_tasks(api, recent)


def find_successor(
    api: Api, place: Place, deployment: Deployment, *, ignored: Container[str] = ()
) -> Optional[Deployment]:
    """The newer deployment to the same place for which the server cancelled this one, if that is what happened.

    Queueing a deployment cancels older queued ones, its success older paused ones (source: docs, Superseded tasks, since
    2026.2). The server names no cause: whatever was created before the cancelling, and later than this one, counts.
    """
    ended = deployment.task.completed
    if deployment.task.state != "Canceled" or ended is None:
        return None
    newer = [
        other
        for other in deployments_since(api, place, deployment.created)
        if other.number > deployment.number and other.id not in ignored
        if other.created is not None and other.created <= ended
    ]
    return max(newer, key=lambda other: other.number) if newer else None


class ReleaseNumbers:
    """The numbers of deployments' releases, each release asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, str] = {}

    def of(self, deployment: Deployment) -> str:
        if deployment.release_id not in self._known:
            self._known[deployment.release_id] = read_release_of(self._api, deployment)["Version"]
        return self._known[deployment.release_id]

    def learn(self, deployments: Sequence[Deployment]) -> None:
        """Asks at once for all those that are not known yet."""
        unknown = [one.release_id for one in deployments if one.release_id not in self._known]
        if unknown:
            for release in self._api.by_ids("releases", unknown):
                self._known[release["Id"]] = release["Version"]


def read_release_of(api: Api, deployment: Deployment) -> Mapping[str, Any]:
    """The release; of a runbook run its snapshot, with the name as `Version`."""
    if "RunbookSnapshotId" in deployment.document:
        return numbered(api.get(f"runbookSnapshots/{deployment.release_id}"))
    document: Mapping[str, Any] = api.get(f"releases/{deployment.release_id}")
    return document


def numbered(snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
    """A runbook's snapshot as what a release is elsewhere."""
    return {**snapshot, "Version": snapshot["Name"]}


# ---- generator/runtime/options.py ----

class Option(Record):
    """How the text of an option is read (ValueError with what is wrong), and what holds without it."""

    parse: Callable[[str], Any]
    default: Any = None


def parse_options(table: Mapping[str, Option], pairs: Mapping[str, str]) -> dict[str, Any]:
    """A value for every option of `table`. Names may be written with blanks or hyphens, and in any case.

    Raises one ValueError with every unknown name and every bad value.
    """
    values = {name: option.default for name, option in table.items()}
    faults = []
    for written, text in pairs.items():
        name = option_name(written)
        if name not in table:
            faults.append(f"there is no option {written!r} ({near_option(name, list(table))})")
            continue
        try:
            values[name] = table[name].parse(text) if text else table[name].default
        except ValueError as error:
            faults.append(f"{written}: {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return values


def option_name(written: str) -> str:
    """How a table spells what people write with blanks, hyphens or capitals."""
    return "_".join(written.lower().replace("-", " ").replace("_", " ").split())


def near_option(name: str, names: Sequence[str]) -> str:
    import difflib

    known = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "there are: " + ", ".join(known[:20]) if known else "there is none at all"


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of `words`; blanks, hyphens and case do not matter."""

    def parse(text: str) -> str:
        word = option_name(text)
        if word not in words:
            raise ValueError(f"{text!r} is none of: {', '.join(words)}")
        return word

    return parse


# ---- generator/runtime/releases.py ----

RELEASE_WORDS = ("latest", "highest", "same")


class ReleaseChoice(Record):
    """`rule` is latest, highest, same, exact or range; `number` of an exact one, `admitted` of a range."""

    rule: str
    text: str
    number: str = ""
    admitted: Optional[VersionRange] = None

    def __str__(self) -> str:
        return self.text

    def resolved(self, own_number: str) -> ReleaseChoice:
        """With `same` replaced by the release that the running deployment itself deploys. Raises NotFound without one."""
        if self.rule != "same":
            return self
        if not own_number:
            raise NotFound("'same' means the release of the running deployment, and a runbook has none")
        return ReleaseChoice("exact", own_number, number=own_number)

    def admits(self, number: str) -> bool:
        """Whether release `number` is meant: versions are compared as such (`1.0` is `1.0.0`), others as text, ignoring case."""
        found = version_or_none(number)
        if self.admitted is not None:
            return found is not None and self.admitted.admits(found)
        exact = version_or_none(self.number)
        if found is not None and exact is not None:
            return found.rank() == exact.rank()
        return number.lower() == self.number.lower()


def parse_release_choice(text: str) -> ReleaseChoice:
    """`latest`, `highest`, `same`, a release number, `2026.4.*`, or a range such as `[1.0,2.0)`.

    A number need not look like a version, for Octopus keeps older schemes; ValueError only for a broken range.
    """
    word = text.strip()
    if word.lower() in RELEASE_WORDS:
        return ReleaseChoice(word.lower(), word.lower())
    if word[0] in "[(" or word.endswith("*") or "," in word:
        return ReleaseChoice("range", word, admitted=parse_version_range(word))
    return ReleaseChoice("exact", word, number=word)


def parse_wanted_release(text: str) -> ReleaseChoice:
    """Like `parse_release_choice`, where only releases that are already somewhere count: no `latest`, no `highest`."""
    choice = parse_release_choice(text)
    if choice.rule in ("latest", "highest"):
        raise ValueError(f"{text!r} says nothing here: write a release number, a range, or same")
    return choice


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
LONGEST_INTERVAL = 13.3  # with jitter below 15 s
LONGEST_SCHEDULED_INTERVAL = 60.0
BURST = 26.0
REQUESTS_PER_MINUTE = 5.4  # so that an hour with its first burst stays within 6 a minute
RESERVE = 10.0  # of them, kept for questions about the queue and about deadlocks
QUEUE_REASON_INTERVAL = 60.0
LATER_REASON_INTERVAL = 180.0
PROGRESS_INTERVAL = 30.0
LEAST_PATIENCE = 30.0
LOG_TAIL = 30  # lines of each activity, read again and again: what comes faster than that is not shown
MOST_TROUBLES = 100
ASK_AGAIN_INTERVAL = 60.0
LONGEST_PAUSE_FOR_A_PERSON = timedelta(days=7)


class Limits(Record):
    """How long a task may wait in the queue, and how long it may run; neither runs while a person is asked."""

    queue: timedelta
    run: timedelta


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


class Watch:
    """One awaited task: what was last seen of it, and its clocks in seconds, counted from when the wait began."""

    def __init__(self, label: str, task_id: str, link: str) -> None:
        self.label = label
        self.task_id = task_id
        self.link = link
        self.target = Target(
            task_id
        )  # with a step where only that is waited for: this is what others are told
        self.task: Optional[Task] = None
        self.details: Optional[Mapping[str, Any]] = None
        self.steps: list[StepState] = []
        self.in_queue = 0.0
        self.running = 0.0
        self.paused = 0.0
        self.cancelling: Optional[float] = None  # how long since somebody here asked to cancel it
        self.absences = 0
        self.changed_at = 0.0
        self.detailed_at = -1.0
        self.reason_due = 0.0
        self.queue_reason = ""
        self.deadlock = ""  # why this can never end, when it is for this step to give way
        self.told = ""
        self.told_steps: dict[str, str] = {}
        self.told_interruptions: dict[str, str] = {}  # who has taken each, "" for nobody
        self.asked_at = 0.0
        self.troubles: list[Trouble] = []
        self.told_troubles: set[str] = set()

    @property
    def is_alive(self) -> bool:
        return self.task is None or self.task.is_alive

    @property
    def succeeded(self) -> bool:
        return self.task is not None and self.task.state == "Success"

    def left(self, limits: Limits) -> float:
        """Seconds until the clock that now runs reaches its limit."""
        if self.cancelling is not None:
            return LONGEST_CANCEL - self.cancelling
        if self.deadlock:
            return 0.0
        if self.task is not None and self.task.is_paused:
            return LONGEST_PAUSE_FOR_A_PERSON.total_seconds() - self.paused
        if self.task is not None and not self.task.is_waiting_in_queue:
            return limits.run.total_seconds() - self.running
        return limits.queue.total_seconds() - self.in_queue

    def state_in_words(self) -> str:
        task = self.task
        if task is None:
            return "not seen yet"
        if task.is_paused:
            return f"{task.state}, waits for a person"
        if task.state in RUNNING_STATES and task.queue_time:
            return f"{task.state} after {spoken(task.queue_time)} in the queue"
        if not task.is_alive:
            ran = f", ran {spoken(task.run_time)}" if task.run_time else ", never began"
            return (
                task.state
                + ran
                + (", with warnings" if task.has_warnings and task.state == "Success" else "")
            )
        return task.state

    def __str__(self) -> str:
        return self.label + (f" ({self.link})" if self.link else "")


def all_ended(watches: Sequence[Watch]) -> bool:
    return not any(watch.is_alive for watch in watches)


def poll_interval(age: float, *, queued: bool, rich: bool, usual_left: Optional[float]) -> float:
    """Seconds until the next poll, before jitter.

    `age`: seconds since something last changed. `rich`: the budget allows quick polls. `usual_left`: seconds until the task
    would end if it took as long as last time: nothing is to be seen long before, much around it.
    """
    if not rich:
        return LONGEST_INTERVAL
    if usual_left is not None and age > 20:
        if usual_left > 40:
            return min(LONGEST_INTERVAL, usual_left / 3)
        if usual_left > -60:
            return 4.0
    slowly = age / 3 + 1 if queued else age / 5
    return max(SHORTEST_INTERVAL, min(LONGEST_INTERVAL, slowly))


class Waiter:
    """Follows `watches` by one batched request a poll; what the budget leaves goes to steps, queue reasons, interruptions.

    `aside` is called once a poll while something is still awaited. With a `lookout` the wait is announced to others and looked
    through for deadlocks; `need` says whether all of the tasks are waited for or any.
    """

    def __init__(
        self,
        api: Api,
        log: Log,
        watches: Sequence[Watch],
        limits: Limits,
        *,
        stop: Callable[[Sequence[Watch]], bool] = all_ended,
        aside: Callable[[], None] = lambda: None,
        usual: Optional[timedelta] = None,
        lookout: Optional[Lookout] = None,
        need: str = NEEDS_ALL,
    ) -> None:
        self.api = api
        self.log = log
        self.lookout = lookout
        self.need = need
        self.queues = lookout.queues if lookout is not None else Queues(api)
        self.watches = list(watches)
        self.limits = limits
        self.stop = stop
        self.aside = aside
        self.usual = usual
        self.budget = RequestBudget(api)
        self.changed_at = self.looked_at = self.poll_began = api.clock()
        self.progress_at = -PROGRESS_INTERVAL
        self.progress_told = ""
        self.percentage = 0
        self.quoted: list[str] = []  # what was told of the awaited ones' warnings and errors
        self.shows_details = True
        self.shows_interruptions = True

    def wait(self) -> list[Watch]:
        """Returns when `stop` says so (then without watches), or with those whose limit has come, or that can never end: see
        `Watch.deadlock`. Never sleeps after the end."""
        if not self.alive():
            return []
        try:
            if all(watch.task is not None for watch in self.alive()):  # this is not the first call
                self.api.sleep(self.interval())
            while True:
                self.look()
                self.announce()
                self.tell_changes()
                if self.stop(self.watches):
                    return []
                self.look_for_deadlocks()
                late = [watch for watch in self.alive() if watch.left(self.limits) <= 0]
                if late:
                    return late
                self.aside()
                self.api.sleep(self.interval())
        except StepFailure as failure:
            left_behind = ", ".join(str(watch) for watch in self.alive())
            if self.lookout is not None:
                self.lookout.announce(self.need, [])
            raise StepFailure(
                failure.kind, f"{failure.sentence}; no longer watched: {left_behind}"
            ) from failure

    def alive(self) -> list[Watch]:
        return [watch for watch in self.watches if watch.is_alive]

    def interval(self) -> float:
        now, alive = utc_now(self.api), self.alive()
        left = max(0.1, min(watch.left(self.limits) for watch in alive))
        due = [
            watch.task.queued - now
            for watch in alive
            if watch.task and watch.task.is_scheduled(now) and watch.task.queued
        ]
        if len(due) == len(alive):
            return max(SHORTEST_INTERVAL, min(LONGEST_SCHEDULED_INTERVAL, min(due).total_seconds()))
        if any(watch.cancelling is not None for watch in alive):
            return min(left, CANCEL_INTERVAL)
        usual_left = None
        if self.usual is not None and any(watch.running for watch in alive):
            usual_left = self.usual.total_seconds() - max(watch.running for watch in alive)
        seconds = poll_interval(
            self.api.clock() - self.changed_at,
            queued=all(watch.task is not None and watch.task.is_waiting_in_queue for watch in alive),
            rich=self.budget.level() >= RESERVE,
            usual_left=usual_left,
        )
        seconds *= 0.9 + self.api.chance() / 5
        return min(left, max(seconds, self.api.advised_pause))

    def look(self) -> None:
        """One poll: the state of every task that is still alive, then what else the budget allows."""
        alive, self.poll_began = self.alive(), self.api.clock()
        patience = max(LEAST_PATIENCE, min(watch.left(self.limits) for watch in alive))
        found = self.look_closely(alive[0], patience) if len(alive) == 1 else {}
        if not found:
            found = read_tasks(self.api, [watch.task_id for watch in alive], patience=patience)
        now = self.api.clock()
        self.count(alive, now - self.looked_at)
        self.looked_at = now
        for watch in alive:
            task = found.get(watch.task_id)
            watch.absences = 0 if task else watch.absences + 1
            if watch.absences >= 2:
                raise StepFailure(
                    REFUSED_BY_SERVER,
                    f"{watch} is no longer among the tasks that the server returns: it was deleted, "
                    "or the account may not see it any more (TaskView)",
                )
            if task is None:
                continue
            if watch.task is None or (watch.task.state, watch.task.is_paused) != (task.state, task.is_paused):
                watch.changed_at = self.changed_at = now
            watch.task = task
        self.look_around(now)

    def count(self, alive: Sequence[Watch], seconds: float) -> None:
        """Adds the time since the last poll to the clock that ran according to that poll."""
        moment = utc_now(self.api)
        for watch in alive:
            task = watch.task
            if watch.cancelling is not None:
                watch.cancelling += seconds
            if task is None or task.is_scheduled(moment):
                continue
            if task.is_paused:
                watch.paused += seconds
            elif task.is_waiting_in_queue:
                watch.in_queue += seconds
            else:
                watch.running += seconds

    def look_closely(self, watch: Watch, patience: float) -> dict[str, Task]:
        """State and steps of one running task in one request; nothing when the details are not to be had or not worth it."""
        if not self.shows_details or watch.task is None or watch.task.is_waiting_in_queue:
            return {}
        details = self.read_details(watch, patience)
        document = (details or {}).get("Task") or {}
        return {watch.task_id: Task(document)} if document.get("Id") == watch.task_id else {}

    def read_details(self, watch: Watch, patience: Optional[float] = None) -> Any:
        """The task's details, its steps noted; None from then on when the account may not read them."""
        try:
            details = self.api.get(
                f"tasks/{watch.task_id}/details", patience=patience, verbose="false", tail=LOG_TAIL
            )
        except ApiError as error:
            if error.status == 401:
                raise
            self.shows_details = False
            self.log.verbose(f"The steps of {watch.label} are not shown: {error.sentence}")
            return None
        watch.details = details
        watch.steps = step_states(details)
        watch.troubles = troubles(details)
        watch.detailed_at = self.api.clock()
        progress = details.get("Progress") or {}
        self.percentage = max(self.percentage, int(progress.get("ProgressPercentage") or 0))
        return details

    def look_around(self, now: float) -> None:
        """Spends what the budget leaves: interruptions, then steps (changed tasks first, then round robin), then the queue."""
        alive = self.alive()
        asked = [
            watch
            for watch in alive
            if watch.task and watch.task.is_paused
            if watch.changed_at == now or now - watch.asked_at >= ASK_AGAIN_INTERVAL
        ]
        if asked and self.shows_interruptions and self.budget.level() >= 1:
            self.tell_interruptions(asked)
        waiting = [watch for watch in alive if watch.task and watch.task.is_waiting_in_queue]
        detailed = [
            watch for watch in self.watches if watch.task and watch not in waiting and watch.detailed_at < now
        ]
        detailed = [watch for watch in detailed if watch.is_alive or watch.detailed_at < watch.changed_at]
        for watch in sorted(detailed, key=lambda one: (-one.changed_at, one.detailed_at)):
            if not self.shows_details or self.budget.level() < RESERVE:
                break
            self.read_details(watch)
        moment = utc_now(self.api)
        for watch in sorted(waiting, key=lambda one: one.reason_due):
            if watch.task and watch.task.queued and watch.task.is_scheduled(moment):
                watch.queue_reason = (
                    f"until {watch.task.queued:%Y-%m-%d %H:%M} UTC, for which it is scheduled"
                )
            elif self.budget.level() >= RESERVE - 4 and now >= watch.reason_due:
                self.read_queue_reason(watch, now)

    def read_queue_reason(self, watch: Watch, now: float) -> None:
        """The first is soon out of date; from the second on the place in the queue is told at a low rate."""
        watch.reason_due = now + (LATER_REASON_INTERVAL if watch.queue_reason else QUEUE_REASON_INTERVAL)
        assert watch.task is not None
        try:
            standing = self.queues.read(watch.task)
        except ApiUnreachable:
            return
        if standing is not None:
            watch.queue_reason = str(standing)

    @property
    def suspicion(self) -> str:
        """What looks like a deadlock, and cannot be proved."""
        return self.lookout.suspicion if self.lookout is not None else ""

    def announce(self) -> None:
        """Tells others what this step waits for now."""
        if self.lookout is not None:
            targets = [watch.target for watch in self.alive() if watch.cancelling is None]
            self.lookout.announce(self.need, targets)

    def look_for_deadlocks(self) -> None:
        """Marks those whose end this step could await for ever, when it is for this step to give way."""
        alive = [watch for watch in self.alive() if watch.task is not None and watch.cancelling is None]
        if self.lookout is None:
            return
        suspects = [watch for watch in alive if watch.task and self.may_wait_itself(watch)]
        fresh = {
            watch.task_id: Seen(watch.task, watch.details if watch.detailed_at >= self.poll_began else None)
            for watch in alive
            if watch.task is not None
        }
        sentence = self.lookout.look(
            self.budget.level, suspects=[watch.target for watch in suspects], fresh=fresh
        )
        for watch in suspects:
            if sentence and watch.task_id in self.lookout.held:
                watch.deadlock = sentence

    def may_wait_itself(self, watch: Watch) -> bool:
        """Whether the awaited stands in the queue, or announced a wait when its log was last read, or was never read yet."""
        if watch.task is None or watch.task.is_waiting_in_queue:
            return True
        return watch.details is None or bool(announced_waits(watch.details))

    def tell_interruptions(self, asked: Sequence[Watch]) -> None:
        """What people are asked, by one list for all tasks."""
        try:
            pending = list(self.api.pages("interruptions", pendingOnly="true"))
        except ApiError as error:
            if error.status == 401:
                raise
            self.shows_interruptions = False
            self.log.verbose(f"What is asked is not shown: {error.sentence}")
            return
        for watch in asked:
            watch.asked_at = self.api.clock()
            for item in pending:
                if item.get("TaskId") == watch.task_id:
                    self.tell_interruption(watch, item)

    def tell_interruption(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """What is asked, once; and who has taken it, when somebody has."""
        taker = item.get("ResponsibleUserId") or ""
        if item["Id"] not in watch.told_interruptions:
            text = question_of(item)
            words = f"{watch.label}: {item.get('Type')}: {item.get('Title')} {watch.link}".rstrip()
            self.log.waiting(words + (f"\n{text}" if text else ""))
            watch.told_interruptions[item["Id"]] = ""
        if taker and watch.told_interruptions[item["Id"]] != taker:
            watch.told_interruptions[item["Id"]] = taker
            self.log.waiting(f"{watch.label}: {item.get('Title')}: taken by {self.name_of_user(taker)}")

    def name_of_user(self, user_id: str) -> str:
        try:
            user = self.api.get(f"/api/users/{user_id}")
        except ApiError as error:
            if error.status == 401:
                raise
            return user_id
        return str(user.get("DisplayName") or user.get("Username") or user_id)

    def tell_changes(self) -> None:
        """Prints what is new: states, steps, the reason for standing in the queue; and moves the progress bar."""
        for watch in self.watches:
            # What leads to the end is told before it, what follows from a beginning after it.
            if watch.is_alive:
                self.tell_state(watch)
            for step in watch.steps:
                if step.status != "Pending" and watch.told_steps.get(step.title) != step.status:
                    watch.told_steps[step.title] = step.status
                    self.log.info(f"{watch.label}: {step}")
            self.tell_troubles(watch)
            if not watch.is_alive:
                self.tell_state(watch)
        self.tell_progress()

    def tell_troubles(self, watch: Watch) -> None:
        """The child's new warnings and errors, at their level."""
        for trouble in watch.troubles:
            if trouble.key in watch.told_troubles or len(watch.told_troubles) > MOST_TROUBLES:
                continue
            watch.told_troubles.add(trouble.key)
            if len(watch.told_troubles) > MOST_TROUBLES:
                self.log.warning(f"{watch.label}: more warnings and errors are not shown here: {watch.link}")
                continue
            if self.is_own_echo(trouble.text):
                continue
            tell = self.log.warning if trouble.level == "Warning" else self.log.error
            line = ": ".join(part for part in (watch.label, trouble.where, trouble.text) if part)
            self.quoted.append(line)
            tell(line)

    def is_own_echo(self, text: str) -> bool:
        """Whether the awaited one quotes what this step wrote, for it awaits this task: to quote it again would never end."""
        own = [*self.quoted, *(self.lookout.told if self.lookout is not None else ())]
        return any(one in text for one in own)

    def tell_state(self, watch: Watch) -> None:
        words = watch.state_in_words()
        if watch.queue_reason and watch.task and watch.task.is_waiting_in_queue:
            words += f" {watch.queue_reason}"
        if words != watch.told:
            watch.told = words
            self.log.info(f"{watch.label}: {words}")

    def tell_progress(self) -> None:
        ended = len(self.watches) - len(self.alive())
        if len(self.watches) == 1:
            message, percentage = (
                f"{self.watches[0].label}: {self.watches[0].state_in_words()}",
                self.percentage,
            )
        else:
            message, percentage = f"{ended} of {len(self.watches)} ended", 100 * ended // len(self.watches)
        now = self.api.clock()
        shown = f"{percentage} {message}"
        if shown != self.progress_told and now - self.progress_at >= PROGRESS_INTERVAL:
            self.progress_told, self.progress_at = shown, now
            if self.lookout is not None:
                self.lookout.announcer.tell(percentage, message)
            else:
                self.log.progress(percentage, message)


def question_of(interruption: Mapping[str, Any]) -> str:
    """The text that a person is shown: the paragraphs of the form (source: go-octopusdeploy, test/e2e/interruption_test.go)."""
    form = interruption.get("Form") or {}
    texts = []
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        if control.get("Type") == "Paragraph":
            texts.append(
                str(control.get("Text") or (form.get("Values") or {}).get(element.get("Name")) or "")
            )
    return "\n".join(text.strip() for text in texts if text.strip())


def cause_of_failure(watch: Watch) -> str:
    """Why a task did not succeed, in one clause: its error and the steps that failed."""
    task = watch.task
    failed = [step.title for step in watch.steps if step.status == "Failed"]
    parts = [task.error.strip()] if task is not None and task.error.strip() else []
    if failed:
        parts.append("failed at " + ", ".join(failed))
    return "; ".join(parts)


# ---- generator/runtime/awaited.py ----

ENDED, SUCCEEDED, STARTED, IDLE = "ended", "succeeded", "started", "idle"
REACHED_STEP, PASSED_STEP = "reached_step", "passed_step"
STEP_GOALS = (REACHED_STEP, PASSED_STEP)
ANY_RELEASE = "any"


def awaited_table() -> Mapping[str, Option]:
    """What a line may say beside its project; what it does not say is as the other fields of the form have it."""
    return {
        "environment": Option(str, ""),
        "tenant": Option(str, ""),
        "until": Option(one_of(ENDED, SUCCEEDED, STARTED, REACHED_STEP, PASSED_STEP, IDLE)),
        "step": Option(str, ""),
        "if_skipped": Option(one_of("fail", "pass"), "fail"),
        "release": Option(parse_admitted),
        "max_age": Option(parse_duration),
        "counts": Option(one_of("last", "since_queued", "active"), "last"),
        "when_none": Option(one_of("wait", "pass", "fail"), "wait"),
    }


def parse_admitted(text: str) -> Optional[ReleaseChoice]:
    """Which releases count; None for `any`."""
    return None if text.strip().lower() == ANY_RELEASE else parse_wanted_release(text)


class Goal(Record):
    """What is awaited at one place. What ended before `cutoff` does not count. `impossible`: why nothing can come there."""

    place: Place
    until: str
    step: str
    passes_skipped: bool
    wanted: Optional[ReleaseChoice]
    max_age: Optional[timedelta]
    cutoff: Optional[datetime]
    when_none: str
    impossible: str

    @property
    def needs_steps(self) -> bool:
        return self.until in STEP_GOALS

    @property
    def is_passed(self) -> bool:
        return self.until == PASSED_STEP

    def __str__(self) -> str:
        return {
            ENDED: "has ended",
            SUCCEEDED: "has succeeded",
            STARTED: "has begun",
            REACHED_STEP: f"has reached the step {self.step}",
            PASSED_STEP: f"has passed the step {self.step}",
            IDLE: "is idle",
        }[self.until]

    def counts(self, deployment: Deployment, now: datetime) -> bool:
        """Whether its age lets it count; what has not ended always does."""
        ended = deployment.task.completed
        if deployment.task.is_alive or ended is None:
            return True
        too_old = self.max_age is not None and now - ended > self.max_age
        return not too_old and (self.cutoff is None or ended >= self.cutoff)


class Followed:
    """A deployment that may bring what is awaited. `step` is the awaited step's name in its process, as far as it is known."""

    def __init__(self, deployment: Deployment, watch: Watch, step: str) -> None:
        self._deployment = deployment
        self.watch = watch
        self.step = step
        self._before = watch.in_queue + watch.running

    @property
    def used(self) -> float:
        """Seconds of waiting for it that count."""
        return self.watch.in_queue + self.watch.running - self._before

    @property
    def deployment(self) -> Deployment:
        """As it was last seen."""
        task = self.watch.task
        return self._deployment if task is None else self._deployment._replace(task=task)

    def step_state(self) -> Optional[StepState]:
        number = f"step {self.step.lower()}: "
        for state in self.watch.steps:  # where the process cannot be read a number is not known by its name
            if state.title.lower().startswith(number):
                return find_step(self.watch.steps, self.step) or state
        return find_step(self.watch.steps, self.step)

    @property
    def step_status(self) -> str:
        state = self.step_state()
        return state.status if state else ""

    def has_met(self, goal: Goal) -> bool:
        """Of a step goal."""
        state = self.step_state()
        skipped = state is not None and state.status == "Skipped"
        return has_come_to(state, passed=goal.is_passed) or (skipped and goal.passes_skipped)

    def is_lost(self, goal: Goal) -> bool:
        """Whether this task can no longer bring the step: it has ended, or the step was skipped or did not succeed."""
        settled = self.step_status in ("Skipped", "Failed", "Canceled")
        return not self.watch.is_alive or (settled and not self.has_met(goal))

    @property
    def has_begun(self) -> bool:
        task = self.watch.task
        return task is not None and not task.never_began


class Outcome(Record):
    """How the wait at one place ended. `kind` is "" when the goal is met, else the kind of the failure."""

    kind: str
    words: str
    state: str
    deployment: Optional[Deployment]
    status: str
    is_late: bool


class Awaited:
    """One place with its goal: what is followed there, and how it ended."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.followed: list[Followed] = []
        self.outcome: Optional[Outcome] = None
        self.spent = 0.0  # seconds, unpaused, of what was followed before, and in which nothing was there to be followed
        self.looks_since: Optional[float] = None  # since when there is nothing to be followed
        self.due: Optional[datetime] = None  # when a deployment that is scheduled there is to begin

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    @property
    def is_looking(self) -> bool:
        return self.is_open and self.looks_since is not None

    def used(self) -> float:
        """Seconds of waiting that count."""
        return self.spent + max(
            (one.watch.in_queue + one.watch.running for one in self.followed), default=0.0
        )

    def all_ended(self) -> bool:
        return not any(one.watch.is_alive for one in self.followed)

    def newest(self) -> Followed:
        return max(self.followed, key=lambda one: one.deployment.number)

    def can_be_judged(self) -> bool:
        """Whether what was read last decides it."""
        goal = self.goal
        if not self.followed:
            return False
        if goal.needs_steps:
            return any(one.has_met(goal) for one in self.followed) or all(
                one.is_lost(goal) for one in self.followed
            )
        if goal.until == STARTED and any(one.has_begun for one in self.followed):
            return True
        return self.all_ended()


class ProcessStep(Record):
    """A step, or an action of a step that has several, as the log numbers it."""

    number: str
    names: Sequence[str]
    slugs: Sequence[str]

    def __str__(self) -> str:
        return f"{self.number} {self.names[0]}"


def process_steps(process: Mapping[str, Any]) -> list[ProcessStep]:
    """The steps of a deployment process (source: docs, API reference, deployment processes)."""
    found = []
    for number, step in enumerate(process.get("Steps") or (), start=1):
        actions = step.get("Actions") or ()
        alone = actions if len(actions) == 1 else ()
        found.append(
            ProcessStep(str(number), said(step, alone, "Name"), said(step, alone, "Slug")),
        )
        for position, action in enumerate(actions if not alone else (), start=1):
            found.append(
                ProcessStep(f"{number}.{position}", said(action, (), "Name"), said(action, (), "Slug"))
            )
    return found


def said(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """What the documents have in that field, each once."""
    return list(dict.fromkeys(str(one[field]) for one in (document, *others) if one.get(field)))


def match_step(steps: Sequence[ProcessStep], text: str) -> Optional[ProcessStep]:
    """The step that is meant by its name, `Step 3: Name`, its number or its slug; names go first, and case does not matter."""
    wanted = text.strip().lower()
    for step in steps:
        titles = [f"step {step.number}: {name}" for name in step.names]
        if wanted in [name.lower() for name in [*step.names, *titles]]:
            return step
    for step in steps:
        if wanted in (step.number, f"step {step.number}"):
            return step
    for step in steps:
        if wanted in [slug.lower() for slug in step.slugs]:
            return step
    return None


class StepNames:
    """Awaited steps by the process that a deployment really runs: the release's, which may differ from the project's of today."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._processes: dict[str, Optional[list[ProcessStep]]] = {}

    def steps_of(self, deployment: Deployment) -> Optional[list[ProcessStep]]:
        """None where this account may not read the process."""
        identifier = deployment.document.get("DeploymentProcessId") or ""
        if identifier not in self._processes:
            self._processes[identifier] = self._read(identifier) if identifier else None
        return self._processes[identifier]

    def _read(self, identifier: str) -> Optional[list[ProcessStep]]:
        try:
            return process_steps(self._api.get(f"deploymentprocesses/{identifier}")) or None
        except ApiError as error:
            if error.status == 401:
                raise
            return None


def describe_awaited(one: Awaited, numbers: ReleaseNumbers) -> dict[str, Any]:
    """One place of the wait, for the result and the output."""
    place, outcome = one.goal.place, one.outcome
    deployment = outcome.deployment if outcome else None
    return {
        "project": place.project["Name"],
        "environment": place.environment["Name"],
        "tenant": place.tenant["Name"] if place.tenant else "",
        "until": one.goal.until,
        "state": outcome.state if outcome else "",
        "version": numbers.of(deployment) if deployment else "",
        "deployment": deployment.id if deployment else "",
        "task": deployment.task.id if deployment else "",
        "link": deployment.link if deployment else "",
        "step_status": outcome.status if outcome else "",
        "met": outcome is not None and not outcome.kind,
        "timed_out": outcome is not None and outcome.is_late,
        "failure": f"{outcome.kind}: {outcome.words}" if outcome and outcome.kind else "",
    }


# ---- generator/runtime/clauses.py ----

class Clause(Record):
    """One line: `subject` is the project, `values` has what the line itself says, by the names of the table."""

    number: int
    subject: str
    values: Mapping[str, Any]


def parse_clauses(table: Mapping[str, Option], lines: Sequence[str]) -> tuple[Clause, ...]:
    """Every line as `Project; name = value; name = value`, the names those of `table`; `values` has what is written, no more.

    An empty value is one: `tenant =` means untenanted. Raises one ValueError with every fault of every line.
    """
    clauses: list[Clause] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        subject, *parts = [part.strip() for part in line.split(";")]
        try:
            clauses.append(Clause(number, subject, parse_clause(table, subject, parts)))
        except ValueError as error:
            faults.append(f"line {number} ({subject or line}): {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(clauses)


def parse_clause(table: Mapping[str, Option], subject: str, parts: Sequence[str]) -> dict[str, Any]:
    if not subject or "=" in subject:
        raise ValueError("a line begins with the name of a project, and then ;")
    pairs: dict[str, str] = {}
    for part in parts:
        if not part:
            continue
        name, equals, text = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part!r} is not of the form: name = value")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()!r} is given twice")
        pairs[name.strip()] = text.strip()
    values = parse_options(table, pairs)
    said = {option_name(name) for name in pairs}
    return {name: value for name, value in values.items() if name in said}


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


# ---- generator/runtime/destinations.py ----

EVERY = "*"


class LeftOut(Record):
    """A place to which nothing can be deployed, and why."""

    place: Place
    reason: str


class Destinations(Record):
    places: Sequence[Place]
    left_out: Sequence[LeftOut]


def find_destinations(
    api: Api,
    project: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]],
    tenants: Optional[Sequence[str]],
    own_tenant: str,
) -> Destinations:
    """Every environment with every tenant that is meant. `tenants` are names, `Set/Tag` and `*`; None or none is untenanted.

    Raises NotFound for an unknown name, for a tag without a tenant, and when `*` means nobody.
    """
    mode = project.get("TenantedDeploymentMode") or "Untenanted"
    # The parent's tenant is the field's own default: a project without tenants has no use for it.
    if tenants and mode == "Untenanted" and [name.lower() for name in tenants] == [own_tenant.lower()]:
        tenants = None
    if not tenants:
        if mode == "Tenanted":
            raise StepFailure(
                MISCONFIGURED, f"{project['Name']} is only deployed for tenants: name one, a tag, or *"
            )
        return Destinations([Place(project, environment, None) for environment in environments], [])
    if mode == "Untenanted":
        raise StepFailure(
            MISCONFIGURED, f"{project['Name']} is not deployed for tenants, but the step names some"
        )
    chosen, takes_all = find_tenants(api, project, tenants)
    places: list[Place] = []
    left_out: list[LeftOut] = []
    for environment in environments:
        here = len(places)
        for tenant in chosen:
            place = Place(project, environment, tenant)
            reason = why_not(place)
            if not reason:
                places.append(place)
            elif not takes_all:
                left_out.append(LeftOut(place, reason))
        if takes_all and len(places) == here:
            raise NotFound(f"no tenant is connected to {project['Name']} in {environment['Name']}")
    return Destinations(places, left_out)


def find_tenants(
    api: Api, project: Mapping[str, Any], names: Sequence[str]
) -> tuple[list[Mapping[str, Any]], bool]:
    """The tenants that are meant, each once; and whether that is `*`, all that are connected to the project."""
    if EVERY in names:
        if len(names) > 1:
            raise StepFailure(MISCONFIGURED, "* already means every connected tenant: remove the other lines")
        connected = [
            one for one in api.pages("tenants", projectId=project["Id"]) if is_connected(one, project)
        ]
        return connected, True
    found: dict[str, Mapping[str, Any]] = {}
    tags = [name for name in names if "/" in name]
    for name in names:
        if name not in tags:
            tenant = find_named(api, "tenants", "tenant", name)
            found.setdefault(tenant["Id"], tenant)
    if tags:
        for tenant in tenants_with(api, tags):
            found.setdefault(tenant["Id"], tenant)
    return list(found.values()), False


def tenants_with(api: Api, tags: Sequence[str]) -> list[Mapping[str, Any]]:
    """Tenants with these tags: one of each set (source: docs, Tenant tags). A tag that nobody has is a mistake."""
    everybody = list(api.pages("tenants"))
    in_use = {tag.lower() for tenant in everybody for tag in tenant.get("TenantTags") or ()}
    for tag in tags:
        if tag.lower() not in in_use:
            known = sorted({name for tenant in everybody for name in tenant.get("TenantTags") or ()})
            raise NotFound("no tenant has the tag {!r} ({})".format(tag, hint_among(tag, known)))
    wanted: dict[str, set[str]] = {}
    for tag in tags:
        wanted.setdefault(tag.lower().partition("/")[0], set()).add(tag.lower())
    chosen = []
    for tenant in everybody:
        own = {tag.lower() for tag in tenant.get("TenantTags") or ()}
        if all(alternatives & own for alternatives in wanted.values()):
            chosen.append(tenant)
    if not chosen:
        raise NotFound("no tenant has all of these tags: " + ", ".join(tags))
    return chosen


def is_connected(tenant: Mapping[str, Any], project: Mapping[str, Any]) -> bool:
    return project["Id"] in (tenant.get("ProjectEnvironments") or {})


def why_not(place: Place) -> str:
    """Why nothing can be deployed for the place's tenant; "" when it can."""
    tenant = place.tenant or {}
    connected = (tenant.get("ProjectEnvironments") or {}).get(place.project["Id"])
    if tenant.get("IsDisabled"):
        return f"{tenant['Name']} is disabled"
    if connected is None:
        return f"{tenant['Name']} is not connected to {place.project['Name']}"
    if place.environment["Id"] not in connected:
        names = (
            "no environment"
            if not connected
            else f"{len(connected)} other environment" + ("s" if len(connected) > 1 else "")
        )
        return f"{tenant['Name']} is connected to {place.project['Name']} in {names}, not in {place.environment['Name']}"
    return ""


# ---- generator/runtime/once.py ----

def own_queue_time(api: Api, step: Any) -> Optional[datetime]:
    """When the running task was queued: by its variable, else by the server; None when neither tells."""
    told = moment_or_none(step.variable("Octopus.Task.QueueTime"))
    task = step.variable("Octopus.Task.Id")
    if told is not None or not task or step.variable("Octopus.Web.ServerUri").rstrip("/") != api.url:
        return told
    found = api.by_ids("tasks", [task])
    return Task(found[0]).queued if found else None


# ---- generator/runtime/survey.py ----

FEW = 3


class Recall(Api):
    """An Api that asks for everything once: for looking up names, where many lines name the same things."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._answers: dict[str, Any] = {}

    def get(self, path: str, *, patience: Optional[float] = None, **query: Any) -> Any:
        key = repr((path, sorted(query.items())))
        if key not in self._answers:
            self._answers[key] = self._api.get(path, patience=patience, **query)
        return self._answers[key]


def find_projects(api: Api, names: Iterable[str]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The projects by the names that people wrote, and a sentence for each that there is not."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, Mapping[str, Any]] = {}
    faults = []
    everything = list(api.pages("projects")) if len(wanted) > FEW else None
    for name in wanted:
        try:
            if everything is None:
                found[name] = find_named(api, "projects", "project", name)
                continue
            match = best_match(everything, name)
            if match is None:
                raise NotFound(absence("project", name, [project["Name"] for project in everything]))
            found[name] = match
        except NotFound as missing:
            faults.append(missing.sentence)
    return found, faults


class Spot(Record):
    """A place, and why nothing can be deployed there; "" where it can."""

    place: Place
    impossible: str = ""


def find_spots(
    api: Api, wanted: Iterable[tuple[str, str, str]], own_tenant: str
) -> dict[tuple[str, str, str], list[Spot]]:
    """The places by (project, environment, tenant) as people wrote them; the tenant is a name, `Set/Tag`, `*`, or "".

    A tenant that is named but not connected there makes an impossible one; of a tag or `*` only those count that are.
    Raises one NotFound that tells every name that leads nowhere.
    """
    keys = list(dict.fromkeys(wanted))
    recall = Recall(api)
    projects, faults = find_projects(recall, [project for project, _, _ in keys])
    environments = {}
    for name in dict.fromkeys(environment for _, environment, _ in keys):
        try:
            environments[name] = find_named(recall, "environments", "environment", name)
        except NotFound as missing:
            faults.append(missing.sentence)
    found: dict[tuple[str, str, str], list[Spot]] = {}
    for key in keys:
        project, environment, tenant = key
        if project not in projects or environment not in environments:
            continue
        try:
            found[key] = spots_for(recall, projects[project], environments[environment], tenant, own_tenant)
        except StepFailure as failure:
            if failure.kind != MISCONFIGURED:
                raise
            faults.append(failure.sentence)
    if faults:
        raise NotFound("; ".join(dict.fromkeys(faults)))
    return found


def spots_for(
    api: Api, project: Mapping[str, Any], environment: Mapping[str, Any], tenant: str, own_tenant: str
) -> list[Spot]:
    there = find_destinations(api, project, [environment], [tenant] if tenant else None, own_tenant)
    spots = [Spot(place) for place in there.places]
    if "/" not in tenant:
        return spots + [Spot(place, reason) for place, reason in there.left_out]
    if not spots:
        where = f"{project['Name']} in {environment['Name']}"
        raise NotFound(f"no tenant with the tag {tenant} is connected to {where}")
    return spots


def cell_key(place: Place) -> str:
    """One text for each project, environment and tenant."""
    return f"{place.project['Id']} {place.environment['Id']} {place.tenant_id or ''}".rstrip()


def cell_key_of(document: Mapping[str, Any]) -> str:
    return f"{document['ProjectId']} {document['EnvironmentId']} {document.get('TenantId') or ''}".rstrip()


def living_at(api: Api, places: Sequence[Place], own_task: str) -> dict[str, list[Deployment]]:
    """Those that have not ended, scheduled ones included, by cell, oldest first. Every place has its cell.

    The own task is no other: a step that looks at its own project means what else there is.
    """
    found: dict[str, list[Deployment]] = {cell_key(place): [] for place in places}
    if not places:
        return found
    projects = {place.project["Id"] for place in places}
    query: dict[str, Any] = {
        "project": only(place.project["Id"] for place in places),
        "environment": only(place.environment["Id"] for place in places),
        "tenant": only(place.tenant_id for place in places),
    }
    tasks: dict[str, Task] = {}
    # The server filters by one project: of several, the tasks of all are read and sorted out here.
    for item in api.pages("tasks", active="true", name="Deploy", **query):
        task = Task(item)
        if (
            task.id != own_task
            and task.deployment_id
            and task.is_alive
            and item.get("ProjectId") in (None, *projects)
        ):
            tasks[task.deployment_id] = task
    for document in api.by_ids("deployments", list(tasks)) if tasks else ():
        cell = cell_key_of(document)
        if cell in found:
            found[cell].append(Deployment(document, tasks[document["Id"]], api.web_link(document)))
    for some in found.values():
        some.sort(key=lambda deployment: deployment.number)
    return found


def only(values: Iterable[Optional[str]]) -> Optional[str]:
    """The value if all are the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def latest_at(
    api: Api,
    places: Sequence[Place],
    wanted: Callable[[Place, Deployment], bool] = lambda place, deployment: True,
    prepare: Callable[[Sequence[Deployment]], None] = lambda deployments: None,
) -> dict[str, Deployment]:
    """By cell the newest `wanted` deployment that has ended and may have changed something; no entry where there is none.

    `prepare` is called with those about which `wanted` may be asked next.

    One list, newest first, has the deployments of all places (source: docs, API reference, deployments). Whatever was deployed
    often lately is found on its first page; then it is asked for the others alone, so that these stand on the first page.
    """
    found: dict[str, Deployment] = {}
    for group in alike(places):
        left = {cell_key(place): place for place in group}
        skip = 0
        while left:
            query = filters_of(list(left.values()))
            take = PAGE_SIZE if len(left) > 1 else HISTORY_PAGE
            page = api.get("deployments", skip=skip, take=take, **query)
            items = page.get("Items") or []
            before = len(left)
            fitting = join_tasks(api, [item for item in items if cell_key_of(item) in left])
            ended = [one for one in fitting if not one.task.is_alive and one.began]
            prepare(ended)
            for deployment in ended:
                cell = cell_key_of(deployment.document)
                if cell in left and wanted(left[cell], deployment):
                    found[cell] = deployment
                    del left[cell]
            skip += len(items)
            if not items or skip >= page.get("TotalResults", 0):
                break
            if len(left) < before:
                skip = 0
    return found


def alike(places: Sequence[Place]) -> list[list[Place]]:
    """Places that one list with filters can have: of one environment, all for tenants or all untenanted, not too many."""
    groups: dict[str, list[Place]] = {}
    for place in {cell_key(place): place for place in places}.values():
        groups.setdefault(f"{place.environment['Id']} {place.tenant is None}", []).append(place)
    return [
        group[start : start + IDS_PER_REQUEST]
        for group in groups.values()
        for start in range(0, len(group), IDS_PER_REQUEST)
    ]


def filters_of(places: Sequence[Place]) -> dict[str, Any]:
    """What every deployment at one of `places` satisfies, as filters for the list of deployments."""
    query: dict[str, Any] = {
        "projects": list(dict.fromkeys(place.project["Id"] for place in places)),
        "environments": list(dict.fromkeys(place.environment["Id"] for place in places)),
    }
    tenants = list(dict.fromkeys(place.tenant_id for place in places))
    # There is no filter for untenanted ones; many tenants would make the address too long.
    if None not in tenants and len(tenants) <= MOST_TENANTS_IN_A_FILTER:
        query["tenants"] = tenants
    return query


# ---- generator/runtime/vigil.py ----

PROBE_INTERVAL = 60.0
PROBED = 10


class WaitTerms(Record):
    """How the places of one wait go together: all of them or any. `goes_on_late`: a limit is no failure."""

    limits: Limits
    needs_any: bool
    goes_on_late: bool

    @property
    def longest(self) -> float:
        return (self.limits.queue + self.limits.run).total_seconds()


class Vigil:
    """Keeps watch until what is awaited has come, or can come no more."""

    def __init__(
        self,
        api: Api,
        log: Log,
        everything: Sequence[Awaited],
        terms: WaitTerms,
        *,
        lookout: Optional[Lookout],
    ) -> None:
        self.api = api
        self.log = log
        self.everything = list(everything)
        self.terms = terms
        self.numbers = ReleaseNumbers(api)
        self.step_names = StepNames(api)
        self.waiter = Waiter(
            api, log, [], terms.limits, stop=self.has_news, aside=self.look_aside, lookout=lookout
        )
        self.news = False
        self.probed: Optional[list[str]] = None
        self.probed_at = api.clock()

    def keep(self) -> None:
        """Returns when it is decided: every place then has its outcome, or is not waited for any more."""
        self.find(self.open())
        while not self.is_decided():
            self.waiter.need = self.need()
            if self.waiter.alive():
                for watch in self.waiter.wait():
                    self.give_up(watch)
            elif any(one.is_looking for one in self.open()):
                self.pause()
            self.judge()
            if not self.is_decided():
                self.find_again()
        if self.waiter.lookout is not None:
            self.waiter.lookout.announce(self.waiter.need, [])

    def open(self) -> list[Awaited]:
        return [one for one in self.everything if one.is_open]

    def is_decided(self) -> bool:
        outcomes = [one.outcome for one in self.everything if one.outcome is not None]
        if len(outcomes) == len(self.everything):
            return True
        if self.terms.needs_any:
            return any(not outcome.kind for outcome in outcomes)
        return any(self.is_fatal(outcome) for outcome in outcomes)

    def is_fatal(self, outcome: Outcome) -> bool:
        return bool(outcome.kind) and not (outcome.is_late and self.terms.goes_on_late)

    def need(self) -> str:
        """What is told to those who look for deadlocks: where one of several will do, nobody can say that it never ends."""
        either = self.terms.needs_any and len(self.open()) > 1
        steps = any(one.goal.needs_steps and len(one.followed) > 1 for one in self.open())
        return NEEDS_ANY if either or steps or any(one.is_looking for one in self.open()) else NEEDS_ALL

    # --- finding what is to be followed ----------------------------------------------------------------------------

    def find(self, places: Sequence[Awaited]) -> None:
        """Begins to follow what is there, or ends the wait where nothing is and nothing is to be waited for."""
        possible = []
        for one in places:
            if one.goal.impossible:
                self.judge_absence(one)
            else:
                possible.append(one)
        if not possible:
            return
        now = utc_now(self.api)
        own = self.waiter.lookout.own if self.waiter.lookout is not None else ""
        living = living_at(self.api, [one.goal.place for one in possible], own)
        self.numbers.learn(
            [deployment for some in living.values() for deployment in some if deployment.task.is_active(now)]
        )
        without: list[Awaited] = []
        for one in possible:
            here = living[cell_key(one.goal.place)]
            active = [found for found in here if found.task.is_active(now) and self.is_admitted(one, found)]
            if active:
                self.follow(one, active)
            elif one.goal.until == IDLE:
                self.meet(one, None, "Idle", f"{one.goal.place} is idle.")
            else:
                without.append(one)
                self.note_scheduled(one, here)
        latest = self.find_latest(without, now)
        for one in without:
            found = latest.get(id(one))
            if found is not None:
                self.follow(one, [found])
            else:
                self.judge_absence(one)

    def find_latest(self, places: Sequence[Awaited], now: datetime) -> dict[int, Deployment]:
        """What has ended last and counts, by the id of the object: several may be of one place and want different ones."""
        found: dict[int, Deployment] = {}
        left = list(places)
        while left:
            batch = {cell_key(one.goal.place): one for one in reversed(left)}
            for cell, deployment in self.latest_of(batch, now).items():
                found[id(batch[cell])] = deployment
            left = [one for one in left if one not in batch.values()]
        return found

    def latest_of(self, batch: Mapping[str, Awaited], now: datetime) -> dict[str, Deployment]:
        return latest_at(
            self.api,
            [one.goal.place for one in batch.values()],
            lambda place, deployment: self.is_wanted(batch[cell_key(place)], deployment, now),
            self.numbers.learn,
        )

    def is_wanted(self, one: Awaited, deployment: Deployment, now: datetime) -> bool:
        return one.goal.counts(deployment, now) and self.is_admitted(one, deployment)

    def is_admitted(self, one: Awaited, deployment: Deployment) -> bool:
        return one.goal.wanted is None or one.goal.wanted.admits(self.numbers.of(deployment))

    def note_scheduled(self, one: Awaited, living: Sequence[Deployment]) -> None:
        """Remembers when the next one is to begin, and tells each once."""
        moments = [(found.task.queued, found) for found in living if found.task.queued is not None]
        one.due = min((queued for queued, _ in moments), default=None)
        for queued, found in moments if one.looks_since is None else ():
            self.log.info(
                f"{self.label(one.goal.place, found)} is scheduled for {queued:%Y-%m-%d %H:%M} UTC."
            )

    def judge_absence(self, one: Awaited) -> None:
        """Nothing counts there: an end, or the beginning of a search."""
        goal = one.goal
        if one.looks_since is not None:
            return
        words = f"{goal.place} has no deployment that counts"
        if goal.impossible:
            words += f": {goal.impossible}"
        if goal.until == IDLE:
            self.meet(one, None, "Idle", f"{goal.place} is idle.")
        elif goal.when_none == "pass":
            self.meet(one, None, "None", f"{words}, and is not waited for.")
        elif goal.when_none == "fail" or goal.impossible:
            self.lose(one, REFUSED, words, None, "None")
        else:
            one.looks_since = self.api.clock()
            self.log.waiting(
                f"There is no deployment of {goal.place} that counts: waiting for one to appear."
            )

    def follow(self, one: Awaited, deployments: Sequence[Deployment]) -> None:
        """From now on these are watched; what was watched before is not."""
        if one.looks_since is not None:
            one.spent += self.api.clock() - one.looks_since
            one.looks_since = None
        self.drop(one)
        missing = []
        for deployment in deployments:
            label, step = self.label(one.goal.place, deployment), one.goal.step
            if one.goal.needs_steps:
                steps = self.step_names.steps_of(deployment)
                match = match_step(steps, step) if steps is not None else None
                if steps is not None and match is None:
                    names = ", ".join(str(known) for known in steps)
                    missing.append((deployment, f"{label} has no step {step!r}; its steps: {names}"))
                    continue
                step = match.names[0] if match is not None else step
            watch = next((old for old in self.waiter.watches if old.task_id == deployment.task.id), None)
            if watch is None:
                watch = Watch(label, deployment.task.id, deployment.link)
                self.log.info(f"Following {watch}")
                self.waiter.watches.append(watch)
            one.followed.append(Followed(deployment, watch, step))
            self.aim(watch)
        if missing and not one.followed:
            deployment, words = missing[-1]
            self.lose(one, MISCONFIGURED, words, deployment, deployment.task.state)

    def aim(self, watch: Watch) -> None:
        """Says what is waited for in a task that several lines may name: all of it, or one of the steps."""
        needs = [(one.goal, found) for one in self.open() for found in one.followed if found.watch is watch]
        goal, followed = next((need for need in needs if not need[0].needs_steps), needs[0])
        step = followed.step if goal.needs_steps else ""
        watch.target = Target(watch.task_id, step, bool(step) and goal.is_passed)

    def drop(self, one: Awaited) -> None:
        """Watches no more what was followed there, unless it is for the sake of another line."""
        one.spent = one.used()
        watched, one.followed = [followed.watch for followed in one.followed], []
        for watch in watched:
            if any(found.watch is watch for other in self.open() for found in other.followed):
                self.aim(watch)
            elif watch in self.waiter.watches:
                self.waiter.watches.remove(watch)

    def label(self, place: Place, deployment: Deployment) -> str:
        return f"{self.numbers.of(deployment)} of {place}"

    # --- while nothing is there yet --------------------------------------------------------------------------------

    def pause(self) -> None:
        """Until the next look for a first deployment, when there is nothing else to watch."""
        now = self.api.clock()
        begun = min(one.looks_since for one in self.open() if one.looks_since is not None)
        interval = poll_interval(
            now - begun, queued=True, rich=self.waiter.budget.level() >= 5, usual_left=None
        )
        interval = max(interval * (0.9 + self.api.chance() / 5), self.api.advised_pause)
        left = [self.time_left(one) for one in self.open() if one.is_looking]
        if self.probed is not None:
            self.api.sleep(max(0.1, min([interval, *left])))
        self.probe()

    def time_left(self, one: Awaited) -> float:
        """Seconds for which a first deployment is still looked for."""
        assert one.looks_since is not None
        return self.terms.limits.queue.total_seconds() - (self.api.clock() - one.looks_since)

    def look_aside(self) -> None:
        """Once a poll while others are followed: a look for a first deployment, as the budget allows."""
        if not any(one.is_looking for one in self.open()):
            return
        if self.probed is None or self.waiter.budget.level() >= 3 or self.is_probe_due():
            self.probe()

    def is_probe_due(self) -> bool:
        return self.api.clock() - self.probed_at >= PROBE_INTERVAL

    def probe(self) -> None:
        """One request: as long as the newest deployments stay the same, nothing has appeared."""
        looking = [one.goal.place for one in self.open() if one.is_looking]
        page = self.api.get("deployments", take=PROBED, **filters_of(looking))
        seen = [item["Id"] for item in page.get("Items") or ()]
        self.probed_at = self.api.clock()
        now = utc_now(self.api)
        begins = any(one.due is not None and now >= one.due for one in self.open() if one.is_looking)
        if seen != self.probed or begins:
            self.probed, self.news = seen, True

    def find_again(self) -> None:
        """Looks for what has appeared, where nothing is followed."""
        idle = [one for one in self.open() if not one.followed and not one.is_looking]
        looking = [one for one in self.open() if one.is_looking] if self.news else []
        self.news = False
        self.find([*idle, *looking])

    # --- judging ---------------------------------------------------------------------------------------------------

    def has_news(self, watches: Sequence[Watch]) -> bool:
        return (
            self.news
            or not self.waiter.shows_details
            or not self.waiter.alive()
            or any(one.can_be_judged() or self.is_late(one) for one in self.open())
        )

    def is_late(self, one: Awaited) -> bool:
        """Whether the queue limit has come with nothing there, or both limits together, however many were followed."""
        if one.is_looking:
            return self.time_left(one) <= 0
        return one.used() >= self.terms.longest and not one.all_ended()

    def judge(self) -> None:
        for one in self.open():
            if one.goal.needs_steps and one.followed:
                self.read_last_steps(one)
            if one.is_open and one.can_be_judged():
                self.judge_followed(one)
            elif one.is_open and self.is_late(one):
                self.time_out(one)

    def read_last_steps(self, one: Awaited) -> None:
        """The steps of what has ended, as they stood at the end."""
        for followed in one.followed:
            watch = followed.watch
            unread = watch.detailed_at < watch.changed_at and not watch.is_alive
            if unread and self.waiter.shows_details:
                self.waiter.read_details(watch)
        if not self.waiter.shows_details:
            raise StepFailure(REFUSED_BY_SERVER, "the steps of the task cannot be read: that takes TaskView")

    def judge_followed(self, one: Awaited) -> None:
        goal = one.goal
        if goal.until == IDLE:
            self.drop(one)  # what has become active meanwhile is found again
            return None
        for followed in one.followed:
            if goal.needs_steps and followed.has_met(goal):
                status, state = followed.step_status, followed.deployment.task.state
                words = f"{followed.watch}: {followed.step} is {status}"
                return self.meet(one, followed.deployment, state, words, status)
            if goal.until == STARTED and followed.has_begun:
                words = f"{followed.watch}: {followed.watch.state_in_words()}"
                return self.meet(one, followed.deployment, followed.deployment.task.state, words)
        newest = one.newest()
        successor = find_successor(self.api, goal.place, newest.deployment)
        if successor is not None and self.is_admitted(one, successor):
            self.log.info(f"{newest.watch} was superseded.")
            self.follow(one, [successor])
            return None
        return self.judge_end(one, newest, successor)

    def judge_end(self, one: Awaited, newest: Followed, successor: Optional[Deployment]) -> None:
        """The newest of those that were followed has ended, or can no longer bring what is awaited."""
        goal, deployment, watch, status = one.goal, newest.deployment, newest.watch, newest.step_status
        state = deployment.task.state
        if goal.until == ENDED or (goal.until == SUCCEEDED and state == "Success"):
            return self.meet(one, deployment, state, f"{watch}: {watch.state_in_words()}")
        if successor is not None:
            number = self.numbers.of(successor)
            words = f"{watch} was superseded by {number}: {successor.link or successor.id}"
            return self.lose(one, CANCELLED, words, deployment, state, status)
        kind = CANCELLED if state == "Canceled" else CHILD_FAILED
        if goal.until == SUCCEEDED:
            if watch.detailed_at < watch.changed_at and self.waiter.shows_details:
                self.waiter.read_details(watch)  # of several the steps may not have been read at the end
            cause = cause_of_failure(watch)
            words = f"{watch}: {state}" + (f": {cause}" if cause else "")
        elif goal.until == STARTED:
            words = f"{watch}: {state}, and never began"
        elif status:
            words = f"{watch}: the step {newest.step} is {status}, and the task is {state}"
        else:
            names = ", ".join(step.name for step in watch.steps) or "none"
            words = f"{watch} ended as {state} without the step {newest.step}; its steps: {names}"
        return self.lose(one, kind, words, deployment, state, status)

    def give_up(self, watch: Watch) -> None:
        """A limit has come for this one, or it can never end."""
        for one in self.open():
            for followed in [found for found in one.followed if found.watch is watch]:
                self.time_out(one, followed)

    def time_out(self, one: Awaited, followed: Optional[Followed] = None) -> None:
        goal = one.goal
        if one.is_looking:
            limit = spoken(self.terms.limits.queue)
            words = f"no deployment of {goal.place} that counts has appeared within {limit}"
            return self.settle(one, Outcome(TIMED_OUT, words, "None", None, "", True))
        late = followed or one.newest()
        watch, deployment = late.watch, late.deployment
        if watch.deadlock:
            words = f"{watch} can never come as far: {watch.deadlock}"
            return self.lose(one, DEADLOCK, words, deployment, deployment.task.state)
        state = watch.state_in_words()
        for why in (
            watch.queue_reason if watch.task and watch.task.is_waiting_in_queue else "",
            self.waiter.suspicion,
        ):
            state += f", {why}" if why else ""
        if goal.until == IDLE:
            words = f"{watch} keeps {goal.place} busy: {state}"
            return self.settle(one, Outcome(TIMED_OUT, words, "Active", deployment, "", True))
        words = f"{watch} has not come as far: {state}, but {goal} was wanted"
        return self.settle(one, Outcome(TIMED_OUT, words, deployment.task.state, deployment, "", True))

    def meet(
        self, one: Awaited, deployment: Optional[Deployment], state: str, words: str, status: str = ""
    ) -> None:
        self.log.highlight(words)
        self.settle(one, Outcome("", words, state, deployment, status, False))

    def lose(
        self,
        one: Awaited,
        kind: str,
        words: str,
        deployment: Optional[Deployment],
        state: str,
        status: str = "",
    ) -> None:
        self.settle(one, Outcome(kind, words, state, deployment, status, False))

    def settle(self, one: Awaited, outcome: Outcome) -> None:
        self.drop(one)
        one.outcome = outcome
        one.looks_since = None
        if outcome.kind and len(self.everything) > 1:
            self.log.warning(f"{outcome.kind}: {outcome.words}")


# ---- templates/steps/wait_for_deployment.py ----

def parse_projects(lines: Sequence[str]) -> tuple[Clause, ...]:
    return parse_clauses(awaited_table(), lines)


@reads(release=parse_admitted, projects=parse_projects, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    clauses = with_defaults(parameters)
    check_steps(parameters, clauses)
    limits = Limits(parameters.queue_limit, parameters.run_limit)
    api = connect(parameters, limits.queue + limits.run)
    terms = WaitTerms(limits, parameters.how_many == "any", parameters.on_timeout == "warn")
    everything = find_awaited(api, step, clauses)
    for one in everything:
        wanted = f" (release {one.goal.wanted})" if one.goal.wanted else ""
        step.log.info(f"Waiting until {one.goal.place} {one.goal}{wanted}")
    if len(everything) > 1:
        step.log.info("Any one of these will do." if terms.needs_any else "All of these are wanted.")
    vigil = Vigil(api, step.log, everything, terms, lookout=Lookout(api, step))
    try:
        vigil.keep()
    finally:
        set_outputs(step, vigil)
    conclude(step, vigil)


def with_defaults(parameters: Parameters) -> list[Clause]:
    """The form's own project, and the lines, each with everything that it leaves to the form."""
    form = {
        "environment": parameters.environment,
        "tenant": parameters.tenant or "",
        "until": parameters.until,
        "step": parameters.step_name or "",
        "if_skipped": parameters.if_skipped,
        "release": parameters.release,
        "max_age": parameters.max_age,
        "counts": parameters.counts,
        "when_none": parameters.when_none,
    }
    clauses = [Clause(0, parameters.project, form)]
    for clause in parameters.projects or ():
        said = clause.values
        if said.get("until") and said["until"] not in STEP_GOALS and "step" not in said:
            said = {**said, "step": ""}
        clauses.append(
            clause._replace(values={**form, **said, "until": said.get("until") or parameters.until})
        )
    return clauses


def check_steps(parameters: Parameters, clauses: Sequence[Clause]) -> None:
    """A wait for a step names one, and only such a wait does."""
    label, faults = parameters.label("step_name"), []
    for clause in clauses:
        where = (
            f"{parameters.label('projects')}: line {clause.number} ({clause.subject}): step"
            if clause.number
            else label
        )
        if clause.values["until"] in STEP_GOALS and not clause.values["step"]:
            faults.append(f"{where}: a value is required to wait for a step")
        if clause.values["until"] not in STEP_GOALS and clause.values["step"]:
            faults.append(f"{where}: only a wait for a step can have one")
    if faults:
        parameters.step.fail(MISCONFIGURED, "; ".join(faults))


def find_awaited(api: Api, step: Step, clauses: Sequence[Clause]) -> list[Awaited]:
    """Every place that is meant with its goal; all names that lead nowhere are told together."""
    keys = [(one.subject, one.values["environment"], one.values["tenant"]) for one in clauses]
    spots = find_spots(api, keys, step.variable("Octopus.Deployment.Tenant.Name"))
    own_number = step.variable("Octopus.Release.Number")
    cutoffs = {
        "last": None,
        "active": utc_now(api),
        "since_queued": own_queue_time(api, step)
        if any(one.values["counts"] == "since_queued" for one in clauses)
        else None,
    }
    everything = []
    for clause, key in zip(clauses, keys):
        values = clause.values
        for spot in spots[key]:
            goal = Goal(
                place=spot.place,
                until=values["until"],
                step=values["step"],
                passes_skipped=values["if_skipped"] == "pass",
                wanted=values["release"] and values["release"].resolved(own_number),
                max_age=values["max_age"],
                cutoff=cutoffs[values["counts"]],
                when_none=values["when_none"],
                impossible=spot.impossible,
            )
            everything.append(Awaited(goal))
    return everything


def set_outputs(step: Step, vigil: Vigil) -> None:
    """Of several places the values are parted by commas; `Awaited` has everything by place."""
    places = [describe_awaited(one, vigil.numbers) for one in vigil.everything]
    if not any(one.outcome for one in vigil.everything):
        return
    step.result["awaited"] = places
    for output, field in (
        ("State", "state"),
        ("Version", "version"),
        ("DeploymentId", "deployment"),
        ("TaskId", "task"),
        ("Link", "link"),
        ("StepStatus", "step_status"),
    ):
        step.output(output, ", ".join(place[field] for place in places if place[field]))
    step.output("TimedOut", str(any(place["timed_out"] for place in places)))
    step.output("Awaited", as_text(places))


def as_text(places: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(places, ensure_ascii=False)


def conclude(step: Step, vigil: Vigil) -> None:
    """The failure, if it is one: the only one as it is, several in one sentence under the kind of the first."""
    outcomes = [one.outcome for one in vigil.everything if one.outcome is not None]
    if vigil.terms.needs_any and any(not outcome.kind for outcome in outcomes):
        return
    late = [outcome for outcome in outcomes if outcome.is_late]
    if vigil.terms.goes_on_late and late:
        fatal = [] if vigil.terms.needs_any else [outcome for outcome in outcomes if vigil.is_fatal(outcome)]
        if not fatal:
            words = "; ".join(outcome.words for outcome in late)
            step.log.warning(f"Timed out, and going on as told: {words}")
            return
    failed = [outcome for outcome in outcomes if outcome.kind]
    if not failed:
        return
    words = "; ".join(outcome.words for outcome in failed)
    if len(vigil.everything) > 1:
        others = [str(one.goal.place) for one in vigil.open()]
        words += f"; no longer waited for: {', '.join(others)}" if others else ""
        if vigil.terms.needs_any:
            words = f"none of {len(vigil.everything)} has come as far: {words}"
    kinds = [outcome.kind for outcome in failed]
    step.fail(next((kind for kind in kinds if kind != TIMED_OUT), TIMED_OUT), words)


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Wait For Deployment", "spec": "step_templates/wait-for-deployment.yaml", "id": "c7f9d6f3-524a-4b5e-9a6d-1fc23dca74cf", "revision": 2}
PARAMETERS = (
    {"key": "project", "variable": "WaitForDeployment.Project", "label": "Project", "type": "text", "required": True, "choices": None},
    {"key": "environment", "variable": "WaitForDeployment.Environment", "label": "Environment", "type": "text", "required": True, "choices": None},
    {"key": "tenant", "variable": "WaitForDeployment.Tenant", "label": "Tenant", "type": "text", "required": False, "choices": None},
    {"key": "until", "variable": "WaitForDeployment.Until", "label": "Until", "type": "choice", "required": True, "choices": {"ended": "It has ended, however", "succeeded": "It has succeeded", "started": "It has begun", "reached_step": "It has reached a step", "passed_step": "It has passed a step", "idle": "Nothing is being deployed there"}},
    {"key": "step_name", "variable": "WaitForDeployment.StepName", "label": "Step", "type": "text", "required": False, "choices": None},
    {"key": "if_skipped", "variable": "WaitForDeployment.IfSkipped", "label": "If that step is skipped", "type": "choice", "required": True, "choices": {"fail": "Fail", "pass": "Go on as if it had succeeded"}},
    {"key": "release", "variable": "WaitForDeployment.Release", "label": "Release", "type": "text", "required": False, "choices": None},
    {"key": "counts", "variable": "WaitForDeployment.Counts", "label": "Which deployments count", "type": "choice", "required": True, "choices": {"last": "Those that are active, else the last one that has ended", "since_queued": "Those that were active at some time since this deployment was queued", "active": "Only those that are active, now or later"}},
    {"key": "max_age", "variable": "WaitForDeployment.MaxAge", "label": "Ignore those that ended longer ago than", "type": "duration", "required": False, "choices": None},
    {"key": "when_none", "variable": "WaitForDeployment.WhenNone", "label": "When there is no deployment that counts", "type": "choice", "required": True, "choices": {"wait": "Wait for one to appear, up to the queue limit", "pass": "Go on", "fail": "Fail"}},
    {"key": "projects", "variable": "WaitForDeployment.Projects", "label": "More projects", "type": "lines", "required": False, "choices": None},
    {"key": "how_many", "variable": "WaitForDeployment.HowMany", "label": "How many of them", "type": "choice", "required": True, "choices": {"all": "All of them", "any": "Any one of them"}},
    {"key": "queue_limit", "variable": "WaitForDeployment.QueueLimit", "label": "Queue limit", "type": "duration", "required": True, "choices": None},
    {"key": "run_limit", "variable": "WaitForDeployment.RunLimit", "label": "Run limit", "type": "duration", "required": True, "choices": None},
    {"key": "on_timeout", "variable": "WaitForDeployment.OnTimeout", "label": "On timeout", "type": "choice", "required": True, "choices": {"fail": "Fail this step", "warn": "Warn and go on"}},
    {"key": "server", "variable": "WaitForDeployment.Server", "label": "Server", "type": "text", "required": True, "choices": None},
    {"key": "api_key", "variable": "WaitForDeployment.ApiKey", "label": "API key or access token", "type": "secret", "required": True, "choices": None},
    {"key": "ca_file", "variable": "WaitForDeployment.CaFile", "label": "CA file", "type": "text", "required": False, "choices": None},
    {"key": "space", "variable": "WaitForDeployment.Space", "label": "Space", "type": "text", "required": True, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
