"""A rendered script of each built-in step template, under every CPython that was found, against the emulator."""

from __future__ import annotations

from generator.emulator.interpreters import Interpreter
from generator.locks import make_lock_set
from tests.scene import known, open_scene, own_step

CHILD = "Größe – 部署"
DEPLOY, WAIT, VERIFY, ORPHANS, RUN, ACQUIRE, RELEASE = (
    "Octopus - Deploy Release",
    "Octopus - Wait For Deployment",
    "Octopus - Verify Deployment",
    "Octopus - Cancel Orphans",
    "Octopus - Run Runbook",
    "Octopus - Acquire Lock",
    "Octopus - Release Lock",
)


def test_every_built_in_template_runs(interpreter: Interpreter, python: str) -> None:
    """Deploy, wait and verify in one deployment, a non-ASCII project included: all succeed and set their outputs."""
    with open_scene(interpreter=python, speed=5) as scene:
        scene.make_project(CHILD, steps=[own_step("Arbeiten", seconds=5)], releases=["1.0.0", "1.2.0"])
        scene.make_runbook(CHILD, "Räumen", [own_step("Fegen")])
        version = "import sys; print(sys.version.split()[0]); set_octopusvariable('Version', sys.version.split()[0])"
        make_lock_set(scene.client)
        steps = [
            scene.step(ACQUIRE, "Take", {"lock": CHILD, "mode": "shared by up to 2"}),
            scene.step(DEPLOY, "Deploy", {"project": CHILD, "release": "highest"}),
            scene.step(WAIT, "Wait", {"project": CHILD, "until": "passed_step", "step_name": "Arbeiten"}),
            scene.step(VERIFY, "Verify", {"project": CHILD, "version": "[1.1,2.0)", "max_age": "1h"}),
            scene.step(RUN, "Run", {"project": CHILD, "runbook": "Räumen"}),
            scene.step(ORPHANS, "Clean up", {}),
            scene.step(RELEASE, "Give back", {"lock": CHILD}),
            python_step("Which Python", version),
        ]
        scene.make_project("Parent", steps=steps, releases=["1.0.0"])
        ended = scene.run("Parent", "1.0.0")
        log = scene.log(ended["Id"])
        assert ended["State"] == "Success", log
        assert not ended["HasWarningsOrErrors"], log
        assert f"Info: {'.'.join(map(str, interpreter.version))}" in log, log
        results = {
            artifact["Filename"]: scene.client.get(f"artifacts/{artifact['Id']}/content")
            for artifact in scene.client.pages("artifacts", regarding=ended["Id"])
        }
        outputs = {name: document["outputs"] for name, document in results.items()}
        assert outputs["Deploy.result.json"]["Version"] == "1.2.0"
        assert outputs["Deploy.result.json"]["Changed"] == "True"
        for template, result in (
            (DEPLOY, "Deploy"),
            (WAIT, "Wait"),
            (VERIFY, "Verify"),
            (RUN, "Run"),
            (ORPHANS, "Clean up"),
            (ACQUIRE, "Take"),
            (RELEASE, "Give back"),
        ):
            assert set(outputs[f"{result}.result.json"]) == set(known()[template].spec.outputs)


def python_step(name: str, script: str) -> dict[str, object]:
    """A Python step that people wrote."""
    properties = {
        "Octopus.Action.RunOnServer": "true",
        "Octopus.Action.Script.ScriptSource": "Inline",
        "Octopus.Action.Script.Syntax": "Python",
        "Octopus.Action.Script.ScriptBody": script,
    }
    action = {"Name": name, "ActionType": "Octopus.Script", "Properties": properties}
    return {"Name": name, "Properties": {}, "Actions": [action]}
