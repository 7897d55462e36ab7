"""`octosteps new`: a spec and its entry script to begin with, which pass `check` as they are."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

from generator.build_folder import write_whole
from generator.editor_schemas import schema_reference
from generator.errors import Refusal
from generator.outcome import Outcome
from generator.rules import Claim, claims
from generator.source import parse_source
from generator.spec import EXPRESSION
from generator.workspace import Workspace, builtin_claims, read_workspace

SPEC = """\
# yaml-language-server: $schema={schema}
id: {id}
name: {name}
category: {category}
version: 1
description: |
  Say what the step does, when it fails, and which permissions its account needs.
script: {script}
prefix: {prefix}
run_on: worker
parameters:
  greeting:
    label: Greeting
    type: text
    required: true
    default: Hello
    help: What to say. Markdown.
outputs:
  Said: What the step said.
"""

SCRIPT = '''\
"""{title}: say in one sentence what the step does."""

from __future__ import annotations

from typing import Any


def main(parameters: Any) -> None:
    step = parameters.step
    project = step.variable("Octopus.Project.Name") or "nobody"
    said = f"{{parameters.greeting}}, {{project}}!"
    step.log.highlight(said)
    step.output("Said", said)
'''


def run(*, root: Path, name: str) -> Outcome:
    """Write both files for a step template called `name`, "Noun - Verb". Nothing that exists is touched.

    Errors: Refusal when the name is not of that form, or it, its prefix or its files are taken.
    """
    workspace = read_workspace(root)
    name = " ".join(name.split())
    noun, dash, verb = name.partition(" - ")
    words = _words(verb)
    if not (dash and noun and words):
        raise Refusal(f"'{name}' is not a name like 'Noun - Verb', for example 'Shop - Notify Team'")
    if len(name) > 200 or EXPRESSION in name:
        raise Refusal("the name must have at most 200 characters, and no expression of Octopus")
    taken = [*_own_claims(workspace), *([] if workspace.builtin else builtin_claims())]
    _refuse_taken(taken, "name", name)
    if _is_taken(taken, "prefix", _prefix(words)) or _exists(workspace, words):
        words = [*_words(noun), *words]
    prefix = _prefix(words)
    _refuse_taken(taken, "prefix", prefix)
    files = _files(workspace, words)
    for file in files:
        if (root / file).exists():
            raise Refusal(f"{workspace.shown(file)} exists already")
    spec, script = files
    texts = {
        spec: SPEC.format(
            schema=schema_reference(workspace),
            id=uuid.uuid4(),
            name=_scalar(name),
            category=_scalar(noun.lower()),
            script=Path(script).name,
            prefix=_scalar(prefix),
        ),
        script: SCRIPT.format(title=name.replace("\\", "/").replace('"', "'")),
    }
    for file, text in texts.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        write_whole(root / file, text.encode())
    shown = [workspace.shown(file) for file in files]
    return Outcome(
        data={"spec": shown[0], "script": shown[1]},
        parts=[f"wrote {file}" for file in shown] + ["Next: octosteps check, then octosteps build."],
        lines=shown,
    )


def _words(text: str) -> list[str]:
    """The words of a name that a file and a Python name can hold."""
    ascii_text = text.encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z0-9]+", ascii_text)
    return words if words and words[0][0].isalpha() else ["Step", *words] if words else []


def _prefix(words: list[str]) -> str:
    return "".join(word[:1].upper() + word[1:] for word in words)


def _files(workspace: Workspace, words: list[str]) -> tuple[str, str]:
    settings = workspace.settings
    lower = [word.lower() for word in words]
    return f"{settings.step_templates}/{'-'.join(lower)}.yaml", f"{settings.scripts}/{'_'.join(lower)}.py"


def _exists(workspace: Workspace, words: list[str]) -> bool:
    return any((workspace.root / file).exists() for file in _files(workspace, words))


def _own_claims(workspace: Workspace) -> list[Claim]:
    return [
        claim for file in workspace.specs for claim in claims(parse_source(file.content, name=file.shown))
    ]


def _is_taken(taken: list[Claim], key: str, value: str) -> bool:
    return any(claim.key == key and claim.value.lower() == value.lower() for claim in taken)


def _refuse_taken(taken: list[Claim], key: str, value: str) -> None:
    for claim in taken:
        if claim.key == key and claim.value.lower() == value.lower():
            raise Refusal(f"the {key} '{value}' is taken by {claim.path}")


def _scalar(text: str) -> str:
    """The text as a YAML scalar that is read as this text."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9 ()/_.-]*", text) and text.lower() not in (
        "yes", "no", "on", "off", "true", "false", "null",
    )  # fmt: skip
    return text if plain else json.dumps(text, ensure_ascii=False)
