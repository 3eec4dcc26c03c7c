"""What `promgres pipe` reads: JSON text in, the texts of its items out, every digit as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, NoReturn

from promgres_client.items import EVENT, MEASURE

_space = re.compile(r"[ \t\r\n]*")
_not_ascii = re.compile(r"[^\x00-\x7f]")
_ERRORS = (ValueError, RecursionError)
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """An item, and the number of the line on which it begins."""

    number: int
    kind: str
    text: str


class BadLine(NamedTuple):
    """A line that holds no item, or one item too bad to be sent."""

    number: int
    reason: str


def read_lines(lines: Iterable[bytes], stamp: Callable[[], str]) -> Iterator[Line | BadLine]:
    """The items of NDJSON, of arrays (one a line or spread over many), and of older batches.

    Args:
        stamp: makes time and idempotency key for an item without them, as the end of an object:
            so it can be sent twice and is stored once.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        first = line.removeprefix(_BOM) if number == 1 else line
        if not first.strip():
            continue
        if _goes_on(first):
            yield from _spread([first, *(line for _, line in numbered)], number, stamp)
            return
        yield from _items(first, number, stamp)
        break
    for number, line in numbered:
        if line.strip():
            yield from _items(line, number, stamp)


def elements_of(text: str) -> Iterator[str]:
    """The texts of what an array holds.

    Raises:
        ValueError: it is not valid JSON.
    """
    return (raw for _, raw, _ in _documents(text))


def _goes_on(line: bytes) -> bool:
    """Whether a line may be the beginning of a document that ends on a later one. One that cannot
    is sent, or refused, without waiting for the rest, which may never end."""
    try:
        text = line.decode().rstrip()
        for _ in _documents(text):
            pass
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except _ERRORS:
        pass
    return False


def _spread(lines: list[bytes], number: int, stamp: Callable[[], str]) -> Iterator[Line | BadLine]:
    """Documents that may be longer than a line; if that is not so, a first line that is wrong."""
    text = b"".join(lines).decode(errors="surrogateescape")
    try:
        found = list(_documents(text))
    except _ERRORS:
        for offset, line in enumerate(lines):
            if line.strip():
                yield from _items(line, number + offset, stamp)
        return
    counted = 0
    for start, raw, value in found:
        number += text.count("\n", counted, start)
        counted = start
        yield _item(number, raw, value, stamp)


def _items(line: bytes, number: int, stamp: Callable[[], str]) -> Iterator[Line | BadLine]:
    try:
        found = list(_documents(line.decode()))
    except _ERRORS as error:
        yield BadLine(number, _words(error))
        return
    for _, raw, value in found:
        yield _item(number, raw, value, stamp)


def _documents(text: str) -> Iterator[tuple[int, str, Any]]:
    """JSON documents one after the other, arrays taken apart: where each begins, text, value.

    Raises:
        ValueError: there is something else.
    """
    start = _after_space(text, 0)
    while start < len(text):
        if text[start] == "[":
            start = yield from _elements(text, start)
        else:
            value, end = _decoder.raw_decode(text, start)
            yield start, text[start:end], value
            start = end
        start = _after_space(text, start)


def _elements(text: str, start: int) -> Generator[tuple[int, str, Any], None, int]:
    """The elements of an array; returns where it ends."""
    start = _after_space(text, start + 1)
    if text[start : start + 1] == "]":
        return start + 1
    while True:
        value, end = _decoder.raw_decode(text, start)
        yield start, text[start:end], value
        after = _after_space(text, end)
        mark = text[after : after + 1]
        if mark == "]":
            return after + 1
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, after)
        start = _after_space(text, after + 1)


def _item(number: int, raw: str, value: Any, stamp: Callable[[], str]) -> Line | BadLine:
    if not isinstance(value, dict):
        return BadLine(number, "an item has to be an object")
    if len(value) == 1 and (kind := next(iter(value))) in (MEASURE, EVENT):
        value = value[kind]
        if not isinstance(value, dict):
            return BadLine(number, f"{kind} has to be an object")
        raw = raw[raw.index(":") + 1 : raw.rindex("}")]
    else:
        kind = MEASURE if "value" in value or "measurement" in value else EVENT
    return Line(number, kind, _ascii(_stamped(raw.strip(), value, stamp())))


def _stamped(raw: str, value: dict[str, Any], stamp: str) -> str:
    """An object with time and idempotency key; one that has a key of its own stays as it is: the
    key alone decides then, whenever it is sent."""
    if value.get("idempotency_key") is not None:
        return raw
    if "time" in value:
        stamp = stamp[stamp.index(',"idempotency_key"') :]
    return raw[:-1].rstrip() + (stamp if value else stamp[1:]) + "}"


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    return _not_ascii.sub(lambda match: encode_basestring_ascii(match.group())[1:-1], text)


def _after_space(text: str, position: int) -> int:
    match = _space.match(text, position)
    return match.end() if match else position


def _words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not valid UTF-8 at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg} at character {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else f"not valid JSON: {error}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
