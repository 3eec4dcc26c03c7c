"""JSON that PostgreSQL's jsonb holds exactly, told from JSON that it does not.

msgspec reads it in C and finds nearly everything; only what looks unusual is read again, slowly.
jsonb keeps numbers as NUMERIC, digit by digit, and forgets white space and the order of names. What
it would change or cannot hold is refused: names that are there twice, U+0000, lone surrogates, and
numbers that are no use as NUMERIC.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

import msgspec

from ingest.errors import InvalidItem

DEEPEST = 200
TOO_DEEP = f"it is nested more than {DEEPEST} deep"
"""Arrays and objects in one another. PostgreSQL and most readers give up at some thousands."""

LARGEST_EXPONENT = 400
"""Every float fits. jsonb would take 1e131071, and write 131,072 digits whenever it is read."""
MOST_DIGITS = 16_000
"""On each side of the point. NUMERIC has 131,072 before it and 16,383 behind it."""

_PLAIN_BYTES = 4000
"""No number in a shorter text can have too many digits, and few texts are longer."""

_decode = msgspec.json.Decoder(strict=True).decode
_long_exponent = re.compile(rb"[0-9][eE][+-]?0*[0-9]{3}").search
STRING = rb'"(?:[^"\\]++|\\.)*+"?'
"""A string, or what would be one if it ended. It never goes back: no input makes it slow."""

_string = re.compile(STRING, re.DOTALL)
_brackets = re.compile(rb"[\[{]+|[\]}]+")
_escape = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_no_number = re.compile(rb"-?(?:NaN|Infinity)")
_byte = re.compile(r"\(byte (\d+)\)$")


def decode_exact(raw: bytes) -> Any:
    """What a JSON text says, for looking at it: numbers may be rounded.

    Args:
        raw: UTF-8.

    Raises:
        InvalidItem: it is not valid JSON, or jsonb does not hold it exactly.
    """
    try:
        decoded = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _look_closely(raw)
    return _look_closely(raw) if _is_unusual(raw, decoded) else decoded


def syntax_error(raw: bytes, error: Exception) -> str:
    """Why a text is not valid JSON, from what msgspec says of it."""
    if isinstance(error, RecursionError):
        return TOO_DEEP
    message = str(error).removeprefix("JSON is malformed: ")
    if match := _byte.search(message):
        at = int(match.group(1))
        number = _no_number.match(raw, at) or _no_number.match(raw, max(0, at - 1))
        if number:
            return f"JSON has no {number.group().decode()} (byte {number.start()})"
    if message == "Input data was truncated":
        message = "it ends too early"
    return f"this is not valid JSON: {message}"


def _is_unusual(raw: bytes, decoded: Any) -> bool:
    """Whether there may be more to it than was decoded."""
    colons = raw.count(b":")
    names = len(decoded) if type(decoded) is dict else 0
    return (
        b"\\u" in raw
        or (colons != names and colons != names + _colons_in_text(decoded))
        or len(raw) > _PLAIN_BYTES
        or raw.count(b"[") > DEEPEST
        or (_may_be_tiny(raw) and _long_exponent(raw) is not None)
    )


def _may_be_tiny(raw: bytes) -> bool:
    """Whether a number may have an exponent that its float does not show: it is small, or zero. A
    large one is no float, which msgspec says."""
    return b"e-" in raw or b"E-" in raw or b"0e" in raw or b"0E" in raw


def _colons_in_text(decoded: Any) -> int:
    """Colons in the names and values of an object. An object of plain values whose names differ has
    no others but one for each name. There are more if a name is there twice, or an object in it."""
    if type(decoded) is not dict:
        return 0
    values = "".join([value for value in decoded.values() if type(value) is str])
    return "".join(decoded).count(":") + values.count(":")


def _look_closely(raw: bytes) -> Any:
    if _depth(raw) > DEEPEST:
        raise InvalidItem(TOO_DEEP)
    _check_escapes(raw)
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_unique,
            parse_int=_checked_number,
            parse_float=_checked_number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidItem(f"it is not valid UTF-8: byte 0x{raw[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        what = ValueError(f"{error.msg} (character {error.pos})")
        raise InvalidItem(syntax_error(raw, what)) from None


def _depth(raw: bytes) -> int:
    """How many arrays and objects are in one another, at most."""
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return 0
    deepest = depth = 0
    for match in _brackets.finditer(_string.sub(b"", raw)):
        run = match.group()
        depth += len(run) if run[0] in b"[{" else -len(run)
        deepest = max(deepest, depth)
    return deepest


def _check_escapes(raw: bytes) -> None:
    """A backslash stands in strings only, so escapes can be read one after the other."""
    high_ends_at = -1
    for match in _escape.finditer(raw) if b"\\u" in raw else ():
        code = int(match.group(1), 16) if match.group(1) else -1
        if code == 0:
            raise InvalidItem("it contains U+0000, which PostgreSQL cannot store")
        is_low = 0xDC00 <= code <= 0xDFFF
        if is_low != (match.start() == high_ends_at):
            raise _lone_surrogate()
        high_ends_at = match.end() if 0xD800 <= code <= 0xDBFF else -1
        if high_ends_at >= 0 and raw[high_ends_at : high_ends_at + 2] != b"\\u":
            raise _lone_surrogate()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidItem(f"the name {shortened(twice)} is there twice in one object")
    return found


def _checked_number(text: str) -> float:
    mantissa, _, exponent = text.lower().partition("e")
    size = exponent.lstrip("+-").lstrip("0") or "0"
    if len(size) > 3 or int(size) > LARGEST_EXPONENT:
        raise InvalidItem(
            f"the number {shortened(text)} has an exponent beyond ±{LARGEST_EXPONENT}"
        )
    whole, _, fraction = mantissa.partition(".")
    if max(len(whole), len(fraction)) > MOST_DIGITS:
        raise InvalidItem(f"a number has more than {MOST_DIGITS} digits on one side of its point")
    return 0.0


def _refuse_constant(text: str) -> NoReturn:
    raise InvalidItem(f"JSON has no {text}")


def shortened(text: str) -> str:
    """A text of the sender's as a reason quotes it."""
    return json.dumps(text if len(text) <= 50 else text[:49] + "…", ensure_ascii=False)


def _lone_surrogate() -> InvalidItem:
    return InvalidItem("it contains half of a surrogate pair, which is not a character")
