"""Remote write 2.0 messages: symbols, series that refer to them, and one series read in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from google.protobuf.message import DecodeError

from ingest.errors import BadRequest
from ingest.model import METRIC_NAME, Int64s
from ingest.wire.pb import remote_write_v2_pb2 as pb
from ingest.wire.remote_write.columns import Columns, Symbols, read_columns
from ingest.wire.remote_write.fields import MOST_LABELS, TOO_MANY_LABELS, Layout
from ingest.wire.remote_write.histogram import read_histograms, valid_start
from ingest.wire.remote_write.parsed import (
    PAIR_BYTES,
    LabelBytes,
    ParsedExemplar,
    ParsedMetadata,
    ParsedSeries,
)
from ingest.wire.remote_write.tails import Tails
from ingest.wire.remote_write.v1 import metric_type

EMPTY = "must contain at least one sample, histogram or exemplar"
"""The specification asks for a sample or a histogram, but Prometheus 3 sends each exemplar in a
TimeSeries of its own."""


class RequestV2:
    """A Request whose series are still bytes; see `ingest.wire.remote_write.request.Request`.

    Attributes:
        series: the bytes of every TimeSeries message, in the order of the request.
        first: place of the first of them in the whole request.
    """

    layout = Layout(exemplars=4, histograms=3, refers=True)
    label_bytes = PAIR_BYTES
    pair_of = tuple
    metadata_count = 0

    def __init__(
        self,
        series: list[bytes],
        symbols: Symbols,
        first: int = 0,
    ) -> None:
        self.series = series
        self.first = first
        self._symbols = symbols

    def part(self, start: int, end: int) -> RequestV2:
        """See `Request`: symbols are shared."""
        series = self.series[start:end]
        return RequestV2(series, self._symbols, self.first + start)

    @property
    def tails(self) -> Tails:
        """See `Request`."""
        return self._columns.tails

    def keys(self, positions: Int64s) -> Int64s:
        """See `Request`; what is said of the metric and the start is part of it."""
        keys = self._columns.keys
        return keys if len(positions) == len(keys) else keys[positions]

    def parse(self, position: int) -> ParsedSeries:
        """See `Request`."""
        return self.parse_bytes(self.series[position], position)

    def parse_bytes(self, raw: bytes, position: int) -> ParsedSeries:
        """See `Request`."""
        try:
            message = pb.SeriesFields.FromString(raw)
        except DecodeError:
            raise BadRequest(
                f"timeseries {self.first + position} of the payload is not a protobuf message"
            ) from None
        labels, complaint = self._labels(message.labels_refs)
        parsed = ParsedSeries(labels, tuple, complaint=complaint)
        parsed.text_bytes = sum([len(name) + len(value) for name, value in labels])
        parsed.timestamp_ms = [sample.timestamp for sample in message.samples]
        parsed.value = [sample.value for sample in message.samples]
        parsed.start_ms = _starts(message)
        parsed.exemplars = [self._exemplar(exemplar) for exemplar in message.exemplars]
        if message.histograms:
            parsed.histograms, parsed.refused_histograms = read_histograms(
                message.histograms, message.created_timestamp
            )
        if not (message.samples or message.histograms or message.exemplars):
            parsed.complaint = parsed.complaint or EMPTY
        if parsed.complaint is None:
            self._describe(parsed, message)
        return parsed

    def metadata(self) -> Iterator[ParsedMetadata]:
        """See `Request`: series carry their own."""
        return iter(())

    @cached_property
    def _columns(self) -> Columns:
        return read_columns(self.series, self._symbols)

    def _labels(self, refs: Sequence[int]) -> tuple[LabelBytes, str | None]:
        if len(refs) > 2 * MOST_LABELS:
            return [], TOO_MANY_LABELS
        if len(refs) % 2:
            return [], f"labels_refs has {len(refs)} entries, which are not pairs"
        if refs and max(refs) >= len(self._symbols):
            return [], f"label reference {max(refs)} is beyond the {len(self._symbols)} symbols"
        texts = [*map(self._symbols.texts.__getitem__, refs)]
        return list(zip(texts[::2], texts[1::2], strict=True)), None

    def _exemplar(self, message: pb.Exemplar) -> ParsedExemplar:
        labels, complaint = self._labels(message.labels_refs)
        return ParsedExemplar(labels, message.timestamp, message.value, complaint)

    def _describe(self, parsed: ParsedSeries, message: pb.SeriesFields) -> None:
        """Metadata and key of a series whose labels are in order."""
        said = message.metadata
        if max(said.help_ref, said.unit_ref) >= max(1, len(self._symbols)):
            parsed.complaint = "a help or unit reference is beyond the symbols"
            return
        if len(message.samples) == 1 or not parsed.start_ms:
            start_ms = parsed.start_ms[0] if parsed.start_ms else 0
            references = (said.type, said.help_ref, said.unit_ref)
            parsed.key = self._symbols.key([*message.labels_refs], references, start_ms)
        if said.type or said.help_ref or said.unit_ref:
            name = dict(parsed.labels).get(METRIC_NAME.encode(), b"")
            parsed.metadata = ParsedMetadata(
                name, metric_type(said.type), self._text(said.unit_ref), self._text(said.help_ref)
            )

    def _text(self, ref: int) -> bytes:
        """Symbol 0 is the empty text: help or unit is not set."""
        return self._symbols.texts[ref] if ref else b""


def _starts(message: pb.SeriesFields) -> list[int]:
    """Each start timestamp once; where samples have none, the series' of 2.0-rc.3."""
    said = [sample.start_timestamp or message.created_timestamp for sample in message.samples]
    return [start for start in dict.fromkeys(said) if valid_start(start)]


def read_request(payload: bytes, seed: int) -> RequestV2:
    """Split a Request into its symbols and series.

    Args:
        seed: of keys.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    try:
        envelope = pb.RequestEnvelope.FromString(payload)
    except DecodeError:
        raise BadRequest(
            "the payload is not a protobuf message io.prometheus.write.v2.Request"
        ) from None
    return RequestV2(envelope.timeseries[:], Symbols(envelope.symbols, seed))
