"""What Starlark scripts cost: four of them, as the old stack has them, at first sight of a series;
known series do not notice.

Without HTTP and database, with and without scripts in turns; requests as in `decode`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from ingest.cli.telegraf import promgres_toml, read_telegraf
from ingest.logs import configure_logs
from ingest.wire.remote_write.negotiate import Message
from tests.bench.decode import (
    ROUNDS,
    SERIES,
    TENANT,
    decode_body,
    seconds_in_turns,
    series_labels,
    series_sample,
)
from tests.support.decoding import NOW, Decoding
from tests.support.series_bytes import write_request
from tests.support.telegraf import LIKE_THE_OLD_STACK


def run() -> dict[str, float]:
    """All figures; the units stand in the names."""
    configure_logs("warning")  # what scripts say is not what is measured
    settings = tomllib.loads(promgres_toml(read_telegraf(LIKE_THE_OLD_STACK, {})))
    ones = [series_labels(number) + series_sample(number) for number in range(SERIES)]
    request = write_request(ones)
    new, new_without = seconds_in_turns(_first_sight(settings, request), _first_sight({}, request))
    known, known_without = seconds_in_turns(_known(settings, request), _known({}, request))
    return {
        "scripts_first_sight_series_per_second": SERIES / new,
        "scripts_us_per_series": (new - new_without) / SERIES * 1e6,
        "scripts_first_sight_ratio": new_without / new,
        "scripts_known_ratio": known_without / known,
    }


def _first_sight(settings: dict[str, Any], request: bytes) -> Callable[[], object]:
    """Decode a request of series that a decoder has never seen: another one each time, so that
    nothing is remembered."""
    fresh = iter([Decoding.create(**settings) for _ in range(ROUNDS)])

    def see() -> None:
        intake = next(fresh).decoder.decode(Message.V1, request, TENANT, NOW)
        assert len(intake.new) == SERIES

    return see


def _known(settings: dict[str, Any], request: bytes) -> Callable[[], object]:
    decoding = Decoding.create(**settings)
    for _ in range(2):
        decoding.commit(decoding.decoder.decode(Message.V1, request, TENANT, NOW))
    return decode_body(decoding, Message.V1, request)
