"""The table of keys beside a dict."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model import Int64s, Place
from ingest.series import key_table
from ingest.series.key_table import UNKNOWN, KeyTable


def key_of(first: int, second: int) -> bytes:
    return np.array([first, second], np.int64).tobytes()


def array_of(keys: list[bytes]) -> Int64s:
    return np.frombuffer(b"".join(keys), np.int64).reshape(-1, 2)


ALL = [key_of(first << 40 | bits, first % 3) for first in range(-9, 9) for bits in (0, 1, 64)]
"""Of which many share a bucket, also after buckets were parted by some more bits."""
PLACES = {key: Place(4 * number if number else -2) for number, key in enumerate(ALL)}

keys = st.sampled_from(ALL)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(keys, max_size=30)),
        st.tuples(st.just("drop"), st.lists(keys, max_size=5)),
        st.tuples(st.just("clear"), st.just([])),
    ),
    max_size=12,
)


@given(steps, st.sampled_from([1, 2, 7, 1000]), st.sampled_from([5, 1000]))
def test_it_says_what_a_dict_would(
    steps: list[tuple[str, list[bytes]]], few: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_table, "FEWEST_BESIDE", few)
        table, model = KeyTable(most), dict[bytes, Place]()
        for kind, chosen in steps:
            if kind == "clear":
                table.clear()
                model.clear()
            for key in chosen if kind == "put" else ():
                table.put(key, PLACES[key])
                model[key] = PLACES[key]
                assert table.get(key) == PLACES[key]
            if kind == "drop":
                gone = np.array([PLACES[key] for key in chosen], np.int64)
                table.drop(partial(np.isin, test_elements=gone))
                for key in chosen:
                    model.pop(key, None)
            found = table.find(array_of(ALL)).tolist()
            assert found == [table.get(key) for key in ALL]
            expected = [model.get(key, UNKNOWN) for key in ALL]
            if most == 1000:
                assert found == expected
            assert all(
                place in (UNKNOWN, known) for place, known in zip(found, expected, strict=True)
            )
            assert len(table) >= sum(place != UNKNOWN for place in found)
            assert len(table) <= most


def test_many_keys_find_their_places_in_bounded_memory() -> None:
    keys = np.random.default_rng(5).integers(-(2**63), 2**63, (20_000, 2))
    table = KeyTable(20_000)
    for number, key in enumerate(keys):
        table.put(key.tobytes(), Place(number))
    assert table.find(keys).tolist() == list(range(20_000))
    assert (table.find(keys ^ 1) == UNKNOWN).all()
    assert table.nbytes < 100 * len(table)


def test_when_it_is_full_a_few_go_for_each_that_comes() -> None:
    keys = np.random.default_rng(6).integers(-(2**63), 2**63, (12_000, 2))
    table = KeyTable(4000)
    for number, key in enumerate(keys):
        table.put(key.tobytes(), Place(number))
        assert table.get(key.tobytes()) == number
    assert 3900 <= len(table) <= 4000
    found = table.find(keys)
    assert ((found == UNKNOWN) | (found == np.arange(12_000))).all()
    assert np.count_nonzero(found != UNKNOWN) == len(table)
