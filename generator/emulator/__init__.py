"""The emulator: a local Octopus Server with the part of the API that octosteps uses, and real execution of Python steps.

    with Emulator() as emulator:
        httpx.get(f"{emulator.url}/api/users/me", headers={"X-Octopus-ApiKey": emulator.api_key})

What it imitates, with the evidence, and what it does not stands in `docs/emulator.md`.
"""

from __future__ import annotations

from generator.emulator.server import Emulator

__all__ = ["Emulator"]
