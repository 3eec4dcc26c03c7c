"""What Python and SQL say of the stores is the same."""

from __future__ import annotations

import pytest

from ingest.stores import GROWING, RETAINED, ROLLED_UP, STORES, Store
from tests.engines.sql_api import Api

COLUMNS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""


async def test_the_view_has_the_stores_that_grow(api: Api) -> None:
    rows = await api.connection.fetch("SELECT store, target, name FROM internal.store")
    expected = [(name, STORES[name].schema, STORES[name].table) for name in GROWING]
    assert sorted(tuple(row) for row in rows) == sorted(expected)


async def test_the_same_stores_are_rolled_up(api: Api) -> None:
    assert await api.connection.fetchval("SELECT internal.rolled_up_targets()") == list(ROLLED_UP)


async def test_every_retention_is_known(api: Api) -> None:
    for schema in RETAINED:
        assert await api.connection.fetchrow("SELECT * FROM internal.horizon($1)", schema)


@pytest.mark.parametrize("store", STORES.values(), ids=list(STORES))
async def test_a_staging_table_has_the_columns_that_are_copied(api: Api, store: Store) -> None:
    rows = await api.connection.fetch(COLUMNS, store.staging)
    assert {row["attname"] for row in rows} >= set(store.column_names)
