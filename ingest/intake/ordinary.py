"""The ordinary path: a series parsed in full. First sight, several samples, and all that is odd."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.intake.describe import Described, describe
from ingest.intake.limits import Window
from ingest.model import STALE_MARKER_BITS, TARGETS, Intake, NewSamples, Rejection, Series
from ingest.routing import Router
from ingest.series.cache import DROPPED, UNKNOWN, SeriesCache, place_of, target_number
from ingest.series.identity import label_key
from ingest.wire.v1 import ParsedSeries, parse_series
from ingest.wire.validate import InvalidSeries, checked_labels, series_text, time_text

MOST_REASONS = 100
"""Reasons kept of one request: 32 MiB can hold 16 million invalid series."""

_STALE_MARKER = struct.pack("<Q", STALE_MARKER_BITS)


@dataclass(slots=True)
class KnownSamples:
    """Samples of series whose id is known, as parallel lists; `exact` by position in them."""

    position: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    timestamp_ms: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    exact: dict[int, str] = field(default_factory=dict)


class _Found(NamedTuple):
    """A valid series: where it goes, and, unless its labels' key was known, what it is."""

    place: int
    target: str
    series: Series | None = None
    exact: str | None = None


class OrdinaryPath:
    """Takes the series of one request one by one.

    Args:
        intake: receives what becomes of the samples, except those of known series.

    Attributes:
        known: samples of known series.
    """

    def __init__(self, router: Router, cache: SeriesCache, window: Window, intake: Intake) -> None:
        self._router = router
        self._cache = cache
        self._window = window
        self._intake = intake
        self.known = KnownSamples()

    def take(self, position: int, raw: bytes) -> None:
        """Read one series.

        Args:
            position: its place in the request.
            raw: its bytes.

        Raises:
            BadRequest: `raw` is no protobuf.
        """
        parsed = parse_series(raw, position)
        self._intake.received += len(parsed.value)
        self._ignore("exemplar", parsed.exemplars)
        self._ignore("histogram", parsed.histograms)
        try:
            found = self._find(parsed)
        except InvalidSeries as error:
            self._reject(parsed, str(error), len(parsed.value))
            return
        if found.place == DROPPED:
            self._intake.dropped += len(parsed.value)
            return
        self._store(position, parsed, found)
        if parsed.histograms:
            self._reject(parsed, "native histograms are not stored by this version", 0)

    def _find(self, parsed: ParsedSeries) -> _Found:
        key = None
        if parsed.label_bytes is not None:
            key = label_key(self._intake.tenant_id, parsed.label_bytes)
            place = self._cache.place_by_key(key)
            if place == DROPPED:
                return _Found(place, "")
            if place != UNKNOWN:
                return _Found(place, TARGETS[target_number(place)])
        labels = checked_labels(parsed.labels)
        described = describe(self._router, self._intake.tenant_id, labels)
        found = self._locate(described)
        if key is not None and described.value_label is None and found.place != UNKNOWN:
            self._cache.link(key, found.place)
        return found

    def _locate(self, described: Described) -> _Found:
        series = described.series
        if described.decision.drop:
            return _Found(DROPPED, series.target)
        if described.value_label is not None and described.exact is None:
            self._intake.undecimal_value_labels += 1
        series_id = self._cache.id_of(series.identity)
        place = UNKNOWN if series_id is None else place_of(series.target, series_id)
        return _Found(place, series.target, series, described.exact)

    def _store(self, position: int, parsed: ParsedSeries, found: _Found) -> None:
        timestamps, values = self._acceptable(parsed, found)
        if not timestamps:
            return
        if found.place == UNKNOWN:
            assert found.series is not None
            samples = NewSamples(found.series, timestamps, values, found.exact)
            self._intake.new.append(samples)
            return
        known, count = self.known, len(timestamps)
        if found.exact is not None:
            first = len(known.place)
            known.exact.update(dict.fromkeys(range(first, first + count), found.exact))
        known.position += [position] * count
        known.place += [found.place] * count
        known.timestamp_ms += timestamps
        known.value += values

    def _acceptable(self, parsed: ParsedSeries, found: _Found) -> tuple[list[int], list[float]]:
        """Time stamps and values that can be stored; the other samples are accounted for."""
        timestamps: list[int] = []
        values: list[float] = []
        refused: dict[str, list[int]] = {}
        for timestamp_ms, value in zip(parsed.timestamp_ms, parsed.value, strict=True):
            if found.exact is not None and _is_stale(value):
                self._intake.dropped += 1
            elif complaint := self._window.complaint(found.target, timestamp_ms):
                refused.setdefault(complaint, []).append(timestamp_ms)
            else:
                timestamps.append(timestamp_ms)
                values.append(value)
        for complaint, refused_ms in refused.items():
            moment = f"time stamp {time_text(refused_ms[0])} is {complaint}"
            self._reject(parsed, moment, len(refused_ms))
        return timestamps, values

    def _reject(self, parsed: ParsedSeries, reason: str, samples: int) -> None:
        rejections = self._intake.rejections
        if len(rejections) < MOST_REASONS:
            rejections.append(Rejection(f"{series_text(parsed.labels)}: {reason}", samples))
            return
        if len(rejections) == MOST_REASONS:
            rejections.append(Rejection("more series, whose reasons are left out", 0))
        rejections[-1].samples += samples

    def _ignore(self, kind: str, count: int) -> None:
        if count:
            ignored = self._intake.ignored
            ignored[kind] = ignored.get(kind, 0) + count


def _is_stale(value: float) -> bool:
    return value != value and struct.pack("<d", value) == _STALE_MARKER
