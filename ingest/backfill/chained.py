"""Rules that read what rules before them record.

A data source has the past of what was scraped, not of what a rule is only now about to make of it.
So where an expression names a metric that an earlier rule records, that rule's expression is put in
its place: `rate(job:hits:sum[1h])` becomes a subquery at the step of the replay. The result is what
the two would have recorded one after the other, without waiting for anything to become visible.

Only names are looked at, not the grammar: an expression consists of strings, comments, words and
marks, and a word is a metric unless it calls a function, stands in braces or in a list of labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ingest.backfill.rules import Group, Rule
from ingest.errors import OperatorError

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"|(?P<skip>\s+|\#[^\n]*)"
    r"|(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<number>[0-9.][0-9a-zA-Z.]*)"
    r"|(?P<mark>=~|!~|!=|==|>=|<=|.)",
    re.DOTALL,
)
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
"""What a regular expression may mean something else by; all of it may be escaped."""
_LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
"""Words before a list of labels in parentheses."""
_NAME = "__name__"
_MATCHED = "__promgres_matched"
"""A label that marks what a matcher takes, and is gone from the result."""
_LOOKBACK = "5m"

Token = tuple[str, str]
"""Kind and text."""


def expand(groups: Sequence[Group]) -> list[Group]:
    """The same groups, whose rules ask for nothing that earlier rules of them record.

    A rule that reads the metric it records itself reads the data source's.

    Raises:
        OperatorError: a rule reads another one's result in a way that cannot be taken apart.
    """
    made: dict[str, list[str]] = {}
    expanded = []
    for group in groups:
        rules = []
        for rule in group.rules:
            known = {name: exprs for name, exprs in made.items() if name != rule.record}
            expr = _Expansion(rule, known, f"{group.step_ms}ms").text()
            rules.append(replace(rule, expr=expr))
            made.setdefault(rule.record, []).append(_as_recorded(rules[-1]))
        expanded.append(replace(group, rules=tuple(rules)))
    return expanded


def _as_recorded(rule: Rule) -> str:
    """An expression whose result has the name and the labels that the rule gives it."""
    text = f"({rule.expr})"
    for name, value in {**rule.labels, _NAME: rule.record}.items():
        text = _set_label(text, name, value)
    return text


def _set_label(text: str, name: str, value: str) -> str:
    literal = _quoted(value.replace("$", "$$"))
    return f'label_replace({text}, {_quoted(name)}, {literal}, "", "")'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class _Expansion:
    """One expression on its way through."""

    def __init__(self, rule: Rule, made: Mapping[str, list[str]], step: str) -> None:
        self._rule, self._made, self._step = rule, made, step
        self._tokens = [(m.lastgroup or "", m.group()) for m in _TOKEN.finditer(rule.expr)]
        self._at = 0

    def text(self) -> str:
        """Token after token; a selector of what is made gives way to what makes it."""
        parts: list[str] = []
        while self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind == "word" and text in _LISTS:
                parts += self._until(")") if self._next_mark(1) == "(" else self._take()
            elif text == "{" or (kind == "word" and self._next_mark(1) != "("):
                parts.append(self._selector())
            else:
                parts += self._take()
        return "".join(parts)

    def _selector(self) -> str:
        """A metric with or without braces, or braces alone; then its range and its offset."""
        start = self._at
        kind, text = self._tokens[start]
        name = text if kind == "word" else None
        if kind == "word":
            self._at += 1
            self._at += self._gap() if self._next_mark(0) == "{" else 0
        matchers: list[tuple[str, str, str]] | None = []
        if self._at < len(self._tokens) and self._tokens[self._at][1] == "{":
            matchers = _matchers(self._until_tokens("}")[1:-1])
        written = "".join(token for _, token in self._tokens[start : self._at])
        if matchers is None:
            if name in self._made:
                raise OperatorError(f"{self._rule.place}: matchers are not understood: {written}")
            return written
        for label, operator, value in matchers:
            if label == _NAME and operator == "=":
                name = value
        if name is None:
            self._refuse_pattern(matchers)
        if name is None or name not in self._made:
            return written
        others = [each for each in matchers if each[0] != _NAME]
        return self._in_place_of(" or ".join(self._made[name]), others)

    def _in_place_of(self, made: str, matchers: Iterable[tuple[str, str, str]]) -> str:
        """What was recorded, with matchers, a range and an offset as the selector had them.

        A range of samples becomes a subquery at the step of the replay, which meets the very
        timestamps that are recorded. An offset needs one too: only selectors and subqueries take
        it; among its points `last_over_time` finds the one that a selector would.
        """
        text = f"({made})"
        for label, operator, value in matchers:
            text = _matching(text, label, operator, value)
        gap = self._gap()
        if self._next_mark(gap) == "[":
            self._at += gap
            inside = "".join(self._until("]"))[1:-1]
            return f"{text}[{inside if ':' in inside else f'{inside}:{self._step}'}]"
        words = [text for kind, text in self._tokens[self._at :] if kind != "skip"][:3]
        if not words or words[0] not in ("offset", "@"):
            return text
        # `offset 5m`, `offset -5m`, `@ 1609746000`, `@ end()`: one word more, or two, or three.
        most = 3 if words[0] == "offset" and words[1:2] == ["-"] else 2
        if words[0] == "@" and words[1:2] in (["start"], ["end"]):
            raise OperatorError(f"{self._rule.place}: what it reads is recorded by an earlier rule,"
                                f" and @ {words[1]}() cannot be put to that")  # fmt: skip
        modifier = " ".join(words[:most])
        taken = 0
        while taken < most:
            taken += self._tokens[self._at][0] != "skip"
            self._at += 1
        return f"last_over_time({text}[{_LOOKBACK}:{self._step}] {modifier})"

    def _refuse_pattern(self, matchers: Iterable[tuple[str, str, str]]) -> None:
        """Raises OperatorError: metrics are chosen by a pattern that takes one of those made."""
        for label, operator, value in matchers:
            if label != _NAME or operator != "=~":
                continue
            taken: list[str] = []
            with suppress(re.error):  # what this is no pattern for, the data source may understand
                taken = [name for name in self._made if re.fullmatch(value, name)]
            if taken:
                raise OperatorError(
                    f"{self._rule.place}: it reads {taken[0]}, which an earlier rule records, by a"
                    " pattern of names; name it, or give --chained=datasource"
                )

    def _next_mark(self, ahead: int) -> str:
        """The next text after some tokens, white space and comments left out."""
        rest = self._tokens[self._at + ahead :]
        return next((text for kind, text in rest if kind != "skip"), "")

    def _gap(self) -> int:
        """How many tokens of white space come next."""
        count = 0
        while self._tokens[self._at + count :][:1] and self._tokens[self._at + count][0] == "skip":
            count += 1
        return count

    def _take(self) -> list[str]:
        self._at += 1
        return [self._tokens[self._at - 1][1]]

    def _until(self, end: str) -> list[str]:
        return [text for _, text in self._until_tokens(end)]

    def _until_tokens(self, end: str) -> list[Token]:
        """All tokens up to and with the next `end`, or to the end of an unfinished expression."""
        start = self._at
        while self._at < len(self._tokens) and self._tokens[self._at][1] != end:
            self._at += 1
        self._at = min(self._at + 1, len(self._tokens))
        return self._tokens[start : self._at]


def _matchers(tokens: Iterable[Token]) -> list[tuple[str, str, str]] | None:
    """Label, operator and value of each matcher in braces, where a string alone is the name; None
    if there is something else, such as the `or` of MetricsQL."""
    inside = [token for token in tokens if token[0] != "skip"]
    found = []
    while inside:
        size = 1 if inside[0][0] == "string" and inside[1:2] in ([], [("mark", ",")]) else 3
        if size == 1:
            found.append((_NAME, "=", _unquoted(inside[0][1])))
        elif len(inside) < 3 or inside[1][1] not in ("=", "!=", "=~", "!~"):
            return None
        else:
            found.append((_unquoted(inside[0][1]), inside[1][1], _unquoted(inside[2][1])))
        if inside[size : size + 1] not in ([], [("mark", ",")]):
            return None
        inside = inside[size + 1 :]
    return found


def _unquoted(text: str) -> str:
    """A string's value; a word is its own."""
    if text[:1] == "`":
        return text[1:-1]
    if text[:1] in ("'", '"'):
        return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]),
                      text[1:-1], flags=re.DOTALL)  # fmt: skip
    return text


def _matching(text: str, label: str, operator: str, value: str) -> str:
    """What of a vector a matcher takes: PromQL has matchers for selectors alone, so a label is
    set where the value matches, compared, and taken away."""
    pattern = value if operator in ("=~", "!~") else _PUNCTUATION.sub(r"\\\g<0>", value)
    marked = f'label_replace({text}, "{_MATCHED}", "1", {_quoted(label)}, {_quoted(pattern)})'
    keeps = "and" if operator in ("=", "=~") else "unless"
    kept = f"({marked} {keeps} on ({_MATCHED}) {_set_label('vector(1)', _MATCHED, '1')})"
    return _set_label(kept, _MATCHED, "") if keeps == "and" else kept
