"""Action templates (step templates): versions from 0, the name trap, usage, and updating the steps that use one."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

from generator.emulator import refusals, repositories
from generator.emulator.documents import Document, Secret, secret_properties
from generator.emulator.kinds import ACTION_TEMPLATES
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.shapes import objects
from generator.emulator.state import State

TEMPLATE_ID = "Octopus.Action.Template.Id"
TEMPLATE_VERSION = "Octopus.Action.Template.Version"


def list_page(request: Request) -> Document:
    return request.page_of("ActionTemplate", "ActionTemplates", _templates(request))


def list_all(request: Request) -> list[Document]:
    return request.show_all("ActionTemplates", _templates(request))


def _templates(request: Request) -> list[Document]:
    community = request.query.flag("isCommunityActionTemplate")
    return [
        item
        for item in sorted(narrowed(request, request.visible("ActionTemplates")), key=by_name)
        if community is None or community == bool(item["CommunityActionTemplateId"])
    ]


def template_of(request: Request) -> Document:
    return request.find("ActionTemplates", request.argument("id"))


def get(request: Request) -> Document:
    return request.show("ActionTemplates", template_of(request))


def create(request: Request) -> Answer:
    """201, Version 0 (source: OctopusDeploy/Issues 4001 and 9185 for the number)."""
    body = request.document()
    template = new_template(request, body, space_id=request.space_id, community_id=None)
    return created(request.show("ActionTemplates", template))


def new_template(request: Request, body: Document, *, space_id: str, community_id: str | None) -> Document:
    """A stored template, linked to the community template it comes from. Errors: Refused, and nothing is stored."""
    state = request.state
    fields = ACTION_TEMPLATES.fields(body)
    for name in ("Name", "ActionType"):
        if not isinstance(fields[name], str) or not fields[name].strip():
            raise refusals.REQUIRED(field=name)
    request.refuse_duplicate("ActionTemplate", "ActionTemplates", fields["Name"], SpaceId=space_id)
    template = {"SpaceId": space_id, **fields, **_contents(request, body, {}), "Version": 0}
    template["CommunityActionTemplateId"] = community_id
    template.update(LastModifiedOn=state.now(), LastModifiedBy=request.user["Username"])
    state.add("ActionTemplates", template)
    # The version table learns of a version only when the next one is saved, so a taken name does not fail here.
    state.template_versions[template["Id"]] = []
    return template


def modify(request: Request) -> Document:
    """Version + 1 at every save, no check of a version sent (source: docs, API reference, action templates: the modify
    command has none). A field that is left out is emptied: unconfirmed."""
    template, body = template_of(request), request.document()
    if template["CommunityActionTemplateId"]:
        raise refusals.ONLY_CUSTOM_TEMPLATES()
    name = body.get("Name")
    if not isinstance(name, str) or not name.strip():
        raise refusals.REQUIRED(field="Name")
    save(request, template, body, name=name)
    return request.show("ActionTemplates", template)


def save(request: Request, template: Document, body: Document, *, name: str) -> None:
    """The next version of the template."""
    state = request.state
    request.refuse_duplicate(
        "ActionTemplate", "ActionTemplates", name, besides=template["Id"], SpaceId=template["SpaceId"]
    )
    _refuse_used_version(request, template)
    contents = _contents(request, body, template)
    state.template_versions[template["Id"]].append(copy.deepcopy(template))
    template.update(Name=name, Description=body.get("Description") or "", **contents)
    template.update(Version=template["Version"] + 1)
    template.update(LastModifiedOn=state.now(), LastModifiedBy=request.user["Username"])


def _refuse_used_version(request: Request, template: Document) -> None:
    """The version table is unique by (Name, Version), whichever template wrote the row.

    A save writes the state before it, so a new template under a name that another one once had cannot be saved a second
    time (source: OctopusDeploy/Issues 4001, 7316, 9185).
    """
    for identifier, versions in request.state.template_versions.items():
        if identifier == template["Id"]:
            continue
        for row in versions:
            same = (
                row["Name"].casefold() == template["Name"].casefold()
                and row["SpaceId"] == template["SpaceId"]
            )
            if same and row["Version"] == template["Version"]:
                raise refusals.NAME_TRAP(name=template["Name"], version=template["Version"])


def _contents(request: Request, body: Document, before: Document) -> Document:
    old_parameters = {item["Id"]: item for item in before.get("Parameters", ())}
    packages = copy.deepcopy(objects(body.get("Packages"), "Packages"))
    unknown = [
        package["FeedId"]
        for package in packages
        if package.get("FeedId") and "#" not in package["FeedId"]
        if request.state.find("Feeds", package["FeedId"]) is None
    ]
    if unknown:
        raise refusals.FEEDS_NOT_FOUND(ids=", ".join(unknown))
    for package in packages:
        package["Id"] = package.get("Id") or str(uuid.uuid4())
    return {
        "Properties": secret_properties(body.get("Properties"), before.get("Properties", {})),
        "Parameters": [_parameter(item, old_parameters) for item in body.get("Parameters") or ()],
        "Packages": packages,
        "GitDependencies": copy.deepcopy(body.get("GitDependencies") or []),
        "Inputs": body.get("Inputs"),
        "StepPackageVersion": body.get("StepPackageVersion"),
    }


def _parameter(sent: Any, before: dict[str, Document]) -> Document:
    if not isinstance(sent, dict) or not isinstance(sent.get("Name"), str) or not sent["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    identifier = sent.get("Id") or str(uuid.uuid4())
    old = before.get(identifier, {}).get("DefaultValue")
    settings = dict(sent.get("DisplaySettings") or {})
    default = secret_properties({"value": sent.get("DefaultValue")}, {"value": old})["value"]
    if settings.get("Octopus.ControlType") == "Sensitive" and not isinstance(default, Secret):
        default = Secret(default)
    return {
        "Id": identifier,
        "Name": sent["Name"],
        "Label": sent.get("Label"),
        "HelpText": sent.get("HelpText"),
        "DefaultValue": default,
        "DisplaySettings": settings,
    }


def delete(request: Request) -> Document:
    """Removes all versions; refused while a process uses it (source: OctopusDeploy/Issues 9185)."""
    template = template_of(request)
    users = sorted({usage["ProjectName"] for usage in usages(request.state, template)})
    if users:
        raise refusals.TEMPLATE_IN_USE(name=template["Name"], users=", ".join(users))
    del request.state.collection("ActionTemplates")[template["Id"]]
    del request.state.template_versions[template["Id"]]
    return {}


# --- versions ------------------------------------------------------------------------------------------------------


def list_versions(request: Request) -> list[Document]:
    return request.show_all("ActionTemplates", versions_of(request.state, template_of(request)))


def get_version(request: Request) -> Document:
    template = template_of(request)
    for row in versions_of(request.state, template):
        if str(row["Version"]) == request.argument("version"):
            return request.show("ActionTemplates", row)
    raise refusals.NOT_FOUND()


def versions_of(state: State, template: Document) -> list[Document]:
    """Every version of the template, oldest first."""
    return [*state.template_versions[template["Id"]], template]


# --- usage ---------------------------------------------------------------------------------------------------------


def list_usage(request: Request) -> list[Document]:
    """The steps that hold a copy, narrowed as the API reference says; `branch` takes its short or its whole name."""
    template, query = template_of(request), request.query
    project, process = query.all("project"), query.first("process")
    branch, only_old = query.first("branch"), query.flag("withUpdates")
    return [
        usage
        for usage in usages(request.state, template)
        if not project or usage["ProjectId"] in project
        if process is None or usage["ProcessType"].casefold() == process.casefold()
        if branch is None or usage["Branch"] in (branch, repositories.HEADS + branch)
        if not only_old or usage["Version"] != str(template["Version"])
    ]


RECENT_RELEASES = 20


def _searched(state: State, space_id: str) -> Iterator[tuple[Document, Document, Document | None]]:
    """(process, project, release) of the processes that are searched: the current ones, and for projects in Git those of the
    last twenty releases (source: docs, Custom step templates)."""
    here = {"SpaceId": space_id}
    for process in state.where("DeploymentProcesses", **here) + state.where("RunbookProcesses", **here):
        project = state.find("Projects", process["ProjectId"])
        in_git = project is not None and project["IsVersionControlled"] and "RunbookId" not in process
        if project is not None and not in_git and not process.get("_frozen"):
            yield process, project, None
    for project in state.where("Projects", IsVersionControlled=True, **here):
        for release in state.where("Releases", ProjectId=project["Id"])[-RECENT_RELEASES:]:
            frozen = state.get("DeploymentProcesses", release["ProjectDeploymentProcessSnapshotId"])
            yield {**frozen, "Id": project["DeploymentProcessId"]}, project, release


def usages(state: State, template: Document) -> Iterator[Document]:
    """The steps that hold a copy (source: docs, API reference, action templates)."""
    for process, project, release in _searched(state, template["SpaceId"]):
        runbook = state.find("Runbooks", process.get("RunbookId"))
        reference = (release or {}).get("VersionControlReference") or {}
        for step in process["Steps"]:
            for action in step["Actions"]:
                if action["Properties"].get(TEMPLATE_ID) == template["Id"]:
                    yield {
                        "ActionTemplateId": template["Id"],
                        "ProcessType": "Runbook" if runbook else "Deployment",
                        "ProcessId": process["Id"],
                        "DeploymentProcessId": None if runbook else process["Id"],
                        "StepId": step["Id"],
                        "StepName": step["Name"],
                        "ActionId": action["Id"],
                        "ActionName": action["Name"],
                        "ProjectId": project["Id"],
                        "ProjectName": project["Name"],
                        "ProjectSlug": project["Slug"],
                        "RunbookId": runbook["Id"] if runbook else None,
                        "RunbookName": runbook["Name"] if runbook else None,
                        "Version": action["Properties"].get(TEMPLATE_VERSION),
                        "Branch": reference.get("GitRef"),
                        "Release": release["Version"] if release else None,
                        "Links": {},
                    }


# --- around them ---------------------------------------------------------------------------------------------------

LOGO = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\xa75\x81\x84\x00\x00\x00\x00IEND\xaeB`\x82"
)


def get_logo(request: Request) -> Answer:
    """One logo for all: a white pixel, until one is uploaded."""
    content = request.state.contents.get(f"logo/{request.argument('id')}")
    if content is not None:
        return Answer(body=content.data, media_type=content.media_type)
    return Answer(body=LOGO, media_type="image/png")


def categories(request: Request) -> list[Document]:
    names = ("BuiltInStep", "Script", "Package", "Other")
    return [
        {"Id": name, "Name": name, "DisplayOrder": number, "Links": {}} for number, name in enumerate(names)
    ]


def search(request: Request) -> list[Document]:
    """Custom templates and installed ones: the built-in ones are Octopus' own content."""
    kind = request.query.first("type")
    return [
        {
            "Id": item["Id"], "Type": item["ActionType"], "Name": item["Name"], "Description": item["Description"],
            "Keywords": None, "Author": item["LastModifiedBy"], "Website": None, "Version": str(item["Version"]),
            "Category": "Other", "Categories": ["Other"], "Features": [], "IsBuiltIn": False, "IsInstalled": True,
            "HasUpdate": False, "CommunityActionTemplateId": None, "Prerelease": None,
            "Links": request.show("ActionTemplates", item)["Links"],
        }
        for item in sorted(request.visible("ActionTemplates"), key=by_name)
        if kind is None or item["ActionType"].casefold() == kind.casefold()
    ]  # fmt: skip
