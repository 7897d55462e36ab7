"""Templates that others wrote, as specs and script files of a library: which files they become, and what in them changes.

A template that the library has already, told by its id, is updated in place: the spec keeps its comments, its file names and
its place. Nothing that belongs to something else is ever overwritten. Reading documents is `template_files`' and `library`'s,
edits of templates that octosteps renders are `homecoming`'s.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from generator import verbatim
from generator.edited_yaml import beside, edit
from generator.errors import Problem, Problems
from generator.outcome import Progress, quiet
from generator.rules import UNIQUE
from generator.side_by_side import side_by_side
from generator.source import Source, parse_source
from generator.spec import is_verbatim
from generator.step_template import MARKER_PREFIX, SCRIPT_BODY, from_json, short_digest
from generator.workspace import Renderer, SpecFile, Workspace
from generator.written_yaml import to_yaml

NAMESPACE = uuid.UUID("6d2f8f8e-1f4b-5a55-9a4e-5c1f0e3b7a10")
"""For ids of templates that have none: the same template gets the same id whenever it is pulled."""
LONGEST_SLUG = 100
DEVICES = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)),
    }
)
"""Names that Windows gives no file."""


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One template to adopt. `origin` is its file, or its name on a server, as people call it; `slug` how its files would like
    to be called. `id` is for documents without a GUID of their own. `is_resource`: it is a server's, which does not know all
    that a spec may know; `revision` is then the least that the spec's version must become, `published` the short digest of what
    was published to it last."""

    document: Mapping[str, Any]
    origin: str
    slug: str
    id: str = ""
    is_resource: bool = False
    revision: int = 0
    published: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What becomes of one template: `state` is new, updated, unchanged or kept (the spec has moved, the origin has not).

    `files` are to be written, scripts first, by path below the root.
    """

    name: str
    origin: str
    spec: str
    state: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """An incoming template with its spec's place: the spec that is there, or the path of a new one, and a stem for scripts."""

    incoming: Incoming
    id: str
    there: Known | None
    relative: str
    stem: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """A spec that the library has."""

    file: SpecFile
    source: Source

    @property
    def id(self) -> str:
        found = self.source.data.get("id")
        return found.lower() if isinstance(found, str) else ""

    @property
    def name(self) -> str:
        found = self.source.data.get("name")
        return found if isinstance(found, str) else ""


def read_known(workspace: Workspace) -> tuple[Known, ...]:
    """The library's specs. Errors: Problems of those that are no YAML: they might be what is pulled."""
    known: list[Known] = []
    problems: list[Problem] = []
    for file in workspace.specs:
        try:
            known.append(Known(file=file, source=parse_source(file.content, name=file.shown)))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return tuple(known)


def adopt(
    workspace: Workspace,
    known: Sequence[Known],
    incoming: Sequence[Incoming],
    *,
    schema: str,
    force: bool = False,
    progress: Progress = quiet,
) -> tuple[Adopted, ...]:
    """What becomes of the templates, in their order; nothing is written. `schema` is the reference for editors in new specs.

    Errors: Problems with everything that stands in the way of any of them.
    """
    placed = _place(workspace, known, incoming)
    renderer = Renderer(workspace)

    def make(item: _Placed) -> Adopted | Problem:
        return _make(workspace, renderer, item, schema, force=force)

    results = side_by_side(make, placed)
    made = [next(results) for _ in progress(placed, "Reading templates")]
    list(results)  # its end, so that the processes are gone
    problems = [item for item in made if isinstance(item, Problem)]
    if problems:
        raise Problems(problems)
    return tuple(item for item in made if isinstance(item, Adopted))


# --- names and places -------------------------------------------------------------------------------------------------------


def slug_of(text: str) -> str:
    """A file's name for a text: small letters, digits and dashes."""
    words = re.findall(r"[a-z0-9]+", text.encode("ascii", "ignore").decode().lower())
    slug = "-".join(words)[:LONGEST_SLUG].strip("-") or "template"
    return f"{slug}-template" if slug in DEVICES else slug


def made_id(*words: str) -> str:
    """The id of a template that has no GUID."""
    return str(uuid.uuid5(NAMESPACE, "\n".join(words)))


def id_of(incoming: Incoming) -> tuple[str, bool]:
    """The template's GUID, and whether it is its own."""
    data = verbatim.to_spec(incoming.document).data
    if "id" in data:
        return data["id"], True
    return incoming.id or made_id(str(incoming.document["Name"]).casefold()), False


def _place(workspace: Workspace, known: Sequence[Known], incoming: Sequence[Incoming]) -> tuple[_Placed, ...]:
    """Each template with its place. Errors: Problems of templates that claim the same."""
    by_id = {item.id: item for item in known if item.id}
    names = {item.name.lower(): (item.id, item.file.shown) for item in known if item.name}
    taken = {item.file.slug.lower() for item in known}
    ids: dict[str, str] = {}
    problems: list[Problem] = []
    placed: list[_Placed] = []
    for item in incoming:
        identity, _ = id_of(item)
        folded, name = identity.lower(), str(item.document["Name"]).lower()
        if folded in ids:
            message = f"the Id '{identity}' is that of {ids[folded]}: {UNIQUE['id']}"
            problems.append(Problem(path=item.origin, message=message, hint="give one of both a fresh GUID"))
            continue
        ids[folded] = item.origin
        owner = names.setdefault(name, (folded, item.origin))
        if owner[0] != folded:
            message = f"the name '{item.document['Name']}' is that of {owner[1]}: {UNIQUE['name']}"
            problems.append(Problem(path=item.origin, message=message, hint="rename one of both"))
        there = by_id.get(folded)
        relative = there.file.relative if there else ""
        stem = _stem(there) if there else ""
        if there is None:
            slug = _free_slug(workspace, item, taken)
            taken.add(slug)
            relative, stem = f"{workspace.settings.step_templates}/{slug}.yaml", slug.replace("-", "_")
        placed.append(_Placed(incoming=item, id=identity, there=there, relative=relative, stem=stem))
    if problems:
        raise Problems(problems)
    return tuple(placed)


def _stem(known: Known) -> str:
    """How the scripts of a spec are called, its folder included."""
    script = known.source.data.get("script")
    if isinstance(script, str) and script:
        path = PurePosixPath(script)
        return path.with_name(path.name.partition(".")[0]).as_posix()
    return known.file.slug.replace("-", "_")


def _free_slug(workspace: Workspace, item: Incoming, taken: set[str]) -> str:
    """The wished slug, or with a number where its files are something else's.

    A file that holds just what would be written is what an interrupted run left.
    """
    written = verbatim.to_spec(item.document)
    ends = written.data.get("line_ends")
    slug, number = item.slug, 1
    while True:
        files = verbatim.name_files(item.document, written.texts, slug.replace("-", "_"))
        scripts = {
            workspace.root / workspace.settings.scripts / file: verbatim.write_text(written.texts[name], ends)
            for name, file in files.items()
        }
        built = workspace.build / f"{slug}.json"
        is_free = all(not file.exists() or file.read_bytes() == content for file, content in scripts.items())
        if (
            slug not in taken
            and is_free
            and (not built.exists() or _holds(built.read_bytes(), item.document))
        ):
            return slug
        number += 1
        slug = f"{item.slug[: LONGEST_SLUG - 4]}-{number}"


def _holds(content: bytes, document: Mapping[str, Any]) -> bool:
    try:
        return canonical(json.loads(content)) == canonical(document)
    except ValueError:
        return False


def canonical(document: Any) -> str:
    """A text that is the same for the same document; unlike `==` it tells 1, 1.0 and true apart."""
    return json.dumps(document, sort_keys=True)


# --- one template -----------------------------------------------------------------------------------------------------------


def _make(
    workspace: Workspace, renderer: Renderer, placed: _Placed, schema: str, *, force: bool
) -> Adopted | Problem:
    incoming, there = placed.incoming, placed.there
    document = dict(incoming.document)
    adopted = Adopted(
        name=str(document["Name"]),
        origin=incoming.origin,
        spec=placed.relative,
        state="new",
        notes=incoming.notes,
    )
    own_files: Mapping[str, str] = {}
    if there is not None:
        own_files = verbatim.files_of(there.source.data)
        standing = _standing(renderer, there)
        if isinstance(standing, Problem):
            return standing
        if incoming.is_resource:
            document = _merged(standing, document, incoming.revision)
        decision = _decide(there, standing, document, incoming, force=force)
        if isinstance(decision, Problem):
            return decision
        if decision != "updated":
            return replace(adopted, state=decision)
        adopted = replace(adopted, state=decision)
    written = verbatim.to_spec(document)
    named = verbatim.name_files(document, written.texts, placed.stem)
    files = {name: own_files.get(name, file) for name, file in named.items()}
    data = _spec_data(placed.id, written, files, short_digest(from_json(document)))
    ends = data.get("line_ends")
    scripts = {
        f"{workspace.settings.scripts}/{file}": verbatim.write_text(written.texts[name], ends)
        for name, file in files.items()
    }
    if there is not None:
        content = edit(there.file.content, _in_order_of(there.source.data, data), name=there.file.shown)
    else:
        content = f"# yaml-language-server: $schema={schema}\n{to_yaml(data)}".encode()
    _prove(content, scripts, workspace.settings.scripts, document)
    return replace(adopted, files={**scripts, placed.relative: content})


def _standing(renderer: Renderer, known: Known) -> Mapping[str, Any] | Problem:
    """The document that the spec stands for now."""
    if not is_verbatim(known.source):
        message = "octosteps renders this template: pull it from the server where it was edited"
        return known.source.problem(("name",), message)
    rendered = renderer.render(known.file)
    if rendered.built is None or rendered.built.template.document is None:
        return rendered.problems[0]
    return rendered.built.template.document


def _merged(standing: Mapping[str, Any], found: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """The spec's document with what the server says instead: fields that a server does not know, or shows as empty, and the
    defaults of secrets, which it does not show, stay the spec's. Where nothing differs, the spec's document itself."""
    if from_json(standing) == from_json(found):
        return dict(standing)
    merged = _over(standing, found)
    before = {item.get("Name"): item for item in _mappings(standing.get("Parameters"))}
    parameters = []
    for item in verbatim.items_of(found.get("Parameters")):
        former = before.get(item.get("Name"), {})
        parameter = _over(former, item)
        if verbatim.is_secret(item) and "DefaultValue" in former:
            parameter["DefaultValue"] = former["DefaultValue"]
        parameters.append(parameter)
    gone = {
        name
        for name, value in standing["Properties"].items()
        if name not in found["Properties"] and value not in (None, "")
    }
    properties = _over(standing["Properties"], found["Properties"])
    merged["Properties"] = {name: value for name, value in properties.items() if name not in gone}
    if "Parameters" in merged:
        merged["Parameters"] = parameters
    merged.pop("$Meta", None)
    if "$Meta" in standing:
        merged["$Meta"] = standing["$Meta"]
    versions = [value for value in (standing.get("Version"), revision) if type(value) is int]
    return {**merged, "Id": standing["Id"], "Version": max(versions)}


def _over(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of both; those of `other` win, but for empty ones that `one` does not have at all."""
    return {
        **one,
        **{name: value for name, value in other.items() if name in one or value not in (None, "", [], {})},
    }


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in verbatim.items_of(value) if isinstance(item, Mapping)]


SERVERS_OWN = ("Id", "Links", "SpaceId", "LastModifiedOn")
"""Fields of a server's resource that say nothing about the template."""


def from_resource(resource: Mapping[str, Any], *, exported_at: str, octopus_version: str) -> dict[str, Any]:
    """A server's resource in the Library's format, without our marker. What a secret's default is the server does not say."""
    document = {
        name: value
        for name, value in resource.items()
        if name not in SERVERS_OWN and (value is not None or name == "Description")
    }
    document["Properties"] = {
        name: value
        for name, value in (resource.get("Properties") or {}).items()
        if not name.startswith(MARKER_PREFIX)
    }
    document["Parameters"] = [
        {**item, "DefaultValue": None} if isinstance(item.get("DefaultValue"), Mapping) else dict(item)
        for item in _mappings(resource.get("Parameters"))
    ]
    meta = {"ExportedAt": exported_at, "OctopusVersion": octopus_version, "Type": "ActionTemplate"}
    return {**document, "$Meta": meta}


def _decide(
    there: Known,
    standing: Mapping[str, Any],
    document: Mapping[str, Any],
    incoming: Incoming,
    *,
    force: bool,
) -> str | Problem:
    """Who has moved since the spec was last brought to its origin, or published to it: nobody, the spec, the origin or both."""
    if canonical(standing) == canonical(document):
        return "unchanged"
    meetings = {there.source.data.get("pulled"), incoming.published} - {None, ""}
    if force or not meetings or short_digest(from_json(standing)) in meetings:
        return "updated"
    if short_digest(from_json(document)) in meetings:
        return "kept"
    message = f"changed here, and in {incoming.origin}, since it was last pulled"
    return there.source.problem(("name",), message, "--force takes what is there")


def _spec_data(
    identity: str, written: verbatim.Written, files: Mapping[str, str], pulled: str
) -> dict[str, Any]:
    data = {"id": identity, "pulled": pulled, **written.data}
    others = dict(files)
    if SCRIPT_BODY in others:
        data["script"] = others.pop(SCRIPT_BODY)
    if others:
        data["files"] = others
    return verbatim.ordered(data, verbatim.KEYS)


def _in_order_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted data with its keys where the file has them; but parameters and choices have an order of their own."""
    made = beside(found, wanted)
    for name, value in made.items():
        before = found.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            made[name] = (
                {key: _in_order_of(before.get(key, {}), item) for key, item in value.items()}
                if name == "parameters"
                else value
                if name == "choices"
                else _in_order_of(before, value)
            )
    return made


def _prove(content: bytes, scripts: Mapping[str, bytes], folder: str, document: Mapping[str, Any]) -> None:
    """What is about to be written gives the same document back. Anything else would be a bug, and a loss."""
    data = parse_source(content, name="").data
    texts = {
        name: verbatim.read_text(scripts[f"{folder}/{file}"], data.get("line_ends"))
        for name, file in verbatim.files_of(data).items()
    }
    back = verbatim.to_document(data, texts)
    wanted = {"Id": data["id"], **document}
    if canonical(back) != canonical(wanted):
        raise AssertionError(f"{document['Name']!r} would not come back as it is")


def count(adopted: Iterable[Adopted]) -> Iterator[str]:
    """`3 new`, `1 updated` ..."""
    states = [item.state for item in adopted]
    for state in ("new", "updated", "unchanged", "kept"):
        if state in states:
            yield f"{states.count(state)} {state}"
