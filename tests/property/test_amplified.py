"""A body of few bytes takes a bounded amount of memory, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import LimitSettings, Settings
from ingest.errors import BadRequest, RequestError
from ingest.intake import Decoder
from ingest.intake.limits import RequestLimits, TimeLimits
from ingest.intake.records import RecordDecoder
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.wire.remote_write.negotiate import Message
from tests.support.amplified import FAMILIES_PUSH, FAMILIES_V1, FAMILIES_V2

MEMORY_BYTES = 4 * 1024 * 1024
TEXT_BYTES = 1024 * 1024
LIMITS = LimitSettings(
    series_per_request=5000,
    samples_per_request=20_000,
    items_per_request=1000,
    memory_bytes_per_request=MEMORY_BYTES,
    text_bytes_per_request=TEXT_BYTES,
)
TIMES = TimeLimits(lambda _target, _now: 0, 10**15)
MESSAGE_BYTES = 3
"""Of memory, for each byte of a message, besides what is made of it."""
families = st.sampled_from(
    [
        *[(Message.V1, name) for name in FAMILIES_V1],
        *[(Message.V2, name) for name in FAMILIES_V2],
    ]
)
sizes = st.integers(0, 400_000)


@given(families, sizes)
def test_a_message_is_refused_before_it_takes_more(family: tuple[Message, str], size: int) -> None:
    protocol, name = family
    message = (FAMILIES_V1 if protocol is Message.V1 else FAMILIES_V2)[name](size)
    decoder = Decoder(Router(Settings()), SeriesCache(1000), TIMES, RequestLimits(LIMITS))
    taken = [0]

    def decode() -> Iterator[int]:
        intake = yield from decoder.steps(protocol, message, 1, 0)
        assert intake.received <= LIMITS.samples_per_request
        yield intake.memory_bytes

    try:
        taken.extend(step or 0 for step in decode())
    except BadRequest as error:
        refusal = str(error)
    else:
        refusal = "nothing of it is stored"
    assert "nothing of it is stored" in refusal or "not a protobuf message" in refusal
    assert max(taken) <= MEMORY_BYTES + MESSAGE_BYTES * len(message) + 80 * 20_000


@given(st.sampled_from(list(FAMILIES_PUSH)), sizes)
def test_a_push_has_no_more_items_than_are_taken(name: str, size: int) -> None:
    decoder = RecordDecoder(Router(Settings()), TIMES, LIMITS)
    with suppress(RequestError):
        intake = decoder.decode(FAMILIES_PUSH[name](size), "measure", False, 1, 0)
        assert intake.received <= LIMITS.items_per_request
