"""`octosteps demo`: the whole way on the embedded emulator, and nothing faked.

It builds the step templates, starts the emulator, publishes, imports by the example coordination file, and deploys. The scripts
that run are the ones that were built, started as Octopus' runner starts them, calling the emulator over HTTP. What is made up
is only what people would have had already: four projects with a step or two of their own, and their releases. They stand in
examples/shop/scenario.yaml, which `octosteps emulate --scenario` serves too.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from generator.commands import apply, build, plan
from generator.emulator import Emulator
from generator.emulator.scenario import read_scenario
from generator.emulator.seeding import Seeding
from generator.errors import Refusal
from generator.octopus.client import Client, connect
from generator.octopus.records import Document
from generator.outcome import Outcome, Part, Table

Tell = Callable[[Part], None]

LONGEST = 300.0
PACKAGE = Path(__file__).resolve().parent.parent
STATES_THAT_END = frozenset({"Success", "Failed", "Canceled", "TimedOut"})


def run(*, tell: Tell) -> Outcome:
    """Show the main job from spec to deployment. Exit code 0 when everything went as it should, the one refusal included.

    `tell` gets each line or table as soon as it is known. In a checkout the library there is built in place; an installed
    octosteps builds a copy of its own library in a temporary folder, and writes nowhere else.
    """
    scenario = read_scenario(find_example("scenario.yaml"), environ={}, templates=dict)
    with open_library() as library, Emulator(speed=scenario.speed, task_cap=scenario.task_cap) as emulator:
        scene = Scene(library=library, emulator=emulator, tell=tell)
        people = Seeding(scenario, emulator)
        people.make_world()
        scene.build()
        scene.publish()
        scene.import_steps()
        # Only now: a release freezes the process that it finds.
        people.make_releases()
        with connect(emulator.url, api_key=emulator.api_key) as client:
            return scene.deploy(client)


@contextmanager
def open_library() -> Iterator[Path]:
    """The folder whose library the demo builds: the checkout, or a temporary copy of what is installed."""
    checkout = PACKAGE.parent
    if (checkout / "step_templates").is_dir() and (checkout / "templates").is_dir():
        yield checkout
        return
    with tempfile.TemporaryDirectory(prefix="octosteps-demo-") as folder:
        for part in ("step_templates", "templates"):
            shutil.copytree(PACKAGE / part, Path(folder) / part)
        yield Path(folder)


def find_example(name: str) -> Path:
    """A file of the example: in the package once installed, beside it in a checkout."""
    for place in (PACKAGE, PACKAGE.parent):
        example = place / "examples" / "shop" / name
        if example.is_file():
            return example
    raise Refusal(f"the example's {name} is missing from this installation: install octosteps again")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The acts of the demo, over one library and one emulator."""

    library: Path
    emulator: Emulator
    tell: Tell
    seen: dict[str, str] = field(default_factory=dict)  # task id -> the state that was told last

    @property
    def environ(self) -> Mapping[str, str]:
        return {"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.emulator.api_key}

    def title(self, text: str, command: str = "") -> None:
        self.tell(f"\n== {text}")
        if command:
            self.tell(f"$ {command}")

    def show(self, outcome: Outcome) -> Outcome:
        for part in outcome.parts:
            self.tell(part)
        return outcome

    def build(self) -> None:
        self.title("The step templates, from their specs", "octosteps build")
        self.show(build.run(root=self.library))

    def publish(self) -> None:
        self.title(f"The library of the emulated Octopus Server at {self.emulator.url}", "octosteps plan")
        self.show(plan.run(root=self.library, environ=self.environ))
        self.title("Publish", "octosteps apply")
        self.show(apply.run(root=self.library, environ=self.environ))
        self.title("Once more: nothing to do", "octosteps plan --exit-code")
        again = self.show(plan.run(root=self.library, environ=self.environ, exit_code=True))
        expect(again.exit_code == 0, "the second plan is not empty")

    def import_steps(self) -> None:
        example = find_example("coordination.yaml")
        self.title("The steps, into four cooperating projects", f"octosteps apply {example.name}")
        self.show(apply.run(root=self.library, files=[example], environ=self.environ))
        again = plan.run(root=self.library, files=[example], environ=self.environ, exit_code=True)
        expect(again.exit_code == 0, "the second plan of the steps is not empty")

    def deploy(self, client: Client) -> Outcome:
        self.title("Deploy Shop to Test")
        self.tell(
            "Shop deploys Web and Search side by side; each of the two needs Database and finds it not deployed."
        )
        parent = deploy(client, "Shop", "2026.11.1", "Test")
        self.watch(client, parent)
        self.title("Shop's task log, as Octopus shows it")
        self.show_log(client, parent)
        expect(read_task(client, parent)["State"] == "Success", "Shop's deployment to Test did not succeed")

        self.title("Database: needed twice, deployed once")
        for asker in ("Web", "Search"):
            self.tell(f"In {asker}'s log:")
            self.show_step(client, asker, "Database is there")
        tasks = [read_task(client, made["TaskId"]) for made in deployments_of(client, "Database")]
        carried_out = [task for task in tasks if task["StartTime"]]
        withdrawn = f"; {len(tasks) - len(carried_out)} more was withdrawn from the queue before it began"
        self.tell(
            f"The server carried out {len(carried_out)} deployment of Database"
            + (withdrawn if len(tasks) > len(carried_out) else "")
            + "."
        )
        expect(len(carried_out) == 1, f"Database was deployed {len(carried_out)} times")

        self.title("Search waited until Web had passed the step Deploy site")
        self.show_step(client, "Search", "Site is up")

        self.title("Deploy Shop to Production: refused, and that is the point")
        self.tell(
            "Production wants Database [2.0,3.0) proven in Test; Test has 1.4.0. This deployment must fail."
        )
        refused = deploy(client, "Shop", "2026.11.1", "Production")
        self.watch(client, refused)
        task = read_task(client, refused)
        self.show_log(client, refused)
        expect(task["State"] == "Failed", "the wrong version was not refused")
        expect(
            "[2.0,3.0)" in task["ErrorMessage"],
            f"the refusal does not name the version: {task['ErrorMessage']}",
        )
        self.tell(f"Failed as it should: {task['ErrorMessage']}")

        self.title("All deployments")
        table = report(client)
        self.tell(table)
        expect(not self.emulator.refused, f"the emulator did not know: {', '.join(self.emulator.refused)}")
        return Outcome(
            data={"deployments": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}
        )

    def watch(self, client: Client, task_id: str) -> None:
        """Tell every change of state until the task has ended. The states come from the server, as a person would look."""
        seen = self.seen
        deadline = time.monotonic() + LONGEST
        while True:
            for task in reversed(list(client.pages("tasks", name="Deploy"))):
                if seen.get(task["Id"]) != task["State"]:
                    seen[task["Id"]] = task["State"]
                    self.tell(f"  {task['Description']}: {task['State']}")
            if seen.get(task_id) in STATES_THAT_END:
                return
            expect(time.monotonic() < deadline, f"{task_id} has not ended after {LONGEST:.0f} s")
            time.sleep(0.2)

    def show_log(self, client: Client, task_id: str) -> None:
        details = client.get(f"tasks/{task_id}/details", verbose="false")
        for activity in details["ActivityLogs"]:
            for line in log_lines(activity):
                self.tell(line)

    def show_step(self, client: Client, project: str, step: str) -> None:
        """What the log of the project's newest deployment says about one step."""
        [newest, *_] = deployments_of(client, project)
        details = client.get(f"tasks/{newest['TaskId']}/details", verbose="false")
        [activity] = details["ActivityLogs"]
        for child in activity["Children"]:
            if child["Name"].endswith(f": {step}"):
                for line in log_lines(child, depth=1):
                    self.tell(line)


def expect(held: bool, otherwise: str) -> None:
    if not held:
        raise Refusal(f"the demo did not go as it should: {otherwise}")


def deploy(client: Client, project: str, version: str, environment: str) -> str:
    """The id of the task that deploys this release there."""
    found = client.get(f"projects/{project.lower()}")
    release = client.get(f"projects/{found['Id']}/releases/{version}")
    [where] = [item for item in client.pages("environments") if item["Name"] == environment]
    made = client.post("deployments", {"ReleaseId": release["Id"], "EnvironmentId": where["Id"]})
    return str(made["TaskId"])


def read_task(client: Client, task_id: str) -> Document:
    return client.get(f"tasks/{task_id}")


def deployments_of(client: Client, project: str) -> list[Document]:
    found = client.get(f"projects/{project.lower()}")
    return list(client.pages("deployments", projects=found["Id"]))


def log_lines(activity: Document, depth: int = 0) -> Iterator[str]:
    """One activity of a task's log as indented text, its messages with their times, then what is below it."""
    margin = "  " * depth
    yield f"{margin}{activity['Name']}: {activity['Status']}"
    for element in activity.get("LogElements", ()):
        level = "" if element["Category"] == "Info" else f"{element['Category']}: "
        for text in element["MessageText"].splitlines():
            yield f"{margin}  {clock_time(element['OccurredAt'])}  {level}{text}"
    for child in activity.get("Children", ()):
        yield from log_lines(child, depth + 1)


def clock_time(moment: str) -> str:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).strftime("%H:%M:%S")


def report(client: Client) -> Table:
    """Every deployment, oldest first: how long it was queued and how long it ran, by the server's clock."""
    environments = {item["Id"]: item["Name"] for item in client.pages("environments")}
    projects = {item["Id"]: item["Name"] for item in client.pages("projects")}
    rows = []
    for deployment in reversed(list(client.pages("deployments"))):
        task = read_task(client, deployment["TaskId"])
        release = client.get(f"releases/{deployment['ReleaseId']}")
        rows.append(
            (
                projects[deployment["ProjectId"]],
                release["Version"],
                environments[deployment["EnvironmentId"]],
                task["State"],
                seconds_between(task["QueueTime"], task["StartTime"]),
                seconds_between(task["StartTime"], task["CompletedTime"]),
            )
        )
    return Table(columns=("project", "release", "environment", "state", "queued", "ran"), rows=rows)


def seconds_between(start: str | None, end: str | None) -> str | None:
    if not start or not end:
        return None
    begun, ended = (datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return f"{(ended - begun).total_seconds():.0f} s"
