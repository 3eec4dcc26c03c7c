"""What a request to /rpc asks for, before the database is asked anything."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.errors import BadBody
from ingest.http.problems import Problem
from ingest.http.strict import parse_json, query_pairs
from ingest.rpc.functions import Given
from ingest.rpc.shape import (
    EVERY_ROW,
    LOGIC,
    OPERATOR,
    PAGING,
    RESERVED,
    WHOLE,
    Page,
    Shape,
    ShapeReader,
    Value,
    read_columns,
    read_page,
)

METHODS = ("GET", "HEAD", "POST")
NO_TIME = frozenset({"22007", "22008", "22009"})
"""Not the format of a time, out of range, no such offset."""

LOST_PLUS = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)? \d\d(?::?\d\d)?$", re.ASCII)
"""How a time ends whose offset was `+00:00` before the query string was decoded."""

EPOCH = re.compile(r"-?\d{5,19}(?:\.\d+)?", re.ASCII)
"""Seconds or milliseconds since 1970."""

FORMAT = "format"
FORMATS = {"csv": "text/csv", "json": "application/json"}
"""What `format=` names, for those who cannot set `Accept`: spreadsheets, `read_csv`."""
SHAPING = RESERVED | LOGIC | {FORMAT}
MOST_PARAMETERS = 1000
JSON_TYPE = "application/json"
JSON_TYPES = ("json", "jsonb")
BAD_JSON = "Empty or invalid json"


@dataclass(frozen=True, slots=True)
class TextArguments:
    """Arguments of a query string: each value is text that PostgreSQL casts.

    A name given twice keeps every value; only a VARIADIC argument takes more than the last.
    """

    values: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        """Names given."""
        return frozenset(self.values)

    @property
    def given(self) -> Given:
        """What a function must take."""
        return Given(self.names)

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """Arguments of a JSON body: the object as it was sent, so that no number loses a digit.

    Attributes:
        body: all that was sent, for a function that takes a whole body.
    """

    document: str
    names: frozenset[str]
    body: str = "{}"

    @property
    def given(self) -> Given:
        """What a function must take."""
        return Given(self.names, JSON_TYPES)


@dataclass(frozen=True, slots=True)
class WholeBody:
    """A body that is one argument.

    Attributes:
        body_types: that the argument may have.
        any_name: it may have a name, too.
    """

    body: str | bytes
    body_types: tuple[str, ...]
    any_name: bool = False
    names: frozenset[str] = frozenset()

    @property
    def given(self) -> Given:
        """What a function must take."""
        return Given(None, self.body_types, self.any_name)


Arguments = TextArguments | JsonArguments | WholeBody


def asked_schema(
    headers: Mapping[str, str], method: str, schemas: Sequence[str]
) -> tuple[str, bool]:
    """The schema that is asked for, else the first; and whether the answer says which it was.

    Raises:
        Problem: 406, one that is not served.
    """
    profile = headers.get("Content-Profile" if method == "POST" else "Accept-Profile")
    if profile is None:
        return schemas[0], len(schemas) > 1
    if profile not in schemas:
        hint = f"Only the following schemas are exposed: {', '.join(schemas)}"
        raise Problem(406, "PGRST106", f"Invalid schema: {profile}", hint=hint)
    return profile, True


Pairs = Sequence[tuple[str, str]]


def read_query(query: str) -> Pairs:
    """Names and values of a query string.

    Raises:
        Problem: 400, not UTF-8 or too many.
    """
    try:
        return query_pairs(query, MOST_PARAMETERS)
    except ValueError as error:
        raise _bad_query("The query string cannot be read", str(error)) from None


def shaping_names(query: Pairs) -> frozenset[str]:
    """Names in a query string that shape a result, unless the function has such arguments."""
    return SHAPING.intersection([name for name, _ in query])


@dataclass(frozen=True, slots=True)
class Query:
    """What a query string asks for.

    Attributes:
        arguments: of a GET or HEAD.
        shaping: names of parameters that were taken for the shape's, and not for arguments.
        values: of the shape, in its order.
        columns: of the body that are arguments, if not all.
        accept: in place of the header.
    """

    arguments: TextArguments
    shaping: frozenset[str] = frozenset()
    shape: Shape = WHOLE
    values: tuple[Value, ...] = ()
    page: Page = EVERY_ROW
    columns: frozenset[str] | None = None
    accept: str | None = None


NOTHING_ASKED = Query(TextArguments({}))


def sort_query(
    query: Pairs,
    known: Collection[str] = (),
    ranged: str | None = None,
    *,
    posted: bool = False,
    counted: bool = False,
    most_rows: int | None = None,
) -> Query:
    """Tell the arguments of a query string from what shapes the result.

    Args:
        known: names of arguments that the function has: what is called like a parameter that
            shapes a result is then the argument.
        ranged: the `Range` header, of a GET.
        posted: the arguments are in the body: here all shapes the result.
        counted: whether the rows besides the page are to be counted.
        most_rows: that a page may have.

    Raises:
        Problem: 400, 416, something that means nothing.
    """
    if not query and ranged is None and most_rows is None:
        return NOTHING_ASKED
    arguments: dict[str, tuple[str, ...]] = {}
    reserved: dict[str, str] = {}
    reader = ShapeReader()
    for name, value in query:
        if name in known:
            arguments[name] = (*arguments.get(name, ()), value)
        elif name in LOGIC:
            reader.logic(name, value)
        elif name in RESERVED:
            if name in PAGING or name not in reserved:
                reserved[name] = value
        elif name == FORMAT and value in FORMATS and not posted:
            reserved[name] = value
        elif OPERATOR.match(value):
            reader.filter(name, value)
        elif posted:
            raise Problem(
                400,
                "PGRST100",
                f'"failed to parse filter ({value})" (line 1, column 1)',
                f"The query parameter {name} of a POST is not a filter",
                "Send arguments in the JSON body",
            )
        else:
            arguments[name] = (*arguments.get(name, ()), value)
    if not reserved and reader.is_unused and ranged is None and most_rows is None:
        return Query(TextArguments(arguments))
    page = read_page(reserved, ranged).within(most_rows)
    shape = reader.shape(
        reserved.get("select"),
        reserved.get("order"),
        paged=not page.is_all,
        counted=counted and not page.is_all,
    )
    return Query(
        TextArguments(arguments),
        frozenset(reserved),
        shape,
        (*reader.values, *(page.values if shape.paged else ())),
        page,
        read_columns(reserved.get("columns", "")) if posted else None,
        FORMATS.get(reserved.get(FORMAT, "")),
    )


def body_arguments(
    content_type: str | None,
    body: bytes,
    columns: frozenset[str] | None = None,
    *,
    single_object: bool = False,
) -> Arguments:
    """Arguments of a POST: an object, or of an array of objects (or lines of CSV) the first; pairs
    of a form; none without a body. Text, XML and bytes are one argument without a name.

    Args:
        columns: names that are arguments, if not all that the object has.
        single_object: the object is one argument.

    Raises:
        BadBody: another Content-Type, or a body that is not what it says.
    """
    media = (content_type or JSON_TYPE).partition(";")[0].strip().lower()
    if not body and media != "text/plain":  # many clients send a type with nothing
        return JsonArguments("{}", frozenset())
    if media == "application/octet-stream":
        return WholeBody(body, ("bytea",))
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BadBody(BAD_JSON if media == JSON_TYPE else "The body is not UTF-8") from None
    match media:
        case "application/json":
            return _json_arguments(text, columns, single_object)
        case "application/x-www-form-urlencoded":
            return _form_arguments(text)
        case "text/csv":
            return _csv_arguments(text)
        case "text/plain":
            return WholeBody(text, ("text",))
        case "text/xml" | "application/xml":
            return WholeBody(text, ("xml",))
    raise BadBody(f"Content-Type not acceptable: {media}")


def _json_arguments(text: str, columns: frozenset[str] | None, single_object: bool) -> Arguments:
    if not text.strip():
        return JsonArguments("{}", frozenset())
    parsed = _parse(text)
    if single_object:
        return WholeBody(text, JSON_TYPES, any_name=True)
    if isinstance(parsed, list):
        return _first_object(text, parsed, columns)
    if not isinstance(parsed, dict):
        return JsonArguments("{}", frozenset(), text)
    return JsonArguments(text, frozenset(parsed) if columns is None else columns, text)


def _form_arguments(text: str) -> TextArguments:
    try:
        pairs = query_pairs(text, MOST_PARAMETERS)
    except ValueError:
        raise BadBody("The form cannot be read") from None
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        values[name] = (*values.get(name, ()), value)
    return TextArguments(values)


def _csv_arguments(text: str) -> JsonArguments:
    """Of the first line below the header; `NULL` is null."""
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError):
        raise BadBody("The CSV cannot be read") from None
    if any(len(row) != len(header) for row in rows):
        raise BadBody("All lines must have same number of fields")
    if not rows:
        return JsonArguments("{}", frozenset())
    values = {
        name: None if cell == "NULL" else cell for name, cell in zip(header, rows[0], strict=True)
    }
    return JsonArguments(json.dumps(values), frozenset(values))


def time_hint(sqlstate: str | None, arguments: Arguments) -> str | None:
    """What is probably wrong with a value that PostgreSQL does not take for a time; None if that
    is not what its error says, or nobody knows."""
    if sqlstate not in NO_TIME:
        return None
    if isinstance(arguments, TextArguments):
        values = [each for given in arguments.values.values() for each in given]
    elif isinstance(arguments, JsonArguments):
        values = [str(each) for each in _parse(arguments.document).values()]
    else:
        return None
    if isinstance(arguments, TextArguments) and any(map(LOST_PLUS.search, values)):
        return "A + in a URL is a space: write %2B00:00, or Z"
    if any(map(EPOCH.fullmatch, values)):
        return "Numbers are not times here: write 2026-01-31T12:00:00Z"
    return None


def _bad_query(message: str, details: str, hint: str | None = None) -> Problem:
    return Problem(400, "PGRST100", message, details, hint)


def _parse(text: str) -> Any:
    """The value, numbers left as text: only names are read from it."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        raise BadBody(BAD_JSON) from None


def _first_object(text: str, rows: list[Any], columns: frozenset[str] | None) -> JsonArguments:
    if not rows:
        return JsonArguments("{}", frozenset(), text)
    uniform = all(isinstance(row, dict) for row in rows)
    if not uniform or (columns is None and any(row.keys() != rows[0].keys() for row in rows)):
        raise BadBody("All object keys must match")
    start = re.compile(r"\s*\[\s*").match(text)
    assert start
    _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text, start.end())
    document = text[start.end() : end]
    return JsonArguments(document, frozenset(rows[0]) if columns is None else columns, text)
