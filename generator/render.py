"""From a spec and its bundle to the script and the step template: places values in frames and decides nothing.

Every value enters Python through one filter that writes a literal; a value printed without it is an error, so that no frame
can forget it. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.bundle import Bundle, Reached
from generator.errors import Place, Problem, Problems
from generator.spec import EXPRESSION, RUN_ON, TYPES, Parameter, Spec
from generator.step_template import (
    RUN_ON_SERVER,
    SCRIPT_BODY,
    SCRIPT_SOURCE,
    SCRIPT_SYNTAX,
    StepTemplate,
    TemplateParameter,
    digest,
    stable_id,
    with_digest,
)

if TYPE_CHECKING:
    import jinja2

FRAME = "script.py.j2"


class Code(str):
    """Text that may stand in a script as it is."""

    __slots__ = ()


def python_literal(value: object) -> Code:
    """The value as a Python literal, in ASCII, without anything that Octopus would expand.

    Errors: ValueError for what no literal says.
    """
    if type(value).__name__ == "StrictUndefined":
        str(value)  # raises Jinja2's own error, which names it
    return Code(_literal(value))


def _literal(value: object) -> str:
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, str):
        text = ascii(value)
        if '"' not in text and text.startswith("'") and "\\'" not in text:
            text = f'"{text[1:-1]}"'
        return text.replace(EXPRESSION, "\\x23{")
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    raise ValueError(f"{type(value).__name__} has no literal in Python")


def python_comment(value: object) -> Code:
    """The value as the rest of a comment: one line, ASCII, nothing that Octopus would expand."""
    text = " ".join(str(value).split()).encode("unicode_escape").decode()
    return Code(text.replace(EXPRESSION, "# {"))


@cache
def environment() -> jinja2.Environment:
    """Jinja2 for Python text. Neither Python nor Octopus knows a `$` beside `<` or `>`."""
    import jinja2

    made = jinja2.Environment(
        variable_start_string="<$",
        variable_end_string="$>",
        block_start_string="<$%",
        block_end_string="$%>",
        comment_start_string="<$!",
        comment_end_string="!$>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        finalize=_only_code,
    )
    made.filters["python"] = python_literal
    made.filters["comment"] = python_comment
    return made


def _only_code(value: Any) -> Any:
    import jinja2

    if isinstance(value, Code | jinja2.Undefined):
        return value
    raise ValueError("a value stands in Python text without the filter 'python'")


@cache
def _frame(folder: Path) -> jinja2.Template:
    return environment().from_string((folder / FRAME).read_text(encoding="utf-8"))


def render_entry(text: str, values: Mapping[str, Any], *, path: str) -> str:
    """The Python of an entry script that ends in .j2, with `vars` filled in.

    Errors: Problems at the line of the frame.
    """
    import jinja2

    try:
        return environment().from_string(text).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise Problems([_frame_problem(path, error.lineno, error.message or "not a frame")]) from error
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise Problems([_frame_problem(path, _template_line(error), str(error))]) from error


def _frame_problem(path: str, line: int, message: str) -> Problem:
    return Problem(
        path=path, place=Place(line=max(line, 1)), message=f"cannot be rendered with vars: {message}"
    )


def _template_line(error: BaseException) -> int:
    """Jinja2 rewrites tracebacks so that they name the template's lines; its source is called '<template>'."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def render_script(spec: Spec, bundle: Bundle, *, entry: str, templates: Path) -> str:
    """The whole script of a step, without its digest. `entry` is the entry script's path as the header names it."""
    return _frame(templates).render(
        name=spec.name,
        source=spec.source_name,
        entry=entry,
        id=spec.id,
        revision=spec.version,
        imports=Code("\n".join(bundle.imports)),
        runtime=_runtime_text(bundle.runtime),
        main=Code(bundle.entry.text),
        step={"name": spec.name, "spec": spec.source_name, "id": spec.id, "revision": spec.version},
        rows=[_row(parameter) for parameter in spec.parameters],
    )


@lru_cache(maxsize=64)
def _runtime_text(reached: Reached) -> Code:
    """The runtime's parts, each under its module's name; the many scripts that reach the same ones share the text."""
    return Code(
        "\n\n\n".join(
            f"# ---- generator/runtime/{part.name}.py ----\n\n{part.text}" for part in reached.parts
        )
        + "\n"
    )


def _row(parameter: Parameter) -> Mapping[str, Any]:
    return {
        "key": parameter.key,
        "variable": parameter.variable,
        "label": parameter.label,
        "type": parameter.type,
        "required": parameter.required,
        "choices": dict(parameter.choices) or None,
    }


def render_template(spec: Spec, bundle: Bundle, *, entry: str, templates: Path) -> StepTemplate:
    """The step template of a spec; its script's header carries the digest of the whole content.

    Errors: Problems when something brought an expression of Octopus into the script.
    """
    script = render_script(spec, bundle, entry=entry, templates=templates)
    if EXPRESSION in script:  # every way in is guarded; this says so
        line = script[: script.index(EXPRESSION)].count("\n") + 1
        message = f"the script would hold an expression of Octopus in its line {line}"
        raise Problems([Problem(path=spec.source_name, message=message)])
    blank = _template(spec, script)
    return _template(spec, with_digest(script, digest(blank)))


def _template(spec: Spec, script: str) -> StepTemplate:
    return StepTemplate(
        spec_id=spec.id,
        revision=spec.version,
        name=spec.name,
        description=spec.description,
        properties={
            **spec.properties,
            RUN_ON_SERVER: RUN_ON[spec.run_on],
            SCRIPT_SOURCE: "Inline",
            SCRIPT_SYNTAX: "Python",
            SCRIPT_BODY: script,
        },
        parameters=tuple(
            TemplateParameter(
                id=parameter.id or stable_id(spec.id, parameter.name),
                name=parameter.variable,
                label=parameter.label,
                help_text=parameter.help,
                default=parameter.default or None,
                control_type=TYPES[parameter.type].control_type,
                select_options=tuple(f"{value}|{label}" for value, label in parameter.choices.items()),
            )
            for parameter in spec.parameters
        ),
        packages=tuple(
            _package(parameter.variable) for parameter in spec.parameters if parameter.type == "package"
        ),
        category=spec.category,
        exported_at=spec.exported_at,
        octopus_version=spec.octopus_version,
        last_modified_by=spec.last_modified_by,
        pulled=spec.pulled,
    )


def _package(variable: str) -> Mapping[str, Any]:
    """The reference that a Package parameter fills: chosen in each step, named like the parameter, so that the variables
    of both read the same (source: the community Library's templates with Package parameters)."""
    return {
        "Name": variable,
        "PackageId": None,
        "FeedId": None,
        "AcquisitionLocation": "Server",
        "Properties": {
            "Extract": "True",
            "SelectionMode": "deferred",
            "PackageParameterName": variable,
            "Purpose": "",
        },
    }
