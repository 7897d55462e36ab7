# Octopus - Wait For Deployment
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/wait-for-deployment.yaml or templates/steps/wait_for_deployment.py, then run: octosteps build
#
# spec: step_templates/wait-for-deployment.yaml
# id: c7f9d6f3-524a-4b5e-9a6d-1fc23dca74cf
# revision: 1
# digest: sha256:9ca87f889cb44438528f86beee351ee68aa0c8321da10252511401ccb6ae0e98

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import (
    Any,
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Sequence,
)

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


# ---- generator/runtime/step.py ----

MISCONFIGURED = "misconfigured"
REFUSED = "refused"
REFUSED_BY_SERVER = "refused by the server"
CHILD_FAILED = "child failed"
TIMED_OUT = "timed out"
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


def absence(what: str, name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = "did you mean {}?".format(" or ".join(near)) if near else "none has a similar name"
    return f"there is no {what} {name!r} that this account can see ({hint})"


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


def find_place(api: Api, project: str, environment: str, tenant: Optional[str]) -> Place:
    found = find_named(api, "projects", "project", project)
    return Place(
        project=found,
        environment=find_named(api, "environments", "environment", environment),
        tenant=find_named(api, "tenants", "tenant", tenant) if tenant else None,
    )


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
        self.deployment_id: str = (document.get("Arguments") or {}).get("DeploymentId") or ""
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


class Deployment(NamedTuple):
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


def history(api: Api, place: Place) -> Iterator[Deployment]:
    """Every deployment there, newest first, read page by page as far as somebody asks."""
    page: list[Mapping[str, Any]] = []
    for seen, document in enumerate(api.pages(place.collection, take=HISTORY_PAGE, **place.query()), start=1):
        if place.holds(document):
            page.append(document)
        if seen % HISTORY_PAGE == 0:
            yield from join_tasks(api, page)
            page = []
    yield from join_tasks(api, page)


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


def active_deployments(api: Api, place: Place) -> list[Deployment]:
    """Those executing, cancelling, waiting for a person, or queued and due, oldest first. Scheduled ones are not active."""
    now = utc_now(api)
    return [deployment for deployment in living_deployments(api, place) if deployment.task.is_active(now)]


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


def find_latest(
    api: Api, place: Place, wanted: Callable[[Deployment], bool] = lambda deployment: True
) -> Optional[Deployment]:
    """The newest `wanted` deployment that has ended and may have changed something."""
    for deployment in history(api, place):
        if not deployment.task.is_alive and deployment.began and wanted(deployment):
            return deployment
    return None


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


def read_release_of(api: Api, deployment: Deployment) -> Mapping[str, Any]:
    """The release; of a runbook run its snapshot, with the name as `Version`."""
    if "RunbookSnapshotId" in deployment.document:
        return numbered(api.get(f"runbookSnapshots/{deployment.release_id}"))
    document: Mapping[str, Any] = api.get(f"releases/{deployment.release_id}")
    return document


def numbered(snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
    """A runbook's snapshot as what a release is elsewhere."""
    return {**snapshot, "Version": snapshot["Name"]}


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


# ---- generator/runtime/waiting.py ----

SHORTEST_INTERVAL = 2.0
LONGEST_INTERVAL = 13.3  # with jitter below 15 s
LONGEST_SCHEDULED_INTERVAL = 60.0
BURST = 20.0
REQUESTS_PER_MINUTE = 5.5  # so that an hour with its first burst stays within 6 a minute
QUEUE_REASON_INTERVAL = 60.0
PROGRESS_INTERVAL = 30.0
LEAST_PATIENCE = 30.0
LOG_TAIL = 30  # lines of each activity, read again and again: what comes faster than that is not shown
MOST_TROUBLES = 100
ASK_AGAIN_INTERVAL = 60.0
CAP_OR_TAG = "the task cap is full, or they have a concurrency tag in common"
LONGEST_PAUSE_FOR_A_PERSON = timedelta(days=7)


class Limits(NamedTuple):
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
        self.task: Optional[Task] = None
        self.steps: list[StepState] = []
        self.in_queue = 0.0
        self.running = 0.0
        self.paused = 0.0
        self.cancelling: Optional[float] = None  # how long since somebody here asked to cancel it
        self.absences = 0
        self.changed_at = 0.0
        self.detailed_at = -1.0
        self.reason_at = -QUEUE_REASON_INTERVAL
        self.queue_reason = ""
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

    `aside` is called once a poll while something is still awaited.
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
    ) -> None:
        self.api = api
        self.log = log
        self.watches = list(watches)
        self.limits = limits
        self.stop = stop
        self.aside = aside
        self.usual = usual
        self.budget = RequestBudget(api)
        self.changed_at = self.looked_at = api.clock()
        self.progress_at = -PROGRESS_INTERVAL
        self.progress_told = ""
        self.percentage = 0
        self.shows_details = True
        self.shows_interruptions = True

    def wait(self) -> list[Watch]:
        """Returns when `stop` says so (then without watches), or with those whose limit has come. Never sleeps after the end."""
        if not self.alive():
            return []
        try:
            if all(watch.task is not None for watch in self.alive()):  # this is not the first call
                self.api.sleep(self.interval())
            while True:
                self.look()
                self.tell_changes()
                if self.stop(self.watches):
                    return []
                late = [watch for watch in self.alive() if watch.left(self.limits) <= 0]
                if late:
                    return late
                self.aside()
                self.api.sleep(self.interval())
        except StepFailure as failure:
            left_behind = ", ".join(str(watch) for watch in self.alive())
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
            rich=self.budget.level() >= 3,
            usual_left=usual_left,
        )
        seconds *= 0.9 + self.api.chance() / 5
        return min(left, max(seconds, self.api.advised_pause))

    def look(self) -> None:
        """One poll: the state of every task that is still alive, then what else the budget allows."""
        alive = self.alive()
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
            if not self.shows_details or self.budget.level() < 1:
                break
            self.read_details(watch)
        moment = utc_now(self.api)
        for watch in sorted(waiting, key=lambda one: one.reason_at):
            if watch.task and watch.task.queued and watch.task.is_scheduled(moment):
                watch.queue_reason = f"until {watch.task.queued:%Y-%m-%d %H:%M} UTC"
            elif self.budget.level() >= 4 and now - watch.reason_at >= QUEUE_REASON_INTERVAL:
                self.read_queue_reason(watch, now)

    def read_queue_reason(self, watch: Watch, now: float) -> None:
        watch.reason_at = now
        try:
            page = self.api.get(f"tasks/{watch.task_id}/queued-behind", take=3)
        except ApiError:
            return
        items = page.get("Items") or ()
        ahead = [item.get("Description") or item["Id"] for item in items]
        more = page.get("TotalResults", len(ahead)) - len(ahead)
        watch.queue_reason = "behind " + ", ".join(ahead) if ahead else ""
        watch.queue_reason += f" and {more} more" if ahead and more > 0 else ""
        if ahead:
            watch.queue_reason += f" ({self.why_queued(watch, items)})"

    def why_queued(self, watch: Watch, ahead: Sequence[Mapping[str, Any]]) -> str:
        """The likely cause: the server names the tasks that come first, and not why."""
        own = watch.task
        others = [str((task.get("Arguments") or {}).get("DeploymentId") or "") for task in ahead]
        if own is None or not own.deployment_id or not all(others) or self.budget.level() < 1:
            return CAP_OR_TAG
        cells = {
            one["Id"]: (one.get("ProjectId"), one.get("EnvironmentId"), one.get("TenantId") or None)
            for one in self.api.by_ids("deployments", [own.deployment_id, *others])
        }
        here = cells.get(own.deployment_id)
        if all(cells.get(other) == here for other in others):
            return "one at a time in the same project, environment and tenant"
        return CAP_OR_TAG

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
            tell = self.log.warning if trouble.level == "Warning" else self.log.error
            tell(": ".join(part for part in (watch.label, trouble.where, trouble.text) if part))

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


# ---- templates/steps/wait_for_deployment.py ----

STEP_GOALS = ("reached_step", "passed_step")


class Goal(Record):
    """What is waited for, where, and of which release."""

    place: Place
    until: str
    step_name: str
    passes_skipped: bool
    wanted: Optional[ReleaseChoice]
    max_age: Optional[timedelta]

    def __str__(self) -> str:
        return {
            "ended": "has ended",
            "succeeded": "has succeeded",
            "reached_step": f"has reached the step {self.step_name}",
            "passed_step": f"has passed the step {self.step_name}",
            "idle": "is idle",
        }[self.until]

    def is_met_by(self, steps: Sequence[StepState]) -> bool:
        state = find_step(list(steps), self.step_name)
        skipped = state is not None and state.status == "Skipped"
        return has_come_to(state, passed=self.until == "passed_step") or (skipped and self.passes_skipped)

    def is_lost_for(self, watch: Watch) -> bool:
        """Whether this task can no longer meet the goal: it has ended, or the step was skipped or did not succeed."""
        state = find_step(watch.steps, self.step_name)
        settled = state is not None and state.status in ("Skipped", "Failed", "Canceled")
        return not watch.is_alive or (settled and not self.is_met_by(watch.steps))


class Vigil:
    """One wait with everything it needs; `spent` is the unpaused time of all deployments that were followed one after another."""

    def __init__(self, parameters: Parameters, api: Api, goal: Goal) -> None:
        self.parameters = parameters
        self.step: Step = parameters.step
        self.api = api
        self.goal = goal
        self.numbers = ReleaseNumbers(api)
        self.spent = timedelta()

    def matches(self, deployment: Deployment) -> bool:
        """Whether the deployment is one of those that count, by its release and its age."""
        task, max_age = deployment.task, self.goal.max_age
        ended = task.completed if not task.is_alive else None
        if max_age is not None and ended is not None and utc_now(self.api) - ended > max_age:
            return False
        return self.goal.wanted is None or self.goal.wanted.admits(self.numbers.of(deployment))

    def find_active(self) -> list[Deployment]:
        return [one for one in active_deployments(self.api, self.goal.place) if self.matches(one)]

    def label(self, deployment: Deployment) -> str:
        return f"{self.numbers.of(deployment)} of {self.goal.place}"

    def limits(self) -> Limits:
        """What is left of both limits together bounds each."""
        parameters = self.parameters
        queue, run = parameters.queue_limit, parameters.run_limit
        left = max(timedelta(), queue + run - self.spent)
        return Limits(min(queue, left), min(run, left))

    def follow(self, deployments: Sequence[Deployment]) -> tuple[list[Watch], list[Watch]]:
        """The watches of these deployments as the goal was met or could no longer be, and those whose limit has come."""
        watches = [Watch(self.label(one), one.task.id, one.link) for one in deployments]
        for watch in watches:
            self.step.log.info(f"Following {watch}")
        waiter = Waiter(self.api, self.step.log, watches, self.limits())
        if self.goal.until in STEP_GOALS:
            waiter.stop = lambda seen: (
                any(self.goal.is_met_by(watch.steps) for watch in seen)
                or all(self.goal.is_lost_for(watch) for watch in seen)
                or not waiter.shows_details
            )
        late = waiter.wait()
        self.spent += timedelta(seconds=max(watch.in_queue + watch.running for watch in watches))
        if self.goal.until in STEP_GOALS:
            for watch in watches:
                if watch.detailed_at < watch.changed_at and not watch.is_alive:
                    waiter.read_details(watch)
            if not waiter.shows_details:
                self.step.fail(REFUSED_BY_SERVER, "the steps of the task cannot be read: that takes TaskView")
        return watches, late

    def report(self, deployment: Optional[Deployment], state: str, words: str, status: str = "") -> None:
        """The goal is met: the line that matters, and the outputs."""
        self.step.log.highlight(words)
        self.set_outputs(deployment, state, status)

    def set_outputs(
        self, deployment: Optional[Deployment], state: str, status: str = "", timed_out: bool = False
    ) -> None:
        self.step.output("State", state)
        self.step.output("Version", self.numbers.of(deployment) if deployment else "")
        self.step.output("DeploymentId", deployment.id if deployment else "")
        self.step.output("TaskId", deployment.task.id if deployment else "")
        self.step.output("Link", deployment.link if deployment else "")
        self.step.output("StepStatus", status)
        self.step.output("TimedOut", str(timed_out))

    def time_out(self, deployment: Optional[Deployment], state: str, words: str) -> None:
        parameters = self.parameters
        self.set_outputs(deployment, state, timed_out=True)
        if parameters.on_timeout == "fail":
            self.step.fail(TIMED_OUT, words)
        self.step.log.warning(f"Timed out, and going on as told: {words}")


@reads(release=parse_wanted_release, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    if parameters.until in STEP_GOALS and not parameters.step_name:
        step.fail(MISCONFIGURED, f"{parameters.label('step_name')}: a value is required to wait for a step")
    if parameters.until not in STEP_GOALS and parameters.step_name:
        step.fail(MISCONFIGURED, f"{parameters.label('step_name')}: only a wait for a step can have one")
    api = connect(parameters, parameters.queue_limit + parameters.run_limit)
    place = find_place(api, parameters.project, parameters.environment, parameters.tenant)
    wanted = parameters.release and parameters.release.resolved(step.variable("Octopus.Release.Number"))
    goal = Goal(
        place,
        parameters.until,
        parameters.step_name or "",
        parameters.if_skipped == "pass",
        wanted,
        parameters.max_age,
    )
    step.log.info(f"Waiting until {place} {goal}" + (f" (release {wanted})" if wanted else ""))
    vigil = Vigil(parameters, api, goal)
    if goal.until == "idle":
        wait_until_idle(vigil)
    else:
        wait_for_goal(vigil)


def wait_until_idle(vigil: Vigil) -> None:
    """Until nothing that counts is active; what becomes active meanwhile is waited for as well."""
    place = vigil.goal.place
    while True:
        active = vigil.find_active()
        if not active:
            vigil.report(None, "Idle", f"{place} is idle.")
            return
        _, late = vigil.follow(active)
        if late:
            words = f"{late[0]} keeps {place} busy: {late[0].state_in_words()}"
            vigil.time_out(one_of(active, late[0]), "Active", words)
            return


def wait_for_goal(vigil: Vigil) -> None:
    deployments = vigil.find_active()
    if not deployments:
        latest = find_latest(vigil.api, vigil.goal.place, vigil.matches)
        latest = latest or await_first(vigil)
        if latest is None:
            return
        deployments = [latest]
    while True:
        watches, late = vigil.follow(deployments)
        followed = [
            one._replace(task=watch.task)
            for one, watch in zip(deployments, watches)
            if watch.task is not None
        ]
        if late:
            words = f"{late[0]} has not come as far: {late[0].state_in_words()}, but {vigil.goal} was wanted"
            deployment = one_of(followed, late[0])
            vigil.time_out(deployment, deployment.task.state, words)
            return
        if vigil.goal.until in STEP_GOALS:
            for one, watch in zip(followed, watches):
                if vigil.goal.is_met_by(watch.steps):
                    status = status_of(vigil.goal, watch)
                    words = f"{watch}: {vigil.goal.step_name} is {status}"
                    vigil.report(one, one.task.state, words, status)
                    return
        newest, watch = max(zip(followed, watches), key=lambda pair: pair[0].number)
        successor = find_successor(vigil.api, vigil.goal.place, newest)
        if successor is None or not vigil.matches(successor):
            judge_end(vigil, newest, watch, successor)
            return
        vigil.step.log.info(f"{watch} was superseded.")
        deployments = [successor]


def one_of(deployments: Sequence[Deployment], watch: Watch) -> Deployment:
    [found] = [one for one in deployments if one.task.id == watch.task_id]
    return found


def status_of(goal: Goal, watch: Watch) -> str:
    state = find_step(watch.steps, goal.step_name)
    return state.status if state else ""


def judge_end(vigil: Vigil, deployment: Deployment, watch: Watch, successor: Optional[Deployment]) -> None:
    """The newest of those that were followed has ended, or can no longer meet the goal."""
    goal, state = vigil.goal, deployment.task.state
    status = status_of(goal, watch)
    if goal.until == "ended" or (goal.until == "succeeded" and state == "Success"):
        vigil.report(deployment, state, f"{watch}: {watch.state_in_words()}")
        return
    vigil.set_outputs(deployment, state, status)
    if successor is not None:
        number = vigil.numbers.of(successor)
        vigil.step.fail(CANCELLED, f"{watch} was superseded by {number}: {successor.link or successor.id}")
    kind = CANCELLED if state == "Canceled" else CHILD_FAILED
    if goal.until == "succeeded":
        cause = cause_of_failure(watch)
        vigil.step.fail(kind, f"{watch}: {state}" + (f": {cause}" if cause else ""))
    if status:
        vigil.step.fail(kind, f"{watch}: the step {goal.step_name} is {status}, and the task is {state}")
    names = ", ".join(step.name for step in watch.steps) or "none"
    vigil.step.fail(kind, f"{watch} ended as {state} without the step {goal.step_name}; its steps: {names}")


def await_first(vigil: Vigil) -> Optional[Deployment]:
    """Nothing that counts was ever deployed: the first one that appears, or None when the step is to go on without."""
    goal, api, parameters = vigil.goal, vigil.api, vigil.parameters
    if parameters.when_none != "wait":
        words = f"{goal.place} has no deployment that counts"
        if parameters.when_none == "fail":
            vigil.set_outputs(None, "None")
            vigil.step.fail(REFUSED, words)
        vigil.report(None, "None", f"{words}, and is not waited for.")
        return None
    vigil.step.log.waiting(f"There is no deployment of {goal.place} that counts: waiting for one to appear.")
    begun = api.clock()
    limit = parameters.queue_limit.total_seconds()
    before = None
    while True:
        seen = look_of_queue(vigil)
        if seen != before:
            before = seen
            active = vigil.find_active()
            found = active[0] if active else find_latest(api, goal.place, vigil.matches)
            if found is not None:
                vigil.spent += timedelta(seconds=api.clock() - begun)
                return found
        age = api.clock() - begun
        if age >= limit:
            words = f"no deployment of {goal.place} that counts has appeared within {spoken(parameters.queue_limit)}"
            vigil.time_out(None, "None", words)
            return None
        interval = poll_interval(age, queued=True, rich=True, usual_left=None) * (0.9 + api.chance() / 5)
        api.sleep(min(limit - age, max(interval, api.advised_pause)))


def look_of_queue(vigil: Vigil) -> list[tuple[str, str, bool]]:
    """The newest tasks of the place in one request: as long as this stays the same, nothing has appeared."""
    now = utc_now(vigil.api)
    page = vigil.api.get("tasks", take=10, **vigil.goal.place.task_query())
    tasks = [Task(item) for item in page.get("Items") or ()]
    return [(task.id, task.state, task.is_scheduled(now)) for task in tasks]


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Wait For Deployment", "spec": "step_templates/wait-for-deployment.yaml", "id": "c7f9d6f3-524a-4b5e-9a6d-1fc23dca74cf", "revision": 1}
PARAMETERS = (
    {"key": "project", "variable": "WaitForDeployment.Project", "label": "Project", "type": "text", "required": True, "choices": None},
    {"key": "environment", "variable": "WaitForDeployment.Environment", "label": "Environment", "type": "text", "required": True, "choices": None},
    {"key": "tenant", "variable": "WaitForDeployment.Tenant", "label": "Tenant", "type": "text", "required": False, "choices": None},
    {"key": "until", "variable": "WaitForDeployment.Until", "label": "Until", "type": "choice", "required": True, "choices": {"ended": "It has ended, however", "succeeded": "It has succeeded", "reached_step": "It has reached a step", "passed_step": "It has passed a step", "idle": "Nothing is being deployed there"}},
    {"key": "step_name", "variable": "WaitForDeployment.StepName", "label": "Step", "type": "text", "required": False, "choices": None},
    {"key": "if_skipped", "variable": "WaitForDeployment.IfSkipped", "label": "If that step is skipped", "type": "choice", "required": True, "choices": {"fail": "Fail", "pass": "Go on as if it had succeeded"}},
    {"key": "release", "variable": "WaitForDeployment.Release", "label": "Release", "type": "text", "required": False, "choices": None},
    {"key": "max_age", "variable": "WaitForDeployment.MaxAge", "label": "Ignore those that ended longer ago than", "type": "duration", "required": False, "choices": None},
    {"key": "when_none", "variable": "WaitForDeployment.WhenNone", "label": "When there is no deployment that counts", "type": "choice", "required": True, "choices": {"wait": "Wait for one to appear, up to the queue limit", "pass": "Go on", "fail": "Fail"}},
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
