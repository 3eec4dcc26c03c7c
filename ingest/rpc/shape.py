"""How a request wants the result of a function shaped: which columns and rows, in what order.

`select=a,b:c::text,d->x->>y`, `order=a.desc.nullslast`, `limit`, `offset`, filters on columns
(`a=gt.1`, `a=not.in.(1,2)`) and trees of them (`or=(a.eq.1,and(b.is.null,c.gt.2))`) are read here
as PostgREST reads them. What is read is a `Shape`, in which there is no value of the client's, and
the values: a shape becomes SQL once, however often it is asked for with other values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeVar

from ingest.http.problems import Problem

Value = str | bytes | int | None | list[str]
"""What is bound: a text, the texts of an `in.(…)`, a limit or an offset; a body."""

RESERVED = frozenset({"select", "order", "limit", "offset", "and", "or", "columns", "on_conflict"})
"""Query parameters that shape a result, unless the function has an argument of that name."""
PAGING = frozenset({"limit", "offset"})
"""Of these the last counts that is given, of the others the first."""
LOGIC = frozenset({"and", "or", "not.and", "not.or"})

OPERATOR = re.compile(
    r"(?:not|eq|neq|gt|gte|lt|lte|like|ilike|match|imatch|in|is|isdistinct|fts|plfts|phfts|wfts"
    r"|cs|cd|ov|sl|sr|nxr|nxl|adj)\."
    r"|(?:eq|gt|gte|lt|lte|like|ilike|match|imatch)\((?:any|all)\)\."
    r"|(?:fts|plfts|phfts|wfts)\([\w $]+\)\."
)
"""How the value of a filter on a column begins."""

COMPARED = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=",
    "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<", "nxl": "&>",
    "adj": "-|-",
}  # fmt: skip
"""Operators whose other side is a value of the column's own type."""
MATCHED = {"like": "LIKE", "ilike": "ILIKE", "match": "~", "imatch": "~*"}
"""Operators whose other side is a pattern."""
QUANTIFIED = frozenset({"eq", "gt", "gte", "lt", "lte", *MATCHED})
SEARCHED = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
"""Full text search."""
TESTED = {
    "null": "NULL", "not_null": "NOT NULL", "true": "TRUE", "false": "FALSE", "unknown": "UNKNOWN",
}  # fmt: skip

DEEPEST = 30
"""Parentheses within parentheses."""
MOST_ROWS = 2**63 - 1

STAR = "*"
_AGGREGATE = re.compile(r"\.(?:sum|avg|count|max|min)\(\)")
_NAME = re.compile(r"(?:[\w $]|-(?!>))+")
_KEY = re.compile(r"(?:[^-(:.,>)]|-(?!>))+")
_INDEX = re.compile(r"-?\d{1,9}(?=->|::|[.,)]|\Z)", re.ASCII)
_TYPE = re.compile(r"[^\W\d][\w ]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_END = re.compile(r"(?=[,)]|\Z)")
_BARE = re.compile(r"[^,)]*")
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Field:
    """A column, and the way into its JSON: each step is an arrow and an index, or None for a key,
    which is a value."""

    name: str
    path: tuple[tuple[Literal["->", "->>"], int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """Something selected: what it is called in the answer, and which type it becomes."""

    field: Field
    alias: str
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one field. Its values: keys of the field's path, the language of a search, and
    what is compared with (none for `is`).

    Attributes:
        operator: as PostgREST calls it.
        quantifier: `ANY`, `ALL`, or none.
        tested: what `is` tests for, a word of SQL.
    """

    field: Field
    negated: bool
    operator: str
    quantifier: str = ""
    tested: str = ""
    has_language: bool = False


@dataclass(frozen=True, slots=True)
class Logic:
    """Conditions joined by AND or OR."""

    negated: bool
    joint: Literal["AND", "OR"]
    parts: tuple[Condition, ...]


Condition = Filter | Logic


@dataclass(frozen=True, slots=True)
class Term:
    """What rows are ordered by, with what follows the column in SQL."""

    field: Field
    how: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What becomes SQL. The values it needs stand in this order: of the conditions, of what is
    selected, of the order, then limit and offset if it is `paged`.

    Attributes:
        select: None for all columns as they are.
        counted: it is to be said how many rows there would be without limit and offset.
    """

    where: tuple[Condition, ...] = ()
    select: tuple[Item, ...] | None = None
    order: tuple[Term, ...] = ()
    paged: bool = False
    counted: bool = False

    @property
    def columns(self) -> set[str]:
        """Columns that a function must have for it."""
        fields = [each.field for each in self.select or ()] + [each.field for each in self.order]
        waiting = list(self.where)
        while waiting:
            condition = waiting.pop()
            if isinstance(condition, Logic):
                waiting.extend(condition.parts)
            else:
                fields.append(condition.field)
        return {each.name for each in fields} - {STAR}


WHOLE = Shape()


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that are asked for: at most `limit`, from the `offset`-th on."""

    offset: int = 0
    limit: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether that is every row."""
        return not self.offset and self.limit is None

    def within(self, most: int | None) -> Page:
        """The same with no more than `most` rows."""
        if most is None or (self.limit is not None and self.limit <= most):
            return self
        return Page(self.offset, most)

    @property
    def values(self) -> list[Value]:
        """Limit and offset as they are bound."""
        limit = None if self.limit is None else min(self.limit, MOST_ROWS)
        return [limit, min(self.offset, MOST_ROWS)]

    def content_range(self, rows: int, total: int | None) -> str:
        """What `Content-Range` says of an answer of so many rows."""
        some = f"{self.offset}-{self.offset + rows - 1}" if rows and total != 0 else "*"
        return f"{some}/{'*' if total is None else total}"


EVERY_ROW = Page()


def read_page(query: Mapping[str, str], header: str | None) -> Page:
    """`limit` and `offset`, and within them the `Range` header (of a GET; None of all others).

    Raises:
        Problem: 400, not a number; 416, it cannot be satisfied.
    """
    limit, offset = _number(query, "limit"), _number(query, "offset") or 0
    if limit is not None and limit < 0:
        raise unsatisfiable("Limit should be greater than or equal to zero.")
    page = Page(max(0, offset), limit)
    found = re.fullmatch(r"(\d{1,19})-(\d{0,19})", (header or "").strip(), re.ASCII)
    if not found or limit == 0:
        return page
    first, last = int(found[1]), int(found[2]) if found[2] else None
    if last is not None and first > last:
        raise unsatisfiable(
            "The lower boundary must be lower than or equal to the upper boundary"
            " in the Range header."
        )
    ends = [each for each in (last, limit and page.offset + limit - 1) if each is not None]
    start = max(first, page.offset)
    if ends and min(ends) < start:
        raise unsatisfiable("Limit should be greater than or equal to zero.")
    return Page(start, min(ends) - start + 1 if ends else None)


def read_columns(text: str) -> frozenset[str] | None:
    """The names in `columns=a,"b"`; None without any.

    Raises:
        Problem: 400, it cannot be read.
    """
    return frozenset(_Reader("columns parameter", text).names()) if text else None


def unsatisfiable(details: str, content_range: str | None = None) -> Problem:
    """416, with what there is instead."""
    headers = {"Content-Range": content_range} if content_range else {}
    return Problem(416, "PGRST103", "Requested range not satisfiable", details, headers=headers)


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,30}", text, re.ASCII):
        _Reader(name, text).fail("an integer")
    return int(text)


class ShapeReader:
    """Reads the parameters that shape a result, and keeps their values in the order of `Shape`."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._where: list[Condition] = []

    @property
    def is_unused(self) -> bool:
        """Whether there was nothing to read."""
        return not self._where

    def filter(self, name: str, value: str) -> None:
        """`name=eq.value`."""
        reader = _Reader("filter", name)
        field = reader.field(self.values, dotted=True)
        reader.end("a column")
        self._where.append(_Reader("filter", value).operation(field, self.values, in_tree=False))

    def logic(self, name: str, value: str) -> None:
        """`or=(…)`, `not.and=(…)`."""
        negated, _, joint = name.rpartition(".")
        reader = _Reader("logic tree", value)
        self._where.append(reader.tree(bool(negated), joint, self.values, 1))
        reader.end('","')

    def shape(
        self, select: str | None, order: str | None, *, paged: bool = False, counted: bool = False
    ) -> Shape:
        """All of it, after the filters."""
        items, terms = None, ()  # type: tuple[Item, ...] | None, tuple[Term, ...]
        if select is not None and select.strip() != STAR:
            items = _Reader("select parameter", select).items(self.values)
        if order:
            terms = _Reader("order", order).terms(self.values)
        return Shape(tuple(self._where), items, terms, paged, counted)


T = TypeVar("T")


class _Reader:
    """One parameter, read from left to right."""

    def __init__(self, what: str, text: str) -> None:
        if "\0" in text:
            raise Problem(400, "PGRST100", f"failed to parse {what}", "it holds a NUL character")
        self._what, self._text, self._at = what, text, 0

    def fail(self, expected: str) -> NoReturn:
        """400, with where it cannot be read on and what could have stood there."""
        text, at = self._text, self._at
        found = f'"{text[at]}"' if at < len(text) else "end of input"
        raise Problem(
            400,
            "PGRST100",
            f'"failed to parse {self._what} ({text})" (line 1, column {at + 1})',
            f"unexpected {found} expecting {expected}",
        )

    def end(self, expected: str) -> None:
        """Nothing may follow."""
        if self._at < len(self._text):
            self.fail(f"{expected} or end of input")

    def items(self, values: list[Value]) -> tuple[Item, ...]:
        if not self._text.strip():
            return ()
        items = self._several(lambda: self._item(values))
        self.end('","')
        return items

    def terms(self, values: list[Value]) -> tuple[Term, ...]:
        terms = self._several(lambda: self._term(values))
        self.end('","')
        return terms

    def names(self) -> tuple[str, ...]:
        names = self._several(lambda: self._name("field name (* or [a..z0..9_$])"))
        self.end('","')
        return names

    def field(self, values: list[Value], dotted: bool = False) -> Field:
        """A column with the keys of its path among the values."""
        self._skip()
        name = self._name("a column")
        if dotted and self._sees("."):
            raise _not_embedded(name)
        path: list[tuple[Literal["->", "->>"], int | None]] = []
        while self._sees("->"):
            arrow: Literal["->", "->>"] = "->>" if self._take("->>") else "->"
            self._take("->")
            if (index := self._matched(_INDEX)) is not None:
                path.append((arrow, int(index)))
                continue
            values.append(self._key())
            path.append((arrow, None))
        self._skip()
        return Field(name, tuple(path))

    def operation(self, field: Field, values: list[Value], *, in_tree: bool) -> Filter:
        """What stands behind the column. In a tree a value ends at a comma or parenthesis."""
        negated = self._take("not.")
        start = self._at
        operator = self._matched(re.compile("[a-z]+")) or ""
        quantifier = language = ""
        if operator in QUANTIFIED and self._take("("):
            quantifier = self._matched(re.compile("any|all")) or self.fail('"any" or "all"')
            self._expect(")")
        elif operator in SEARCHED and self._take("("):
            language = self._matched(re.compile(r"[\w $]+")) or self.fail("a configuration")
            self._expect(")")
        known = operator in COMPARED or operator in MATCHED or operator in SEARCHED
        if not (known or operator in ("in", "is", "isdistinct")):
            self._at = start
            self.fail("operator (eq, gt, ...)" if negated else '"not" or operator (eq, gt, ...)')
        self._expect(".", "delimiter (.)")
        if operator == "is":
            return Filter(field, negated, operator, tested=self._tested(in_tree))
        if language:
            values.append(language)
        if operator == "in":
            values.append(self._list(in_tree))
        else:
            value = self._value(in_tree)
            values.append(value.replace("*", "%") if operator in ("like", "ilike") else value)
        return Filter(field, negated, operator, quantifier.upper(), has_language=bool(language))

    def tree(self, negated: bool, joint: str, values: list[Value], depth: int) -> Logic:
        """`(a.eq.1,or(…))`, behind its operator."""
        if depth > DEEPEST:
            self.fail(f"no more than {DEEPEST} levels of logic")
        self._skip()
        self._expect("(")
        parts = self._several(lambda: self._part(values, depth))
        self._expect(")")
        self._skip()
        return Logic(negated, "AND" if joint == "and" else "OR", parts)

    def _part(self, values: list[Value], depth: int) -> Condition:
        self._skip()
        found = re.compile(r"(not\.)?(and|or)\s*(?=\()").match(self._text, self._at)
        if found:
            self._at = found.end()
            return self.tree(bool(found[1]), found[2], values, depth + 1)
        field = self.field(values)
        self._expect(".", "delimiter (.)")
        condition = self.operation(field, values, in_tree=True)
        self._skip()
        return condition

    def _item(self, values: list[Value]) -> Item:
        """A column with an alias before and a cast behind it.

        Raises:
            Problem: what PostgREST knows beyond columns: aggregates, and relations to embed.
        """
        self._skip()
        if self._take(STAR):
            self._skip()
            return Item(Field(STAR), STAR)
        start, alias = self._at, None
        if self._take("..."):
            raise _no_relation(self._name("a relation"))
        if self._sees("count()"):
            raise _no_aggregates()
        name = self._name("field name (* or [a..z0..9_$])")
        if self._sees(":") and not self._sees("::"):
            self._at += 1
            alias = name
        else:
            self._at = start
        if self._sees("count()"):
            raise _no_aggregates()
        seen = len(values)
        field = self.field(values)
        if self._sees("(") or self._sees("!"):
            raise _no_relation(field.name)
        keys = [each for each in values[seen:] if isinstance(each, str)]
        cast = None
        if self._take("::"):
            cast = (self._matched(_TYPE) or self.fail("a type")).strip().lower()
        if _AGGREGATE.match(self._text, self._at):
            raise _no_aggregates()
        self._skip()
        return Item(field, alias or (keys[-1] if keys else field.name), cast)

    def _term(self, values: list[Value]) -> Term:
        field = self.field(values)
        if self._sees("("):
            raise _not_embedded(field.name)
        how = ""
        if self._take(".desc"):
            how = " DESC"
        else:
            self._take(".asc")
        if self._take(".nullsfirst"):
            how += " NULLS FIRST"
        elif self._take(".nullslast"):
            how += " NULLS LAST"
        self._skip()
        if self._at < len(self._text) and not self._sees(","):
            self.fail('".asc", ".desc", ".nullsfirst", ".nullslast", ","')
        return Term(field, how)

    def _tested(self, in_tree: bool) -> str:
        word = self._matched(_BARE if in_tree else re.compile(".*", re.DOTALL)) or ""
        if word.lower() not in TESTED:
            self._at -= len(word)
            self.fail("isVal: (null, not_null, true, false, unknown)")
        return TESTED[word.lower()]

    def _list(self, in_tree: bool) -> list[str]:
        """`(1,"2,3",4)`; of nothing if there is nothing in it."""
        self._skip()
        self._expect("(")
        elements = self._several(lambda: self._quoted_value() or self._matched(_BARE) or "")
        self._expect(")")
        self._skip()
        if not in_tree:
            self.end("")
        return [] if elements == ("",) else list(elements)

    def _value(self, in_tree: bool) -> str:
        if not in_tree:
            value, self._at = self._text[self._at :], len(self._text)
            return value
        quoted = self._quoted_value()
        if quoted is not None:
            return quoted
        return self._matched(_BRACES) or self._matched(_BARE) or ""

    def _quoted_value(self) -> str | None:
        """A value in quotes, if nothing stands behind it; else the quotes are part of it."""
        start = self._at
        found = self._quoted()
        if found is not None and _QUOTED_END.match(self._text, self._at):
            return found
        self._at = start
        return None

    def _name(self, expected: str) -> str:
        name = self._quoted()
        if name is None:
            name = (self._matched(_NAME) or "").strip()
        return name or self.fail(expected)

    def _key(self) -> str:
        key = self._quoted()
        if key is None:
            key = (self._matched(_KEY) or "").strip()
        return key or self.fail("any non reserved character different from: .,>()")

    def _quoted(self) -> str | None:
        found = _QUOTED.match(self._text, self._at)
        if not found:
            return None
        self._at = found.end()
        return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)

    def _several(self, read: Callable[[], T]) -> tuple[T, ...]:
        found = [read()]
        while self._take(","):
            found.append(read())
        return tuple(found)

    def _matched(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if not found:
            return None
        self._at = found.end()
        return found[0]

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        found = self._sees(text)
        self._at += len(text) if found else 0
        return found

    def _expect(self, text: str, name: str | None = None) -> None:
        if not self._take(text):
            self.fail(name or f'"{text}"')


def _not_embedded(name: str) -> Problem:
    return Problem(
        400,
        "PGRST108",
        f"'{name}' is not an embedded resource in this request",
        hint="Functions have columns only; nothing can be embedded",
    )


def _no_relation(name: str) -> Problem:
    return Problem(
        400,
        "PGRST200",
        f"Could not find a relationship between the function and '{name}' in the schema cache",
        "Functions have columns only; nothing can be embedded",
    )


def _no_aggregates() -> Problem:
    return Problem(400, "PGRST123", "Use of aggregate functions is not allowed")
