"""The slow path: a series parsed in full. First sight, several samples, and all that is odd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingest.errors import InvalidSeries
from ingest.intake.limits import RequestLimits, TimeWindow
from ingest.intake.resolve import Described, describe
from ingest.model import (
    Counts,
    Exemplar,
    Histogram,
    Intake,
    Label,
    Metadata,
    NewSamples,
    Place,
    Rejection,
    Series,
    Start,
    is_stale,
)
from ingest.routing import Router
from ingest.series.cache import (
    DROPPED,
    SeriesCache,
    place_of,
    series_id_of,
    target_number,
)
from ingest.series.identity import encode_label, encode_pair
from ingest.series.key_table import UNKNOWN
from ingest.stores import TARGETS
from ingest.text import series_text, time_text
from ingest.wire.remote_write.fields import MOST_LABELS, TOO_MANY_LABELS
from ingest.wire.remote_write.parsed import LabelBytes, ParsedExemplar, ParsedMetadata, ParsedSeries
from ingest.wire.validate import (
    check_length,
    checked_label,
    checked_labels,
    checked_pairs,
    checked_text,
)

SERIES_BYTES, SAMPLE_BYTES, START_BYTES = 700, 80, 100
EXEMPLAR_BYTES, HISTOGRAM_BYTES, BUCKET_BYTES, METADATA_BYTES = 300, 900, 80, 500
"""Memory of each, once it is decoded and until it is stored, measured."""
MOST_REASONS = 100
"""Reasons kept of one request: 32 MiB can hold 16 million invalid series."""


MOST_REMEMBERED = 20_000
"""Labels of one request: they take some 500 bytes each while it is decoded."""


class _Labels(dict[Any, Label]):
    """Labels by what stands for them in a request, read and checked once: series share most.

    Attributes:
        encoded: the same as `identity_of` takes them in.
    """

    def __init__(self, pair_of: Callable[[Any], tuple[bytes, bytes]]) -> None:
        self._pair_of = pair_of
        self.encoded = _Encoded()

    def __missing__(self, token: Any) -> Label:
        pair = self._pair_of(token)
        label = checked_label(pair)
        if len(self) < MOST_REMEMBERED:
            self[token], self.encoded[label] = label, encode_pair(pair)
        return label


class _Encoded(dict[Label, bytes]):
    """Of what is not remembered, or was made by a script."""

    def __missing__(self, label: Label) -> bytes:
        return encode_label(label)


@dataclass(slots=True)
class KnownSamples:
    """Samples of series whose id is known, as parallel lists; `exact` by position in them."""

    position: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    timestamp_ms: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    exact: dict[int, str] = field(default_factory=dict)


class _Found(NamedTuple):
    """A valid series: where it goes, and, unless its key was known, what it is; `key` is one by
    which it may be known from now on."""

    place: Place
    target: str
    series: Series | None = None
    exact: str | None = None
    key: bytes | None = None


class SlowPath:
    """Takes the series of one request one by one.

    Args:
        intake: receives what becomes of everything, except samples of known series.
        now_ms: when the request came.
        label_bytes: memory of a label.
        pair_of: from a token of a label to name and value, see `ParsedSeries`.

    Attributes:
        known: samples of known series.
        memory_bytes: what all that was taken needs.
    """

    def __init__(
        self,
        router: Router,
        cache: SeriesCache,
        window: TimeWindow,
        sizes: RequestLimits,
        intake: Intake,
        now_ms: int,
        label_bytes: int,
        pair_of: Callable[[Any], tuple[bytes, bytes]],
    ) -> None:
        self._now_ms = now_ms
        self._router = router
        self._cache = cache
        self._window = window
        self._sizes = sizes
        self._intake = intake
        self._label_bytes = label_bytes
        labels = _Labels(pair_of)
        self._label_of, self._encoded = labels.__getitem__, labels.encoded.__getitem__
        self._most_text_bytes = sizes.settings.text_bytes_per_request
        self._most_memory_bytes = sizes.settings.memory_bytes_per_request
        self._text_bytes = 0
        self.memory_bytes = 0
        self._said: set[ParsedMetadata] = set()
        self.known = KnownSamples()

    def take(self, position: int, parsed: ParsedSeries) -> None:
        """Take one series.

        Args:
            position: its place in the request.

        Raises:
            BadRequest: with it, the request is too much.
        """
        sent = contents(parsed)
        _add(self._intake.sent, sent)
        try:
            found = self._find(parsed)
        except InvalidSeries as error:
            self._reject(parsed.labels, str(error), sent)
            return
        if found.place == DROPPED:
            self._intake.dropped += sent.samples + sent.histograms
            self._intake.exemplars_dropped += sent.exemplars
            self._link(found)
            return
        for reason in parsed.refused_histograms:
            self._reject(parsed.labels, f"native histogram: {reason}", Counts(histograms=1))
        self._store(position, parsed, found)
        is_told = parsed.metadata is None or self.take_metadata(parsed.metadata)
        if is_told and not self._new_starts(parsed, found):
            self._link(found)

    def take_metadata(self, said: ParsedMetadata) -> bool:
        """Take what is said of a metric; whether all that is to know of it is stored already.

        Raises:
            BadRequest: with it, the request is too much.
        """
        if said in self._said:
            return False
        self._count_text(len(said.name) + len(said.unit) + len(said.help))
        try:
            metadata = _checked_metadata(said, self._now_ms)
        except InvalidSeries as error:
            self._reject([(b"__name__", said.name)], f"metadata: {error}", Counts())
            return False
        if self._cache.knows_item("metadata", self._intake.tenant_id, metadata):
            return True
        self._said.add(said)
        self._take_memory(METADATA_BYTES + len(said.help))
        self._intake.add_item("metadata", self._intake.tenant_id, metadata)
        return False

    def _find(self, parsed: ParsedSeries) -> _Found:
        if parsed.complaint is not None:
            raise InvalidSeries(parsed.complaint)
        key = parsed.key
        if key is not None:
            place = self._cache.place_by_key(key)
            if place == DROPPED:
                return _Found(place, "")
            if place != UNKNOWN:
                return _Found(place, TARGETS[target_number(place)])
        if len(parsed.tokens) > MOST_LABELS:
            raise InvalidSeries(TOO_MANY_LABELS)
        check_length(parsed.text_bytes, "the labels have")
        self._count_text(parsed.text_bytes)
        labels = checked_labels(parsed.tokens, self._label_of, parsed.pair_of)
        if too_much := self._sizes.complaint(labels):
            raise InvalidSeries(too_much)
        described = describe(self._router, self._intake.tenant_id, labels, self._encoded)
        if self._router.scripts and (too_much := self._sizes.complaint(described.series.labels)):
            raise InvalidSeries(too_much)
        return self._locate(described, key)

    def _count_text(self, more_bytes: int) -> None:
        """Before any of it becomes text of its own."""
        self._text_bytes += more_bytes
        if self._text_bytes > self._most_text_bytes:
            self._sizes.check("text_bytes_per_request", self._text_bytes)

    def _take_memory(self, more_bytes: int) -> None:
        self.memory_bytes += more_bytes
        if self.memory_bytes > self._most_memory_bytes:
            self._sizes.check("memory_bytes_per_request", self.memory_bytes)

    def _memory_of(self, histograms: list[Histogram], exemplars: list[Exemplar]) -> int:
        memory_bytes = 0
        for histogram in histograms:
            buckets = len(histogram.positive.indexes) + len(histogram.negative.indexes)
            buckets += len(histogram.custom_bounds or ())
            memory_bytes += HISTOGRAM_BYTES + BUCKET_BYTES * buckets
        for exemplar in exemplars:
            memory_bytes += EXEMPLAR_BYTES + (self._label_bytes + 50) * len(exemplar.labels)
        return memory_bytes

    def _new_starts(self, parsed: ParsedSeries, found: _Found) -> list[Start]:
        """Start timestamps that are not known to be stored."""
        if not parsed.start_ms:
            return []
        series_id = series_id_of(found.place) if found.place != UNKNOWN else UNKNOWN
        starts = map(Start, parsed.start_ms)
        return [each for each in starts if not self._cache.knows_item("start", series_id, each)]

    def _link(self, found: _Found) -> None:
        """Know the series by its key from now on: its next sample takes the fast path."""
        if found.key is not None:
            self._cache.link(found.key, found.place)

    def _locate(self, described: Described, key: bytes | None) -> _Found:
        series = described.series
        if described.value_label is not None:
            key = None  # it is not the labels alone that decide where its samples go
        if described.decision.drop:
            return _Found(DROPPED, series.target, key=key)
        if described.value_label is not None and described.exact is None:
            self._intake.undecimal_value_labels += 1
        series_id = self._cache.id_of(series.identity)
        if series_id is None:
            return _Found(UNKNOWN, series.target, series, described.exact)
        place = place_of(series.target, series_id)
        return _Found(place, series.target, series, described.exact, key)

    def _store(self, position: int, parsed: ParsedSeries, found: _Found) -> None:
        timestamps, values = self._acceptable(parsed, found)
        histograms = self._acceptable_histograms(parsed) if parsed.histograms else []
        exemplars = self._acceptable_exemplars(parsed) if parsed.exemplars else []
        if not (timestamps or histograms or exemplars):
            return
        memory_bytes = SAMPLE_BYTES * len(timestamps)
        if histograms or exemplars:
            memory_bytes += self._memory_of(histograms, exemplars)
        if found.place == UNKNOWN:
            assert found.series is not None
            labels = len(found.series.labels)
            self._take_memory(memory_bytes + SERIES_BYTES + self._label_bytes * labels)
            self._intake.new.append(
                NewSamples(
                    found.series,
                    timestamps,
                    values,
                    found.exact,
                    histograms,
                    exemplars,
                    self._new_starts(parsed, found) if timestamps else [],
                )
            )
            return
        self._take_memory(memory_bytes)
        for start in self._new_starts(parsed, found) if timestamps else ():
            self._intake.add_item("start", series_id_of(found.place), start)
        for histogram in histograms:
            self._intake.add_item("histogram", series_id_of(found.place), histogram)
        for exemplar in exemplars:
            self._intake.add_item("exemplar", series_id_of(found.place), exemplar)
        known, count = self.known, len(timestamps)
        if found.exact is not None:
            first = len(known.place)
            known.exact.update(dict.fromkeys(range(first, first + count), found.exact))
        known.position += [position] * count
        known.place += [found.place] * count
        known.timestamp_ms += timestamps
        known.value += values

    def _acceptable(self, parsed: ParsedSeries, found: _Found) -> tuple[list[int], list[float]]:
        """Timestamps and values that can be stored; the other samples are accounted for."""
        timestamps: list[int] = []
        values: list[float] = []
        refused: dict[str, list[int]] = {}
        for timestamp_ms, value in zip(parsed.timestamp_ms, parsed.value, strict=True):
            if found.exact is not None and is_stale(value):
                self._intake.dropped += 1
            elif complaint := self._window.complaint(found.target, timestamp_ms):
                refused.setdefault(complaint, []).append(timestamp_ms)
            else:
                timestamps.append(timestamp_ms)
                values.append(value)
        for complaint, refused_ms in refused.items():
            reason = _refused_time(refused_ms[0], complaint)
            self._reject(parsed.labels, reason, Counts(samples=len(refused_ms)))
        return timestamps, values

    def _acceptable_histograms(self, parsed: ParsedSeries) -> list[Histogram]:
        taken = []
        for histogram in parsed.histograms:
            complaint = self._window.complaint("internal", histogram.timestamp_ms)
            if complaint is None:
                taken.append(histogram)
                continue
            reason = f"native histogram: {_refused_time(histogram.timestamp_ms, complaint)}"
            self._reject(parsed.labels, reason, Counts(histograms=1))
        return taken

    def _acceptable_exemplars(self, parsed: ParsedSeries) -> list[Exemplar]:
        taken = []
        for exemplar in parsed.exemplars:
            try:
                taken.append(self._checked_exemplar(exemplar))
            except InvalidSeries as error:
                self._reject(parsed.labels, f"exemplar: {error}", Counts(exemplars=1))
        return taken

    def _checked_exemplar(self, exemplar: ParsedExemplar) -> Exemplar:
        if exemplar.complaint is not None:
            raise InvalidSeries(exemplar.complaint)
        if exemplar.timestamp_ms == 0:
            raise InvalidSeries("the timestamp is missing")
        if complaint := self._window.complaint("internal", exemplar.timestamp_ms):
            raise InvalidSeries(_refused_time(exemplar.timestamp_ms, complaint))
        if len(exemplar.labels) > MOST_LABELS:
            raise InvalidSeries(TOO_MANY_LABELS)
        self._count_text(sum([len(name) + len(value) for name, value in exemplar.labels]))
        return Exemplar(exemplar.timestamp_ms, exemplar.value, checked_pairs(exemplar.labels))

    def _reject(self, labels: LabelBytes, reason: str, counts: Counts) -> None:
        rejections = self._intake.rejections
        if len(rejections) == MOST_REASONS:
            rejections.append(Rejection("more series, whose reasons are left out"))
        elif len(rejections) < MOST_REASONS:
            rejections.append(Rejection(f"{series_text(labels)}: {reason}"))
        _add(rejections[-1], counts)


def contents(parsed: ParsedSeries) -> Counts:
    """What one series carries."""
    histograms = len(parsed.histograms) + len(parsed.refused_histograms)
    return Counts(len(parsed.value), histograms, len(parsed.exemplars))


def _add(total: Counts | Rejection, counts: Counts) -> None:
    total.samples += counts.samples
    total.histograms += counts.histograms
    total.exemplars += counts.exemplars


def _refused_time(timestamp_ms: int, complaint: str) -> str:
    return f"timestamp {time_text(timestamp_ms)} is {complaint}"


def _checked_metadata(said: ParsedMetadata, seen_ms: int) -> Metadata:
    check_length(len(said.name) + len(said.unit) + len(said.help), "name, unit and help have")
    name = checked_text(said.name, "the metric name")
    if not name:
        raise InvalidSeries("the metric name is empty")
    unit, text = checked_text(said.unit, "the unit"), checked_text(said.help, "the help")
    return Metadata(name, said.type, unit, text, seen_ms)
