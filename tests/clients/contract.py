"""The operations that `octopus-deploy-swagger-client` knows. It was generated from the Swagger of Octopus Server 2019.6.7.

Read from the installed package: the path, the method and the names of the query parameters of each generated function.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from octopus_deploy_swagger_client import octopus_deploy_client

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
