"""Bad input through the real command line: every fault with its place, exit code 1, no traceback, nothing written."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from generator.emulator import Emulator
from tests.commandline import Ended, octosteps

SPEC = """\
id: 0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10
name: Demo - Say Hello
category: demo
version: 1
description: Says hello.
script: say_hello.py
prefix: SayHello
run_on: worker
parameters:
  greeting:
    label: Greeting
    type: text
    default: hello
    help: What to say.
outputs:
  Said: What was said.
"""
SCRIPT = '''\
"""Says hello."""

from __future__ import annotations


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
'''
OTHER = (
    SPEC.replace("0b6a3a0e", "1b6a3a0e")
    .replace("Say Hello", "Say Bye")
    .replace("prefix: SayHello", "prefix: SayBye")
)

Files = Mapping[str, str | bytes]


def make_library(folder: Path, files: Files) -> Path:
    """A library that passes `check`, with `files` written over it."""
    written: dict[str, str | bytes] = {
        "step_templates/say-hello.yaml": SPEC,
        "templates/steps/say_hello.py": SCRIPT,
        **files,
    }
    for name, text in written.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def check_refused(ended: Ended, *expected: str) -> None:
    """One clean refusal that holds each of these texts."""
    assert ended.exit_code == 1, ended
    assert "Traceback" not in ended.err + ended.out, ended
    for text in expected:
        assert text in ended.err + ended.out, f"expected {text!r} in:\n{ended}"


def spec_with(old: str, new: str) -> Files:
    assert old in SPEC, old
    return {"step_templates/say-hello.yaml": SPEC.replace(old, new, 1)}


YAML = "step_templates/say-hello.yaml"
PY = "templates/steps/say_hello.py"

BAD_LIBRARIES = [
    pytest.param(
        spec_with("  greeting:", "\tgreeting:"), [f"{YAML}:10:1:", "tab"], id="a tab as indentation"
    ),
    pytest.param(spec_with("name: Demo", 'name: "Demo'), [f"{YAML}:", "quot"], id="an unclosed quote"),
    pytest.param(
        {YAML: SPEC.replace("hello.", "h\xe9llo.").encode("latin-1")}, [f"{YAML}:5:", "UTF-8"], id="not UTF-8"
    ),
    pytest.param({YAML: ""}, [f"{YAML}:1:1:", "empty"], id="empty"),
    pytest.param({YAML: "- a\n- b\n"}, [f"{YAML}:1:1:"], id="a list"),
    pytest.param(
        spec_with("category: demo", "category: demo\nname: Twice - Named"),
        [f"{YAML}:4:1:", "name"],
        id="a key twice",
    ),
    pytest.param(
        spec_with("prefix: S", "prefx: S"),
        [f"{YAML}:7:1:", "'prefx'", "did you mean 'prefix'"],
        id="an unknown key",
    ),
    pytest.param(spec_with("version: 1", "version: one"), [f"{YAML}:4:10:", "version"], id="a wrong type"),
    pytest.param(
        spec_with("type: text", "type: dropdwn"),
        [f"{YAML}:12:11:", "dropdwn"],
        id="an unknown parameter type",
    ),
    pytest.param(
        spec_with("say_hello.py", "say_helo.py"),
        [f"{YAML}:6:9:", "say_helo.py", "say_hello.py"],
        id="a missing script",
    ),
    pytest.param(
        {PY: SCRIPT.replace("main(parameters)", "main(parameters")}, [f"{PY}:6:"], id="a syntax error"
    ),
    pytest.param(
        {PY: SCRIPT.replace("\n\ndef", "\nimport requests\n\n\ndef")},
        [f"{PY}:5:1:", "requests"],
        id="a third-party module",
    ),
    pytest.param({PY: SCRIPT + "\nprint('at once')\n"}, [f"{PY}:9:1:"], id="a top level that does work"),
    pytest.param(
        {PY: SCRIPT.replace("parameters.greeting)", "parameters.greeting)  # #{Octopus}")},
        [f"{PY}:7:"],
        id="#{ in code",
    ),
    pytest.param(
        spec_with("default: hello", "default: #{Octopus.Project.Name}"),
        [f"{YAML}:13:", "quote"],
        id="an unquoted expression",
    ),
    pytest.param(
        spec_with("type: text\n    default: hello", "type: secret\n    default: hello"),
        [f"{YAML}:13:", "secret"],
        id="a secret default",
    ),
    pytest.param(
        spec_with("default: hello", "default: 5"), [f"{YAML}:13:14:"], id="a number as a text's default"
    ),
    pytest.param(
        {"step_templates/other.yaml": OTHER.replace("Say Bye", "Say Hello")},
        ["Demo - Say Hello"],
        id="one name twice",
    ),
    pytest.param(
        {"step_templates/other.yaml": OTHER.replace("1b6a3a0e", "0b6a3a0e")}, ["0b6a3a0e"], id="one id twice"
    ),
    pytest.param(
        {"step_templates/other.yaml": OTHER.replace("SayBye", "SayHello")},
        ["SayHello"],
        id="one prefix twice",
    ),
]


@pytest.mark.parametrize("command", ["check", "build"])
@pytest.mark.parametrize(("files", "expected"), BAD_LIBRARIES)
def test_a_faulty_library_is_refused(command: str, files: Files, expected: list[str], tmp_path: Path) -> None:
    """The place and the cause are named, and nothing is written."""
    folder = make_library(tmp_path, files)
    check_refused(octosteps(command, folder=folder), *expected)
    assert not (folder / "build").exists()


def test_the_untouched_library_passes(tmp_path: Path) -> None:
    """What the other cases break is sound by itself."""
    folder = make_library(tmp_path, {"step_templates/other.yaml": OTHER})
    ended = octosteps("check", folder=folder)
    assert ended.exit_code == 0, ended


def test_every_fault_is_told_in_one_run(tmp_path: Path) -> None:
    """Two files with two faults each: four lines, sorted by file and line, and json says the same."""
    broken = SPEC.replace("prefix: S", "prefx: S").replace("version: 1", "version: one")
    folder = make_library(
        tmp_path,
        {
            YAML: broken,
            "step_templates/a.yaml": OTHER.replace("run_on: worker", "run_on: moon").replace(
                "type: text", "type: txt"
            ),
        },
    )
    ended = octosteps("check", folder=folder)
    places = re.findall(r"^(\S+?):(\d+):\d+: ", ended.err, re.MULTILINE)
    assert [(file, int(line)) for file, line in places] == sorted((file, int(line)) for file, line in places)
    assert {file for file, _ in places} == {YAML, "step_templates/a.yaml"}, ended
    assert len(places) >= 4, ended
    check_refused(ended)
    assert '"line": 4' in octosteps("check", "-f", "json", folder=folder).out


COORDINATION = """\
projects:
  Shop:
    process: deployment
    steps:
      - key: hello
        template: Demo - Say Hello
        name: Say hello
        after: Announce
        with: {greeting: hi}
"""


def coordination_with(old: str, new: str) -> Files:
    assert old in COORDINATION, old
    return {"coordination.yaml": COORDINATION.replace(old, new, 1)}


BAD_COORDINATION = [
    pytest.param(
        coordination_with("Shop", "Shopp"),
        ["coordination.yaml:2:3:", "'Shopp'", "'Shop'"],
        id="unknown project",
    ),
    pytest.param(
        coordination_with("Announce", "Anounce"),
        ["coordination.yaml:8:16:", "'Anounce'", "'Announce'"],
        id="unknown step",
    ),
    pytest.param(
        coordination_with("Say Hello", "Say Helo"),
        ["coordination.yaml:6:19:", "Helo", "did you mean"],
        id="unknown template",
    ),
    pytest.param(
        coordination_with("greeting", "greting"),
        ["coordination.yaml:9:16:", "'greting'", "'greeting'"],
        id="unknown parameter",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """A server with the project Shop, whose process has the step Announce, and the template already published."""
    from generator.octopus.client import connect

    with Emulator() as emulator, connect(emulator.url, api_key=emulator.api_key) as client:
        [lifecycle] = client.pages("lifecycles")
        [group] = client.pages("projectgroups")
        made = client.post(
            "projects", {"Name": "Shop", "LifecycleId": lifecycle["Id"], "ProjectGroupId": group["Id"]}
        )
        process = client.get(f"deploymentprocesses/{made['DeploymentProcessId']}")
        action = {"Name": "Announce", "ActionType": "Octopus.Script", "Properties": {}}
        step = {"Name": "Announce", "Properties": {}, "Actions": [action]}
        client.put(f"deploymentprocesses/{process['Id']}", {**process, "Steps": [step]})
        yield emulator


def environ(emulator: Emulator, **others: str) -> dict[str, str]:
    return {"OCTOPUS_URL": emulator.url, "OCTOPUS_API_KEY": emulator.api_key, **others}


def snapshot(emulator: Emulator) -> list[object]:
    """What a refused command must not have changed."""
    from generator.octopus.client import connect

    with connect(emulator.url, api_key=emulator.api_key) as client:
        projects = list(client.pages("projects"))
        processes = [
            client.get(f"deploymentprocesses/{project['DeploymentProcessId']}") for project in projects
        ]
        return [list(client.pages("actiontemplates")), processes]


@pytest.mark.parametrize("command", [("plan",), ("apply", "--no-prompt")], ids=["plan", "apply"])
@pytest.mark.parametrize(("files", "expected"), BAD_COORDINATION)
def test_a_faulty_coordination_file_is_refused(
    command: tuple[str, ...], files: Files, expected: list[str], server: Emulator, tmp_path: Path
) -> None:
    """What the file names and nobody knows is told with its place, and nothing is written."""
    folder = make_library(tmp_path, files)
    published = octosteps("apply", "--no-prompt", folder=folder, environ=environ(server))
    assert published.exit_code == 0, published
    before = snapshot(server)
    check_refused(octosteps(*command, "coordination.yaml", folder=folder, environ=environ(server)), *expected)
    assert before == snapshot(server)


def test_no_server(tmp_path: Path) -> None:
    """Nothing listens there: one sentence that names the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    folder = make_library(tmp_path, {})
    ended = octosteps("plan", folder=folder, environ={"OCTOPUS_URL": url, "OCTOPUS_API_KEY": "API-NOBODY"})
    check_refused(ended, url, "cannot reach")


def test_no_server_is_named(tmp_path: Path) -> None:
    check_refused(octosteps("plan", folder=make_library(tmp_path, {})), "OCTOPUS_URL")


def test_a_wrong_key(server: Emulator, tmp_path: Path) -> None:
    """The server's own words, and never the key."""
    folder = make_library(tmp_path, {})
    ended = octosteps("plan", folder=folder, environ=environ(server, OCTOPUS_API_KEY="API-WRONG0000"))
    check_refused(ended, "You must be logged in")
    assert "API-WRONG0000" not in ended.err + ended.out


def test_no_permission(server: Emulator, tmp_path: Path) -> None:
    """A key that may look and not write: the missing permission is named, nothing is written."""
    key = server.add_key(permissions={"SpaceView", "ActionTemplateView", "ProjectView", "ProcessView"})
    text = (
        SPEC.replace("Say Hello", "Say More")
        .replace("0b6a3a0e", "2b6a3a0e")
        .replace("prefix: SayHello", "prefix: SayMore")
    )
    folder = make_library(tmp_path, {YAML: text})
    before = snapshot(server)
    ended = octosteps("apply", "--no-prompt", folder=folder, environ=environ(server, OCTOPUS_API_KEY=key))
    check_refused(ended, "ActionTemplateCreate")
    assert before == snapshot(server)


def test_an_unknown_space(server: Emulator, tmp_path: Path) -> None:
    folder = make_library(tmp_path, {})
    check_refused(
        octosteps("plan", "-s", "Defualt", folder=folder, environ=environ(server)), "'Defualt'", "Default"
    )


@contextmanager
def html_server() -> Iterator[str]:
    """A proxy's page where Octopus should be."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html><body><h1>Sign in to Contoso Proxy</h1></body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{page.server_port}"
        page.shutdown()


def test_a_server_that_answers_html(tmp_path: Path) -> None:
    """Something else answers under that address: it is said, not taken for an empty library."""
    folder = make_library(tmp_path, {})
    with html_server() as url:
        ended = octosteps(
            "plan", folder=folder, environ={"OCTOPUS_URL": url, "OCTOPUS_API_KEY": "API-NOBODY"}
        )
    check_refused(ended, url)


def test_usage_faults_exit_2(tmp_path: Path) -> None:
    for words in (["frobnicate"], ["build", "--frobnicate"], ["emulate", "--port", "x"], ["new"]):
        assert octosteps(*words, folder=tmp_path).exit_code == 2
