"""What a text with expressions consists of. `str(token)` is the token as Octopus writes it back when it is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Identifier:
    """One name of a path. `position` tells apart two mentions of one name, as Octopus' check for loops does."""

    text: str
    position: int | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Index:
    """`[text]` or `[...]` around another expression's symbol."""

    text: str | None
    symbol: Symbol | None = None
    position: int | None = None

    def __str__(self) -> str:
        return f"[{spelt(self.symbol)}]" if self.symbol is not None else f"[{self.text or ''}]"


@dataclass(frozen=True)
class Symbol:
    """A path: names joined by dots, with indexes."""

    steps: tuple[Identifier | Index, ...]

    def __str__(self) -> str:
        text = ""
        for number, step in enumerate(self.steps):
            text += f".{step}" if number and isinstance(step, Identifier) else str(step)
        return text


@dataclass(frozen=True)
class Call:
    """`argument | function option option`."""

    function: str
    argument: Expression
    options: tuple[Token, ...]

    def __str__(self) -> str:
        options = "".join(
            f' "{option}"' if isinstance(option, Text) else f" {option}" for option in self.options
        )
        return f"{self.argument} | {self.function}{options}"


Expression: TypeAlias = Symbol | Call


@dataclass(frozen=True)
class Text:
    """Literal text, escapes already undone."""

    text: str

    def __str__(self) -> str:
        return self.text.replace("#" + "{", "##" + "{")


@dataclass(frozen=True)
class Substitution:
    expression: Expression

    def __str__(self) -> str:
        return spelt(self.expression)


@dataclass(frozen=True)
class Conditional:
    """`equal` is None for a plain truth test; otherwise `left` is compared with `right`, a literal text or an expression."""

    left: Expression
    equal: bool | None
    right: str | Expression | None
    truthy: tuple[Token, ...]
    falsy: tuple[Token, ...]

    def __str__(self) -> str:
        comparison = ""
        if self.equal is not None:
            right = f'"{self.right}"' if isinstance(self.right, str) else str(self.right)
            comparison = f" {'==' if self.equal else '!='} {right} "
        falsy = spelt("else") + joined(self.falsy) if self.falsy else ""
        return spelt(f"if {self.left}{comparison}") + joined(self.truthy) + falsy + spelt("/if")


@dataclass(frozen=True)
class Repetition:
    collection: Symbol
    enumerator: str
    body: tuple[Token, ...]

    def __str__(self) -> str:
        return spelt(f"each {self.enumerator} in {self.collection}") + joined(self.body) + spelt("/each")


@dataclass(frozen=True)
class Constant:
    value: float
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Operation:
    left: Component
    operator: str
    right: Component

    def __str__(self) -> str:
        return f"{self.left}{self.operator}{self.right}"


Component: TypeAlias = Constant | Operation | Symbol


@dataclass(frozen=True)
class Calculation:
    component: Component

    def __str__(self) -> str:
        return spelt(self.component)  # Octopus forgets the word `calc` here


Token: TypeAlias = Text | Substitution | Conditional | Repetition | Calculation


def spelt(inside: object) -> str:
    return "#" + "{" + str(inside) + "}"


def joined(tokens: tuple[Token, ...]) -> str:
    return "".join(map(str, tokens))
