"""A push that cannot be decoded as a whole: its items one by one, and why one cannot be decoded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from ingest.errors import InvalidItem
from ingest.wire.records.jsonb import STRING, decode_exact, shortened

_token = re.compile(STRING + rb"|[\[{]|[\]}]|,", re.DOTALL)


def split(body: bytes) -> Iterator[bytes]:
    """The texts of a body's items, judged by brackets alone: any of them may be no JSON.

    Args:
        body: not blank; what begins with `[` is an array, all else items one after the other.
    """
    stripped = body.strip()
    if stripped.startswith(b"["):
        yield from _elements(stripped)
    else:
        yield from _sequence(stripped)


def _elements(body: bytes) -> Iterator[bytes]:
    """What stands between the commas of an array."""
    start, depth = 1, 0
    for match in _token.finditer(body):
        mark = match.group()
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if depth == 0 or (mark == b"," and depth == 1):
            yield body[start : match.start()]
            start = match.end()
        if depth == 0:
            break
    if body[start:].strip():
        yield body[start:]


def _sequence(body: bytes) -> Iterator[bytes]:
    """Objects one after the other, with anything in between."""
    start, depth = 0, 0
    for match in _token.finditer(body):
        mark = match.group()
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
            if depth <= 0:
                yield body[start : match.end()]
                start, depth = match.end(), 0
    if body[start:].strip():
        yield body[start:]


def explain(raw: bytes, known: Collection[str] | None) -> str | None:
    """Why an item cannot be decoded; None if it is an object with the fields that it needs.

    Args:
        known: the names of fields; None takes any.
    """
    try:
        decoded = decode_exact(raw)
    except InvalidItem as error:
        return str(error)
    return _complaint(decoded, known)


def _complaint(item: Any, known: Collection[str] | None) -> str | None:
    if not isinstance(item, dict):
        return f"an item has to be an object, not {_kind_of(item)}"
    unknown = [] if known is None else [name for name in item if name not in known]
    if known is not None and unknown:
        return f"there is no field {shortened(unknown[0])}, only {', '.join(known)}"
    for field in ("name", "idempotency_key"):
        value = item.get(field, "")
        if not isinstance(value, str) and not (field == "idempotency_key" and value is None):
            return f"{field} has to be text, not {_kind_of(value)}"
    inner = next((item[wrapper] for wrapper in ("M", "E") if wrapper in item), None)
    return None if inner is None else _complaint(inner, known)


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "text"
        case dict():
            return "an object"
        case list():
            return "an array"
    return "a number"
