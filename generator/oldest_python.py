"""What the oldest promised Python lacks, where a parser alone cannot tell: names, keywords, modules.

Scripts run on whatever Python a worker has. Running them under every version is the test suite's part; these tables let
`check` say it before anything runs. Source: the "New in version" notes of the Python library reference.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

OLDEST = (3, 8)
OLDEST_TEXT = ".".join(map(str, OLDEST))


def words(text: str) -> frozenset[str]:
    """The words of a text: long tables of names stay readable so."""
    return frozenset(text.split())


NEWER_MODULES: Mapping[str, str] = {
    "zoneinfo": "3.9",
    "graphlib": "3.9",
    "tomllib": "3.11",
    "annotationlib": "3.14",
    "compression": "3.14",
}
GONE_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("binhex", "formatter", "parser", "symbol", "macpath"), "3.11"),
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys(
        words(
            "aifc audioop cgi cgitb chunk crypt imghdr mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd "
            "sunau telnetlib uu xdrlib lib2to3"
        ),
        "3.13",
    ),
}
STANDARD_MODULES = frozenset(sys.stdlib_module_names) | NEWER_MODULES.keys() | GONE_MODULES.keys()

NEWER_NAMES: Mapping[str, Mapping[str, str]] = {
    "ast": {"unparse": "3.9"},
    "contextlib": {"aclosing": "3.10", "chdir": "3.11"},
    "datetime": {"UTC": "3.11"},
    "enum": {"StrEnum": "3.11", "verify": "3.11", "member": "3.11", "nonmember": "3.11"},
    "functools": {"cache": "3.9"},
    "hashlib": {"file_digest": "3.11"},
    "itertools": {"pairwise": "3.10", "batched": "3.12"},
    "math": {"lcm": "3.9", "nextafter": "3.9", "ulp": "3.9", "cbrt": "3.11", "exp2": "3.11"},
    "random": {"randbytes": "3.9"},
    "typing": {
        "Annotated": "3.9",
        **dict.fromkeys(("Concatenate", "ParamSpec", "TypeAlias", "TypeGuard", "is_typeddict"), "3.10"),
        **dict.fromkeys(
            words(
                "LiteralString Never NotRequired Required Self TypeVarTuple Unpack assert_never assert_type "
                "dataclass_transform reveal_type"
            ),
            "3.11",
        ),
        "override": "3.12",
    },
}
NEWER_METHODS: Mapping[str, str] = {"removeprefix": "3.9", "removesuffix": "3.9", "is_relative_to": "3.9"}
NEWER_ARGUMENTS: Mapping[tuple[str, str], str] = {
    ("dataclass", "slots"): "3.10",
    ("dataclass", "kw_only"): "3.10",
    ("field", "kw_only"): "3.10",
    ("zip", "strict"): "3.10",
}
TYPES = words("bool bytearray bytes complex dict float frozenset int list object set str tuple type")
"""Builtins that only annotations may join by '|' before 3.10."""
GENERIC_BUILTINS = frozenset({"dict", "frozenset", "list", "set", "tuple"})
"""Builtins that only annotations may subscript before 3.9."""
