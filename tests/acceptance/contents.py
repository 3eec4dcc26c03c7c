"""All that a database holds, to be compared: every table, bit for bit, but for working tables."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.support.databases import Database, connect

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('internal', 'cumsum', 'geo', 'app')
        AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname NOT IN ('rollup_mark', 'writer', 'packed', 'histogram_packing')
        AND c.relname NOT LIKE 'stored\\_%'
    UNION ALL
    SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE viewname LIKE 'rollup\\___'
    ORDER BY 1
"""
"""Rollups by their views: when the worker comes to the tables below them is its affair.
So is how far packing has come, and what writers remember is no content."""


async def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of every table, in an order of their own."""
    async with connect(database) as connection:
        names = [record[0] for record in await connection.fetch(TABLES)]
        return {name: await _rows(connection, name) for name in names}


async def _rows(connection: asyncpg.Connection, name: str) -> list[tuple[Any, ...]]:
    bits = "encode(float8send(value), 'hex')" if name.endswith((".sample", ".hot")) else "NULL"
    rows = await connection.fetch(f"SELECT t::text, {bits} FROM {name} AS t ORDER BY 1, 2")
    return [tuple(row) for row in rows]
