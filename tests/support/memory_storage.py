"""A storage of PromQL in memory: samples in lists, selected as the engine's interface says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.promql.histograms import Histograms
from ingest.promql.storage import Samples, Selection
from ingest.promql.values import Key, Labels, key_of


@dataclass(slots=True)
class _Series:
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)


class MemoryStorage:
    """Samples in lists, for tests."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}
        self._whole: dict[object, Samples] = {}  # selections of whole series that were asked
        self._blocks: list[Histograms] = []
        self._rows = 0

    def add(
        self,
        labels: Labels,
        times: Iterable[int],
        values: Iterable[float],
        histograms: Histograms | None = None,
        rows: Iterable[int] | None = None,
        starts: Iterable[int] | None = None,
    ) -> None:
        """More samples of one series, in order of time; of equal times the first stays."""
        self._whole.clear()
        named = dict(sorted((name, value) for name, value in labels.items() if value))
        series = self._series.setdefault(key_of(named), _Series())
        base = self._rows
        if histograms is not None:
            self._blocks.append(histograms)
            self._rows += len(histograms)
        times, values = list(times), list(values)
        places = list(rows) if rows is not None else [-1] * len(times)
        begun = list(starts) if starts is not None else [0] * len(times)
        known = set(series.times)
        for time, value, row, start in zip(times, values, places, begun, strict=True):
            if time in known:
                continue
            series.times.append(time)
            series.values.append(value)
            series.rows.append(row + base if row >= 0 else -1)
            series.starts.append(start)

    def clear(self) -> None:
        self._whole.clear()
        self._series.clear()
        self._blocks.clear()
        self._rows = 0

    def select(self, selection: Selection) -> Samples:
        key = (selection.identity[0], selection.counts_only)
        if key not in self._whole:
            self._whole[key] = self._all(selection).with_hints(selection.counts_only)
        return self._whole[key].cut(selection)

    def _all(self, selection: Selection) -> Samples:
        """Matching series in full."""
        named = ((dict(key), series) for key, series in self._series.items())
        found = sorted(
            ((labels, series) for labels, series in named if selection.matches(labels)),
            key=lambda pair: key_of(pair[0]),
        )
        if not found:
            return Samples.none()

        def column(name: str, kind: type) -> npt.NDArray[Any]:
            return np.concatenate([np.array(getattr(series, name), kind) for _, series in found])

        lengths = [len(series.times) for _, series in found]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        times, rows = column("times", np.int64), column("rows", np.int64)
        order = np.lexsort((times, np.repeat(np.arange(len(lengths)), lengths)))
        block = None
        if (rows >= 0).any():
            used, places = np.unique(rows[rows >= 0], return_inverse=True)
            block = Histograms.joined(self._blocks).take(used)
            rows[rows >= 0] = places
        starts = column("starts", np.int64)
        return Samples(
            [labels for labels, _ in found],
            offsets,
            times[order],
            column("values", np.float64)[order],
            block,
            rows[order] if block is not None else None,
            starts[order] if starts.any() else None,
        )
