"""For type checkers: a Record is a NamedTuple."""

from typing import NamedTuple as Record

__all__ = ["Record"]
