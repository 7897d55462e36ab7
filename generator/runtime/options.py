"""*More options*: rarely used knobs as `name = value` lines of one field, checked by name."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from generator.runtime.record import Record


class Option(Record):
    """How the text of an option is read (ValueError with what is wrong), and what holds without it."""

    parse: Callable[[str], Any]
    default: Any = None


def parse_options(table: Mapping[str, Option], pairs: Mapping[str, str]) -> dict[str, Any]:
    """A value for every option of `table`. Names may be written with blanks or hyphens, and in any case.

    Raises one ValueError with every unknown name and every bad value.
    """
    values = {name: option.default for name, option in table.items()}
    faults = []
    for written, text in pairs.items():
        name = option_name(written)
        if name not in table:
            faults.append(f"there is no option {written!r} ({near_option(name, list(table))})")
            continue
        try:
            values[name] = table[name].parse(text) if text else table[name].default
        except ValueError as error:
            faults.append(f"{written}: {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return values


def option_name(written: str) -> str:
    """How a table spells what people write with blanks, hyphens or capitals."""
    return "_".join(written.lower().replace("-", " ").replace("_", " ").split())


def near_option(name: str, names: Sequence[str]) -> str:
    import difflib

    known = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "there are: " + ", ".join(known[:20]) if known else "there is none at all"


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of `words`; blanks, hyphens and case do not matter."""

    def parse(text: str) -> str:
        word = option_name(text)
        if word not in words:
            raise ValueError(f"{text!r} is none of: {', '.join(words)}")
        return word

    return parse


def parse_switch(text: str) -> bool:
    """on or off; yes, no, true and false are understood too."""
    words = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither on nor off")
    return words[text.lower()]


def parse_count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number from 1")
    return int(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Names parted by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
