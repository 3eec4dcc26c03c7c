"""Text of a query to tokens, with the messages that Prometheus gives for what is none.

A token has a kind (its own text for operators and brackets, lower case for keywords, a word in
capitals for the rest), where it starts in the text, and its text. Lexing never raises: what cannot
be a token ends the list as one of kind ERROR, whose text is the message, so that a mistake of the
grammar before it is reported first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ingest.promql.gotext import go_quote

SET_OPERATORS = frozenset({"and", "or", "unless"})
COMPARISONS = frozenset({"==", "!=", "<=", "<", ">=", ">"})
TRIMS = frozenset({"</", ">/"})
AGGREGATORS = frozenset(
    [
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ]
)
WITH_PARAMETER = frozenset({"topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"})
_FILLS = frozenset({"fill", "fill_left", "fill_right"})
_MODIFIERS = _FILLS | frozenset(
    [
        "offset",
        "smoothed",
        "anchored",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
    ]
)
_DURATION_WORDS = frozenset({"step", "range", "max_of", "min_of"})
CALLED_KEYWORDS = _DURATION_WORDS | {"start", "end"}
"""Keywords that are functions where an expression stands."""

_OPERATOR_WORDS = SET_OPERATORS | {"atan2"}
_KEYWORDS = _OPERATOR_WORDS | AGGREGATORS | _MODIFIERS | CALLED_KEYWORDS
NAMES = frozenset({"IDENTIFIER", "METRIC_IDENTIFIER"})
METRIC_WORDS = (
    NAMES
    | AGGREGATORS
    | SET_OPERATORS
    | CALLED_KEYWORDS
    | _FILLS
    | {"by", "without", "offset", "anchored", "smoothed"}
)
"""Kinds that may name a metric outside braces."""

LABEL_WORDS = METRIC_WORDS | _MODIFIERS | {"atan2"}
"""Kinds that may name a label in `by (…)` and its like."""

_OPERATORS = (
    frozenset(["+", "-", "*", "/", "%", "^", "@", "=~", "!~"])
    | COMPARISONS
    | TRIMS
    | _OPERATOR_WORDS
)
_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"#[^\r\n]*")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LETTERS = re.compile(r"[A-Za-z_]+")
_HEX = re.compile(r"0[xX]_?[0-9a-fA-F]*(?:_[0-9a-fA-F]+)*")
_DECIMAL = re.compile(
    r"(?:[0-9]+(?:_[0-9]+)*)?(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?"
)
_UNITS = re.compile(r"[smhdwy]s?(?:[0-9]+[smhdw]s?)*")
_ESCAPES = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


class Token(NamedTuple):
    kind: str
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def described(self) -> str:
        """As Prometheus names it in "unexpected …"."""
        if self.kind == "EOF":
            return "end of input"
        if self.kind in _MODIFIERS:
            return f"<{self.text}>"
        if self.kind in _OPERATORS:
            return f"<op:{self.text}>"
        if self.kind in AGGREGATORS:
            return f"<aggr:{self.text}>"
        shown = go_quote(self.text)
        if self.kind not in NAMES and len(self.text) > 10:
            shown = go_quote(self.text[:10]) + "..."
        words = {"METRIC_IDENTIFIER": "metric identifier "}
        if self.kind.isupper():
            return words.get(self.kind, self.kind.lower() + " ") + shown
        return shown


class _Wrong(Exception):
    def __init__(self, message: str, start: int) -> None:
        self.start = start
        super().__init__(message)


def tokens(text: str) -> list[Token]:
    """All tokens of a query; the last is EOF or ERROR."""
    lexer = _Lexer(text)
    try:
        while lexer.step():
            pass
    except _Wrong as error:
        lexer.found.append(Token("ERROR", error.start, str(error)))
    return lexer.found


@dataclass
class _Lexer:
    """What has been read, and which brackets are open: they decide what a letter may begin."""

    text: str

    def __post_init__(self) -> None:
        self.found: list[Token] = []
        self.at = 0
        self.parentheses = 0
        self.in_braces = False
        self.in_brackets = False
        self.has_colon = False
        self.has_duration = True  # false between "[" and the first number

    def step(self) -> bool:
        """Read one token; False after the last."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        comment = _COMMENT.match(self.text, self.at)
        if comment:
            self.at = comment.end()
            return True
        if self.at >= len(self.text):
            self._end()
            return False
        character = self.text[self.at]
        if character in "\"'`":
            self._string(character)
        elif self.in_braces:
            self._inside_braces(character)
        elif "0" <= character <= "9" or (character == "." and self._is_digit(self.at + 1)):
            self._number()
        elif _WORD.match(character):
            self._word(character)
        else:
            self._sign(character)
        return True

    def _end(self) -> None:
        if self.in_braces:
            raise _Wrong("unexpected end of input inside braces", self.at)
        if not self.has_duration:
            raise _Wrong("unexpected end of input in duration expression", self.at)
        if self.parentheses:
            raise _Wrong("unclosed left parenthesis", self.at)
        if self.in_brackets:
            raise _Wrong("unclosed left bracket", self.at)
        self._emit("EOF", self.at)

    def _emit(self, kind: str, end: int) -> None:
        self.found.append(Token(kind, self.at, self.text[self.at : end]))
        self.at = end

    def _is_digit(self, at: int) -> bool:
        return "0" <= self.text[at : at + 1] <= "9"

    def _is_word(self, at: int) -> bool:
        return bool(re.match(r"[A-Za-z0-9_]", self.text[at : at + 1]))

    def _string(self, quote: str) -> None:
        """A quoted string; its escapes are checked here and replaced by `unquoted`."""
        at = self.at + 1
        while True:
            character = self.text[at : at + 1]
            if not character or (character == "\n" and quote != "`"):
                kind = "raw" if quote == "`" else "quoted"
                raise _Wrong(f"unterminated {kind} string", self.at)
            if character == "\ufffd" or "\ud800" <= character <= "\udfff":
                raise _Wrong("invalid UTF-8 rune", self.at)
            at += 1
            if character == quote:
                break
            if character == "\\" and quote != "`":
                at = self._escape(at, quote)
        self._emit("STRING", at)

    def _escape(self, at: int, quote: str) -> int:
        """Check the escape whose backslash stands before `at`; where it ends."""
        kind = self.text[at : at + 1]
        if kind and kind in "abfnrtv\\" + quote:
            return at + 1
        if not kind:
            raise _Wrong("escape sequence not terminated", self.at)
        if "0" <= kind <= "7":
            length, base = 3, 8
        elif kind in _ESCAPES:
            length, base = _ESCAPES[kind]
            at += 1
        else:
            raise _Wrong(f"unknown escape sequence U+{ord(kind):04X} {kind!r}", self.at)
        for digit in range(at, at + length):
            character = self.text[digit : digit + 1]
            if not character:
                raise _Wrong("escape sequence not terminated", self.at)
            if not re.match("[0-7]" if base == 8 else "[0-9a-fA-F]", character):
                shown = f"U+{ord(character):04X} {character!r}"
                raise _Wrong(f"illegal character {shown} in escape sequence", self.at)
        code = int(self.text[at : at + length], base)
        if code > (255 if length < 4 else 0x10FFFF) or 0xD800 <= code < 0xE000:
            raise _Wrong("escape sequence is an invalid Unicode code point", self.at)
        return at + length

    def _inside_braces(self, character: str) -> None:
        label = _LABEL.match(self.text, self.at)
        pair = self.text[self.at : self.at + 2]
        if label:
            self._emit("IDENTIFIER", label.end())
        elif pair in ("=~", "!~", "!="):
            self._emit(pair, self.at + 2)
        elif character in ",=":
            self._emit(character, self.at + 1)
        elif character == "}":
            self.in_braces = False
            self._emit("}", self.at + 1)
        elif character == "!":
            shown = go_quote(pair[1:] or "\ufffd", "'")
            raise _Wrong(f"unexpected character after '!' inside braces: {shown}", self.at)
        elif character == "{":
            raise _Wrong("unexpected left brace '{'", self.at)
        else:
            shown = go_quote(character, "'")
            raise _Wrong(f"unexpected character inside braces: {shown}", self.at)

    def _number(self) -> None:
        """A number (`0x1F`, `1_000.5e3`) or a duration (`1h30m`)."""
        self.has_duration = True
        pattern = _HEX if self.text[self.at : self.at + 2].lower() == "0x" else _DECIMAL
        end = pattern.match(self.text, self.at).end()  # type: ignore[union-attr]
        if not self._is_word(end) and self.text[end : end + 1] != ".":
            self._emit("NUMBER", end)
            return
        units = _UNITS.match(self.text, end)
        if units and not self._is_word(units.end()):
            self._emit("DURATION", units.end())
            return
        seen = units.end() + 1 if units else end + (self.text[end] in "._")
        shown = go_quote(self.text[self.at : seen])
        raise _Wrong(f"bad number or duration syntax: {shown}", self.at)

    def _word(self, character: str) -> None:
        if self.in_brackets:
            self._word_in_brackets(character)
            return
        end = _WORD.match(self.text, self.at).end()  # type: ignore[union-attr]
        word = self.text[self.at : end]
        keyword = word.lower()
        if keyword in ("inf", "nan"):
            self._emit("NUMBER", end)
        elif keyword in _KEYWORDS and not (
            # `fill` stays a metric's name but where a parenthesis makes it a modifier.
            keyword in _FILLS and self.text[_SPACE.match(self.text, end).end() :][:1] != "("  # type: ignore[union-attr]
        ):
            self._emit(keyword, end)
        else:
            self._emit("METRIC_IDENTIFIER" if ":" in word else "IDENTIFIER", end)

    def _word_in_brackets(self, character: str) -> None:
        """Between "[" and "]" stand durations alone: one colon, and the words of durations."""
        letters = _LETTERS.match(self.text, self.at)
        if letters and letters[0].lower() in _DURATION_WORDS:
            self._emit(letters[0].lower(), letters.end())
        elif character != ":":
            shown = go_quote(character, "'")
            if not self.has_duration:
                raise _Wrong(f"unexpected character in duration expression: {shown}", self.at)
            raise _Wrong(f"unexpected character: {shown}, expected ':'", self.at)
        elif not self.has_duration and self.found[-1].kind == "[":
            message = "unexpected colon before duration in duration expression"
            raise _Wrong(message, self.at + 1)
        elif self.has_colon:
            raise _Wrong("unexpected colon ':'", self.at)
        else:
            self.has_colon = True
            self._emit(":", self.at + 1)

    def _sign(self, character: str) -> None:
        pair = self.text[self.at : self.at + 2]
        if pair in ("==", "!=", "<=", ">=", "</", ">/"):
            self._emit(pair, self.at + 2)
        elif pair == "=~":
            raise _Wrong("unexpected character after '=': '~'", self.at)
        elif character == "!":
            shown = go_quote(pair[1:] or "\ufffd", "'")
            raise _Wrong(f"unexpected character after '!': {shown}", self.at)
        elif character in ",*/%+-^=<>@(){[]":
            self._bracket(character)
            self._emit(character, self.at + 1)
        else:
            shown = go_quote(character, "'")
            place = "" if self.has_duration else " in duration expression"
            raise _Wrong(f"unexpected character{place}: {shown}", self.at)

    def _bracket(self, character: str) -> None:
        """Remember what opens and closes."""
        if character == "(":
            self.parentheses += 1
        elif character == ")":
            self.parentheses -= 1
            if self.parentheses < 0:
                raise _Wrong("unexpected right parenthesis ')'", self.at + 1)
        elif character == "{":
            self.in_braces = True
        elif character == "[":
            if self.in_brackets:
                raise _Wrong("unexpected left bracket '['", self.at)
            self.in_brackets, self.has_colon, self.has_duration = True, False, False
        elif character == "]":
            if not self.in_brackets:
                raise _Wrong("unexpected right bracket ']'", self.at)
            self.in_brackets, self.has_duration = False, True


def unquoted(text: str) -> str:
    """What a string token says. Bytes that are no UTF-8 (`\\xff`) become lone surrogates."""
    if text[0] == "`":
        return text[1:-1]
    simple = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
    said, at, end = bytearray(), 1, len(text) - 1
    while at < end:
        character = text[at]
        at += 1
        if character != "\\":
            said += character.encode()
            continue
        kind = text[at]
        at += 1
        if kind in simple:
            said.append(simple[kind])
        elif kind in _ESCAPES:
            length, base = _ESCAPES[kind]
            code = int(text[at : at + length], base)
            said += bytes([code]) if kind == "x" else chr(code).encode()
            at += length
        elif "0" <= kind <= "7":
            said.append(int(text[at - 1 : at + 2], 8))
            at += 2
        else:
            said += kind.encode()
    return said.decode(errors="surrogateescape")
