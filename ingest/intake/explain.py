"""The dry run: where a series, or every series of a recorded request, would go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ingest.errors import BadRequest
from ingest.intake.describe import Described, describe
from ingest.model import DEFAULT_TENANT_ID
from ingest.routing import Router
from ingest.wire.compression import decompress_snappy
from ingest.wire.v1 import Payload, parse_series, split_payload
from ingest.wire.validate import InvalidSeries, checked_labels, series_text
from ingest.wire.zstd import MAGIC, decompress_zstd


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
    """Route one label set; nothing is kept. Time stamps are not judged."""
    try:
        labels = checked_labels(pairs)
    except InvalidSeries as error:
        return Explained(series_text(pairs), samples, None, str(error))
    described = describe(router, DEFAULT_TENANT_ID, labels)
    stored = [(name.encode(), value.encode()) for name, value in described.series.labels]
    return Explained(series_text(stored), samples, described, None)


def explain_body(router: Router, body: bytes, max_bytes: int) -> Iterator[Explained]:
    """Route every series of a recorded remote write 1.0 body.

    Args:
        body: a snappy block, a zstd frame or a plain message.
        max_bytes: the largest decompressed length that is taken.

    Raises:
        BadRequest: it is none of these.
    """
    for position, raw in enumerate(_recorded(body, max_bytes).series):
        parsed = parse_series(raw, position)
        yield explain_series(router, parsed.labels, len(parsed.value))


def _recorded(body: bytes, max_bytes: int) -> Payload:
    if body.startswith(MAGIC):
        return split_payload(decompress_zstd(body, max_bytes))
    try:
        return split_payload(decompress_snappy(body, max_bytes))
    except BadRequest as as_snappy:
        try:
            return split_payload(body)
        except BadRequest:
            raise BadRequest(f"{as_snappy}; nor is it a plain remote write message") from None
