"""Octostache (first cut: plain tokens only)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    text: str | None
    error: str | None


class SelfReferenceError(ValueError):
    pass


class Variables:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): (name, value) for name, value in values.items()}

    def names(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def raw(self, name: str) -> str | None:
        found = self._values.get(name.lower())
        return found[1] if found else None

    def get(self, name: str) -> str | None:
        raw = self.raw(name)
        return None if raw is None else self.evaluate(raw).text

    def evaluate(self, text: str, *, halt_on_error: bool = True) -> Evaluation:
        missing: dict[str, None] = {}

        def value(match: re.Match[str]) -> str:
            found = self.get(match[1].strip())
            if found is None:
                missing["#" + "{" + match[1].strip() + "}"] = None
                return next(reversed(missing))
            return found

        result = re.sub(r"#\{([^{}|]+)\}", value, text)
        tokens = ", ".join(f"'{token}'" for token in missing)
        return Evaluation(
            result, f"The following tokens were unable to be evaluated: {tokens}" if missing else None
        )


def evaluate(text: str, variables: Mapping[str, str], *, halt_on_error: bool) -> Evaluation:
    return Variables(variables).evaluate(text, halt_on_error=halt_on_error)


def is_truthy(text: str | None) -> bool:
    return bool(text) and text != "0" and str(text).strip().lower() not in ("no", "false")
