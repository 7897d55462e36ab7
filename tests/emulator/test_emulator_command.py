"""`octosteps emulate` as a person starts it, and the page that a person looks at."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from world import World, python, step

COMMAND = [sys.executable, "-m", "generator", "emulate"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
def test_it_says_where_it_is_and_serves_until_it_is_stopped(number: signal.Signals) -> None:
    arguments = ["--port", "0", "--api-key", "API-MINE", "-f", "json"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            assert "API-MINE" == facts["apiKey"]
            headers = {"X-Octopus-ApiKey": facts["apiKey"]}
            assert 200 == httpx.get(f"{facts['url']}/api/users/me", headers=headers).status_code
            process.send_signal(number)
            rest, errors = process.communicate(timeout=20)
            assert (0, "", "") == (process.returncode, rest, errors)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ["--api-key", "secret"],
            "must be API- followed by capital letters and digits",
            id="impossible key",
        ),
        pytest.param(["--speed", "0"], "speed", id="no speed"),
        pytest.param(["--port", "70000"], "70000", id="no such port"),
        pytest.param(["--task-cap", "0"], "task", id="no slots"),
    ],
)
def test_senseless_options_are_refused(arguments: list[str], expected: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode in (1, 2)
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60)
    assert 1 == ended.returncode
    assert f"port {port} cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


# --- the page ------------------------------------------------------------------------------------------------------


def test_the_page_shows_projects_by_environments_and_links_to_logs(world: World) -> None:
    world.deployed(python("print('hello <b>you</b> & me')\ncreateartifact('Script.py', 'a<b.txt')"))
    page = world.web.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Web" in page.text and "1.0.0" in page.text and "Success" in page.text
    [link] = set(re.findall(r'href="(/tasks/ServerTasks-1)"', page.text))
    task = world.web.get(link).text
    assert "hello &lt;b&gt;you&lt;/b&gt; &amp; me" in task
    assert "a&lt;b.txt" in task
    assert "<b>you</b>" not in task


def test_names_cannot_put_markup_into_the_page(world: World) -> None:
    evil = "<script>alert(1)</script>"
    project = world.project(evil, step(evil))
    world.ended(world.deploy(world.release(project), world.environment(evil)))
    for path in ("/", "/tasks/ServerTasks-1"):
        text = world.web.get(path).text
        assert "<script>" not in text, path
        assert "&lt;script&gt;" in text, path


@pytest.mark.unknown_requests
def test_a_page_that_does_not_exist(world: World) -> None:
    assert 404 == world.web.get("/tasks/ServerTasks-99").status_code
    assert 404 == world.web.get("/favicon.ico").status_code
