"""`octosteps.yaml` at a library's root: its folders, and the servers it is published to. Without the file the usual ones.

Keys never stand in the file: it names the environment variables that hold them. Reading those is left to `octopus`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generator.errors import Problem, Problems
from generator.source import Source, check_schema, read_source

FILE = "octosteps.yaml"

_FOLDER = {
    "type": "string",
    "pattern": r"^(?![/\\]|[A-Za-z]:)(?!(.*/)?\.\.(/|$))[^\\]+$",
    "patternErrorMessage": "must be a folder below this file's, with / between names",
}
SCHEMA: Mapping[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "step_templates": _FOLDER,
        "scripts": _FOLDER,
        "build": _FOLDER,
        "targets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["url"],
                "properties": {
                    "url": {},
                    "space": {"type": "string", "minLength": 1},
                    "api_key": {},
                },
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One server and space. `api_key_variable` names the environment variable that holds its key."""

    name: str
    url: str
    space: str | None = None
    api_key_variable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Folders below `root`, and targets by name."""

    root: Path
    step_templates: str = "step_templates"
    scripts: str = "templates/steps"
    build: str = "build"
    targets: Mapping[str, Target] = field(default_factory=dict)


def read_settings(root: Path) -> Settings:
    """The settings of the library at `root`. Errors: Problems with every fault of the file."""
    file = root / FILE
    if not file.exists():
        return Settings(root=root)
    return parse_settings(read_source(file), root)


def parse_settings(source: Source, root: Path) -> Settings:
    """The settings in a file that was read."""
    problems = [*check_schema(source, SCHEMA), *_target_problems(source)]
    if problems:
        raise Problems(problems)
    data = source.data
    folders = {
        name: data[name].rstrip("/") for name in ("step_templates", "scripts", "build") if name in data
    }
    targets = {
        name: Target(
            name=name,
            url=target["url"].rstrip("/"),
            space=target.get("space"),
            api_key_variable=_variable(target.get("api_key")),
        )
        for name, target in data.get("targets", {}).items()
    }
    return Settings(root=root, targets=targets, **folders)


def _variable(value: str | None) -> str | None:
    return value.removeprefix("env:") if value else None


def _target_problems(source: Source) -> Iterator[Problem]:
    """What must not be told with its value, which may be a secret."""
    targets = source.data.get("targets")
    for name, target in targets.items() if isinstance(targets, dict) else ():
        entries: Mapping[str, Any] = target if isinstance(target, dict) else {}
        if "api_key" in entries and not _names_variable(entries["api_key"]):
            message = "'api_key' must name an environment variable: a key in a file is a leaked key"
            yield source.problem(("targets", name, "api_key"), message, "like env:PROD_OCTOPUS_API_KEY")
        if "url" in entries:
            problem = _url_fault(entries["url"])
            if problem:
                yield source.problem(("targets", name, "url"), problem, "like https://octopus.example.com")


def _names_variable(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", value) is not None


def _url_fault(value: object) -> str:
    if not isinstance(value, str):
        return "'url' must be a text"
    match = re.fullmatch(r"https?://([^/?#\s]+)(/[^?#\s]*)?", value)
    if not match:
        return "'url' must be the address of a server"
    return "'url' must not hold a user or a password" if "@" in match.group(1) else ""
