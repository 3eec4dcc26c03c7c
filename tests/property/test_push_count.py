"""Items are counted from brackets alone, as JSON's own reader counts them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.wire.records import count as push_count
from ingest.wire.records.count import count_items

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[],:é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('ab"\\{}[]', max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
items = st.lists(st.dictionaries(st.text('ab"\\{}[]', max_size=5), json_values, max_size=4))


@pytest.fixture(params=[1, 3, 256 * 1024], autouse=True)
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that end anywhere: within a string, between a backslash and what it escapes."""
    monkeypatch.setattr(push_count, "_PIECE_BYTES", request.param)


@given(items)
def test_of_an_array_and_of_lines(sent: list[dict[str, object]]) -> None:
    for ensure_ascii in (True, False):
        texts = [json.dumps(item, ensure_ascii=ensure_ascii) for item in sent]
        assert count_items(f" [{', '.join(texts)}]".encode(), 10**9) == len(sent)
        assert count_items("\n".join(texts).encode(), 10**9) == len(sent)


def test_it_goes_little_further_than_it_must() -> None:
    assert 10 < count_items(b"[" + b"{}," * 10**6, 10) < 10**6


@given(st.binary())
def test_of_anything(body: bytes) -> None:
    assert count_items(body, 10**9) >= 0
