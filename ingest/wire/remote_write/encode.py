"""Remote write 1.0 as we send it ourselves: series of several samples each, in a snappy block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ingest.wire.encoding.snappy import compress_snappy
from ingest.wire.pb.remote_write_v1_pb2 import WriteRequest

CONTENT_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class Run(NamedTuple):
    """Samples of one series, oldest first.

    Attributes:
        labels: with the metric's name as `__name__`.
        timestamps_ms, values: as many of one as of the other.
    """

    labels: Mapping[str, str]
    timestamps_ms: Sequence[int]
    values: Sequence[float]


def write_body(runs: Iterable[Run]) -> bytes:
    """The body of a request; labels are sorted by name, as the specification wants them."""
    message = WriteRequest()
    for run in runs:
        series = message.timeseries.add()
        for name, text in sorted(run.labels.items()):
            series.labels.add(name=name, value=text)
        for timestamp_ms, value in zip(run.timestamps_ms, run.values, strict=True):
            series.samples.add(timestamp=timestamp_ms, value=value)
    return compress_snappy(message.SerializeToString())
