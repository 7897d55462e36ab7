"""Which release goes where: every way of choosing one, by place, with the order that decided told in words."""

from __future__ import annotations

import re
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from generator.runtime.api import Api
from generator.runtime.deployments import read_release_of, succeeded_deployments
from generator.runtime.destinations import Phase, lifecycle_of, phases_of
from generator.runtime.lookup import NotFound, Place, find_named
from generator.runtime.record import Record
from generator.runtime.releases import ReleaseChoice, choose_release, parse_release_choice, within
from generator.runtime.versions import version_or_none

IN = r"(?i)in\s+(?P<name>\S.*)"
CREATE = r"(?i)create(?:\s+(?P<number>\S+))?"
PREVIOUS_PHASE = "previous phase"
ORDER_IN_WORDS = {
    "latest": "by creation, the newest first",
    "highest": "by semantic versioning, the greatest first",
    "range": "by semantic versioning, the greatest of that range first",
    "exact": "exactly this number",
    "same": "exactly this number",
}


def parse_deploy_choice(text: str) -> ReleaseChoice:
    """Like `parse_release_choice`, and `in Test`, `in previous phase`, `create`, `create 1.2.3`, `create same`."""
    word = " ".join(text.split())
    if match := re.fullmatch(CREATE, word):
        return ReleaseChoice("create", word, number=match.group("number") or "")
    if match := re.fullmatch(IN, word):
        name = match.group("name")
        return ReleaseChoice("in", word, number=PREVIOUS_PHASE if name.lower() == PREVIOUS_PHASE else name)
    return parse_release_choice(text)


def parse_prerelease_filter(text: str) -> Callable[[str], bool]:
    """`none`, `only`, or a pattern for the pre-release such as `rc*`: whether a release of that number may be chosen."""
    import fnmatch

    word = text.lower()

    def admits(number: str) -> bool:
        version = version_or_none(number)
        if version is None:
            return False
        if word in ("none", "only"):
            return bool(version.prerelease) is (word == "only")
        return bool(version.prerelease) and fnmatch.fnmatchcase(".".join(version.prerelease).lower(), word)

    return admits


class Chosen(Record):
    """The release for one place, and how it was found."""

    release: Mapping[str, Any]
    how: str


class Chooser:
    """Chooses the release for one place after the other; what does not depend on the place is looked up once."""

    def __init__(
        self,
        api: Api,
        project: Mapping[str, Any],
        choice: ReleaseChoice,
        channel: Optional[Mapping[str, Any]],
        own_number: str,
        admits: Optional[Callable[[str], bool]] = None,
        create: Callable[[], Chosen] = lambda: Chosen({}, ""),
    ) -> None:
        self.api = api
        self.project = project
        self.choice = choice
        self.channel = channel
        self.own_number = own_number
        self.admits = admits
        self.create = create
        self._everywhere: Optional[Chosen] = None
        self._phases: Optional[list[Phase]] = None
        self._names: dict[str, str] = {}

    def choose(self, place: Place) -> Chosen:
        """Raises NotFound when there is none."""
        if self.choice.rule == "in":
            return self.choose_proven(place)
        if self._everywhere is None:
            self._everywhere = self.create() if self.choice.rule == "create" else self.choose_once()
        return self._everywhere

    def choose_once(self) -> Chosen:
        order = ORDER_IN_WORDS[self.choice.rule]
        release = choose_release(
            self.api, self.project, self.choice, self.channel, self.own_number, admits=self.admits
        )
        return Chosen(release, f"{self.choice}: {order}{within(self.channel)}")

    # --- what has succeeded somewhere ------------------------------------------------------------------------------

    def choose_proven(self, place: Place) -> Chosen:
        """The release of the newest deployment that succeeded there, for the same tenant; back over optional phases."""
        looked: list[str] = []
        for environments in self.stages(place):
            names = [self.name_of(identifier) for identifier in environments]
            looked.append(" and ".join(names))
            found = self.newest_success(place, environments)
            if found is not None:
                back = f", for nothing has in {', '.join(looked[:-1])}" if looked[:-1] else ""
                tenant = f" for {place.tenant['Name']}" if place.tenant else ""
                return Chosen(found, f"{self.choice}: what succeeded last in {looked[-1]}{tenant}{back}")
        tenant = f" for {place.tenant['Name']}" if place.tenant else ""
        raise NotFound(
            "nothing of {}{} that counts has succeeded in {}{}".format(
                self.project["Name"], within(self.channel), ", nor in ".join(looked), tenant
            )
        )

    def stages(self, place: Place) -> Iterator[Sequence[str]]:
        """Ids of the environments where to look, one stage after the other as long as the one before is optional."""
        if self._phases is None:
            self._phases = phases_of(self.api, lifecycle_of(self.project, self.channel))
        phases = self._phases
        if self.choice.number == PREVIOUS_PHASE:
            index = phase_index(phases, place.environment["Id"]) - 1
            if index < 0:
                raise NotFound(
                    f"{place.environment['Name']} is in no phase of the lifecycle that has one before it"
                )
            yield phases[index].environments
        else:
            environment = find_named(self.api, "environments", "environment", self.choice.number)
            yield [environment["Id"]]
            index = phase_index(phases, environment["Id"])
        while index > 0 and phases[index].is_optional:
            index -= 1
            yield phases[index].environments

    def newest_success(self, place: Place, environments: Sequence[str]) -> Optional[Mapping[str, Any]]:
        best = None
        for identifier in environments:
            there = Place(self.project, {"Id": identifier, "Name": self.name_of(identifier)}, place.tenant)
            channel = self.channel["Id"] if self.channel is not None else None
            for deployment in succeeded_deployments(self.api, there, channel):
                if best is not None and deployment.number < best[0]:
                    break
                release = read_release_of(self.api, deployment)
                if self.admits is None or self.admits(release["Version"]):
                    best = (deployment.number, release)
                    break
        return best[1] if best is not None else None

    def name_of(self, environment_id: str) -> str:
        if environment_id not in self._names:
            found = self.api.by_ids("environments", [environment_id])
            self._names[environment_id] = found[0]["Name"] if found else environment_id
        return self._names[environment_id]


def phase_index(phases: Sequence[Phase], environment_id: str) -> int:
    """Where in the lifecycle the environment is; -1 when nowhere."""
    for index, phase in enumerate(phases):
        if environment_id in phase.environments:
            return index
    return -1
