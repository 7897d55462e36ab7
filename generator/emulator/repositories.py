"""The Git repository of a version-controlled project: refs, commits, and the process and settings in each. No HTTP.

The emulator has no Git: a commit is a number of forty digits with a message and whole documents.
Source: docs, Version-controlled projects and API reference, branches; go-octopusdeploy, pkg/projects (persistence settings,
conversion, refs); cli, test/fixtures/projects.go (links, the process' id). That a process on a branch is guarded by its
`Version` as one in the database is: unconfirmed.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib

from generator.emulator import refusals
from generator.emulator.documents import Document
from generator.emulator.state import State

HEADS, TAGS = "refs/heads/", "refs/tags/"


def begin(state: State, project: Document, *, settings: Document, message: str, branch: str | None) -> None:
    """Puts the project's process and settings into a new repository, on `branch` or else on the default branch."""
    default = HEADS + settings["DefaultBranch"]
    project["IsVersionControlled"] = True
    project["PersistenceSettings"] = settings
    project["_git"] = {"refs": {}, "commits": {}}
    process = copy.deepcopy(state.get("DeploymentProcesses", project["DeploymentProcessId"]))
    own = copy.deepcopy(state.get("DeploymentSettings", f"deploymentsettings-{project['Id']}"))
    target = HEADS + branch.removeprefix(HEADS) if branch else default
    if target != default:
        empty = {**process, "Steps": []}
        _commit(state, project, default, empty, own, message="Initial commit")
    _commit(state, project, target, process, own, message=message)
    # In such projects it stands in the deployment settings (source: cli, test/fixtures/projects.go).
    project["VersioningStrategy"] = None


def refs(project: Document, prefix: str) -> list[str]:
    """Canonical names of the branches or tags."""
    return sorted(name for name in project["_git"]["refs"] if name.startswith(prefix))


def resolved(project: Document, ref: str) -> tuple[str, str] | None:
    """(canonical name, commit) of a branch, a tag or a commit, None when there is no such thing."""
    known, commits = project["_git"]["refs"], project["_git"]["commits"]
    for name in (ref, HEADS + ref, TAGS + ref):
        if name in known:
            return name, known[name]
    return (ref, ref) if ref in commits else None


def commit_of(project: Document, commit: str) -> Document:
    found: Document = project["_git"]["commits"][commit]
    return found


def draft(project: Document, ref: str) -> tuple[str, Document, Document]:
    """(canonical name, process, settings) as copies that may be changed and given to `save`. Errors: 404; 400 for what is no
    branch or is protected."""
    found = resolved(project, ref)
    if found is None:
        raise refusals.NOT_FOUND()
    name, commit = found
    if not name.startswith(HEADS):
        raise refusals.NOT_A_BRANCH(ref=ref)
    if is_protected(project, name):
        raise refusals.PROTECTED_BRANCH(branch=name)
    content = commit_of(project, commit)
    return name, copy.deepcopy(content["process"]), copy.deepcopy(content["settings"])


def is_protected(project: Document, name: str) -> bool:
    settings, short = project["PersistenceSettings"], name.removeprefix(HEADS)
    if short == settings["DefaultBranch"] and settings.get("ProtectedDefaultBranch"):
        return True
    return any(
        fnmatch.fnmatchcase(short, pattern) for pattern in settings.get("ProtectedBranchNamePatterns") or ()
    )


def save(
    state: State, project: Document, name: str, process: Document, settings: Document, *, message: str
) -> None:
    """A new commit on the branch."""
    _commit(state, project, name, process, settings, message=message)


def _commit(
    state: State,
    project: Document,
    name: str,
    process: Document,
    settings: Document,
    *,
    message: str,
    merged: str | None = None,
) -> None:
    git = project["_git"]
    number = f"{project['Id']} {len(git['commits'])}"
    commit = hashlib.sha1(number.encode(), usedforsecurity=False).hexdigest()
    git["commits"][commit] = {
        "parents": [*([git["refs"][name]] if name in git["refs"] else []), *([merged] if merged else [])],
        "process": copy.deepcopy(process),
        "settings": copy.deepcopy(settings),
        "message": message,
    }
    _move(state, project, name, commit)


def _move(state: State, project: Document, name: str, commit: str) -> None:
    """Let a branch point to a commit."""
    content = project["_git"]["commits"][commit]
    process, settings = content["process"], content["settings"]
    project["_git"]["refs"][name] = commit
    if name == HEADS + project["PersistenceSettings"]["DefaultBranch"]:
        # What asks for the project's process without a ref (scopes of variables, the page) sees the default branch.
        state.get("DeploymentProcesses", project["DeploymentProcessId"]).update(copy.deepcopy(process))
        state.get("DeploymentSettings", f"deploymentsettings-{project['Id']}").update(copy.deepcopy(settings))


def add_branch(project: Document, base: str, name: str) -> str:
    """The canonical name of a new branch at `base`. Errors: 400 for an unknown base or a name that is taken."""
    found = resolved(project, base)
    if found is None:
        raise refusals.UNKNOWN_GIT_REF(ref=base)
    canonical = HEADS + name.removeprefix(HEADS)
    if canonical in project["_git"]["refs"]:
        raise refusals.DUPLICATE_NAME(kind="Branch", name=name)
    project["_git"]["refs"][canonical] = found[1]
    return canonical


def add_tag(project: Document, base: str, name: str) -> None:
    """As somebody would with Git: the API has no request for it."""
    found = resolved(project, base)
    if found is None:
        raise KeyError(base)
    project["_git"]["refs"][TAGS + name] = found[1]


def merge(state: State, project: Document, branch: str, into: str) -> str:
    """As somebody would with Git, protected or not: the commit that `into` has then. The API has no request for it.

    Steps are merged whole, by their ids. Errors: ValueError for a step that both sides have changed, KeyError for no such branch.
    """
    refs = project["_git"]["refs"]
    ours, theirs = refs[HEADS + into], refs[HEADS + branch]
    if theirs in _history(project, ours):
        return str(ours)
    if ours in _history(project, theirs):
        _move(state, project, HEADS + into, theirs)
        return str(theirs)
    base = next(commit for commit in _history(project, ours) if commit in _history(project, theirs))
    contents = [commit_of(project, commit) for commit in (base, ours, theirs)]
    process = {
        **contents[1]["process"],
        "Steps": _merged_steps(*(content["process"]["Steps"] for content in contents)),
    }
    process["Version"] = max(content["process"]["Version"] for content in contents) + 1
    message = f"Merge branch '{branch}'"
    _commit(state, project, HEADS + into, process, contents[1]["settings"], message=message, merged=theirs)
    return str(refs[HEADS + into])


def delete_branch(project: Document, name: str) -> None:
    """As somebody would with Git, after a merge for example."""
    del project["_git"]["refs"][HEADS + name]


def _history(project: Document, commit: str) -> list[str]:
    """The commit and everything before it, the nearest first."""
    found, waiting = [], [commit]
    while waiting:
        here = waiting.pop(0)
        if here not in found:
            found.append(here)
            waiting += project["_git"]["commits"][here]["parents"]
    return found


def _merged_steps(base: list[Document], ours: list[Document], theirs: list[Document]) -> list[Document]:
    """Ours, with what `theirs` has added, changed and removed since `base`; an added step stands behind its neighbour."""
    before, here, there = ({step["Id"]: step for step in steps} for steps in (base, ours, theirs))
    merged: list[Document] = []
    for step in ours:
        identity = step["Id"]
        their, old = there.get(identity), before.get(identity)
        if their in (old, step):
            merged.append(step)
        elif step != old:
            raise ValueError(f"CONFLICT: both sides have changed the step '{step['Name']}'")
        elif their is not None:
            merged.append(their)
    for number, step in enumerate(theirs):
        if step["Id"] in here:
            continue
        if step["Id"] in before:
            if step != before[step["Id"]]:
                raise ValueError(
                    f"CONFLICT: one side has changed, the other removed the step '{step['Name']}'"
                )
            continue
        neighbour = theirs[number - 1]["Id"] if number else None
        ids = [item["Id"] for item in merged]
        merged.insert(ids.index(neighbour) + 1 if neighbour in ids else (len(ids) if number else 0), step)
    return copy.deepcopy(merged)


def process_at(state: State, project: Document, commit: str) -> Document:
    """The frozen process of a commit, for releases; one document for each."""
    content = commit_of(project, commit)
    if "frozen" not in content:
        identifier = (
            f"deploymentprocess-{project['Id']}-s-{len(project['_git']['commits'])}-{commit[:5].upper()}"
        )
        frozen = {**copy.deepcopy(content["process"]), "_frozen": True}
        content["frozen"] = state.add("DeploymentProcesses", frozen, identifier=identifier)["Id"]
    return state.get("DeploymentProcesses", content["frozen"])
