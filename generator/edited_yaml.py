"""A YAML file brought to other data by changing only what differs: comments, order, quotes, anchors, line ends and the width of
every line that needs no change stay as they are, byte for byte.

PyYAML tells where each value stands, `written_yaml` how new values look. What comes out is always read back: it holds the wanted
data, or nothing is given back at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from generator.errors import Problems, Refusal
from generator.source import DEEPEST, parse_source
from generator.written_yaml import LINE_LENGTH, flow_yaml, is_plain, to_yaml

ROUNDS = 4
"""A value that others repeat by an alias changes those, too: they are then written out, in a second round."""


class NotEditable(Refusal):
    """No edit was found that gives the wanted data."""


def edit(content: bytes, wanted: Mapping[str, Any], *, name: str = "") -> bytes:
    """The file's content with `wanted` as its data, and its keys in the order of `wanted`.

    Errors: Problems when the file is not readable, NotEditable.
    """
    text = content.decode("utf-8-sig")
    mark = "\ufeff" if content.startswith(b"\xef\xbb\xbf") else ""
    ends = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    plain = _without_aliases(text, name)
    for levels in (DEEPEST, 3, 2, 1):
        for attempt in dict.fromkeys((text, plain)):
            changed = _bring(attempt, wanted, name, levels=levels)
            if changed is not None:
                return (mark + changed.replace("\n", ends)).encode("utf-8")
    raise NotEditable(f"{name} is written in a way that cannot be edited in place: rewrite it in block style")


def _bring(text: str, wanted: Mapping[str, Any], name: str, *, levels: int) -> str | None:
    """The text with the wanted data; None when that does not come about. What is deeper than `levels` is written as a whole."""
    for _ in range(ROUNDS):
        found = parse_source(text.encode(), name=name).data
        if same(found, wanted):
            return text
        try:
            text = _Edit(text, levels=levels).bring(found, wanted)
            parse_source(text.encode(), name=name)
        except (yaml.YAMLError, _Odd, Problems):
            return None
    return text if same(parse_source(text.encode(), name=name).data, wanted) else None


def same(one: Any, other: Any) -> bool:
    """Whether data is the same, the order of keys included; 1, 1.0 and true are three things."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def beside(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted data with its keys in the order of `found`; a new key stands behind the one before it in `wanted`."""
    names = [name for name in found if name in wanted]
    for index, name in enumerate(wanted):
        if name not in names:
            before = [other for other in list(wanted)[:index] if other in names]
            names.insert(names.index(before[-1]) + 1 if before else 0, name)
    return {name: wanted[name] for name in names}


# --- where things stand ---------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Node:
    """One value in the text, from `start` to `end` (behind its last character); `column` is where it begins in its line."""

    kind: str  # scalar, map, list or alias
    start: int
    end: int
    column: int
    style: str = ""
    anchor: str = ""
    is_flow: bool = False
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    value: str = ""


class _Odd(Exception):
    """Something stands in a way that is not edited in place."""


def read_nodes(text: str) -> Node:
    """The tree of values as they are written: aliases and merges are not followed."""
    events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            break
    return _node(next(events), events, text)


def _node(begin: Any, events: Iterator[Any], text: str) -> Node:
    """The value whose first event is `begin`; takes the rest of it from `events`."""
    event: Any = begin
    start, end = event.start_mark.index, event.end_mark.index
    base = {"start": start, "column": event.start_mark.column, "anchor": event.anchor or ""}
    if isinstance(begin, yaml.AliasEvent):
        return Node(kind="alias", end=end, value=event.anchor, **{**base, "anchor": ""})
    if isinstance(begin, yaml.ScalarEvent):
        end = start + len(text[start:end].rstrip()) if event.style in ("|", ">") else end
        return Node(kind="scalar", end=end, style=event.style or "", value=event.value, **base)
    is_list = isinstance(begin, yaml.SequenceStartEvent)
    node = Node(kind="list" if is_list else "map", end=end, is_flow=bool(event.flow_style), **base)
    while not isinstance(inner := next(events), yaml.CollectionEndEvent):
        item = _node(inner, events, text)
        if is_list:
            node.items.append(item)
        else:
            node.pairs.append((item, _node(next(events), events, text)))
    inside = [*node.items, *(value for _, value in node.pairs)]
    closing: Any = inner
    node.end = closing.end_mark.index if node.is_flow else max(item.end for item in inside)
    return node


# --- edits ------------------------------------------------------------------------------------------------------------------


class _Edit:
    """Edits of one text, gathered and then made from its end to its beginning, so that places stay true."""

    def __init__(self, text: str, *, levels: int = DEEPEST) -> None:
        self.text, self.levels, self.level = text, levels, 0
        self.root = read_nodes(text)
        self.flows = [(node.start, node.end) for node in _all(self.root) if node.is_flow]
        self.edits: list[tuple[int, int, str]] = []

    def bring(self, found: Any, wanted: Any) -> str:
        self.change(self.root, found, wanted, column=0, head=None)
        return self.made()

    def made(self) -> str:
        """The text with all edits."""
        text, last = self.text, len(self.text)
        for start, end, new in sorted(self.edits, key=lambda edit: edit[:2], reverse=True):
            if end > last:
                raise _Odd
            text, last = text[:start] + new + text[end:], start
        return text

    def change(self, node: Node, found: Any, wanted: Any, *, column: int, head: int | None) -> None:
        """Edits that turn the value at `node` from `found` into `wanted`.

        `column` is that of the mapping or list around, `head` the place behind the `:` or `-` that leads to the value.
        """
        if same(found, wanted):
            return
        before = len(self.edits)
        self.level += 1
        try:
            if self.level <= self.levels and self.change_inside(node, found, wanted):
                return
        except _Odd:
            if head is None:
                raise
            del self.edits[before:]
        finally:
            self.level -= 1
        self.replace(node, wanted, column=column, head=head)

    def change_inside(self, node: Node, found: Any, wanted: Any) -> bool:
        """Edits within a mapping or list; False when the whole of it is to be written."""
        are_maps = isinstance(found, dict) and isinstance(wanted, Mapping) and found and wanted
        if node.kind == "map" and are_maps and self.fits(node, found, wanted):
            self.change_map(node, found, wanted)
            return True
        is_block_list = node.kind == "list" and not node.is_flow and isinstance(found, list)
        if is_block_list and isinstance(wanted, list) and found and wanted:
            self.change_list(node, found, wanted)
            return True
        return False

    def replace(self, node: Node, wanted: Any, *, column: int, head: int | None) -> None:
        """Other text in the place of a value, its anchor kept."""
        if head is None:
            raise _Odd  # the whole file
        anchor = f"&{node.anchor} " if node.anchor else ""
        if self.in_flow(node):
            space = " " if node.start == head else ""
            quoted = _one_line(node, wanted) if node.style in ("'", '"') else None
            self.edits.append((node.start, node.end, f"{space}{anchor}{quoted or flow_yaml(wanted)}"))
            return
        line = _one_line(node, wanted)
        if line is not None and node.kind in ("scalar", "alias"):
            space = " " if node.start == head else ""
            self.edits.append((node.start, node.end, space + anchor + line))
            return
        if node.is_flow and isinstance(wanted, list) and all(isinstance(item, str) for item in wanted):
            words = flow_yaml(wanted)
            if len(words) + node.column <= LINE_LENGTH and "\n" not in words:
                self.edits.append((node.start, node.end, anchor + words))
                return
        text = to_yaml({"k": wanted}, indent=column).strip(" ").rstrip("\n").removeprefix("k:")
        if anchor:
            text = f" {anchor.rstrip()}{text}"
        end, first, rest = node.end, *_first_line(text)
        comment = _COMMENT.match(self.text, end)
        if comment and rest:  # behind a block it would be a part of it
            end, first = comment.end(), first + comment.group()
        self.edits.append((head, end, first + rest))

    def in_flow(self, node: Node) -> bool:
        """Whether the value stands within brackets."""
        return any(start < node.start < end for start, end in self.flows)

    def head(self, key: Node) -> int:
        """The place behind the colon of a key."""
        at = key.end
        while self.text[at : at + 1] in (" ", "\t"):
            at += 1
        if self.text[at : at + 1] != ":":
            raise _Odd
        return at + 1

    # --- mappings

    def fits(self, node: Node, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        """Whether the mapping can be edited key by key: in one line only while it stays one, and short."""
        own = [key.value for key, _ in node.pairs]
        if any(key.kind != "scalar" for key, _ in node.pairs):
            return False
        gone = [key for key in found if key not in wanted]
        if any(key not in own for key in gone):  # given by a merge: it can only be left out with it
            return False
        if "\n" in self.text[node.start : node.end] or not node.is_flow:
            return not node.is_flow or not (gone or list(wanted)[: len(found)] != list(found))
        if self.in_flow(node):
            return [key for key in wanted if key in found] == [key for key in found if key in wanted]
        texts = [value for value in wanted.values() if isinstance(value, str)]
        line = self.text[self.text.rfind("\n", 0, node.start) + 1 : node.start] + flow_yaml(wanted)
        in_order = [key for key in wanted if key in found] == [key for key in found if key in wanted]
        return in_order and len(line) <= LINE_LENGTH and not any("\n" in text for text in texts)

    def change_map(self, node: Node, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        own = {key.value: (key, value) for key, value in node.pairs}
        kept = [key for key in own if key in wanted]
        if [key for key in wanted if key in own] != kept and not node.is_flow:
            self.reorder(node, [key for key in wanted if key in own])
            return  # the rest in the next round
        for name, (key, value) in own.items():
            if name == "<<" and name not in wanted:
                continue
            if name not in wanted:
                self.remove(node, key, value)
            else:
                self.change(value, found[name], wanted[name], column=node.column, head=self.head(key))
        for name in wanted:
            if name not in own and not (name in found and same(found[name], wanted[name])):
                self.insert(node, name, wanted, [*own])

    def insert(self, node: Node, name: str, wanted: Mapping[str, Any], own: list[str]) -> None:
        """A new key behind the last key before it that stands here."""
        before = [key for key in list(wanted)[: list(wanted).index(name)] if key in own]
        if node.is_flow:
            piece = f"{flow_yaml(name)}: {flow_yaml(wanted[name])}"
            if before:
                at = next(value.end for key, value in node.pairs if key.value == before[-1])
                self.edits.append((at, at, f", {piece}"))
            else:
                at = node.pairs[0][0].start
                self.edits.append((at, at, f"{piece}, "))
            return
        text = to_yaml({name: wanted[name]}, indent=node.column)
        if before:
            self.insert_line(next(value.end for key, value in node.pairs if key.value == before[-1]), text)
        else:
            at = node.pairs[0][0].start
            self.edits.append((at, at, text.lstrip(" ") + " " * node.column))

    def insert_line(self, behind: int, text: str) -> None:
        """Whole lines behind the one that holds the place."""
        end = self.text.find("\n", behind)
        if end < 0:
            self.edits.append((len(self.text), len(self.text), "\n" + text.rstrip("\n")))
        else:
            self.edits.append((end + 1, end + 1, text))

    def remove(self, node: Node, key: Node, value: Node) -> None:
        """Take a key out. Comments of their own lines stay; one behind the value goes with it."""
        index = next(i for i, pair in enumerate(node.pairs) if pair[0] is key)
        if node.is_flow:
            if index:
                self.edits.append((node.pairs[index - 1][1].end, value.end, ""))
            else:
                end = node.pairs[1][0].start if len(node.pairs) > 1 else value.end
                self.edits.append((key.start, end, ""))
            return
        start = self.text.rfind("\n", 0, key.start) + 1
        if self.text[start : key.start].strip():  # behind a "- " or the like
            if index + 1 == len(node.pairs):
                raise _Odd
            self.edits.append((key.start, node.pairs[index + 1][0].start, ""))
            return
        self.edits.append((start, self.line_end(value.end), ""))

    def line_end(self, place: int) -> int:
        end = self.text.find("\n", place)
        return len(self.text) if end < 0 else end + 1

    def reorder(self, node: Node, names: list[str]) -> None:
        """The keys in another order, each with the comment above it. Keys that are not named stay where they are."""
        spans: dict[str, tuple[int, int]] = {}
        last = self.text.rfind("\n", 0, node.pairs[0][0].start) + 1
        if self.text[last : node.pairs[0][0].start].strip():
            raise _Odd
        while last and (above := self.text[self.text.rfind("\n", 0, last - 1) + 1 : last]).strip().startswith(
            "#"
        ):
            if len(above) - len(above.lstrip()) != node.column:
                break
            last -= len(above)
        for key, value in node.pairs:
            end = self.line_end(value.end)
            spans[key.value] = (last, end)
            last = end
        places = [spans[key.value] for key, _ in node.pairs if key.value in names]
        for (start, end), name in zip(places, names, strict=True):
            piece = self.text[slice(*spans[name])]
            self.edits.append((start, end, piece if piece.endswith("\n") else piece + "\n"))

    # --- lists

    def change_list(self, node: Node, found: list[Any], wanted: list[Any]) -> None:
        """Items that are told apart by their `key`, else by being equal, keep their lines."""
        old, new = [_identity(item) for item in found], [_identity(item) for item in wanted]
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
            if tag == "equal" or i2 - i1 == j2 - j1:
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                    head = self.dash(node.items[i]) + 1
                    self.change(node.items[i], found[i], wanted[j], column=node.column, head=head)
                continue
            text = "".join(to_yaml([item], indent=node.column) for item in wanted[j1:j2])
            if i1 == i2:
                if i1:
                    self.insert_line(node.items[i1 - 1].end, text)
                else:
                    start = self.text.rfind("\n", 0, node.start) + 1
                    if self.text[start : node.start].strip():
                        raise _Odd
                    self.edits.append((start, start, text))
                continue
            start = self.dash(node.items[i1])
            if self.text[self.text.rfind("\n", 0, start) + 1 : start].strip():
                raise _Odd
            start = self.text.rfind("\n", 0, start) + 1
            self.edits.append((start, self.line_end(node.items[i2 - 1].end), text))

    def dash(self, item: Node) -> int:
        """Where the item's dash stands."""
        return self.text.rfind("-", 0, item.start)


def _identity(item: Any) -> str:
    if isinstance(item, Mapping) and isinstance(item.get("key"), str):
        return f"key {item['key']}"
    if isinstance(item, Mapping) and isinstance(item.get("process"), str):
        return f"process {item['process']}"
    return repr(item)


_COMMENT = re.compile(r"[ \t]+#[^\n]*")


def _first_line(text: str) -> tuple[str, str]:
    """The first line, and the rest with the newline before it."""
    first, newline, rest = text.partition("\n")
    return first, newline + rest


def _one_line(node: Node, wanted: Any) -> str | None:
    """A text in one line and in the quotes that stood there; None where that cannot be."""
    if isinstance(wanted, Mapping | list) and wanted:
        return None
    if not isinstance(wanted, str):
        return flow_yaml(wanted)
    if "\n" in wanted or len(wanted) > LINE_LENGTH or not wanted.isprintable():
        return None
    if node.style == '"':
        return '"' + wanted.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if node.style == "'":
        return "'" + wanted.replace("'", "''") + "'"
    return None if node.style else wanted if is_plain(wanted) else to_yaml([wanted])[2:].rstrip("\n")


def _all(node: Node) -> Iterator[Node]:
    yield node
    for key, value in node.pairs:
        yield from _all(key)
        yield from _all(value)
    for item in node.items:
        yield from _all(item)


def _without_aliases(text: str, name: str) -> str:
    """The same data with aliases and merges written out: for edits that pull an anchor from under them."""
    source = parse_source(text.encode(), name=name)
    if "*" not in text:
        return text
    editing = _Edit(text)

    def walk(node: Node, data: Any, column: int, head: int | None) -> None:
        if node.kind == "alias" or any(key.value == "<<" for key, _ in node.pairs):
            editing.replace(node, data, column=column, head=head)
            return
        for key, value in node.pairs:
            walk(value, data[key.value], node.column, editing.head(key))
        for index, item in enumerate(node.items):
            walk(item, data[index], node.column, editing.dash(item) + 1)

    try:
        walk(editing.root, source.data, 0, None)
        return editing.made()
    except _Odd:
        return text
