"""Remote read on the wire: what numpy writes is what protobuf reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import BadRequest
from ingest.promql.values import STALE
from ingest.wire import remote_read as wire
from ingest.wire.pb import remote_read_pb2 as pb
from ingest.wire.pb import remote_write_v1_pb2 as v1

bits = st.integers(-(2**63), 2**63 - 1)


def read_back(raw: bytes) -> v1.TimeSeries:
    return v1.TimeSeries.FromString(raw)


@given(
    st.lists(st.tuples(st.integers(-(2**62), 2**62), bits)),
    st.dictionaries(st.text(max_size=5), st.text(max_size=300), max_size=3),
)
def test_series(samples: list[tuple[int, int]], labels: dict[str, str]) -> None:
    times = np.array([at for at, _ in samples], np.int64)
    values = np.array([value for _, value in samples], np.int64).view(np.float64)
    series = read_back(wire.series_bytes(labels, times, values))
    assert {label.name: label.value for label in series.labels} == labels
    assert [sample.timestamp for sample in series.samples] == times.tolist()
    found = np.array([sample.value for sample in series.samples])
    assert np.isnan(found).tolist() == np.isnan(values).tolist()
    assert found[~np.isnan(found)].tolist() == values[~np.isnan(values)].tolist()


@given(st.lists(st.integers(1 << 35, (1 << 42) - 1), min_size=1))
def test_timestamps_of_our_days_take_18_bytes_a_sample(times: list[int]) -> None:
    raw = wire.samples_bytes(np.array(times), np.full(len(times), STALE))
    assert len(raw) == 18 * len(times)
    assert raw[3:11] == bytes.fromhex("020000000000f07f")  # its bits
    assert [sample.timestamp for sample in read_back(raw).samples] == times


def test_a_histogram_has_its_spans() -> None:
    message = wire.histogram_message(
        5, 3, 1, 9, 2.5, (0.001, 2), [(-2, 1), (-1, 2), (4, 3)], [(0, 1)], ()
    )
    assert [(span.offset, span.length) for span in message.positive_spans] == [(-2, 2), (4, 1)]
    assert [(span.offset, span.length) for span in message.negative_spans] == [(0, 1)]
    assert (message.count_float, message.zero_count_float, message.schema) == (9, 2, 3)
    assert list(message.positive_counts) == [1, 2, 3]


def test_a_request() -> None:
    matcher = pb.LabelMatcher(type=2, name="job", value="a|b")
    query = pb.Query(start_timestamp_ms=1, end_timestamp_ms=2, matchers=[matcher])
    request = pb.ReadRequest(queries=[query], accepted_response_types=[1, 0])
    asked, forms = wire.read_request(request.SerializeToString())
    assert asked == [wire.Asked(1, 2, [wire.Matcher("job", "=~", "a|b")])]
    assert forms == [wire.STREAMED, wire.SAMPLES]
    with pytest.raises(BadRequest, match="not a protobuf message"):
        wire.read_request(b"\xff")
    matcher.type = 9
    query.matchers[0].CopyFrom(matcher)
    with pytest.raises(BadRequest, match="type 9"):
        wire.read_request(pb.ReadRequest(queries=[query]).SerializeToString())


def test_a_response_has_a_result_for_each_query() -> None:
    raw = wire.result([b"\x0a\x00"]) + wire.result([])
    assert raw == b"\x0a\x04\x0a\x02\x0a\x00\x0a\x00"
