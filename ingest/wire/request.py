"""What both versions of remote write have in common: a request whose series are still bytes."""

from __future__ import annotations

import typing
from collections.abc import Sequence

from ingest.wire import v1, v2
from ingest.wire.negotiate import Protocol
from ingest.wire.parsed import ParsedMetadata, ParsedSeries
from ingest.wire.tails import Tails


class Request(typing.Protocol):
    """A decompressed request, read as far as known series need it.

    Attributes:
        series: the bytes of every TimeSeries message, in the order of the request.
    """

    series: list[bytes]

    @property
    def tails(self) -> Tails:
        """Time stamp and value of every series that has the usual shape: labels and one sample."""

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """What identifies the labels of series of the usual shape, good for this process only.

        Args:
            positions: of series whose tail has a length; ascending.
        """

    def parse(self, position: int) -> ParsedSeries:
        """Read one series in full.

        Raises:
            BadRequest: it is no protobuf, so nothing in the request can be trusted.
        """

    def metadata(self) -> list[ParsedMetadata]:
        """What the request says of metrics beside its series (1.0).

        Raises:
            BadRequest: it is no protobuf.
        """


def read_request(protocol: Protocol, payload: bytes) -> Request:
    """Split a request into its series.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    return v1.read_request(payload) if protocol is Protocol.V1 else v2.read_request(payload)
