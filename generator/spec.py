"""What a step template is, as its spec says it: the data type, the types of parameters, and how values look in Octopus.

`parse_spec` turns a read file into a `Spec` or tells every fault of the file by itself. Faults that need the entry script or
other specs are found in `rules` and told by `workspace`.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from generator.errors import Problem, Problems
from generator.runtime.parameters import parse_value
from generator.source import Path, Source, check_schema, closest
from generator.step_template import (
    EXPORTED_AT,
    LAST_MODIFIED_BY,
    MARKER_PREFIX,
    OCTOPUS_VERSION,
    OUR_PROPERTIES,
    stable_id,
)

MOST_PARAMETERS = 20
RUN_ON = {"worker": "true", "server": "true", "targets": "false"}
"""`run_on` and the property Octopus.Action.RunOnServer, which the portal reads in lower case. Whether the server's own worker
or a pool runs it is chosen in each step: a template has no word for it."""

RESERVED = {"step": "the running step", "label": "how a script asks for a field's label"}
"""What `parameters` has beside the fields of the form."""

OUTPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

EXPRESSION = "#" + "{"
"""How an Octostache expression opens; spelt so that no file of ours holds the two characters in a row in code."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One field of the form: `on_timeout` in the spec (`key`), `OnTimeout` (`name`), `Prefix.OnTimeout` there (`variable`)."""

    key: str
    name: str
    variable: str
    label: str
    type: str
    required: bool = False
    default: str | None = None  # in Octopus' form
    choices: Mapping[str, str] = field(default_factory=dict)
    help: str = ""
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One spec file. `source_name` is its path as printed, `script` the path of the entry script below the scripts folder.

    With `verbatim` the template is kept as it is: there is no prefix, and `run_on` and outputs are not known. `pulled` is a
    short digest of the content that the spec was last brought to by `octosteps pull`.
    """

    source_name: str
    id: str
    name: str
    category: str
    version: int
    description: str
    script: str
    prefix: str
    run_on: str
    parameters: tuple[Parameter, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    exported_at: str = EXPORTED_AT
    octopus_version: str = OCTOPUS_VERSION
    last_modified_by: str = LAST_MODIFIED_BY
    verbatim: bool = False
    pulled: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The spec file's name without folder and ending: what its files in `build/` are called."""
        return FilePath(self.source_name).stem


@cache
def read_schema() -> Mapping[str, object]:
    """The JSON Schema of spec files, draft 2020-12."""
    text = (FilePath(__file__).parent / "schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, object] = json.loads(text)
    return schema


@cache
def guid_pattern() -> re.Pattern[str]:
    """What an `id` looks like."""
    schema: Any = read_schema()
    return re.compile(schema["$defs"]["spec"]["properties"]["id"]["pattern"])


def is_verbatim(source: Source) -> bool:
    """Whether the spec's template is kept as it is."""
    return source.data.get("verbatim") is True


def parse_spec(source: Source, *, source_name: str | None = None) -> Spec:
    """The spec in a file; `source_name` is its path below the library's root, where problems call it otherwise.

    The parameters of a verbatim one are left to `verbatim`. Errors: Problems with every fault that the file shows by itself.
    """
    problems = [*check_schema(source, read_schema()), *([] if is_verbatim(source) else check_spec(source))]
    if problems:
        raise Problems(problems)
    data = source.data
    if is_verbatim(source):
        return Spec(
            source_name=source_name or source.name,
            id=data["id"].lower(),
            name=data["name"],
            category=data.get("category") or "",
            version=int(data.get("version", 0)),
            description=(data.get("description") or "").rstrip(),
            script=data.get("script", ""),
            prefix="",
            run_on="",
            verbatim=True,
            pulled=data.get("pulled", ""),
        )
    return Spec(
        source_name=source_name or source.name,
        id=data["id"].lower(),
        name=data["name"],
        category=data["category"],
        version=int(data["version"]),  # to JSON Schema 1.0 is a whole number, too
        description=data["description"].rstrip(),
        script=data["script"],
        prefix=data["prefix"],
        run_on=data["run_on"],
        parameters=tuple(
            _parameter(key, entry, data["prefix"], data["id"])
            for key, entry in data.get("parameters", {}).items()
        ),
        outputs=data.get("outputs", {}),
        vars=data.get("vars", {}),
        exported_at=data.get("exported_at", EXPORTED_AT),
        octopus_version=data.get("octopus_version", OCTOPUS_VERSION),
        last_modified_by=data.get("last_modified_by", LAST_MODIFIED_BY),
        pulled=data.get("pulled", ""),
        properties=data.get("properties", {}),
    )


def parameter_name(key: str) -> str:
    """`on_timeout` -> `OnTimeout`: the parameter's name in Octopus, without the prefix."""
    return "".join(word[:1].upper() + word[1:] for word in key.split("_"))


def parameter_key(name: str) -> str:
    """`OnTimeout` -> `on_timeout`: the key in a spec that a name without its prefix would have."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+", name)
    return "_".join(word.lower() for word in words)


def _parameter(key: str, entry: Mapping[str, Any], prefix: str, spec_id: str) -> Parameter:
    name = parameter_name(key)
    parameter = Parameter(
        key=key,
        name=name,
        variable=f"{prefix}.{name}",
        label=entry["label"],
        type=entry["type"],
        required=entry.get("required", False),
        choices=entry.get("choices", {}),
        help=entry.get("help", "").rstrip(),
        id=stable_id(spec_id, name),
    )
    if "default" not in entry:
        return parameter
    return Parameter(**{**parameter.__dict__, "default": octopus_text(parameter, entry["default"])})


# --- faults of one spec by itself that a schema cannot say ---------------------------------------------------------


def check_spec(source: Source) -> list[Problem]:
    """Faults beyond the schema's; works on whatever of the file has the right shape, so that all are told in one run."""
    data = source.data
    problems: list[Problem] = []
    for key in ("name", "category"):
        problems.extend(_invisible(source, key, data.get(key)))
    for name in _mapping(data.get("outputs")):
        if not OUTPUT_NAME.fullmatch(name):
            message = f"the output's name '{name}' must be letters, digits and '_'"
            problems.append(source.problem(("outputs", name), message, at_key=True))
    for name in _mapping(data.get("properties")):
        if name in OUR_PROPERTIES or name.startswith(MARKER_PREFIX):
            message = f"the property '{name}' is written by octosteps itself"
            problems.append(source.problem(("properties", name), message, "remove it", at_key=True))
    parameters = _mapping(data.get("parameters"))
    if len(parameters) > MOST_PARAMETERS:
        message = (
            f"{len(parameters)} parameters make a form that nobody fills in: {MOST_PARAMETERS} is the most"
        )
        hint = "share one field with a small grammar, or 'name = value' lines of a field of type pairs"
        problems.append(source.problem(("parameters",), message, hint, at_key=True))
    seen: dict[str, str] = {}
    for key, entry in parameters.items():
        path: Path = ("parameters", key)
        problems.extend(source.problem(path, message, hint, at_key=True) for message, hint in key_faults(key))
        folded = parameter_name(key).lower()
        if folded in seen and key != seen[folded]:
            message = f"'{key}' and '{seen[folded]}' are one name to Octopus, which ignores case"
            problems.append(source.problem(path, message, at_key=True))
        seen.setdefault(folded, key)
        if isinstance(entry, dict):
            problems.extend(_parameter_problems(source, path, key, entry))
    return problems


def _invisible(source: Source, key: str, text: object) -> Iterator[Problem]:
    """Two names that look alike would be two templates. Languages need U+200C, emoji U+200D."""
    for letter in text if isinstance(text, str) else "":
        if not letter.isprintable() and letter not in "\u200c\u200d":
            message = f"'{key}' holds the invisible character U+{ord(letter):04X}"
            yield source.problem((key,), message, "type it anew")
            return


def key_faults(key: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a parameter's name in the spec: messages and hints."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", key):
        prefix, dot, name = key.rpartition(".")
        wished = parameter_key(name)
        hint = f"like {wished}, below prefix: {prefix}" if dot and wished else "like on_timeout"
        yield f"the parameter's name '{key}' must be small letters, digits and single '_'", hint
    elif keyword.iskeyword(key):
        yield f"'{key}' is a word of Python's own: the script could not write parameters.{key}", ""
    elif key in RESERVED:
        yield (
            f"the parameter's name '{key}' is taken: parameters.{key} is {RESERVED[key]}",
            f"like {key}_name",
        )


def _parameter_problems(source: Source, path: Path, key: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return
    choices = entry.get("choices")
    if "choices" in entry and kind != "choice":
        yield source.problem((*path, "choices"), f"a parameter of type {kind} has no choices", at_key=True)
    for value, label in _mapping(choices).items():
        if "|" in value or "\n" in value or (isinstance(label, str) and "\n" in label):
            message = "a choice must be one line, and its value must not hold '|'"
            yield source.problem((*path, "choices", value), message, at_key=True)
    if "default" not in entry or entry["default"] is None:
        return
    where: Path = (*path, "default")
    if kind == "secret":
        message = "a secret has no default: it would be readable in the template"
        yield source.problem(
            where, message, "bind it to a sensitive project variable in the step", at_key=True
        )
        return
    if kind == "choice" and not isinstance(choices, dict):
        return
    parameter = Parameter(key=key, name="", variable="", label="", type=kind, choices=_mapping(choices))
    try:
        octopus_text(parameter, entry["default"])
    except ValueError as error:
        message, _, hint = str(error).partition("\n")
        written = source.written.get(where)
        if written and "a text" in message:
            hint = f'put it in quotes: "{written}"'
        yield source.problem(where, f"the default does not fit the type {kind}: {message}", hint)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# --- values ------------------------------------------------------------------------------------------------------------


def octopus_text(parameter: Parameter, value: object) -> str:
    """A YAML value as the text that Octopus keeps for the parameter.

    An expression is taken as it is, for every type. Errors: ValueError with a message for people, where a second line is a
    hint.
    """
    if isinstance(value, str) and EXPRESSION in value:
        return value
    if value is None:
        raise ValueError(
            f"there is no value\nwrite '' for an empty one; an unquoted {EXPRESSION} begins a comment in YAML"
        )
    text = TYPES[parameter.type].to_text(parameter, value)
    if text.strip():
        # The parser that reads the form in the running step is the judge here, too.
        entry = {"type": parameter.type, "variable": parameter.variable, "choices": parameter.choices}
        parse_value(entry, text.strip(), lambda name: "")
    return text


def _want_text(value: object, wanted: str = "a text") -> str:
    if isinstance(value, str):
        return value
    shown = (
        "true or false"
        if isinstance(value, bool)
        else "a number"
        if isinstance(value, int | float)
        else "a list"
    )
    if isinstance(value, Mapping):
        shown = "a mapping"
    raise ValueError(
        f"it must be {wanted}, not {shown}" + ("\nput it in quotes" if wanted == "a text" else "")
    )


def _one_line(parameter: Parameter, value: object) -> str:
    text = _want_text(value).strip()
    if "\n" in text:
        raise ValueError("it must be one line")
    return text


def _secret(parameter: Parameter, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a text\nput it in quotes")
    return value


def _lines(parameter: Parameter, value: object) -> str:
    if isinstance(value, str):
        return value.rstrip("\n")
    if not isinstance(value, list):
        raise ValueError("it must be a text or a list of texts")
    return "\n".join(_one_line(parameter, item) for item in value)


def _pairs(parameter: Parameter, value: object) -> str:
    if not isinstance(value, Mapping):
        return _lines(parameter, value)
    if any("=" in name or "\n" in name for name in value):
        raise ValueError("a name must be one line without '='")
    return "\n".join(f"{name} = {_pair_value(item)}" for name, item in value.items())


def _pair_value(value: object) -> str:
    """One line as it is, several between `<<END` and `END`."""
    text = _want_text(value)
    if "\n" not in text:
        return text.strip()
    lines, end = text.removesuffix("\n").split("\n"), "END"
    while end in (line.strip() for line in lines):
        end += "_"
    return "\n".join([f"<<{end}", *lines, end])


def _boolean(parameter: Parameter, value: object) -> str:
    if isinstance(value, bool):
        return str(value)
    text = _want_text(value, "true or false").strip()
    return text.capitalize() if text.lower() in ("true", "false") else text


def _integer(parameter: Parameter, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _want_text(value, "a whole number").strip()


def _duration(parameter: Parameter, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a duration needs a unit\nlike {value}s or {value}m")
    text = _one_line(parameter, value)
    if text.isdecimal():
        raise ValueError(f"a duration needs a unit\nlike {text}s or {text}m")
    return text


def _choice(parameter: Parameter, value: object) -> str:
    text = (
        str(value) if isinstance(value, int) and not isinstance(value, bool) else _one_line(parameter, value)
    )
    if text and text not in parameter.choices:
        hint = closest(text, parameter.choices) or "one of " + ", ".join(parameter.choices)
        raise ValueError(f"'{text}' is not among the choices\n{hint}")
    return text


@dataclass(frozen=True)
class ParameterType:
    """How one type of parameter is shown by Octopus' form, and how a YAML value becomes Octopus' text."""

    control_type: str
    to_text: Callable[[Parameter, object], str]


# Every control type exists: they are those of the community Library's templates and of the official clients' lists
# (OctopusClients Model/ControlType.cs, go-octopusdeploy display_settings.go). There is none for projects, environments,
# channels or tenants in step templates: those are text.
TYPES: Mapping[str, ParameterType] = {
    "text": ParameterType("SingleLineText", _one_line),
    "lines": ParameterType("MultiLineText", _lines),
    "pairs": ParameterType("MultiLineText", _pairs),
    "boolean": ParameterType("Checkbox", _boolean),
    "integer": ParameterType("SingleLineText", _integer),
    "duration": ParameterType("SingleLineText", _duration),
    "moment": ParameterType("SingleLineText", _one_line),
    "choice": ParameterType("Select", _choice),
    "secret": ParameterType("Sensitive", _secret),
    "version_range": ParameterType("SingleLineText", _one_line),
    "step": ParameterType("StepName", _one_line),
    "package": ParameterType("Package", _one_line),
    "worker_pool": ParameterType("WorkerPool", _one_line),
    "certificate": ParameterType("Certificate", _one_line),
    "aws_account": ParameterType("AmazonWebServicesAccount", _one_line),
    "azure_account": ParameterType("AzureAccount", _one_line),
    "google_account": ParameterType("GoogleCloudAccount", _one_line),
    "generic_oidc_account": ParameterType("GenericOidcAccount", _one_line),
    "username_password_account": ParameterType("UsernamePasswordAccount", _one_line),
}
