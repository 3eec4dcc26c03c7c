"""How much of each kind: samples, native histograms, exemplars."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Amounts:
    """Counts by kind; false when all are 0."""

    samples: int = 0
    histograms: int = 0
    exemplars: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Amounts(*[one + another for one, another in pairs])

    def __bool__(self) -> bool:
        return any(astuple(self))

    def at_most(self, other: Amounts) -> Amounts:
        """The smaller of both, kind by kind."""
        return Amounts(*map(min, astuple(self), astuple(other)))

    @property
    def paced(self) -> int:
        """What a rate limits: exemplars come along."""
        return self.samples + self.histograms


NOTHING = Amounts()
