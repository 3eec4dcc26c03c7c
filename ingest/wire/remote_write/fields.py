"""A protobuf message walked over, field by field, before anything is made of it.

Two bytes are enough for an empty element, and each becomes an object of some hundred: so what is
long is counted first, and a long series is read in pieces. Walking takes time as well: whoever
walks is a generator that pauses now and then, and returns what it found.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from ingest.errors import BadRequest

MOST_LABELS = 10_000
"""Of one series or exemplar: more than anybody has, and few enough to be sorted in no time."""
LONG_BYTES = 64 * 1024
"""A shorter series is parsed at once: whatever is in it, it takes some MB and milliseconds."""
LONGEST_EXEMPLAR_BYTES = 64 * 1024
LONGEST_HISTOGRAM_BYTES = 2 * 1024 * 1024
"""More than its 100,000 buckets take."""
_PIECE_FIELDS = 5000
_FIELDS_BEFORE_A_PAUSE = 2500
_LONGEST_REF_BYTES = 5

_LEAST_TAG, _TAGS = 1 << 3, 1 << 32
"""Of field 1, and what no tag reaches: there is no field 0, and none beyond 29 bits."""
_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_LABELS, _SAMPLES, _METADATA, _CREATED = 1, 2, 5, 6
"""Numbers of fields of a series; the last two only in 2.0."""

Walk = Generator[None, None, int]


class NoMessage(ValueError):
    """These bytes are not a protobuf message."""


class Layout(NamedTuple):
    """Where a version of the protocol has what in its series.

    Attributes:
        exemplars, histograms: numbers of their fields.
        refers: labels are references to symbols.
    """

    exemplars: int
    histograms: int
    refers: bool


class Pieces(NamedTuple):
    """A long series.

    Attributes:
        head: what says which series it is: labels, and what 2.0 says of the metric.
        parts: all else, some thousand fields each; with the head before it, each is a series.
        complaint: why nothing of it can be taken.
    """

    head: bytes
    parts: list[bytes]
    complaint: str | None = None


def count_fields(message: bytes, most: int) -> Walk:
    """How many fields a message has at its top, counted a little further than `most`. Of one that
    is no message, those that were found up to there."""
    at, end, count = 0, len(message), 0
    pause = _FIELDS_BEFORE_A_PAUSE
    try:
        while at < end:
            if message[at] & 0x87 == _BYTES and message[at + 1] < 0x80:  # as nearly all are
                at += 2 + message[at + 1]
            elif message[at] & 0x87 == _BYTES and message[at + 2] < 0x80:
                at += 3 + (message[at + 1] & 0x7F | message[at + 2] << 7)
            else:
                at = _field(message, at)[2]
            count += 1
            if count == pause:
                if count > most:
                    break
                pause += _FIELDS_BEFORE_A_PAUSE
                yield
    except (NoMessage, IndexError):
        pass
    return count


def split_series(raw: bytes, layout: Layout, most_fields: int) -> Generator[None, None, Pieces]:
    """A long series in pieces; what is unknown in it is left out.

    Raises:
        NoMessage: it is none.
        BadRequest: it has more fields than that.
    """
    heads: list[bytes] = []
    parts: list[bytes] = []
    part = bytearray()
    complaint = None
    at = count = labels = in_part = 0
    most_labels = 2 * MOST_LABELS if layout.refers else MOST_LABELS
    known = (_SAMPLES, layout.exemplars, layout.histograms)
    while at < len(raw):
        try:
            tag, start, after = _field(raw, at)
        except IndexError:
            raise NoMessage from None
        number, kind = tag >> 3, tag & 7
        if number in known and kind == _BYTES:
            complaint = complaint or _too_long(number, after - start, layout)
            part += raw[at:after]
            in_part += 1
            if in_part == _PIECE_FIELDS or len(part) > LONG_BYTES:
                parts.append(bytes(part))
                part, in_part = bytearray(), 0
        elif number == _LABELS or (layout.refers and number in (_METADATA, _CREATED)):
            is_packed = layout.refers and number == _LABELS and kind == _BYTES
            labels += (after - start) // _LONGEST_REF_BYTES if is_packed else 1
            if labels <= most_labels:
                heads.append(raw[at:after])
        at = after
        count += 1
        if count % _FIELDS_BEFORE_A_PAUSE == 0:
            if count > most_fields:
                raise BadRequest(
                    f"a series of the request has more than {most_fields} fields: nothing of it is"
                    " stored"
                )
            yield
    if part:
        parts.append(bytes(part))
    if labels > most_labels:
        return Pieces(b"", [b""], TOO_MANY_LABELS)
    return Pieces(b"".join(heads), parts or [b""], complaint)


TOO_MANY_LABELS = f"it has more than {MOST_LABELS} labels"


def _too_long(number: int, length: int, layout: Layout) -> str | None:
    if number == layout.exemplars and length > LONGEST_EXEMPLAR_BYTES:
        return f"an exemplar has more than {LONGEST_EXEMPLAR_BYTES} bytes"
    if number == layout.histograms and length > LONGEST_HISTOGRAM_BYTES:
        return f"a native histogram has more than {LONGEST_HISTOGRAM_BYTES} bytes"
    return None


def _field(message: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the field at this place, where its content begins, and where it ends.

    Raises:
        NoMessage, IndexError: there is none, or it is cut.
    """
    tag, at = _varint(message, at)
    if not _LEAST_TAG <= tag < _TAGS:
        raise NoMessage
    kind, end = tag & 7, at
    if kind == _BYTES:
        length, at = _varint(message, at)
        end = at + length
    elif kind == _VARINT:
        end = _varint(message, at)[1]
    elif kind in (_FIXED64, _FIXED32):
        end = at + (8 if kind == _FIXED64 else 4)
    elif kind not in (_START_GROUP, _END_GROUP):  # of a group, each field counts by itself
        raise NoMessage
    if end > len(message):
        raise NoMessage
    return tag, at, end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = message[at]
    if number < 0x80:
        return number, at + 1
    number, shift = 0, 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise NoMessage
