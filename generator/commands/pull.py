"""`octosteps pull`: bring into specs and scripts what others made or edited, from files or from a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from generator.adoption import (
    Adopted,
    Incoming,
    Known,
    adopt,
    count,
    from_resource,
    made_id,
    read_known,
    slug_of,
)
from generator.build_folder import write_whole
from generator.commands.check import COORDINATION
from generator.coordination_file import take_stock
from generator.editor_schemas import COORDINATION_SCHEMA, schema_reference
from generator.errors import Problem, Problems, Refusal
from generator.history import History, read_histories
from generator.homecoming import Home, Homecoming, bring_home
from generator.library import FoundTemplate, read_found
from generator.octopus import Client, connect, read_target
from generator.outcome import Outcome, Part, Progress, quiet
from generator.settings import read_settings
from generator.source import closest_or_all
from generator.spec import is_verbatim
from generator.step_template import EXPORTED_AT, OCTOPUS_VERSION, StepTemplate, digest
from generator.template_files import list_files, read_document
from generator.workspace import Renderer, Workspace, read_builtin, read_workspace, render_known


def run(
    *,
    root: Path,
    files: Sequence[Path] = (),
    names: Sequence[str] = (),
    project: str | None = None,
    environ: Mapping[str, str],
    target: str | None = None,
    space: str | None = None,
    force: bool = False,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Outcome:
    """What was brought in, from `files` in the Library's format, else from a server: the named step templates, or all. With a
    `project` its steps of ours, into the coordination file that `files` names (default: the library's own).

    Exit code 1 when something could not be brought, or has to be mended. Errors: Problems with every fault, after which nothing
    is written; Refusal. `http` is a ready client, for tests.
    """
    if files and names:
        raise Refusal("give files, or names of step templates on a server, not both")
    if project is not None and (names or len(files) > 1):
        raise Refusal("--project writes one coordination file: give at most one, and no --name")
    workspace = read_workspace(root)
    if files and project is None:
        return pull_files(workspace, files, force=force, progress=progress)
    place = read_target(environ, read_settings(root).targets, name=target, space=space)
    with connect(
        place.url, api_key=place.api_key, access_token=place.access_token, space=place.space, http=http
    ) as client:
        if project is not None:
            file = files[0] if files else root / COORDINATION
            return pull_project(workspace, client, project, file, progress=progress)
        return pull_server(workspace, client, names, force=force, progress=progress)


# --- from files -------------------------------------------------------------------------------------------------------------


def pull_files(workspace: Workspace, paths: Sequence[Path], *, force: bool, progress: Progress) -> Outcome:
    """Bring in templates from files in the Library's format."""
    incoming: list[Incoming] = []
    problems: list[Problem] = []
    for file in progress(list_files(paths), "Reading"):
        try:
            document = read_document(file)
        except Problems as error:
            problems += error.problems
            continue
        incoming.append(Incoming(document=document, origin=file.as_posix(), slug=slug_of(file.stem)))
    adopted: Sequence[Adopted] = ()
    try:
        adopted = adopt_all(workspace, incoming, force=force, progress=progress)
    except Problems as error:
        problems += error.problems
    if problems:
        raise Problems(problems)
    write_files(workspace, adopted, progress)
    return Outcome(
        data={"templates": [to_json(item) for item in adopted]},
        parts=[*(line for item in adopted for line in told(workspace, item)), *summary(adopted)],
        lines=[relative for item in adopted for relative in item.files],
    )


def adopt_all(
    workspace: Workspace, incoming: Sequence[Incoming], *, force: bool, progress: Progress
) -> tuple[Adopted, ...]:
    return adopt(
        workspace,
        read_known(workspace),
        incoming,
        schema=schema_reference(workspace),
        force=force,
        progress=progress,
    )


def write_files(workspace: Workspace, adopted: Sequence[Adopted], progress: Progress) -> None:
    """Write the files of each template, its spec last, so that no spec names what is not there."""
    for item in progress(adopted, "Writing"):
        for relative, content in item.files.items():
            write(workspace, relative, content)


def write(workspace: Workspace, relative: str, content: bytes) -> None:
    """Put the content in its place; a file that holds it already is left alone."""
    put(workspace.root / relative, content)


def put(file: Path, content: bytes) -> None:
    try:
        if file.exists() and file.read_bytes() == content:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise Refusal(f"{file.as_posix()} cannot be written: {error.strerror or error}") from error


# --- from a server ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Returned:
    """A template of ours that people may have edited, and what of that was brought into the library."""

    found: FoundTemplate
    spec: str
    home: Homecoming
    note: str = ""


def pull_server(
    workspace: Workspace, client: Client, names: Sequence[str], *, force: bool, progress: Progress
) -> Outcome:
    """Bring in the named templates of a space, or all."""
    known = read_known(workspace)
    found = read_found(client)
    chosen = choose(found, names, known, client.where) if names else found
    builtin = {} if workspace.builtin else {item.id: item for item in read_known(read_builtin())}
    own = {item.id: item for item in known if item.id}
    homes: list[tuple[FoundTemplate, Known]] = []
    incoming: list[Incoming] = []
    for template in chosen:
        spec_id = template.marker.spec_id.lower() if template.marker else ""
        there = own.get(spec_id) or builtin.get(spec_id)
        if there is not None and not is_verbatim(there.source):
            homes.append((template, there))
        else:
            incoming.append(take_in(template, known, client))
    moved = [template for template, _ in homes if not is_as_meant(template)]
    histories = read_histories(client, progress(moved, "Reading histories"))
    returned = bring_all(workspace, homes, histories, force=force)
    adopted = adopt_all(workspace, incoming, force=force, progress=progress)
    write_files(workspace, adopted, progress)
    for item in returned:
        for relative, content in item.home.files.items():
            write(workspace, relative, content)
    return outcome_of(workspace, adopted, returned)


def choose(
    found: Sequence[FoundTemplate], names: Sequence[str], known: Sequence[Known], where: str
) -> tuple[FoundTemplate, ...]:
    """The templates of these names, as the server or as the library's specs call them. Errors: Refusal."""
    by_name = {template.name.casefold(): template for template in found}
    for item in known:
        renamed = [one for one in found if one.marker and one.marker.spec_id.lower() == item.id]
        for word in (item.name.casefold(), item.file.slug.casefold()):
            if renamed:
                by_name.setdefault(word, renamed[0])
    missing = [name for name in names if name.casefold() not in by_name]
    if missing:
        hint = closest_or_all(missing[0], [template.name for template in found]) if found else "it has none"
        raise Refusal(f"{where} has no step template {missing[0]!r}: {hint}")
    return tuple(by_name[name] for name in dict.fromkeys(name.casefold() for name in names))


def take_in(template: FoundTemplate, known: Sequence[Known], client: Client) -> Incoming:
    """A template of the server as one to adopt. It is known by our marker, else by its name."""
    names = {item.name.casefold(): item.id for item in known if item.id and is_verbatim(item.source)}
    space = client.space.id if client.space else ""
    identity = template.marker.spec_id if template.marker else names.get(template.name.casefold())
    document = from_resource(
        template.document, exported_at=EXPORTED_AT, octopus_version=client.version or OCTOPUS_VERSION
    )
    revision = template.marker.revision if template.marker else template.version
    identity = identity or made_id(client.root, space, template.id)
    secrets = [
        str(item["Name"])
        for item in template.document.get("Parameters") or ()
        if isinstance(item.get("DefaultValue"), Mapping) and item["DefaultValue"].get("HasValue")
    ]
    return Incoming(
        document={**document, "Id": identity, "Version": revision},
        origin=f"{client.where}: {template.name}",
        slug=slug_of(template.name),
        is_resource=True,
        revision=revision + (1 if template.marker and not template.is_intact else 0),
        published=template.marker.digest.removeprefix("sha256:")[:16] if template.marker else "",
        notes=tuple(f"the server does not show the default of the secret {name}" for name in secrets),
    )


def is_as_meant(template: FoundTemplate) -> bool:
    """Whether nobody has edited our template, or put an old version back."""
    marker = template.marker
    return template.is_intact and marker is not None and marker.version in (None, template.version)


def bring_all(
    workspace: Workspace,
    homes: Sequence[tuple[FoundTemplate, Known]],
    histories: Mapping[str, History],
    *,
    force: bool,
) -> list[Returned]:
    """What people edited in templates of ours. Errors: Problems of specs that do not render."""
    own, renderer = Renderer(workspace), Renderer(read_builtin())
    ids = {file.relative for file in workspace.specs}
    returned: list[Returned] = []
    problems: list[Problem] = []
    for template, known in homes:
        is_mine = known.file.relative in ids and known.file in workspace.specs
        try:
            home = read_home(own if is_mine else renderer, known)
            base, note = read_base(template, home, histories.get(template.id))
        except Problems as error:
            problems += error.problems
            continue
        result = Homecoming()
        if base is not None:
            result = bring_home(home, template, base, own if is_mine else renderer, force=force)
            if not is_mine and result.files:
                result, note = copy_builtin(workspace, home, result)
        returned.append(Returned(found=template, spec=home.file.relative, home=result, note=note))
    if problems:
        raise Problems(problems)
    return returned


def read_home(renderer: Renderer, known: Known) -> Home:
    """The library's side of a template of ours. Errors: Problems of its spec and script."""
    rendered = renderer.render(known.file)
    if rendered.built is None:
        raise Problems(rendered.problems)
    [script] = rendered.scripts
    return Home(
        file=known.file,
        source=known.source,
        built=rendered.built,
        script=script.relative,
        script_content=script.content,
    )


def read_base(
    template: FoundTemplate, home: Home, history: History | None
) -> tuple[StepTemplate | None, str]:
    """What we published last, from which people's edits are told; None with a note when there are none.

    Errors: Problems when it is not known any more.
    """
    marker, spec = template.marker, home.built.spec
    assert marker is not None
    if template.is_intact and not (history and history.was_put_back):
        if marker.revision > spec.version:
            note = f"published from a newer revision ({marker.revision}, this spec is {spec.version}): update your checkout"
            return None, note
        return None, "" if template.content == home.built.template else "only the library has changed"
    if history is not None and history.published is not None:
        return history.published.content, ""
    if marker.digest == digest(home.built.template):
        return home.built.template, ""
    message = f"what was published last of '{template.name}' is not known any more, so nobody can tell what was edited"
    hint = "compare by hand: octosteps plan shows the difference; then octosteps apply --force"
    raise Problems([home.source.problem(("name",), message, hint)])


def copy_builtin(workspace: Workspace, home: Home, result: Homecoming) -> tuple[Homecoming, str]:
    """A built-in template's spec and script, with the edits, as the library's own: one with its id takes its place."""
    settings = workspace.settings
    spec = f"{settings.step_templates}/{Path(home.file.relative).name}"
    script = f"{settings.scripts}/{home.source.data['script']}"
    files = {
        script: result.files.get(home.script, home.script_content),
        spec: result.files.get(home.file.relative, home.file.content),
    }
    for relative in files:
        file = workspace.root / relative
        if file.exists():
            raise Refusal(
                f"{workspace.shown(relative)} exists already: {home.built.spec.name} would be copied there"
            )
    note = "a built-in template: copied into this library, where it takes the built-in one's place"
    return replace(result, files=files), note


# --- steps of a project -----------------------------------------------------------------------------------------------------


def pull_project(
    workspace: Workspace, client: Client, project: str, file: Path, *, progress: Progress
) -> Outcome:
    """Write the project's steps of ours into a coordination file, or bring what people changed into one that is there."""
    taken = take_stock(
        client,
        project,
        file,
        schema=schema_reference(workspace, COORDINATION_SCHEMA, folder=file.parent),
        known=render_known(workspace.root),
        progress=progress,
    )
    is_new = not file.exists()
    if taken.content is not None:
        put(file, taken.content)
    count = f"{taken.steps} step{'' if taken.steps == 1 else 's'} of {project}"
    state = "unchanged" if taken.content is None else "new" if is_new else "updated"
    parts = [
        f"  {SIGNS[state]} {file.as_posix()}: {count}"
        + (", nothing to bring in" if state == "unchanged" else ""),
        *(f"    look at: {sentence}" for sentence in taken.left),
    ]
    return Outcome(
        data={"file": file.as_posix(), "state": state, "steps": taken.steps, "left": list(taken.left)},
        parts=parts,
        lines=[file.as_posix()] if taken.content is not None else [],
        problems=taken.problems,
        exit_code=1 if taken.left or taken.problems else 0,
    )


# --- telling ------------------------------------------------------------------------------------------------------------------

SIGNS = {"new": "+", "updated": "~", "unchanged": "=", "kept": "="}


def outcome_of(workspace: Workspace, adopted: Sequence[Adopted], returned: Sequence[Returned]) -> Outcome:
    """What happened, template by template."""
    parts: list[Part] = [line for item in adopted for line in told(workspace, item)]
    mend: list[Problem] = []
    for item in returned:
        mend += item.home.mend
        parts += told_home(workspace, item)
    states = [*adopted, *(as_adopted(item) for item in returned)]
    parts += summary(states)
    is_whole = not mend and not any(item.home.left for item in returned)
    return Outcome(
        data={
            "templates": [to_json(item) for item in adopted]
            + [
                {
                    **to_json(as_adopted(item)),
                    "brought": list(item.home.taken),
                    "left": list(item.home.left),
                }
                for item in returned
            ]
        },
        parts=parts,
        lines=[relative for item in states for relative in item.files],
        problems=mend,
        exit_code=0 if is_whole else 1,
    )


def as_adopted(item: Returned) -> Adopted:
    state = "updated" if item.home.files else "kept" if item.note else "unchanged"
    return Adopted(
        name=item.found.name, origin=item.found.id, spec=item.spec, state=state, files=item.home.files
    )


def told(workspace: Workspace, item: Adopted) -> list[str]:
    """What happened to one template, as lines."""
    lines = []
    if item.files:
        names = ", ".join(workspace.shown(relative) for relative in reversed(list(item.files)))
        lines.append(f"  {SIGNS[item.state]} {item.name}: {names}")
    elif item.state == "kept":
        lines.append(f"  = {item.name}: only {workspace.shown(item.spec)} has changed since it was pulled")
    return [*lines, *(f"    {note}" for note in item.notes if item.state != "unchanged")]


def told_home(workspace: Workspace, item: Returned) -> list[str]:
    home = item.home
    lines = []
    if home.files:
        names = ", ".join(workspace.shown(relative) for relative in reversed(list(home.files)))
        lines.append(f"  ~ {item.found.name}{item.found.edited}: {names}")
    elif home.left:
        lines.append(f"  ! {item.found.name}{item.found.edited}: nothing could be brought in")
    elif item.note:
        lines.append(f"  = {item.found.name}: {item.note}")
    if home.files and item.note:
        lines.append(f"    {item.note}")
    lines += [f"    brought: {what}" for what in home.taken]
    for what in home.left:
        first, *rest = what.split("\n")
        lines += [f"    not brought: {first}", *rest]
    return lines


def summary(states: Sequence[Adopted]) -> list[str]:
    total = f"{len(states)} step template{'' if len(states) == 1 else 's'}"
    counts = ", ".join(count(states))
    lines = [f"{total}: {counts}." if counts else "No step templates."]
    if any(item.files for item in states):
        lines.append("Next: octosteps check, then octosteps build.")
    return lines


def to_json(item: Adopted) -> dict[str, object]:
    return {
        "name": item.name,
        "origin": item.origin,
        "spec": item.spec,
        "state": item.state,
        "files": list(item.files),
        "notes": list(item.notes),
    }
