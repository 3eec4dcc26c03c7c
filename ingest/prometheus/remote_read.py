"""Remote read: raw samples, stale markers among them, as a Prometheus or a Thanos asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ingest.errors import BadRequest
from ingest.prometheus.question import Question
from ingest.prometheus.request import BadParameter
from ingest.promql.histograms import Histograms, Side
from ingest.promql.matchers import BadPattern, Matcher
from ingest.promql.storage import Samples, Selection
from ingest.storage.selecting import select
from ingest.wire import remote_read as wire
from ingest.wire.encoding.snappy import compress_snappy, decompress_snappy

MEDIA = "application/x-protobuf"
MOST_BYTES = 1024 * 1024
"""Of a request: it holds matchers."""


async def read(question: Question) -> bytes:
    """What each query of a request selects.

    The answer has one form, all samples in one message: what a client names beside it (streamed
    chunks) says the same in another one, which it does not have to get.

    Raises:
        BadParameter: it is no remote-read request, or takes another form only.
        PromqlLimit: that would be too much.
    """
    try:
        asked, forms = wire.read_request(decompress_snappy(question.body, MOST_BYTES))
    except BadRequest as error:
        raise BadParameter(str(error)) from None
    if forms and wire.SAMPLES not in forms:
        raise BadParameter(
            "none of requested response types are supported: only SAMPLES is answered"
        )
    results = []
    async with question.reading() as connection:
        for query in asked:
            try:
                matchers = tuple(
                    Matcher(operator, name, value)  # type: ignore[arg-type]
                    for name, operator, value in query.matchers
                )
            except BadPattern as error:
                raise BadParameter(str(error)) from None
            selection = Selection(matchers, query.from_ms, query.to_ms)
            with question.stage("fetch"):
                found = await select(connection, selection, question.budget, question.labels)
            with question.stage("render"):
                results.append(list(_series(found)))
    question.media = MEDIA
    question.headers["Content-Encoding"] = "snappy"
    return compress_snappy(wire.response(results))


def _series(found: Samples) -> Iterator[bytes]:
    for number, labels in enumerate(found.labels):
        mine = slice(int(found.offsets[number]), int(found.offsets[number + 1]))
        times, values = found.times[mine], found.values[mine]
        if found.rows is None or found.histograms is None:
            yield wire.series_bytes(labels, times, values)
            continue
        rows = found.rows[mine]
        is_float = rows < 0
        yield wire.series_bytes(
            labels,
            times[is_float],
            values[is_float],
            [
                _histogram(found.histograms, int(row), int(at))
                for row, at in zip(rows[~is_float], times[~is_float], strict=True)
            ],
        )


def _histogram(block: Histograms, row: int, timestamp_ms: int) -> wire.Histogram:
    bounds = int(block.bounds_of[row])
    return wire.histogram_message(
        timestamp_ms,
        int(block.schema[row]),
        int(block.hint[row]),
        float(block.count[row]),
        float(block.sum[row]),
        (float(block.zero_threshold[row]), float(block.zero_count[row])),
        _buckets(block.positive, row),
        _buckets(block.negative, row),
        block.bounds[bounds] if bounds >= 0 else (),
    )


def _buckets(side: Side, row: int) -> list[tuple[int, float]]:
    counts = side.counts[row]
    some = np.flatnonzero(counts)
    return list(zip(side.indexes[some].tolist(), counts[some].tolist(), strict=True))
