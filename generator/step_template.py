"""A step template as Octopus keeps it, in one normal form, and its JSON in three dialects.

The Library file (`to_json`, what `build/<slug>.json` holds and the portal's import takes), the body of a POST or PUT
(`to_api`) and the server's resource (`from_api`) all meet in `StepTemplate`, so that equal content is `==`. Owns the marker
by which we know our own templates, and the digest that tells whether somebody has edited one. Rendering is left to `render`.

Source of the fields and their forms: the API reference page "Action templates", the public community Library
(OctopusDeploy/Library, its 600 files and its validation tests) and OctopusClients.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SENSITIVE = "Sensitive"
SCRIPT_BODY = "Octopus.Action.Script.ScriptBody"
CONTROL_TYPE = "Octopus.ControlType"
SELECT_OPTIONS = "Octopus.SelectOptions"

RUN_ON_SERVER = "Octopus.Action.RunOnServer"
SCRIPT_SOURCE = "Octopus.Action.Script.ScriptSource"
SCRIPT_SYNTAX = "Octopus.Action.Script.Syntax"
OUR_PROPERTIES = (RUN_ON_SERVER, SCRIPT_SOURCE, SCRIPT_SYNTAX, SCRIPT_BODY)
"""The properties of every template that is rendered; all others are a spec's own."""

MARKER_PREFIX = "octosteps.template."
MARKER_ID = "octosteps.template.id"
MARKER_REVISION = "octosteps.template.revision"
MARKER_DIGEST = "octosteps.template.digest"
MARKER_VERSION = "octosteps.template.version"
"""The version that a save was meant to become. A PUT carries no version that the server checks: where the template's own version
is higher, somebody saved in between, and even a run that was killed leaves that trace."""
_MARKERS = frozenset({MARKER_ID, MARKER_REVISION, MARKER_DIGEST, MARKER_VERSION})

# The header that templates/script.py.j2 writes. A template that was pasted into Octopus carries no marker properties, so
# these lines are how it is still known.
_HEADER_ID = re.compile(r"^# id: ([0-9a-fA-F-]{36})$", re.MULTILINE)
_HEADER_REVISION = re.compile(r"^# revision: (\d+)$", re.MULTILINE)
_HEADER_DIGEST = re.compile(r"^# digest:(?: sha256:[0-9a-f]{64})?$", re.MULTILINE)
# The row that tells the step its own name, see `render`.
_STEP_REVISION_ROW = re.compile(r'^(STEP = \{.*"revision": )(\d+)(?=\}$)', re.MULTILINE)
_HEADER_END = re.compile(r"^(?!#)", re.MULTILINE)

EXPORTED_AT = "2026-01-01T00:00:00.000Z"
"""`$Meta.ExportedAt` where the spec names none: the Library wants the field, and a clock would change every build."""
OCTOPUS_VERSION = "2026.1.0"
LAST_MODIFIED_BY = "octosteps"


@dataclass(frozen=True, kw_only=True)
class TemplateParameter:
    """One field of the form. `default` None and "" mean the same to Octopus and are kept as None; a secret never has one."""

    id: str = field(default="", compare=False)
    name: str
    label: str = ""
    help_text: str = ""
    default: str | None = None
    control_type: str = "SingleLineText"
    select_options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepTemplate:
    """The content of a step template; `==` compares what the server runs and shows, not ids, revisions or dates.

    `document` is the JSON of a template that is kept as it is. `pulled` is the short digest of the content that its spec was
    last brought to by `octosteps pull`.
    """

    spec_id: str = field(default="", compare=False)
    revision: int = field(default=0, compare=False)
    name: str
    description: str = ""
    action_type: str = "Octopus.Script"
    properties: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[TemplateParameter, ...] = ()
    packages: tuple[Mapping[str, Any], ...] = ()
    git_dependencies: tuple[Mapping[str, Any], ...] = ()
    category: str = field(default="", compare=False)
    exported_at: str = field(default=EXPORTED_AT, compare=False)
    octopus_version: str = field(default=OCTOPUS_VERSION, compare=False)
    last_modified_by: str = field(default=LAST_MODIFIED_BY, compare=False)
    document: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    pulled: str = field(default="", compare=False)

    @property
    def script(self) -> str:
        """The script body; empty when the template has none."""
        return self.properties.get(SCRIPT_BODY, "")


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What a template of ours says about itself; `version` is None for one that was pasted."""

    spec_id: str
    revision: int
    digest: str
    version: int | None = None


# --- the Library file ----------------------------------------------------------------------------------------------


def to_json(template: StepTemplate) -> dict[str, Any]:
    """The template in the Library's format, fields in the order of the portal's export."""
    if template.document is not None:
        return dict(template.document)
    return {
        "Id": template.spec_id,
        "Name": template.name,
        "Description": template.description,
        "ActionType": template.action_type,
        "Version": template.revision,
        "CommunityActionTemplateId": None,
        "Packages": [_package_to_json(package, template) for package in template.packages],
        "GitDependencies": [dict(dependency) for dependency in template.git_dependencies],
        "Properties": dict(sorted(template.properties.items())),
        "Parameters": [_parameter_to_json(parameter) for parameter in template.parameters],
        "$Meta": {
            "ExportedAt": template.exported_at,
            "OctopusVersion": template.octopus_version,
            "Type": "ActionTemplate",
        },
        "LastModifiedBy": template.last_modified_by,
        "Category": template.category,
    }


def to_text(template: StepTemplate) -> str:
    """`to_json` as a file: two spaces, one newline at the end."""
    return json_text(to_json(template)) + "\n"


def json_text(value: Any, indent: str = "\n") -> str:
    """`json.dumps(value, indent=2, ensure_ascii=False)`, several times as fast: that one yields every comma by itself."""
    inner = indent + "  "
    if value.__class__ is str:
        return _ENCODE(value)
    if value.__class__ is dict and value:
        items = [f"{_ENCODE(name)}: {json_text(item, inner)}" for name, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(items)}{indent}}}"
    if value.__class__ is list and value:
        return f"[{inner}{f',{inner}'.join([json_text(item, inner) for item in value])}{indent}]"
    return json.dumps(value, ensure_ascii=False)


_ENCODE = json.encoder.encode_basestring


def from_json(document: Mapping[str, Any]) -> StepTemplate:
    """The template in a Library file: `Id` is the spec's, `Version` its revision. Values of odd types are read as text."""
    meta = _mapping(document.get("$Meta"))
    version = document.get("Version")
    return _template(
        document,
        spec_id=_text(document.get("Id")),
        revision=version if isinstance(version, int) else 0,
        category=_text(document.get("Category")),
        exported_at=_text(meta.get("ExportedAt")) or EXPORTED_AT,
        octopus_version=_text(meta.get("OctopusVersion")) or OCTOPUS_VERSION,
        last_modified_by=_text(document.get("LastModifiedBy")) or LAST_MODIFIED_BY,
    )


# --- the API ---------------------------------------------------------------------------------------------------------


def to_api(
    template: StepTemplate, space_id: str, *, found: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a POST, or of a PUT over `found` (the server's resource), with our marker among its properties.

    A secret's default that somebody set on the server is kept: the API shows only that there is one (`{"HasValue": true}`),
    and takes that back to mean "unchanged" (source: OctopusClients, Model/PropertyValueResource.cs).
    """
    kept = {
        parameter.get("Name"): parameter["DefaultValue"]
        for parameter in (found or {}).get("Parameters") or ()
        if isinstance(parameter.get("DefaultValue"), Mapping) and parameter["DefaultValue"].get("HasValue")
    }
    parameters = []
    for parameter in template.parameters:
        document = _parameter_to_json(parameter)
        if parameter.control_type == SENSITIVE and parameter.name in kept:
            document["DefaultValue"] = {"HasValue": True, "NewValue": None, "Hint": None}
        parameters.append(document)
    body: dict[str, Any] = {
        "Name": template.name,
        "Description": template.description,
        "ActionType": template.action_type,
        "SpaceId": space_id,
        "CommunityActionTemplateId": None,
        "Packages": [_package_to_json(package, template) for package in template.packages],
        "GitDependencies": [dict(dependency) for dependency in template.git_dependencies],
        "Properties": {
            **template.properties,
            MARKER_ID: template.spec_id,
            MARKER_REVISION: str(template.revision),
            MARKER_DIGEST: digest(template),
            MARKER_VERSION: str(0 if found is None else int(found.get("Version") or 0) + 1),
        },
        "Parameters": parameters,
    }
    if found is not None:
        body = {"Id": found["Id"], "Version": found.get("Version"), **body}
        body["CommunityActionTemplateId"] = found.get("CommunityActionTemplateId")
    return body


def from_api(document: Mapping[str, Any]) -> StepTemplate:
    """The server's resource in the normal form, without our marker; spec id and revision are the marker's."""
    marker = read_marker(document)
    return _template(
        document,
        spec_id=marker.spec_id if marker else "",
        revision=marker.revision if marker else 0,
    )


def read_marker(document: Mapping[str, Any]) -> Marker | None:
    """Which spec and revision a server's resource says it was made from; None when it is not ours.

    The properties come first; a template that was pasted from `build/` has the script's header only.
    """
    properties = document.get("Properties") or {}
    spec_id, digest_ = properties.get(MARKER_ID), properties.get(MARKER_DIGEST)
    if isinstance(spec_id, str) and spec_id and isinstance(digest_, str):
        return Marker(
            spec_id=spec_id,
            revision=_number(properties.get(MARKER_REVISION)) or 0,
            digest=digest_,
            version=_number(properties.get(MARKER_VERSION)),
        )
    header = _header(_text(properties.get(SCRIPT_BODY)))
    found_id, found_revision = _HEADER_ID.search(header), _HEADER_REVISION.search(header)
    found_digest = _HEADER_DIGEST.search(header)
    if not (found_id and found_revision and found_digest):
        return None
    return Marker(
        spec_id=found_id.group(1),
        revision=int(found_revision.group(1)),
        digest=found_digest.group().removeprefix("# digest:").strip(),
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def marker_holds(document: Mapping[str, Any]) -> bool:
    """Whether a server's resource still has the content that its marker vouches for: nobody has edited it there."""
    marker = read_marker(document)
    return marker is not None and marker.digest == digest(from_api(document))


# --- the digest ------------------------------------------------------------------------------------------------------


def digest(template: StepTemplate) -> str:
    """`sha256:<hex>` of the canonical content.

    Left out: ids, the revision, dates, the category, secrets' defaults, and the digest line of the script's own header.
    """
    properties = dict(template.properties)
    if SCRIPT_BODY in properties:
        script = with_digest(properties[SCRIPT_BODY], "")
        properties[SCRIPT_BODY] = hashlib.sha256(script.encode("utf-8", "surrogatepass")).hexdigest()
    content = {
        "name": template.name,
        "description": template.description,
        "action_type": template.action_type,
        "properties": properties,
        "parameters": [
            [
                parameter.name,
                parameter.label,
                parameter.help_text,
                parameter.default,
                parameter.control_type,
                list(parameter.select_options),
            ]
            for parameter in template.parameters
        ],
        "packages": [dict(package) for package in template.packages],
        "git_dependencies": [dict(dependency) for dependency in template.git_dependencies],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode("ascii")).hexdigest()


def short_digest(template: StepTemplate) -> str:
    """What `pulled:` in a spec keeps of a template's content: 16 hexadecimal digits."""
    return digest(template).removeprefix("sha256:")[:16]


def with_digest(script: str, value: str) -> str:
    """The script with `value` in its header's digest line; unchanged when it has no such line."""
    header = _header(script)
    line = f"# digest: {value}".rstrip()
    return _HEADER_DIGEST.sub(line, header, count=1) + script[len(header) :]


def without_marks(script: str) -> str:
    """The script with its revision and digest blanked: what does not come from the spec's content."""
    header = _header(script)
    blank = _HEADER_DIGEST.sub("# digest:", _HEADER_REVISION.sub("# revision:", header, count=1), count=1)
    return blank + _STEP_REVISION_ROW.sub(r"\1", script[len(header) :])


def with_marks_of(script: str, other: str) -> str:
    """The script with the revision and digest of another one, where both have them: so that a comparison shows what counts."""
    header, theirs = _header(script), _header(other)
    for mark in (_HEADER_REVISION, _HEADER_DIGEST):
        found = mark.search(theirs)
        if found:
            header = mark.sub(found.group(), header, count=1)
    row = _STEP_REVISION_ROW.search(other)
    body = script[len(_header(script)) :]
    return header + (_STEP_REVISION_ROW.sub(rf"\g<1>{row.group(2)}", body) if row else body)


def _header(script: str) -> str:
    end = _HEADER_END.search(script)
    return script[: end.start()] if end else script


# --- the normal form -------------------------------------------------------------------------------------------------


def _template(document: Mapping[str, Any], **rest: Any) -> StepTemplate:
    properties = {
        str(name): _text(value)
        for name, value in _mapping(document.get("Properties")).items()
        if name not in _MARKERS and value not in (None, "")
    }
    return StepTemplate(
        name=_text(document.get("Name")),
        description=_text(document.get("Description")).rstrip(),
        action_type=_text(document.get("ActionType")),
        properties=properties,
        parameters=tuple(map(_parameter_from_json, _mappings(document.get("Parameters")))),
        packages=tuple(map(normal_package, _mappings(document.get("Packages")))),
        git_dependencies=tuple(map(dict, _mappings(document.get("GitDependencies")))),
        **rest,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Sequence[Mapping[str, Any]]:
    """The documents in a list. Who else makes templates than Octopus puts other things there, too."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else ()


def normal_package(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A package reference without its id and what servers add: a null version, null step-package inputs."""
    package = {
        key: value
        for key, value in document.items()
        if key != "Id" and not (key in ("Version", "StepPackageInputsReferenceId") and value in (None, ""))
    }
    package["PackageId"] = package.get("PackageId") or None
    package["FeedId"] = package.get("FeedId") or None
    package["Properties"] = {
        name: _text(value) for name, value in _mapping(package.get("Properties")).items()
    }
    return package


def _package_to_json(package: Mapping[str, Any], template: StepTemplate) -> dict[str, Any]:
    if not template.spec_id:
        return dict(package)  # the server makes an id
    return {"Id": stable_id(template.spec_id, f"package {package.get('Name')}"), **package}


def stable_id(spec_id: str, name: str) -> str:
    """The same GUID for the same thing of the same spec, whenever and wherever it is built."""
    return str(uuid.uuid5(uuid.UUID(spec_id), name))


def _parameter_to_json(parameter: TemplateParameter) -> dict[str, Any]:
    settings = {CONTROL_TYPE: parameter.control_type}
    if parameter.select_options:
        settings[SELECT_OPTIONS] = "\n".join(parameter.select_options)
    document: dict[str, Any] = {
        "Id": parameter.id,
        "Name": parameter.name,
        "Label": parameter.label,
        "HelpText": parameter.help_text,
        "DefaultValue": None if parameter.control_type == SENSITIVE else parameter.default or "",
        "DisplaySettings": settings,
    }
    if not parameter.id:
        del document["Id"]  # the server makes one
    return document


def _parameter_from_json(document: Mapping[str, Any]) -> TemplateParameter:
    settings = _mapping(document.get("DisplaySettings"))
    control_type = _text(settings.get(CONTROL_TYPE)) or "SingleLineText"
    default = document.get("DefaultValue")
    options = _text(settings.get(SELECT_OPTIONS)) if control_type == "Select" else ""
    return TemplateParameter(
        id=_text(document.get("Id")),
        name=_text(document.get("Name")),
        label=_text(document.get("Label")),
        help_text=_text(document.get("HelpText")).rstrip(),
        default=None if control_type == SENSITIVE or isinstance(default, Mapping) else _text(default) or None,
        control_type=control_type,
        select_options=_lines(options),
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.split("\n") if line)


def _text(value: object) -> str:
    """A value of a document as text with plain line ends; the portal in a Windows browser stores `\\r\\n`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\r\n", "\n") if "\r" in value else value
    if isinstance(value, Mapping | Sequence):
        return json.dumps(value, sort_keys=True)
    return str(value)
