"""What both versions of remote write have in common: a request whose series are still bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import numpy as np

from ingest.errors import BadRequest
from ingest.model import Int64s
from ingest.wire.remote_write import v1, v2
from ingest.wire.remote_write.fields import Layout, NoMessage, split_series
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.parsed import ParsedMetadata, ParsedSeries
from ingest.wire.remote_write.tails import Tails


class Request(Protocol):
    """A decompressed request, read as far as known series need it.

    Attributes:
        layout: of its series.
        label_bytes: memory of a label that is read, besides the bytes of its texts.
        series: the bytes of every TimeSeries message, in the order of the request.
        first: place of the first of them in the whole request.
    """

    layout: Layout
    label_bytes: int
    series: list[bytes]
    first: int

    @property
    def pair_of(self) -> Callable[[Any], tuple[bytes, bytes]]:
        """From a token of a label to name and value, see `ParsedSeries`."""

    def part(self, start: int, end: int) -> Request:
        """The same with some of the series only, and without metadata."""

    @property
    def tails(self) -> Tails:
        """Timestamp and value of every series that has the usual shape: labels and one sample."""

    def keys(self, positions: Int64s) -> Int64s:
        """What identifies the labels of series of the usual shape, good for this process only.

        Args:
            positions: of series whose tail has a length; ascending.

        Returns:
            128 bits each, as evenly spread as what has a secret seed can be; shape (positions, 2).
        """

    def parse(self, position: int) -> ParsedSeries:
        """Read one series in full.

        Raises:
            BadRequest: it is no protobuf, so nothing in the request can be trusted.
        """

    def parse_bytes(self, raw: bytes, position: int) -> ParsedSeries:
        """The same of bytes that are a piece of that series."""

    @property
    def metadata_count(self) -> int:
        """How many metadata there are beside series."""

    def metadata(self) -> Iterator[ParsedMetadata]:
        """What the request says of metrics beside its series (1.0).

        Raises:
            BadRequest: it is no protobuf.
        """


def read_request(message: Message, payload: bytes, seed: int = 0) -> Request:
    """Split a request into its series.

    Args:
        seed: of keys, 64 bits that no sender knows; whoever needs no keys needs none.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    read = v1.read_request if message is Message.V1 else v2.read_request
    return read(payload, seed)


PART_BYTES = 1024 * 1024
"""Of series that are read at once: numpy takes some hundred bytes of memory for one of theirs."""


def parts_of(request: Request, payload_bytes: int) -> Iterator[Request]:
    """The request in parts of a bounded size; nearly all have one."""
    if payload_bytes <= PART_BYTES:
        yield request
        return
    series = request.series
    ends = np.cumsum(np.fromiter(map(len, series), np.int64, len(series)) + 1)
    start = 0
    while start < len(series):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + PART_BYTES, "right")))
        yield request.part(start, end)
        start = end


def parse_in_pieces(
    request: Request, position: int, most_fields: int
) -> Generator[ParsedSeries | None, None, None]:
    """Read one long series in full, in pieces that each have its labels.

    Args:
        most_fields: of one series.

    Yields:
        A piece, or None for a pause.

    Raises:
        BadRequest: it is no protobuf, or has more fields; nothing in the request can be taken.
    """
    raw = request.series[position]
    try:
        pieces = yield from split_series(raw, request.layout, most_fields)
    except NoMessage:
        place = request.first + position
        raise BadRequest(f"timeseries {place} of the payload is not a protobuf message") from None
    if pieces.complaint is not None:
        parsed = request.parse_bytes(pieces.head, position)
        parsed.complaint = pieces.complaint
        yield parsed
        return
    for part in pieces.parts:
        yield request.parse_bytes(pieces.head + part, position)
