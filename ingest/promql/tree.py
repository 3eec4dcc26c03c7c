"""The tree of a query. `start` and `end` of a node are offsets into its text (characters) and take
no part in comparing trees; times are milliseconds.

Types of expressions, in Prometheus' words: `scalar`, `vector` (instant vector), `matrix` (range
vector), `string`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ingest.promql.matchers import Matcher
from ingest.promql.signatures import Signature

Type = Literal["scalar", "vector", "matrix", "string"]


@dataclass(kw_only=True, slots=True)
class Node:
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)

    @property
    def type(self) -> Type:
        return "vector"

    def children(self) -> Iterator[Node]:
        yield from ()


@dataclass(slots=True)
class Number(Node):
    value: float
    is_duration: bool = False  # written as `5m`: printed so

    @property
    def type(self) -> Type:
        return "scalar"

    def __eq__(self, other: object) -> bool:
        """NaN equals itself: of two trees only the text matters."""
        return isinstance(other, Number) and (repr(self.value), self.is_duration) == (
            repr(other.value),
            other.is_duration,
        )


@dataclass(slots=True)
class Text(Node):
    value: str

    @property
    def type(self) -> Type:
        return "string"


@dataclass(slots=True)
class Duration(Node):
    """A calculation of a duration in seconds, between brackets or after `offset`.

    `op` is `+ - * / % ^`, `step`, `range`, `min_of` or `max_of`; unary ones have no left side.
    """

    op: str
    left: Node | None = None
    right: Node | None = None
    wrapped: bool = False  # stood in parentheses

    @property
    def type(self) -> Type:
        return "scalar"


@dataclass(slots=True)
class Moved(Node):
    """What `offset` and `@` can follow. `offset_ms` is set from `offset_text` once the step and the
    range of the query are known."""

    offset_ms: int = field(default=0, kw_only=True)
    offset_text: Duration | None = field(default=None, kw_only=True)
    at_ms: int | None = field(default=None, kw_only=True)
    at_edge: Literal["start", "end"] | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class Selector(Moved):
    """An instant vector selector. The matcher of a name outside braces is the last one."""

    name: str
    matchers: list[Matcher]
    extension: Literal["anchored", "smoothed"] | None = None
    may_be_empty: bool = field(default=False, compare=False)  # the second argument of info()

    def __eq__(self, other: object) -> bool:
        """The order of matchers says nothing."""
        return isinstance(other, Selector) and self._said() == other._said()

    def _said(self) -> tuple[object, ...]:
        matchers = sorted((matcher.name, matcher.op, matcher.value) for matcher in self.matchers)
        times = (self.offset_ms, self.offset_text, self.at_ms, self.at_edge)
        return (self.name, matchers, self.extension, *times)


@dataclass(slots=True)
class Range(Node):
    """`selector[5m]`; offset and @ stand in the selector."""

    selector: Selector
    range_ms: int
    range_text: Duration | None = None

    @property
    def type(self) -> Type:
        return "matrix"

    def children(self) -> Iterator[Node]:
        yield self.selector


@dataclass(slots=True)
class Subquery(Moved):
    """`expression[1h:5m]`; a step of 0 is the engine's default."""

    body: Node
    range_ms: int
    range_text: Duration | None = None
    step_ms: int = 0
    step_text: Duration | None = None

    @property
    def type(self) -> Type:
        return "matrix"

    def children(self) -> Iterator[Node]:
        yield self.body


@dataclass(slots=True)
class Call(Node):
    function: Signature
    arguments: list[Node]

    @property
    def type(self) -> Type:
        return self.function.returns

    def children(self) -> Iterator[Node]:
        yield from self.arguments


@dataclass(slots=True)
class Aggregate(Node):
    op: str
    body: Node
    parameter: Node | None = None
    grouping: list[str] = field(default_factory=list)
    without: bool = False

    def children(self) -> Iterator[Node]:
        yield self.body
        if self.parameter is not None:
            yield self.parameter


@dataclass(slots=True)
class Matching:
    """Which series of two sides meet. `card` as in Prometheus: `one-to-one`, `many-to-one`
    (group_left), `one-to-many` (group_right), `many-to-many` (set operators)."""

    card: str = "one-to-one"
    labels: list[str] = field(default_factory=list)
    on: bool = False
    include: list[str] = field(default_factory=list)
    fill_left: float | None = None
    fill_right: float | None = None

    def __eq__(self, other: object) -> bool:
        """NaN equals itself, as in `Number`."""
        return isinstance(other, Matching) and repr(self) == repr(other)


@dataclass(slots=True)
class Binary(Node):
    op: str
    left: Node
    right: Node
    matching: Matching | None
    is_bool: bool = False

    @property
    def type(self) -> Type:
        both = self.left.type == self.right.type == "scalar"
        return "scalar" if both else "vector"

    def children(self) -> Iterator[Node]:
        yield self.left
        yield self.right


@dataclass(slots=True)
class Unary(Node):
    op: str
    body: Node

    @property
    def type(self) -> Type:
        return self.body.type

    def children(self) -> Iterator[Node]:
        yield self.body


@dataclass(slots=True)
class Paren(Node):
    body: Node

    @property
    def type(self) -> Type:
        return self.body.type

    def children(self) -> Iterator[Node]:
        yield self.body


def bare(node: Node) -> Node:
    """The expression inside any parentheses."""
    while isinstance(node, Paren):
        node = node.body
    return node


def walk(node: Node, path: tuple[Node, ...] = ()) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Every node with those above it, outermost first."""
    yield node, path
    for child in node.children():
        yield from walk(child, (*path, node))
