"""Remote read: raw samples, stale markers among them, as a Prometheus or a Thanos asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ingest.errors import BadRequest
from ingest.prometheus.question import Question
from ingest.prometheus.request import BadParameter
from ingest.promql.histograms import GAUGE, NOT_RESET, Histograms, Side
from ingest.promql.matchers import BadPattern, Matcher
from ingest.promql.storage import Samples, Selection
from ingest.promql.values import Ints
from ingest.wire import chunks
from ingest.wire import remote_read as wire
from ingest.wire.encoding.snappy import compress_snappy, decompress_snappy

MEDIA = "application/x-protobuf"
STREAMED_MEDIA = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
MOST_BYTES = 1024 * 1024
"""Of a request: it holds matchers."""


async def read(question: Question) -> bytes:
    """What each query of a request selects: in the first form that the client names and we know.

    Raises:
        BadParameter: it is no remote-read request, or takes other forms only.
        PromqlLimit: that would be too much.
    """
    try:
        asked, forms = wire.read_request(decompress_snappy(question.body, MOST_BYTES))
    except BadRequest as error:
        raise BadParameter(str(error)) from None
    known = [form for form in forms or [wire.SAMPLES] if form in (wire.SAMPLES, wire.STREAMED)]
    if not known:
        raise BadParameter(
            "none of requested response types are supported: only SAMPLES and STREAMED_XOR_CHUNKS"
            " are answered"
        )
    parts: list[bytes] = []
    async with question.reading() as connection:
        for number, query in enumerate(asked):
            selection = Selection(_matchers(query), query.from_ms, query.to_ms)
            found = await question.select(connection, selection)
            with question.stage("render"):
                if known[0] == wire.STREAMED:
                    parts += _frames(number, found)
                else:
                    parts.append(wire.result(_series(found)))
    if known[0] == wire.STREAMED:
        question.media = STREAMED_MEDIA
        return b"".join(parts)
    question.media = MEDIA
    question.headers["Content-Encoding"] = "snappy"
    return compress_snappy(b"".join(parts))


def _matchers(query: wire.Asked) -> tuple[Matcher, ...]:
    try:
        return tuple(
            Matcher(operator, name, value)  # type: ignore[arg-type]
            for name, operator, value in query.matchers
        )
    except BadPattern as error:
        raise BadParameter(str(error)) from None


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


def _frames(number: int, found: Samples) -> Iterator[bytes]:
    """Series as frames of chunks: 120 samples of one kind in each, and of histograms of one layout
    without a reset, as Prometheus cuts them."""
    starts, counts = _runs(found)
    times = found.times
    is_float = np.full(len(starts), True) if found.rows is None else found.rows[starts] < 0
    floats = iter(chunks.float_chunks(times, found.values, starts[is_float], counts[is_float]))
    of_series = np.searchsorted(starts, found.offsets).tolist()
    for labels, (first, last) in zip(found.labels, pairwise(of_series), strict=True):
        mine = []
        for at in range(first, last):
            run = slice(int(starts[at]), int(starts[at] + counts[at]))
            kind = chunks.XOR if is_float[at] else chunks.FLOAT_HISTOGRAM
            data = next(floats) if is_float[at] else _histogram_chunk(found, run)
            mine.append(wire.Chunk(int(times[run.start]), int(times[run.stop - 1]), kind, data))
        yield from wire.frames(number, labels, mine)


def _runs(found: Samples) -> tuple[Ints, Ints]:
    """Where chunks begin, and how many samples they hold."""
    begins = np.zeros(len(found.times) + 1, bool)
    begins[found.offsets] = True
    block, rows = found.histograms, found.rows
    if block is not None and rows is not None:
        before, now = rows[:-1], rows[1:]
        counter, told = block.hint != GAUGE, block.hint == NOT_RESET
        differs = (counter[now] & ~told[now]) | (counter[now] != counter[before])
        for each in (block.schema, block.zero_threshold, block.bounds_of):
            differs |= each[now] != each[before]
        begins[1:-1] |= ((now < 0) != (before < 0)) | (now >= 0) & differs
    edges = np.flatnonzero(begins)
    lengths = np.diff(edges)
    pieces = -(-lengths // chunks.CHUNK_SAMPLES)
    within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(edges[:-1], pieces) + chunks.CHUNK_SAMPLES * within
    return starts, np.minimum(np.repeat(edges[1:], pieces) - starts, chunks.CHUNK_SAMPLES)


def _histogram_chunk(found: Samples, run: slice) -> bytes:
    assert found.histograms is not None
    assert found.rows is not None
    block = found.histograms.take(found.rows[run])
    fields = [block.count[:, None], block.zero_count[:, None], block.sum[:, None]]
    indexes: list[list[int]] = []
    for side in (block.positive, block.negative):
        some = np.flatnonzero(side.counts.any(axis=0))
        indexes.append(side.indexes[some].tolist())
        fields.append(side.counts[:, some])
    bounds = int(block.bounds_of[0])
    layout = chunks.Layout(
        int(block.hint[0]),
        int(block.schema[0]),
        float(block.zero_threshold[0]),
        indexes[0],
        indexes[1],
        block.bounds[bounds] if bounds >= 0 else (),
    )
    return chunks.histogram_chunk(found.times[run], np.hstack(fields), layout)
