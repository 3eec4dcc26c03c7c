"""Where the next page begins, as a text that clients pass on unread.

A cursor is the time and id of the last row of a page, bound by a digest to the filters it was made
for, so that a page never continues another list. It holds nothing secret and grants nothing: whose
rows are read is decided by the key alone.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from ingest.errors import BadRequest
from ingest.http.times import from_microseconds, microseconds_of

_POSITION = Struct(">Bq16s")
_VERSION = 1
_DIGEST_BYTES = 8
_BYTES = _POSITION.size + _DIGEST_BYTES
LONGEST_TEXT = 64


class Position(NamedTuple):
    """A row's place in the list: newest first, of equal times the largest id first."""

    time: datetime
    item_id: UUID


def write_cursor(position: Position, filters: bytes) -> str:
    """The cursor of what comes after `position` in the list that `filters` describe."""
    packed = _POSITION.pack(_VERSION, microseconds_of(position.time), position.item_id.bytes)
    return urlsafe_b64encode(packed + _digest(packed, filters)).decode().rstrip("=")


def read_cursor(text: str, filters: bytes) -> Position:
    """The position that a cursor holds.

    Raises:
        BadRequest: it is none of ours, or one of another list.
    """
    packed = _decode(text)
    body, digest = packed[: _POSITION.size], packed[_POSITION.size :]
    if len(packed) != _BYTES or digest != _digest(body, filters):
        raise _not_ours()
    _, microseconds, item_id = _POSITION.unpack(body)
    return Position(from_microseconds(microseconds), UUID(bytes=item_id))


def _decode(text: str) -> bytes:
    """Bytes of the one spelling that they have."""
    if len(text) > LONGEST_TEXT or not text.isascii():
        raise _not_ours()
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise _not_ours() from None
    if urlsafe_b64encode(packed).decode().rstrip("=") != text:
        raise _not_ours()
    return packed


def _digest(packed: bytes, filters: bytes) -> bytes:
    return blake2b(packed + filters, digest_size=_DIGEST_BYTES, person=b"promgres cursor").digest()


def _not_ours() -> BadRequest:
    return BadRequest(
        "cursor is none of this list: take it from X-Next-Cursor of the page before,"
        " and leave name, from, to and attributes as they were"
    )
