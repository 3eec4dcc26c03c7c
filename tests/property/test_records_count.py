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


PIECES = (1, 3, 256 * 1024)
"""Bytes: pieces that end anywhere, within a string, between a backslash and what it escapes."""


def items_of(body: bytes, most: int = 10**9) -> int:
    """What is counted in the end."""
    counting = count_items(body, most)
    while True:
        try:
            next(counting)
        except StopIteration as done:
            count: int = done.value
            return count


def counted(body: bytes) -> int:
    """What is counted, which is the same in whatever pieces."""
    found = set()
    for piece_bytes in PIECES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(push_count, "_PIECE_BYTES", piece_bytes)
            found.add(items_of(body))
    assert len(found) == 1, found
    return found.pop()


@given(items)
def test_of_an_array_and_of_lines(sent: list[dict[str, object]]) -> None:
    for ensure_ascii in (True, False):
        texts = [json.dumps(item, ensure_ascii=ensure_ascii) for item in sent]
        assert counted(f" [{', '.join(texts)}]".encode()) == len(sent)
        assert counted("\n".join(texts).encode()) == len(sent)


def test_it_goes_little_further_than_it_must() -> None:
    assert 10 < items_of(b"[" + b"{}," * 10**6, 10) < 10**6


def test_it_pauses_where_it_finds_nothing() -> None:
    """Others have their turn while a long body of braces that are no items is looked through."""
    nested = b'[{"a":[' + b"{}," * 10**6 + b"{}]}]"
    assert len(list(count_items(nested, 10))) >= len(nested) // push_count._PIECE_BYTES


@given(st.binary())
def test_of_anything(body: bytes) -> None:
    assert counted(body) >= 0
