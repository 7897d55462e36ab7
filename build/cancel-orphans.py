# Octopus - Cancel Orphans
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/cancel-orphans.yaml or templates/steps/cancel_orphans.py, then run: octosteps build
#
# spec: step_templates/cancel-orphans.yaml
# id: 6e0c7d1b-9a52-4c0e-8f3d-2b7a51c4e9d6
# revision: 2
# digest: sha256:5984a1b07da9899a97860224f16cbc26a5a86128a3726f20eea9beac5291abc6

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

REFUSED_BY_SERVER = "refused by the server"

TIMED_OUT = "timed out"

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


# ---- generator/runtime/tasks.py ----

ALIVE_STATES = ("Queued", "Executing", "Cancelling")

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


# ---- generator/runtime/orphans.py ----

# A task's name, its argument that names what it carries out, and the collection of those documents.
CARRIERS: Sequence[tuple[str, str, str]] = (
    ("Deploy", "DeploymentId", "deployments"),
    ("RunbookRun", "RunbookRunId", "runbookRuns"),
)
ORPHANED, ACCOMPANIED, LEFT_ALONE, UNCERTAIN = "orphaned", "accompanied", "left alone", "uncertain"
RESULT_ENDING = ".result.json"
RESULT_PATIENCE = 10.0  # seconds; what is no JSON is not ours
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


class Finding(Record):
    """What is to be thought of a child, and why. `parent` is its parent's task where the server returns it."""

    child: MarkedChild
    verdict: str
    reason: str
    parent: Optional[Task] = None


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


def read_parents(api: Api, children: Sequence[MarkedChild]) -> dict[ParentTask, Task]:
    """Of the children's parents those that this server returns: one request for each space that they are in."""
    wanted = list(dict.fromkeys(child.marker.parent for child in children if child.marker.parent.is_known))
    found: dict[ParentTask, Task] = {}
    for space in dict.fromkeys(parent.space for parent in wanted):
        within = [parent for parent in wanted if parent.space == space]
        try:
            documents = api.by_ids(f"/api/{space}/tasks", [parent.id for parent in within])
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            continue  # a space that the account may not see
        tasks = {document["Id"]: Task(document) for document in documents}
        found.update((parent, tasks[parent.id]) for parent in within if parent.id in tasks)
    return found


def judge_children(api: Api, children: Sequence[MarkedChild], servers: Container[str]) -> list[Finding]:
    """A finding for each child. `servers` are the addresses of the server in `api`: task ids of others mean something else."""
    here = [child for child in children if child.is_awaited and child.marker.parent.server in servers]
    parents = read_parents(api, here)
    return [judge_child(child, parents.get(child.marker.parent), servers) for child in children]


def judge_child(child: MarkedChild, parent: Optional[Task], servers: Container[str]) -> Finding:
    marked = child.marker.parent
    if not child.is_awaited:
        return Finding(child, LEFT_ALONE, "the step that made it was told not to wait")
    if not marked.is_known:
        return Finding(child, UNCERTAIN, "it was made outside Octopus, where nobody can tell who waits")
    if marked.server not in servers:
        return Finding(child, UNCERTAIN, f"its parent {marked.id} is on another server, {marked.server}")
    if parent is None:
        return Finding(
            child,
            UNCERTAIN,
            f"its parent {marked.id} in {marked.space} was deleted, or this account may not see it (that takes TaskView)",
        )
    if parent.is_alive:
        return Finding(child, ACCOMPANIED, f"its parent is {parent.state}", parent)
    return Finding(child, ORPHANED, f"its parent ended as {parent.state}", parent)


def spare_left(api: Api, findings: Sequence[Finding]) -> list[Finding]:
    """The findings, but orphans that their own step left alone when their time was out are no orphans.

    Comments cannot be changed, so that the marker still says awaited; the step's result, an artifact of the parent, names them.
    """
    left: dict[ParentTask, set[str]] = {}
    judged = []
    for finding in findings:
        parent = finding.child.marker.parent
        if finding.verdict == ORPHANED:
            if parent not in left:
                left[parent] = read_left(api, parent)
            if finding.child.task.id in left[parent]:
                reason = "the step that awaited it left it alone when its time was out"
                finding = Finding(finding.child, LEFT_ALONE, reason, finding.parent)
        judged.append(finding)
    return judged


def read_left(api: Api, parent: ParentTask) -> set[str]:
    """The tasks that the steps of `parent` left alone; none where the account may not see the artifacts (ArtifactView)."""
    try:
        found: set[str] = set()
        for artifact in api.pages(f"/api/{parent.space}/artifacts", regarding=parent.id):
            if str(artifact.get("Filename") or "").endswith(RESULT_ENDING):
                path = f"/api/{parent.space}/artifacts/{artifact['Id']}/content"
                result = api.get(path, patience=RESULT_PATIENCE)
                found.update(map(str, result.get("left") or ()) if isinstance(result, dict) else ())
        return found
    except (ApiError, ApiUnreachable) as error:
        if getattr(error, "status", 404) not in (403, 404):
            raise
        return set()


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


def addresses(api: Api, step: Any) -> tuple[str, ...]:
    """How the server of `api` may be called in a marker: by its own address, and by the one that this step's task knows."""
    ours = own_task(step).server
    if ours in ("", api.url.lower()) or read_own_task(api, step) is None:
        return (api.url.lower(),)
    return (api.url.lower(), ours)


# ---- generator/runtime/tables.py ----

def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row, the columns flush and parted by two blanks, under a header and a rule."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


# ---- templates/steps/cancel_orphans.py ----

@reads(**CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    api = connect(parameters, parameters.cancel_limit)
    children = marked_children(api, **narrowed(api, parameters))
    findings = spare_left(api, judge_children(api, children, addresses(api, step))) if children else []
    orphans = [finding for finding in findings if finding.verdict == ORPHANED]
    uncertain = [finding for finding in findings if finding.verdict == UNCERTAIN]
    tell_findings(step, findings)
    set_outputs(step, orphans, uncertain, [])
    if not orphans:
        step.log.highlight("No orphans" + (f"; {len(uncertain)} uncertain" if uncertain else "") + ".")
        return
    if parameters.what_if:
        step.log.highlight(f"What-if: {len(orphans)} would be cancelled. Nothing was changed.")
        return
    asked, refused = ask_all(api, step, orphans)
    ended = wait_for_end(api, asked, parameters.cancel_limit.total_seconds())
    tell_ends(step, orphans, ended)
    set_outputs(step, orphans, uncertain, [task for task in ended.values() if task.state == "Canceled"])
    if refused:
        step.fail(REFUSED_BY_SERVER, "; ".join(refused))
    over = {task.id for task in ended.values() if not task.is_alive}
    hanging = [finding.child for finding in orphans if finding.child.task.id not in over]
    if hanging:
        names = ", ".join(map(str, hanging))
        step.fail(TIMED_OUT, f"cancelling has not ended within {spoken(parameters.cancel_limit)}: {names}")


def narrowed(api: Api, parameters: Parameters) -> dict[str, Any]:
    """The filters of the list of tasks; without any, everything in the space that the account may see."""
    query: dict[str, Any] = {}
    if parameters.project:
        query["project"] = find_named(api, "projects", "project", parameters.project)["Id"]
    if parameters.environment:
        query["environment"] = find_named(api, "environments", "environment", parameters.environment)["Id"]
    return query


def tell_findings(step: Step, findings: Sequence[Finding]) -> None:
    """One row for each child on its way that one of our steps made; and what to do about those that remain uncertain."""
    rows = [[finding.verdict, finding.child.task.description, finding.reason] for finding in findings]
    if rows:
        for line in table_lines(["Verdict", "Child", "Why"], rows):
            step.log.info(line)
    for finding in findings:
        if finding.verdict == ORPHANED and finding.parent is not None:
            step.log.info(f"{finding.child}: awaited by {finding.parent.description}")
        if finding.verdict == UNCERTAIN:
            step.log.warning(f"{finding.child} is left alone, for {finding.reason}.")


def ask_all(api: Api, step: Step, orphans: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """The ids of the tasks that the server agreed to cancel or that have ended by now, and what it said of the others."""
    asked, refused = [], []
    for finding in orphans:
        child = finding.child
        try:
            ask_to_cancel(api, child.task.id)
        except ApiError as error:
            if error.status == 401:
                raise
            step.log.warning(f"{child} cannot be cancelled: {error.sentence}")
            refused.append(f"{child}: {error.sentence}")
        else:
            asked.append(child.task.id)
    return asked, refused


def wait_for_end(api: Api, ids: Sequence[str], longest: float) -> dict[str, Task]:
    """The tasks as last seen: all ended, or `longest` seconds later. One request a poll."""
    deadline = api.clock() + longest
    seen: dict[str, Task] = {}
    while True:
        open_ids = [one for one in ids if one not in seen or seen[one].is_alive]
        if not open_ids:
            return seen
        seen.update(read_tasks(api, open_ids))
        left = deadline - api.clock()
        if left <= 0 or not any(one not in seen or seen[one].is_alive for one in ids):
            return seen
        api.sleep(min(CANCEL_INTERVAL, left))


def tell_ends(step: Step, orphans: Sequence[Finding], ended: dict[str, Task]) -> None:
    for finding in orphans:
        task = ended.get(finding.child.task.id)
        if task is not None:
            step.log.highlight(f"{finding.child}: {task.state}")


def set_outputs(
    step: Step, orphans: Sequence[Finding], uncertain: Sequence[Finding], cancelled: Sequence[Task]
) -> None:
    step.output("Orphans", ",".join(finding.child.task.id for finding in orphans))
    step.output("Uncertain", ",".join(finding.child.task.id for finding in uncertain))
    step.output("Cancelled", ",".join(task.id for task in cancelled))


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Cancel Orphans", "spec": "step_templates/cancel-orphans.yaml", "id": "6e0c7d1b-9a52-4c0e-8f3d-2b7a51c4e9d6", "revision": 2}
PARAMETERS = (
    {"key": "project", "variable": "CancelOrphans.Project", "label": "Project", "type": "text", "required": False, "choices": None},
    {"key": "environment", "variable": "CancelOrphans.Environment", "label": "Environment", "type": "text", "required": False, "choices": None},
    {"key": "cancel_limit", "variable": "CancelOrphans.CancelLimit", "label": "Cancel limit", "type": "duration", "required": True, "choices": None},
    {"key": "what_if", "variable": "CancelOrphans.WhatIf", "label": "Only say what would be done", "type": "boolean", "required": False, "choices": None},
    {"key": "server", "variable": "CancelOrphans.Server", "label": "Server", "type": "text", "required": True, "choices": None},
    {"key": "api_key", "variable": "CancelOrphans.ApiKey", "label": "API key or access token", "type": "secret", "required": True, "choices": None},
    {"key": "ca_file", "variable": "CancelOrphans.CaFile", "label": "CA file", "type": "text", "required": False, "choices": None},
    {"key": "space", "variable": "CancelOrphans.Space", "label": "Space", "type": "text", "required": True, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
