"""What people edited in a published template of ours, brought into its spec and entry script.

Three states are compared fact by fact: what we published last, what the server has, and what the library says now. Only theirs
moved: taken. Only ours: kept. Both, and not to the same: a conflict, told with both values. What a spec cannot say, and lines of
the script that come with octosteps, cannot be taken: they are told, with what to do. Pure; reading and writing are `pull`'s.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generator import script_lines
from generator.bundle import ENTRY, bundle
from generator.edited_yaml import beside, edit
from generator.errors import Problem
from generator.library import FoundTemplate, quoted, same_but_header
from generator.module import parse_module
from generator.source import Source
from generator.spec import (
    RUN_ON,
    TYPES,
    Parameter,
    key_faults,
    octopus_text,
    parameter_key,
    parameter_name,
    read_schema,
)
from generator.step_template import (
    OUR_PROPERTIES,
    RUN_ON_SERVER,
    SCRIPT_BODY,
    SENSITIVE,
    StepTemplate,
    TemplateParameter,
    short_digest,
)
from generator.verbatim import CONTROLS, ordered
from generator.workspace import Built, Rendered, Renderer, SpecFile

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Home:
    """A template of ours as the library has it: the spec as read, its entry script's path and text, and what both render to."""

    file: SpecFile
    source: Source
    built: Built
    script: str  # path below the root
    script_content: bytes


@dataclass(frozen=True, kw_only=True)
class Homecoming:
    """What was brought: the files to write by path below the root (none: nothing moved), sentences about what was taken, about
    what was not, and what `check` will complain of."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    taken: Sequence[str] = ()
    left: Sequence[str] = ()
    mend: Sequence[Problem] = ()


def bring_home(
    home: Home, found: FoundTemplate, base: StepTemplate, renderer: Renderer, *, force: bool = False
) -> Homecoming:
    """The edits that turned `base`, which we published last, into `found`."""
    theirs, mine = found.content, home.built.template
    is_known = home.built.spec.pulled == short_digest(theirs)
    if same_but_header(theirs, mine) or (is_known and not force):
        return Homecoming()
    merge = _Merge(home, base, theirs, mine, force=force)
    merge.all()
    new_script, rest = _bring_script(home, base, found, renderer)
    data = merge.data
    revision = found.marker.revision if found.marker else 0
    merge.tell_rest(rest, found)
    changed = merge.taken or new_script != home.script_content
    if not changed and not merge.left:
        return Homecoming()
    if new_script != home.script_content:
        merge.taken.append(f"{home.script}: the script")
    if not changed:
        return Homecoming(left=tuple(merge.left))
    data["version"] = max(home.built.spec.version, revision + 1)
    data.pop("pulled", None)
    data = _in_order(home.source.data, data)
    draft = _render(home, renderer, data, new_script)
    if draft.built is not None:
        for what, read in REFERENCES.items():
            if read(theirs) not in (read(base), read(draft.built.template)):
                merge.left.append(f"its {what}, which octosteps makes from the parameters")
    if not merge.left:
        data = _with_pulled(data, short_digest(theirs))
    content = edit(home.file.content, data, name=home.file.shown)
    files = {home.script: new_script} if new_script != home.script_content else {}
    return Homecoming(
        files={**files, home.file.relative: content},
        taken=tuple(merge.taken),
        left=tuple(merge.left),
        mend=draft.problems,
    )


def _in_order(found: Values, wanted: Values) -> Values:
    """The wanted data with its keys where the file has them; new ones stand where they usually do."""
    schema: Any = read_schema()["$defs"]
    made = beside(found, ordered(wanted, tuple(schema["spec"]["properties"])))
    keys = tuple(schema["parameter"]["properties"])
    for name, entry in made.get("parameters", {}).items():
        before = found.get("parameters", {}).get(name, {})
        made["parameters"][name] = beside(before, ordered(entry, keys))
    return made


def _with_pulled(data: Values, pulled: str) -> Values:
    """The data with the key behind `version`."""
    made: Values = {}
    for key, value in data.items():
        made[key] = value
        if key == "version":
            made["pulled"] = pulled
    return made


def _render(home: Home, renderer: Renderer, data: Values, script: bytes) -> Rendered:
    """What the library would render with this data and script."""
    content = edit(home.file.content, data, name=home.file.shown)
    file = SpecFile(relative=home.file.relative, shown=home.file.shown, content=content)
    trial = Renderer(renderer.workspace, instead={home.script: script})
    trial.runtime = renderer.runtime
    return trial.render(file)


def _bring_script(
    home: Home, base: StepTemplate, found: FoundTemplate, renderer: Renderer
) -> tuple[bytes, Mapping[str, Sequence[str]]]:
    """The entry script's file with the edits of its part, and the edits that are not its."""
    content, theirs = home.script_content, found.content
    if base.script == theirs.script:
        return content, {}
    text = content.decode("utf-8-sig")
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    ends = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    if home.script.endswith(".j2"):
        hunks = script_lines.hunks(base.script.split("\n"), theirs.script.split("\n"))
        lines = [line for hunk in hunks for line in (f"@@ line {hunk.start + 1} @@", *hunk.lines)]
        return content, {home.script: lines}
    part = bundle(parse_module(plain, name=ENTRY, path=home.script), renderer.runtime).entry
    brought = script_lines.bring(
        plain,
        part,
        base=base.script,
        theirs=theirs.script,
        entry=home.script,
        is_rendered=found.is_intact,
    )
    if brought.text == plain:
        return content, brought.rest
    return mark + brought.text.replace("\n", ends).encode(), brought.rest


REFERENCES: Mapping[str, Callable[[StepTemplate], object]] = {
    "package references": lambda template: template.packages,
    "git dependencies": lambda template: template.git_dependencies,
}


class _Merge:
    """The spec's data while facts are merged into it."""

    def __init__(
        self, home: Home, base: StepTemplate, theirs: StepTemplate, mine: StepTemplate, *, force: bool
    ) -> None:
        self.home, self.base, self.theirs, self.mine, self.force = home, base, theirs, mine, force
        self.data: Values = copy.deepcopy(home.source.data)
        self.taken: list[str] = []
        self.left: list[str] = []

    def all(self) -> None:
        if self.theirs.name != self.base.name:
            self.left.append(
                f"it is called {self.theirs.name!r} there: Octopus keeps old names reserved, so give it back its name "
                f"{self.mine.name!r} on the server, or make it a template of its own: a new id and name"
            )
        self.fact(
            "description",
            lambda template: template.description,
            lambda text: self.data.update(description=_like(self.data.get("description"), text)),
            needed=True,
        )
        self.fact("run_on", lambda template: template.properties.get(RUN_ON_SERVER, ""), self.set_run_on)
        names = {*self.base.properties, *self.theirs.properties, *self.mine.properties}
        for name in sorted(names - {RUN_ON_SERVER, SCRIPT_BODY}):
            self.property(name)
        self.parameters()

    def moved(self, what: str, base: Any, theirs: Any, mine: Any) -> bool:
        """Whether theirs is to be taken; tells a conflict."""
        if theirs in (base, mine):
            return False
        if mine != base and not self.force:
            self.left.append(
                f"{what} was changed here and there: {_short(mine)} here, {_short(theirs)} there; "
                "pull --force takes theirs"
            )
            return False
        return True

    def fact(
        self,
        what: str,
        read: Callable[[StepTemplate], str],
        write: Callable[[str], object],
        *,
        needed: bool = False,
    ) -> None:
        theirs = read(self.theirs)
        if not self.moved(what, read(self.base), theirs, read(self.mine)):
            return
        if needed and not theirs:
            self.left.append(f"{what} is empty there, and a spec needs one")
            return
        write(theirs)
        self.taken.append(what)

    def set_run_on(self, text: str) -> None:
        words = {value: key for key, value in reversed(RUN_ON.items())}
        self.data["run_on"] = words.get(text.lower(), "targets")

    def property(self, name: str) -> None:
        states = [template.properties.get(name) for template in (self.base, self.theirs, self.mine)]
        if not self.moved(f"the property {name}", *states):
            return
        theirs = states[1]
        if name in OUR_PROPERTIES:
            self.left.append(f"the property {name} is {_short(theirs)} there, which octosteps writes itself")
            return
        properties = self.data.setdefault("properties", {})
        if theirs is None:
            properties.pop(name, None)
        else:
            properties[name] = theirs
        if not properties:
            del self.data["properties"]
        self.taken.append(f"property {name}")

    # --- parameters

    def parameters(self) -> None:
        base, theirs, mine = (
            {parameter.name.lower(): parameter for parameter in template.parameters}
            for template in (self.base, self.theirs, self.mine)
        )
        keys = {parameter.variable.lower(): parameter.key for parameter in self.home.built.spec.parameters}
        entries: Values = self.data.setdefault("parameters", {})
        for name in base:
            if name not in theirs and name in mine:
                self.remove(entries, keys[name], base[name], mine[name])
        for name, parameter in theirs.items():
            if name in mine:
                before = base.get(name, mine[name])
                self.parameter(entries[keys[name]], keys[name], before, parameter, mine[name])
            elif name not in base:
                added = self.add(entries, parameter)
                if added:
                    keys[name] = added
            elif base[name] != parameter:
                self.left.append(f"the parameter {parameter.name} was changed there, and is gone here")
        self.order(entries, keys, list(base), list(theirs))
        if not entries:
            del self.data["parameters"]

    def remove(self, entries: Values, key: str, base: TemplateParameter, mine: TemplateParameter) -> None:
        if mine != base and not self.force:
            self.left.append(f"the parameter {key} was removed there, and changed here")
            return
        del entries[key]
        self.taken.append(f"parameter {key} removed")

    def parameter(
        self,
        entry: Values,
        key: str,
        base: TemplateParameter,
        theirs: TemplateParameter,
        mine: TemplateParameter,
    ) -> None:
        """One parameter that is here and there."""
        what = f"parameter {key}"
        if self.moved(f"{what}: label", base.label, theirs.label, mine.label):
            if theirs.label:
                entry["label"] = theirs.label
                self.taken.append(f"{what}: label")
            else:
                self.left.append(f"{what}: its label is empty there, and a form needs one")
        if self.moved(f"{what}: type", base.control_type, theirs.control_type, mine.control_type):
            self.retype(entry, what, theirs)
        states = (base.select_options, theirs.select_options, mine.select_options)
        if entry.get("type") == "choice" and self.moved(f"{what}: choices", *states):
            if theirs.select_options:
                entry["choices"] = _choices(theirs)
                self.taken.append(f"{what}: choices")
            else:
                self.left.append(f"{what}: it has no choices there, and one can choose nothing")
        if self.moved(f"{what}: default", base.default, theirs.default, mine.default):
            self.set_default(entry, what, theirs.default or "")
        if self.moved(f"{what}: help", base.help_text, theirs.help_text, mine.help_text):
            if theirs.help_text:
                entry["help"] = _like(entry.get("help"), theirs.help_text)
            else:
                entry.pop("help", None)
            self.taken.append(f"{what}: help")

    def retype(self, entry: Values, what: str, theirs: TemplateParameter) -> None:
        kind = CONTROLS.get(theirs.control_type)
        if kind == "choice" and not theirs.select_options:
            self.left.append(f"{what}: it is a drop-down without choices there")
            return
        if kind is None:
            self.left.append(f"{what}: its control is {theirs.control_type} there, which no type shows")
            return
        before = entry["type"]
        entry["type"] = kind
        entry.pop("choices", None)
        if kind == "choice":
            entry["choices"] = _choices(theirs)
        self.taken.append(f"{what}: type {before} -> {kind}, which the script gets as another kind of value")

    def set_default(self, entry: Values, what: str, text: str) -> None:
        if not text:
            entry.pop("default", None)
        else:
            value = _yaml_default(entry, text)
            if isinstance(value, _Unfit):
                self.left.append(
                    f"{what}: the default {text!r} does not fit the type {entry['type']}: {value.why}"
                )
                return
            entry["default"] = value
        self.taken.append(f"{what}: default")

    def add(self, entries: Values, theirs: TemplateParameter) -> str:
        """The key of a parameter that was added there; "" when it cannot be brought."""
        prefix, dot, name = theirs.name.partition(".")
        kind = CONTROLS.get(theirs.control_type)
        what = f"the parameter {theirs.name}"
        if not dot or prefix.lower() != self.home.built.spec.prefix.lower():
            wanted = f"{self.home.built.spec.prefix}."
            self.left.append(f"{what} was added there, and its name does not begin with {wanted}")
            return ""
        key = parameter_key(name)
        if any(key_faults(key)) or parameter_name(key).lower() != name.lower() or key in entries:
            self.left.append(f"{what} was added there under a name that no key of a spec gives")
            return ""
        if kind is None:
            self.left.append(
                f"{what} was added there with the control {theirs.control_type}, which no type shows"
            )
            return ""
        if kind == "choice" and not theirs.select_options:
            self.left.append(f"{what} was added there as a drop-down without choices")
            return ""
        entry: Values = {"label": theirs.label or name, "type": kind}
        if kind == "choice":
            entry["choices"] = _choices(theirs)
        if theirs.default and theirs.control_type != SENSITIVE:
            value = _yaml_default(entry, theirs.default)
            if isinstance(value, _Unfit):
                self.left.append(f"{what}: its default {theirs.default!r} does not fit: {value.why}")
            else:
                entry["default"] = value
        if theirs.help_text:
            entry["help"] = theirs.help_text
        entries[key] = entry
        self.taken.append(f"parameter {key} added")
        return key

    def order(self, entries: Values, keys: Mapping[str, str], base: list[str], theirs: list[str]) -> None:
        """The order in which the form shows the parameters, if people changed it."""
        common = [name for name in base if name in theirs]
        has_moved = [name for name in theirs if name in base] != common
        wanted = [keys[name] for name in theirs if name in keys and keys[name] in entries]
        if [key for key in entries if key in wanted] == wanted or not (has_moved or set(theirs) - set(base)):
            return
        if has_moved:
            self.taken.append("order of the parameters")
        rest = [key for key in entries if key not in wanted]
        for index, key in enumerate(list(entries)):
            if key in rest:
                wanted.insert(min(index, len(wanted)), key)
        self.data["parameters"] = {key: entries[key] for key in wanted}

    def tell_rest(self, rest: Mapping[str, Sequence[str]], found: FoundTemplate) -> None:
        """Edits of lines that are not the entry script's."""
        for part, lines in rest.items():
            if part == self.home.script:
                why = (
                    "rendered with vars" if part.endswith(".j2") else "changed here and there"
                ) + f": bring these lines into {part} by hand"
            elif part.startswith(script_lines.RUNTIME):
                why = (
                    f"in {part}, which comes with octosteps and is no file of this library: change it where octosteps "
                    f"comes from, or give the published text back with octosteps apply --force -n {quoted(found.name)}"
                )
            else:
                why = f"in the {part} of the script, which octosteps writes from the spec"
            self.left.append("\n".join([f"lines {why}", *lines]))


@dataclass(frozen=True)
class _Unfit:
    why: str


def _yaml_default(entry: Values, text: str) -> Any:
    """A default in Octopus' form as the spec writes it, or why the type does not take it."""
    kind, value = entry["type"], text
    candidates: list[Any] = [value]
    if kind == "boolean" and text.lower() in ("true", "false"):
        candidates.insert(0, text.lower() == "true")
    if kind == "integer" and re.fullmatch(r"0|-?[1-9]\d{0,17}", text):
        candidates.insert(0, int(text))
    if kind in ("lines", "pairs") and isinstance(entry.get("default"), list):
        candidates.insert(0, text.split("\n"))
    parameter = Parameter(key="", name="", variable="", label="", type=kind, choices=entry.get("choices", {}))
    why = "it would be written differently"
    for candidate in candidates:
        try:
            if octopus_text(parameter, candidate) == text:
                return candidate
        except ValueError as error:
            why = str(error).partition("\n")[0]
    if kind not in TYPES:
        why = "no such type"
    return _Unfit(why)


def _choices(parameter: TemplateParameter) -> dict[str, str]:
    pairs = (option.partition("|") for option in parameter.select_options)
    return {value: label or value for value, _, label in pairs}


def _like(before: object, text: str) -> str:
    """The text with a newline at its end if the former one had one."""
    return f"{text}\n" if isinstance(before, str) and before.endswith("\n") else text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
