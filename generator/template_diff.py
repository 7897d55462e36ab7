"""How two step templates differ, as a reviewer reads it: real lines of form and script, no escaped JSON, no secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from generator.plan import unified_diff
from generator.step_template import SCRIPT_BODY, SENSITIVE, StepTemplate, TemplateParameter, with_marks_of


def diff(before: StepTemplate, after: StepTemplate, *, old: str, new: str) -> tuple[str, ...]:
    """A unified diff of what the server runs and shows: form and settings first, then the script, as real lines.

    The revision and digest in the script's header are left out, unless nothing else differs.
    """
    name = after.name
    script = with_marks_of(before.script, after.script)
    if script == after.script and list(form_lines(before)) == list(form_lines(after)):
        script = before.script
    return (
        *unified_diff(
            list(form_lines(before)),
            list(form_lines(after)),
            old=f"{name}: form ({old})",
            new=f"{name}: form ({new})",
        ),
        *unified_diff(
            script_lines(script),
            script_lines(after.script),
            old=f"{name}: script ({old})",
            new=f"{name}: script ({new})",
        ),
    )


def script_lines(script: str) -> list[str]:
    """The lines of a script; one that ends without a line break says so, as diffs do."""
    lines = script.split("\n")
    if lines[-1]:
        return [*lines, "\\ No newline at end of file"]
    return lines[:-1]


def form_lines(template: StepTemplate) -> Iterator[str]:
    """Everything about a template but its script, one fact a line."""
    yield f"name: {template.name}"
    yield f"type: {template.action_type}"
    yield from text_lines("description", template.description)
    for name, value in sorted(template.properties.items()):
        if name != SCRIPT_BODY:
            yield from text_lines(name, value)
    for package in template.packages:
        yield from fact_lines(f"package {package.get('Name') or '(primary)'}", package)
    for dependency in template.git_dependencies:
        yield from fact_lines(f"git dependency {dependency.get('Name') or '(primary)'}", dependency)
    for parameter in template.parameters:
        yield from parameter_lines(parameter)


def parameter_lines(parameter: TemplateParameter) -> Iterator[str]:
    yield f"parameter {parameter.name} ({parameter.control_type})"
    yield from text_lines("  label", parameter.label)
    if parameter.control_type != SENSITIVE:
        yield from text_lines("  default", parameter.default or "")
    for option in parameter.select_options:
        yield f"  option: {option}"
    yield from text_lines("  help", parameter.help_text)


def fact_lines(label: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """A document as lines: its fields, and those of documents in it."""
    yield label
    for name, value in sorted(facts.items(), key=str):
        if isinstance(value, Mapping):
            yield from (f"  {line}" for line in fact_lines(name, value))
        elif isinstance(value, list):
            yield from (f"  {name}: {item}" for item in value)
        elif name != "Name" and value not in (None, ""):
            yield from text_lines(f"  {name}", str(value))


def text_lines(label: str, text: str) -> Iterator[str]:
    """`label: text`, or the label and the indented lines when there are several."""
    lines = text.split("\n")
    if len(lines) == 1:
        if text:
            yield f"{label}: {text}"
        return
    indent = " " * (len(label) - len(label.lstrip()) + 2)
    yield f"{label}:"
    yield from (f"{indent}{line}".rstrip() for line in lines)
