"""What came of a load: counts by kind, statuses, and the last thing that went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ingest.load.amounts import NOTHING, Amounts

WRITTEN_HEADERS = {
    "samples": "X-Prometheus-Remote-Write-Samples-Written",
    "histograms": "X-Prometheus-Remote-Write-Histograms-Written",
    "exemplars": "X-Prometheus-Remote-Write-Exemplars-Written",
}
"""Where an answer of remote write 2.0 says how much of each kind was written."""


@dataclass(slots=True)
class Report:
    """What came of it.

    Attributes:
        sent: whatever became of it, each request counted once.
        acknowledged: answered 2xx; in protocol 2 what the answers say was written, which a 4xx may
            say too. The rest may be stored or not.
        requests: how many, with those that were sent again.
        seconds: since the start.
        statuses: how many answers of each status; `no answer` where none came.
        short_answers: 2xx of protocol 2 that say that less was written than was sent.
        first_ms, last_ms: earliest and latest acknowledged timestamp.
        last_error: the newest complaint, on one line.
    """

    sent: Amounts = NOTHING
    acknowledged: Amounts = NOTHING
    requests: int = 0
    seconds: float = 0
    statuses: Counter[str] = field(default_factory=Counter)
    short_answers: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    last_error: str = ""

    @property
    def rate(self) -> float:
        """Acknowledged samples a second."""
        return self.per_second(self.acknowledged.samples)

    def per_second(self, count: int) -> float:
        """So many, over the time it took."""
        return count / self.seconds if self.seconds else 0.0

    def acknowledge(self, amounts: Amounts, timestamp_ms: int) -> None:
        """Count what one request was acknowledged for."""
        if not amounts:
            return
        self.acknowledged += amounts
        first, last = self.first_ms, self.last_ms
        self.first_ms = timestamp_ms if first is None else min(first, timestamp_ms)
        self.last_ms = timestamp_ms if last is None else max(last, timestamp_ms)


def written(headers: Mapping[str, str]) -> Amounts:
    """What an answer of remote write 2.0 says was written; a missing header says none."""
    counts = {kind: headers.get(name, "").strip() for kind, name in WRITTEN_HEADERS.items()}
    return Amounts(**{k: int(v) if v.isascii() and v.isdigit() else 0 for k, v in counts.items()})


def shortfall(status: str, sent: Amounts, said: Amounts, headers: Mapping[str, str]) -> str:
    """What is missing of a request, in words for people; empty if all of it was written."""
    if not any(name in headers for name in WRITTEN_HEADERS.values()):
        return (
            f"{status} without X-Prometheus-Remote-Write-*-Written headers: "
            "the receiver does not speak remote write 2.0, and may have stored nothing"
        )
    missing = [
        f"{getattr(said, kind):,} of {getattr(sent, kind):,} {kind}"
        for kind in WRITTEN_HEADERS
        if getattr(said, kind) < getattr(sent, kind)
    ]
    return f"{status}, but only {', '.join(missing)} were written" if missing else ""
