"""A library of one's own in a folder: small specs whose texts a test changes, and what people do to the published templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generator.octopus import Client
from generator.step_template import SCRIPT_BODY

Document = dict[str, Any]


class OwnLibrary:
    """Specs `Own - Template 1`, `2` ... each with an entry script that says something."""

    def __init__(self, folder: Path, templates: int = 2) -> None:
        self.folder = folder
        (folder / "step_templates").mkdir(parents=True)
        (folder / "templates" / "steps").mkdir(parents=True)
        for number in range(1, templates + 1):
            self.write(number)

    def write(
        self, number: int, *, version: int = 1, says: str = "hello", name: str = "", more: str = ""
    ) -> str:
        """Write the spec and the script of one template; its name."""
        name = name or f"Own - Template {number}"
        (self.folder / "step_templates" / f"own-{number}.yaml").write_text(
            f"id: 00000000-0000-4000-8000-{number:012}\n"
            f"name: {name}\ncategory: own\nversion: {version}\n"
            f"description: Says {says}.\nscript: own_{number}.py\nprefix: Own{number}\nrun_on: worker\nparameters:\n"
            "  whom: {label: Whom, type: text, default: you, help: Who is meant.}\n"
            "  key: {label: Key, type: secret, help: A secret.}\n" + more
        )
        (self.folder / "templates" / "steps" / f"own_{number}.py").write_text(
            f'"""Says {says}."""\n\nfrom __future__ import annotations\n\nfrom typing import Any\n\n\n'
            f'def main(parameters: Any) -> None:\n    parameters.step.log.info("{says}, " + parameters.whom)\n'
            "    assert parameters.key\n"
        )
        return name

    def targets(self, text: str) -> None:
        (self.folder / "octosteps.yaml").write_text(f"targets:\n{text}")


def published(client: Client, name: str = "Own - Template 1") -> Document:
    """The template as the server has it."""
    [document] = [item for item in client.pages("actiontemplates") if item["Name"] == name]
    return document


def edit(
    client: Client, name: str = "Own - Template 1", text: str = "# by people", **fields: Any
) -> Document:
    """A person adds a line to the script in the portal."""
    document = published(client, name)
    script = f"{document['Properties'][SCRIPT_BODY]}{text}\n"
    properties = {**document["Properties"], SCRIPT_BODY: script}
    edited: Document = client.put(
        f"actiontemplates/{document['Id']}", {**document, "Properties": properties, **fields}
    )
    return edited
