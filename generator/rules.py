"""Rules that need more than one file: a spec beside its entry script, and all specs of a library beside each other.

Each rule works on loose data and passes over what has another fault already, so that one run tells all faults. Rules of one
spec by itself are in `spec`, those of one Python file in `module` and `bundle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generator.bundle import Bundle
from generator.errors import Place, Problem
from generator.module import Module
from generator.source import Source, closest
from generator.spec import OUTPUT_NAME, RESERVED, key_faults


def check_entry(source: Source, entry: Module, bundle: Bundle) -> list[Problem]:
    """Faults between a spec and the script that it names, with the runtime parts that the script reaches."""
    problems = [*entry.problems, *bundle.problems, *_main(entry)]
    if problems:
        return problems
    return [*_parameters(source, entry, bundle), *_outputs(source, bundle)]


def _main(entry: Module) -> Iterator[Problem]:
    main = next((definition for definition in entry.definitions if "main" in definition.names), None)
    if main is None and not entry.problems:
        yield Problem(path=entry.path, message="the script has no main(parameters)")
    elif main is not None and entry.argument is None:
        yield Problem(
            path=entry.path,
            place=main.place,
            message="main must be a function of one argument",
            hint="def main(parameters)",
        )


def _parameters(source: Source, entry: Module, bundle: Bundle) -> Iterator[Problem]:
    """Every declared parameter is read somewhere, and every one that is read is declared."""
    declared = source.data.get("parameters", {})
    if not isinstance(declared, dict):
        return
    handles = {entry.argument, "parameters"}
    read = [
        (attribute, entry.path, place)
        for definition in bundle.entry.definitions
        for name, attribute, place in definition.attributes
        if name in handles
    ]
    for attribute, path, place in [*read, *bundle.runtime.reads]:
        if attribute not in declared and attribute not in RESERVED and not attribute.startswith("_"):
            message = f"the script reads parameters.{attribute}, which {source.name} does not declare"
            yield Problem(path=path, place=place, message=message, hint=closest(attribute, declared))
    for definition in bundle.entry.definitions:
        if "getattr" in definition.uses and not handles.isdisjoint(definition.uses):
            return  # reads by names that only the run knows
    seen = {attribute for attribute, _, _ in [*read, *bundle.runtime.reads]}
    for key in declared:
        if key not in seen and not any(key_faults(key)):
            yield source.problem(
                ("parameters", key), f"the script never reads the parameter '{key}'", at_key=True
            )


def _outputs(source: Source, bundle: Bundle) -> Iterator[Problem]:
    """Every output that is set is documented, and every documented one is at least named somewhere in the script."""
    documented = source.data.get("outputs", {})
    if not isinstance(documented, dict):
        return
    set_here = [
        (name, bundle.entry.path, place)
        for definition in bundle.entry.definitions
        for name, place in definition.outputs
    ]
    for name, path, place in [*set_here, *bundle.runtime.outputs]:
        if name not in documented:
            message = f"the script sets the output '{name}', which {source.name} does not document"
            yield Problem(path=path, place=place, message=message, hint=closest(name, documented))
    for name in documented:
        named = name in bundle.runtime.texts or any(
            name in definition.texts for definition in bundle.entry.definitions
        )
        if not named and OUTPUT_NAME.fullmatch(name):
            yield source.problem(("outputs", name), f"the script never sets the output '{name}'", at_key=True)


# --- all specs of a library ------------------------------------------------------------------------------------------

UNIQUE = {
    "name": "Octopus knows a step template by its name",
    "id": "every server's copy is recognised by it",
    "prefix": "their parameters would hide each other",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one spec claims for itself alone: a name, id or prefix, and where."""

    path: str
    place: Place
    key: str
    value: str


def claims(source: Source) -> tuple[Claim, ...]:
    """The claims of one spec, as far as they are there."""
    data: Mapping[str, Any] = source.data
    return tuple(
        Claim(path=source.name, place=source.places[(key,)], key=key, value=data[key])
        for key in UNIQUE
        if isinstance(data.get(key), str) and data[key]
    )


def check_claims(all_claims: Iterable[Claim]) -> list[Problem]:
    """Two specs with one name, id or prefix; case does not tell them apart. The later file by name has the fault."""
    first: dict[tuple[str, str], Claim] = {}
    problems: list[Problem] = []
    for claim in sorted(all_claims, key=lambda claim: claim.path):
        owner = first.setdefault((claim.key, claim.value.lower()), claim)
        if owner is not claim:
            problems.append(
                Problem(
                    path=claim.path,
                    place=claim.place,
                    message=f"the {claim.key} '{claim.value}' is that of {owner.path}: {UNIQUE[claim.key]}",
                    hint="give this one a fresh GUID" if claim.key == "id" else "choose another",
                )
            )
    return problems


def check_builtin_claims(own: Iterable[Claim], builtin: Iterable[Claim]) -> list[Problem]:
    """Own specs that take the name or prefix of a built-in one. One with its id replaces it: somebody changed a copy."""
    mine = tuple(own)
    ids = {claim.value.lower() for claim in mine if claim.key == "id"}
    theirs = tuple(builtin)
    replaced = {claim.path for claim in theirs if claim.key == "id" and claim.value.lower() in ids}
    taken = {(claim.key, claim.value.lower()) for claim in theirs if claim.path not in replaced}
    return [
        Problem(
            path=claim.path,
            place=claim.place,
            message=f"the {claim.key} '{claim.value}' is that of a built-in step template: {UNIQUE[claim.key]}",
            hint="choose another",
        )
        for claim in mine
        if (claim.key, claim.value.lower()) in taken
    ]
