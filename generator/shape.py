"""Whether data fits a JSON Schema, fast: the schema is turned into nested functions once.

Only yes or no: who wants to know what is wrong asks jsonschema, which stays the judge of what a schema means. A schema that uses
a keyword unknown here is left to it altogether. The test suite compares the two on generated data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]

ANNOTATIONS = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}
    | {"patternErrorMessage", "errorMessage", "defaultSnippets", "markdownDescription", "elsewhere"}
)


class UnknownKeyword(Exception):
    """The schema says something that only jsonschema understands."""


def compile_schema(schema: Mapping[str, object]) -> Check:
    """A function that tells whether data fits. Errors: UnknownKeyword."""
    return _Compiler(schema).check(schema)


def _is_integer(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )


TYPES: Mapping[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": _is_integer,
}


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class _Compiler:
    def __init__(self, root: Mapping[str, object]) -> None:
        self.root = root
        self.references: dict[str, list[Check]] = {}

    def check(self, schema: Any) -> Check:
        if isinstance(schema, bool):
            return lambda value: schema
        keywords = {name: value for name, value in schema.items() if name not in ANNOTATIONS}
        checks: list[Check] = []
        if keywords.keys() & {"properties", "patternProperties", "additionalProperties", "required"}:
            checks.append(
                self._object(
                    keywords.pop("properties", {}),
                    keywords.pop("patternProperties", {}),
                    keywords.pop("additionalProperties", True),
                    frozenset(keywords.pop("required", ())),
                )
            )
        if "if" in keywords:
            checks.append(
                self._condition(keywords.pop("if"), keywords.pop("then", True), keywords.pop("else", True))
            )
        for name, value in keywords.items():
            make = getattr(self, "_" + re.sub(r"\W", "", name), None) if name in _KNOWN else None
            if make is None:
                raise UnknownKeyword(name)
            checks.append(make(value))
        if len(checks) == 1:
            return checks[0]
        every = tuple(checks)
        return lambda value: all(check(value) for check in every)

    # --- any value

    def _ref(self, reference: str) -> Check:
        if reference not in self.references:
            found: Any = self.root
            if not reference.startswith("#"):
                raise UnknownKeyword("$ref")
            for word in reference.lstrip("#/").split("/") if reference != "#" else ():
                found = found[word]
            self.references[reference] = target = []
            target.append(self.check(found))
        known = self.references[reference]
        return lambda value: known[0](value)  # filled by now: a schema may refer to itself

    def _type(self, names: str | list[str]) -> Check:
        if isinstance(names, str):
            return TYPES[names]
        checks = tuple(TYPES[name] for name in names)
        return lambda value: any(check(value) for check in checks)

    def _enum(self, values: list[Any]) -> Check:
        return lambda value: any(_same(value, known) for known in values)

    def _const(self, wanted: Any) -> Check:
        return lambda value: _same(value, wanted)

    def _allOf(self, schemas: list[Any]) -> Check:
        checks = tuple(map(self.check, schemas))
        return lambda value: all(check(value) for check in checks)

    def _anyOf(self, schemas: list[Any]) -> Check:
        checks = tuple(map(self.check, schemas))
        return lambda value: any(check(value) for check in checks)

    def _oneOf(self, schemas: list[Any]) -> Check:
        checks = tuple(map(self.check, schemas))
        return lambda value: sum(check(value) for check in checks) == 1

    def _not(self, schema: Any) -> Check:
        check = self.check(schema)
        return lambda value: not check(value)

    def _condition(self, condition: Any, then: Any, otherwise: Any) -> Check:
        when, yes, no = self.check(condition), self.check(then), self.check(otherwise)
        return lambda value: yes(value) if when(value) else no(value)

    # --- texts and numbers

    def _pattern(self, pattern: str) -> Check:
        search = re.compile(pattern).search
        return lambda value: not isinstance(value, str) or search(value) is not None

    def _minLength(self, least: int) -> Check:
        return lambda value: not isinstance(value, str) or len(value) >= least

    def _maxLength(self, most: int) -> Check:
        return lambda value: not isinstance(value, str) or len(value) <= most

    def _minimum(self, least: float) -> Check:
        number = TYPES["number"]
        return lambda value: not number(value) or value >= least

    def _maximum(self, most: float) -> Check:
        number = TYPES["number"]
        return lambda value: not number(value) or value <= most

    def _exclusiveMinimum(self, bound: float) -> Check:
        number = TYPES["number"]
        return lambda value: not number(value) or value > bound

    def _exclusiveMaximum(self, bound: float) -> Check:
        number = TYPES["number"]
        return lambda value: not number(value) or value < bound

    # --- lists and mappings

    def _items(self, schema: Any) -> Check:
        check = self.check(schema)
        return lambda value: not isinstance(value, list) or all(map(check, value))

    def _minItems(self, least: int) -> Check:
        return lambda value: not isinstance(value, list) or len(value) >= least

    def _maxItems(self, most: int) -> Check:
        return lambda value: not isinstance(value, list) or len(value) <= most

    def _uniqueItems(self, wanted: bool) -> Check:
        def check(value: Any) -> bool:
            items = value if wanted and isinstance(value, list) else []
            return not any(_same(one, other) for index, one in enumerate(items) for other in items[:index])

        return check

    def _minProperties(self, least: int) -> Check:
        return lambda value: not isinstance(value, dict) or len(value) >= least

    def _maxProperties(self, most: int) -> Check:
        return lambda value: not isinstance(value, dict) or len(value) <= most

    def _propertyNames(self, schema: Any) -> Check:
        check = self.check(schema)
        return lambda value: not isinstance(value, dict) or all(map(check, value))

    def _dependentRequired(self, needs: Mapping[str, list[str]]) -> Check:
        return lambda value: (
            not isinstance(value, dict)
            or all(other in value for key, others in needs.items() if key in value for other in others)
        )

    def _object(
        self,
        properties: Mapping[str, Any],
        patterns: Mapping[str, Any],
        others: Any,
        required: frozenset[str],
    ) -> Check:
        named = {name: self.check(schema) for name, schema in properties.items()}
        matched = [(re.compile(pattern).search, self.check(schema)) for pattern, schema in patterns.items()]
        other = self.check(others)

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            if not required <= value.keys():
                return False
            for name, item in value.items():
                own = named.get(name)
                if own is not None and not own(item):
                    return False
                fits = own is not None
                for search, schema in matched:
                    if search(name):
                        fits = True
                        if not schema(item):
                            return False
                if not fits and not other(item):
                    return False
            return True

        return check


_KNOWN = frozenset(
    {"$ref", "type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "pattern", "minLength", "maxLength"}
    | {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
    }
    | {"minProperties", "maxProperties", "propertyNames", "dependentRequired"}
)
