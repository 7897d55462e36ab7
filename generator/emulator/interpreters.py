"""Which Pythons a worker could have: finds those on this machine and makes each ready for Octopus' bootstrap.

Nothing is downloaded and nothing is installed into anybody's home or site-packages.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from generator.errors import Refusal

OLDEST, NEWEST = (3, 8), (3, 14)  # what scripts promise to run on

_PROBE = (
    "import sys; v = sys.version_info; "
    "print(sys.implementation.name, v[0], v[1], v[2], v[3], getattr(sys, 'abiflags', ''), sys.executable, sep='|')"
)


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A CPython that can be started. `version` is (major, minor, patch)."""

    path: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return "CPython " + ".".join(map(str, self.version))


def find_interpreters(environ: Mapping[str, str] | None = None) -> tuple[Interpreter, ...]:
    """Every CPython from 3.8 to 3.14 on PATH or under pyenv, oldest first, one of each minor version.

    Of several with the same minor version: the one that runs us, else the highest patch. Free-threaded builds and
    pre-releases are left out.
    """
    found: dict[tuple[int, int], Interpreter] = {}
    for path in _candidates(os.environ if environ is None else environ):
        interpreter = _probe(path)
        if interpreter is None:
            continue
        other = found.setdefault(interpreter.version[:2], interpreter)
        if other.path != sys.executable and other.version < interpreter.version:
            found[interpreter.version[:2]] = interpreter
    return tuple(found[minor] for minor in sorted(found))


def prepare_interpreter(path: str, cache_folder: Path) -> str:
    """The path of a Python like the one at `path` that can import our pycryptodome: a virtual environment of its own.

    It is made under `cache_folder` once and found again there, also by other processes at the same moment. The Python that runs
    us needs none. Refusal when our build of pycryptodome does not load there and `path` has none of its own.
    """
    if path == sys.executable:
        return path
    return _prepared(path, Path(cache_folder).resolve())


@functools.cache
def _prepared(path: str, cache_folder: Path) -> str:
    crypto = _crypto_folder()
    identity = hashlib.sha256(f"{Path(path).resolve()}\0{crypto}".encode()).hexdigest()[:12]
    folder = cache_folder / f"python-{identity}"
    python = folder / "bin" / "python3"
    if folder.exists() and _import_error(str(python)) is None:
        return str(python)
    cache_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache_folder) as making:
        made = Path(making) / "venv"
        command = [path, "-m", "venv", "--without-pip", str(made)]
        answer = subprocess.run(command, capture_output=True, text=True, env=_bare_environment())
        if answer.returncode != 0:
            raise Refusal(
                f"{path} cannot make a virtual environment: {_last_line(answer.stderr or answer.stdout)}"
            )
        (site,) = made.glob("lib/python3.*/site-packages")
        (site / "Crypto").symlink_to(crypto, target_is_directory=True)
        error = _import_error(str(made / "bin" / "python3"))
        if error is not None:
            if _import_error(path) is None:
                return path
            raise Refusal(
                f"{path} cannot load the pycryptodome of {sys.executable} ({error}): "
                f"install pycryptodome for it (Octopus needs that on a worker too)"
            )
        with suppress(OSError):  # another process may have put its own there meanwhile
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    return str(python)


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    """Paths that may be Pythons, ours first, each file once."""
    seen: set[Path] = {Path(sys.executable).resolve()}
    yield sys.executable
    entries = [Path(entry) for entry in environ.get("PATH", "").split(os.pathsep) if entry]
    # pyenv's shims lead to its versions, or nowhere; where they stand tells where pyenv is when HOME is another one.
    shims = [entry for entry in entries if entry.name == "shims" and (entry.parent / "versions").is_dir()]
    home = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME") or "/") / ".pyenv")
    folders = [entry for entry in entries if entry not in shims]
    for pyenv in dict.fromkeys([home, *(entry.parent for entry in shims)]):
        folders += [version / "bin" for version in sorted(pyenv.glob("versions/*"))]
    for folder in folders:
        for file in sorted(folder.glob("python3*")):
            if not re.fullmatch(r"python3(\.[0-9]+)?", file.name) or not os.access(file, os.X_OK):
                continue
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield str(file)


def _probe(path: str) -> Interpreter | None:
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=20,
            env=_bare_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    name, major, minor, patch, level, flags, _ = answer.stdout.strip().split("|")
    version = int(major), int(minor), int(patch)
    if name != "cpython" or level != "final" or "t" in flags or not OLDEST <= version[:2] <= NEWEST:
        return None
    return Interpreter(path=path, version=version)


def _crypto_folder() -> Path:
    spec = importlib.util.find_spec("Crypto")
    if spec is None or not spec.submodule_search_locations:
        raise Refusal(f"pycryptodome is not installed for {sys.executable}")
    return Path(spec.submodule_search_locations[0]).resolve()


def _import_error(python: str) -> str | None:
    """Why `python` cannot do what Octopus' bootstrap needs, or None when it can."""
    code = "from Crypto.Cipher import AES; AES.new(b'0' * 32, AES.MODE_CBC, b'0' * 16).decrypt(b'0' * 16)"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, env=_bare_environment())
    except OSError as error:
        return str(error)
    return None if answer.returncode == 0 else _last_line(answer.stderr)


def _bare_environment() -> dict[str, str]:
    """Our environment without what is about our own Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
