# Octopus - Deploy Release
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/deploy-release.yaml or templates/steps/deploy_release.py, then run: octosteps build
#
# spec: step_templates/deploy-release.yaml
# id: c352a529-5018-44c5-9819-6a276f59a1a2
# revision: 3
# digest: sha256:46c08db13db0ba59995b8f350c034f4af4b743114093b647d1ad068aeddfb3ff

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from types import TracebackType
from typing import (
    Any,
    Callable,
    Container,
    IO,
    Iterable,
    Iterator,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
    Union,
)

# ---- generator/runtime/moments.py ----

UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION_PATTERN = r"(?i)(?:[0-9]+[dhms]\s*)+"
MOMENT_PATTERN = (
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.(?P<fraction>[0-9]+))?"
    r"\s*(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2}|[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)+|UTC)?"
)

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKLY_PATTERN = (
    r"(?i)(?:(?P<day>mon|tue|wed|thu|fri|sat|sun)[a-z]*\s+)?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})\s+"
    r"(?P<zone>Z|UTC|[+-][0-9]{2}:?[0-9]{2}|[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)+)"
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


def parse_start(text: str, now: Optional[datetime] = None) -> datetime:
    """A moment or delay as `parse_moment` reads it, or the next `22:00 +02:00`, `Mon 22:00 Europe/Berlin`. Never in the past.

    Where a clock change skips such a time of day, it is as much later as the clock was set forward; where it repeats it, the
    first one counts. A date written out in full must be unambiguous.
    """
    moment = now or datetime.now(timezone.utc)
    match = re.fullmatch(WEEKLY_PATTERN, text.strip())
    if match is None:
        start = parse_moment(text, moment)
        if start < moment:
            raise ValueError(f"{text!r} lies in the past")
        return start
    day = (match.group("day") or "").lower()[:3]
    zone = find_zone(match.group("zone"))
    try:
        hour, minute = int(match.group("hour")), int(match.group("minute"))
        local = moment.astimezone(zone).replace(tzinfo=None)
        local = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time of day: {error}") from None
    for days in range(9):
        candidate = local + timedelta(days=days)
        start = candidate.replace(tzinfo=zone).astimezone(timezone.utc)
        if start > moment and day in ("", WEEKDAYS[candidate.weekday()]):
            return start
    raise ValueError(f"{text!r} never comes")  # not reached: every weekday comes within eight days


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


def find_channel(api: Api, project: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    channels = "projects/{}/channels".format(project["Id"])
    return find_named(api, channels, "channel of {}".format(project["Name"]), name)


def find_default_channel(api: Api, project: Mapping[str, Any]) -> Mapping[str, Any]:
    channels = list(api.pages("projects/{}/channels".format(project["Id"])))
    for channel in channels:
        if channel.get("IsDefault"):
            return channel
    raise NotFound("{} has no default channel that this account can see: name one".format(project["Name"]))


def read_release(api: Api, project: Mapping[str, Any], number: str) -> Mapping[str, Any]:
    """The release of `project` with exactly that number; NotFound when there is none."""
    try:
        path = "projects/{}/releases/{}".format(project["Id"], urllib.parse.quote(number, safe=""))
        found: Mapping[str, Any] = api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        raise NotFound(
            "{} has no release {} that this account can see (that takes ReleaseView)".format(
                project["Name"], number
            )
        ) from None
    return found


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


def ask_to_cancel(api: Api, task_id: str) -> Task:
    """Asks the server to cancel, and leaves the waiting to others; the task as last read. Raises ApiError when it is refused.

    A lost answer or a refusal is decided by looking: a task that has ended needs no cancelling.
    """
    deadline = api.clock() + LONGEST_CANCEL
    while True:
        task = Task(api.get(f"tasks/{task_id}"))
        if not task.is_alive or task.state == "Cancelling" or api.clock() >= deadline:
            return task
        # A second cancel of a task in Cancelling used to mark it failed (source: docs, Manually fail a task).
        try:
            api.post(f"tasks/{task_id}/cancel", {})
            return Task(api.get(f"tasks/{task_id}"))
        except LostAnswer as error:
            api.tell(f"{error}. Looking whether the task was cancelled.")
        except ApiError as error:
            if error.status != 429 and Task(api.get(f"tasks/{task_id}")).is_alive:
                raise
        api.sleep(CANCEL_INTERVAL)


def cancel_task(api: Api, task_id: str, *, longest: float = LONGEST_CANCEL) -> Task:
    """The same, and waits until the task has ended or `longest` seconds have gone."""
    deadline = api.clock() + longest
    task = ask_to_cancel(api, task_id)
    while task.is_alive and api.clock() < deadline:
        api.sleep(min(CANCEL_INTERVAL, deadline - api.clock()))
        task = Task(api.get(f"tasks/{task_id}"))
    return task


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


def living_deployments(api: Api, place: Place) -> list[Deployment]:
    """Those that have not ended, scheduled ones included, oldest first."""
    items = api.pages("tasks", active="true", **place.task_query())
    tasks = {task.deployment_id: task for task in map(Task, items) if task.deployment_id and task.is_alive}
    if not tasks:
        return []
    found = [
        Deployment(document, tasks[document["Id"]], api.web_link(document))
        for document in api.by_ids("deployments", list(tasks))
        if place.holds(document)
    ]
    return sorted(found, key=lambda deployment: deployment.number)


def succeeded_deployments(api: Api, place: Place, channel_id: Optional[str]) -> Iterator[Deployment]:
    """Every deployment there that succeeded, of that channel if one is given, newest first."""
    query = {**place.query(), "channels": channel_id, "taskState": "Success"}
    for document in api.pages("deployments", take=HISTORY_PAGE, **query):
        if place.holds(document):
            yield from (one for one in join_tasks(api, [document]) if one.task.state == "Success")


def find_current(api: Api, place: Place, channel_id: Optional[str] = None) -> Optional[Deployment]:
    """The newest that succeeded: what runs there now, as far as the server knows."""
    return next(succeeded_deployments(api, place, channel_id), None)


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


def read_release_of(api: Api, deployment: Deployment) -> Mapping[str, Any]:
    """The release; of a runbook run its snapshot, with the name as `Version`."""
    if "RunbookSnapshotId" in deployment.document:
        return numbered(api.get(f"runbookSnapshots/{deployment.release_id}"))
    document: Mapping[str, Any] = api.get(f"releases/{deployment.release_id}")
    return document


def numbered(snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
    """A runbook's snapshot as what a release is elsewhere."""
    return {**snapshot, "Version": snapshot["Name"]}


# ---- generator/runtime/destinations.py ----

PHASE = "phase:"
ARROW = "->"
EVERY = "*"


class EnvironmentRule(Record):
    """One line: `target` is an environment, or with `is_phase` a phase; `source` restricts it to one environment of our own."""

    target: str
    is_phase: bool
    source: str = ""


def parse_environments(lines: Sequence[str]) -> tuple[EnvironmentRule, ...]:
    """`Name`, `phase: Name`, or as a map from the own environment `UAT -> Staging`. ValueError for a broken or mixed form."""
    rules = []
    for line in lines:
        source, arrow, target = line.rpartition(ARROW)
        source, target = source.strip(), target.strip()
        is_phase = target.lower().startswith(PHASE)
        name = target[len(PHASE) :].strip() if is_phase else target
        if not name or (arrow and not source):
            raise ValueError(f"the line {line!r} is none of: Name, phase: Name, Own environment -> Name")
        rules.append(EnvironmentRule(name, is_phase, source))
    if len({bool(rule.source) for rule in rules}) > 1:
        raise ValueError("either all lines are a map with ->, or none is")
    return tuple(rules)


class LeftOut(Record):
    """A place to which nothing can be deployed, and why."""

    place: Place
    reason: str


class Destinations(Record):
    places: Sequence[Place]
    left_out: Sequence[LeftOut]


def find_environments(
    api: Api,
    rules: Sequence[EnvironmentRule],
    own_environment: str,
    lifecycle_id: str,
) -> list[Mapping[str, Any]]:
    """The environments that `rules` mean, each once, in their order. Raises NotFound; a selection is never empty."""
    if rules[0].source:
        wanted = [rule for rule in rules if rule.source.lower() == own_environment.lower()]
        if not wanted:
            sources = ", ".join(dict.fromkeys(rule.source for rule in rules))
            own = own_environment or "none, for this is not a deployment"
            raise NotFound(f"the own environment ({own}) is on the left of no line: {sources}")
        rules = wanted
    found: dict[str, Mapping[str, Any]] = {}
    for rule in rules:
        if rule.is_phase:
            for environment in environments_of_phase(api, lifecycle_id, rule.target):
                found.setdefault(environment["Id"], environment)
        else:
            environment = find_named(api, "environments", "environment", rule.target)
            found.setdefault(environment["Id"], environment)
    return list(found.values())


class Phase(Record):
    name: str
    environments: Sequence[str]
    is_optional: bool


def phases_of(api: Api, lifecycle_id: str) -> list[Phase]:
    """The phases of a lifecycle with the ids of their environments.

    Without phases each environment is one, in its order; a phase without environments has all that no earlier one names
    (source: docs, Lifecycles).
    """
    lifecycle = api.get(f"lifecycles/{lifecycle_id}")
    documents = lifecycle.get("Phases") or []
    named: set[str] = set()
    phases = []
    everything: Optional[list[Mapping[str, Any]]] = None
    if not documents:
        everything = in_order(api)
        return [Phase(one["Name"], [one["Id"]], False) for one in everything]
    for document in documents:
        ids = [
            *(document.get("AutomaticDeploymentTargets") or ()),
            *(document.get("OptionalDeploymentTargets") or ()),
        ]
        if not ids:
            everything = in_order(api) if everything is None else everything
            ids = [one["Id"] for one in everything if one["Id"] not in named]
        named.update(ids)
        phases.append(
            Phase(document["Name"], list(dict.fromkeys(ids)), bool(document.get("IsOptionalPhase")))
        )
    return phases


def in_order(api: Api) -> list[Mapping[str, Any]]:
    return sorted(api.pages("environments"), key=lambda one: one.get("SortOrder") or 0)


def environments_of_phase(api: Api, lifecycle_id: str, name: str) -> list[Mapping[str, Any]]:
    phases = phases_of(api, lifecycle_id)
    for phase in phases:
        if phase.name.lower() == name.lower():
            found = {one["Id"]: one for one in api.by_ids("environments", phase.environments)}
            if not found:
                raise NotFound(f"the phase {phase.name} has no environment that this account can see")
            return [found[identifier] for identifier in phase.environments if identifier in found]
    raise NotFound(absence("phase of the lifecycle", name, [phase.name for phase in phases]))


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


def lifecycle_of(project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> str:
    """The channel's own lifecycle, else the project's."""
    return str((channel or {}).get("LifecycleId") or project["LifecycleId"])


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


def choose_release(
    api: Api,
    project: Mapping[str, Any],
    choice: ReleaseChoice,
    channel: Optional[Mapping[str, Any]],
    own_number: str,
    *,
    admits: Optional[Callable[[str], bool]] = None,
) -> Mapping[str, Any]:
    """The one release that `choice` means. `own_number` is the release that the running deployment itself deploys.

    `admits` says which numbers may be chosen; one that is named exactly is not asked. `latest` is the newest by creation,
    `highest` and ranges go by SemVer precedence over all releases. Raises NotFound.
    """
    if choice.rule in ("exact", "same"):
        number = choice.resolved(own_number).number
        release = read_release(api, project, number)
        if channel is not None and release["ChannelId"] != channel["Id"]:
            raise NotFound(
                "release {} of {} is not in the channel {}".format(number, project["Name"], channel["Name"])
            )
        return release
    # A channel's own list of releases has moved between server versions; the project's list has not.
    path = "projects/{}/releases".format(project["Id"])
    if choice.rule == "latest":
        for release in api.pages(path, take=1 if channel is None and admits is None else PAGE_SIZE):
            if (channel is None or release.get("ChannelId") == channel["Id"]) and (
                admits is None or admits(release["Version"])
            ):
                return release
        kind = " that the pre-release filter admits" if admits is not None else ""
        raise NotFound("{} has no release{}{}".format(project["Name"], kind, within(channel)))
    releases = [
        release for release in api.pages(path) if channel is None or release.get("ChannelId") == channel["Id"]
    ]
    if admits is not None:
        releases = [release for release in releases if admits(release["Version"])]
    return highest_release(releases, choice, project, channel)


def highest_release(
    releases: list[Mapping[str, Any]],
    choice: ReleaseChoice,
    project: Mapping[str, Any],
    channel: Optional[Mapping[str, Any]],
) -> Mapping[str, Any]:
    """The greatest admitted number; of equal ones the first. Numbers that are no versions cannot be compared and never win."""
    ranked = []
    for release in releases:
        version = version_or_none(release["Version"])
        if version is not None and (choice.admitted is None or choice.admitted.admits(version)):
            ranked.append((version.rank(), release))
    if not ranked:
        raise NotFound(
            "{} has no release that is {}{}: looked at {} releases".format(
                project["Name"], choice, within(channel), len(releases)
            )
        )
    best = ranked[0]
    for candidate in ranked[1:]:
        if candidate[0] > best[0]:
            best = candidate
    return best[1]


def within(channel: Optional[Mapping[str, Any]]) -> str:
    return " in the channel {}".format(channel["Name"]) if channel is not None else ""


def is_newer(number: str, other: str) -> Any:
    """Whether release `number` comes after `other`; None when one of the two is no version."""
    ours, theirs = version_or_none(number), version_or_none(other)
    if ours is None or theirs is None:
        return None
    return ours.rank() > theirs.rank()


# ---- generator/runtime/choosing.py ----

IN = r"(?i)in\s+(?P<name>\S.*)"
CREATE = r"(?i)create(?:\s+(?P<number>\S+))?"
PREVIOUS_PHASE = "previous phase"
ORDER_IN_WORDS = {
    "latest": "by creation, the newest first",
    "highest": "by semantic versioning, the greatest first",
    "range": "by semantic versioning, the greatest of that range first",
    "exact": "exactly this number",
    "same": "exactly this number",
}


def parse_deploy_choice(text: str) -> ReleaseChoice:
    """Like `parse_release_choice`, and `in Test`, `in previous phase`, `create`, `create 1.2.3`, `create same`."""
    word = " ".join(text.split())
    if match := re.fullmatch(CREATE, word):
        return ReleaseChoice("create", word, number=match.group("number") or "")
    if match := re.fullmatch(IN, word):
        name = match.group("name")
        return ReleaseChoice("in", word, number=PREVIOUS_PHASE if name.lower() == PREVIOUS_PHASE else name)
    return parse_release_choice(text)


def parse_prerelease_filter(text: str) -> Callable[[str], bool]:
    """`none`, `only`, or a pattern for the pre-release such as `rc*`: whether a release of that number may be chosen."""
    import fnmatch

    word = text.lower()

    def admits(number: str) -> bool:
        version = version_or_none(number)
        if version is None:
            return False
        if word in ("none", "only"):
            return bool(version.prerelease) is (word == "only")
        return bool(version.prerelease) and fnmatch.fnmatchcase(".".join(version.prerelease).lower(), word)

    return admits


class Chosen(Record):
    """The release for one place, and how it was found."""

    release: Mapping[str, Any]
    how: str


class Chooser:
    """Chooses the release for one place after the other; what does not depend on the place is looked up once."""

    def __init__(
        self,
        api: Api,
        project: Mapping[str, Any],
        choice: ReleaseChoice,
        channel: Optional[Mapping[str, Any]],
        own_number: str,
        admits: Optional[Callable[[str], bool]] = None,
        create: Callable[[], Chosen] = lambda: Chosen({}, ""),
    ) -> None:
        self.api = api
        self.project = project
        self.choice = choice
        self.channel = channel
        self.own_number = own_number
        self.admits = admits
        self.create = create
        self._everywhere: Optional[Chosen] = None
        self._phases: Optional[list[Phase]] = None
        self._names: dict[str, str] = {}

    def choose(self, place: Place) -> Chosen:
        """Raises NotFound when there is none."""
        if self.choice.rule == "in":
            return self.choose_proven(place)
        if self._everywhere is None:
            self._everywhere = self.create() if self.choice.rule == "create" else self.choose_once()
        return self._everywhere

    def choose_once(self) -> Chosen:
        order = ORDER_IN_WORDS[self.choice.rule]
        release = choose_release(
            self.api, self.project, self.choice, self.channel, self.own_number, admits=self.admits
        )
        return Chosen(release, f"{self.choice}: {order}{within(self.channel)}")

    # --- what has succeeded somewhere ------------------------------------------------------------------------------

    def choose_proven(self, place: Place) -> Chosen:
        """The release of the newest deployment that succeeded there, for the same tenant; back over optional phases."""
        looked: list[str] = []
        for environments in self.stages(place):
            names = [self.name_of(identifier) for identifier in environments]
            looked.append(" and ".join(names))
            found = self.newest_success(place, environments)
            if found is not None:
                back = f", for nothing has in {', '.join(looked[:-1])}" if looked[:-1] else ""
                tenant = f" for {place.tenant['Name']}" if place.tenant else ""
                return Chosen(found, f"{self.choice}: what succeeded last in {looked[-1]}{tenant}{back}")
        tenant = f" for {place.tenant['Name']}" if place.tenant else ""
        raise NotFound(
            "nothing of {}{} that counts has succeeded in {}{}".format(
                self.project["Name"], within(self.channel), ", nor in ".join(looked), tenant
            )
        )

    def stages(self, place: Place) -> Iterator[Sequence[str]]:
        """Ids of the environments where to look, one stage after the other as long as the one before is optional."""
        if self._phases is None:
            self._phases = phases_of(self.api, lifecycle_of(self.project, self.channel))
        phases = self._phases
        if self.choice.number == PREVIOUS_PHASE:
            index = phase_index(phases, place.environment["Id"]) - 1
            if index < 0:
                raise NotFound(
                    f"{place.environment['Name']} is in no phase of the lifecycle that has one before it"
                )
            yield phases[index].environments
        else:
            environment = find_named(self.api, "environments", "environment", self.choice.number)
            yield [environment["Id"]]
            index = phase_index(phases, environment["Id"])
        while index > 0 and phases[index].is_optional:
            index -= 1
            yield phases[index].environments

    def newest_success(self, place: Place, environments: Sequence[str]) -> Optional[Mapping[str, Any]]:
        best = None
        for identifier in environments:
            there = Place(self.project, {"Id": identifier, "Name": self.name_of(identifier)}, place.tenant)
            channel = self.channel["Id"] if self.channel is not None else None
            for deployment in succeeded_deployments(self.api, there, channel):
                if best is not None and deployment.number < best[0]:
                    break
                release = read_release_of(self.api, deployment)
                if self.admits is None or self.admits(release["Version"]):
                    best = (deployment.number, release)
                    break
        return best[1] if best is not None else None

    def name_of(self, environment_id: str) -> str:
        if environment_id not in self._names:
            found = self.api.by_ids("environments", [environment_id])
            self._names[environment_id] = found[0]["Name"] if found else environment_id
        return self._names[environment_id]


def phase_index(phases: Sequence[Phase], environment_id: str) -> int:
    """Where in the lifecycle the environment is; -1 when nowhere."""
    for index, phase in enumerate(phases):
        if environment_id in phase.environments:
            return index
    return -1


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


# ---- generator/runtime/creation.py ----

MOST_TRIES = 5
LOOK_FOR_LOST_RELEASE = 60.0
LOOK_AGAIN = 5.0
NEWEST_VERSIONS = 50


class Recipe(Record):
    """What a new release is made of. `number` "" is the next one; `packages` are `Step:Version`, `Step:Reference:Version`
    or `PackageId:Version`; `key` names the intention, `since`: nothing of ours is older."""

    number: str
    packages: Sequence[str]
    package_version: str
    git_ref: str
    git_commit: str
    notes: str
    key: str
    since: Optional[datetime]

    @property
    def mark(self) -> str:
        return f"[octosteps release {self.key}]"


class PlannedRelease(Record):
    """The body of the POST, and its packages in words."""

    body: Mapping[str, Any]
    words: str


def find_made(api: Api, project: Mapping[str, Any], recipe: Recipe) -> Optional[Mapping[str, Any]]:
    """The release that an earlier try of this step made."""
    for release in api.pages("projects/{}/releases".format(project["Id"])):
        assembled = moment_or_none(release.get("Assembled"))
        if recipe.since is not None and assembled is not None and assembled < recipe.since:
            return None
        if recipe.mark in (release.get("ReleaseNotes") or ""):
            return release
    return None


def find_numbered(api: Api, project: Mapping[str, Any], number: str) -> Optional[Mapping[str, Any]]:
    try:
        return read_release(api, project, number)
    except NotFound:
        return None


def agrees(release: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Why a release of that number is not the one that is wanted; "" when it is."""
    if release["ChannelId"] != body["ChannelId"]:
        return "it is in another channel"
    wanted = {package_key(one): one["Version"] for one in body["SelectedPackages"]}
    found = {package_key(one): one["Version"] for one in release.get("SelectedPackages") or ()}
    for key, version in wanted.items():
        if found.get(key) != version:
            return f"its package of {key[0]} is {found.get(key) or 'none'}, wanted {version}"
    return ""


def package_key(package: Mapping[str, Any]) -> tuple[str, str]:
    return package.get("ActionName") or package.get("StepName") or "", package.get(
        "PackageReferenceName"
    ) or ""


def plan_release(
    api: Api, project: Mapping[str, Any], channel: Mapping[str, Any], recipe: Recipe
) -> PlannedRelease:
    """What is to be created, by reading alone."""
    path = "deploymentprocesses/{}/template".format(project.get("DeploymentProcessId"))
    reference = None
    if project.get("IsVersionControlled"):
        git_ref = recipe.git_ref or (project.get("PersistenceSettings") or {}).get("DefaultBranch") or "main"
        reference = {"GitRef": git_ref}
        if recipe.git_commit:
            reference["GitCommit"] = recipe.git_commit
        source = urllib.parse.quote(recipe.git_commit or git_ref, safe="")
        path = "projects/{}/{}/deploymentprocesses/template".format(project["Id"], source)
    elif recipe.git_ref or recipe.git_commit:
        raise StepFailure(MISCONFIGURED, f"{project['Name']} is not version-controlled: it has no git_ref")
    template = api.get(path, channel=channel["Id"])
    packages = select_packages(api, channel, template.get("Packages") or [], recipe)
    number = recipe.number or next_number(template, packages)
    body = {
        "SpaceId": api.space,
        "ProjectId": project["Id"],
        "ChannelId": channel["Id"],
        "Version": number,
        "SelectedPackages": packages,
        "ReleaseNotes": "\n\n".join(part for part in (recipe.notes, recipe.mark) if part),
    }
    if reference is not None:
        body["VersionControlReference"] = reference
    words = ", ".join(f"{one['ActionName']} {one['Version']}" for one in packages)
    source_words = f" from {recipe.git_commit or reference['GitRef']}" if reference is not None else ""
    return PlannedRelease(
        body, f"{number} in the channel {channel['Name']}{source_words}" + (f" with {words}" if words else "")
    )


def next_number(template: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]) -> str:
    """The next by the project's own rule: an increment, or the version of one of its packages."""
    if template.get("NextVersionIncrement"):
        return str(template["NextVersionIncrement"])
    donor = (
        template.get("VersioningPackageStepName") or "",
        template.get("VersioningPackageReferenceName") or "",
    )
    for package in packages:
        if package_key(package) == donor:
            return str(package["Version"])
    raise NotFound("the project does not say which number comes next: write create NUMBER")


def select_packages(
    api: Api, channel: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]], recipe: Recipe
) -> list[Mapping[str, Any]]:
    """A version for every package of the process: as named, else the newest that the channel's rule allows."""
    unused = set(recipe.packages)
    selected: list[Mapping[str, Any]] = []
    for package in wanted:
        action, reference = (
            package.get("ActionName") or package.get("StepName") or "",
            package.get("PackageReferenceName") or "",
        )
        version = recipe.package_version or package.get("FixedVersion") or ""
        for text in recipe.packages:
            name, _, number = text.rpartition(":")
            names = {action, f"{action}:{reference}", package.get("PackageId") or ""}
            if name.lower() in {one.lower() for one in names if one}:
                version = number
                unused.discard(text)
        selected.append(
            {
                "ActionName": action,
                "PackageReferenceName": reference,
                "Version": version or newest_version(api, channel, package, action, reference),
            }
        )
    if unused:
        known = ", ".join(dict.fromkeys(one.get("ActionName") or "" for one in wanted)) or "none"
        raise NotFound(
            f"the process has no package for {', '.join(sorted(unused))} (steps with packages: {known})"
        )
    return selected


def newest_version(
    api: Api, channel: Mapping[str, Any], package: Mapping[str, Any], action: str, reference: str
) -> str:
    """The newest that the channel's rule for this package allows, or of all when it has none. Raises NotFound."""
    versions, tag = "", ""
    for rule in channel.get("Rules") or ():
        for one in rule.get("ActionPackages") or ():
            if (one.get("DeploymentAction"), one.get("PackageReference") or "") == (action, reference):
                versions, tag = rule.get("VersionRange") or "", rule.get("Tag") or ""
    feed, name = package["FeedId"], package["PackageId"]
    page = api.get(
        f"feeds/{feed}/packages/versions",
        packageId=name,
        take=NEWEST_VERSIONS,
        versionRange=versions or None,
        preReleaseTag=tag or None,
        includePreRelease="true",
    )
    for item in page.get("Items") or ():
        if rule_admits(item["Version"], versions, tag):
            return str(item["Version"])
    rule_words = (
        f" that the channel {channel['Name']} allows ({' '.join(part for part in (versions, tag) if part)})"
    )
    raise NotFound(
        f"the feed has no version of {name}"
        + (rule_words if versions or tag else "")
        + f", for the step {action}"
    )


def rule_admits(number: str, versions: str, tag: str) -> bool:
    """Whether a channel's rule admits the version: a NuGet range, where a lone version means that or newer, and a regular
    expression for the pre-release (source: docs, Channels). What cannot be read here, the server's own filter has judged."""
    version = version_or_none(number)
    if version is None:
        return True
    if versions:
        lone = version_or_none(versions)
        try:
            admitted = (
                version.rank() >= lone.rank() if lone else parse_version_range(versions).admits(version)
            )
        except ValueError:
            admitted = True
        if not admitted:
            return False
    try:
        return not tag or re.search(tag, ".".join(version.prerelease)) is not None
    except re.error:
        return True


def create_release(
    api: Api, project: Mapping[str, Any], channel: Mapping[str, Any], recipe: Recipe
) -> tuple[Mapping[str, Any], str]:
    """The release, and how it came about. Raises StepFailure when the number is taken by a release that is another one."""
    made = find_made(api, project, recipe)
    if made is not None:
        return made, "an earlier run of this step created it"
    for _ in range(MOST_TRIES):
        planned = plan_release(api, project, channel, recipe)
        number = planned.body["Version"]
        # Looked for again once the number is known: a copy of this step that has created its release before has moved the next
        # number on, and one that does so after this takes the very number, so that the server refuses ours.
        found = find_numbered(api, project, number) if recipe.number else find_made(api, project, recipe)
        if found is None:
            found = post_release(api, project, planned.body)
            if found is not None and recipe.mark in (found.get("ReleaseNotes") or ""):
                return found, f"created: {planned.words}"
        if found is not None and recipe.mark in (found.get("ReleaseNotes") or ""):
            return found, "another run of this step created it"
        if found is not None and recipe.number:
            why = agrees(found, planned.body)
            if why:
                raise StepFailure(
                    MISCONFIGURED, f"{project['Name']} has a release {number} already, and {why}"
                )
            return found, "it exists already"
        api.tell(f"The number {number} has just been taken by somebody else.")
    raise StepFailure(
        GAVE_UP,
        f"every next number of {project['Name']} was taken {MOST_TRIES} times before it could be created",
    )


def post_release(
    api: Api, project: Mapping[str, Any], body: Mapping[str, Any]
) -> Optional[Mapping[str, Any]]:
    """The release of that number after one POST, whoever made it; None when it is to be tried again."""
    number = body["Version"]
    try:
        made: Mapping[str, Any] = api.post("releases", body)
        return made
    except LostAnswer as error:
        api.tell(
            f"{error.sentence}. Looking for {LOOK_FOR_LOST_RELEASE:.0f} s whether it was created all the same."
        )
        deadline = api.clock() + LOOK_FOR_LOST_RELEASE
        while api.clock() < deadline:
            found = find_numbered(api, project, number)
            if found is not None:
                return found
            api.sleep(LOOK_AGAIN)
        return None
    except ApiError as error:
        if error.status == 429:
            api.sleep(max(LOOK_AGAIN, min(error.retry_after, LOOK_FOR_LOST_RELEASE)))
            return None
        found = find_numbered(api, project, number)
        if found is None:
            raise
        return found


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


def parse_switch(text: str) -> bool:
    """on or off; yes, no, true and false are understood too."""
    words = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither on nor off")
    return words[text.lower()]


def parse_count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number from 1")
    return int(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Names parted by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


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

AWAITED, LEFT = "awaited", "left"
NOBODY = "nobody"
MARKER = r"\[octosteps (?P<key>[0-9a-f]{24}) (?P<attempt>[0-9]+) (?P<stance>awaited|left) by (?P<parent>[^\]\s]*)\]"


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


class Marker(Record):
    """`key` names the intention, `attempt` counts from 1, `stance` is awaited or left."""

    key: str
    attempt: int
    stance: str
    parent: ParentTask

    def __str__(self) -> str:
        return f"[octosteps {self.key} {self.attempt} {self.stance} by {self.parent}]"


def parse_parent(text: str) -> ParentTask:
    """The reverse of `str(parent)`; parts that the text does not hold are ""."""
    if text == NOBODY:
        return ParentTask("", "", "")
    server, _, rest = text.rpartition("/")
    server, _, space = server.rpartition("/")
    return ParentTask(server, space, rest)


def read_marker(document: Mapping[str, Any]) -> Optional[Marker]:
    """The marker of a deployment or runbook run; None for those that we did not make."""
    match = re.search(MARKER, document.get("Comments") or "")
    if match is None:
        return None
    parent = parse_parent(match.group("parent"))
    return Marker(match.group("key"), int(match.group("attempt")), match.group("stance"), parent)


def own_task(step: Any) -> ParentTask:
    """The task that runs this step; empty outside Octopus."""
    task = step.variable("Octopus.Task.Id")
    if not task:
        return ParentTask("", "", "")
    server = step.variable("Octopus.Web.ServerUri").rstrip("/").lower()
    return ParentTask(server, step.variable("Octopus.Space.Id"), task)


def sentence_for_people(step: Any) -> str:
    """Who asked for the deployment, for those who look at the child."""
    project = step.variable("Octopus.Project.Name") or "a script outside Octopus"
    what = step.variable("Octopus.Release.Number") or step.variable("Octopus.Runbook.Name")
    name = step.variable("Octopus.Action.Name")
    link = step.variable("Octopus.Web.DeploymentLink") or step.variable("Octopus.Web.RunbookRunLink")
    if link.startswith("/"):
        link = step.variable("Octopus.Web.ServerUri").rstrip("/") + link
    asker = " ".join(part for part in (project, what) if part)
    return " ".join(part for part in ("Triggered by", asker, f"(step {name})" if name else "", link) if part)


# ---- generator/runtime/orphans.py ----

# A task's name, its argument that names what it carries out, and the collection of those documents.
CARRIERS: Sequence[tuple[str, str, str]] = (
    ("Deploy", "DeploymentId", "deployments"),
    ("RunbookRun", "RunbookRunId", "runbookRuns"),
)

SAME_MOMENT = 1.0  # seconds between two writings of one queue time


class MarkedChild(Record):
    """A deployment or runbook run on its way, with the marker that one of our steps gave it."""

    marker: Marker
    task: Task
    link: str

    @property
    def is_awaited(self) -> bool:
        return self.marker.stance == AWAITED

    def __str__(self) -> str:
        return self.task.description + (f" ({self.link})" if self.link else "")


def marked_children(api: Api, **query: Any) -> list[MarkedChild]:
    """What is on its way in the space and carries our marker, newest first; `query` narrows the list of tasks."""
    items = list(api.pages("tasks", active="true", **query))
    documents: dict[str, Mapping[str, Any]] = {}
    for name, argument, collection in CARRIERS:
        ids = [(item.get("Arguments") or {}).get(argument) for item in items if item.get("Name") == name]
        for document in api.by_ids(collection, [one for one in ids if one]):
            documents[document.get("TaskId") or ""] = document
    found = []
    for task in map(Task, items):
        marker = read_marker(documents.get(task.id, {}))
        if marker is not None and task.is_alive:
            found.append(MarkedChild(marker, task, api.web_link(documents[task.id])))
    return found


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


# ---- generator/runtime/guidance.py ----

GUIDANCE = r"(?i)(?:retry\s+(?P<retries>[1-9][0-9]?)\s+then\s+)?(?P<then>abort|ignore)"


class Guidance(Record):
    """`retries` answers of Retry for each child, then `then`: abort or ignore."""

    retries: int
    then: str


def parse_guided_failure(text: str) -> Union[str, Guidance]:
    """`on`, `off`, `default`; or `abort`, `ignore`, `retry 2 then abort`, `retry 2 then ignore`."""
    match = re.fullmatch(GUIDANCE, text.strip())
    if match:
        return Guidance(int(match.group("retries") or 0), match.group("then").lower())
    try:
        return one_of("on", "off", "default")(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is none of: on, off, default, abort, ignore, retry 2 then abort, retry 2 then ignore"
        ) from None


class Responder:
    """Gives the answers for one step; how often it has had each child retried dies with it."""

    def __init__(self, api: Api, log: Log, guidance: Guidance) -> None:
        self.api = api
        self.log = log
        self.guidance = guidance
        self.retries: dict[str, int] = {}

    def answer(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """Answers `item` if it is a guided failure that nobody has taken. What the server refuses is left to people."""
        is_taken = item.get("ResponsibleUserId") and not item.get("HasResponsibility")
        if item.get("Type") != "GuidedFailure" or is_taken:
            return
        given = self.retries.get(watch.task_id, 0)
        wanted = "retry" if given < self.guidance.retries else self.guidance.then
        value = choose_button(item, wanted)
        left = f", retry {given + 1} of {self.guidance.retries}" if wanted == "retry" else ""
        path = f"interruptions/{item['Id']}"
        try:
            self.api.put(f"{path}/responsible", {})
            self.api.post(
                f"{path}/submit", {"Guidance": value, "Notes": f"Answered by an octosteps step{left}."}
            )
        except LostAnswer as error:  # if it is pending still, it is answered when it is seen again
            self.log.info(f"{error.sentence}.")
        except ApiError as error:
            if error.status == 401:
                raise
            self.log.warning(f"{watch.label}: {item.get('Title')} is left to people: {error.sentence}")
            return
        self.retries[watch.task_id] = given + (wanted == "retry")
        self.log.warning(f"{watch.label}: {item.get('Title')}: answered with {value}{left}.")


def choose_button(item: Mapping[str, Any], wanted: str) -> str:
    """The value of the form's button for retry, ignore or abort; a required step offers no ignore, and is aborted.

    Servers call it Fail (source: API reference, interruptions), the community's Chain Deployment sends Abort.
    """
    names = {"retry": ("Retry",), "ignore": ("Ignore", "Fail", "Abort"), "abort": ("Fail", "Abort")}[wanted]
    elements = (item.get("Form") or {}).get("Elements") or ()
    controls = [one.get("Control") or {} for one in elements if one.get("Name") == "Guidance"]
    offered = [button.get("Value") for control in controls for button in control.get("Buttons") or ()]
    return next((name for name in names if name in offered), names[0])


# ---- generator/runtime/once.py ----

CLOCK_MARGIN = timedelta(minutes=10)  # own server and the children's may be two servers
LOOK_FOR_LOST = 60.0
LOOK_INTERVAL = 5.0
LATE_WRITE = 600.0  # a write whose answer was lost may be carried out later than it was repeated
LATE_WRITE_INTERVAL = 20.0
MOST_POSTS = 5
MOST_ROUNDS = 4

ALWAYS, IF_NOT_CURRENT, IF_NEWER = "always", "if_not_current", "if_newer"


class Intention(Record):
    """What a step wants carried out once. `since`: nothing of ours can be older. `sentence`: the comment for people."""

    place: Place
    release: Mapping[str, Any]
    condition: str
    deploys_again: bool  # on a step retry, when the earlier child ended without success
    key: str
    since: Optional[datetime]
    sentence: str
    own_task: ParentTask
    is_awaited: bool
    settings: Mapping[str, Any] = {}  # further fields of the deployment, as the API names them
    channel_id: Optional[str] = None  # within which the condition compares; None: whatever the channel
    freezes: Sequence[str] = ()  # ids of deployment freezes that are overridden, for `freeze_reason`
    freeze_reason: str = ""

    def comments(self, attempt: int) -> str:
        stance = AWAITED if self.is_awaited else LEFT
        return f"{self.sentence} {Marker(self.key, attempt, stance, self.own_task)}"


class Decision(Record):
    """What is to be done: create, adopt, join or skip; why, in words; and `horizon`, the newest deployment number seen."""

    action: str
    reason: str
    deployment: Optional[Deployment] = None
    attempt: int = 1
    horizon: int = 0


class Child(Record):
    """The deployment that counts as this step's. `is_ours`: made under the own key, so that it may be cancelled."""

    deployment: Deployment
    is_ours: bool


def intention_key(parts: Sequence[str]) -> str:
    """The same text for the same parts, and for nothing else."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:24]


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


def own_queue_time(api: Api, step: Any) -> Optional[datetime]:
    """When the running task was queued: by its variable, else by the server; None when neither tells."""
    told = moment_or_none(step.variable("Octopus.Task.QueueTime"))
    task = step.variable("Octopus.Task.Id")
    if told is not None or not task or step.variable("Octopus.Web.ServerUri").rstrip("/") != api.url:
        return told
    found = api.by_ids("tasks", [task])
    return Task(found[0]).queued if found else None


def marked_attempt(deployment: Deployment, key: str) -> int:
    """The attempt that the deployment's marker names under `key`, 0 for every other deployment."""
    marker = read_marker(deployment.document)
    return marker.attempt if marker is not None and marker.key == key else 0


def standing(group: Sequence[Deployment]) -> Optional[Deployment]:
    """Of deployments with one key and attempt the one that counts: a success, else the lowest id alive."""
    ordered = sorted(group, key=lambda deployment: deployment.number)
    for deployment in ordered:
        if deployment.task.state == "Success":
            return deployment
    for deployment in ordered:
        if deployment.task.is_alive:
            return deployment
    return None


def wants_guided_failure(place: Place) -> bool:
    """What the portal would preselect: the project's or runbook's default, or else the environment's."""
    mode = (place.runbook or place.project).get("DefaultGuidedFailureMode") or "EnvironmentDefault"
    return mode == "On" or (mode == "EnvironmentDefault" and bool(place.environment.get("UseGuidedFailure")))


class Errand:
    """Carries out one Intention. `withdrawn` are deployments that this process cancelled before they began."""

    def __init__(self, api: Api, log: Log, intention: Intention) -> None:
        self.api = api
        self.log = log
        self.intention = intention
        self.place = intention.place
        self.withdrawn: set[str] = set()
        self.rounds = 0
        self.lost_at: Optional[float] = None
        self.looked_for_late_at = 0.0

    def refine(self, settings: Mapping[str, Any]) -> None:
        """Adds fields of the deployment."""
        self.intention = self.intention._replace(settings={**self.intention.settings, **settings})

    def decide(self, listed: Optional[Sequence[Deployment]] = None) -> Decision:
        """What to do, by reading alone. `listed`: the recent deployments, when they were just read for several errands."""
        listed = self.recent(listed)
        horizon = max([deployment.number for deployment in listed], default=0)
        attempt, group = self.newest_attempt(listed)
        ours = standing(group)
        if ours is not None:
            done = "has succeeded already" if ours.task.state == "Success" else f"is {ours.task.state}"
            return Decision("adopt", f"an earlier run of this step made it, and it {done}", ours, attempt)
        if self.intention.condition != ALWAYS:
            decision = self.check_condition()
            if decision is not None:
                return decision
        if not group:
            return Decision("create", "", None, 1, horizon)
        last = max(group, key=lambda deployment: deployment.number)
        reason = f"the step was started again after attempt {attempt} ended as {last.task.state}"
        if not self.intention.deploys_again:
            return Decision("adopt", f"{reason}, and is not to be repeated", last, attempt)
        return Decision("create", reason, None, attempt + 1, horizon)

    def decide_again(self, failed: Child) -> Decision:
        """The attempt after one that failed while it was awaited. The start that was asked for has been."""
        settings = dict(self.intention.settings)
        for name in ("QueueTime", "QueueTimeExpiry"):
            settings.pop(name, None)
        self.intention = self.intention._replace(settings=settings)
        attempt = marked_attempt(failed.deployment, self.intention.key)
        return Decision("create", "", None, attempt + 1, failed.deployment.number)

    def recent(self, listed: Optional[Sequence[Deployment]]) -> list[Deployment]:
        """Of those `listed` for several errands the ones that concern this one; read anew when none are given."""
        if listed is None:
            return self.list_recent()
        return [one for one in listed if self.place.holds(one.document) and one.id not in self.withdrawn]

    @property
    def since(self) -> Optional[datetime]:
        """Nothing older can be ours."""
        return self.intention.since - CLOCK_MARGIN if self.intention.since else None

    def list_recent(self) -> list[Deployment]:
        listed = deployments_since(self.api, self.place, self.since)
        return [deployment for deployment in listed if deployment.id not in self.withdrawn]

    def newest_attempt(self, listed: Sequence[Deployment]) -> tuple[int, list[Deployment]]:
        """The highest attempt under the own key, 0 without any, and the deployments that carry it."""
        attempts = [(marked_attempt(deployment, self.intention.key), deployment) for deployment in listed]
        highest = max([attempt for attempt, _ in attempts], default=0)
        return highest, [deployment for attempt, deployment in attempts if highest and attempt == highest]

    def check_condition(self) -> Optional[Decision]:
        """Under `if not current` and `if newer`: join what is on its way, skip what is there; None when it is to be deployed."""
        number, now = self.intention.release["Version"], utc_now(self.api)
        channel = self.intention.channel_id
        for other in living_deployments(self.api, self.place):
            if not other.task.is_active(now) or other.id in self.withdrawn:
                continue
            if other.release_id == self.intention.release["Id"]:
                return Decision(
                    "join", f"{number} is being deployed there already ({other.task.state})", other
                )
            version = read_release_of(self.api, other)["Version"]
            counts = channel in (None, other.document.get("ChannelId"))
            if self.intention.condition == IF_NEWER and counts and is_newer(number, version) is False:
                return Decision(
                    "join", f"{version} is being deployed there, and {number} is not newer", other
                )
            self.log.warning(f"{version} is being deployed to {self.place} now: {other.link}")
        current = find_current(self.api, self.place, channel)
        if current is None:
            return None
        if current.release_id == self.intention.release["Id"]:
            return Decision("skip", f"{number} is current in {self.place}", current)
        if self.intention.condition == IF_NEWER:
            version = read_release_of(self.api, current)["Version"]
            newer = is_newer(number, version)
            if newer is None:
                raise StepFailure(
                    MISCONFIGURED, f"{number} and {version} cannot be compared: both must be versions"
                )
            if not newer:
                return Decision(
                    "skip", f"{number} is not newer than {version}, current in {self.place}", current
                )
        return None

    def carry_out(self, decision: Decision) -> Child:
        """The deployment that counts after `decision` has been put into effect; a skipped one counts as it is."""
        return self.settle(self.begin(decision), decision)

    def begin(self, decision: Decision) -> Child:
        """The first half of `carry_out`: a deployment is there. Which one counts is for `settle` to say."""
        self.rounds += 1
        if decision.deployment is not None:
            return Child(decision.deployment, decision.action == "adopt")
        return Child(self.create(decision.attempt), True)

    def settle(
        self, child: Child, decision: Decision, listed: Optional[Sequence[Deployment]] = None
    ) -> Child:
        """The second half: of several copies one stands, a rival's that came first is joined. `listed`: read after `begin`."""
        if decision.deployment is not None:
            return child
        made = child.deployment
        try:
            return self.settle_among(made, decision, self.recent(listed))
        except StepFailure as failure:
            raise StepFailure(
                failure.kind, f"{failure.sentence}; made before that: {made.link or made.id}"
            ) from failure

    def create(self, attempt: int) -> Deployment:
        """Posts until the server lists a deployment with the own key and `attempt`; a lost answer is looked for first."""
        body: dict[str, Any] = {
            self.place.frozen_field: self.intention.release["Id"],
            "EnvironmentId": self.place.environment["Id"],
            "Comments": self.intention.comments(attempt),
            "UseGuidedFailure": wants_guided_failure(self.place),
            **self.intention.settings,
        }
        if self.place.tenant_id:
            body["TenantId"] = self.place.tenant_id
        if self.place.runbook is not None:
            body["RunbookId"] = self.place.runbook["Id"]
        collection = self.place.collection
        for _ in range(MOST_POSTS):
            try:
                found = join_tasks(self.api, [self.post(collection, body)])
                if found:
                    return found[0]
                raise LostAnswer(f"POST {collection}: the answer's task is not among the server's tasks")
            except LostAnswer as error:
                self.log.warning(
                    f"{error.sentence}. Looking for {LOOK_FOR_LOST:.0f} s whether it was made all the same."
                )
                self.lost_at = self.looked_for_late_at = self.api.clock()
                lost = self.look_for_lost(attempt)
                if lost is not None:
                    self.log.info(f"It was made: {lost.link or lost.id}")
                    return lost
            except ApiError as error:
                if error.status != 429:  # then nothing was executed (source: docs, Rate limiting)
                    raise
                self.api.sleep(max(LOOK_INTERVAL, min(error.retry_after, LOOK_FOR_LOST)))
        raise StepFailure(
            GAVE_UP,
            f"the order for {self.place} was sent {MOST_POSTS} times, and the server lists none of them",
        )

    def post(self, collection: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The deployment as made. Freezes are overridden by another command (source: docs, API reference, deployment-freeze)."""
        if self.intention.freezes:
            collection = "deployments/override"
            body = {
                "CreateDeploymentCommand": {**body, "SpaceId": self.api.space},
                "FreezeIds": list(self.intention.freezes),
                "Reason": self.intention.freeze_reason,
                "SpaceId": self.api.space,
            }
        made: Mapping[str, Any] = self.api.post(collection, body)
        return made.get("Deployment") or made

    def look_for_lost(self, attempt: int) -> Optional[Deployment]:
        """The deployment whose answer was lost, if one appears within a minute of the first list that could be read."""
        deadline: Optional[float] = None
        while True:
            group = [one for one in self.list_recent() if marked_attempt(one, self.intention.key) == attempt]
            if group:
                return standing(group) or min(group, key=lambda deployment: deployment.number)
            deadline = self.api.clock() + LOOK_FOR_LOST if deadline is None else deadline
            if self.api.clock() >= deadline:
                return None
            self.api.sleep(LOOK_INTERVAL)

    def settle_among(self, made: Deployment, decision: Decision, listed: Sequence[Deployment]) -> Child:
        group = [one for one in listed if marked_attempt(one, self.intention.key) == decision.attempt]
        ours = standing(group) or made
        self.withdraw_all(group, ours)
        if self.intention.condition == ALWAYS:
            return Child(ours, True)
        rivals = [one for one in listed if self.is_rival(one, ours, decision.horizon)]
        if not rivals:
            return Child(ours, True)
        first = min(rivals, key=lambda deployment: deployment.number)
        if self.withdraw(ours):
            self.log.info(
                f"Somebody else's deployment of the same release came first and is joined: {first.link}"
            )
            return Child(first, False)
        self.log.warning(f"Two deployments of the same release had begun: {ours.link} and {first.link}")
        return Child(ours, True)

    def is_rival(self, other: Deployment, ours: Deployment, horizon: int) -> bool:
        """Whether `other` is another one's deployment of the release that came between our decision and our own."""
        same = other.release_id == ours.release_id and not marked_attempt(other, self.intention.key)
        alive = other.task.is_active(utc_now(self.api))
        return same and other.number < ours.number and (alive or self.is_fresh_success(other, horizon))

    def is_fresh_success(self, other: Deployment, horizon: int) -> bool:
        return other.task.state == "Success" and other.number > horizon

    def look_for_late(self, child: Child) -> None:
        """Finds what a lost write brings about after all while `child` is awaited: once that has ended, the other would begin."""
        now = self.api.clock()
        attempt = marked_attempt(child.deployment, self.intention.key)
        if self.lost_at is None or not attempt or now - self.lost_at > LATE_WRITE:
            return
        if now - self.looked_for_late_at >= LATE_WRITE_INTERVAL:
            self.looked_for_late_at = now
            group = [one for one in self.list_recent() if marked_attempt(one, self.intention.key) == attempt]
            self.withdraw_all(group, child.deployment)

    def withdraw_all(self, group: Sequence[Deployment], ours: Deployment) -> None:
        for other in group:
            if other.id != ours.id and other.task.is_alive and not self.withdraw(other):
                self.log.warning(
                    f"A second deployment for this step had begun: {other.link} beside {ours.link}"
                )

    def withdraw(self, deployment: Deployment) -> bool:
        """Whether `deployment` could be cancelled before it began. One that has begun is left alone."""
        task = Task(self.api.get(f"tasks/{deployment.task.id}"))
        if not task.is_waiting_in_queue:
            return False
        try:
            task = cancel_task(self.api, task.id)
        except ApiError as error:
            self.log.warning(f"{deployment.link} is one too many, and cannot be cancelled: {error.sentence}")
            return False
        if task.state != "Canceled" or not task.never_began:
            return False
        self.withdrawn.add(deployment.id)
        self.log.info(f"{deployment.link} was one too many, and was cancelled before it began.")
        return True

    def recheck(self, child: Child, task: Task, listed: Optional[Sequence[Deployment]] = None) -> Child:
        """What counts now that `child` has ended as `task`: itself, or another one to be followed. Called before reporting."""
        ended = child.deployment._replace(task=task)
        child = Child(ended, child.is_ours)
        attempt = marked_attempt(ended, self.intention.key)
        if attempt:
            group = [one for one in self.recent(listed) if marked_attempt(one, self.intention.key) == attempt]
            ours = standing(group) or ended
            self.withdraw_all(group, ours)
            if ours.id != ended.id:
                return Child(ours, True)
        if ended.task.state == "Canceled":
            return self.follow(child)
        return child

    def follow(self, child: Child) -> Child:
        """The deployment of the same release for which the server gave up `child`, or `child` itself."""
        ended = child.deployment
        successor = find_successor(self.api, self.place, ended, ignored=self.withdrawn)
        if successor is not None and successor.release_id != ended.release_id:
            number = read_release_of(self.api, successor)["Version"]
            raise StepFailure(
                CANCELLED, f"{self.place} was superseded by {number}: {successor.link or successor.id}"
            )
        heir = self.find_heir(ended) if successor is not None else None
        if heir is not None:
            self.log.info(
                f"The server gave it up for another one of the same release, which is followed: {heir.link}"
            )
            return Child(heir, bool(marked_attempt(heir, self.intention.key)))
        nobody_did = successor is not None or (not child.is_ours and bool(self.withdrawn))
        if (
            nobody_did
            and not ended.began
            and self.intention.condition != ALWAYS
            and self.rounds < MOST_ROUNDS
        ):
            # Ours made way for another one that was then cancelled before it began: look at everything anew.
            self.withdrawn.add(ended.id)
            return self.carry_out(self.decide())
        if successor is not None:
            link = successor.link or successor.id
            raise StepFailure(
                CANCELLED,
                f"{self.place} was superseded by one of the same release, which was cancelled too: {link}",
            )
        return child

    def find_heir(self, ended: Deployment) -> Optional[Deployment]:
        """The deployment of the release that lives, or has succeeded since `ended` was given up."""
        deadline = self.api.clock() + LOOK_FOR_LOST / 2
        while True:
            now = utc_now(self.api)
            others = [
                one for one in self.list_recent() if one.release_id == ended.release_id and one.id != ended.id
            ]
            heir = standing([one for one in others if one.task.is_active(now) or has_ended_since(one, ended)])
            if heir is not None or self.api.clock() >= deadline:
                return heir
            self.api.sleep(LOOK_INTERVAL)


def has_ended_since(one: Deployment, other: Deployment) -> bool:
    ours, theirs = one.task.completed, other.task.completed
    return ours is not None and theirs is not None and ours >= theirs


# ---- generator/runtime/deliveries.py ----

GO_ON, STOP, CANCEL = "go_on", "stop", "cancel"
NOT_BEGUN = "NotBegun"
MOST_TOLD = 5


class Terms(Record):
    """How the deliveries of one step go together. `at_once`: how many may be on their way, None for all."""

    limits: Limits
    waits: bool
    cancels_late: bool
    if_one_fails: str = GO_ON
    at_once: Optional[int] = None
    warnings_fail: bool = False
    attempts: int = 1  # how often a child that fails is made, at most
    guidance: Optional[Guidance] = None


class Delivery:
    """One place: the release for it, what was decided, and what became of it. Without an errand nothing is to be done there."""

    def __init__(
        self, place: Place, release: Mapping[str, Any], errand: Optional[Errand], *, skipped: str = ""
    ) -> None:
        self.place = place
        self.release = release
        self.errand = errand
        self.decision: Optional[Decision] = None
        self.child: Optional[Child] = None
        self.watch: Optional[Watch] = None
        self.skipped = skipped
        self.given_up = ""  # why this step asked to cancel the child
        self.kind_given_up = TIMED_OUT
        self.failure: Optional[StepFailure] = None
        self.is_settled = errand is None
        self.attempts = 1
        self.is_left = False  # its time was out, and it goes on
        self.earlier: Mapping[
            str, Any
        ] = {}  # answers to prompts that an earlier deployment got, by form element
        self.about: Mapping[str, str] = {}  # what the step tells of it beside what it tells of every child

    @property
    def deployment(self) -> Optional[Deployment]:
        if self.child is not None:
            return self.child.deployment
        return self.decision.deployment if self.decision is not None else None

    @property
    def state(self) -> str:
        """The state of the task, or Skipped, or NotBegun."""
        if self.skipped:
            return "Skipped"
        if self.child is None:
            return NOT_BEGUN
        seen = self.watch.task if self.watch is not None else None
        return (seen or self.child.deployment.task).state

    @property
    def is_moving(self) -> bool:
        """Begun, and not judged yet."""
        return self.child is not None and not self.is_settled

    @property
    def changed(self) -> bool:
        return self.child is not None and self.child.is_ours

    def skip(self, reason: str) -> None:
        self.skipped, self.is_settled = reason, True

    def fail(self, kind: str, sentence: str) -> None:
        self.failure, self.is_settled = StepFailure(kind, sentence), True


def decide_all(api: Api, deliveries: Sequence[Delivery]) -> None:
    """What is to be done at each place, by reading alone: one list for all of them."""
    listed = read_recent(api, deliveries)
    for delivery in deliveries:
        if delivery.errand is not None:
            delivery.decision = delivery.errand.decide(listed)


def read_recent(api: Api, deliveries: Sequence[Delivery]) -> list[Deployment]:
    """What may concern them of the deployments that the server lists."""
    errands = [delivery.errand for delivery in deliveries if delivery.errand is not None]
    if not errands:
        return []
    return recent_deployments(api, [errand.place for errand in errands], errands[0].since)


class Attendant(Waiter):
    """A Waiter that has what people are asked answered as well, where it has an `answer`."""

    answer: Optional[Callable[[Watch, Mapping[str, Any]], None]] = None

    def tell_interruption(self, watch: Watch, item: Mapping[str, Any]) -> None:
        super().tell_interruption(watch, item)
        if self.answer is not None:
            self.answer(watch, item)


class Fanout:
    """Carries out decided deliveries. `tell` is called whenever the step's outputs have changed, before a wait too."""

    def __init__(
        self,
        api: Api,
        log: Log,
        deliveries: Sequence[Delivery],
        terms: Terms,
        *,
        tell: Callable[[], None] = lambda: None,
        lookout: Optional[Lookout] = None,
    ) -> None:
        self.api = api
        self.log = log
        self.deliveries = list(deliveries)
        self.terms = terms
        self.tell = tell
        self.line = [delivery for delivery in deliveries if not delivery.is_settled]
        self.stopped = ""
        self.waiter = Attendant(
            api, log, [], terms.limits, stop=self.is_something_new, aside=self.look_for_late, lookout=lookout
        )
        if terms.guidance is not None:
            self.responder = Responder(api, log, terms.guidance)
            self.waiter.answer = self.answer

    def run(self) -> None:
        """Returns when every delivery is settled; without waiting, as soon as each has begun."""
        self.begin_more()
        if self.moving() and self.waiter.usual is None:
            self.waiter.usual = usual_run_time(self.api, self.moving()[0].place)
        while self.moving():
            # Here the wait begins: everything that is awaited has its watch, and the outputs are set.
            for watch in self.waiter.wait():
                self.give_up(watch)
            self.judge_ended()
            self.begin_more()

    def moving(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.is_moving]

    def is_something_new(self, watches: Sequence[Watch]) -> bool:
        return any(delivery.watch is not None and not delivery.watch.is_alive for delivery in self.moving())

    def answer(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """For the own children alone."""
        if any(one.watch is watch and one.changed for one in self.deliveries):
            self.responder.answer(watch, item)

    def look_for_late(self) -> None:
        for delivery in self.moving():
            assert delivery.errand is not None and delivery.child is not None
            delivery.errand.look_for_late(delivery.child)

    # --- beginning -------------------------------------------------------------------------------------------------

    def begin_more(self) -> None:
        """Begins as many of those in line as may be on their way at once."""
        while self.line and not self.stopped:
            begins_first = not any(delivery.child for delivery in self.deliveries)
            room = len(self.line)
            if self.terms.at_once is not None:
                room = min(room, self.terms.at_once - len(self.moving()))
            if room <= 0:
                return
            batch, self.line = self.line[:room], self.line[room:]
            if not begins_first:  # time has gone since they were decided
                decide_all(self.api, batch)
            self.begin(batch)
            self.tell()
        for delivery in self.line:
            delivery.skip(f"not begun, for {self.stopped}")
        self.line = []

    def begin(self, batch: Sequence[Delivery]) -> None:
        """Every one of `batch` as a child, or failed. When the API is lost, those that have begun are named."""
        begun: list[Delivery] = []
        try:
            for delivery in batch:
                if self.begin_one(delivery):
                    begun.append(delivery)
            listed = None
            if len(begun) > 1:
                listed = read_recent(self.api, begun)
            for delivery in begun:
                assert delivery.errand and delivery.child and delivery.decision
                delivery.child = delivery.errand.settle(delivery.child, delivery.decision, listed)
        except StepFailure as failure:
            others = [delivery for delivery in self.moving() if delivery.child and delivery.child.is_ours]
            if len(self.deliveries) == 1 or not others:
                raise
            links = ", ".join(
                str(one.deployment.link or one.deployment.id) for one in others if one.deployment
            )
            raise StepFailure(failure.kind, f"{failure.sentence}; begun before that: {links}") from failure
        for delivery in begun:
            self.watch(delivery)

    def begin_one(self, delivery: Delivery) -> bool:
        """Whether there is a child now. A refusal concerns this place alone; a lost API concerns all."""
        assert delivery.errand is not None and delivery.decision is not None
        if delivery.decision.action == "skip":
            delivery.skip(delivery.decision.reason)
            self.log.highlight(f"Skipped: {delivery.decision.reason}.")
            return False
        if self.stopped:
            delivery.skip(f"not begun, for {self.stopped}")
            return False
        try:
            delivery.child = delivery.errand.begin(delivery.decision)
        except ApiError as error:
            if error.status == 401 or len(self.deliveries) == 1:
                raise
            self.fail(delivery, error.kind, f"{delivery.place}: {error.sentence}")
            return False
        return True

    def watch(self, delivery: Delivery) -> None:
        """Tells where the child is, link first, and has it awaited."""
        child = delivery.child
        assert child is not None
        delivery.release = release_of(self.api, delivery.release, child)
        number, deployment = delivery.release["Version"], child.deployment
        self.log.info(f"{delivery.place}: {number}: {deployment.link or deployment.id}")
        self.log.verbose(f"{deployment.id}, task {deployment.task.id}")
        delivery.watch = None
        if not self.terms.waits:
            self.log.highlight(
                f"{delivery.place}: {number} is {deployment.task.state}, and is not waited for."
            )
            delivery.is_settled = True
            return
        delivery.watch = Watch(f"{number} of {delivery.place}", deployment.task.id, deployment.link)
        self.waiter.watches.append(delivery.watch)

    # --- ending ----------------------------------------------------------------------------------------------------

    def judge_ended(self) -> None:
        """What became of those whose task has ended: another deployment to follow, a success, or a failure."""
        ended = [
            one
            for one in self.moving()
            if one.watch and one.watch.task is not None and not one.watch.is_alive
        ]
        try:
            listed = read_recent(self.api, ended) if len(ended) > 1 else None
        except (ApiError, ApiUnreachable) as error:
            for delivery in ended:
                assert delivery.watch is not None and delivery.watch.task is not None
                state = delivery.watch.task.state
                self.fail(
                    delivery,
                    error.kind,
                    f"{error.sentence}; before that, {delivery.watch} had ended as {state}",
                )
            return
        for delivery in ended:
            self.judge(delivery, listed)
        if ended:
            self.tell()

    def judge(self, delivery: Delivery, listed: Optional[Sequence[Deployment]]) -> None:
        watch, child = delivery.watch, delivery.child
        assert delivery.errand and child and watch and watch.task
        try:
            after = delivery.errand.recheck(child, watch.task, listed)
        except (ApiError, ApiUnreachable) as error:
            had = f"before that, {watch} had ended as {watch.task.state}"
            return self.fail(delivery, error.kind, f"{error.sentence}; {had}")
        except StepFailure as failure:
            return self.fail(delivery, failure.kind, failure.sentence)
        delivery.child = after
        if after.deployment.id != child.deployment.id:
            self.waiter.watches.remove(watch)
            return self.watch(delivery)
        state = watch.task.state
        if state == "Success":
            return self.judge_success(delivery, watch)
        if delivery.given_up:
            return self.fail(delivery, delivery.kind_given_up, f"{delivery.given_up}; it was cancelled")
        cause = cause_of_failure(watch)
        kind = CANCELLED if state == "Canceled" else CHILD_FAILED
        words = f"{watch}: {state}" + (f": {cause}" if cause else "")
        if (
            state == "Failed"
            and delivery.changed
            and delivery.attempts < self.terms.attempts
            and not self.stopped
        ):
            return self.try_again(delivery, watch, words)
        return self.fail(delivery, kind, words)

    def try_again(self, delivery: Delivery, watch: Watch, words: str) -> None:
        """Another attempt of the same intention, at once: what was said of the start was said of the first."""
        assert delivery.errand is not None and delivery.child is not None
        delivery.attempts += 1
        self.log.warning(f"{words}. Attempt {delivery.attempts} of {self.terms.attempts}.")
        self.waiter.watches.remove(watch)
        delivery.decision = delivery.errand.decide_again(delivery.child)
        delivery.child = delivery.watch = None
        self.begin([delivery])

    def judge_success(self, delivery: Delivery, watch: Watch) -> None:
        if self.terms.warnings_fail and watch.task is not None and watch.task.has_warnings:
            words = f"{watch}: {watch.state_in_words()}, which this step takes for a failure"
            return self.fail(delivery, CHILD_FAILED, words)
        delivery.is_settled = True
        self.log.highlight(f"{watch}: {watch.state_in_words()}")
        return None

    def give_up(self, watch: Watch) -> None:
        """A limit has come for this one, or it can never end: it is cancelled and followed to its end, or left alone."""
        delivery = next(one for one in self.moving() if one.watch is watch)
        assert delivery.child is not None and watch.task is not None
        if watch.cancelling is not None:
            words = f"{delivery.given_up}; cancelling it has not ended yet, it is {watch.task.state}"
            return self.fail(delivery, delivery.kind_given_up, words)
        limits, kind = self.terms.limits, TIMED_OUT
        if watch.deadlock:
            words, kind = f"{watch} can never end: {watch.deadlock}", DEADLOCK
        elif watch.task.is_waiting_in_queue:
            words = f"{watch} has stood in the queue for {spoken(limits.queue)}"
            words += "".join(f", {why}" for why in (watch.queue_reason, self.waiter.suspicion) if why)
        elif watch.task.is_paused:
            words = f"{watch} has waited for a person for {spoken(timedelta(seconds=watch.paused))}"
        else:
            words = f"{watch} has run for {spoken(limits.run)}"
        if self.terms.cancels_late and delivery.child.is_ours:
            return self.cancel(delivery, watch, kind, words)
        delivery.is_left = delivery.child.is_ours
        reason = "as the step is told" if delivery.child.is_ours else "for somebody else started it"
        return self.fail(delivery, kind, f"{words}; it goes on, {reason}")

    def cancel(self, delivery: Delivery, watch: Watch, kind: str, words: str) -> None:
        """Has the child cancelled; what became of it is judged when it has ended."""
        delivery.given_up, delivery.kind_given_up, watch.cancelling = words, kind, 0.0
        try:
            watch.task = ask_to_cancel(self.api, watch.task_id)
        except ApiError as error:
            self.fail(delivery, kind, f"{words}; it could not be cancelled: {error.sentence}")

    def fail(self, delivery: Delivery, kind: str, sentence: str) -> None:
        """Settles `delivery`, and does with the others what the step is told."""
        delivery.fail(kind, sentence)
        if delivery.watch is not None and delivery.watch.is_alive and delivery.watch in self.waiter.watches:
            self.waiter.watches.remove(delivery.watch)
        if len(self.deliveries) > 1:
            self.log.warning(f"{kind}: {sentence}")
        if self.stopped or self.terms.if_one_fails == GO_ON:
            return
        self.stopped = f"{delivery.place} failed"
        if self.terms.if_one_fails == CANCEL:
            for other in self.moving():
                if other.changed and other.watch is not None and other.watch.is_alive and not other.given_up:
                    self.cancel(
                        other,
                        other.watch,
                        CANCELLED,
                        f"{other.watch} is not wanted any more, for {self.stopped}",
                    )


def release_of(api: Api, release: Mapping[str, Any], child: Child) -> Mapping[str, Any]:
    """An adopted or joined deployment may carry another release than the one that was chosen now."""
    if child.deployment.release_id == release["Id"]:
        return release
    return read_release_of(api, child.deployment)


def usual_run_time(api: Api, place: Place) -> Optional[timedelta]:
    """How long the last successful deployment there ran: when the end may be expected."""
    for item in api.get("tasks", take=1, states="Success", **place.task_query()).get("Items") or ():
        return Task(item).run_time
    return None


def failure_of(deliveries: Sequence[Delivery]) -> Optional[StepFailure]:
    """One failure for all of them: the only one as it is, several in one sentence under the kind of the first."""
    failures = [delivery.failure for delivery in deliveries if delivery.failure is not None]
    if len(deliveries) == 1 or not failures:
        return failures[0] if failures else None
    told = "; ".join(str(failure) for failure in failures[:MOST_TOLD])
    more = f"; and {len(failures) - MOST_TOLD} more" if len(failures) > MOST_TOLD else ""
    return StepFailure(failures[0].kind, f"{len(failures)} of {len(deliveries)} failed: {told}{more}")


# ---- generator/runtime/harvest.py ----

OUTPUT = r"Octopus\.Action\[(?P<step>.+?)\]\.Output(?:\[(?P<machine>.+?)\])?\.(?P<name>.+)"
LONGEST_NOTES = 8000  # characters; how much an output variable may hold is not documented
MOST_RELEASES = 500


class ChildOutput(Record):
    step: str
    machine: str
    name: str
    value: str

    @property
    def spelled(self) -> str:
        """As the built-in step names it, behind `Octopus.Action[Ours].Output.` (source: docs, Deploy a release step)."""
        return f"Deployment[{self.step}]" + (f"[{self.machine}]" if self.machine else "") + f".{self.name}"


def child_outputs(
    api: Api, deployment: Mapping[str, Any], patterns: Sequence[str]
) -> tuple[list[ChildOutput], list[str]]:
    """The output variables that one of `patterns` admits, as `Step.Name`; and the names of those whose value is secret.

    Whether the manifest of a deployment holds them is unconfirmed; without them the lists are empty.
    """
    import fnmatch

    document = api.get(f"variables/{deployment['ManifestVariableSetId']}")
    found: list[ChildOutput] = []
    secret: list[str] = []
    for variable in document.get("Variables") or ():
        match = re.fullmatch(OUTPUT, variable.get("Name") or "")
        if match is None:
            continue
        step, name = match.group("step"), match.group("name")
        if not any(fnmatch.fnmatchcase(f"{step}.{name}".lower(), pattern.lower()) for pattern in patterns):
            continue
        if variable.get("IsSensitive") or not isinstance(variable.get("Value"), str):
            secret.append(f"{step}.{name}")
            continue
        found.append(ChildOutput(step, match.group("machine") or "", name, variable["Value"]))
    return found, secret


def releases_between(
    api: Api, project: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The releases in the new one's channel after `old` up to `new`, the newest first; only `new` when it is not newer.

    By version where all numbers are versions, else by the order of their creation.
    """
    path = "projects/{}/releases".format(project["Id"])
    listed: list[Mapping[str, Any]] = []
    for release in api.pages(path, take=PAGE_SIZE):
        listed.append(release)
        if len(listed) >= MOST_RELEASES:
            break
    inside = [one for one in listed if one.get("ChannelId") == new.get("ChannelId")]
    low, high = version_or_none(old["Version"]) if old else None, version_or_none(new["Version"])
    if not old:
        return [new]
    ranked = [(version_or_none(one["Version"]), one) for one in inside]
    if low is not None and high is not None and all(version is not None for version, _ in ranked):
        chosen = [
            (version.rank(), one)
            for version, one in ranked
            if version is not None and low.rank() < version.rank() <= high.rank()
        ]
        return [one for _, one in sorted(chosen, key=lambda pair: pair[0], reverse=True)] or [new]
    between: list[Mapping[str, Any]] = []
    for one in inside:
        if one["Id"] == old["Id"]:
            break
        if between or one["Id"] == new["Id"]:
            between.append(one)
    return between or [new]


def notes_as_text(releases: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, one heading a release."""
    parts = [f"## {one['Version']}\n\n{(one.get('ReleaseNotes') or 'No notes.').strip()}" for one in releases]
    return "\n\n".join(parts)


def shortened(text: str) -> str:
    """As much as an output variable is given."""
    if len(text) <= LONGEST_NOTES:
        return text
    return text[:LONGEST_NOTES].rstrip() + "\n\n(shortened: the whole text is the task's artifact)"


# ---- generator/runtime/obstacles.py ----

LIFECYCLE, FREEZE, OTHER = "lifecycle", "freeze", "other"
MOST_SNAPSHOTS = 5
SNAPSHOT_PAUSE, LONGEST_SNAPSHOT_PAUSE = 5.0, 60.0


class Obstacles:
    """Looks for them; what concerns a release in all places is read once. `start`: when the deployments are to begin."""

    def __init__(self, api: Api, start: datetime) -> None:
        self.api = api
        self.start = start
        self._templates: dict[str, Mapping[str, Any]] = {}
        self._missing: dict[str, list[str]] = {}
        self._freezes: Optional[list[Mapping[str, Any]]] = None

    def find(self, place: Place, release: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(LIFECYCLE, FREEZE or OTHER, the reason in words), for everything that stands in the way."""
        found = [(OTHER, reason) for reason in self.missing_packages(release)]
        found += [(FREEZE, f"{place}: {words_of(freeze)}") for freeze in self.freezes(place)]
        refusal = self.lifecycle_refusal(place, release)
        return [*found, (LIFECYCLE, refusal)] if refusal else found

    def template(self, release: Mapping[str, Any]) -> Mapping[str, Any]:
        if release["Id"] not in self._templates:
            self._templates[release["Id"]] = self.api.get(f"releases/{release['Id']}/deployments/template")
        return self._templates[release["Id"]]

    def forget(self, release: Mapping[str, Any]) -> None:
        """The release has changed."""
        self._templates.pop(release["Id"], None)

    def lifecycle_refusal(self, place: Place, release: Mapping[str, Any]) -> str:
        """Why the lifecycle does not let the release go there now; "" when it does. `PromoteTo` has what it allows."""
        template = self.template(release)
        allowed = template.get("PromoteTo") or []
        if place.tenant is not None:
            allowed = []
            for promotion in template.get("TenantPromotions") or ():
                if promotion["Id"] == place.tenant_id:
                    allowed = promotion.get("PromoteTo") or []
        if any(one["Id"] == place.environment["Id"] for one in allowed) or self.was_there(place, release):
            return ""
        number, names = release["Version"], ", ".join(one["Name"] for one in allowed)
        defects = self.defects(release)
        if defects:
            return f"{place}: the progression of {number} is blocked: {'; '.join(defects)}"
        where = f"it may go to {names}" if names else "it may go nowhere"
        return f"{place}: the lifecycle does not let {number} go there now ({where})"

    def was_there(self, place: Place, release: Mapping[str, Any]) -> bool:
        """A release may always go again where it has been (source: OctopusDeploy/Issues 2449)."""
        return any(place.holds(one) for one in self.api.pages(f"releases/{release['Id']}/deployments"))

    def defects(self, release: Mapping[str, Any]) -> list[str]:
        return defects_of(self.api, release["Id"])

    def missing_packages(self, release: Mapping[str, Any]) -> list[str]:
        """Packages that their feed no longer has. Servers that cannot tell are believed to have them."""
        identifier = release["Id"]
        if identifier not in self._missing:
            document = self.ask(
                f"releases/{identifier}/missingpackages", "Missing packages are not looked for"
            )
            names = [
                f"{one.get('Id')} {one.get('Version')}" for one in (document or {}).get("Packages") or ()
            ]
            self._missing[identifier] = names
        number, names = release["Version"], self._missing[identifier]
        return [f"{number} needs packages that its feeds do not have: {', '.join(names)}"] if names else []

    def freezes(self, place: Place) -> list[Mapping[str, Any]]:
        """Deployment freezes that hold there when the deployment is to begin."""
        if self._freezes is None:
            path = "/api/deploymentfreezes"
            document = self.ask(path, "Deployment freezes are not looked for", skip=0, take=1000)
            self._freezes = list((document or {}).get("DeploymentFreezes") or ())
        found = []
        for freeze in self._freezes:
            start, end = moment_or_none(freeze.get("Start")), moment_or_none(freeze.get("End"))
            if start and end and start <= self.start < end and freeze_holds(freeze, place):
                found.append(freeze)
        return found

    def ask(self, path: str, otherwise: str, **query: Any) -> Optional[Mapping[str, Any]]:
        """The document; None where the server does not know the request, or the account may not make it."""
        try:
            document: Mapping[str, Any] = self.api.get(path, **query)
        except ApiError as error:
            if error.status == 401:
                raise
            self.api.tell(f"{otherwise}: {error.sentence}")
            return None
        return document


def words_of(freeze: Mapping[str, Any]) -> str:
    end = moment_or_none(freeze.get("End"))
    return f"the deployment freeze {freeze['Name']} holds" + (
        f" until {end:%Y-%m-%d %H:%M} UTC" if end else ""
    )


def freeze_holds(freeze: Mapping[str, Any], place: Place) -> bool:
    """Source: docs, API reference, deployment-freeze."""
    project, environment = place.project["Id"], place.environment["Id"]
    if environment in (freeze.get("ProjectEnvironmentScope") or {}).get(project, ()):
        return True
    return any(
        (scope.get("TenantId"), scope.get("ProjectId"), scope.get("EnvironmentId"))
        == (place.tenant_id, project, environment)
        for scope in freeze.get("TenantProjectEnvironmentScope") or ()
    )


def variables_have_changed(template: Mapping[str, Any]) -> bool:
    """Whether the project has other variables now than the release froze; `template` is its deployment template."""
    return bool(template.get("IsVariableSetModified") or template.get("IsLibraryVariableSetModified"))


def update_snapshot(api: Api, release: Mapping[str, Any]) -> None:
    """Freezes the project's variables of now into the release. Doing it twice does no harm, so a lost answer is looked into."""
    for _ in range(MOST_SNAPSHOTS):
        try:
            api.post(f"releases/{release['Id']}/snapshot-variables", {})
            return
        except LostAnswer as error:
            api.tell(f"{error.sentence}. Looking whether the variables were refreshed.")
            if not variables_have_changed(api.get(f"releases/{release['Id']}/deployments/template")):
                return
        except ApiError as error:
            if error.status != 429:
                raise
            api.sleep(max(SNAPSHOT_PAUSE, min(error.retry_after, LONGEST_SNAPSHOT_PAUSE)))
    raise StepFailure(GAVE_UP, f"the variables of {release['Version']} could not be refreshed")


def defects_of(api: Api, release_id: str) -> list[str]:
    """What blocks the progression of a release: its unresolved defects."""
    items = api.get(f"releases/{release_id}/defects").get("Items") or ()
    return [
        str(one.get("Description") or "a defect without a description")
        for one in items
        if one.get("Status") == "Unresolved"
    ]


# ---- generator/runtime/wishes.py ----

INHERIT = "inherit"


class Wishes(Record):
    """What a person wrote, by name. `machines` and `excluded` may instead be the parent's ids, narrowed to what fits."""

    variables: Mapping[str, str]
    skip_steps: Sequence[str]
    machines: Sequence[str]
    excluded: Sequence[str]
    inherits: bool = False


class Fitted(Record):
    """What the wishes come to at one place: fields of the deployment, what is against it, and which wishes mean something."""

    settings: Mapping[str, Any]
    faults: Sequence[str]
    met: frozenset[tuple[str, str]]
    skipped: str
    preview: Mapping[str, Any]


def read_preview(api: Api, release: Mapping[str, Any], place: Place) -> Mapping[str, Any]:
    frozen = f"releases/{release['Id']}/deployments"
    if place.runbook is not None:
        frozen = f"runbookSnapshots/{release['Id']}/runbookRuns"
    path = f"{frozen}/preview/{place.environment['Id']}"
    document: Mapping[str, Any] = api.get(path + (f"/{place.tenant_id}" if place.tenant_id else ""))
    return document


def fit(place: Place, wishes: Wishes, preview: Mapping[str, Any], earlier: Mapping[str, Any] = {}) -> Fitted:
    """Holds `wishes` against the preview of one place. A wish that means nothing here may mean something elsewhere.

    `earlier` are answers to prompts by form element; those that are still asked for hold where nothing else is wished.
    """
    settings: dict[str, Any] = {}
    faults: list[str] = []
    met: set[tuple[str, str]] = set()
    answers = fit_variables(wishes.variables, preview, faults, met, place, earlier)
    if answers:
        settings["FormValues"] = answers
    skips = fit_steps(wishes.skip_steps, preview, faults, met, place)
    if skips:
        settings["SkipActions"] = skips
    machines = machines_of(preview)
    chosen = fit_machines("machines", wishes.machines, machines, met)
    excluded = fit_machines("exclude_machines", wishes.excluded, machines, met)
    left = [one for one in chosen or machines if one not in excluded]
    skipped = ""
    if (wishes.machines and not chosen) or ((wishes.machines or excluded) and not left):
        # An empty selection would mean every machine.
        whose = (
            "the machines of the own deployment" if wishes.inherits else "the machines that the step names"
        )
        skipped = f"{place}: of {whose} none is left there"
    if chosen:
        settings["SpecificMachineIds"] = chosen
    if excluded:
        settings["ExcludedMachineIds"] = excluded
    return Fitted(settings, faults, frozenset(met), skipped, preview)


def fit_variables(
    variables: Mapping[str, str],
    preview: Mapping[str, Any],
    faults: list[str],
    met: set[tuple[str, str]],
    place: Place,
    earlier: Mapping[str, Any],
) -> dict[str, str]:
    """Values by the names of the form's elements, which are ids (source: OctopusClients, Model/Forms). No value is ever told."""
    given = {name.lower(): (name, value) for name, value in variables.items()}
    form = preview.get("Form") or {}
    answers: dict[str, str] = {}
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        if control.get("Type") not in (None, "VariableValue"):
            continue
        name, label = control.get("Name") or "", control.get("Label") or ""
        wish = given.get(name.lower()) or given.get(label.lower())
        if wish is not None:
            met.add(("variable", wish[0]))
            answers[element["Name"]] = wish[1]
        elif isinstance(earlier.get(element["Name"]), str):
            answers[element["Name"]] = earlier[element["Name"]]
        value = answers.get(element["Name"], (form.get("Values") or {}).get(element["Name"]))
        required = element.get("IsValueRequired") or control.get("Required")
        # The form does not show whether a sensitive variable has a default: then the server judges.
        if required and not value and (wish is not None or not control.get("IsSecure")):
            faults.append(f"{place}: the prompted variable {label or name} needs a value")
    return answers


def fit_steps(
    names: Sequence[str],
    preview: Mapping[str, Any],
    faults: list[str],
    met: set[tuple[str, str]],
    place: Place,
) -> list[str]:
    """Ids of the actions that the names or numbers mean; `2` means 2.1 and 2.2 as well."""
    skips = []
    for action in preview.get("StepsToExecute") or ():
        number = str(action.get("ActionNumber") or "")
        spelled = {str(action["ActionName"]).lower(), number, number.partition(".")[0]}
        for name in names:
            if name.lower() in spelled:
                met.add(("step", name))
                if action.get("CanBeSkipped") is False:
                    faults.append(f"{place}: the step {action['ActionName']} cannot be skipped")
                elif action["ActionId"] not in skips:
                    skips.append(action["ActionId"])
    return skips


def machines_of(preview: Mapping[str, Any]) -> dict[str, str]:
    """Names by id of all machines that the preview's steps would use."""
    found: dict[str, str] = {}
    for action in preview.get("StepsToExecute") or ():
        for machine in action.get("Machines") or ():
            found[machine["Id"]] = machine.get("Name") or machine["Id"]
    return found


def fit_machines(
    kind: str, names: Sequence[str], machines: Mapping[str, str], met: set[tuple[str, str]]
) -> list[str]:
    """Ids of the machines that the names or ids mean here."""
    chosen = []
    for name in names:
        for identifier, called in machines.items():
            if name.lower() in (identifier.lower(), called.lower()):
                met.add((kind, name))
                if identifier not in chosen:
                    chosen.append(identifier)
    return chosen


def prompts_of(fitted: Fitted) -> list[str]:
    """The prompted variables by name, and how each gets its value; never the value."""
    answers = fitted.settings.get("FormValues") or {}
    form = fitted.preview.get("Form") or {}
    told = []
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        name = control.get("Name") or control.get("Label") or element["Name"]
        how = "given" if element["Name"] in answers else "default"
        told.append(f"{name} ({how})")
    return told


def unmet(wishes: Wishes, fitted: Sequence[Fitted]) -> list[str]:
    """What matches nothing anywhere, each with near names."""
    met = frozenset().union(*(one.met for one in fitted))
    previews = [one.preview for one in fitted]
    prompts = [
        element["Control"].get("Label") or element["Control"].get("Name")
        for preview in previews
        for element in (preview.get("Form") or {}).get("Elements") or ()
        if element.get("Control")
    ]
    steps = [action["ActionName"] for preview in previews for action in preview.get("StepsToExecute") or ()]
    machines = [name for preview in previews for name in machines_of(preview).values()]
    asked: list[tuple[str, Sequence[str], str, Sequence[str]]] = [
        ("variable", list(wishes.variables), "prompted variable", prompts),
        ("step", wishes.skip_steps, "step to skip", steps),
    ]
    if not wishes.inherits:
        asked.append(("machines", wishes.machines, "machine in use there", machines))
        asked.append(("exclude_machines", wishes.excluded, "machine in use there", machines))
    return [
        f"there is no {what} {name!r} ({near_option(name, known)})"
        for kind, names, what, known in asked
        for name in names
        if (kind, name) not in met
    ]


def inherited(step: Any) -> tuple[Sequence[str], Sequence[str]]:
    """Ids of the machines that the own deployment is restricted to, and of those that it leaves out (source: docs, System
    variables)."""
    specific = parse_names(step.variable("Octopus.Deployment.SpecificMachines"))
    return specific, parse_names(step.variable("Octopus.Deployment.ExcludedMachines"))


def wishes_of(parameters: Any, more: Mapping[str, Any]) -> Wishes:
    machines, excluded = more["machines"], more["exclude_machines"]
    inherits = [name.lower() for name in machines] == [INHERIT]
    if inherits:
        machines, own_excluded = inherited(parameters.step)
        excluded = (*excluded, *own_excluded)
    return Wishes(parameters.variables or {}, parameters.skip_steps or (), machines, excluded, inherits)


def settings_of(parameters: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the deployment that are the same in every place."""
    settings: dict[str, Any] = {}
    if more["guided_failure"] != "default":  # whoever has failures answered wants to be asked
        settings["UseGuidedFailure"] = more["guided_failure"] != "off"
    if more["force_package_download"]:
        settings["ForcePackageDownload"] = True
    if more["priority"] != "default":
        settings["Priority"] = {"on": "On", "off": "Off"}[more["priority"]]
    if parameters.start is not None:
        settings["QueueTime"] = parameters.start.isoformat()
    if more["expire"] is not None:
        start = parameters.start or datetime.now(timezone.utc)
        settings["QueueTimeExpiry"] = (start + more["expire"]).isoformat()
    return settings


# ---- generator/runtime/reporting.py ----

def decision_in_words(delivery: Delivery) -> str:
    decision, number, place = delivery.decision, delivery.release["Version"], delivery.place
    nothing = f"nothing is to be {place.verb}"
    if decision is None:
        return f"{nothing}: {delivery.skipped}"
    return {
        "create": f"{number} is to be {place.verb}: {place}",
        "adopt": f"{place}: {decision.reason}",
        "join": f"{place}: {decision.reason}, and is joined",
        "skip": f"{nothing}: {decision.reason}",
    }[decision.action]


def tell_decision(step: Step, delivery: Delivery) -> None:
    decision = delivery.decision
    if decision is None:
        step.log.highlight(f"Skipped: {delivery.skipped}.")
        return
    step.log.info(decision_in_words(delivery) + ".")
    if decision.action == "create" and decision.reason:
        step.log.info(f"Attempt {decision.attempt}: {decision.reason}.")


def tell_fitted(step: Step, fitted: Sequence[tuple[Delivery, Fitted]]) -> None:
    """What would run, by place: steps, machines, prompts."""
    for delivery, one in fitted:
        skips = one.settings.get("SkipActions") or ()
        steps = [
            f"{action.get('ActionNumber')} {action['ActionName']}"
            + (" (skipped)" if action["ActionId"] in skips else "")
            for action in one.preview.get("StepsToExecute") or ()
        ]
        chosen = one.settings.get("SpecificMachineIds") or machines_of(one.preview)
        excluded = one.settings.get("ExcludedMachineIds") or ()
        machines = [
            name
            for identifier, name in machines_of(one.preview).items()
            if identifier in chosen and identifier not in excluded
        ]
        step.log.info(f"{delivery.place}: steps: {', '.join(steps) or 'none'}")
        step.log.info(f"{delivery.place}: machines: {', '.join(machines) or 'none'}")
        step.log.info(f"{delivery.place}: prompted variables: {', '.join(prompts_of(one)) or 'none'}")


def open_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """The keys of the children that this step makes or awaits: the watchdog must not lose them."""
    return [one.errand.intention.key for one in deliveries if one.errand is not None and not one.is_settled]


def describe(delivery: Delivery, what_if: bool) -> dict[str, Any]:
    """One child of the step, for the result and the output."""
    place, deployment = delivery.place, delivery.deployment
    frozen = {"version": delivery.release["Version"], "release": delivery.release["Id"]}
    made = {"deployment": deployment.id if deployment else ""}
    if place.runbook is not None:
        frozen, made = {"snapshot": frozen["version"]}, {"run": made["deployment"]}
    return {
        "environment": place.environment["Name"],
        "tenant": place.tenant["Name"] if place.tenant else "",
        **frozen,
        **delivery.about,
        "state": "WhatIf" if what_if else delivery.state,
        **made,
        "task": deployment.task.id if deployment else "",
        "link": deployment.link if deployment else "",
        "changed": delivery.changed,
        "skipped": delivery.skipped,
        "failure": str(delivery.failure) if delivery.failure else "",
    }


def children_as_text(children: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(children, ensure_ascii=False)


def joined(children: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(child[name] for child in children if child.get(name)))


def state_of(deliveries: Sequence[Delivery]) -> str:
    """Of several: that of the first that failed, else Success, or what all of them are."""
    states = [delivery.state for delivery in deliveries]
    for delivery in deliveries:
        if delivery.failure is not None:
            return delivery.state
    for state in states:
        if state not in ("Success", "Skipped"):
            return state
    return "Success" if "Success" in states else states[0]


# ---- generator/runtime/watchdog.py ----

# Where there is no fork: starts the watchdog and ends, so that the watchdog has no parent in the tree that Octopus kills.
RELAY = """\
import subprocess, sys
quiet = subprocess.DEVNULL
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=quiet, stderr=quiet, creationflags=int(sys.argv[2]))
"""
# Reads until the step closes the pipe. Only when it has not said "done" is the code loaded that it sent: the step's own script.
WATCHER = """\
import sys
sys.path[:] = filter(None, sys.path)
lines = sys.stdin.buffer.read().split(b"\\n")[:-1]
if lines and lines[-1] != b"done":
    import json
    told = [json.loads(line) for line in lines]
    script = sys.modules["Script"] = type(sys)("Script")
    exec(compile(told[0]["script"], "Script.py", "exec"), script.__dict__)
    getattr(script, told[0]["function"])(told[0], told[1:])
"""
WINDOWS_FLAGS = 0x00000008 | 0x00000200  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP
LONGEST_START = 10.0
LONGEST_POLL = 10.0
LEAST_POLLING = 600.0
LOOKS = (
    0.0,
    2.0,
    4.0,
    9.0,
    15.0,
    30.0,
)  # pauses: a creation under way may be carried out up to a minute later
NOT_GUARDED = "if this task is cancelled, what it awaits goes on (Octopus - Cancel Orphans finds it)"


class Watchdog:
    """The step's end of the pipe, and a context manager: left normally or by a StepFailure, the step has ended by itself.

    Whatever is wrong with the watchdog costs a warning, never the step. Without a `pipe` nothing is guarded.
    """

    def __init__(
        self, log: Log, pipe: Optional[IO[bytes]] = None, orders: Optional[Mapping[str, Any]] = None
    ) -> None:
        self._log = log
        self._pipe = pipe
        self._orders = orders  # until they have been sent

    def guard(self, keys: Iterable[str], project_id: str) -> None:
        """From now on these children are guarded and no others. To be called before they are made."""
        if self._orders is not None:
            self._tell(self._orders)
            self._orders = None
        self._tell({"keys": list(keys), "project": project_id})

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """A bug in the step is no end by itself: then the pipe is closed without a word."""
        if error is None or isinstance(error, StepFailure):
            self._write(b"done\n")
        self._release()

    def _tell(self, message: Mapping[str, Any]) -> None:
        self._write(json.dumps(message).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(line)
            self._pipe.flush()
        except OSError as error:
            self._log.warning(f"There is no watchdog any more ({error}): {NOT_GUARDED}.")
            self._release()

    def _release(self) -> None:
        if self._pipe is not None:
            with suppress(OSError):  # what could not be written is of no use any more
                self._pipe.close()
        self._pipe = None


def start_watchdog(parameters: Any, api: Api, longest: timedelta, *, wanted: bool = True) -> Watchdog:
    """A watchdog that is just starting; one that guards nothing where it is not `wanted` or cannot see the own task.

    `longest` is how long the step may have to wait: for so long the watchdog outlives it at most, while its task goes on.
    """
    step = parameters.step
    log: Log = step.log
    own = own_task(step)
    if not wanted or not own.id:
        return Watchdog(log)
    if read_own_task(api, step) is None:
        log.warning(
            f"There is no watchdog, for {api.url} does not show this account the running task {own.id} "
            f"(that takes TaskView for this project, on the same server): {NOT_GUARDED}."
        )
        return Watchdog(log)
    try:
        with open(globals()["__file__"], encoding="utf-8-sig") as file:  # noqa: PTH123 - pathlib costs start-up time
            script = file.read()
        pipe = start_by_relay() if sys.platform == "win32" else start_by_fork()
    except (OSError, ValueError) as error:
        log.warning(f"There is no watchdog ({error}): {NOT_GUARDED}.")
        return Watchdog(log)
    orders = {
        "script": script,
        "function": outlive.__name__,
        "server": api.url,
        "space": api.space,
        "credential": parameters.api_key.reveal(),
        "ca": absolute_ca(parameters.ca_file or ""),
        "own": list(own),
        "result": result_name(step),
        "longest": longest.total_seconds(),
    }
    return Watchdog(log, pipe, orders)


def start_by_fork() -> IO[bytes]:
    """Starts the watchdog, the child of a child that has ended; the only write end of the pipe that it reads. Takes 3 ms."""
    import os

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        become_watchdog(reading)
    os.close(reading)
    os.waitpid(child, 0)
    return os.fdopen(writing, "wb")


def become_watchdog(pipe: int) -> NoReturn:
    """In a child of the step: leaves its session, stream and folder. What fails here shows itself as a pipe without a reader."""
    import os

    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            nothing = os.open(os.devnull, os.O_RDWR)
            for ours, stream in ((pipe, 0), (nothing, 1), (nothing, 2)):
                os.dup2(ours, stream)
            for name in os.listdir("/dev/fd"):  # noqa: PTH208 - what the step itself has inherited
                if int(name) > 2:
                    with suppress(OSError):
                        os.close(int(name))
            os.execv(sys.executable, [sys.executable, "-c", WATCHER])
    finally:
        os._exit(0)


def start_by_relay() -> IO[bytes]:
    """The same without fork, as on Windows: without a console, and without the step's streams and folder."""
    import os
    import subprocess

    flags = WINDOWS_FLAGS if sys.platform == "win32" else 0
    relay = subprocess.Popen(
        [sys.executable, "-S", "-c", RELAY, WATCHER, str(flags)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=os.path.abspath(os.sep),  # noqa: PTH100
        creationflags=flags,
        start_new_session=not flags,
    )
    assert relay.stdin is not None
    try:
        if relay.wait(LONGEST_START) != 0:
            raise OSError(f"its start ended with {relay.returncode}")
    except subprocess.TimeoutExpired:
        raise OSError(f"it did not start within {LONGEST_START:.0f} s") from None
    return relay.stdin


def absolute_ca(ca: str) -> str:
    """A CA file by its whole path, for the watchdog runs in another folder; PEM text as it is."""
    import os

    return ca if not ca or ca.lstrip().startswith("-----BEGIN") else os.path.abspath(ca)  # noqa: PTH100


def outlive(orders: Mapping[str, Any], messages: Iterable[Mapping[str, Any]]) -> None:
    """What the watchdog does when the step was killed: `orders` and `messages` are all that it was told before."""
    told = list(messages)
    if not told or not told[-1]["keys"]:
        return
    api = Api(
        orders["server"],
        Secret(orders["credential"]),
        space=orders["space"],
        transport=http_transport(orders["ca"]),
    )
    if must_cancel(api, ParentTask(*orders["own"]), orders["result"], orders["longest"]):
        cancel_guarded(api, told[-1]["keys"], told[-1]["project"])


def must_cancel(api: Api, own: ParentTask, result: str, longest: float) -> bool:
    """Follows the own task until it is Cancelling or has ended: True then, unless a later run of the step has told its result."""
    deadline = api.clock() + max(longest, LEAST_POLLING)
    before: Optional[set[str]] = None
    pause = 1.0
    while True:
        patience = max(0.0, deadline - api.clock())
        for item in api.by_ids(f"/api/{own.space}/tasks", [own.id], patience=patience):
            task = Task(item)
            if not task.is_alive or task.state == "Cancelling":
                return before is None or read_results(api, own, result) <= before
            if before is None:
                before = read_results(api, own, result)
        if api.clock() >= deadline:
            return False
        api.sleep(pause)
        pause = min(2 * pause, LONGEST_POLL)


def read_results(api: Api, own: ParentTask, name: str) -> set[str]:
    """The ids of the results among the own task's artifacts; none where the account may not see them (ArtifactView)."""
    try:
        artifacts = list(api.pages(f"/api/{own.space}/artifacts", regarding=own.id))
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return set()
    return {artifact["Id"] for artifact in artifacts if artifact.get("Filename") == name}


def cancel_guarded(api: Api, keys: Container[str], project_id: str) -> None:
    """Cancels what is on its way under one of `keys`; looks several times, for one more may just have been asked for."""
    for pause in LOOKS:
        api.sleep(pause)
        for child in marked_children(api, project=project_id):
            if child.marker.key in keys and child.is_awaited and child.task.state != "Cancelling":
                try:
                    ask_to_cancel(api, child.task.id)
                except ApiError as error:
                    if error.status == 401:
                        raise


# ---- generator/runtime/orders.py ----

NOTHING: Mapping[str, Any] = {"Id": "", "Version": ""}


def order_options() -> dict[str, Option]:
    """The *More options* of all these steps, each with what holds when it is not given."""
    return {
        "at_once": Option(parse_count),
        "if_one_fails": Option(one_of(GO_ON, STOP, CANCEL), GO_ON),
        "not_connected": Option(one_of("skip", "fail"), "skip"),
        "warnings": Option(one_of("pass", "fail"), "pass"),
        "machines": Option(parse_names, ()),
        "exclude_machines": Option(parse_names, ()),
        "guided_failure": Option(parse_guided_failure, "default"),
        "attempts": Option(parse_count, 1),
        "force_package_download": Option(parse_switch, False),
        "priority": Option(one_of("on", "off", "default"), "default"),
        "expire": Option(parse_duration),
        "watchdog": Option(parse_switch, True),
    }


class Order:
    """One run of such a step. `outputs` has the names of its own outputs, each with the fact of a child that it tells."""

    def __init__(self, parameters: Any, more: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
        self.parameters = parameters
        self.more = more
        self.outputs = outputs
        self.step: Step = parameters.step
        if not parameters.wait and (more["attempts"] > 1 or isinstance(more["guided_failure"], Guidance)):
            self.step.fail(
                MISCONFIGURED, "further attempts and answers to guided failures take a step that waits"
            )
        self.limits = Limits(parameters.queue_limit, parameters.run_limit)
        self.longest = self.limits.queue + self.limits.run
        self.api = connect(parameters, self.longest if parameters.wait else timedelta())
        self.deliveries: list[Delivery] = []
        self.fitted: list[tuple[Delivery, Fitted]] = []
        self.project: Mapping[str, Any] = {}
        self.watchdog = Watchdog(self.step.log)
        self.identity = own_identity(self.step)
        self.since = own_queue_time(self.api, self.step)

    def guard(self, project: Mapping[str, Any]) -> None:
        """Starts the watchdog over what will be made of this project."""
        self.project = project
        parameters = self.parameters
        wanted = parameters.wait and self.more["watchdog"] and not parameters.what_if
        self.watchdog = start_watchdog(parameters, self.api, self.longest, wanted=wanted)

    # --- what is to be done where ----------------------------------------------------------------------------------

    def find_places(self, project: Mapping[str, Any], lifecycle_id: str) -> Sequence[Place]:
        """Where the form wants it; what cannot be reached of that becomes skipped deliveries, or an error."""
        parameters, step = self.parameters, self.step
        own_environment = step.variable("Octopus.Environment.Name")
        environments = find_environments(self.api, parameters.environment, own_environment, lifecycle_id)
        own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
        found = find_destinations(self.api, project, environments, parameters.tenant, own_tenant)
        if found.left_out and self.more["not_connected"] == "fail":
            step.fail(MISCONFIGURED, "; ".join(one.reason for one in found.left_out))
        if parameters.tenant and found.places and found.places[0].tenant is None:
            name = project["Name"]
            step.log.info(f"{name} is not deployed for tenants, and so not for {own_tenant} in particular.")
        for place, reason in found.left_out:
            self.skip(place, reason)
        return found.places

    def skip(self, place: Place, reason: str) -> Delivery:
        self.deliveries.append(Delivery(place, NOTHING, None, skipped=f"{place}: {reason}"))
        return self.deliveries[-1]

    def add(self, place: Place, release: Mapping[str, Any], **intended: Any) -> Delivery:
        """`intended` are further fields of the Intention."""
        errand = Errand(self.api, self.step.log, self.intention(place, release)._replace(**intended))
        self.deliveries.append(Delivery(place, release, errand))
        return self.deliveries[-1]

    def intention(self, place: Place, release: Mapping[str, Any]) -> Intention:
        parameters = self.parameters
        return Intention(
            place=place,
            release=release,
            condition=ALWAYS,
            deploys_again=parameters.on_retry != "keep",
            key=self.key(place),
            since=self.since,
            sentence=sentence_for_people(self.step),
            own_task=own_task(self.step),
            is_awaited=parameters.wait,
            settings=settings_of(parameters, self.more),
        )

    def key(self, place: Place) -> str:
        where = [place.project["Id"], place.environment["Id"], place.tenant_id or ""]
        if place.runbook is not None:
            where.insert(1, place.runbook["Id"])
        return intention_key(self.identity + where)

    def decide(self) -> None:
        decide_all(self.api, self.deliveries)
        for delivery in self.deliveries:
            tell_decision(self.step, delivery)

    def to_create(self) -> list[Delivery]:
        """Those whose deployment is to be made, of a release that exists already (under what-if it may not)."""
        decided = [one for one in self.deliveries if one.decision is not None and one.release["Id"]]
        return [one for one in decided if one.decision is not None and one.decision.action == "create"]

    # --- what is against it ----------------------------------------------------------------------------------------

    def check(self, reasons: Sequence[str] = ()) -> None:
        """Fails with `reasons`, and with everything that means nothing there, before anything is queued.

        Otherwise the deployments that are to be created have all their fields.
        """
        step = self.step
        wishes = wishes_of(self.parameters, self.more)
        for delivery in self.to_create():
            preview = read_preview(self.api, delivery.release, delivery.place)
            self.fitted.append((delivery, fit(delivery.place, wishes, preview, delivery.earlier)))
        misfits = unmet(wishes, [one for _, one in self.fitted]) if self.fitted else []
        misfits += [fault for _, one in self.fitted for fault in one.faults]
        if reasons or misfits:
            step.fail(REFUSED if reasons else MISCONFIGURED, "; ".join([*reasons, *misfits]))
        for delivery, one in self.fitted:
            if one.skipped:
                delivery.skip(one.skipped)
                step.log.highlight(f"Skipped: {one.skipped}.")
            elif delivery.errand is not None:
                delivery.errand.refine(one.settings)

    # --- doing it --------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Returns when every child has ended, or with what-if at once; `fail_if_any_did` is the caller's last word."""
        parameters = self.parameters
        if parameters.what_if:
            tell_fitted(self.step, self.fitted)
            words = "; ".join(decision_in_words(delivery) for delivery in self.deliveries)
            self.step.log.highlight(f"What-if: {words}. Nothing was changed.")
            self.set_outputs()
            return
        more = self.more
        terms = Terms(
            limits=self.limits,
            waits=parameters.wait,
            cancels_late=parameters.on_timeout == "cancel",
            if_one_fails=more["if_one_fails"],
            at_once=more["at_once"],
            warnings_fail=more["warnings"] == "fail",
            attempts=more["attempts"],
            guidance=more["guided_failure"] if isinstance(more["guided_failure"], Guidance) else None,
        )
        lookout = Lookout(self.api, self.step)
        with self.watchdog:
            self.watchdog.guard(open_keys(self.deliveries), self.project["Id"])
            try:
                Fanout(self.api, self.step.log, self.deliveries, terms, tell=self.tell, lookout=lookout).run()
            finally:
                self.set_outputs()

    def fail_if_any_did(self) -> None:
        failure = failure_of(self.deliveries)
        if failure is not None:
            raise failure

    def tell(self) -> None:
        self.watchdog.guard(open_keys(self.deliveries), self.project["Id"])
        self.set_outputs()

    def set_outputs(self) -> None:
        """Of several places the ids and links are parted by commas; `Children` has everything by place."""
        step, what_if = self.step, self.parameters.what_if
        children = [describe(delivery, what_if) for delivery in self.deliveries]
        reasons = ["what-if"] if what_if else [child["skipped"] for child in children if child["skipped"]]
        step.output("State", "WhatIf" if what_if else state_of(self.deliveries))
        for name, fact in self.outputs.items():
            step.output(name, joined(children, fact))
        step.output("Changed", str(any(child["changed"] for child in children)))
        step.output("Skipped", "; ".join(dict.fromkeys(reasons)))
        step.output("Children", children_as_text(children))
        step.result["children"] = children
        step.result["left"] = [one.watch.task_id for one in self.deliveries if one.is_left and one.watch]


def find_obstacles(order: Order, obstacles: Obstacles) -> list[str]:
    """What the server would refuse, in words, each once. Environments that depend on each other come in turn: one
    that the lifecycle refuses now may be allowed then."""
    reasons: list[str] = []
    if order.more["override_freezes"]:
        override_freezes(order, obstacles)
    first = order.deliveries[0].place.environment["Id"]
    for delivery in order.to_create():
        for kind, reason in obstacles.find(delivery.place, delivery.release):
            if kind == FREEZE and order.more["override_freezes"]:
                continue
            in_turn = order.more["at_once"] and delivery.place.environment["Id"] != first
            if kind == LIFECYCLE and in_turn:
                order.step.log.verbose(f"{reason}; perhaps it will when its turn has come.")
            elif reason not in reasons:
                reasons.append(reason)
    return reasons


def override_freezes(order: Order, obstacles: Obstacles) -> None:
    """Has those that hold at a place overridden by name in the deployment's own command, and says so."""
    for delivery in order.to_create():
        freezes, errand = obstacles.freezes(delivery.place), delivery.errand
        if freezes and errand is not None:
            reason = order.more["override_freezes"]
            words = " and ".join(words_of(freeze) for freeze in freezes)
            order.step.log.warning(f"{delivery.place}: {words}, and is overridden: {reason}")
            ids = [freeze["Id"] for freeze in freezes]
            errand.intention = errand.intention._replace(freezes=ids, freeze_reason=reason)


# ---- templates/steps/deploy_release.py ----

OUTPUTS = {
    "Version": "version",
    "ReleaseId": "release",
    "DeploymentId": "deployment",
    "TaskId": "task",
    "Link": "link",
}


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    table = {
        **order_options(),
        "not_found": Option(one_of("skip", "fail"), "fail"),
        "pre_release": Option(parse_prerelease_filter),
        "packages": Option(parse_names, ()),
        "package_version": Option(str, ""),
        "git_ref": Option(str, ""),
        "git_commit": Option(str, ""),
        "release_notes": Option(str, ""),
        "refresh_variables": Option(parse_switch, False),
        "outputs": Option(parse_names, ()),
        "notes": Option(parse_switch, False),
        "compare": Option(one_of("all", "channel"), "all"),
        "override_freezes": Option(str, ""),
    }
    return parse_options(table, pairs)


@reads(
    release=parse_deploy_choice,
    environment=parse_environments,
    start=parse_start,
    more=parse_more,
    **CONNECTION_GRAMMARS,
)
def main(parameters: Parameters) -> None:
    more = parameters.more or parse_more({})
    order = Order(parameters, more, OUTPUTS)
    if more["compare"] == "channel" and parameters.when == ALWAYS:
        order.step.fail(MISCONFIGURED, "compare = channel says nothing where it is always deployed: see When")
    project = find_named(order.api, "projects", "project", parameters.project)
    channel = find_channel(order.api, project, parameters.channel) if parameters.channel else None
    order.guard(project)
    plan_deliveries(order, project, channel)
    order.decide()
    tell_notes(order)
    obstacles = Obstacles(order.api, parameters.start or utc_now(order.api))
    if more["refresh_variables"]:
        refresh_variables(order, obstacles)
    order.check(find_obstacles(order, obstacles))
    order.carry_out()
    hand_on(order)
    order.fail_if_any_did()


def plan_deliveries(order: Order, project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> None:
    """One delivery for each place that is meant, those that cannot be reached among them as skipped."""
    parameters, step = order.parameters, order.step
    places = order.find_places(project, lifecycle_of(project, channel))
    chooser = Chooser(
        order.api,
        project,
        parameters.release,
        channel,
        step.variable("Octopus.Release.Number"),
        order.more["pre_release"],
        lambda: create_by_form(order, project, channel),
    )
    told: set[str] = set()
    for place in places:
        try:
            release, how = chooser.choose(place)
        except NotFound as missing:
            if order.more["not_found"] == "fail":
                raise
            order.skip(place, missing.sentence)
            continue
        words = f"Release: {release['Version']} of {project['Name']} ({how})"
        if words not in told:
            told.add(words)
            step.log.info(words)
        channel_id = release.get("ChannelId") if order.more["compare"] == "channel" else None
        order.add(place, release, condition=parameters.when, channel_id=channel_id)


def create_by_form(order: Order, project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> Chosen:
    """The release that is to be created; only planned under what-if."""
    api, parameters, more, step = order.api, order.parameters, order.more, order.step
    number = parameters.release.number
    if number.lower() == "same":
        number = step.variable("Octopus.Release.Number")
        if not number:
            raise NotFound(
                "'create same' means the release of the running deployment, and a runbook has none"
            )
    channel = channel or find_default_channel(api, project)
    recipe = Recipe(
        number=number,
        packages=more["packages"],
        package_version=more["package_version"],
        git_ref=more["git_ref"],
        git_commit=more["git_commit"],
        notes="\n\n".join(part for part in (more["release_notes"], sentence_for_people(step)) if part),
        key=intention_key([*order.identity, project["Id"], channel["Id"], "release"]),
        since=order.since - CLOCK_MARGIN if order.since else None,
    )
    if not parameters.what_if:
        return Chosen(*create_release(api, project, channel, recipe))
    planned = plan_release(api, project, channel, recipe)
    found = find_made(api, project, recipe) or find_numbered(api, project, planned.body["Version"])
    if found is not None:
        return Chosen(found, "it exists already")
    return Chosen({"Id": "", **planned.body}, f"to be created: {planned.words}")


def refresh_variables(order: Order, obstacles: Obstacles) -> None:
    """Brings the releases' variables up to date, where something has changed at all."""
    for release in {one.release["Id"]: one.release for one in order.to_create()}.values():
        number = release["Version"]
        if not variables_have_changed(obstacles.template(release)):
            order.step.log.info(f"The variables of {number} are up to date.")
            continue
        words = f"the variables of {number} have changed since it was made"
        if order.parameters.what_if:
            order.step.log.info(f"{words}, and would be brought up to date.")
            continue
        order.step.log.highlight(
            f"{words[0].upper()}{words[1:]}: they are brought up to date, which changes the release for every later "
            "deployment of it."
        )
        update_snapshot(order.api, release)
        obstacles.forget(release)


def hand_on(order: Order) -> None:
    """The child's own output variables as ours, also when it failed; of several children with the place in the name."""
    patterns, log = order.more["outputs"], order.step.log
    if not patterns or order.parameters.what_if:
        return
    count = 0
    for delivery in order.deliveries:
        if delivery.child is None:
            continue
        try:
            found, secret = child_outputs(order.api, delivery.child.deployment.document, patterns)
        except ApiError as error:
            log.warning(f"{delivery.place}: its output variables cannot be read: {error.sentence}")
            continue
        environment, tenant = delivery.place.environment["Name"], delivery.place.tenant
        where = environment + (f"/{tenant['Name']}" if tenant else "")
        of_one = len(order.deliveries) == 1
        for one in found:
            spelled = one.spelled
            if not of_one:
                spelled = spelled.replace("Deployment", f"Deployment[{where}]", 1)
            order.step.output(spelled, one.value)
        count += len(found)
        if secret:
            log.warning(
                f"{delivery.place}: sensitive output variables cannot be handed on: {', '.join(secret)}"
            )
    if not count:
        log.warning(f"No output variable of the other project matches: {', '.join(patterns)}")


def tell_notes(order: Order) -> None:
    """The notes of every release between what is there and what comes, as output and artifact."""
    api, step, project = order.api, order.step, order.project
    texts: dict[tuple[str, str], str] = {}
    for delivery in order.deliveries if order.more["notes"] else ():
        if delivery.decision is None or not delivery.release["Id"]:
            continue
        current = find_current(api, delivery.place)
        old = read_release_of(api, current) if current is not None else {}
        pair = (old.get("Id") or "", delivery.release["Id"])
        if pair not in texts:
            texts[pair] = notes_as_text(releases_between(api, project, old, delivery.release))
    text = "\n\n".join(dict.fromkeys(texts.values()))
    step.output("ReleaseNotes", shortened(text))
    if text:
        step.artifact(
            f"{step.variable('Octopus.Action.Name') or project['Name']}.release-notes.md", text + "\n"
        )


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Deploy Release", "spec": "step_templates/deploy-release.yaml", "id": "c352a529-5018-44c5-9819-6a276f59a1a2", "revision": 3}
PARAMETERS = (
    {"key": "project", "variable": "DeployRelease.Project", "label": "Project", "type": "text", "required": True, "choices": None},
    {"key": "release", "variable": "DeployRelease.Release", "label": "Release", "type": "text", "required": True, "choices": None},
    {"key": "channel", "variable": "DeployRelease.Channel", "label": "Channel", "type": "text", "required": False, "choices": None},
    {"key": "environment", "variable": "DeployRelease.Environment", "label": "Environment", "type": "lines", "required": True, "choices": None},
    {"key": "tenant", "variable": "DeployRelease.Tenant", "label": "Tenant", "type": "lines", "required": False, "choices": None},
    {"key": "variables", "variable": "DeployRelease.Variables", "label": "Prompted variables", "type": "pairs", "required": False, "choices": None},
    {"key": "skip_steps", "variable": "DeployRelease.SkipSteps", "label": "Steps to skip", "type": "lines", "required": False, "choices": None},
    {"key": "start", "variable": "DeployRelease.Start", "label": "Start", "type": "text", "required": False, "choices": None},
    {"key": "when", "variable": "DeployRelease.When", "label": "When", "type": "choice", "required": True, "choices": {"always": "Always", "if_not_current": "If the release is not current there", "if_newer": "If the release is newer than what is current there"}},
    {"key": "wait", "variable": "DeployRelease.Wait", "label": "Wait until it has ended", "type": "boolean", "required": False, "choices": None},
    {"key": "queue_limit", "variable": "DeployRelease.QueueLimit", "label": "Queue limit", "type": "duration", "required": True, "choices": None},
    {"key": "run_limit", "variable": "DeployRelease.RunLimit", "label": "Run limit", "type": "duration", "required": True, "choices": None},
    {"key": "on_timeout", "variable": "DeployRelease.OnTimeout", "label": "On timeout", "type": "choice", "required": True, "choices": {"cancel": "Cancel the deployment and fail", "leave": "Leave it alone and fail"}},
    {"key": "on_retry", "variable": "DeployRelease.OnRetry", "label": "When this step is started again", "type": "choice", "required": True, "choices": {"deploy_again": "Deploy again if the earlier deployment did not succeed", "keep": "Report the earlier deployment, whatever became of it"}},
    {"key": "more", "variable": "DeployRelease.More", "label": "More options", "type": "pairs", "required": False, "choices": None},
    {"key": "what_if", "variable": "DeployRelease.WhatIf", "label": "Only say what would be done", "type": "boolean", "required": False, "choices": None},
    {"key": "server", "variable": "DeployRelease.Server", "label": "Server", "type": "text", "required": True, "choices": None},
    {"key": "api_key", "variable": "DeployRelease.ApiKey", "label": "API key or access token", "type": "secret", "required": True, "choices": None},
    {"key": "ca_file", "variable": "DeployRelease.CaFile", "label": "CA file", "type": "text", "required": False, "choices": None},
    {"key": "space", "variable": "DeployRelease.Space", "label": "Space", "type": "text", "required": True, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
