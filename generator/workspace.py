"""A library on disk, rendered: its settings, its specs with their entry scripts, and the built-in library beside it.

`read_workspace` looks at the disk; what it gives holds every byte that rendering needs. All faults of all files are told
together. Writing `build/` is left to `build_folder`, knowing what has not changed to `build_cache`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from generator import verbatim
from generator.build_cache import NO_STAMP, Stamp, read_stamped, spec_names
from generator.bundle import ENTRY, Bundle, Runtime, bundle
from generator.errors import Place, Problem, Problems
from generator.module import Module, parse_module
from generator.render import render_entry, render_template
from generator.rules import Claim, check_builtin_claims, check_claims, check_entry, claims
from generator.settings import Settings, read_settings
from generator.source import Path as SourcePath
from generator.source import Source, closest, parse_source
from generator.spec import Spec, is_verbatim, parse_spec
from generator.step_template import StepTemplate, to_text

PACKAGE = Path(__file__).resolve().parent
RUNTIME = PACKAGE / "runtime"


def builtin_root() -> Path:
    """The folder that has our own `templates` and `step_templates`: the package in a wheel, its parent in a checkout."""
    return PACKAGE if (PACKAGE / "templates").is_dir() else PACKAGE.parent


@dataclass(frozen=True, kw_only=True)
class SpecFile:
    """One spec as found: `relative` below the root, `shown` as problems call it."""

    relative: str
    shown: str
    content: bytes
    stamp: Stamp = NO_STAMP

    @property
    def slug(self) -> str:
        return Path(self.relative).stem


@dataclass(frozen=True, kw_only=True)
class ScriptFile:
    """An entry script as found: `relative` below the root."""

    relative: str
    shown: str
    content: bytes
    stamp: Stamp


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A library; `specs` in the order of their names."""

    root: Path
    settings: Settings
    specs: tuple[SpecFile, ...]
    builtin: bool = False
    runtime: Path = RUNTIME

    def shown(self, relative: str) -> str:
        """A path below the root, as a person who stands elsewhere would type it."""
        return (self.root / relative).as_posix()

    @property
    def build(self) -> Path:
        return self.root / self.settings.build


@dataclass(frozen=True, kw_only=True)
class Built:
    """One step template, ready: the spec, the template with its script, and the name of its files in `build/`."""

    spec: Spec
    template: StepTemplate
    script: str
    builtin: bool
    slug: str

    @property
    def files(self) -> Mapping[str, str]:
        """The texts that `build/` holds for it, by file name. The script of one that is kept as it is stands in the sources."""
        if self.spec.verbatim:
            return {f"{self.slug}.json": to_text(self.template)}
        return {f"{self.slug}.json": to_text(self.template), f"{self.slug}.py": self.script}


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What became of one spec file: `built`, or `problems`; its claims either way, and its scripts as they were read."""

    file: SpecFile
    scripts: tuple[ScriptFile, ...] = ()
    claims: tuple[Claim, ...] = ()
    built: Built | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_workspace(root: Path, *, runtime: Path = RUNTIME) -> Workspace:
    """The library at `root`, possibly without any spec. Errors: Problems of its settings."""
    return _read(root, read_settings(root), builtin=root.resolve() == builtin_root(), runtime=runtime)


def read_builtin() -> Workspace:
    """The library that comes with octosteps."""
    root = builtin_root()
    return _read(root, Settings(root=root), builtin=True, runtime=RUNTIME)


def _read(root: Path, settings: Settings, *, builtin: bool, runtime: Path) -> Workspace:
    bare = Workspace(root=root, settings=settings, specs=(), builtin=builtin, runtime=runtime)
    specs = []
    for name in spec_names((root / settings.step_templates).as_posix()):
        relative = f"{settings.step_templates}/{name}"
        shown = bare.shown(relative)
        if not name.isprintable():  # an invisible character, a line end, or bytes that are no UTF-8
            shown = bare.shown(f"{settings.step_templates}/{ascii(name)[1:-1]}")
            message, hint = "the file's name holds what nobody can read", "rename it"
            raise Problems([Problem(path=shown, message=message, hint=hint)])
        try:
            content, stamp = read_stamped(f"{root.as_posix()}/{relative}")
        except OSError as error:
            raise Problems([Problem(path=shown, message=f"cannot be read: {error.strerror}")]) from error
        specs.append(SpecFile(relative=relative, shown=shown, content=content, stamp=stamp))
    return Workspace(root=root, settings=settings, specs=tuple(specs), builtin=builtin, runtime=runtime)


class Renderer:
    """Renders one library's specs; runtime modules and frames are read once.

    `instead` has the content of scripts that are not on the disk yet, by path below the root.
    """

    def __init__(self, workspace: Workspace, *, instead: Mapping[str, bytes] | None = None) -> None:
        self.workspace = workspace
        self.instead = instead or {}
        self.templates = builtin_root() / "templates"
        self.scripts = workspace.root / workspace.settings.scripts
        self.runtime = Runtime(workspace.runtime)

    def render(self, file: SpecFile) -> Rendered:
        """One spec, whatever is wrong with it."""
        try:
            source = parse_source(file.content, name=file.shown)
        except Problems as error:
            return Rendered(file=file, problems=error.problems)
        problems: list[Problem] = []
        spec: Spec | None = None
        try:
            spec = parse_spec(source, source_name=file.relative)
        except Problems as error:
            problems.extend(error.problems)
        if is_verbatim(source):
            return self._verbatim(source, spec, file, problems)
        built: Built | None = None
        script = self._script(source, ("script",), source.data.get("script"), problems)
        entry = self._entry(source, script, problems) if script else None
        if entry is not None:
            parts = bundle(entry, self.runtime)
            problems.extend(check_entry(source, entry, parts))
            if spec is not None and not problems:
                built = self._built(spec, parts, file, problems)
        return Rendered(
            file=file,
            scripts=(script,) if script else (),
            claims=claims(source),
            built=built,
            problems=tuple(sorted(set(problems))),
        )

    def _verbatim(
        self, source: Source, spec: Spec | None, file: SpecFile, problems: list[Problem]
    ) -> Rendered:
        """One spec of a template that is kept as it is."""
        scripts: dict[str, ScriptFile] = {}
        texts: dict[str, str] = {}
        for name, path in verbatim.files_of(source.data).items() if spec else ():
            where = ("files", name) if name in source.data.get("files", {}) else ("script",)
            script = self._script(source, where, path, problems)
            if script is not None:
                scripts[name] = script
                try:
                    texts[name] = verbatim.read_text(script.content, source.data.get("line_ends"))
                except UnicodeDecodeError as error:
                    problems.append(_not_utf_8(error, script.shown))
        built = None
        if spec is not None and not problems:
            template = verbatim.to_template(source.data, texts)
            built = Built(
                spec=replace(spec, parameters=tuple(map(verbatim.parameter_of, template.parameters))),
                template=template,
                script=template.script,
                builtin=self.workspace.builtin,
                slug=file.slug,
            )
        shown = {name: script.shown for name, script in scripts.items()}
        return Rendered(
            file=file,
            scripts=tuple(scripts.values()),
            claims=claims(source),
            built=built,
            problems=tuple(sorted(set(problems))),
            warnings=tuple(verbatim.warn(source, texts, shown)) if built else (),
        )

    def _built(self, spec: Spec, parts: Bundle, file: SpecFile, problems: list[Problem]) -> Built | None:
        path = f"{self.workspace.settings.scripts}/{spec.script}"
        try:
            template = render_template(spec, parts, entry=path, templates=self.templates)
        except Problems as error:
            problems.extend(error.problems)
            return None
        return Built(
            spec=spec,
            template=template,
            script=template.script,
            builtin=self.workspace.builtin,
            slug=file.slug,
        )

    def _script(
        self, source: Source, where: SourcePath, script: object, problems: list[Problem]
    ) -> ScriptFile | None:
        """The script that the spec names at `where`; None, with the reason among `problems`, when it cannot be had."""
        if not isinstance(script, str) or not script:
            return None
        folder = self.workspace.settings.scripts
        if script.startswith("/") or ".." in script.split("/"):
            problems.append(source.problem(where, f"the script '{script}' lies outside of {folder}"))
            return None
        relative = f"{folder}/{script}"
        if relative in self.instead:
            shown = self.workspace.shown(relative)
            return ScriptFile(relative=relative, shown=shown, content=self.instead[relative], stamp=NO_STAMP)
        try:
            content, stamp = read_stamped(f"{self.workspace.root.as_posix()}/{relative}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            known = [file.name for file in self.scripts.glob("*") if file.is_file()]
            message = f"there is no script '{script}' in {folder}"
            problems.append(source.problem(where, message, closest(script, known)))
            return None
        except (OSError, ValueError) as error:
            problems.append(source.problem(where, f"the script '{script}' cannot be read: {error}"))
            return None
        return ScriptFile(
            relative=relative, shown=self.workspace.shown(relative), content=content, stamp=stamp
        )

    def _entry(self, source: Source, script: ScriptFile, problems: list[Problem]) -> Module | None:
        """The script in parts; None, with the reason among `problems`, when it is not text or its frame fails."""
        text = _decode(script.content, script.shown, problems)
        if text is not None and script.relative.endswith(".j2"):
            values = source.data.get("vars")
            try:
                text = render_entry(text, values if isinstance(values, dict) else {}, path=script.shown)
            except Problems as error:
                problems.extend(error.problems)
                return None
        return None if text is None else parse_module(text, name=ENTRY, path=script.shown)


def _decode(content: bytes, path: str, problems: list[Problem]) -> str | None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(_not_utf_8(error, path))
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_utf_8(error: UnicodeDecodeError, path: str) -> Problem:
    line = error.object.count(b"\n", 0, error.start) + 1
    place = Place(line=line, column=error.start - error.object.rfind(b"\n", 0, error.start))
    message = f"not UTF-8: the byte 0x{error.object[error.start]:02X} cannot stand here"
    return Problem(path=path, place=place, message=message, hint="save the file as UTF-8")


def render_workspace(workspace: Workspace) -> tuple[Built, ...]:
    """Every step template of the library. Errors: Problems with the faults of all its files."""
    renderer = Renderer(workspace)
    return settle([renderer.render(file) for file in workspace.specs])


def settle(rendered: Sequence[Rendered]) -> tuple[Built, ...]:
    """What was built, if nothing is wrong anywhere. Errors: Problems."""
    problems = [problem for item in rendered for problem in item.problems]
    problems += check_claims(claim for item in rendered for claim in item.claims)
    problems += check_slugs([item.file for item in rendered])
    if problems:
        raise Problems(problems)
    return tuple(item.built for item in rendered if item.built is not None)


def check_slugs(files: Sequence[SpecFile]) -> list[Problem]:
    """Two specs whose files in `build/` would have one name."""
    first: dict[str, SpecFile] = {}
    problems = []
    for file in files:
        owner = first.setdefault(file.slug.lower(), file)
        if owner is not file:
            message = f"{owner.shown} would be built into the same file"
            problems.append(Problem(path=file.shown, message=message, hint="rename one of them"))
    return problems


def render_known(root: Path) -> Mapping[str, Built]:
    """The library at `root` and the built-in one, by template name.

    An own spec with a built-in one's id takes its place: it is a copy that somebody changed. Errors: Problems of all files, and
    of an own spec that takes the name or prefix of a built-in one without being it.
    """
    mine = render_own(root)
    if any(built.builtin for built in mine.values()):
        return mine
    ids = {built.spec.id for built in mine.values()}
    theirs = [built for built in render_workspace(read_builtin()) if built.spec.id not in ids]
    return {**{built.spec.name: built for built in theirs}, **mine}


def render_own(root: Path) -> Mapping[str, Built]:
    """The library at `root` by template name, the built-in one only where that is it. Errors: those of `render_known`."""
    own = read_workspace(root)
    if own.builtin:
        return {built.spec.name: built for built in render_workspace(own)}
    renderer = Renderer(own)
    rendered = [renderer.render(file) for file in own.specs]
    mine = settle(rendered)
    problems = check_builtin_claims((claim for item in rendered for claim in item.claims), builtin_claims())
    if problems:
        raise Problems(problems)
    return {built.spec.name: built for built in mine}


def builtin_claims() -> list[Claim]:
    """What the built-in specs claim, without rendering them."""
    return [
        claim
        for file in read_builtin().specs
        for claim in claims(parse_source(file.content, name=file.shown))
    ]
