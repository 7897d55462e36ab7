"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from generator.commands import plan
from generator.workspace import Built, render_known
from tests.scene import known


@pytest.fixture(autouse=True, scope="session")
def built_in_templates_are_rendered_once() -> Iterator[None]:
    """Their files do not change while tests run; a person's command renders them each time, a third of a second."""

    def render(root: Path) -> Mapping[str, Built]:
        return render_known(root) if (root / "step_templates").exists() else known()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "render_known", render)
        yield
