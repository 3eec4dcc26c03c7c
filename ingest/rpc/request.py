"""What a request to /rpc asks for, before the database is asked anything."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.errors import BadBody
from ingest.http.problems import Problem
from ingest.http.strict import parse_json, query_pairs
from ingest.rpc.functions import SCHEMA

METHODS = ("GET", "HEAD", "POST")
RESERVED = frozenset({"select", "order", "limit", "offset", "and", "or", "columns", "on_conflict"})
"""Query parameters that shape a result, unless the function has an argument of that name."""

OPERATOR = re.compile(
    r"(?:not|eq|neq|gt|gte|lt|lte|like|ilike|match|imatch|in|is|isdistinct|fts|plfts|phfts|wfts"
    r"|cs|cd|ov|sl|sr|nxr|nxl|adj)\."
    r"|(?:eq|gt|gte|lt|lte|like|ilike|match|imatch|fts|plfts|phfts|wfts)\("
)
"""How the value of a filter on a result column begins."""

NO_TIME = frozenset({"22007", "22008", "22009"})
"""Not the format of a time, out of range, no such offset."""

LOST_PLUS = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)? \d\d(?::?\d\d)?$", re.ASCII)
"""How a time ends whose offset was `+00:00` before the query string was decoded."""

EPOCH = re.compile(r"-?\d{5,19}(?:\.\d+)?", re.ASCII)
"""Seconds or milliseconds since 1970."""

WHOLE_RESULTS = (
    "The whole result of a function is answered; filters, order and pages are not served"
)
MOST_PARAMETERS = 1000
JSON_TYPE = "application/json"
BAD_JSON = "Empty or invalid json"
COUNTS = frozenset({"exact", "planned", "estimated"})


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

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """Arguments of a JSON body: the object as it was sent, so that no number loses a digit."""

    document: str
    names: frozenset[str]


Arguments = TextArguments | JsonArguments


def check_profile(headers: Mapping[str, str], method: str) -> bool:
    """Whether a schema was asked for; `api` is the only one there is.

    Raises:
        Problem: 406, another schema.
    """
    profile = headers.get("Content-Profile" if method == "POST" else "Accept-Profile")
    if profile is None:
        return False
    if profile != SCHEMA:
        hint = f"Only the following schemas are exposed: {SCHEMA}"
        raise Problem(406, "PGRST106", f"Invalid schema: {profile}", hint=hint)
    return True


def preferred_count(headers: Mapping[str, str]) -> str | None:
    """What `Prefer: count=` asks for; every count is exact here, the cheaper promises too."""
    for preference in headers.get("Prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip() == "count" and value.strip() in COUNTS:
            return value.strip()
    return None


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
    return RESERVED.intersection([name for name, _ in query])


def query_arguments(query: Pairs, known: Collection[str] = ()) -> TextArguments:
    """Arguments of a GET or HEAD.

    Args:
        known: names of arguments that the function has: what is called like a parameter that
            shapes a result is then the argument.

    Raises:
        Problem: 400, something that is no argument.
    """
    values: dict[str, tuple[str, ...]] = {}
    for name, value in query:
        _refuse_shaping(name, value, is_argument=name in known)
        values[name] = (*values.get(name, ()), value)
    return TextArguments(values)


def check_post_query(query: Pairs) -> None:
    """A POST takes its arguments from the body; its query could only shape the result.

    Raises:
        Problem: 400, there is something in it.
    """
    for name, value in query:
        _refuse_shaping(name, value)
        raise _bad_query(
            f'"failed to parse filter ({value})"',
            f"The query parameter {name} of a POST is not a filter",
            "Send arguments in the JSON body",
        )


def body_arguments(content_type: str | None, body: bytes) -> JsonArguments:
    """Arguments of a POST: an object; of an array of objects, the first; none without a body.

    Raises:
        BadBody: another Content-Type, or not JSON.
    """
    if not body:
        return JsonArguments("{}", frozenset())
    media = (content_type or JSON_TYPE).partition(";")[0].strip().lower()
    if media != JSON_TYPE:
        raise BadBody(f"Content-Type not acceptable: {media}")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BadBody(BAD_JSON) from None
    if not text.strip():
        return JsonArguments("{}", frozenset())
    parsed = _parse(text)
    if isinstance(parsed, list):
        return _first_object(text, parsed)
    if not isinstance(parsed, dict):
        return JsonArguments("{}", frozenset())
    return JsonArguments(text, frozenset(parsed))


def time_hint(sqlstate: str | None, arguments: Arguments) -> str | None:
    """What is probably wrong with a value that PostgreSQL does not take for a time; None if that
    is not what its error says, or nobody knows."""
    if sqlstate not in NO_TIME:
        return None
    if isinstance(arguments, TextArguments):
        values = [each for given in arguments.values.values() for each in given]
    else:
        values = [str(each) for each in _parse(arguments.document).values()]
    if isinstance(arguments, TextArguments) and any(map(LOST_PLUS.search, values)):
        return "A + in a URL is a space: write %2B00:00, or Z"
    if any(map(EPOCH.fullmatch, values)):
        return "Numbers are not times here: write 2026-01-31T12:00:00Z"
    return None


def _bad_query(message: str, details: str, hint: str | None = None) -> Problem:
    return Problem(400, "PGRST100", message, details, hint)


def _refuse_shaping(name: str, value: str, is_argument: bool = False) -> None:
    if name in RESERVED and not is_argument:
        raise _bad_query(
            f'The query parameter "{name}" is not supported', WHOLE_RESULTS, "Leave it out"
        )
    if OPERATOR.match(value):
        raise _bad_query(
            f'"failed to parse filter ({value})"',
            f"{name}={value} is a filter on a column of the result. {WHOLE_RESULTS}",
            "If it is an argument, send it in the JSON body of a POST",
        )


def _parse(text: str) -> Any:
    """The value, numbers left as text: only names are read from it."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        raise BadBody(BAD_JSON) from None


def _first_object(text: str, rows: list[Any]) -> JsonArguments:
    if not rows:
        return JsonArguments("{}", frozenset())
    if any(not isinstance(row, dict) or row.keys() != rows[0].keys() for row in rows):
        raise BadBody("All object keys must match")
    start = re.compile(r"\s*\[\s*").match(text)
    assert start
    _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text, start.end())
    return JsonArguments(text[start.end() : end], frozenset(rows[0]))
