"""What tenants and tag sets do beyond being kept: values for variable templates, tag tests, canonical tag names.

Source: Swagger of Octopus Server 2020.5 (`TenantVariableResource`, tag-test, variables-missing, status);
api-client.ts, src/features/tenants and tagSets; docs, Tenant variables and Tenant tags.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from generator.emulator import kinds, refusals
from generator.emulator.documents import Document, Secret, secret_properties, shown
from generator.emulator.requests import Request, by_name, narrowed
from generator.emulator.state import State

COLOUR = "#333333"


# --- tag sets ------------------------------------------------------------------------------------------------------


def complete_tags(state: State, tag_set: Document) -> None:
    """Gives tags their ids and canonical names, as in `Regions/EMEA`. Errors: Refused for names missing or used twice."""
    tags: list[Document] = []
    for number, tag in enumerate(tag_set["Tags"] or ()):
        name = tag.get("Name") if isinstance(tag, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise refusals.REQUIRED(field="Name")
        if any(name.casefold() == other["Name"].casefold() for other in tags):
            raise refusals.DUPLICATE_NAME(kind="Tag", name=name)
        tags.append(
            {
                "Id": tag.get("Id") or f"{tag_set['Id']}/{state.next_id('Tags')}",
                "Name": name,
                "CanonicalTagName": f"{tag_set['Name']}/{name}",
                "Color": tag.get("Color") or COLOUR,
                "Description": tag.get("Description") or "",
                "SortOrder": tag["SortOrder"] if isinstance(tag.get("SortOrder"), int) else number,
            }
        )
    tag_set["Tags"] = tags


def sort_tag_sets(request: Request) -> list[Document]:
    for number, identifier in enumerate(request.body if isinstance(request.body, list) else []):
        request.find("TagSets", identifier)["SortOrder"] = number
    return request.show_all("TagSets", sorted(request.visible("TagSets"), key=kinds.TAG_SETS.order))


def tags_of(state: State, space_id: str) -> list[Document]:
    """All tags of a space as `{Id, Name}` of their canonical names."""
    names = (
        tag["CanonicalTagName"]
        for tag_set in state.where("TagSets", SpaceId=space_id)
        for tag in tag_set["Tags"]
    )
    return [{"Id": name, "Name": name} for name in names]


def tag_test(request: Request) -> Document:
    """For each tenant whether it has the tags: alternatives within a set, all sets needed (source: docs, Tenant tags)."""
    wanted: dict[str, set[str]] = {}
    for tag in request.query.all("tags"):
        wanted.setdefault(tag.split("/")[0], set()).add(tag)
    ids = request.query.all("tenantIds")
    result = {}
    for tenant in request.visible("Tenants"):
        if ids and tenant["Id"] not in ids:
            continue
        missing = [
            tag for tags in wanted.values() if not tags & set(tenant["TenantTags"]) for tag in sorted(tags)
        ]
        result[tenant["Id"]] = {
            "IsMatched": not missing,
            "Reason": "" if not missing else f"The tenant does not have any of the tags {', '.join(missing)}",
            "MissingTags": missing,
        }
    return result


def status(request: Request) -> Document:
    return {"Id": None, "Enabled": True, "Links": {}}


# --- values for variable templates ---------------------------------------------------------------------------------


def complete_templates(templates: list[Any], before: Iterable[Document] = ()) -> list[Document]:
    """Variable templates with ids, sensitive defaults closed and kept as they were `before` when they come back closed
    (source: OctopusClients, Model/ActionTemplateParameterResource.cs)."""
    old = {template["Id"]: template["DefaultValue"] for template in before}
    result = []
    for template in templates:
        if not isinstance(template, dict) or not template.get("Name"):
            raise refusals.REQUIRED(field="Name")
        identifier = template.get("Id") or str(uuid.uuid4())
        default = template.get("DefaultValue")
        if not isinstance(default, Secret):
            default = secret_properties({"it": default}, {"it": old.get(identifier)})["it"]
        result.append({**template, "Id": identifier, "DefaultValue": default})
    return result


def get_variables(request: Request) -> Document:
    return _variables(request, _tenant(request))


def _tenant(request: Request) -> Document:
    return request.find_named("Tenants", request.argument("id"))


def _variables(request: Request, tenant: Document) -> Document:
    state = request.state
    projects = {}
    for identifier, environments in tenant["ProjectEnvironments"].items():
        project = state.find("Projects", identifier)
        if project is None:
            continue
        own = _values(tenant)["Projects"].get(identifier, {})
        projects[identifier] = {
            "ProjectId": identifier,
            "ProjectName": project["Name"],
            "Templates": shown(project["Templates"]),
            "Variables": {environment: shown(own.get(environment, {})) for environment in environments},
            "Links": {},
        }
    sets = {
        library["Id"]: {
            "LibraryVariableSetId": library["Id"],
            "LibraryVariableSetName": library["Name"],
            "Templates": shown(library["Templates"]),
            "Variables": shown(_values(tenant)["Libraries"].get(library["Id"], {})),
            "Links": {},
        }
        for library in _libraries(state, tenant)
    }
    return {
        "Id": f"TenantVariables-{tenant['Id']}",
        "TenantId": tenant["Id"],
        "TenantName": tenant["Name"],
        "SpaceId": tenant["SpaceId"],
        "ProjectVariables": projects,
        "LibraryVariables": sets,
        "Links": {"Self": f"{request.prefix}/api/{tenant['SpaceId']}/tenants/{tenant['Id']}/variables"},
    }


def _values(tenant: Document) -> Document:
    values: Document = tenant.setdefault("_values", {"Projects": {}, "Libraries": {}})
    return values


def _libraries(state: State, tenant: Document) -> list[Document]:
    """Library sets with templates, of the projects that the tenant is connected to."""
    found: dict[str, Document] = {}
    for identifier in tenant["ProjectEnvironments"]:
        for library in (state.find("Projects", identifier) or {}).get("IncludedLibraryVariableSetIds", ()):
            document = state.find("LibraryVariableSets", library)
            if document is not None and document["Templates"]:
                found[library] = document
    return list(found.values())


def modify_variables(request: Request) -> Document:
    tenant, body = _tenant(request), request.document()
    values = _values(tenant)
    for identifier, item in (body.get("ProjectVariables") or {}).items():
        before = values["Projects"].get(identifier, {})
        given = _part(item, "Variables")
        values["Projects"][identifier] = {
            environment: secret_properties(_object(part), before.get(environment, {}))
            for environment, part in given.items()
        }
    for identifier, item in (body.get("LibraryVariables") or {}).items():
        before = values["Libraries"].get(identifier, {})
        values["Libraries"][identifier] = secret_properties(_part(item, "Variables"), before)
    return _variables(request, tenant)


def _object(value: Any) -> Document:
    if not isinstance(value, dict):
        raise refusals.WRONG_TYPE(field="Variables", wanted="an object")
    return value


def _part(item: Any, name: str) -> Document:
    """A field of an object whose own names nobody has normalised."""
    fields = {key.casefold(): value for key, value in _object(item).items()}
    return _object(fields.get(name.casefold()) or {})


def missing_variables(request: Request) -> list[Document]:
    """Templates without default for which a connected tenant has no value."""
    query = request.query
    only = {name: query.first(name) for name in ("tenantId", "projectId", "environmentId")}
    result = []
    for tenant in narrowed(request, sorted(request.visible("Tenants"), key=by_name)):
        if only["tenantId"] not in (None, tenant["Id"]):
            continue
        missing = [
            item
            for item in _missing(request.state, tenant)
            if only["projectId"] in (None, item["ProjectId"])
            and only["environmentId"] in (None, item["EnvironmentId"])
        ]
        if missing:
            result.append({"TenantId": tenant["Id"], "MissingVariables": missing, "Links": {}})
    return result


def _missing(state: State, tenant: Document) -> Iterator[Document]:
    for identifier, environments in tenant["ProjectEnvironments"].items():
        project = state.find("Projects", identifier)
        for template in project["Templates"] if project else ():
            for environment in environments:
                if not _value(template, _values(tenant)["Projects"].get(identifier, {}).get(environment, {})):
                    yield _gap(template, ProjectId=identifier, EnvironmentId=environment)
    for library in _libraries(state, tenant):
        for template in library["Templates"]:
            if not _value(template, _values(tenant)["Libraries"].get(library["Id"], {})):
                yield _gap(template, LibraryVariableSetId=library["Id"])


def _gap(template: Document, **where: str) -> Document:
    nowhere = {"ProjectId": None, "EnvironmentId": None, "LibraryVariableSetId": None}
    named = {"VariableTemplateId": template["Id"], "VariableTemplateName": template["Name"], "Links": {}}
    return {**nowhere, **where, **named}


def _value(template: Document, given: Document) -> Any:
    value = given.get(template["Id"])
    if isinstance(value, Secret):
        return value if value.value else None
    default = template.get("DefaultValue")
    return value or (None if isinstance(default, Secret) and not default.value else default)


def variables_for(
    state: State, tenant: Document, project: Document, environment_id: str
) -> Iterator[Document]:
    """The tenant's values as variables of a deployment (source: docs, Tenant variables)."""
    own = _values(tenant)["Projects"].get(project["Id"], {}).get(environment_id, {})
    places = [(project["Templates"], own)]
    for identifier in project["IncludedLibraryVariableSetIds"]:
        library = state.find("LibraryVariableSets", identifier)
        if library is not None:
            places.append((library["Templates"], _values(tenant)["Libraries"].get(identifier, {})))
    for templates, given in places:
        for template in templates:
            value = _value(template, given)
            if value is None:
                continue
            secret = isinstance(value, Secret)
            yield {
                "Id": template["Id"],
                "Name": template["Name"],
                "Value": Secret(value.value, bare=True) if secret else str(value),
                "Description": "",
                "Type": "Sensitive" if secret else "String",
                "IsSensitive": secret,
                "IsEditable": False,
                "Scope": {},
                "Prompt": None,
            }
