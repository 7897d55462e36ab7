"""The operations that `octopus-deploy-swagger-client` knows. It was generated from the Swagger of Octopus Server 2019.6.7.

Read from the installed package: the path, the method and the names of the query parameters of each generated function. What our
own client and scripts send must be in it, or in the table of newer requests with its source.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from octopus_deploy_swagger_client import octopus_deploy_client

from generator.emulator.app import Seen
from generator.emulator.links import LINKS, ROOT

CALL = re.compile(r"call_api\(\s*'(?P<path>[^']+)', '(?P<method>[A-Z]+)'")
QUERY = re.compile(r"query_params\.append\(\('([^']+)'")
ANSWER = re.compile(r"response_type='([^']+)'")
ARGUMENT = re.compile(r"path_params\['([^']+)'\] = params\['([^']+)'\]")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`arguments` maps placeholders of the path to parameters of the function; those that the generator forgot are missing.
    `answer` names the model of the answer, None where the Swagger has none."""

    api: type[Any]
    name: str
    method: str
    path: str
    query: frozenset[str]
    arguments: dict[str, str]
    answer: str | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def placeholders(self) -> list[str]:
        return re.findall(r"\{(\w+)\??\}", self.path)


@cache
def operations() -> tuple[Operation, ...]:
    """All of them, those below a named space (`/api/{baseSpaceId}/...`) included."""
    return tuple(sorted(_operations(), key=lambda item: (item.path, item.method)))


def _operations() -> Iterator[Operation]:
    for module in pkgutil.iter_modules(octopus_deploy_client.__path__):
        found = importlib.import_module(f"{octopus_deploy_client.__name__}.{module.name}")
        for _, api in inspect.getmembers(found, inspect.isclass):
            if api.__module__ != found.__name__:
                continue
            for name, function in inspect.getmembers(api, inspect.isfunction):
                if name.endswith("_with_http_info"):
                    yield _operation(api, name.removesuffix("_with_http_info"), inspect.getsource(function))


def _operation(api: type[Any], name: str, source: str) -> Operation:
    call, answer = CALL.search(source), ANSWER.search(source)
    assert call is not None, name
    return Operation(
        api=api,
        name=name,
        method=call["method"],
        path=call["path"],
        query=frozenset(QUERY.findall(source)),
        arguments=dict(ARGUMENT.findall(source)),
        answer=answer[1] if answer else None,
    )


# --- what of our own is in it ---------------------------------------------------------------------------------------

SWAGGER_2020 = "Swagger of Octopus Server 2020.5 (go-octopusdeploy, api/octopus_deploy.json)"
MISSING_PACKAGES = "go-octopusdeploy, pkg/releases/missing_package_info.go"
FREEZES = "docs, API reference, deployment-freeze; go-octopusdeploy, pkg/deploymentfreezes"
GIT_TEMPLATE = "docs, API reference, deployment-processes"
GIT_BRANCHES = "docs, API reference, branches; cli, test/fixtures/projects.go (link Branches)"
# Requests that are not in the contract of 2019.6.7, below the space, and the document that has them. docs/emulator.md shows it.
NEWER = {
    ("GET", "projects/{id}/runbooks"): SWAGGER_2020,
    ("GET", "runbooks"): SWAGGER_2020,
    ("GET", "runbookProcesses"): SWAGGER_2020,
    ("GET", "runbookProcesses/{id}"): SWAGGER_2020,
    ("PUT", "runbookProcesses/{id}"): SWAGGER_2020,
    ("GET", "runbookRuns"): SWAGGER_2020,
    ("POST", "runbookRuns"): SWAGGER_2020,
    ("GET", "runbooks/{id}/runbookSnapshots"): SWAGGER_2020,
    ("GET", "runbookSnapshots/{id}"): SWAGGER_2020,
    ("GET", "runbookSnapshots/{id}/runbookRuns/preview/{environment}"): SWAGGER_2020,
    ("GET", "runbookSnapshots/{id}/runbookRuns/preview/{environment}/{tenant}"): SWAGGER_2020,
    ("GET", "releases/{id}/missingpackages"): MISSING_PACKAGES,
    ("GET", "deploymentfreezes"): FREEZES,
    ("POST", "deployments/override"): FREEZES,
    ("GET", "projects/{id}/{gitRef}/deploymentprocesses/template"): GIT_TEMPLATE,
    ("GET", "projects/{id}/{gitRef}/deploymentprocesses"): GIT_TEMPLATE,
    ("PUT", "projects/{id}/{gitRef}/deploymentprocesses"): GIT_TEMPLATE,
    ("GET", "projects/{id}/git/branches"): GIT_BRANCHES,
    ("GET", "projects/{id}/git/branches/{branchName}"): GIT_BRANCHES,
    ("POST", "projects/{id}/git/branches/v2"): GIT_BRANCHES,
}
# Parameters of lists that no link template names, and why they may be sent.
IGNORED = {
    (
        "actiontemplates/{id}/versions",
        "take",
    ): "the answer is a whole array; a parameter that is not known is not read",
    ("actiontemplates/{id}/usage", "take"): "the answer is a whole array, as above",
    ("deploymentprocesses/{id}/template", "channel"): GIT_TEMPLATE,
    ("projects/{id}/{gitRef}/deploymentprocesses/template", "channel"): GIT_TEMPLATE,
    ("projects/{id}/git/branches", "searchbyname"): GIT_BRANCHES,
    ("projects/{id}/git/branches", "skip"): GIT_BRANCHES,
    ("projects/{id}/git/branches", "take"): GIT_BRANCHES,
    ("deploymentfreezes", "skip"): FREEZES,
    ("deploymentfreezes", "take"): FREEZES,
}


def uncontracted(requests: Iterable[Seen], *, prefix: str = "") -> list[str]:
    """The requests, as `METHOD path?parameter`, that neither the contract nor the tables above have, each once."""
    patterns, names = _patterns(), _parameters()
    found = set()
    for method, path, query in {(item.method, item.path, item.query) for item in requests}:
        inner = path[len(prefix) :]
        if not any(pattern.fullmatch(inner) for pattern in patterns[method]):
            found.add(f"{method} {inner}")
            continue
        allowed = {name for pattern, some in names if pattern.fullmatch(inner) for name in some}
        found.update(f"{method} {inner}?{name}" for name in query if name.lower() not in allowed)
    return sorted(found)


@cache
def _patterns() -> Mapping[str, list[re.Pattern[str]]]:
    """The addresses of the contract by method, those of NEWER in their two spellings among them."""
    found: dict[str, list[re.Pattern[str]]] = defaultdict(list)
    for operation in operations():
        found[operation.method].append(_pattern(operation.path))
    for method, path in NEWER:
        found[method] += [_pattern(f"/api/{path}"), _pattern(f"/api/{{baseSpaceId}}/{path}")]
    return found


def _pattern(path: str) -> re.Pattern[str]:
    """`/api/{baseSpaceId}/tasks/{id}` as an expression; a place for a space takes nothing else."""
    if path.startswith("/api/(?<spaceId>"):
        return re.compile(r"/api/Spaces-\d+", re.IGNORECASE)
    parts = []
    for part in path.strip("/").split("/"):
        if part == "{baseSpaceId}":
            parts.append(r"/Spaces-\d+")
        elif part in ("{gitRef}", "{branchName}"):  # `refs%2Fheads%2Fmain` is decoded before it gets here
            parts.append("/.+")
        elif re.fullmatch(r"\{\w+\?\}", part):
            parts.append(r"(?:/[^/]+)?")
        else:
            parts.append("/" + re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(part)))
    return re.compile("".join(parts), re.IGNORECASE)


@cache
def _parameters() -> list[tuple[re.Pattern[str], frozenset[str]]]:
    """(address, names of its parameters): from the contract, and from link templates, since the Swagger has hardly any.

    The templates are those of the recorded root documents of Octopus Server 2019.7.12 (OctopusClients) and 2020.4
    (go-octopusdeploy), which the emulator publishes.
    """
    found = [(_pattern(item.path), frozenset(name.lower() for name in item.query)) for item in operations()]
    for template in [*ROOT.values(), *(link for links in LINKS.values() for link in links.values())]:
        path, _, rest = template.partition("{?")
        path = re.sub(r"\$(?!s/)\w+", "{id}", path.partition("?")[0]).replace("$s/", "/api/{baseSpaceId}/")
        names = frozenset(name.lower() for name in rest.rstrip("}").split(",") if name)
        for spelled in {
            path,
            path.replace("/{baseSpaceId}", ""),
            path.replace("/api/", "/api/{baseSpaceId}/", 1),
        }:
            whole = re.sub(r"\{/(\w+)\}", r"", spelled)
            found.append((_pattern(whole), names))
    for (path, name), _reason in IGNORED.items():
        found.append((_pattern(f"/api/{{baseSpaceId}}/{path}"), frozenset({name})))
        found.append((_pattern(f"/api/{path}"), frozenset({name})))
    return found
