"""Branches of our own in version-controlled projects: which one a process goes to, and making it.

Nothing is ever committed to a branch that people work on. Ours begin with `octosteps/`, are made for one coordination file, and
people merge them; a branch that was merged and left there is followed by one with the next number. Source: the docs pages
"Version-controlled projects" and "branches" of the API reference; go-octopusdeploy, pkg/projects (persistence settings).
That protected branches refuse every commit: OctopusDeploy/Issues 9456. What the patterns of protected branches may hold is
unconfirmed: they are read as shell patterns, and the server's own refusal is told where that was wrong.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast
from urllib.parse import quote

from generator import owned_step
from generator.coordination import WantedProcess
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document, ProcessDocument, ProjectDocument
from generator.source import closest

HEADS = "refs/heads/"
PREFIX = "octosteps/"
MADE_ATTEMPTS = 4


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch of our own. `base` is the one that it is, or will be, made from; both without `refs/heads/`.

    `is_there`: it is on the server already, and is continued. `waits`: it holds what `base` does not have of ours yet.
    """

    project: str
    name: str
    base: str
    is_there: bool = False
    waits: bool = False

    @property
    def path(self) -> str:
        """Where its deployment process is read and written."""
        return process_path(self.project, self.name)

    @property
    def base_path(self) -> str:
        return process_path(self.project, self.base)

    def __str__(self) -> str:
        return (
            f"branch {self.name!r}"
            if self.is_there
            else f"branch {self.name!r}, to be made from {self.base!r}"
        )


class Missing(NamedTuple):
    """Why a process cannot be planned: the keys below its entry in the file that it is about, a sentence and a hint."""

    path: tuple[str, ...]
    message: str
    hint: str = ""


def process_path(project: str, branch: str) -> str:
    return f"projects/{project}/{quote(HEADS + branch, safe='')}/deploymentprocesses"


def is_version_controlled(project: ProjectDocument) -> bool:
    return bool(project.get("IsVersionControlled")) or settings_of(project).get("Type") == "VersionControlled"


def settings_of(project: ProjectDocument) -> Document:
    return cast(Document, project).get("PersistenceSettings") or {}


def default_name(file: str) -> str:
    """`octosteps/` and the file's name, as far as Git takes its characters."""
    plain = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", file)).strip(".-")
    return PREFIX + (plain.removesuffix(".lock") or "coordination")


def find_branch(
    client: Client, wanted: WantedProcess, project: ProjectDocument
) -> tuple[Branch, ProcessDocument] | Missing:
    """Where the steps go, and the process as it is there."""
    default = str(settings_of(project).get("DefaultBranch") or "main").removeprefix(HEADS)
    base = ((wanted.git.base if wanted.git else None) or default).removeprefix(HEADS)
    asked = (wanted.git.name if wanted.git else None) or default_name(wanted.file)
    identity = project["Id"]
    try:
        base_document = read(client, process_path(identity, base))
    except ApiError as error:
        if error.status not in (400, 404):
            raise
        names = [str(item["Name"]) for item in client.pages(f"projects/{identity}/git/branches")]
        if base in names:
            raise
        message = f"project '{wanted.project}' has no branch '{base}'"
        return Missing(("git", "from"), message, closest(base, names))
    newest = newest_of(client, identity, asked)
    if newest is not None:
        number, document = newest
        branch = Branch(project=identity, name=numbered(asked, number), base=base, is_there=True)
        there = read(client, branch.path)
        if not was_merged(there, base_document, identity):
            if document.get("IsProtected"):
                return protected(branch.name)
            waits = marks_of(there, identity) != marks_of(base_document, identity)
            return Branch(**{**vars(branch), "waits": waits}), there
    name = numbered(asked, newest[0] + 1 if newest else 1)
    for pattern in settings_of(project).get("ProtectedBranchNamePatterns") or ():
        if fnmatch.fnmatchcase(name, str(pattern)):
            return protected(name, str(pattern))
    return Branch(project=identity, name=name, base=base), base_document


def protected(name: str, pattern: str = "") -> Missing:
    by = f" by the pattern '{pattern}'" if pattern else ""
    sentence = f"the project protects the branch '{name}'{by}, so that nothing can be committed to it"
    return Missing(("git", "branch"), sentence, "name another one: git: {branch: octosteps/...}")


def numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def newest_of(client: Client, project: str, name: str) -> tuple[int, Document] | None:
    """The one with the highest number among `name`, `name-2`, `name-3`...; None when there is none."""
    found: dict[int, Document] = {}
    for item in client.pages(f"projects/{project}/git/branches", searchByName=name):
        match = re.fullmatch(re.escape(name) + r"(?:-([1-9]\d*))?", str(item["Name"]))
        if match:
            found[int(match[1] or 1)] = item
    return max(found.items()) if found else None


def was_merged(branch: ProcessDocument, base: ProcessDocument, owner: str) -> bool:
    """Whether the base has all that we wrote on the branch, and has moved on since: the branch is done with."""
    return marks_of(branch, owner) == marks_of(base, owner) and branch["Steps"] != base["Steps"]


def marks_of(process: ProcessDocument, owner: str) -> Mapping[str, list[Mapping[str, str]]]:
    """What we wrote, by key: the hashes in each of our steps."""
    owned = owned_step.find_owned(process["Steps"], owner)
    return {key: [owned_step.read_put(each.action) for each in members] for key, members in owned.items()}


def read(client: Client, path: str) -> ProcessDocument:
    return cast(ProcessDocument, client.get(path))


def read_document(client: Client, branch: Branch) -> ProcessDocument:
    """The process on the branch; on its base as long as nobody has made the branch."""
    if not branch.is_there and not exists(client, branch):
        return read(client, branch.base_path)
    return read(client, branch.path)


def exists(client: Client, branch: Branch) -> bool:
    try:
        client.get(f"projects/{branch.project}/git/branches/{quote(HEADS + branch.name, safe='')}")
    except ApiError as error:
        if error.status in (400, 404):
            return False
        raise
    return True


def make(client: Client, branch: Branch) -> None:
    """Make the branch where it is not there. A lost answer, or somebody who was faster, is told by looking."""
    body = {"NewBranchName": branch.name, "BaseGitRef": HEADS + branch.base}
    for attempt in range(MADE_ATTEMPTS):
        if exists(client, branch):
            return
        try:
            client.post(f"projects/{branch.project}/git/branches/v2", body)
            return
        except OctopusError as error:
            refused = isinstance(error, ApiError) and error.status in (400, 409)
            if attempt == MADE_ATTEMPTS - 1 or not (refused or error.maybe_done):
                raise
            if refused and not exists(client, branch):
                raise
