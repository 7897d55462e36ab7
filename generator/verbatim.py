"""Templates that are kept as they are: `verbatim: true` in a spec, and the JSON document that it stands for, both ways.

What the spec's words can say is said by them, field for field: a key that is there is a field that is there. Everything
else, unknown and misspelt fields and values of odd types, stands under `fields:` by Octopus' own names, and goes before the
words. Texts of programs are kept in files. So `to_document` gives back what `to_spec` was given, the order of keys aside.

Source of the fields and their forms: the public community Library (OctopusDeploy/Library, its 600 files) and OctopusClients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from generator.errors import Place, Problem
from generator.source import Source
from generator.spec import EXPRESSION, TYPES, Parameter, guid_pattern
from generator.step_template import (
    CONTROL_TYPE,
    SCRIPT_BODY,
    SCRIPT_SYNTAX,
    SELECT_OPTIONS,
    SENSITIVE,
    StepTemplate,
    TemplateParameter,
    from_json,
)

ENDINGS = {"PowerShell": ".ps1", "Bash": ".sh", "Python": ".py", "CSharp": ".csx", "FSharp": ".fsx"}
"""Octopus' script languages and their files (source: Calamari.Common, ScriptSyntax). A template that names none is PowerShell."""
OTHER = ".txt"
BODIES = re.compile(r"Octopus\.Action\.Script\.ScriptBody\[(\w+)\]")
"""One body for each language, where there is no plain one (source: Calamari, RunScriptCommand.cs)."""
CUSTOM = re.compile(r"Octopus\.Action\.CustomScripts\.(\w+)(\.\w+)")
"""Scripts before and after a package's deployment."""
PROGRAMS = {
    "Octopus.Action.Terraform.Template": ".tf",
    "Octopus.Action.KubernetesContainers.CustomResourceYaml": ".yaml",
    "Octopus.Action.Azure.ResourceGroupTemplate": ".json",
}

CONTROLS: dict[str, str] = {}
for _type, _entry in TYPES.items():
    CONTROLS.setdefault(_entry.control_type, _type)

TEXTS = {
    "category": "Category",
    "action_type": "ActionType",
    "description": "Description",
    "last_modified_by": "LastModifiedBy",
}
LISTS = {"packages": "Packages", "git_dependencies": "GitDependencies"}
KEYS = (
    *(
        "id",
        "name",
        "category",
        "version",
        "pulled",
        "verbatim",
        "action_type",
        "description",
        "script",
        "files",
    ),
    *("line_ends", "parameters", "properties", "packages", "git_dependencies", "fields", "exported_at"),
    *("octopus_version", "last_modified_by"),
)
ORDER = (
    *("Id", "Name", "Description", "ActionType", "Version", "CommunityActionTemplateId", "StepPackageId"),
    *("Packages", "GitDependencies", "Properties", "Parameters", "SensitiveProperties", "$Meta"),
    *("LastModifiedBy", "LastModifiedOn", "Category"),
)
META_TYPE = "ActionTemplate"


class Written(NamedTuple):
    """A document as a spec: its data without `id`, and the texts of its files by the property that each belongs to."""

    data: dict[str, Any]
    texts: dict[str, str]


# --- from the document to the spec -------------------------------------------------------------------------------------


def to_spec(document: Mapping[str, Any]) -> Written:
    """The document in the spec's words. `script` and `files` name the properties' files only after `name_files`."""
    fields = dict(document)
    data: dict[str, Any] = {"name": fields.pop("Name"), "verbatim": True}
    if isinstance(fields.get("Id"), str) and guid_pattern().search(fields["Id"]):
        data["id"] = fields.pop("Id")
    if type(fields.get("Version")) is int:
        data["version"] = fields.pop("Version")
    for key, name in TEXTS.items():
        if isinstance(fields.get(name), str) or (
            name in ("Category", "Description") and is_null(fields, name)
        ):
            data[key] = fields.pop(name)
    for key, name in LISTS.items():
        if isinstance(fields.get(name), list):
            data[key] = fields.pop(name)
    if data.get("action_type") == "":
        fields["ActionType"] = data.pop("action_type")
    if data.get("last_modified_by") == "":
        fields["LastModifiedBy"] = data.pop("last_modified_by")
    parameters = _parameters(fields.get("Parameters"))
    if parameters is not None:
        data["parameters"] = parameters
        del fields["Parameters"]
    data.update(_meta(fields))
    properties: dict[str, Any] = dict(fields.pop("Properties"))
    texts = {name: properties.pop(name) for name in tuple(properties) if is_program(name, properties[name])}
    ends = line_ends(texts.values())
    if ends:
        data["line_ends"] = ends
    if properties:
        data["properties"] = properties
    if fields:
        data["fields"] = fields
    return Written(ordered(data, KEYS), texts)


def is_null(fields: Mapping[str, Any], name: str) -> bool:
    return name in fields and fields[name] is None


def is_program(name: str, value: object) -> bool:
    """Whether a property's value is better read in a file of its own."""
    if not isinstance(value, str) or not value:
        return False
    if name in PROGRAMS:
        return "\n" in value
    return name == SCRIPT_BODY or BODIES.fullmatch(name) is not None or CUSTOM.fullmatch(name) is not None


def name_files(document: Mapping[str, Any], texts: Mapping[str, str], stem: str) -> dict[str, str]:
    """A file name for each property in `texts`: `stem.ps1` for the script, `stem.PostDeploy.ps1` for others."""
    names: dict[str, str] = {}
    for name, text in texts.items():
        tag, ending = _tag_and_ending(document, name, text)
        file, number = f"{stem}{tag}{ending}", 2
        while file.lower() in (other.lower() for other in names.values()):
            file, number = f"{stem}{tag}.{number}{ending}", number + 1
        names[name] = file
    return names


def _tag_and_ending(document: Mapping[str, Any], name: str, text: str) -> tuple[str, str]:
    body, custom = BODIES.fullmatch(name), CUSTOM.fullmatch(name)
    if body:
        return f".{body.group(1)}", ENDINGS.get(body.group(1), OTHER)
    if custom:
        return f".{custom.group(1)}", custom.group(2) if custom.group(2) in ENDINGS.values() else OTHER
    if name in PROGRAMS:
        is_json = text.lstrip("\ufeff \t\r\n").startswith("{")
        return f".{name.rpartition('.')[2]}", ".json" if is_json else PROGRAMS[name]
    syntax = document["Properties"].get(SCRIPT_SYNTAX)
    return "", ENDINGS["PowerShell"] if syntax is None else ENDINGS.get(str(syntax), OTHER)


def line_ends(texts: Any) -> str:
    """How the lines of the texts end: "" for LF, `crlf`, or `mixed`, which files keep byte for byte."""
    found = set()
    for text in texts:
        plain = text.replace("\r\n", "")
        if "\r" in plain:
            return "mixed"
        if "\n" in plain:
            found.add("")
        if "\r\n" in text:
            found.add("crlf")
    return "mixed" if len(found) > 1 else "".join(found)


def _parameters(value: object) -> dict[str, Any] | None:
    """The parameters by name; None when a mapping cannot hold them."""
    if not isinstance(value, list):
        return None
    parameters: dict[str, Any] = {}
    for item in value:
        name = item.get("Name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name or name in parameters:
            return None
        parameters[name] = _parameter(item)
    return parameters


def _parameter(item: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in item.items() if name != "Name"}
    data: dict[str, Any] = {}
    if "Label" in fields and isinstance(fields["Label"], str | None):
        data["label"] = fields.pop("Label")
    settings = fields.get("DisplaySettings")
    if isinstance(settings, dict) and settings.keys() <= {CONTROL_TYPE, SELECT_OPTIONS}:
        control, options = settings.get(CONTROL_TYPE), settings.get(SELECT_OPTIONS, "")
        if isinstance(control, str) and control in CONTROLS and isinstance(options, str):
            del fields["DisplaySettings"]
            data["type"] = CONTROLS[control]
            if SELECT_OPTIONS in settings:
                data["choices"] = _choices(options)
    if "DefaultValue" in fields:
        data["default"] = fields.pop("DefaultValue")
    if "HelpText" in fields and isinstance(fields["HelpText"], str | None):
        data["help"] = fields.pop("HelpText")
    if isinstance(fields.get("Id"), str):
        data["id"] = fields.pop("Id")
    if fields:
        data["fields"] = fields
    return ordered(data, ("label", "type", "default", "choices", "help", "id", "fields"))


def _choices(options: str) -> dict[str, str] | list[str]:
    """`value|label` lines as a mapping where it holds them, else the lines as they are."""
    lines = options.split("\n")
    pairs = [line.partition("|") for line in lines]
    choices = {value: label for value, _, label in pairs}
    if len(choices) == len(lines) and all(value and bar and label for value, bar, label in pairs):
        return choices
    return lines


def _meta(fields: dict[str, Any]) -> dict[str, str]:
    """`$Meta` in the spec's words, taken out of the fields; nothing when it holds anything else."""
    meta = fields.get("$Meta")
    if not isinstance(meta, dict) or meta.get("Type") != META_TYPE or "ExportedAt" not in meta:
        return {}
    if not meta.keys() <= {"Type", "ExportedAt", "OctopusVersion"} or not all(
        isinstance(value, str) for value in meta.values()
    ):
        return {}
    del fields["$Meta"]
    words = {"exported_at": meta["ExportedAt"]}
    if "OctopusVersion" in meta:
        words["octopus_version"] = meta["OctopusVersion"]
    return words


def ordered(data: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The same data with these keys first, in their order."""
    return {**{key: data[key] for key in keys if key in data}, **data}


# --- from the spec to the document ---------------------------------------------------------------------------------------


def files_of(data: Mapping[str, Any]) -> dict[str, str]:
    """The files that the spec names, below the scripts folder, by the property that each belongs to."""
    script = {SCRIPT_BODY: data["script"]} if "script" in data else {}
    return {**script, **data.get("files", {})}


def read_text(content: bytes, ends: str | None) -> str:
    """A file's text as the template holds it. Errors: UnicodeDecodeError."""
    text = content.decode("utf-8")
    if ends == "mixed":
        return text
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain.replace("\n", "\r\n") if ends == "crlf" else plain


def write_text(text: str, ends: str | None) -> bytes:
    """The file's content for a text: what `read_text` reads as it."""
    return (text if ends == "mixed" else text.replace("\r\n", "\n")).encode("utf-8")


def to_document(data: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """The JSON document that the spec's data stands for, with these texts of its files."""
    document: dict[str, Any] = {"Id": data["id"], "Name": data["name"]}
    if "version" in data:
        document["Version"] = int(data["version"])
    for key, name in {**TEXTS, **LISTS}.items():
        if key in data:
            document[name] = data[key]
    document["Properties"] = dict(sorted({**data.get("properties", {}), **texts}.items()))
    if "parameters" in data:
        document["Parameters"] = [_to_parameter(name, entry) for name, entry in data["parameters"].items()]
    if "exported_at" in data:
        document["$Meta"] = {"ExportedAt": data["exported_at"]}
        if "octopus_version" in data:
            document["$Meta"]["OctopusVersion"] = data["octopus_version"]
        document["$Meta"]["Type"] = META_TYPE
    document.update(data.get("fields", {}))
    return ordered(document, ORDER)


def _to_parameter(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"Name": name}
    if "id" in entry:
        document["Id"] = entry["id"]
    for key, field in {"label": "Label", "help": "HelpText", "default": "DefaultValue"}.items():
        if key in entry:
            document[field] = entry[key]
    if "type" in entry:
        settings = {CONTROL_TYPE: TYPES[entry["type"]].control_type}
        if "choices" in entry:
            settings[SELECT_OPTIONS] = to_options(entry["choices"])
        document["DisplaySettings"] = settings
    document.update(entry.get("fields", {}))
    return ordered(document, ("Id", "Name", "Label", "HelpText", "DefaultValue", "DisplaySettings"))


def to_template(data: Mapping[str, Any], texts: Mapping[str, str]) -> StepTemplate:
    """The template of a spec's data, which keeps its document."""
    document = to_document(data, texts)
    return replace(
        from_json(document),
        spec_id=data["id"].lower(),
        revision=int(data.get("version", 0)),
        document=document,
        pulled=data.get("pulled", ""),
    )


def to_options(choices: Mapping[str, str] | list[str]) -> str:
    if isinstance(choices, Mapping):
        return "\n".join(f"{value}|{label}" for value, label in choices.items())
    return "\n".join(choices)


def parameter_of(found: TemplateParameter) -> Parameter:
    """A parameter of a template that is kept as it is, as if a spec of ours had named it: its key is its whole name."""
    choices = {value: label or value for value, _, label in (o.partition("|") for o in found.select_options)}
    return Parameter(
        key=found.name,
        name=found.name,
        variable=found.name,
        label=found.label,
        type=CONTROLS.get(found.control_type, "text"),
        default=found.default,
        choices=choices,
        help=found.help_text,
        id=found.id,
    )


def items_of(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def is_secret(parameter: object) -> bool:
    """Whether a parameter of a document is shown as a secret."""
    settings = parameter.get("DisplaySettings") if isinstance(parameter, Mapping) else None
    return isinstance(settings, Mapping) and settings.get(CONTROL_TYPE) == SENSITIVE


# --- what is worth a look, though it is kept ------------------------------------------------------------------------------


def warn(source: Source, texts: Mapping[str, str], shown: Mapping[str, str]) -> Iterator[Problem]:
    """What would be a fault in a template of ours: expressions in Python code, names without a prefix, secrets' defaults.

    `texts` are those of the files by property, `shown` their paths as people type them.
    """
    for name, path in shown.items():
        if PurePosixPath(path).suffix != ".py":
            continue
        for number, line in enumerate(texts.get(name, "").split("\n"), 1):
            if EXPRESSION in line:
                place = Place(line=number, column=line.index(EXPRESSION) + 1)
                message = f"Octopus replaces '{EXPRESSION}' here before Python reads the script"
                yield Problem(path=path, place=place, message=message)
    parameters = source.data.get("parameters") or {}
    bare = [name for name in parameters if not re.match(r"[A-Za-z][A-Za-z0-9]*[._-]\S", name)]
    if bare:
        names = ", ".join(f"'{name}'" for name in bare[:5]) + (
            f" and {len(bare) - 5} more" if bare[5:] else ""
        )
        message = f"without a prefix a project variable of the same name hides a parameter: {names}"
        yield source.problem(("parameters", bare[0]), message, at_key=True)
    for name, entry in parameters.items():
        default = entry.get("default") if entry.get("type") == "secret" else None
        if default and not (isinstance(default, str) and EXPRESSION in default):
            message = f"everybody can read the default of the secret '{name}', and apply does not publish it"
            yield source.problem(("parameters", name, "default"), message, at_key=True)
