"""Chunks that are streamed: what is written is what a reader finds, bit by bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.promql.values import STALE
from ingest.wire import chunks as wire
from ingest.wire.encoding.snappy import crc32c
from tests.support import chunks as reader

NAMED = [0, *(int(np.float64(x).view(np.uint64)) for x in (1, -1, 0.1, math.inf, math.nan, STALE))]
bits = st.one_of(
    st.sampled_from(NAMED),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1).map(lambda n: n & -1024 % 2**64),
)
gaps = st.one_of(
    st.sampled_from([15_000, 15_000, 15_001]), st.integers(1, 20_000), st.integers(1, 2**40)
)
starts = st.one_of(st.integers(-(2**50), 2**50), st.just(1_700_000_000_000))


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Times and bits of a chunk."""
    steps = draw(st.lists(gaps, max_size=20))
    times = np.cumsum([draw(starts), *steps]).tolist()
    return times, draw(st.lists(bits, min_size=len(times), max_size=len(times)))


@given(st.lists(runs(), min_size=1, max_size=8))
def test_floats(chunks: list[tuple[list[int], list[int]]]) -> None:
    times = np.array([at for each, _ in chunks for at in each], np.int64)
    values = np.array([one for _, each in chunks for one in each], np.uint64).view(np.float64)
    counts = np.array([len(each) for each, _ in chunks])
    written = wire.float_chunks(times, values, np.cumsum(counts) - counts, counts)
    assert [reader.floats(raw) for raw in written] == [
        list(zip(*each, strict=True)) for each in chunks
    ]


indexes = st.lists(st.integers(-300, 300), unique=True, max_size=6).map(sorted)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    runs(),
    st.integers(0, 3),
    st.one_of(st.integers(-4, 8), st.just(wire.CUSTOM_SCHEMA)),
    st.one_of(st.just(0.0), st.integers(-260, 20).map(lambda n: 2.0**n), finite.map(abs)),
    indexes,
    indexes,
    st.lists(st.one_of(finite, st.integers(-5, 40_000_000).map(lambda n: n / 1000)), max_size=5),
    st.data(),
)
def test_histograms(
    run: tuple[list[int], list[int]], hint: int, schema: int, zero: float,
    positive: list[int], negative: list[int], bounds: list[float], data: st.DataObject,
) -> None:  # fmt: skip
    times, _ = run
    width = 3 + len(positive) + len(negative)
    row = st.lists(bits, min_size=width, max_size=width)
    fields = data.draw(st.lists(row, min_size=len(times), max_size=len(times)))
    layout = wire.Layout(hint, schema, zero, positive, negative, bounds)
    floats = np.array(fields, np.uint64).reshape(len(times), width).view(np.float64)
    found = reader.histograms(wire.histogram_chunk(np.array(times), floats, layout))
    assert found.header == wire.RESET_HEADER[hint]
    assert (found.schema, found.zero_threshold) == (schema, zero)
    assert (found.positive, found.negative) == (positive, negative)
    assert found.bounds == (bounds if schema == wire.CUSTOM_SCHEMA else [])
    assert [(each.time_ms, each.fields) for each in found.samples] == list(
        zip(times, fields, strict=True)
    )


@given(st.binary(max_size=300))
def test_the_checksum(data: bytes) -> None:
    assert crc32c(data) == reader.crc32c(data)


def test_the_checksum_of_long_data() -> None:
    assert crc32c(b"123456789") == 0xE306_9283  # the check value of the catalogue of CRCs
    for size in (65_535, 65_536, 65_537, 200_000):
        data = bytes(range(251)) * (size // 251 + 1)
        assert crc32c(data[:size]) == reader.crc32c(data[:size])
