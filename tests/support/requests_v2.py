"""Remote write 2.0 requests from what they say, with a symbol table as senders make it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ingest.wire.pb import remote_write_v2_pb2 as pb

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "User-Agent": "promgres-tests",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}


@dataclass
class Symbols:
    """Texts by reference; the first is the empty one."""

    texts: list[str] = field(default_factory=lambda: [""])

    def ref(self, text: str) -> int:
        """The reference of a text."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)

    def refs(self, pairs: Iterable[tuple[str, str]]) -> list[int]:
        """References of names and values in turn."""
        return [self.ref(text) for pair in pairs for text in pair]


def exemplar(symbols: Symbols, timestamp_ms: int, value: float, **labels: str) -> pb.Exemplar:
    """One exemplar."""
    return pb.Exemplar(
        labels_refs=symbols.refs(labels.items()), value=value, timestamp=timestamp_ms
    )


def request(symbols: Symbols, series: Sequence[pb.TimeSeries]) -> bytes:
    """The message."""
    return pb.Request(symbols=symbols.texts, timeseries=series).SerializeToString()
