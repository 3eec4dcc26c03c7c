"""The cache of series ids."""

import random

import numpy as np
import pytest

from ingest.model import Series
from ingest.series.cache import (
    DROPPED,
    SeriesCache,
    place_of,
    series_ids,
    target_numbers,
)
from ingest.series.identity import identity_of
from ingest.series.key_table import UNKNOWN
from ingest.stores import TARGETS

KEYS = np.random.default_rng(1).integers(0, 2**63, (3, 2))
"""As `Request.keys` has them."""


def series(number: int, target: str = "internal") -> Series:
    labels = (("__name__", f"metric_{number}"),)
    identity = identity_of(1, target, "common", labels)
    return Series(identity, 1, target, "common", f"metric_{number}", labels)


def test_an_id_is_known_once_it_was_remembered() -> None:
    cache = SeriesCache(1000)
    assert cache.id_of(series(1).identity) is None
    cache.remember(series(1), 77)
    assert cache.id_of(series(1).identity) == 77
    assert len(cache) == 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("series_id", [0, 1, 2**31, 2**60])
def test_a_place_is_target_and_id(target: str, series_id: int) -> None:
    cache = SeriesCache(1000)
    cache.link(KEYS[0].tobytes(), place_of(target, series_id))
    places = cache.places_by_key(KEYS[:1])
    assert series_ids(places).tolist() == [series_id]
    assert TARGETS[target_numbers(places)[0]] == target


def test_places_of_many_keys() -> None:
    cache = SeriesCache(1000)
    cache.link(KEYS[2].tobytes(), 5)
    cache.link(KEYS[0].tobytes(), DROPPED)
    assert cache.places_by_key(KEYS[:3]).tolist() == [DROPPED, UNKNOWN, 5]
    assert cache.places_by_key(KEYS[:0]).tolist() == []


def test_when_it_is_full_the_first_goes() -> None:
    cache = SeriesCache(3)
    for number in range(4):
        cache.remember(series(number), number)
    assert [cache.id_of(series(number).identity) for number in range(4)] == [None, 1, 2, 3]
    assert len(cache) == 3


def test_what_is_remembered_again_takes_no_second_place() -> None:
    cache = SeriesCache(2)
    for number in (1, 2, 2, 2):
        cache.remember(series(number), number)
    assert cache.id_of(series(1).identity) == 1


def test_it_is_bounded_and_never_wrong() -> None:
    cache, chance = SeriesCache(100), random.Random(1)
    for _ in range(20_000):
        number = chance.randrange(1000)
        known = cache.id_of(series(number).identity)
        assert known in (None, number)
        cache.remember(series(number), number)
        cache.link(number.to_bytes(16, "big"), number)
        assert len(cache) <= 100
    assert cache.approximate_bytes <= 200 * 150


def test_clear_forgets_everything() -> None:
    cache = SeriesCache(10)
    cache.remember(series(1), 1)
    cache.link(KEYS[0].tobytes(), 1)
    cache.clear()
    assert len(cache) == cache.approximate_bytes == 0
    assert cache.place_by_key(KEYS[0].tobytes()) == UNKNOWN
    for number in range(20):
        cache.remember(series(number), number)
    assert len(cache) == 10
