"""One Python file in parts, and the parts that a script reaches."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from generator.bundle import ENTRY, Bundle, Runtime, bundle, import_lines
from generator.emulator.interpreters import Interpreter, find_interpreters
from generator.errors import Place
from generator.module import Module, StandardImport, parse_module

ROOT = Path(__file__).parent.parent
BUILDERS = [found for found in find_interpreters() if found.version >= (3, 10)]
"""The Pythons that octosteps itself runs on."""
STEP = "def run_step(main, step, parameters, helpers):\n    main(parameters)\n"


def make_module(text: str) -> Module:
    return parse_module(textwrap.dedent(text), name=ENTRY, path="entry.py")


def make_bundle(folder: Path, entry: str, **modules: str) -> Bundle:
    """The bundle of an entry script with these runtime modules; `step` has a small run_step unless given."""
    for name, text in {"step": STEP, **modules}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return bundle(make_module(entry), Runtime(folder, shown="runtime"))


def names(made: Bundle) -> list[tuple[str, list[str]]]:
    return [
        (part.name, [name for definition in part.definitions for name in definition.names])
        for part in made.parts
    ]


def faults(made: Bundle | Module) -> list[str]:
    return [str(problem) for problem in made.problems]


def test_only_what_is_reached_is_kept(tmp_path: Path) -> None:
    """By name, attribute, decorator, default, base class, annotation and constant; across modules; nothing else."""
    made = make_bundle(
        tmp_path,
        """
        from generator.runtime.a import by_annotation, by_base, by_decorator, by_default, by_name, never
        CONSTANT = 1
        DEAD = 2
        def helper(value: by_annotation, other=by_default): return CONSTANT, by_name.attribute
        def dead(): return DEAD, never
        class Own(by_base): pass
        @by_decorator
        def main(parameters): return helper, Own
        """,
        a="""
        from generator.runtime.b import deep
        by_annotation = by_base = object
        by_default = 1
        def by_decorator(function): return function
        def by_name(): return deep()
        def never(): pass
        """,
        b="""
        import json, os
        def deep(): return json
        def never_either(): return os
        """,
    )
    assert [] == faults(made)
    assert [
        ("b", ["deep"]),
        ("a", ["by_annotation", "by_base", "by_default", "by_decorator", "by_name"]),
        ("step", ["run_step"]),
        ("", ["CONSTANT", "helper", "Own", "main"]),
    ] == names(made)
    assert ("import json",) == made.imports


ACTING = {
    "a decorator that keeps a register": (
        "REGISTER = {}\ndef register(f):\n    REGISTER[f.__name__] = f\n    return f\n"
        "@register\ndef one(): return 'one'\n@register\ndef two(): return 'two'\n"
        "def main(parameters): print(*(f() for f in REGISTER.values()))",
        "one two",
    ),
    "a base class that keeps a register": (
        "REGISTER = []\nclass A:\n    def __init_subclass__(cls): REGISTER.append(cls.__name__)\n"
        "class B(A): pass\nclass C(B): pass\ndef main(parameters): print(A, *REGISTER)",
        "<class '__main__.A'> B C",
    ),
    "a function with an overload for each type": (
        "from functools import singledispatch\n@singledispatch\ndef show(x): return 'any'\n"
        "@show.register(int)\ndef _(x): return 'int'\ndef main(parameters): print(show(1))",
        "int",
    ),
    "a look-up among the globals": (
        "def helper(): return 5\ndef main(parameters): print(globals()['help' + 'er']())",
        "5",
    ),
    "a look-up by eval": ("def helper(): return 5\ndef main(parameters): print(eval('helper()'))", "5"),
    "a look-up in the module": (
        "import sys\ndef helper(): return 5\n"
        "def main(parameters): print(getattr(sys.modules[__name__], 'helper')())",
        "5",
    ),
}


@pytest.mark.parametrize(
    ("entry", "expected"), [pytest.param(*values, id=name) for name, values in ACTING.items()]
)
def test_what_acts_without_being_named_is_kept(tmp_path: Path, entry: str, expected: str) -> None:
    """The script does what the entry does: nothing that works in the file is lost in the bundle."""
    made = make_bundle(tmp_path, entry)
    assert [] == faults(made)
    script = "\n".join([*made.imports, *(part.text for part in made.parts), "run_step(main, 0, 0, 0)"])
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert expected == ended.stdout.strip(), ended.stderr


def test_what_one_script_reaches_does_not_depend_on_another(tmp_path: Path) -> None:
    """Parts of the runtime are worked out once and shared, but only between scripts that want the same."""
    (tmp_path / "step.py").write_text(STEP)
    (tmp_path / "a.py").write_text("def one():\n    pass\n\n\ndef two():\n    pass\n")
    runtime = Runtime(tmp_path)
    texts = [
        f"from generator.runtime.a import {name}\ndef main(parameters):\n    {name}()\n"
        for name in ("one", "two")
    ]
    made = [bundle(make_module(text), runtime) for text in [*texts, *texts]]
    assert [["one"], ["two"], ["one"], ["two"]] == [names(one)[0][1] for one in made]
    assert made[0].runtime is made[2].runtime


def test_the_text_is_verbatim_with_its_comments(tmp_path: Path) -> None:
    made = make_bundle(
        tmp_path,
        """
        # not directly above

        # above
        # above, too
        A = (  # inside
            1,
        )  # behind
        # of B
        B = '''
        # text
        '''

        def main(parameters):
            return A, B
            # last words
        # of nothing
        """,
    )
    assert (
        "# above\n# above, too\nA = (  # inside\n    1,\n)  # behind\n# of B\nB = '''\n# text\n'''\n\n\n"
        "def main(parameters):\n    return A, B\n    # last words"
    ) == made.entry.text


def test_loading_order_follows_the_imports(tmp_path: Path) -> None:
    """A module stands behind those it imports, since constants and base classes are needed while the script is loaded."""
    made = make_bundle(
        tmp_path,
        "from generator.runtime.a import A\ndef main(parameters): return A",
        a="from generator.runtime.z import Z\nclass A(Z): pass",
        z="class Z: pass",
    )
    assert ["z", "a", "step", ""] == [name for name, _ in names(made)]


@pytest.mark.parametrize(
    ("entry", "modules", "expected"),
    [
        pytest.param(
            "from generator.runtime.a import A\ndef main(p): return A",
            {
                "a": "from generator.runtime.b import B\ndef A(): return B",
                "b": "from generator.runtime.a import A\ndef B(): return A",
            },
            "modules import each other in a circle: a -> b -> a",
            id="a circle",
        ),
        pytest.param(
            "from generator.runtime.a import x\ndef same(): pass\ndef main(p): return x, same",
            {"a": "def same(): pass\ndef x(): return same"},
            "entry.py:2:1: 'same' is also defined in runtime/a.py, and a script has one namespace (rename one of them)",
            id="two definitions",
        ),
        pytest.param(
            "import json\nfrom generator.runtime.a import x\ndef main(p): return x, json",
            {"a": "def json(): pass\ndef x(): return json"},
            "entry.py:1:1: 'json' is also defined in runtime/a.py",
            id="an import and a definition",
        ),
        pytest.param(
            "from datetime import datetime\nfrom generator.runtime.a import x\ndef main(p): return x, datetime",
            {"a": "import datetime\ndef x(): return datetime"},
            "entry.py:1:1: 'datetime' is also an import of runtime/a.py",
            id="a module and its class",
        ),
        pytest.param("def main(p): pass", {"step": "A = 1"}, "", id="the start is missing"),
        pytest.param(
            "from generator.runtime.a import x\ndef main(p): return x",
            {"a": "from generator.runtime.b import x", "b": "def x(): pass"},
            "generator.runtime.a has no 'x' (import it from generator.runtime.b, which defines it)",
            id="a name passed on",
        ),
        pytest.param(
            "from generator.runtime.a import x\ndef main(p): return x",
            {"a": "import requests\ndef x(): pass"},
            "runtime/a.py:1:1: 'requests' is not in Python's standard library",
            id="a fault of the runtime's",
        ),
    ],
)
def test_faults(tmp_path: Path, entry: str, modules: dict[str, str], expected: str) -> None:
    made = make_bundle(tmp_path, entry, **modules)
    if expected:
        assert any(expected in fault for fault in faults(made)), faults(made)
    else:
        assert made.problems == ()


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("import os.path\nimport os\ndef main(p): return os", id="a package and its module"),
        pytest.param("from json import dumps\ndef main(p): return dumps", id="the same import in both"),
        pytest.param("import unused_json as json\nimport json\ndef main(p): return json", id="unused"),
    ],
)
def test_imports_that_do_not_quarrel(tmp_path: Path, entry: str) -> None:
    made = make_bundle(
        tmp_path,
        entry.replace("unused_json", "json"),
        step="from json import dumps\n" + STEP.replace("main(p", "dumps; main(p"),
    )
    assert [] == faults(made)


def test_import_lines() -> None:
    """Sorted, each once, long ones folded; aliases kept."""

    def make(module: str, name: str | None = None, alias: str | None = None) -> StandardImport:
        return StandardImport(
            binding=alias or name or module, module=module, name=name, alias=alias, place=Place()
        )

    long = [make("typing", f"AVeryLongNameOfAType{number}") for number in range(6)]
    assert [
        "import os",
        "import re as r",
        "from json import dumps, dumps as d, loads",
        "from typing import (\n"
        + "".join(f"    AVeryLongNameOfAType{number},\n" for number in range(6))
        + ")",
    ] == import_lines(
        [
            make("re", None, "r"),
            make("json", "loads"),
            make("json", "dumps"),
            make("json", "dumps", "d"),
            make("os"),
            make("os"),
            *long,
        ]
    )


# What Python's parser lets pass and only its compiler tells.
ONLY_COMPILED = {
    "return in a class": "class A:\n    return 1",
    "break outside a loop": "def f():\n    break",
    "continue outside a loop": "def f():\n    continue",
    "nonlocal without a binding": "def f():\n    nonlocal x",
    "a global after its use": "def f():\n    x = 1\n    global x",
    "an argument twice": "def f(a, a): pass",
    "an argument twice, by keyword": "def f(a, *, a): pass",
    "an argument twice, as the rest": "def f(a, *a): pass",
    "an argument twice, in a lambda": "def f(): return lambda a, a: 1",
    "a keyword twice": "def f(): g(a=1, a=2)",
    "await outside async": "def f():\n    await g()",
    "async for outside async": "def f():\n    return [x async for x in y]",
    "yield in a class": "class A:\n    x = [(yield) for _ in y]",
    "two stars": "def f():\n    *a, *b = c",
    "a star alone": "def f():\n    x = *a",
    "bare except first": "def f():\n    try: pass\n    except: pass\n    except ValueError: pass",
    "assigning to __debug__": "def f():\n    __debug__ = 1",
    "is with a literal": "def f(): return x is 'a'",
    "is with a number": "def f(): return x is not 1",
    "assert of a tuple": "def f():\n    assert (x, 'always true')",
    "calling a text": "def f(): return 'a' 'b'(1)",
    "calling a list": "def f(): return [1, (2, 3) (4, 5)]",
    "a list with a text index": "def f(): return [1, 2]['a']",
    "rebinding in a comprehension": "def f(): return [x := 1 for x in y]",
    "too many blocks": "def f():\n"
    + "".join(" " * n + "while x:\n" for n in range(1, 23))
    + " " * 24
    + "pass",
    "an unknown escape": "A = '\\d'",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ONLY_COMPILED.items()])
def test_faults_that_only_the_compiler_tells(text: str) -> None:
    """Most scripts are not compiled while building; those that could hold such a fault are."""
    made = parse_module(f"{text}\n\n\ndef main(p):\n    pass\n", name=ENTRY, path="entry.py")
    assert made.problems, text
    with pytest.raises(SyntaxError):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compile(text, "entry.py", "exec", dont_inherit=True)


def test_nothing_is_told_of_our_own_scripts() -> None:
    """The runtime and our entry scripts keep every rule."""
    for file in [
        *sorted((ROOT / "generator" / "runtime").glob("*.py")),
        *sorted((ROOT / "templates" / "steps").glob("*.py")),
    ]:
        made = parse_module(file.read_text(encoding="utf-8"), name=file.stem, path=file.name)
        assert [] == faults(made)


def test_every_definition_is_cut_out_whole() -> None:
    """The pieces of each module, put together again, mean what the module means."""
    for file in sorted((ROOT / "generator" / "runtime").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        made = parse_module(text, name=file.stem, path=file.name)
        pieces = ast.parse("\n".join(definition.text for definition in made.definitions))
        whole = [
            node
            for node in ast.parse(text).body
            if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)
        ]
        assert [ast.dump(node) for node in whole] == [ast.dump(node) for node in pieces.body]


@pytest.mark.parametrize(
    "line",
    [
        "PATTERN = re.compile('a')",
        "WORDS = frozenset('a b'.split())",
        "TABLE = {name: Kind(name) for name in WORDS}",
        "PAUSE = datetime.timedelta(seconds=1)",
        "T = TypeVar('T')",
        "Pair = collections.namedtuple('Pair', 'a b')",
        "KEY = lambda item: later(item)",
        "class Colour(Enum):\n    RED = enum.auto()\n    BLUE = auto()",
        "COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1",
    ],
)
def test_constants_may_build(line: str) -> None:
    assert [] == faults(make_module(f"{line}\ndef main(p): pass\n"))


@pytest.mark.parametrize(
    "line",
    [
        "print('x')",
        "HOME = os.getenv('HOME')",
        "NOW = datetime.datetime.now()",
        "CONTENT = open('x').read()",
        "PROCESS = subprocess.Popen(['true'])",
        "def f(x=print('x')): pass",
        "class A:\n    def f(self, *, x=print('x')): pass",
        "class A(make()): pass",
        "class A(metaclass=make()): pass",
        "A = lambda x=print('x'): x",
        "del x",
        "with x: pass",
        "while x: pass",
        "raise ValueError",
        "X[0] = 1",
        "X += 1",
        "if TYPE_CHECKING: import x",
        "class A:\n    for x in y: pass",
        "class A:\n    x = print('x')",
        "TABLE = [urlopen(x) for x in y]",
    ],
)
def test_a_top_level_that_does_work(line: str) -> None:
    assert any("does work" in fault for fault in faults(make_module(f"{line}\ndef main(p): pass\n")))


def test_a_traceback_names_the_true_line(tmp_path: Path) -> None:
    """What fails in the running script is found at that line of the file that was built."""
    from generator.workspace import read_workspace, render_workspace

    library = tmp_path / "library"
    (library / "step_templates").mkdir(parents=True)
    (library / "templates" / "steps").mkdir(parents=True)
    (library / "step_templates" / "a.yaml").write_text(
        "id: 0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10\nname: A - B\ncategory: c\nversion: 1\ndescription: d\n"
        "script: a.py\nprefix: A\nrun_on: worker\n"
    )
    (library / "templates" / "steps" / "a.py").write_text(
        "def main(parameters):\n    fail_here()\n\n\ndef fail_here():\n    raise KeyError('on purpose')\n"
    )
    built = render_workspace(read_workspace(library, runtime=ROOT / "tests" / "cases" / "runtime"))[0]
    script = tmp_path / "Script.py"
    script.write_text(built.script)
    start = f"import runpy; runpy.run_path({str(script)!r}, {{}}, '__main__')"  # as Octopus' bootstrap does
    ended = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)
    line = 1 + built.script.split("\n").index("    raise KeyError('on purpose')")
    assert f'Script.py", line {line}, in fail_here' in ended.stderr


# What a Python newer than the oldest reads, with what is told of it.
NEWER = {
    "a star in a subscript": ("x[*y]", "a '*' in a subscript came with Python 3.11"),
    "a star after in": ("[1 for _ in x]\n    for _ in *x, *y: pass", "a '*' after 'in' came with Python 3.9"),
    "a decorator by index": ("1\n    @x[0]\n    def g(): pass", "came with Python 3.9"),
    "types joined": (
        "isinstance(x, int | y)",
        "'|' between types outside an annotation came with Python 3.10",
    ),
    "mappings merged": ("x | {1: 2}", "merging mappings by '|' came with Python 3.9"),
    "quotes in an f-string": ("f'{x['a']}'", ""),
    "quotes in a text in an f-string": ("f'{x[\"it's\"]}'", ""),
    "a backslash in an f-string": ("f'{x(\"\\n\")}'", ""),
    "an f-string in an f-string": ("f'{f'{x}'}'", ""),
    "a line end in an f-string": ("f'{x(\n1)}'", ""),
    "a comment in an f-string": ("f'''{x # why\n}'''", ""),
    "quotes in the form of a field": ("f'{x:{y['a']}}'", ""),
}
OLD = {
    "a star in brackets": "x[(*y, 1)], [1, *x], {**x}",
    "a union of sets": "x | {1, 2}",
    "other quotes in an f-string": "f'{x[\"a\"]}' '{' f\"{x['a']}\"",
    "an f-string in triple quotes": "f'''{x['a']}{f\"{y}\"}\\n{x[\"b\"]:>{y}}\n{x}'''",
    "a backslash beside a field": "f'{x}\\n{y!r:>10}{{}}'",
}


@pytest.mark.parametrize("builder", BUILDERS, ids=str)
@pytest.mark.parametrize(
    ("code", "expected"), [pytest.param(*values, id=name) for name, values in NEWER.items()]
)
def test_newer_syntax(builder: Interpreter, code: str, expected: str) -> None:
    """Told whatever Python builds: the parsers of new ones let much pass that old ones do not read."""
    told = problems_under(builder, f"def f(x, y):\n    {code}\n")
    assert told
    if builder.version >= (3, 12):
        assert expected in told and "and a worker may have 3.8" in told, told


@pytest.mark.parametrize("builder", BUILDERS, ids=str)
@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in OLD.items()])
def test_old_syntax(builder: Interpreter, code: str) -> None:
    assert "" == problems_under(builder, f"def f(x, y):\n    return {code}\n")


def problems_under(builder: Interpreter, text: str) -> str:
    """What `check` would say of these lines when it runs under this Python."""
    code = (
        "import sys; from generator.module import parse_module\n"
        "made = parse_module(sys.argv[1] + 'def main(p): pass\\n', name='', path='entry.py')\n"
        "print(*made.problems, sep='\\n')"
    )
    ended = subprocess.run(
        [builder.path, "-c", code, text], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not ended.returncode, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "__name__ = 'x'",
            "entry.py:1:1: '__name__' is Python's own name in every module (choose another name)",
            id="another name of the module",
        ),
        pytest.param(
            "def f():\n    global Log\n    Log = 1",
            "entry.py:2:5: the global 'Log' is set in a function only (define it at the top level, too)",
            id="a global that only a function knows",
        ),
        pytest.param(
            "def f():\n    from json import *",
            "entry.py:2:5: 'import *' cannot stand in a function (name what you use)",
            id="a star in a function's import",
        ),
        pytest.param(
            "A = 'x\u202ey'",
            "entry.py:1:7: the invisible character U+202E turns the reading direction: the line is not what it looks like "
            '(write "\\u202e")',
            id="text that reads backwards",
        ),
        pytest.param(
            "# -*- coding: latin-1 -*-\nA = 'é'",
            "entry.py:1:15: the file is read as UTF-8, and says that it is latin-1",
            id="another encoding",
        ),
    ],
)
def test_what_would_not_be_what_it_looks_like(text: str, expected: str) -> None:
    assert [expected] == faults(make_module(f"{text}\ndef main(p): pass\n"))
