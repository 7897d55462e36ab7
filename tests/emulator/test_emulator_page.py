"""The page for people, over HTTP and in a real browser: live logs, links of the portal, hostile names, phones, forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from browser import DESKTOP, PHONE, Browser
from world import World, lasting, python, step

from generator.emulator import Emulator

HOSTILE = ("<script>alert('x')</script>", "\"><img src=x onerror=alert('y')>", "</pre></details><h1>z</h1>")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """The browser; whatever it complained about last fails the test."""
    yield shared_browser
    complaints = list(shared_browser.complaints)
    shared_browser.leave()  # the server ends with the test, and the page would ask it once more
    assert [] == complaints


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def hostile_task(world: World) -> str:
    """A task whose every name and line is an attack; its id."""
    script = "\n".join(
        [f"print({line!r})" for line in HOSTILE]
        + [f"createartifact('Script.py', {name!r})" for name in HOSTILE]
        + [f"failstep({HOSTILE[1]!r})"]
    )
    project = world.project(HOSTILE[0], step(HOSTILE[1]), python(script, HOSTILE[2]), Description=HOSTILE[0])
    world.set_variables(project)
    release = world.release(project, "1.0.0", ReleaseNotes=HOSTILE[0])
    deployment = world.deploy(release, world.environment(HOSTILE[1]), Comments=HOSTILE[2])
    world.ended(deployment)
    return str(deployment["TaskId"])


# --- what is shown -------------------------------------------------------------------------------------------------


def test_projects_by_environments_with_their_state(world: World, browser: Browser) -> None:
    test, production = world.environment("Test"), world.environment("Production")
    project = world.project("Web", step("One"))
    old, new = world.release(project, "1.0.0"), world.release(project, "2.0.0")
    world.ended(world.deploy(old, test))
    world.ended(world.deploy(old, production))
    world.set_steps(project, step("One", properties={"octosteps.emulator.outcome": "failure"}))
    world.ended(world.deploy(new, test))
    world.ended(world.deploy(world.release(project, "3.0.0"), test))
    browser.open(world.emulator.url)
    cells = browser.evaluate("[...document.querySelectorAll('.board td')].map((cell) => cell.innerText)")
    assert ["3.0.0 Failed", "1.0.0 Success"] == [cell.split("\n")[0] for cell in cells]
    assert "before it: 2.0.0" in cells[0]
    assert ["Project", "Test", "Production"] == browser.evaluate(
        "[...document.querySelectorAll('.board thead th')].map((cell) => cell.innerText)"
    )


def test_the_log_grows_without_reloading_or_moving(world: World, browser: Browser, tmp_path: Path) -> None:
    """New lines appear, what a person opened or closed stays so, and the page stays where it was."""
    go = tmp_path / "go"
    script = (
        "import pathlib, time\nfor number in range(200):\n    print('line', number)\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(1)\nprint('the last line')"
    )
    deployment = world.deploy(
        world.release(world.project("Web", step("Quick"), python(script))), world.environment()
    )
    world.until_state(deployment, "Executing")
    browser.open(f"{world.emulator.url}/tasks/{deployment['TaskId']}", size=PHONE)
    browser.until("document.body.innerText.includes('line 199')")
    browser.evaluate("window.mark = 1; document.querySelector('summary').click(); scrollTo(0, 300)")
    go.touch()
    browser.until("document.body.innerText.includes('the last line')")
    browser.until("document.body.dataset.live == 'no'")
    assert (1, False, 300) == (
        browser.evaluate("window.mark"),
        browser.evaluate("document.querySelector('details').open"),
        browser.evaluate("scrollY"),
    )
    assert "Success" in browser.evaluate("document.getElementById('facts').innerText")


def test_it_works_without_a_script(world: World, browser: Browser) -> None:
    task = world.deployed(python("print('hello')"))
    browser.open(f"{world.emulator.url}/tasks/{task['Id']}", scripts=False)
    assert "hello" in browser.text()
    browser.open(world.emulator.url, scripts=False)
    assert "Deploy Web release 1.0.0 to Test" in browser.text()
    assert '<noscript><meta http-equiv="refresh"' in httpx.get(world.emulator.url).text


@pytest.mark.parametrize("size", [pytest.param(PHONE, id="phone"), pytest.param(DESKTOP, id="desktop")])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_scrolls_sideways(
    world: World, browser: Browser, size: tuple[int, int], dark: bool, tmp_path: Path
) -> None:
    """Long names without a space and long lines wrap; the two colour schemes differ."""
    long = "Deploy" + "VeryLongNameWithoutSpaces" * 4
    project = world.project(long[:150], python(f"print({'x' * 2000!r})", long))
    first, *_ = [
        world.environment(name + long[:60]) for name in ("Development", "Test", "Staging", "Production")
    ]
    world.ended(world.deploy(world.release(project), first))
    for path in ("/", "/tasks/ServerTasks-1"):
        browser.open(world.emulator.url + path, size=size, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert size[0] == browser.evaluate("innerWidth")
    browser.picture(tmp_path / "page.png")
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background.split("(")[1].split(",")[0]) < 60) == dark


def contrasts(browser: Browser) -> dict[str, float]:
    """The contrast of the text of each kind of element with what is behind it (WCAG 2.2, relative luminance)."""
    found: dict[str, float] = browser.evaluate(
        """(() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (element) => {
            for (; element; element = element.parentElement) {
              const colour = parse(getComputedStyle(element).backgroundColor);
              if (colour.length < 4 || colour[3] > 0) return colour;
            }
          };
          const all = {};
          for (const element of document.querySelectorAll('body *')) {
            if (![...element.childNodes].some((node) => node.nodeType == 3 && node.data.trim())) continue;
            if (!element.checkVisibility()) continue;
            const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const name = element.tagName + '.' + element.className;
            all[name] = Math.min(all[name] ?? 99, ratio);
          }
          return all;
        })()"""
    )
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_can_be_read(world: World, browser: Browser, dark: bool) -> None:
    """Every text has a contrast of at least 4.5 to 1 with what is behind it (WCAG 2.2, AA)."""
    script = "printverbose('v')\nprint('i')\nprintwarning('w')\nprinthighlight('h')\nfailstep('f')"
    world.deployed(python(script), step("Never"))
    for path in ("/", "/tasks/ServerTasks-1"):
        browser.open(world.emulator.url + path, dark=dark)
        browser.evaluate("document.getElementById('verbose')?.click()")
        found = contrasts(browser)
        assert len(found) > 8
        assert {} == {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5}


# --- the portal's links --------------------------------------------------------------------------------------------


def test_links_of_the_portal_lead_to_the_right_page(world: World, browser: Browser) -> None:
    """The API's `Web` links hide what they mean behind a '#'."""
    deployment = world.deploy(
        world.release(project := world.project("Web", step("One"))), world.environment()
    )
    task = world.ended(deployment)
    page = f"{world.emulator.url}/tasks/{task['Id']}"
    for link in (world.get(f"deployments/{deployment['Id']}")["Links"]["Web"], task["Links"]["Web"]):
        browser.open(world.emulator.url + link)
        assert page == browser.until(
            f"location.href == '{page}' && document.body.innerText && location.href"
        ), link
    browser.open(world.emulator.url + world.get(f"projects/{project['Id']}")["Links"]["Web"])
    assert f"{world.emulator.url}/#{project['Id']}" == browser.until(
        "location.pathname == '/' && location.href"
    )


@pytest.mark.emulator(virtual_directory="octopus")
def test_below_a_virtual_directory(world: World, browser: Browser) -> None:
    task = world.deployed(step("One"))
    origin = world.emulator.url.removesuffix("/octopus")
    browser.open(origin + task["Links"]["Web"])
    browser.until(f"location.pathname == '/octopus/tasks/{task['Id']}'")
    assert "rgba(0, 0, 0, 0)" != browser.evaluate("getComputedStyle(document.body).backgroundColor"), "styled"


def test_without_a_script_the_portals_links_show_the_list(world: World, browser: Browser) -> None:
    task = world.deployed(step("One"))
    browser.open(world.emulator.url + task["Links"]["Web"], scripts=False)
    assert "Deploy Web release 1.0.0 to Test" in browser.text()


# --- hostile content -----------------------------------------------------------------------------------------------


def test_hostile_names_and_lines_are_only_text(world: World, browser: Browser) -> None:
    """Names of projects, steps, environments and artifacts, log lines, errors and comments: shown as they are, never obeyed."""
    task = hostile_task(world)
    for path in ("/", f"/tasks/{task}"):
        browser.open(world.emulator.url + path)
        text = browser.text()
        for attack in HOSTILE if path != "/" else HOSTILE[:2]:
            assert attack in text, (path, attack)
        assert 1 == browser.evaluate("document.scripts.length")
        assert 0 == browser.evaluate(
            "document.images.length + document.querySelectorAll('[onerror], pre').length"
        )
        assert 1 == browser.evaluate("document.querySelectorAll('h1').length")


def test_an_artifact_is_a_download_with_its_own_name(world: World) -> None:
    task = hostile_task(world)
    page = world.web.get(f"/tasks/{task}").text
    links = re.findall(r'href="(/artifacts/Artifacts-\d+)"', page)
    assert len(HOSTILE) == len(links)
    for link, name in zip(links, HOSTILE, strict=True):
        answer = world.web.get(link)
        assert b"createartifact" in answer.content
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith("attachment; filename*=UTF-8''")
        assert name == unquote(disposition.split("''", 1)[1])
        assert ("application/octet-stream", "sandbox", "nosniff") == (
            answer.headers["Content-Type"],
            answer.headers["Content-Security-Policy"],
            answer.headers["X-Content-Type-Options"],
        )


def test_the_policy_forbids_everything_that_the_page_does_not_need(world: World) -> None:
    policy = world.web.get("/").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert "'none'" == rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"]
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:1234", 200, id="localhost"),
        pytest.param("[::1]:1234", 200, id="loopback of version 6"),
        pytest.param("evil.example.com", 403, id="a foreign name for loopback"),
        pytest.param("127.0.0.1.evil.example.com", 403, id="a name that begins like loopback"),
        pytest.param("[", 403, id="no host at all"),
    ],
)
def test_only_loopback_names_see_the_page(world: World, host: str, status: int) -> None:
    world.deployed(step("One"))
    for path in ("/", "/tasks/ServerTasks-1", "/tasks/ServerTasks-1/log"):
        assert status == httpx.get(world.emulator.url + path, headers={"Host": host}).status_code


# --- forms ---------------------------------------------------------------------------------------------------------


def test_a_person_answers_an_intervention(world: World, browser: Browser) -> None:
    approve = step(
        "Approve", kind="Octopus.Manual", properties={"Octopus.Action.Manual.Instructions": "Look first"}
    )
    deployment = world.deploy(
        world.release(world.project("Web", approve, step("After"))), world.environment()
    )
    world.until(lambda: bool(world.task(deployment).interruptions))
    page = f"{world.emulator.url}/tasks/{deployment['TaskId']}"
    browser.open(page)
    assert "Look first" in browser.text() and "waits for a person" in browser.text()
    browser.evaluate("document.querySelector('textarea').value = 'looks <b>good</b>'")
    browser.evaluate("document.querySelector('button[value=Proceed]').click()")
    browser.until("!document.querySelector('.interruption') && document.readyState == 'complete'")
    assert "Success" == world.ended(deployment)["State"]
    [interruption] = world.get("interruptions")["Items"]
    assert ("Proceed", "looks <b>good</b>") == (
        interruption["Form"]["Values"]["Result"],
        interruption["Form"]["Values"]["Notes"],
    )


def test_what_a_person_types_is_not_thrown_away(world: World, browser: Browser) -> None:
    """The page refreshes around a form that is being filled in."""
    project = world.project("Web", step("Approve", kind="Octopus.Manual"))
    deployment = world.deploy(world.release(project), world.environment())
    world.until(lambda: bool(world.task(deployment).interruptions))
    browser.open(f"{world.emulator.url}/tasks/{deployment['TaskId']}")
    before = browser.evaluate("document.getElementById('clock').innerText")
    browser.evaluate("document.querySelector('textarea').value = 'half a sent'")
    browser.until(f"document.getElementById('clock').innerText != {before!r}")
    assert "half a sent" == browser.evaluate("document.querySelector('textarea').value")
    world.post(f"tasks/{deployment['TaskId']}/cancel")


def test_a_person_cancels_a_task(world: World, browser: Browser) -> None:
    deployment = world.deploy(world.release(world.project("Web", lasting(36000))), world.environment())
    world.until_state(deployment, "Executing")
    browser.open(f"{world.emulator.url}/tasks/{deployment['TaskId']}")
    browser.evaluate("document.querySelector('#facts button').click()")
    browser.until("document.getElementById('facts')?.innerText.includes('Canceled')")
    assert "Canceled" == world.ended(deployment)["State"]


@pytest.mark.parametrize("token", [None, "", "wrong", "wröng"])
def test_forms_of_others_are_refused(world: World, token: str | None) -> None:
    """A site that a person visits can send a form here, but it has never seen the page's token."""
    deployment = world.deploy(world.release(world.project("Web", lasting(36000))), world.environment())
    world.until_state(deployment, "Executing")
    path = f"/tasks/{deployment['TaskId']}/cancel"
    answer = world.web.post(path, data={} if token is None else {"token": token})
    assert (403, "Executing") == (answer.status_code, world.get(f"tasks/{deployment['TaskId']}")["State"])
    good = world.web.post(path, data={"token": token_of(world.web.get(path.removesuffix("/cancel")).text)})
    assert 303 == good.status_code
    assert "Canceled" == world.ended(deployment)["State"]


# --- queues and lists ----------------------------------------------------------------------------------------------


@pytest.mark.emulator(task_cap=1)
def test_a_queued_task_says_where_it_stands_and_what_it_waits_for(world: World) -> None:
    where = world.environment()
    made = [
        world.deploy(world.release(world.project(name, lasting(36000))), where) for name in ("A", "B", "C")
    ]
    world.until_state(made[0], "Executing")
    page = world.web.get(f"/tasks/{made[2]['TaskId']}").text
    assert "2 of 2 in the queue" in page
    assert 2 == len(re.findall(r'<li><a href="/tasks/ServerTasks-[12]">', page))
    assert "1 of 1 slots taken, 2 queued" in world.web.get("/").text


def test_older_tasks_are_a_link_away(world: World) -> None:
    project, where = world.project("Web", step("One")), world.environment()
    for number in range(53):
        world.ended(world.deploy(world.release(project, f"1.0.{number}"), where))
    first = world.web.get("/").text
    assert 50 == first.count("<li>\n") and "/?skip=50#tasks" in first
    second = world.web.get("/?skip=50").text
    assert "release 1.0.0 to" in second and "release 1.0.52 to" not in second.split('id="tasks"')[1]
    assert "/?skip=0#tasks" in second


def test_the_banner_tells_that_the_server_is_gone(browser: Browser) -> None:
    with Emulator() as emulator:
        browser.open(emulator.url)
        assert browser.evaluate("document.getElementById('away').hidden")
    browser.until("!document.getElementById('away').hidden")
    browser.complaints.clear()  # the browser, too, says that nobody answers
    assert "does not answer" in browser.text()
