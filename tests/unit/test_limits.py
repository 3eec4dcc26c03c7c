"""How much of what one sender may send."""

from __future__ import annotations

import pytest

from ingest.config import LimitSettings
from ingest.errors import BadRequest
from ingest.intake.limits import UNLIMITED, RequestLimits
from ingest.model import Labels

LABELS = (("__name__", "up"), ("job", "ünï"))


def test_no_series_is_limited_by_default() -> None:
    """A request is: far beyond what senders send, and before it takes all memory."""
    limits = RequestLimits(LimitSettings())
    assert limits.complaint((("n" * 10_000, "v" * 10_000),) * 1000) is None
    limits.check("series_per_request", 200_000)
    limits.check("samples_per_request", 1_000_000)
    limits.check("text_bytes_per_request", 100 * 1024 * 1024)


def test_what_was_acknowledged_is_not_limited() -> None:
    UNLIMITED.check_fields(10**9)
    UNLIMITED.check("series_per_request", 10**9)
    UNLIMITED.check("samples_per_request", 10**9)
    UNLIMITED.check("text_bytes_per_request", 10**12)
    UNLIMITED.check("memory_bytes_per_request", 10**12)


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ({"labels_per_series": 1}, "2 labels, more than the 1 that are taken"),
        ({"label_name_bytes": 7}, "label '__name__' has 8 bytes, more than the 7"),
        ({"label_value_bytes": 4}, "the value of label 'job' has 5 bytes, more than the 4"),
    ],
)
def test_a_series_that_is_too_large(limit: dict[str, int], complaint: str) -> None:
    said = RequestLimits(LimitSettings(**limit)).complaint(LABELS)
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
    assert RequestLimits(LimitSettings(**limit)).complaint(labels) is None


def test_a_request_that_is_too_large() -> None:
    limits = RequestLimits(LimitSettings(series_per_request=10, samples_per_request=20))
    limits.check("series_per_request", 10)
    limits.check("samples_per_request", 20)
    with pytest.raises(BadRequest, match="11 series, more than the 10"):
        limits.check("series_per_request", 11)
    with pytest.raises(BadRequest, match="21 samples, more than the 20"):
        limits.check("samples_per_request", 21)
