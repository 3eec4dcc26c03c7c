"""How much of what one sender may send."""

from __future__ import annotations

import pytest

from ingest.config import LimitSettings
from ingest.errors import BadRequest
from ingest.intake.limits import SizeLimits
from ingest.model import Labels, Series
from ingest.writer.newcomers import HourlyBudget, Newcomers

LABELS = (("__name__", "up"), ("job", "ünï"))


class Clock:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def series(number: int, name: str = "up", tenant_id: int = 1) -> Series:
    return Series(number.to_bytes(16, "big"), tenant_id, "internal", "common", name, LABELS)


def test_nothing_is_limited_by_default() -> None:
    limits = SizeLimits(LimitSettings())
    assert limits.complaint((("n" * 10_000, "v" * 10_000),) * 1000) is None
    limits.check_series(10**9)
    limits.check_samples(10**9)
    assert not Newcomers(LimitSettings()).is_limited


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ({"labels_per_series": 1}, "2 labels, more than the 1 that are taken"),
        ({"label_name_bytes": 7}, "label '__name__' has 8 bytes, more than the 7"),
        ({"label_value_bytes": 4}, "the value of label 'job' has 5 bytes, more than the 4"),
    ],
)
def test_a_series_that_is_too_large(limit: dict[str, int], complaint: str) -> None:
    said = SizeLimits(LimitSettings(**limit)).complaint(LABELS)
    assert said is not None
    assert complaint in said
    assert f"limits.{next(iter(limit))}" in said


@pytest.mark.parametrize(
    ("limit", "labels"),
    [
        ({"labels_per_series": 2}, LABELS),
        ({"label_name_bytes": 8}, LABELS),
        ({"label_value_bytes": 5}, LABELS),
    ],
)
def test_a_limit_is_what_is_still_taken(limit: dict[str, int], labels: Labels) -> None:
    assert SizeLimits(LimitSettings(**limit)).complaint(labels) is None


def test_a_request_that_is_too_large() -> None:
    limits = SizeLimits(LimitSettings(series_per_request=10, samples_per_request=20))
    limits.check_series(10)
    limits.check_samples(20)
    with pytest.raises(BadRequest, match="11 series, more than the 10"):
        limits.check_series(11)
    with pytest.raises(BadRequest, match="21 samples, more than the 20"):
        limits.check_samples(21)


def test_an_hour_slides() -> None:
    clock = Clock()
    budget = HourlyBudget(100, clock)
    budget.spend("tenant", 60)
    clock.seconds += 30 * 60
    budget.spend("tenant", 40)
    assert not budget.has_room("tenant")
    assert budget.has_room("another", 100)
    clock.seconds += 29 * 60
    assert not budget.has_room("tenant")
    clock.seconds += 60
    assert budget.has_room("tenant", 60)
    assert not budget.has_room("tenant", 61)


def test_a_budget_forgets_who_is_idle() -> None:
    clock = Clock()
    budget = HourlyBudget(1, clock)
    for key in range(1000):
        budget.spend(key)
    clock.seconds += 61 * 60
    budget.spend("late")
    assert list(budget._minutes) == ["late"]


def test_new_series_of_a_tenant_and_of_a_metric() -> None:
    limits = LimitSettings(new_series_per_hour=3, new_series_per_metric_per_hour=2)
    newcomers = Newcomers(limits, Clock())
    assert [newcomers.admit(series(number)) for number in range(2)] == [None, None]
    assert "2 of one metric" in (newcomers.admit(series(2)) or "")
    assert newcomers.admit(series(3, name="down")) is None
    assert "of which 3 an hour" in (newcomers.admit(series(4, name="other")) or "")
    assert newcomers.admit(series(5, tenant_id=2)) is None
