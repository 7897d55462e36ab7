"""Building 600 specs with a 200-line script each, beside jenkins-job-builder's `test` of 600 job files of the same size.

jenkins-job-builder is the nearest relative: YAML in, one rendered document a file out. Both write into a folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
import uuid
from pathlib import Path

from benchmarks.stopwatch import Command, compare

SPECS = 600
BIN = Path(sys.executable).parent

SPEC = """\
id: {id}
name: Bench - Step {number}
category: bench
version: 1
description: |
  Step {number} of the benchmark.
script: step_{number}.py
prefix: Bench{number}
run_on: worker
parameters:
  project: {{label: Project, type: text, required: true, help: The project.}}
  timeout: {{label: Timeout, type: duration, default: 30m, help: How long.}}
  loud: {{label: Loud, type: boolean, default: false, help: Whether.}}
"""
JOB = """\
- job:
    name: bench-step-{number}
    description: |
      Step {number} of the benchmark.
    parameters:
      - string: {{name: project, default: '', description: The project.}}
      - string: {{name: timeout, default: 30m, description: How long.}}
      - bool: {{name: loud, default: false, description: Whether.}}
    builders:
      - shell: |
{script}
"""


def make_script(number: int) -> str:
    """A script of 200 lines: functions that call each other, as people's scripts are."""
    head = ['"""Step of the benchmark."""', "", "from __future__ import annotations", "", ""]
    body: list[str] = []
    for index in range(38):
        following = f"part_{index + 1}(value + {index})" if index < 37 else "value"
        body += [
            f"def part_{index}(value):",
            f'    """Part {index} of step {number}."""',
            f"    return {following}",
            "",
            "",
        ]
    foot = [
        "def main(parameters):",
        "    step = parameters.step",
        "    step.log.info(parameters.project)",
        "    step.log.info(str(parameters.timeout) + str(parameters.loud))",
        "    step.log.info(str(part_0(0)))",
    ]
    return "\n".join(head + body + foot) + "\n"


def make_libraries(folder: Path) -> tuple[Path, Path]:
    """A library of ours and a folder of job files with the same scripts."""
    ours, theirs = folder / "ours", folder / "theirs"
    for part in (ours / "step_templates", ours / "templates" / "steps", theirs):
        part.mkdir(parents=True)
    for number in range(SPECS):
        script = make_script(number)
        spec = SPEC.format(id=uuid.UUID(int=number + 1, version=4), number=number)
        (ours / "step_templates" / f"step-{number}.yaml").write_text(spec)
        (ours / "templates" / "steps" / f"step_{number}.py").write_text(script)
        job = JOB.format(number=number, script=textwrap.indent(script.replace("{", "{{"), " " * 10))
        (theirs / f"step-{number}.yaml").write_text(job)
    return ours, theirs


def measure() -> list[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = make_libraries(folder)
        environ = {**os.environ, "HOME": name}

        def forget() -> None:
            shutil.rmtree(ours / ".octosteps", ignore_errors=True)
            shutil.rmtree(ours / "build", ignore_errors=True)

        build = [str(BIN / "octosteps"), "build"]
        cold = Command(words=build, folder=ours, environ=environ, before=forget)
        warm = Command(words=build, folder=ours, environ=environ)
        jobs = [str(BIN / "jenkins-jobs"), "test", "-r", str(theirs), "-o", str(folder / "out")]
        relative = Command(words=jobs, folder=theirs, environ=environ)
        first, again = compare(cold, relative, runs=3), compare(warm, relative, runs=3)
    return [
        f"build {SPECS} specs, cold: {first.ours:.2f} s; jenkins-jobs test: {first.theirs:.2f} s; "
        f"{first.ratio:.1f} times as fast (at least 4)",
        f"build {SPECS} specs, nothing changed: {again.ours:.2f} s; {again.ratio:.1f} times as fast (at least 20)",
    ]
