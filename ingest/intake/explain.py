"""The dry run: where a series, or every series of a recorded request, would go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ingest.errors import BadRequest, InvalidSeries
from ingest.intake.resolve import Described, describe
from ingest.model import DEFAULT_TENANT_ID
from ingest.routing import Router
from ingest.text import series_text
from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.encoding.zstd import MAGIC, decompress_zstd
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.request import Request, read_request
from ingest.wire.validate import checked_labels


class Explained(NamedTuple):
    """What would become of one series.

    Attributes:
        text: the series as stored; as sent where it is refused.
        samples: how many came with it.
        described: its route and value label; None where it is refused.
        refusal: why it is refused.
    """

    text: str
    samples: int
    described: Described | None
    refusal: str | None


def explain_series(
    router: Router, pairs: Sequence[tuple[bytes, bytes]], samples: int = 0
) -> Explained:
    """Route one label set; nothing is kept. Timestamps are not judged."""
    try:
        described = describe(router, DEFAULT_TENANT_ID, checked_labels(pairs))
    except InvalidSeries as error:
        return Explained(series_text(pairs), samples, None, str(error))
    stored = [(name.encode(), value.encode()) for name, value in described.series.labels]
    return Explained(series_text(stored), samples, described, None)


def explain_body(router: Router, body: bytes, max_bytes: int) -> Iterator[Explained]:
    """Route every series of a recorded remote write body, of 1.0 or 2.0.

    Args:
        body: a snappy block, a zstd frame or a plain message.
        max_bytes: the largest decompressed length that is taken.

    Raises:
        BadRequest: it is none of these.
    """
    request = _recorded(body, max_bytes)
    for position in range(len(request.series)):
        parsed = request.parse(position)
        yield explain_series(router, parsed.labels, len(parsed.value))


def _recorded(body: bytes, max_bytes: int) -> Request:
    if body.startswith(MAGIC):
        return _read(decompress_zstd(body, max_bytes))
    try:
        return _read(decompress_snappy(body, max_bytes))
    except BadRequest as as_snappy:
        try:
            return _read(body)
        except BadRequest:
            raise BadRequest(f"{as_snappy}; nor is it a plain remote write message") from None


def _read(payload: bytes) -> Request:
    """The message of one version is an empty one to the other."""
    request = read_request(Message.V1, payload)
    return request if request.series else read_request(Message.V2, payload)
