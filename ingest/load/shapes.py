"""How the two protocols write the same series: labels in full, or references to a symbol table.

An exemplar of 1.0 stands in a TimeSeries of its own, as Prometheus sends it; 2.0 wants it beside a
sample. Metadata goes with every series of 2.0, and with none of 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple, Protocol

from ingest.load.drafts import Blank, Draft, blank, field, field_head, joined, varint
from ingest.wire.pb import remote_write_v1_pb2 as pb1
from ingest.wire.pb import remote_write_v2_pb2 as pb2

ProtocolVersion = Literal[1, 2]
"""Major version of remote write."""

LabelPairs = Sequence[tuple[str, str]]
TRACE_LABEL = "trace_id"

_VALUE_TAG, _TIMESTAMP_TAG = b"\x09", b"\x10"
_OBSERVED_TAG, _EXEMPLAR_TIMESTAMP_TAG = b"\x11", b"\x18"
_SAMPLES = 2
"""Field of a TimeSeries, in both protocols."""


class About(NamedTuple):
    """Metadata of a metric."""

    type: pb2.Metadata.MetricType
    help: str
    unit: str


class Frame(NamedTuple):
    """A TimeSeries with one native histogram: what stands before that message, and after it."""

    labels: bytes
    field: int
    rest: bytes

    def around(self, histogram: bytes) -> bytes:
        """The content of the TimeSeries."""
        return self.labels + field_head(self.field, len(histogram)) + histogram + self.rest


class Shape(Protocol):
    """One request, while it is drafted."""

    series_field: int

    def sampled(self, labels: LabelPairs, about: About, *, zero: bool, exemplar: bool) -> Draft:
        """A series with one sample, whose value is left out if it is zero, and an exemplar."""

    def framed(self, labels: LabelPairs, about: About) -> Frame:
        """A series with one native histogram."""

    def head(self) -> Draft:
        """What stands before all series, once all of them are drafted."""


class Version1(Shape):
    """`prometheus.WriteRequest`."""

    series_field = 1
    _exemplars, _histograms = 3, 4

    def sampled(self, labels: LabelPairs, about: About, *, zero: bool, exemplar: bool) -> Draft:
        start = Draft(_labels(labels))
        series = field(self.series_field, joined(start, _sample(zero)))
        if not exemplar:
            return series
        alone = field(self._exemplars, self._exemplar())
        return joined(series, field(self.series_field, joined(start, alone)))

    def framed(self, labels: LabelPairs, about: About) -> Frame:
        return Frame(_labels(labels), self._histograms, b"")

    def head(self) -> Draft:
        return Draft()

    def _exemplar(self) -> Draft:
        name = field(1, Draft(TRACE_LABEL.encode()))
        label = field(1, joined(name, field(2, blank(Blank.TRACE_ID))))
        return joined(label, _observation())


class Version2(Shape):
    """`io.prometheus.write.v2.Request`; every text is in its symbol table once."""

    series_field = 5
    _symbols, _histograms, _exemplars, _metadata = 4, 3, 4, 5

    def __init__(self) -> None:
        self._table: list[Draft] = []
        self._refs: dict[str, int] = {}
        self._ref("")

    def sampled(self, labels: LabelPairs, about: About, *, zero: bool, exemplar: bool) -> Draft:
        fields = [Draft(self._label_refs(labels)), _sample(zero)]
        if exemplar:
            fields.append(field(self._exemplars, self._exemplar()))
        fields.append(Draft(self._about(about)))
        return field(self.series_field, joined(*fields))

    def framed(self, labels: LabelPairs, about: About) -> Frame:
        return Frame(self._label_refs(labels), self._histograms, self._about(about))

    def head(self) -> Draft:
        return joined(*[field(self._symbols, symbol) for symbol in self._table])

    def _ref(self, text: str) -> int:
        ref = self._refs.setdefault(text, len(self._table))
        if ref == len(self._table):
            self._table.append(Draft(text.encode()))
        return ref

    def _label_refs(self, labels: LabelPairs) -> bytes:
        refs = [self._ref(text) for pair in labels for text in pair]
        return _refs_field(refs)

    def _about(self, about: About) -> bytes:
        message = pb2.Metadata(
            type=about.type, help_ref=self._ref(about.help), unit_ref=self._ref(about.unit)
        )
        return field(self._metadata, Draft(message.SerializeToString())).content

    def _exemplar(self) -> Draft:
        """Each has a symbol of its own for its trace id, unlike all others."""
        refs = [self._ref(TRACE_LABEL), len(self._table)]
        self._table.append(blank(Blank.TRACE_ID))
        return joined(Draft(_refs_field(refs)), _observation())


def shape_of(protocol: ProtocolVersion) -> Shape:
    """An empty request of a protocol."""
    return Version1() if protocol == 1 else Version2()


def _labels(labels: LabelPairs) -> bytes:
    """Labels of 1.0: the start of a TimeSeries."""
    pairs = [pb1.Label(name=name, value=value) for name, value in labels]
    return pb1.TimeSeries(labels=pairs).SerializeToString()


def _refs_field(refs: Sequence[int]) -> bytes:
    """Label references of 2.0, packed: the start of a TimeSeries or of an exemplar."""
    return field(1, Draft(b"".join(map(varint, refs)))).content


@cache
def _sample(zero: bool) -> Draft:
    """A sample, as a field of a TimeSeries; both protocols write it alike, and leave a zero out."""
    value = () if zero else (Draft(_VALUE_TAG), blank(Blank.VALUE))
    return field(_SAMPLES, joined(*value, Draft(_TIMESTAMP_TAG), blank(Blank.TIMESTAMP)))


def _observation() -> Draft:
    """Value and timestamp of an exemplar."""
    return joined(
        Draft(_OBSERVED_TAG),
        blank(Blank.OBSERVED),
        Draft(_EXEMPLAR_TIMESTAMP_TAG),
        blank(Blank.TIMESTAMP),
    )
