"""Warnings and infos of an evaluation: Prometheus' texts, with the place in the query they are
about.

Equal texts are one annotation, of the place that said so last; what counts within a text (samples,
times) is merged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingest.errors import position_text
from ingest.promql.gotext import go_g, go_quote
from ingest.promql.tree import Node

_MOST_OF_A_KIND = 10
_MONOTONICITY = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


@dataclass(slots=True)
class Annotation:
    text: str
    start: int
    # Of the info about monotonicity alone: times, buckets, largest difference, samples.
    merged: tuple[int, int, float, float, float, int] | None = None
    occurrences: int = 1

    def shown(self, query: str) -> str:
        where = position_text(query, self.start)
        if self.merged is None:
            times = f" ({self.occurrences} occurrences)" if self.occurrences > 1 else ""
            return f"{self.text}{times} ({where})"
        first, last, low, high, difference, samples = self.merged
        begin, end = (
            datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for ms in (first, last)
        )
        return (
            f"{self.text}, from buckets {go_g(low)} to {go_g(high)}, with a max diff of "
            f"{difference:.2g}, over {samples} samples from {begin} to {end} "
            f"({where})"
        )


@dataclass(slots=True)
class Annotations:
    _found: dict[str, Annotation] = field(default_factory=dict)

    def warn(self, text: str, node: Node) -> None:
        self._found[text] = Annotation(f"PromQL warning: {text}", node.start)

    def info(self, text: str, node: Node) -> None:
        self._found[text] = Annotation(f"PromQL info: {text}", node.start)

    def overlap(self, name: str, node: Node) -> None:
        """A start timestamp that lies before the previous sample of its series."""
        text = "sample has start time that overlaps with previous sample timestamp for metric "
        before = self._found.get(text + name)
        count = before.occurrences + 1 if before else 1
        shown = f"PromQL warning: {text}{go_quote(name)}"
        self._found[text + name] = Annotation(shown, node.start, occurrences=count)

    def monotonic(
        self, name: str, node: Node, time_ms: int, low: float, high: float, difference: float
    ) -> None:
        """A classic histogram whose buckets had to be made cumulative."""
        text = _MONOTONICITY + for_name(name)
        found = (time_ms, time_ms, low, high, difference, 1)
        before = self._found.get(text)
        if before is not None and before.merged is not None:
            first, last, least, most, largest, samples = before.merged
            found = (
                min(first, time_ms),
                max(last, time_ms),
                min(least, low),
                max(most, high),
                max(largest, difference),
                samples + 1,
            )
        self._found[text] = Annotation(text, node.start, found)

    def texts(self, query: str, most: int = _MOST_OF_A_KIND) -> tuple[list[str], list[str]]:
        """Warnings and infos, at most `most` of each (0: all) and how many more there were."""
        kinds = []
        for kind in ("warning", "info"):
            shown = [
                annotation.shown(query)
                for annotation in self._found.values()
                if annotation.text.startswith(f"PromQL {kind}")
            ]
            if 0 < most < len(shown):
                more = len(shown) - most
                shown = [*shown[:most], f"{more} more {kind} annotations omitted"]
            kinds.append(shown)
        return kinds[0], kinds[1]


def for_name(name: str) -> str:
    return f" for metric name {go_quote(name)}" if name else ""


def mixed_samples(name: str) -> str:
    return f"encountered a mix of histograms and floats for metric name {go_quote(name)}"


def mixed_buckets(name: str) -> str:
    return (
        "vector contains a mix of histograms with exponential and custom buckets schemas for "
        f"metric name {go_quote(name)}"
    )


def ignored_in_range(name: str) -> str:
    return (
        "ignored histograms in a range containing both floats and histograms for metric name "
        f"{go_quote(name)}"
    )


def not_a(kind: str, name: str) -> str:
    """`kind` is counter or gauge."""
    return f"this native histogram metric is not a {kind}: {go_quote(name)}"


def reconciled(operation: str) -> str:
    return f"mismatched custom buckets were reconciled during {operation}"


def collision(operation: str) -> str:
    return f"conflicting counter resets during histogram {operation}"


def bad_quantile(value: float) -> str:
    return f"quantile value should be between 0 and 1, got {go_g(value)}"
