"""A plan of coordination files as a file: the same promise for the steps in projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, plan
from generator.errors import Refusal
from tests.importer.shop import VERIFY, Shop, step
from tests.scene import open_scene


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield Shop(scene, "Shop", tmp_path_factory.mktemp("shop"))


def test_a_saved_plan_of_steps_is_carried_out_or_stops_when_people_were_faster(shop: Shop) -> None:
    file = shop.folder / "plan.json"

    def carry_out() -> Any:
        return apply.run(root=shop.folder, environ=shop.scene.environ, plan_file=file)

    shop.run(plan.run, step("db", name="Ours"), out=file)
    # What others do to their own steps does not matter.
    shop.edit_step("Smoke test", lambda one: one["Actions"][0].update(IsRequired=True))
    assert carry_out().exit_code == 0
    assert "Ours" in shop.names and shop.step("Smoke test")["Actions"][0]["IsRequired"]

    shop.run(plan.run, step("db", name="Ours", project="Other"), out=file)
    shop.edit_step(
        "Ours", lambda one: one["Actions"][0]["Properties"].update({"VerifyDeployment.Project": "Theirs"})
    )
    with pytest.raises(Refusal, match="this is not what was planned; plan again\n  step 'Shop: Ours'"):
        carry_out()
    assert shop.properties("Ours")["VerifyDeployment.Project"] == "Theirs"


def test_a_coordination_file_that_has_changed_stops_its_plan(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    shop.run(plan.run, step("other", name="Another"), out=file)
    shop.file(step("other", name="Another", project="Elsewhere"))
    with pytest.raises(Refusal, match="step 'Shop: Another': what is wanted has changed"):
        apply.run(root=shop.folder, environ=shop.scene.environ, plan_file=file)
    assert "Another" not in shop.names
