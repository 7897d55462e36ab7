"""What refers to steps by name or id, so that renaming or removing one of ours is no silent break. Pure.

`Octopus.Action[Name].Output.X` and `Octopus.Step[Name].Status.Code` name a step in expressions, scripts and run conditions;
variables can be scoped to a step's action by its id (source: the docs pages "Output variables", "System variables" and
"Scoping variables").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from generator.octopus.records import Document, Json, StepDocument


def broken_references(
    before: Sequence[StepDocument],
    after: Sequence[StepDocument],
    variables: Document | None,
    fates: Mapping[str, str],
) -> Iterator[str]:
    """A sentence for everything in `after`, or among the project's variables, that refers to a name or id that is gone.

    `fates` says what becomes of a step, by its former name: `is renamed to 'X'` or `is removed`.
    """
    gone = sorted(names_of(before) - names_of(after))
    ids = {
        str(action["Id"]): str(action["Name"])
        for step in before
        for action in step["Actions"]
        if action.get("Id")
    }
    lost = ids.keys() - {str(action.get("Id")) for step in after for action in step["Actions"]}
    told = {name.casefold(): fate for name, fate in fates.items()}
    for name in gone:
        for step in after:
            for text in referring(step, name):
                yield f"step {str(step['Name'])!r} refers to {text}: that step {told.get(name, 'is gone')}"
        for variable in (variables or {}).get("Variables") or ():
            for text in referring(variable.get("Value"), name):
                yield f"variable {str(variable['Name'])!r} refers to {text}: that step {told.get(name, 'is gone')}"
    for variable in (variables or {}).get("Variables") or ():
        for identity in (variable.get("Scope") or {}).get("Action") or ():
            if identity in lost:
                yield f"variable {str(variable['Name'])!r} is scoped to the step {ids[identity]!r}, which is removed"


def names_of(steps: Sequence[StepDocument]) -> set[str]:
    """The names of steps and actions, folded, as Octopus compares them."""
    return {str(item["Name"]).casefold() for step in steps for item in (step, *step["Actions"])}


def referring(value: Json, name: str) -> tuple[str, ...]:
    """The references to a step, each once, as they stand in any text within `value`."""
    pattern = re.compile(rf"Octopus\.(?:Action|Step)\[\s*{re.escape(name)}\s*\]", re.IGNORECASE)
    return tuple(dict.fromkeys(found for text in texts_in(value) for found in pattern.findall(text)))


def texts_in(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
