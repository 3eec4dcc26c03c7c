"""Tokens to a tree, by precedence climbing, with Prometheus' messages and their positions.

Whatever is wrong ends in one PromqlSyntax that says `line:column: parse error: …`; types are
checked once the grammar is satisfied, so a misspelt function is reported before a wrong argument.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn, cast

from ingest.errors import PromqlSyntax
from ingest.promql import tree
from ingest.promql.checks import check
from ingest.promql.gotext import go_quote
from ingest.promql.lexer import (
    AGGREGATORS,
    CALLED_KEYWORDS,
    COMPARISONS,
    LABEL_WORDS,
    METRIC_WORDS,
    WITH_PARAMETER,
    Token,
    tokens,
    unquoted,
)
from ingest.promql.matchers import BadPattern, Matcher, MatchOp
from ingest.promql.signatures import FUNCTIONS

_LEVELS = {"or": 1, "and": 2, "unless": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5}
_LEVELS |= dict.fromkeys((*COMPARISONS, "</", ">/"), 3) | {"^": 6}
_UNARY_BINDS = 6  # -a^b is -(a^b), but -a*b is (-a)*b
_DEEPEST = 150  # levels of a tree: far below where Python's own stack ends
_FARTHEST_MS = 2**62  # of `@`: a lookback and an offset away from it is still an integer of 64 bits
_LONGEST_DURATION_S = 2**63 / 1e9
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?"
)
_UNIT_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_CLOSING = frozenset({"}", ")", "]", "DURATION", "NUMBER"})
_DURATION_START = frozenset(
    {"NUMBER", "DURATION", "+", "-", "(", "step", "range", "max_of", "min_of"}
)


@dataclass(frozen=True)
class Features:
    """What stands behind a flag in Prometheus; all off by default, as there."""

    experimental_functions: bool = False
    duration_expressions: bool = False
    extended_ranges: bool = False
    fill_modifiers: bool = False
    delayed_name_removal: bool = False
    type_and_unit_labels: bool = False
    start_timestamps: bool = False


ALL_FEATURES = Features(True, True, True, True, True, True, True)
"""What Prometheus' own test suite runs with, but for type and unit labels and start timestamps."""


def parse(text: str, features: Features | None = None) -> tree.Node:
    """The checked tree of a query.

    Raises:
        PromqlSyntax: with Prometheus' message.
    """
    parser = _Parser(text, features or Features())
    found = parser.whole()
    check(found, text)
    return found


def parse_selector(text: str) -> list[Matcher]:
    """The matchers of a series selector alone (`match[]`).

    Raises:
        PromqlSyntax: it is something else.
    """
    parser = _Parser(text, Features())
    if not (parser.now.kind in METRIC_WORDS or parser.now.kind == "{"):
        parser.unexpected()
    selector = parser.selector()
    if parser.now.kind != "EOF":
        parser.unexpected()
    return selector.matchers


def parse_duration_ms(text: str) -> int:
    """`1h30m` in milliseconds.

    Raises:
        ValueError: with Prometheus' message.
    """
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a valid duration string: {go_quote(text)}")
    length = sum(int(n) * ms for n, ms in zip(match.groups(), _UNIT_MS, strict=True) if n)
    if length * 1_000_000 >= 2**63:
        raise ValueError("duration out of range")
    return length


def parse_number(text: str) -> float:
    """A number as Go reads it: `0x1f`, `017`, `1_000`, `1e3`, `Inf`, `NaN`.

    Raises:
        ValueError: too large.
    """
    plain = text.replace("_", "").lower()
    if re.fullmatch("0x[0-9a-f]+", plain):
        whole = int(plain, 16)
    elif re.fullmatch("0[0-7]+", plain):
        whole = int(plain, 8)
    else:
        found = float(plain)
        if math.isinf(found) and plain[0].isdigit():
            raise ValueError(f"strconv.ParseFloat: parsing {go_quote(text)}: value out of range")
        return found
    return float(whole)


def _milliseconds(seconds: float) -> int:
    """Through Go's nanoseconds: rounded to one, cut to a millisecond."""
    return int(math.copysign(round(abs(seconds) * 1e9) // 1_000_000, seconds))


class _Parser:
    def __init__(self, text: str, features: Features) -> None:
        self.text, self.features = text, features
        self.tokens = tokens(text)
        self.at = 0
        self.closed = 0  # where the last token ended that can end an expression
        self.depth = 0

    # Tokens ---------------------------------------------------------------------------------------

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.now
        if token.kind == "ERROR":
            self.unexpected()
        if token.kind in _CLOSING:
            self.closed = token.end
        if token.kind != "EOF":
            self.at += 1
        return token

    def skip(self, kind: str) -> bool:
        if self.now.kind != kind:
            return False
        self.take()
        return True

    def fail(self, message: str, start: int) -> NoReturn:
        raise PromqlSyntax(message, self.text, start)

    def unexpected(self, where: str = "", expected: str = "") -> NoReturn:
        """Complain about the next token; of one that could not be read, as the lexer said."""
        token = self.now
        if token.kind == "ERROR":
            self.fail(token.text, token.start)
        place = f" in {where}" if where else ""
        wish = f", expected {expected}" if expected else ""
        self.fail(f"unexpected {token.described()}{place}{wish}", token.start)

    # Expressions ----------------------------------------------------------------------------------

    def whole(self) -> tree.Node:
        if self.now.kind == "EOF":
            raise PromqlSyntax("no expression found in input", self.text, 0)
        found = self.expression()
        if self.now.kind != "EOF":
            self.unexpected()
        return found

    def expression(self, binds: int = 1) -> tree.Node:
        """An expression whose operators bind at least as strongly as `binds`."""
        self.deeper()
        left, before = self.operand(), self.depth
        while True:
            level = _LEVELS.get(self.now.kind, 0)
            if level < binds:
                break
            self.deeper()  # a chain of operators is as deep as it is long
            op = self.take()
            matching, is_bool = self.matching()
            # Operators of one level go from left to right, but for "^".
            right = self.expression(level if op.kind == "^" else level + 1)
            left = tree.Binary(
                op.kind, left, right, matching, is_bool, start=left.start, end=right.end
            )
            filled = matching.fill_left is not None or matching.fill_right is not None
            if filled and not self.features.fill_modifiers:
                self.fail("binop fill modifiers are experimental and not enabled", left.start)
        self.depth = before - 1
        return left

    def deeper(self) -> None:
        """One level further down in the tree."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(f"expression is nested deeper than {_DEEPEST} levels", self.now.start)

    def operand(self) -> tree.Node:
        token = self.now
        if token.kind not in ("+", "-"):
            return self.modified(self.primary())
        self.take()
        body = self.expression(_UNARY_BINDS)
        if isinstance(body, tree.Number):
            body.value = -body.value if token.kind == "-" else body.value
            body.start = token.start
            return body
        return tree.Unary(token.kind, body, start=token.start, end=body.end)

    def primary(self) -> tree.Node:
        token = self.now
        is_called = self.tokens[min(self.at + 1, len(self.tokens) - 1)].kind == "("
        if token.kind in ("NUMBER", "DURATION"):
            return self.number()
        if token.kind == "STRING":
            self.take()
            return tree.Text(unquoted(token.text), start=token.start, end=token.end)
        if token.kind == "(":
            self.take()
            body = self.expression()
            if self.now.kind != ")":
                self.unexpected()
            return tree.Paren(body, start=token.start, end=self.take().end)
        if token.kind in AGGREGATORS and self.is_aggregation():
            return self.aggregation()
        if (token.kind == "IDENTIFIER" or token.kind in CALLED_KEYWORDS) and is_called:
            return self.call()
        if token.kind in METRIC_WORDS or token.kind == "{":
            return self.selector()
        return self.unexpected()

    def is_aggregation(self) -> bool:
        """An aggregator that is not a metric of that name: `sum + 1` is one."""
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)].kind
        return following in ("(", "by", "without")

    def number(self) -> tree.Number:
        token = self.take()
        try:
            if token.kind == "NUMBER":
                return tree.Number(parse_number(token.text), start=token.start, end=token.end)
            seconds = parse_duration_ms(token.text) / 1000
        except ValueError as error:
            prefix = "error parsing number: " if token.kind == "NUMBER" else ""
            self.fail(f"{prefix}{error}", token.start)
        return tree.Number(seconds, True, start=token.start, end=token.end)

    def call(self) -> tree.Node:
        name = self.take()
        arguments = self.arguments()
        function = FUNCTIONS.get(name.text)
        if function is None:
            self.fail(f"unknown function with name {go_quote(name.text)}", name.start)
        if function.experimental and not self.features.experimental_functions:
            self.fail(f"function {go_quote(name.text)} is not enabled", name.start)
        return tree.Call(function, arguments, start=name.start, end=self.closed)

    def arguments(self) -> list[tree.Node]:
        self.take()
        found: list[tree.Node] = []
        if self.skip(")"):
            return found
        while True:
            found.append(self.expression())
            comma = self.now
            if not self.skip(","):
                break
            if self.now.kind in (")", ","):
                self.fail("trailing commas not allowed in function call args", comma.start)
        if self.now.kind != ")":
            self.unexpected()
        self.take()
        return found

    def aggregation(self) -> tree.Node:
        """`sum by (a) (x)`, `sum(x) by (a)` or `topk(5, x)`."""
        op = self.take()
        grouping, without = self.grouping_clause()
        if self.now.kind != "(":
            self.unexpected("aggregation")
        arguments = self.arguments()
        if grouping is None:
            grouping, without = self.grouping_clause()
        wanted = 2 if op.kind in WITH_PARAMETER else 1
        if not arguments:
            self.fail("no arguments for aggregate expression provided", op.start)
        if op.kind in ("limitk", "limit_ratio") and not self.features.experimental_functions:
            flag = "--enable-feature=promql-experimental-functions"
            message = f"{op.kind}() is experimental and must be enabled with {flag}"
            self.fail(message, op.start)
        if len(arguments) != wanted:
            self.fail(
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(arguments)}",
                op.start,
            )
        parameter = arguments[0] if wanted == 2 else None
        return tree.Aggregate(
            op.kind,
            arguments[-1],
            parameter,
            grouping or [],
            without,
            start=op.start,
            end=self.closed,
        )

    def grouping_clause(self) -> tuple[list[str] | None, bool]:
        if self.now.kind not in ("by", "without"):
            return None, False
        return self.labels_after(), self.tokens[self.at_clause].kind == "without"

    def labels_after(self) -> list[str]:
        """Labels in parentheses after a keyword, whose place is kept in `at_clause`."""
        self.at_clause = self.at
        self.take()
        return self.grouping()

    def grouping(self) -> list[str]:
        if self.now.kind != "(":
            self.unexpected("grouping opts", '"("')
        self.take()
        found: list[str] = []
        while not self.skip(")"):
            if found:
                if self.now.kind != ",":
                    self.unexpected("grouping opts", '"," or ")"')
                self.take()
                if self.skip(")"):
                    break
            token = self.now
            if token.kind not in LABEL_WORDS and token.kind != "STRING":
                self.unexpected("grouping opts", "label")
            self.take()
            name = unquoted(token.text) if token.kind == "STRING" else token.text
            if not valid_label(name):
                self.fail(f"invalid label name for grouping: {go_quote(name)}", token.start)
            found.append(name)
        return found

    def matching(self) -> tuple[tree.Matching, bool]:
        """What may follow an operator: bool, on or ignoring, group_left or _right, fill."""
        matching = tree.Matching()
        is_bool = self.skip("bool")
        if self.now.kind in ("on", "ignoring"):
            matching.on = self.now.kind == "on"
            matching.labels = self.labels_after()
            if self.now.kind in ("group_left", "group_right"):
                side = self.take().kind
                matching.card = "many-to-one" if side == "group_left" else "one-to-many"
                matching.include = self.grouping() if self.now.kind == "(" else []
        if self.now.kind == "fill":
            self.take()
            matching.fill_left = matching.fill_right = self.fill_value()
            return matching, is_bool
        first = self.now.kind
        while self.now.kind in ("fill_left", "fill_right"):
            side = self.take().kind
            value = self.fill_value()
            setattr(matching, side, value)
            if self.now.kind == first:
                break
        return matching, is_bool

    def fill_value(self) -> float:
        self.take()
        sign = self.take().kind if self.now.kind in ("+", "-") else "+"
        if self.now.kind not in ("NUMBER", "DURATION"):
            self.unexpected()
        value = self.number().value
        if self.now.kind != ")":
            self.unexpected()
        self.take()
        return -value if sign == "-" else value

    # Selectors and what follows them --------------------------------------------------------------

    def selector(self) -> tree.Selector:
        token = self.now
        name = ""
        matchers: list[Matcher] = []
        end = token.end
        if token.kind != "{":
            name = self.take().text
        if self.now.kind == "{":
            matchers = self.matchers()
            end = self.closed
        if name:
            matchers.append(Matcher("=", "__name__", name))
        return tree.Selector(name, matchers, start=token.start, end=end)

    def matchers(self) -> list[Matcher]:
        self.take()
        found: list[Matcher] = []
        while not self.skip("}"):
            if found:
                if self.now.kind != ",":
                    self.unexpected("label matching", '"," or "}"')
                self.take()
                if self.skip("}"):
                    break
            found.append(self.matcher())
        return found

    def matcher(self) -> Matcher:
        token = self.now
        if token.kind not in ("IDENTIFIER", "STRING"):
            self.unexpected("label matching", 'identifier or "}"')
        self.take()
        name = unquoted(token.text) if token.kind == "STRING" else token.text
        op = self.now.kind
        if op not in ("=", "!=", "=~", "!~"):
            if token.kind == "STRING":  # {"a metric"}
                return Matcher("=", "__name__", name)
            self.unexpected("label matching", "label matching operator")
        self.take()
        if self.now.kind != "STRING":
            self.unexpected("label matching", "string")
        try:
            return Matcher(cast(MatchOp, op), name, unquoted(self.take().text))
        except BadPattern as error:
            self.fail(str(error), token.start)

    def modified(self, node: tree.Node) -> tree.Node:
        """Brackets, offset, @, anchored and smoothed after an operand."""
        while True:
            kind = self.now.kind
            if kind == "[":
                node = self.bracketed(node)
            elif kind == "offset":
                self.take()
                self.set_offset(node, self.offset())
            elif kind == "@":
                self.take()
                self.set_time(node)
            elif kind in ("anchored", "smoothed"):
                self.take()
                self.set_extension(node, kind)
            else:
                return node

    def bracketed(self, node: tree.Node) -> tree.Node:
        """A range `[5m]` or a subquery `[1h:5m]`."""
        bracket = self.take()
        length, length_text = self.positive_duration("subquery or range selector")
        if self.now.kind == ":":
            return self.subquery(node, length, length_text)
        if self.now.kind != "]":
            self.unexpected("subquery or range", '":" or "]"')
        end = self.take().end
        if not isinstance(node, tree.Selector):
            self.fail("ranges only allowed for vector selectors", bracket.start)
        if node.offset_ms or node.offset_text is not None:
            self.fail("no offset modifiers allowed before range", bracket.start)
        if node.at_ms is not None or node.at_edge:
            self.fail("no @ modifiers allowed before range", bracket.start)
        return tree.Range(node, length, length_text, start=node.start, end=end)

    def subquery(
        self, node: tree.Node, length: int, length_text: tree.Duration | None
    ) -> tree.Node:
        self.take()
        step, step_text = 0, None
        if self.now.kind != "]":
            if self.now.kind not in _DURATION_START:
                wish = 'number, duration, step(), range(), or "]"'
                self.unexpected("subquery selector", wish)
            step, step_text = self.positive_duration("subquery selector")
            if self.now.kind != "]":
                self.unexpected("subquery selector", '"]"')
        end = self.take().end
        return tree.Subquery(node, length, length_text, step, step_text, start=node.start, end=end)

    def offset(self) -> tree.Node:
        """After `offset` stands one operand, so that `a offset 5m * 2` is `(a offset 5m) * 2`; but
        a parenthesis without a sign may go on."""
        token = self.now
        sign = self.take() if token.kind in ("+", "-") else None
        if self.now.kind not in _DURATION_START:
            self.unexpected("offset", "number, duration, step(), or range()")
        if sign is None and self.now.kind == "(":
            return self.duration()
        inner = self.duration_operand()
        return inner if sign is None else self.signed(sign, inner)

    def positive_duration(self, where: str) -> tuple[int, tree.Duration | None]:
        if self.now.kind not in _DURATION_START:
            self.unexpected(where, "number, duration, step(), or range()")
        found = self.duration()
        if isinstance(found, tree.Duration):
            return 0, found
        number = cast(tree.Number, found)
        if number.value <= 0:
            self.fail("duration must be greater than 0", number.start)
        return _milliseconds(number.value), None

    def duration(self, binds: int = 4) -> tree.Node:
        """A calculation of durations, by the precedence of `expression`."""
        self.deeper()
        left, before = self.duration_operand(), self.depth
        while self.now.kind in ("+", "-", "*", "/", "%", "^"):
            level = _LEVELS[self.now.kind]
            if level < binds:
                break
            self.deeper()
            op = self.take()
            right = self.duration(level if op.kind == "^" else level + 1)
            self.needs_durations(left)
            if op.kind in "/%" and isinstance(right, tree.Number) and right.value == 0:
                what = "division" if op.kind == "/" else "modulo"
                self.fail(f"{what} by zero", op.start)
            left = tree.Duration(op.kind, left, right, start=left.start, end=right.end)
        self.depth = before - 1
        return left

    def duration_operand(self) -> tree.Node:
        token = self.now
        if token.kind not in _DURATION_START:
            self.unexpected()
        if token.kind in ("NUMBER", "DURATION"):
            number = self.number()
            if not -_LONGEST_DURATION_S <= number.value <= _LONGEST_DURATION_S:
                self.fail("duration out of range", number.start)
            return number
        self.take()
        if token.kind in ("+", "-"):
            return self.signed(token, self.duration(_UNARY_BINDS))
        if token.kind == "(":
            return self.wrapped_duration(token)
        if self.now.kind != "(":
            self.unexpected()
        self.take()
        found = tree.Duration(token.kind, start=token.start)
        if token.kind in ("max_of", "min_of"):
            found.left = self.duration()
            if self.now.kind != ",":
                self.unexpected()
            self.take()
            found.right = self.duration()
        if self.now.kind != ")":
            self.unexpected()
        found.end = self.take().end
        self.needs_durations(found)
        return found

    def wrapped_duration(self, bracket: Token) -> tree.Node:
        """In parentheses. A bare number gets a unary plus that remembers them."""
        inner = self.duration()
        if self.now.kind != ")":
            self.unexpected()
        end = self.take().end
        self.needs_durations(inner)
        if isinstance(inner, tree.Duration):
            inner.wrapped = True
            return inner
        return tree.Duration("+", None, inner, True, start=bracket.start, end=end)

    def signed(self, sign: Token, inner: tree.Node) -> tree.Node:
        if isinstance(inner, tree.Number):
            inner.value = -inner.value if sign.kind == "-" else inner.value
            inner.start = sign.start
            return inner
        if sign.kind == "+":
            return inner
        return tree.Duration("-", None, inner, start=sign.start, end=inner.end)

    def needs_durations(self, node: tree.Node) -> None:
        if not self.features.duration_expressions:
            self.fail("experimental duration expression is not enabled", node.start)

    def moved(self, node: tree.Node, what: str) -> tree.Moved:
        """The part of an expression that a modifier of time belongs to."""
        if isinstance(node, tree.Range):
            return node.selector
        if isinstance(node, tree.Moved):
            return node
        return self.fail(
            f"{what} must be preceded by an instant vector selector or range vector selector "
            "or a subquery",
            node.start,
        )

    def set_offset(self, node: tree.Node, offset: tree.Node) -> None:
        target = self.moved(node, "offset modifier")
        if target.offset_ms or target.offset_text is not None:
            self.fail("offset may not be set multiple times", node.start)
        if isinstance(offset, tree.Duration):
            target.offset_text = offset
        else:
            target.offset_ms = _milliseconds(cast(tree.Number, offset).value)
        node.end = self.closed

    def set_time(self, node: tree.Node) -> None:
        """`@ 1600000000.5`, `@ start()` or `@ end()`."""
        edge, seconds = None, 0.0
        if self.now.kind in ("start", "end"):
            edge = self.take().kind
            for bracket in "()":
                if self.now.kind != bracket:
                    self.unexpected("@", "timestamp")
                self.take()
        else:
            sign = self.take().kind if self.now.kind in ("+", "-") else "+"
            if self.now.kind not in ("NUMBER", "DURATION"):
                self.unexpected("@", "timestamp")
            seconds = self.number().value * (-1 if sign == "-" else 1)
            if not -(2.0**63) < seconds < 2.0**63:
                shown = f"{seconds:f}".replace("inf", "Inf").replace("nan", "NaN")
                shown = "+Inf" if shown == "Inf" else shown
                self.fail(f"timestamp out of bounds for @ modifier: {shown}", node.start)
        target = self.moved(node, "@ modifier")
        if target.at_ms is not None or target.at_edge:
            self.fail("@ <timestamp> may not be set multiple times", node.start)
        if edge:
            target.at_edge = "start" if edge == "start" else "end"
        else:
            whole = int(math.floor(abs(seconds) * 1000 + 0.5) * math.copysign(1, seconds))
            target.at_ms = max(-_FARTHEST_MS, min(whole, _FARTHEST_MS))
        node.end = self.closed

    def set_extension(self, node: tree.Node, kind: str) -> None:
        if not self.features.extended_ranges:
            self.fail(f"{kind} modifier is experimental and not enabled", node.start)
        if isinstance(node, tree.Subquery):
            self.fail(f"{kind} modifier is not supported for subqueries", node.start)
        target = node.selector if isinstance(node, tree.Range) else node
        if not isinstance(target, tree.Selector):
            self.fail(f"{kind} modifier not implemented", node.start)
        if target.extension and target.extension != kind:
            message = "anchored and smoothed modifiers cannot be used together"
            self.fail(message, node.start)
        target.extension = "anchored" if kind == "anchored" else "smoothed"


def valid_label(name: str) -> bool:
    """UTF-8 and not empty, as Prometheus 3 has it."""
    return bool(name) and not any("\ud800" <= character <= "\udfff" for character in name)
