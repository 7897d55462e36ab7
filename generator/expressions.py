"""Which variables a text refers to by Octostache expressions, and whether a project knows them.

Source: Octostache, TemplateParser.cs and the docs page "Variable substitutions".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BLOCK_WORDS = re.compile(r"^(if|elseif|unless|each\s+\S+\s+in)\s+", re.IGNORECASE)


def variables_in(text: str) -> Iterator[str]:
    """The names in Octostache expressions, filters and block words left out (source: Octostache, TemplateParser.cs)."""
    loops: set[str] = set()
    for hashes, content in re.findall(r"(#+)\{([^{}]*)\}", text):
        words = content.strip()
        if len(hashes) % 2 == 0 or words.startswith("/") or words.lower() == "else":
            continue
        block = BLOCK_WORDS.match(words)
        if block and block.group(1).lower().startswith("each"):
            loops.add(block.group(1).split()[1].casefold())
        words = words[block.end() :] if block else words
        name = re.split(r"\||==|!=", words)[0].strip()
        if name and not name.startswith('"') and name.split(".")[0].casefold() not in loops:
            yield name


def is_known(name: str, known: Iterable[str]) -> bool:
    """Whether a name is a variable's, lies within one (`Json.part`, `List[0]`), or leads to indexed ones (`Endpoint[A].Url`)."""
    folded = name.casefold()
    if folded.startswith("octopus.") or folded == "octopus":
        return True
    return any(
        folded == other
        or re.match(rf"{re.escape(other)}[.\[]", folded)
        or re.match(rf"{re.escape(folded)}[.\[]", other)
        for other in known
    )
