"""Publishing 600 templates into an empty space over a link with a round trip of 50 ms, again with nothing changed, and again with
10 changed: time and requests of the whole command, beside a script that asks for one template after another.

That script is what people write who use the API by hand: find each template by its name, then create or save it. It gets the
rendered templates for free, and one open connection; octosteps reads and renders its 600 specs within its time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.building import make_libraries
from benchmarks.distance import far_away
from benchmarks.stopwatch import Command
from generator.emulator import Emulator
from generator.step_template import StepTemplate, to_api
from generator.workspace import render_own

TEMPLATES, CHANGED = 600, 10
ROUND_TRIP = 0.05
BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Cost:
    seconds: float
    requests: int
    writes: int


def cost_of(emulator: Emulator, work: Callable[[], float]) -> Cost:
    """What a piece of work takes, and what of it arrives at the server. `work` gives back its seconds."""
    emulator.app.seen.clear()
    seconds = work()
    seen = list(emulator.app.seen)
    return Cost(
        seconds=seconds, requests=len(seen), writes=sum(one.method in ("POST", "PUT") for one in seen)
    )


def serially(url: str, key: str, templates: Sequence[StepTemplate]) -> float:
    """Seconds of the script by hand: one template after another, a search and, where it differs, a write."""
    begun = time.perf_counter()
    with httpx.Client(base_url=f"{url}/api/Spaces-1/", headers={"X-Octopus-ApiKey": key}, timeout=60) as http:
        for template in templates:
            found = http.get("actiontemplates", params={"partialName": template.name}).json()["Items"]
            there = next((item for item in found if item["Name"] == template.name), None)
            if there is None:
                http.post("actiontemplates", json=to_api(template, "Spaces-1")).raise_for_status()
                continue
            body = to_api(template, "Spaces-1", found=there)
            same = all(
                there["Properties"].get(name) == value
                for name, value in body["Properties"].items()
                if not name.startswith("octosteps.")
            )
            if not same:
                http.put(f"actiontemplates/{there['Id']}", json=body).raise_for_status()
    return time.perf_counter() - begun


def change(library: Path) -> None:
    """Ten of the specs get a new version and other words."""
    for number in range(0, TEMPLATES, TEMPLATES // CHANGED):
        spec = library / "step_templates" / f"step-{number}.yaml"
        spec.write_text(spec.read_text().replace("version: 1", "version: 2"))
        script = library / "templates" / "steps" / f"step_{number}.py"
        script.write_text(script.read_text().replace("str(part_0(0))", "str(part_0(1))"))


def measure() -> list[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as name, Emulator() as near, Emulator() as other:
        library, _ = make_libraries(Path(name))
        with (
            far_away(near.url, round_trip=ROUND_TRIP) as url,
            far_away(other.url, round_trip=ROUND_TRIP) as other_url,
        ):
            environ = {
                **os.environ,
                "HOME": name,
                "OCTOPUS_URL": url,
                "OCTOPUS_API_KEY": near.api_key,
                "OCTOPUS_SPACE": "Default",
            }
            apply = Command(
                words=[str(BIN / "octosteps"), "apply", "--no-prompt", "-f", "json"],
                folder=library,
                environ=environ,
            )
            lines = []
            for title, prepare in (
                ("into an empty space", None),
                ("again, nothing changed", None),
                (f"again, {CHANGED} changed", change),
            ):
                if prepare is not None:
                    prepare(library)
                templates = [built.template for built in render_own(library).values()]
                ours = cost_of(near, apply.seconds)
                theirs = cost_of(other, lambda known=templates: serially(other_url, other.api_key, known))  # type: ignore[misc]
                lines.append(tell(title, ours, theirs))
            lines.append(tell_end(library, environ))
    return lines


def tell(title: str, ours: Cost, theirs: Cost) -> str:
    return (
        f"apply {TEMPLATES} templates, {title}: {ours.seconds:.1f} s, {ours.requests} requests ({ours.writes} writes); "
        f"one after another: {theirs.seconds:.1f} s, {theirs.requests} requests ({theirs.writes} writes); "
        f"{theirs.seconds / ours.seconds:.1f} times as fast, {ours.requests / theirs.requests:.2f} of the requests"
    )


def tell_end(library: Path, environ: Mapping[str, str]) -> str:
    """That all of it is there: what `plan` says at the end, and what it costs."""
    plan = Command(
        words=[str(BIN / "octosteps"), "plan", "--exit-code", "-f", "json"], folder=library, environ=environ
    )
    seconds = plan.seconds()
    return f"plan of {TEMPLATES} published templates: {seconds:.1f} s, nothing to do"
