"""Protobuf messages written once, with blanks for what changes from request to request.

A draft is bytes and where its blanks are; drafts nest and join as protobuf fields do. A form is a
finished message whose blanks are filled with numpy, all of a kind at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_LENGTH_DELIMITED = 2


class Blank(Enum):
    """A kind of blank; `width` is its length in bytes."""

    VALUE = ("value of a sample", 8)
    TIMESTAMP = ("varint of milliseconds from 1971 to 2109", 6)
    TRACE_ID = ("text of a trace id", 32)
    OBSERVED = ("value of an exemplar", 8)

    def __init__(self, meaning: str, width: int) -> None:
        self.meaning = meaning
        self.width = width


@dataclass(frozen=True, slots=True)
class Draft:
    """Bytes, and the offset of each blank in them."""

    content: bytes = b""
    blanks: tuple[tuple[Blank, int], ...] = ()


def blank(kind: Blank) -> Draft:
    """Nothing but a blank."""
    return Draft(bytes(kind.width), ((kind, 0),))


def joined(*drafts: Draft) -> Draft:
    """Drafts one after the other."""
    blanks: list[tuple[Blank, int]] = []
    offset = 0
    for draft in drafts:
        blanks += [(kind, offset + start) for kind, start in draft.blanks]
        offset += len(draft.content)
    return Draft(b"".join([draft.content for draft in drafts]), tuple(blanks))


def field(number: int, content: Draft) -> Draft:
    """A length-delimited field: a message or a text."""
    return joined(Draft(field_head(number, len(content.content))), content)


def field_head(number: int, length: int) -> bytes:
    """What stands before a length-delimited field of so many bytes."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(length)


def varint(number: int) -> bytes:
    """A whole number, not negative, as protobuf's varint."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


class Form:
    """A message with blanks, filled again for every request.

    Args:
        drafts: the message's fields, in order.
    """

    def __init__(self, drafts: Iterable[Draft]) -> None:
        pieces: list[bytes] = []
        starts: dict[Blank, list[int]] = {kind: [] for kind in Blank}
        offset = 0
        for draft in drafts:
            for kind, start in draft.blanks:
                starts[kind].append(offset + start)
            pieces.append(draft.content)
            offset += len(draft.content)
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8).copy()
        self._places = {
            kind: np.array(found, np.int64).reshape(-1, 1) + np.arange(kind.width)
            for kind, found in starts.items()
        }

    def count(self, kind: Blank) -> int:
        """How many blanks of a kind there are."""
        return len(self._places[kind])

    def fill(self, kind: Blank, content: Bytes) -> None:
        """Write into all blanks of a kind.

        Args:
            content: shape (count, width), in the order of the message; or (width,) for all alike.
        """
        self._bytes[self._places[kind]] = content

    def fill_doubles(self, kind: Blank, values: npt.NDArray[np.float64]) -> None:
        """Write doubles into all blanks of a kind, one each."""
        self.fill(kind, values.astype("<f8").view(np.uint8).reshape(-1, 8))

    def message(self) -> bytes:
        """The message as it is filled now."""
        return self._bytes.tobytes()
