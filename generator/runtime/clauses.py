"""Lines that name a project and what is to hold for it: `Web; environment = Test; release = [1.0,2.0)`."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from generator.runtime.options import Option, option_name, parse_options
from generator.runtime.record import Record


class Clause(Record):
    """One line: `subject` is the project, `values` has what the line itself says, by the names of the table."""

    number: int
    subject: str
    values: Mapping[str, Any]


def parse_clauses(table: Mapping[str, Option], lines: Sequence[str]) -> tuple[Clause, ...]:
    """Every line as `Project; name = value; name = value`, the names those of `table`; `values` has what is written, no more.

    An empty value is one: `tenant =` means untenanted. Raises one ValueError with every fault of every line.
    """
    clauses: list[Clause] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        subject, *parts = [part.strip() for part in line.split(";")]
        try:
            clauses.append(Clause(number, subject, parse_clause(table, subject, parts)))
        except ValueError as error:
            faults.append(f"line {number} ({subject or line}): {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(clauses)


def parse_clause(table: Mapping[str, Option], subject: str, parts: Sequence[str]) -> dict[str, Any]:
    if not subject or "=" in subject:
        raise ValueError("a line begins with the name of a project, and then ;")
    pairs: dict[str, str] = {}
    for part in parts:
        if not part:
            continue
        name, equals, text = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part!r} is not of the form: name = value")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()!r} is given twice")
        pairs[name.strip()] = text.strip()
    values = parse_options(table, pairs)
    said = {option_name(name) for name in pairs}
    return {name: value for name, value in values.items() if name in said}
