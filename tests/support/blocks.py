"""Packing in the hands of a test: step by step, or all that there is to do."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import asyncpg

BITS = """
    SELECT series_id, time, encode(float8send(value), 'hex') AS bits, exact::text
    FROM {relation} WHERE {condition}
"""
Key = tuple[int, datetime]
Stored = dict[Key, tuple[str, str | None]]
"""Of each sample the bits of its value, and its exact value."""


async def switch_on(connection: asyncpg.Connection) -> None:
    """As `promgres migrate` does with storage.pack = true."""
    await connection.execute(
        "INSERT INTO internal.setting (key, value) VALUES ('storage.pack', 'on')"
        " ON CONFLICT (key) DO UPDATE SET value = 'on'"
    )


async def switch_off(connection: asyncpg.Connection) -> None:
    """As with storage.pack = false."""
    await connection.execute("UPDATE internal.setting SET value = 'off' WHERE key = 'storage.pack'")


def steps_of(target: str) -> dict[str, str]:
    """Statements by what they do; arguments are $1, and none wait for quiet."""
    return {
        "settle": f"SELECT internal.settle_fresh('{target}') + ($1::int - $1::int)",
        "close": f"SELECT internal.close_hot('{target}', $1::timestamptz, '0')",
        "pack": f"SELECT {target}.pack_hot($1::int)",
        "late": f"SELECT {target}.pack_late($1::int, 1, '0')",
        "join": f"SELECT {target}.join_blocks($1::int)",
        "drop": f"SELECT internal.drop_retired('{target}') + ($1::int - $1::int)",
    }


async def take_step(
    connection: asyncpg.Connection, name: str, argument: Any, target: str = "internal"
) -> int:
    """One step in its own transaction; how much it did, 0 if somebody was in its way."""
    try:
        done: int = await connection.fetchval(steps_of(target)[name], argument)
    except asyncpg.LockNotAvailableError:
        return 0
    return done


async def pack(
    connection: asyncpg.Connection, before: datetime, target: str = "internal", most: int = 500_000
) -> None:
    """All that there is to do, with what has ended before some moment."""
    busy = True
    while busy:
        busy = False
        for name in steps_of(target):
            while await take_step(connection, name, before if name == "close" else most, target):
                busy = True


async def close(connection: asyncpg.Connection, before: datetime, target: str = "internal") -> None:
    """What has ended is closed, and all know where it goes."""
    while await take_step(connection, "close", before, target) or await take_step(
        connection, "settle", 1, target
    ):
        pass


async def random_step(connection: asyncpg.Connection, chance: random.Random, at: datetime) -> str:
    """Some step, about some rows."""
    name = chance.choice(list(steps_of("internal")))
    await take_step(connection, name, at if name == "close" else chance.choice([1, 7, 50, 500_000]))
    return name


async def all_samples(
    connection: asyncpg.Connection, relation: str = "internal.sample", condition: str = "true"
) -> Stored:
    """What a reader sees, each sample once.

    Raises:
        AssertionError: one is seen twice.
    """
    rows = await connection.fetch(BITS.format(relation=relation, condition=condition))
    seen = {(row["series_id"], row["time"]): (row["bits"], row["exact"]) for row in rows}
    assert len(seen) == len(rows), "a sample is seen twice"
    return seen
