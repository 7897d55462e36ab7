"""What is shipped, as text: it must survive Octopus' substitution, every promised Python, and one flat namespace."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from generator.emulator.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = sorted((ROOT / "generator" / "runtime").glob("*.py"))
ENTRIES = sorted((ROOT / "templates" / "steps").glob("*.py"))
SHIPPED = [*RUNTIME, *ENTRIES]
TOP_LEVEL = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def ids(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_text(path: Path) -> None:
    """ASCII, and no hash directly before a brace: Octopus would substitute it before Python sees the file."""
    text = path.read_text(encoding="ascii")
    assert "#" + "{" not in text
    assert "\t" not in text


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_imports_and_top_level(path: Path) -> None:
    """Only the standard library and the runtime are imported, and nothing runs at import."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    docstring, *body = tree.body
    assert isinstance(docstring, ast.Expr)
    if path.name != "__init__.py":
        first = body[0]
        assert isinstance(first, ast.ImportFrom) and first.module == "__future__"
    assert [] == [ast.unparse(node) for node in body if not isinstance(node, TOP_LEVEL)]
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
            if (node.module or "").startswith("generator"):
                assert (node.module or "").startswith("generator.runtime.")
                continue
        assert [] == [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names]


def test_names_are_unique_over_all_modules() -> None:
    """The bundler puts reached definitions into one namespace."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path in RUNTIME:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                owners[node.name].add(path.name)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            owners[name.id].add(path.name)
    assert len(owners) > 50
    assert {} == {name: files for name, files in owners.items() if len(files) > 1}


def test_every_python_imports_the_runtime(interpreter: Interpreter) -> None:
    """And compiles the entry scripts, without a warning."""
    code = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2].split(','): __import__('generator.runtime.' + name)\n"
        "for path in sys.argv[3:]: compile(pathlib.Path(path).read_text(), path, 'exec')\n"
        "from generator.runtime.versions import parse_version_range, parse_version\n"
        "from generator.runtime.moments import parse_moment\n"
        "assert parse_version_range('[1.0,2.0)').admits(parse_version('1.5'))\n"
        "print(parse_moment('2026-08-01T10:00:00.1234567+02:00').isoformat())\n"
    )
    modules = ",".join(path.stem for path in RUNTIME if path.stem != "__init__")
    ran = subprocess.run(
        [str(interpreter.path), "-W", "error", "-B", "-c", code, str(ROOT), modules, *map(str, ENTRIES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("2026-08-01T10:00:00.123456+02:00\n", "") == (ran.stdout, ran.stderr)
