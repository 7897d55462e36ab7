"""One run of a step: how it reads its form, what it leaves behind, and the one way in which it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_fakes import FakeOctopus

from generator.runtime.api import ApiError
from generator.runtime.connection import connect
from generator.runtime.log import Log
from generator.runtime.parameters import Parameters, Secret
from generator.runtime.step import TIMED_OUT, Step, run_step
from generator.runtime.tables import table_lines

ABOUT = {"name": "Octopus - Try", "spec": "step_templates/try.yaml", "id": "guid", "revision": 3}
TABLE = (
    {
        "key": "name",
        "variable": "Try.Name",
        "label": "Name",
        "type": "text",
        "required": True,
        "choices": None,
    },
    {
        "key": "count",
        "variable": "Try.Count",
        "label": "Count",
        "type": "integer",
        "required": False,
        "choices": None,
    },
    {
        "key": "tenant",
        "variable": "Try.Tenant",
        "label": "Tenant",
        "type": "text",
        "required": False,
        "choices": None,
    },
)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts are written where the script runs."""
    monkeypatch.chdir(tmp_path)


def run(main: Callable[[Any], object], variables: dict[str, str]) -> tuple[FakeOctopus, dict[str, Any]]:
    """What Octopus was told, and the result file."""
    octopus = FakeOctopus({"Octopus.Action.Name": "Try it: now", **variables})
    try:
        run_step(main, ABOUT, TABLE, octopus.helpers())
    except SystemExit as ended:
        assert ended.code == -1
    [(path, name)] = octopus.artifacts
    assert "Try it_ now.result.json" == name
    return octopus, json.loads(Path(path).read_text(encoding="utf-8"))


def test_success() -> None:
    def main(parameters: Parameters) -> None:
        parameters.step.output("Greeting", f"Hello {parameters.name} {parameters.count}")
        parameters.step.result["detail"] = ["ä"]

    octopus, result = run(main, {"Try.Name": "  Ada ", "Try.Count": "3"})
    assert ({"Greeting": "Hello Ada 3"}, None) == (octopus.outputs, octopus.failure)
    assert {
        "step": "Octopus - Try",
        "spec": "guid",
        "revision": 3,
        "succeeded": True,
        "failure": None,
        "outputs": {"Greeting": "Hello Ada 3"},
        "detail": ["ä"],
    } == result


def test_failure_is_one_sentence_that_begins_with_its_kind() -> None:
    def main(parameters: Parameters) -> None:
        parameters.step.fail(TIMED_OUT, "Web has run\nfor 2 h")

    octopus, result = run(main, {"Try.Name": "Ada"})
    assert "timed out: Web has run for 2 h" == octopus.failure
    assert {"kind": "timed out", "message": "Web has run\nfor 2 h"} == result["failure"]


def test_refusals_of_the_server_need_no_care_of_the_entry() -> None:
    def main(parameters: Parameters) -> None:
        raise ApiError("GET /api/tasks", 403, "No.", hint="ask for TaskView")

    octopus, _ = run(main, {"Try.Name": "Ada"})
    assert "refused by the server: GET /api/tasks: 403 No. (ask for TaskView)" == octopus.failure


def test_every_bad_value_is_named_before_anything_is_done() -> None:
    def main(parameters: Parameters) -> None:
        raise AssertionError("must not be called")

    octopus, result = run(main, {"Try.Count": "many"})
    assert "misconfigured: Name: a value is required; Count: 'many' is not a whole number" == octopus.failure
    assert result["succeeded"] is False


def test_unresolved_optional_field_is_told() -> None:
    """As a warning; the tenant of the parent is absent so often that it is only a detail."""

    def main(parameters: Parameters) -> None:
        assert parameters.tenant is None

    octopus, _ = run(main, {"Try.Name": "Ada", "Try.Tenant": "#" + "{Typo}"})
    assert 1 == len(octopus.texts("warning"))
    octopus, _ = run(main, {"Try.Name": "Ada", "Try.Tenant": "#" + "{Octopus.Deployment.Tenant.Name}"})
    assert ([], 1) == (octopus.texts("warning"), len(octopus.texts("verbose")))


def test_a_bug_shows_its_traceback() -> None:
    def main(parameters: Parameters) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run_step(main, ABOUT, TABLE, FakeOctopus({"Try.Name": "Ada"}).helpers())


def test_variables() -> None:
    step = Step(FakeOctopus({"A": "1", "B": "x" + "#" + "{B}"}).log(), ABOUT)
    assert ["1", "", ""] == [step.variable("A"), step.variable("B"), step.variable("C")]


def test_artifact_names_are_safe_on_disk() -> None:
    octopus = FakeOctopus()
    Step(octopus.log(), ABOUT).artifact("../Größe: a/b?.json", "ü")
    assert [(".._Gr__e__a_b_.json", ".._Größe_ a_b_.json")] == octopus.artifacts
    assert "ü" == Path(".._Gr__e__a_b_.json").read_text(encoding="utf-8")


def make_form(step: Step, **values: Any) -> Parameters:
    usual = {"server": "https://o", "api_key": Secret("API-X"), "ca_file": None, "space": "Spaces-7"}
    form = Parameters({**usual, **values}, {"api_key": "API key"})
    form.step = step
    return form


def token(seconds: float) -> Secret:
    """An access token that ends in so many seconds."""
    import base64
    import time

    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode().rstrip("=")
    )
    return Secret(f"e30.{claims}.sig")


def test_a_token_that_ends_too_early_is_told_at_the_start() -> None:
    from datetime import timedelta

    octopus = FakeOctopus()
    step = Step(octopus.log(), ABOUT)
    api = connect(
        make_form(step, api_key=token(3000)), timedelta(hours=2), transport=lambda request, timeout: None
    )
    assert "Spaces-7" == api.space
    [warning] = octopus.texts("warning")
    assert warning.startswith("The access token ends in 50 m, but this step may wait for 2 h")
    with pytest.raises(Exception, match="misconfigured: API key: the access token has expired"):
        connect(make_form(step, api_key=token(-5)), timedelta(0), transport=lambda request, timeout: None)


def test_table() -> None:
    assert ["condition  met", "---------  ---", "release    no", "state      yes"] == table_lines(
        ("condition", "met"), [("release", "no"), ("state", "yes")]
    )


def test_log_is_the_only_module_that_touches_the_helpers() -> None:
    runtime = Path(__file__).resolve().parents[2] / "generator" / "runtime"
    others = [file for file in runtime.glob("*.py") if file.name != "log.py"]
    others += (runtime.parents[1] / "templates" / "steps").glob("*.py")
    helpers = set(FakeOctopus().helpers())
    assert others
    assert [] == [file.name for file in others if any(name in file.read_text() for name in helpers)]
    assert Log.__module__ == "generator.runtime.log"
