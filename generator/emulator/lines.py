"""A stream of bytes cut into lines, as Octopus' runner does it."""

from __future__ import annotations

import codecs
import re


class Lines:
    """Cuts a stream of bytes into lines at LF, CR and CR LF, as .NET's reader does; bad UTF-8 is replaced."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._after_return = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, without their ends."""
        text = self._decoder.decode(data)
        if self._after_return and text:
            text = text.removeprefix("\n")
            self._after_return = False
        self._after_return = text.endswith("\r") or (self._after_return and not text)
        *lines, self._partial = re.split(r"\r\n|\r|\n", self._partial + text)
        return lines

    def finish(self) -> list[str]:
        """The last line, if it had no end."""
        text = self._partial + self._decoder.decode(b"", final=True)
        return [text] if text else []
