"""A sample is too far ahead by the later of two clocks; what lies between them is not its fault."""

from __future__ import annotations

import pytest

from ingest.config import LimitSettings, Settings
from ingest.errors import Unavailable
from ingest.intake import Decoder, TimeLimits
from ingest.intake.records import RecordDecoder
from ingest.model import Intake
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.wire.remote_write.negotiate import Message
from tests.support.series_bytes import bits, labels, sample, write_request

NOW = 1_760_000_000_000
TEN_MINUTES, DAY = 600_000, 86_400_000
AHEAD = [0, DAY, -DAY]


def limits(ahead_ms: int) -> TimeLimits:
    return TimeLimits(lambda _target, _now: 0, TEN_MINUTES, lambda: ahead_ms)


def write(ahead_ms: int, timestamp_ms: int) -> Intake:
    """Decode one sample while the database's clock is so far ahead of ours."""
    decoder = Decoder(Router(Settings()), SeriesCache(10), limits(ahead_ms))
    body = write_request([labels(name="up") + sample(timestamp_ms, bits(1.0))])
    return decoder.decode(Message.V1, body, 1, NOW)


def push(ahead_ms: int, timestamp_ms: int) -> Intake:
    decoder = RecordDecoder(Router(Settings()), limits(ahead_ms), LimitSettings())
    body = b'{"name":"m","value":1,"time":%d}' % timestamp_ms
    return decoder.decode(body, "measure", False, 1, NOW * 1000)


@pytest.mark.parametrize("ahead_ms", AHEAD)
def test_what_neither_clock_takes_for_the_future_is_taken(ahead_ms: int) -> None:
    newest = NOW + TEN_MINUTES + min(0, ahead_ms)
    assert write(ahead_ms, newest).storable == 1
    assert push(ahead_ms, newest).storable == 1


@pytest.mark.parametrize("ahead_ms", AHEAD)
def test_what_both_take_for_the_future_is_refused(ahead_ms: int) -> None:
    beyond = NOW + TEN_MINUTES + max(0, ahead_ms) + 1
    [rejection] = write(ahead_ms, beyond).rejections
    assert "which is too far in the future" in rejection.reason
    with pytest.raises(Exception, match="too far in the future") as refusal:
        push(ahead_ms, beyond)
    assert not isinstance(refusal.value, Unavailable)


@pytest.mark.parametrize("ahead_ms", [DAY, -DAY])
def test_what_one_of_them_does_is_to_come_again(ahead_ms: int) -> None:
    """A daemon a day behind: of current samples nothing is lost."""
    earlier, later = NOW + TEN_MINUTES + min(0, ahead_ms), NOW + TEN_MINUTES + max(0, ahead_ms)
    for timestamp_ms in (earlier + 1, later):
        for ask in (write, push):
            with pytest.raises(Unavailable, match="by one of our clocks and not by the other"):
                ask(ahead_ms, timestamp_ms)
