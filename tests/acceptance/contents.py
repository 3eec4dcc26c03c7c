"""All that a database holds, to be compared: every table, bit for bit, but for working tables."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.support.databases import Database, connect

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('internal', 'cumsum', 'geo', 'app') AND NOT c.relispartition
        AND CASE c.relkind
            WHEN 'v' THEN c.relname ~ '^(rollup_..|sample|histogram)$'
            WHEN 'r' THEN c.relname !~ '{working}'
            WHEN 'p' THEN c.relname !~ '{working}' END
    ORDER BY 1
""".format(
    working="^(stored_.*|packed.*|hot|late|block|long_block|histogram_(row|block|packing)"
    "|series_hours|hours_.*|retired|fresh|rollup_mark|writer)$"
)
"""Samples, histograms and rollups by their views: when a worker moves or makes what is below them
is its affair. What writers remember is no content."""


async def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of every table, in an order of their own."""
    async with connect(database) as connection:
        names = [record[0] for record in await connection.fetch(TABLES)]
        return {name: await _rows(connection, name) for name in names}


async def _rows(connection: asyncpg.Connection, name: str) -> list[tuple[Any, ...]]:
    bits = "encode(float8send(value), 'hex')" if name.endswith(".sample") else "NULL"
    rows = await connection.fetch(f"SELECT t::text, {bits} FROM {name} AS t ORDER BY 1, 2")
    return [tuple(row) for row in rows]
