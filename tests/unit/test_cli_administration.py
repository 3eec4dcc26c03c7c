"""How lengths of time are told to an operator."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ingest.cli.administration import words_of


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(days=2), "2 days"),
        (timedelta(days=1, hours=12), "1 day 12:00:00"),
        (timedelta(minutes=15), "0:15:00"),
        (timedelta(0), "no time"),
    ],
)
def test_a_length_of_time(length: timedelta, words: str) -> None:
    assert words_of(length) == words
