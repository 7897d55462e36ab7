"""A headless Chromium, driven over its DevTools pipe: file descriptors 3 and 4, one JSON text a message, NUL between them.

Nothing but the standard library and the browser itself. What the browser complains about (scripts or styles that the page's
policy forbids, exceptions, files that are missing) is kept in `complaints`.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.requirements import require

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--remote-debugging-pipe",
]
PHONE, DESKTOP = (390, 844), (1280, 900)
LONGEST = 30.0


def find_browser() -> str:
    """The path of a Chromium; skips the test, or fails it where it is demanded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    require("browser", found is not None, "no chromium on PATH (on Debian: apt-get install chromium)")
    return str(found)


class Browser:
    """One browser with one page, its own empty profile, no network of its own."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._buffer = b""
        program = find_browser()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        # High numbers, so that the shell's redirections below cannot overwrite one that is still needed.
        passed = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (theirs_in, theirs_out)]
        redirect = f'exec "$@" 3<&{passed[0]} 4>&{passed[1]}'
        words = [program, *FLAGS, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, "bash", *words],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in (theirs_in, theirs_out, *passed):
            os.close(number)
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        self._session = ""
        try:
            self._call("Browser.close")
            self._process.wait(timeout=10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    # --- what a test does ------------------------------------------------------------------------------------------

    def open(
        self, url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, scripts: bool = True
    ) -> None:
        """Show the page at `url`, and wait until it has loaded."""
        self.leave()
        self.complaints.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        self._call("Page.navigate", url=url)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def leave(self) -> None:
        """Show nothing: a page that is open goes on asking its server, and one with another fragment would not be loaded anew."""
        self._call("Page.navigate", url="about:blank")
        self.until("location.href == 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """The expression's value as soon as it is true. A page that is just changing cannot answer: it is asked again."""
        deadline = time.monotonic() + LONGEST
        while True:
            try:
                value = self.evaluate(expression)
            except (_Error, AssertionError):
                value = None
            if value:
                return value
            assert time.monotonic() < deadline, f"never true: {expression}\n{self.text()}"
            time.sleep(0.02)

    def text(self) -> str:
        """What a person reads."""
        return str(self.evaluate("document.body.innerText"))

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    # --- the pipe --------------------------------------------------------------------------------------------------

    def _call(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") != number:
                self._note(answer)
                continue
            if "error" in answer:
                raise _Error(f"{method}: {answer['error']}")
            return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.complaints.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"a dialog: {parameters['message']}")


class _Error(Exception):
    """The browser refuses a call."""
