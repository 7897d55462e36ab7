# Octopus - Verify Deployment
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/verify-deployment.yaml or templates/steps/verify_deployment.py, then run: octosteps build
#
# spec: step_templates/verify-deployment.yaml
# id: cbe89e34-e169-4895-b3f5-d21f03eebe63
# revision: 2
# digest: sha256:afbc12c57a068b19ddb22a4695b9dcf7c6fcc974ee9f71f336f985cc8b4bee4f

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any, Callable, Iterable, Iterator, Mapping, NoReturn, Optional, Sequence

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


# ---- generator/runtime/tasks.py ----

ALIVE_STATES = ("Queued", "Executing", "Cancelling")

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


def is_newer(number: str, other: str) -> Any:
    """Whether release `number` comes after `other`; None when one of the two is no version."""
    ours, theirs = version_or_none(number), version_or_none(other)
    if ours is None or theirs is None:
        return None
    return ours.rank() > theirs.rank()


# ---- generator/runtime/conditions.py ----

ANY = "any"
AT_LEAST = "at least "
IN_ENVIRONMENT = "in "
OWN_RELEASE = "my release"
OWN_DEPLOYMENT = "my deployment"


class VersionRule(Record):
    """Which release must be there: `choice`, or that of the environment `reference`; with `at_least` a later one will do too."""

    text: str
    choice: Optional[ReleaseChoice] = None
    reference: str = ""
    at_least: bool = False

    def __str__(self) -> str:
        return self.text


def parse_version_rule(text: str) -> Optional[VersionRule]:
    """`1.2.3`, `[1.0,2.0)`, `2026.4.*`, `same`, `in Test`, each of one release also after `at least`; None for `any`."""
    words = " ".join(text.split())
    if words.lower() == ANY:
        return None
    at_least = words.lower().startswith(AT_LEAST)
    rest = words[len(AT_LEAST) :] if at_least else words
    if rest.lower().startswith(IN_ENVIRONMENT):
        reference = rest[len(IN_ENVIRONMENT) :].strip()
        return VersionRule(words, reference=reference, at_least=at_least)
    choice = parse_wanted_release(rest)
    if at_least and choice.rule == "range":
        raise ValueError(f"{text!r}: at least is said of one release: a number, same, or in Test")
    return VersionRule(words, choice, at_least=at_least)


class Since(Record):
    """After what the deployment must have begun: a moment, or one of our own that is looked up."""

    text: str
    moment: Optional[datetime] = None

    def __str__(self) -> str:
        return self.text


def parse_since(text: str) -> Optional[Since]:
    """`my release` (was assembled), `my deployment` (was queued), a moment; None for `any`."""
    words = " ".join(text.split()).lower()
    if words == ANY:
        return None
    if words in (OWN_RELEASE, OWN_DEPLOYMENT):
        return Since(words)
    try:
        if words.startswith("+"):
            raise ValueError
        return Since(text.strip(), parse_moment(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is none of: {OWN_RELEASE}, {OWN_DEPLOYMENT}, a moment such as 2026-08-01T10:00+02:00"
        ) from None


def parse_age(text: str) -> Optional[timedelta]:
    """A duration; None for `any`."""
    return None if text.strip().lower() == ANY else parse_duration(text)


def condition_table() -> Mapping[str, Option]:
    """What a line may say beside its project; what it does not say is as the other fields of the form have it."""
    return {
        "environment": Option(str, ""),
        "tenant": Option(str, ""),
        "version": Option(parse_version_rule),
        "state": Option(one_of("success", "ended", "any"), "success"),
        "active": Option(one_of("nothing", "paused", "anything"), "nothing"),
        "max_age": Option(parse_age),
        "deployed_after": Option(parse_since),
        "blocked": Option(one_of("allowed", "refused"), "allowed"),
    }


class Demands(Record):
    """What is wanted of one place."""

    version: Optional[VersionRule] = None
    state: str = "success"
    active: str = "nothing"
    max_age: Optional[timedelta] = None
    deployed_after: Optional[Since] = None
    blocked: str = "allowed"

    @property
    def needs_deployment(self) -> bool:
        return self.state != ANY or bool(self.version or self.max_age or self.deployed_after)


class Findings(Record):
    """What is at one place. `reference`: the release of the environment that the version is compared with, "" for none."""

    latest: Optional[Deployment]
    version: str
    active: Sequence[str]
    paused: Sequence[str]
    reference: str
    after: Optional[datetime]
    defects: Sequence[str]
    now: datetime
    impossible: str = ""


class Row(Record):
    """One condition: what was found against what is wanted; `fault` is what is wrong, in words, "" when it holds."""

    place: Place
    what: str
    found: str
    wanted: str
    fault: str

    def cells(self) -> tuple[str, str, str, str]:
        return (self.what, self.found, self.wanted, "no" if self.fault else "yes")

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.place.project["Name"],
            "environment": self.place.environment["Name"],
            "tenant": self.place.tenant["Name"] if self.place.tenant else "",
            "condition": self.what,
            "found": self.found,
            "wanted": self.wanted,
            "met": not self.fault,
            "fault": self.fault,
        }


def check_place(place: Place, demands: Demands, found: Findings) -> list[Row]:
    """Every condition of one place, the unmet ones with their fault."""
    facts: list[tuple[str, str, str, str]] = []
    if found.latest is None:
        if demands.needs_deployment:
            fault = (
                f"cannot be deployed: {found.impossible}" if found.impossible else "has never been deployed"
            )
            facts.append(("deployed", "never", "yes", fault))
    else:
        if demands.state != ANY:
            facts.append(check_state(found.latest, found.version, demands.state))
        if demands.version is not None:
            facts.append(check_version(found.version, demands.version, found.reference))
        if demands.max_age is not None:
            facts.append(check_age(found.latest, demands.max_age, found.now))
        if demands.deployed_after is not None and found.after is not None:
            facts.append(check_after(found.latest, demands.deployed_after, found.after))
        if demands.blocked == "refused":
            facts.append(check_blocked(found.version, found.defects))
    if demands.active != "anything":
        facts.append(check_active(found, demands.active))
    return [Row(place, *fact) for fact in facts]


def check_state(latest: Deployment, version: str, wanted: str) -> tuple[str, str, str, str]:
    state = latest.task.state
    if wanted == "ended":
        return ("state", state, "any", "")
    where = ", ".join(part for part in (version, latest.link) if part)
    fault = "" if state == "Success" else f"ended as {state} at its last deployment ({where})"
    return ("state", state, "Success", fault)


def check_version(version: str, wanted: VersionRule, reference: str) -> tuple[str, str, str, str]:
    number, shown = reference, f"{wanted} ({reference})"
    if wanted.choice is not None:
        if not wanted.at_least:
            fault = "" if wanted.choice.admits(version) else f"is at {version}, wanted {wanted.choice}"
            return ("release", version, str(wanted.choice), fault)
        number = wanted.choice.number
        shown = f"at least {number}"
    elif not reference:
        fault = f"is at {version}, wanted {wanted}, where no deployment has succeeded"
        return ("release", version, f"{wanted} (nothing)", fault)
    equal = same_number(version, number)
    newer = wanted.at_least and is_newer(version, number)
    if equal or newer:
        return ("release", version, shown, "")
    if wanted.at_least and newer is None:
        shown += ", which cannot be compared"
    return ("release", version, shown, f"is at {version}, wanted {shown}")


def same_number(number: str, other: str) -> bool:
    return ReleaseChoice("exact", other, number=other).admits(number)


def check_age(latest: Deployment, max_age: timedelta, now: datetime) -> tuple[str, str, str, str]:
    limit = f"at most {spoken(max_age)}"
    if latest.task.completed is None:
        return ("age", "unknown", limit, "was deployed at a time that the server does not tell")
    age = now - latest.task.completed
    fault = f"was deployed {spoken(age)} ago, wanted {limit}" if age > max_age else ""
    return ("age", spoken(age), limit, fault)


def check_after(latest: Deployment, wanted: Since, after: datetime) -> tuple[str, str, str, str]:
    """By when the deployment began: one that was under way already may hold what was there before."""
    what = {
        OWN_RELEASE: "this release was assembled",
        OWN_DEPLOYMENT: "this deployment was queued",
    }.get(wanted.text, "")
    limit = f"{what}, {in_utc(after)}" if what else in_utc(after)
    began = latest.task.started
    if began is None:
        return ("begun", "unknown", f"after {limit}", "was deployed at a time that the server does not tell")
    fault = f"was last deployed at {in_utc(began)}, wanted after {limit}" if began <= after else ""
    return ("begun", in_utc(began), f"after {limit}", fault)


def in_utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def check_blocked(version: str, defects: Sequence[str]) -> tuple[str, str, str, str]:
    if not defects:
        return ("blocked", "no", "no", "")
    reasons = "; ".join(defects)
    return ("blocked", reasons, "no", f"has the release {version}, whose progression is blocked: {reasons}")


def check_active(found: Findings, allowed: str) -> tuple[str, str, str, str]:
    """`paused` ones wait for a person, and may stand there when they are allowed to."""
    others = [*found.active, *(() if allowed == "paused" else found.paused)]
    wanted = "by none but what waits for a person" if allowed == "paused" else "no"
    if others:
        words = ", ".join(others)
        verb = "is being replaced by" if found.latest is not None else "is being deployed:"
        return ("being replaced", f"by {words}", wanted, f"{verb} {words}")
    shown = "by " + ", ".join(found.paused) if found.paused else "no"
    return ("being replaced", shown, wanted, "")


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


# ---- generator/runtime/obstacles.py ----

def defects_of(api: Api, release_id: str) -> list[str]:
    """What blocks the progression of a release: its unresolved defects."""
    items = api.get(f"releases/{release_id}/defects").get("Items") or ()
    return [
        str(one.get("Description") or "a defect without a description")
        for one in items
        if one.get("Status") == "Unresolved"
    ]


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


def active_at(api: Api, places: Sequence[Place], own_task: str) -> dict[str, list[Deployment]]:
    """Those executing, cancelling, waiting for a person, or queued and due, by cell, oldest first. Scheduled ones are not."""
    now = utc_now(api)
    found = living_at(api, places, own_task)
    return {cell: [one for one in some if one.task.is_active(now)] for cell, some in found.items()}


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


# ---- generator/runtime/tables.py ----

def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row, the columns flush and parted by two blanks, under a header and a rule."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


# ---- templates/steps/verify_deployment.py ----

LONGEST_OUTPUT = 30_000


class Subject(Record):
    """One place with what is demanded there. `reference`: the same place in the environment that the version is taken from."""

    spot: Spot
    demands: Demands
    reference: Optional[Spot]


def parse_projects(lines: Sequence[str]) -> tuple[Clause, ...]:
    return parse_clauses(condition_table(), lines)


@reads(
    version=parse_version_rule,
    deployed_after=parse_since,
    projects=parse_projects,
    **CONNECTION_GRAMMARS,
)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    clauses = with_defaults(parameters)
    api = connect(parameters, timedelta())
    subjects = find_subjects(api, step, clauses)
    numbers = ReleaseNumbers(api)
    found = investigate(api, step, subjects, numbers)
    rows = [
        row
        for subject, findings in zip(subjects, found)
        for row in check_place(subject.spot.place, subject.demands, findings)
    ]
    show(step, subjects, found, rows)
    judge(step, parameters.on_mismatch, subjects, found, rows)


def with_defaults(parameters: Parameters) -> list[Clause]:
    """The form's own project, and the lines, each with everything that it leaves to the form."""
    form = {
        "environment": parameters.environment,
        "tenant": parameters.tenant or "",
        "version": parameters.version,
        "state": parameters.state,
        "active": parameters.active,
        "max_age": parameters.max_age,
        "deployed_after": parameters.deployed_after,
        "blocked": parameters.blocked,
    }
    clauses = [Clause(0, parameters.project, form)]
    for clause in parameters.projects or ():
        clauses.append(clause._replace(values={**form, **clause.values}))
    return clauses


def find_subjects(api: Api, step: Step, clauses: Sequence[Clause]) -> list[Subject]:
    """Every place that is meant, each with its demands; all names that lead nowhere are told together."""
    own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
    own_number = step.variable("Octopus.Release.Number")
    wanted: list[tuple[str, str, str]] = []
    for clause in clauses:
        wanted.append((clause.subject, clause.values["environment"], clause.values["tenant"]))
        rule = clause.values["version"]
        if rule is not None and rule.reference:
            wanted.append((clause.subject, rule.reference, clause.values["tenant"]))
    spots = find_spots(api, wanted, own_tenant)
    subjects = []
    for clause in clauses:
        values = dict(clause.values)
        environment, tenant = values.pop("environment"), values.pop("tenant")
        rule = values["version"]
        references: Mapping[Optional[str], Spot] = {}
        if rule is not None and rule.choice is not None:
            values["version"] = rule._replace(choice=rule.choice.resolved(own_number))
        if rule is not None and rule.reference:
            there = spots[clause.subject, rule.reference, tenant]
            references = {spot.place.tenant_id: spot for spot in there}
        for spot in spots[clause.subject, environment, tenant]:
            subjects.append(Subject(spot, Demands(**values), references.get(spot.place.tenant_id)))
    return subjects


def investigate(api: Api, step: Step, subjects: Sequence[Subject], numbers: ReleaseNumbers) -> list[Findings]:
    """What is at every place, by some lists for all of them."""
    possible = [subject.spot.place for subject in subjects if not subject.spot.impossible]
    # In this order: one that ends between the two reads is then seen as active, and never overlooked.
    own = own_task(step)
    active = active_at(api, possible, own.id if own.server == api.url.lower() else "")
    latest = latest_at(api, possible)
    references = latest_at(
        api,
        [one.reference.place for one in subjects if one.reference and not one.reference.impossible],
        lambda place, deployment: deployment.task.state == "Success",
    )
    everything = [*latest.values(), *references.values(), *(one for some in active.values() for one in some)]
    numbers.learn(everything)
    moments = own_moments(api, step, subjects)
    found = []
    for subject in subjects:
        cell = cell_key(subject.spot.place)
        last, others = latest.get(cell), active.get(cell, [])
        compared = references.get(cell_key(subject.reference.place)) if subject.reference else None
        after = subject.demands.deployed_after
        found.append(
            Findings(
                latest=last,
                version=numbers.of(last) if last else "",
                active=[named(one, numbers) for one in others if not one.task.is_paused],
                paused=[named(one, numbers) for one in others if one.task.is_paused],
                reference=numbers.of(compared) if compared else "",
                after=(after.moment or moments[after.text]) if after else None,
                defects=defects_of(api, last.release_id)
                if last and subject.demands.blocked == "refused"
                else (),
                now=utc_now(api),
                impossible=subject.spot.impossible,
            )
        )
    return found


def own_moments(api: Api, step: Step, subjects: Sequence[Subject]) -> dict[str, datetime]:
    """When the release and the deployment of the running task were made, as far as somebody asks."""
    asked = [one.demands.deployed_after for one in subjects if one.demands.deployed_after]
    moments: dict[str, datetime] = {}
    for word in sorted({since.text for since in asked if since.moment is None}):
        moment = own_release_time(api, step) if word == OWN_RELEASE else own_queue_time(api, step)
        if moment is None:
            step.fail(
                MISCONFIGURED, f"{word!r}: there is none here, or the server does not tell when it was made"
            )
        moments[word] = moment
    return moments


def own_release_time(api: Api, step: Step) -> Optional[datetime]:
    """When the release of the running deployment was assembled; None in a runbook, which has none."""
    release = step.variable("Octopus.Release.Id")
    return moment_or_none(api.get(f"releases/{release}").get("Assembled")) if release else None


def named(deployment: Deployment, numbers: ReleaseNumbers) -> str:
    state = deployment.task.state + (", waits for a person" if deployment.task.is_paused else "")
    return f"{numbers.of(deployment)} ({state}, {deployment.link or deployment.id})"


def show(step: Step, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]) -> None:
    """The table in the log, the outputs, and the rows for the result file."""
    columns = ("condition", "found", "wanted", "met")
    if len(subjects) == 1:
        step.log.info(str(subjects[0].spot.place))
        lines = table_lines(columns, [row.cells() for row in rows])
    else:
        lines = table_lines(("where", *columns), [(str(row.place), *row.cells()) for row in rows])
    for line in lines:
        step.log.info(line)
    latest = [findings.latest for findings in found if findings.latest is not None]
    conditions = [row.to_json() for row in rows]
    text = as_text(conditions)
    if len(text) > LONGEST_OUTPUT:
        text = as_text([one for one in conditions if not one["met"]])
    step.output("Verified", str(not any(row.fault for row in rows)))
    step.output("Version", joined_once(findings.version for findings in found))
    step.output("State", joined_once(one.task.state for one in latest))
    step.output("DeploymentId", joined_once(one.id for one in latest))
    step.output("Link", joined_once(one.link for one in latest))
    step.output("Faults", "\n".join(sentences(rows, with_place=len(subjects) > 1)))
    step.output("Conditions", text)
    step.result["conditions"] = conditions


def joined_once(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def as_text(conditions: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(conditions, ensure_ascii=False)


def sentences(rows: Sequence[Row], *, with_place: bool) -> list[str]:
    return [f"{row.place} {row.fault}" if with_place else row.fault for row in rows if row.fault]


def judge(
    step: Step, on_mismatch: str, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]
) -> None:
    """The line that matters, or the failure with every row that is not met."""
    faults = sentences(rows, with_place=True)
    if not faults:
        tell_verified(step, subjects, found, rows)
        return
    words = "; ".join(faults)
    if len(subjects) == 1:
        place = subjects[0].spot.place
        words = f"{place} {'; '.join(sentences(rows, with_place=False))}"
    else:
        bad = len({cell_key(row.place) for row in rows if row.fault})
        words = f"{bad} of {len(subjects)} are not as wanted: {words}"
    if on_mismatch == "fail":
        step.fail(REFUSED, words)
    tell = step.log.warning if on_mismatch == "warn" else step.log.highlight
    for fault in faults if len(subjects) > 1 else [words]:
        tell(fault)


def tell_verified(
    step: Step, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]
) -> None:
    if len(subjects) > 1:
        step.log.highlight(f"Verified: {len(rows)} conditions at {len(subjects)} places")
        return
    [subject], [findings] = subjects, found
    link = f", {findings.latest.link}" if findings.latest else ""
    at = f"is at {findings.version}" if findings.version else "is not deployed, and nothing is on its way"
    step.log.highlight(f"Verified: {subject.spot.place} {at}{link}")


# ---- The form: one row a parameter ----

STEP = {"name": "Octopus - Verify Deployment", "spec": "step_templates/verify-deployment.yaml", "id": "cbe89e34-e169-4895-b3f5-d21f03eebe63", "revision": 2}
PARAMETERS = (
    {"key": "project", "variable": "VerifyDeployment.Project", "label": "Project", "type": "text", "required": True, "choices": None},
    {"key": "environment", "variable": "VerifyDeployment.Environment", "label": "Environment", "type": "text", "required": True, "choices": None},
    {"key": "tenant", "variable": "VerifyDeployment.Tenant", "label": "Tenant", "type": "text", "required": False, "choices": None},
    {"key": "version", "variable": "VerifyDeployment.Version", "label": "Version", "type": "text", "required": False, "choices": None},
    {"key": "state", "variable": "VerifyDeployment.State", "label": "How it must have ended", "type": "choice", "required": True, "choices": {"success": "It has succeeded", "ended": "It has ended, however", "any": "It need not have been deployed at all"}},
    {"key": "active", "variable": "VerifyDeployment.Active", "label": "What may be on its way there", "type": "choice", "required": True, "choices": {"nothing": "Nothing", "paused": "Only what waits for a person", "anything": "Anything"}},
    {"key": "max_age", "variable": "VerifyDeployment.MaxAge", "label": "Not older than", "type": "duration", "required": False, "choices": None},
    {"key": "deployed_after", "variable": "VerifyDeployment.DeployedAfter", "label": "Deployed after", "type": "text", "required": False, "choices": None},
    {"key": "blocked", "variable": "VerifyDeployment.Blocked", "label": "Blocked progression", "type": "choice", "required": True, "choices": {"allowed": "Does not matter", "refused": "The release there must not be blocked"}},
    {"key": "projects", "variable": "VerifyDeployment.Projects", "label": "More projects", "type": "lines", "required": False, "choices": None},
    {"key": "on_mismatch", "variable": "VerifyDeployment.OnMismatch", "label": "When it does not hold", "type": "choice", "required": True, "choices": {"fail": "Fail this step", "warn": "Warn and go on", "tell": "Go on, and only tell"}},
    {"key": "server", "variable": "VerifyDeployment.Server", "label": "Server", "type": "text", "required": True, "choices": None},
    {"key": "api_key", "variable": "VerifyDeployment.ApiKey", "label": "API key or access token", "type": "secret", "required": True, "choices": None},
    {"key": "ca_file", "variable": "VerifyDeployment.CaFile", "label": "CA file", "type": "text", "required": False, "choices": None},
    {"key": "space", "variable": "VerifyDeployment.Space", "label": "Space", "type": "text", "required": True, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
