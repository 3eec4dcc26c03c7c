"""Fixtures of the acceptance tests: real processes on real databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import Database
from tests.support.remote_write import WriteSide, write_side


@pytest.fixture
def daemon(engine_db: Database) -> Iterator[WriteSide]:
    """A write side on each engine."""
    with write_side(engine_db) as side:
        yield side


@pytest.fixture
def postgres_write_side(postgres_db: Database) -> Iterator[WriteSide]:
    """A write side on PostgreSQL, where the engine makes no difference."""
    with write_side(postgres_db) as side:
        yield side
