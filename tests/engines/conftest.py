"""Fixtures of tests that run on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.engines.sql_api import Api
from tests.support.databases import Database, connect
from tests.support.sql_samples import Samples, samples_of


@pytest_asyncio.fixture
async def api(engine_db: Database) -> AsyncIterator[Api]:
    """Schema `api` of both engines, through one connection."""
    async with connect(engine_db) as connection:
        yield Api(engine_db, connection)


@pytest_asyncio.fixture
async def postgres_api(postgres_db: Database) -> AsyncIterator[Api]:
    """The same on PostgreSQL alone, for what a single backend cannot show."""
    async with connect(postgres_db) as connection:
        yield Api(postgres_db, connection)


@pytest_asyncio.fixture
async def german_samples(german_db: Database) -> AsyncIterator[Samples]:
    """Tables of an older PostgreSQL than the wheel's, whose JIT would compile for a minute."""
    async with samples_of(german_db) as samples:
        await samples.connection.execute("SET jit = off")
        yield samples
