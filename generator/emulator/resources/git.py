"""Version-controlled projects over HTTP: conversion, refs, and the process and settings on each branch."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from generator.emulator import refusals, repositories
from generator.emulator.documents import Document, secret_properties
from generator.emulator.requests import Request
from generator.emulator.resources import processes
from generator.emulator.resources.projects import project_of

# What a persistence settings document holds (source: go-octopusdeploy, pkg/projects/git_persistence_settings.go).
SETTINGS: dict[str, Any] = {
    "Type": "VersionControlled", "Url": None, "DefaultBranch": "main", "BasePath": ".octopus",
    "ProtectedDefaultBranch": False, "ProtectedBranchNamePatterns": [],
}  # fmt: skip


def git_project(request: Request) -> Document:
    project = project_of(request)
    if not project["IsVersionControlled"]:
        raise refusals.NOT_VERSION_CONTROLLED(project=project["Name"])
    return project


def convert(request: Request) -> Document:
    """Answers `{Messages}` (source: go-octopusdeploy, pkg/projects/convert_to_vcs_response.go). Variables and runbooks stay in
    the database. There is no way back (source: docs, Converting to Git)."""
    project, body = project_of(request), request.document()
    if project["IsVersionControlled"]:
        raise refusals.ALREADY_VERSION_CONTROLLED(project=project["Name"])
    sent = body.get("VersionControlSettings")
    if not isinstance(sent, dict) or not isinstance(sent.get("Url"), str) or not sent["Url"]:
        raise refusals.REQUIRED(field="Url")
    settings = {name: sent.get(name) or default for name, default in SETTINGS.items()}
    settings["Credentials"] = secret_properties(sent.get("Credentials") or {"Type": "Anonymous"}, {})
    settings["ConversionState"] = {"VariablesAreInGit": False, "RunbooksAreInGit": False}
    repositories.begin(
        request.state,
        project,
        settings=settings,
        message=body.get("CommitMessage") or "Initial commit of deployment process",
        branch=body.get("InitialCommitBranchName") or None,
    )
    return {"Messages": []}


# --- refs ----------------------------------------------------------------------------------------------------------


def list_branches(request: Request) -> Document:
    return _list(request, "GitBranch", repositories.HEADS)


def list_tags(request: Request) -> Document:
    return _list(request, "GitTag", repositories.TAGS)


def _list(request: Request, kind: str, prefix: str) -> Document:
    project = git_project(request)
    part = (request.query.first("searchByName") or "").casefold()
    names = [
        name for name in repositories.refs(project, prefix) if part in name.removeprefix(prefix).casefold()
    ]
    return request.page(kind, names, lambda name: _shown(request, project, name))


def _shown(request: Request, project: Document, name: str) -> Document:
    short = name.removeprefix(repositories.HEADS).removeprefix(repositories.TAGS)
    document: Document = {"Id": None, "Name": short, "CanonicalName": name}
    own = f"{request.prefix}/api/{project['SpaceId']}/projects/{project['Id']}"
    if name.startswith(repositories.TAGS):
        kind = "tags"
    elif name.startswith(repositories.HEADS):
        kind, document["IsProtected"] = "branches", repositories.is_protected(project, name)
    else:
        kind = "commits"
    encoded = quote(name, safe="")
    document["Links"] = {
        "Self": f"{own}/git/{kind}/{encoded}",
        "DeploymentProcess": f"{own}/{encoded}/deploymentprocesses",
        "DeploymentSettings": f"{own}/{encoded}/deploymentsettings",
    }
    return document


def get_branch(request: Request) -> Document:
    return _get(request, request.argument("branchname"), repositories.HEADS)


def get_tag(request: Request) -> Document:
    return _get(request, request.argument("tagname"), repositories.TAGS)


def get_ref(request: Request) -> Document:
    return _get(request, request.argument("refname"), "refs/")


def get_commit(request: Request) -> Document:
    project, commit = git_project(request), request.argument("hash")
    if commit not in project["_git"]["commits"]:
        raise refusals.NOT_FOUND()
    return {**_shown(request, project, commit), "Message": repositories.commit_of(project, commit)["message"]}


def _get(request: Request, ref: str, prefix: str) -> Document:
    project = git_project(request)
    found = repositories.resolved(project, ref)
    if found is None or not found[0].startswith(prefix):
        raise refusals.NOT_FOUND()
    return _shown(request, project, found[0])


def create_branch(request: Request) -> Document:
    """200 with the branch (source: docs, API reference, branches; Deprecations: `BaseGitRef` in place of
    `CurrentBranchName`)."""
    project, body = git_project(request), request.document()
    for name in ("BaseGitRef", "NewBranchName"):
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise refusals.REQUIRED(field=name)
    return _shown(
        request, project, repositories.add_branch(project, body["BaseGitRef"], body["NewBranchName"])
    )


# --- process and settings ------------------------------------------------------------------------------------------


def content_at(request: Request) -> tuple[Document, str, Document]:
    """(project, canonical name, commit's content) of the ref in the path."""
    project = git_project(request)
    found = repositories.resolved(project, request.argument("gitref"))
    if found is None:
        raise refusals.NOT_FOUND()
    return project, found[0], repositories.commit_of(project, found[1])


def get_process(request: Request) -> Document:
    project, name, content = content_at(request)
    return show_process(request, project, name, content["process"])


def show_process(request: Request, project: Document, name: str, process: Document) -> Document:
    """With links that hold the ref: a client saves to `Self` (source: go-octopusdeploy, deployment_process_service.go)."""
    document = request.show("DeploymentProcesses", process)
    own = f"{request.prefix}/api/{project['SpaceId']}/projects/{project['Id']}/{quote(name, safe='')}"
    document["Links"]["Self"] = f"{own}/deploymentprocesses"
    document["Links"]["Template"] = f"{own}/deploymentprocesses/template{{?channel,releaseId}}"
    return document


def modify_process(request: Request) -> Document:
    """A commit on the branch; `ChangeDescription` is its message (source: docs, API reference, deployment processes)."""
    project = git_project(request)
    name, process, settings = repositories.draft(project, request.argument("gitref"))
    processes.replace_steps(request, process)
    message = request.document().get("ChangeDescription") or "Update deployment process"
    repositories.save(request.state, project, name, process, settings, message=message)
    return show_process(request, project, name, process)


def get_settings(request: Request) -> Document:
    project, name, content = content_at(request)
    return _show_settings(request, project, name, content["settings"])


def _show_settings(request: Request, project: Document, name: str, settings: Document) -> Document:
    document = request.show("DeploymentSettings", settings)
    own = f"{request.prefix}/api/{project['SpaceId']}/projects/{project['Id']}"
    document["Links"] = {"Self": f"{own}/{quote(name, safe='')}/deploymentsettings", "Project": own}
    return document


def modify_settings(request: Request) -> Document:
    project, body = git_project(request), request.document()
    name, process, settings = repositories.draft(project, request.argument("gitref"))
    settings.update({field: body[field] for field in settings if field in body and not field.endswith("Id")})
    message = body.get("ChangeDescription") or "Update deployment settings"
    repositories.save(request.state, project, name, process, settings, message=message)
    return _show_settings(request, project, name, settings)
