"""Community step templates: what the Library offers to every space, and installing it.

The list is empty until somebody fills it (`publish`): the Library is not ours to bring along. Source: docs, API reference,
community-action-templates; Swagger of Octopus Server 2020.5 (status codes and refusals).
"""

from __future__ import annotations

import copy

from generator.emulator import refusals
from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.resources import spaces, templates
from generator.emulator.state import State


def publish(state: State, template: Document) -> Document:
    """A template in the Library's file format becomes a community template, or the newer version of one."""
    known = next(iter(state.where("CommunityActionTemplates", ExternalId=template["Id"])), None)
    fields = {
        "ExternalId": template["Id"],
        "Type": template["ActionType"],
        "Name": template["Name"],
        "Author": template.get("LastModifiedBy"),
        "Description": template.get("Description") or "",
        "Version": template["Version"],
        "Website": template.get("Website"),
        "HistoryUrl": template.get("HistoryUrl"),
        "Properties": copy.deepcopy(template["Properties"]),
        "Packages": copy.deepcopy(template.get("Packages") or []),
        "GitDependencies": copy.deepcopy(template.get("GitDependencies") or []),
        "Parameters": copy.deepcopy(template["Parameters"]),
    }
    if known is not None:
        known.update(fields)
        return known
    return state.add("CommunityActionTemplates", fields)


def list_page(request: Request) -> Document:
    chosen = sorted(
        narrowed(request, request.state.collection("CommunityActionTemplates").values()), key=by_name
    )
    return request.page_of("CommunityActionTemplate", "CommunityActionTemplates", chosen)


def _template(request: Request) -> Document:
    return request.find("CommunityActionTemplates", request.argument("id"))


def get(request: Request) -> Document:
    return request.show("CommunityActionTemplates", _template(request))


def _space(request: Request) -> Document:
    """The space in the path, the default one without."""
    named = request.arguments.get("space")
    space = spaces.space_named(request.state, named) if named else spaces.default_space(request.state)
    if space is None:
        raise refusals.NOT_FOUND()
    return space


def _installed(request: Request, template: Document) -> Document | None:
    here = {"SpaceId": _space(request)["Id"], "CommunityActionTemplateId": template["Id"]}
    return next(iter(request.state.where("ActionTemplates", **here)), None)


def get_installed(request: Request) -> Document:
    found = _installed(request, _template(request))
    if found is None:
        raise refusals.NOT_FOUND()
    return request.show("ActionTemplates", found)


def install(request: Request) -> Answer:
    """201 with the step template, linked by `CommunityActionTemplateId`."""
    template = _template(request)
    if _installed(request, template) is not None:
        raise refusals.COMMUNITY_INSTALLED()
    made = templates.new_template(
        request,
        {**_body(template), "Name": template["Name"], "ActionType": template["Type"]},
        space_id=_space(request)["Id"],
        community_id=template["Id"],
    )
    return created(request.show("ActionTemplates", made))


def update(request: Request) -> Document:
    """The installed template as the Library has it now."""
    template = _template(request)
    found = _installed(request, template)
    if found is None:
        raise refusals.COMMUNITY_NOT_INSTALLED()
    templates.save(request, found, _body(template), name=template["Name"])
    return request.show("ActionTemplates", found)


def _body(template: Document) -> Document:
    names = ("Description", "Properties", "Parameters", "Packages", "GitDependencies")
    return {name: template[name] for name in names}
