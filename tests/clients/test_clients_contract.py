"""What our own client and the shipped scripts send is in the contract of an old server, or in the table of newer requests.

The other suites of the client and the scripts are held to it too: see the fixture `held_to_the_contract` in tests/conftest.py.

The contract is the Swagger of Octopus Server 2019.6.7, as the generated client on PyPI holds it; everything beyond it has a
source in `contract.NEWER`. That is what "the oldest Octopus Server that the steps promise to work with is 2020.5" stands on.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generator.commands import apply, plan
from generator.emulator.app import Seen
from tests.clients.contract import NEWER, SWAGGER_2020, operations, uncontracted
from tests.scene import ROOT, Scene, open_scene, own_step

DEPLOY, WAIT, VERIFY = (
    "Octopus - Deploy Release",
    "Octopus - Wait For Deployment",
    "Octopus - Verify Deployment",
)
COORDINATION = """\
projects:
  Shop:
    process: {process}
    steps:
      - key: web
        template: Octopus - Verify Deployment
        name: Verify the web
        environments: [Test]
        worker_pool: Default Worker Pool
        with: {{project: Web, version: same, api_key: "#{{Coordination.ApiKey}}"}}
"""


def test_the_contract_is_read_whole() -> None:
    paths = {item.path for item in operations()}
    assert len(operations()) == len({(item.method, item.path) for item in operations()}) > 600
    assert {"/api/tasks", "/api/{baseSpaceId}/tasks/{id}/cancel", "/api/projects/{idOrSlug}"} <= paths
    assert not any("runbook" in path.lower() for path in paths), "then NEWER is out of date"


@pytest.mark.parametrize(
    ("method", "path", "query", "found"),
    [
        pytest.param("GET", "/api/Spaces-1/tasks", ("ids", "take"), [], id="a list below a space"),
        pytest.param("GET", "/api/tasks", ("states", "project"), [], id="the same without a space"),
        pytest.param("GET", "/api/Spaces-1/Tasks/ServerTasks-1", (), [], id="case does not matter"),
        pytest.param("GET", "/api/Spaces-1/tasks", ("taskss",), ["GET /api/Spaces-1/tasks?taskss"], id="unknown parameter"),
        pytest.param("GET", "/api/spaces/Spaces-1/tasks", (), ["GET /api/spaces/Spaces-1/tasks"], id="the newest spelling"),
        pytest.param("PATCH", "/api/tasks", (), ["PATCH /api/tasks"], id="unknown method"),
        pytest.param(
            "POST",
            "/api/Spaces-1/deployments/create/untenanted/v1",
            (),
            ["POST /api/Spaces-1/deployments/create/untenanted/v1"],
            id="a command of 2022.3",
        ),
        pytest.param("GET", "/api/Spaces-1/projects/Projects-1/runbooks", ("take",), [], id="in the table of newer ones"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_contract_is_found(
    method: str, path: str, query: tuple[str, ...], found: list[str]
) -> None:
    assert found == uncontracted([Seen(method, path, 0.0, query)])


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """What publishing, importing, changing and pruning send, and a deployment with each template that is shipped."""
    with open_scene(speed=20) as scene:
        scene.make_project("Web", steps=[own_step("Work", seconds=20)], releases=["1.0.0", "1.1.0"])
        scene.make_project("Shop", steps=[own_step("Announce")])
        runbook = scene.client.post(
            "runbooks", {"Name": "Nightly", "ProjectId": scene.projects["Shop"]["Id"]}
        )
        before = len(scene.emulator.seen)
        publish_and_import(scene, tmp_path_factory.mktemp("shop"), runbook)
        deploy_everything(scene)
        return scene.emulator.seen[before:]


def publish_and_import(scene: Scene, folder: Path, runbook: dict[str, object]) -> None:
    for _ in range(2):
        assert 0 == apply.run(root=ROOT, environ=scene.environ).exit_code
    file = folder / "coordination.yaml"
    for process in ("deployment", "runbook Nightly"):
        file.write_text(COORDINATION.format(process=process))
        for verb in (plan.run, apply.run):
            assert 0 == verb(root=folder, files=[file], environ=scene.environ).exit_code
    process = scene.client.get(f"runbookProcesses/{runbook['RunbookProcessId']}")
    assert ["Verify the web"] == [step["Name"] for step in process["Steps"]]
    file.write_text("projects:\n  Shop:\n    process: deployment\n    steps: []\n")
    assert 0 == apply.run(root=folder, files=[file], prune=True, environ=scene.environ).exit_code


def deploy_everything(scene: Scene) -> None:
    """Each template in a step that goes well; a child that another deployment has begun; one that fails."""
    for found in scene.client.pages("actiontemplates"):
        scene.templates[found["Name"]] = found
    web = {"project": "Web"}
    steps = [
        scene.step(DEPLOY, "Deploy", {**web, "release": "highest"}),
        scene.step(WAIT, "Wait", {**web, "until": "passed_step", "step_name": "Work"}),
        scene.step(VERIFY, "Verify", {**web, "version": "[1.0,2.0)", "max_age": "1h"}),
    ]
    scene.make_project("Parent", steps=steps, releases=["1.0.0"])
    ended = scene.run("Parent", "1.0.0")
    assert "Success" == ended["State"], scene.log(ended["Id"])
    scene.make_project("Broken", steps=[own_step("Break", outcome="failure")], releases=["1.0.0"])
    steps = [scene.step(DEPLOY, "Deploy", {"project": "Broken", "release": "latest"})]
    scene.make_project("Unlucky", steps=steps, releases=["1.0.0"])
    assert "Failed" == scene.run("Unlucky", "1.0.0")["State"]


def test_every_request_of_ours_is_in_the_contract(requests: list[Seen]) -> None:
    assert [] == uncontracted(requests)


def test_every_newer_request_is_one_that_we_send() -> None:
    """A row for what nobody sends would weaken the sentence about the oldest server."""
    ours = [
        *ROOT.glob("generator/*.py"),
        *ROOT.glob("generator/runtime/*.py"),
        *ROOT.glob("templates/steps/*.py"),
    ]
    text = "".join(path.read_text() for path in ours)
    for _, path in NEWER:
        word = [part for part in path.split("/") if not part.startswith("{")][-1]
        assert any(written in text for written in (f"/{word}", f"{word}/", f'"{word}"')), path


def test_the_documentation_has_the_same_table() -> None:
    text = (ROOT / "docs" / "emulator.md").read_text()
    section = text.partition("## Requests newer than")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+) ([^`]+)`( \(newer\))? \| (.+?) \|", section, re.MULTILINE)
    assert {(method, path): source for method, path, _, source in rows} == NEWER
    marked = {(method, path) for method, path, newer, _ in rows if newer}
    assert marked == {request for request, source in NEWER.items() if source != SWAGGER_2020}
