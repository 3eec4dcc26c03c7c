"""Packing in the hands of a test: step by step, or all that there is to do."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from ingest.storage.pgerrors import CONNECTION_ERRORS
from tests.support.databases import Database, connect

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


CUT_EVERY = 40
OUTAGES = (
    *CONNECTION_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
)  # fmt: skip
"""What a client meets whose connection, or server, was killed."""


async def random_step(
    connection: asyncpg.Connection, chance: random.Random, at: datetime, target: str = "internal"
) -> tuple[str, int]:
    """Some step, about some rows; its name, and how much it did. Now and then the connection is
    lost in the middle of it, as when the process at this end is killed: the server finds out later.

    Raises:
        OUTAGES: it was.
    """
    name = chance.choice(list(steps_of(target)))
    argument = at if name == "close" else chance.choice([1, 7, 50, 500_000])
    step = asyncio.create_task(take_step(connection, name, argument, target))
    if chance.randrange(CUT_EVERY) == 0:
        await asyncio.sleep(chance.random() / 50)
        connection.terminate()
    return name, await step


class Packer:
    """Packs at random moments whatever there is, also what has just been written, and loses its
    connection now and then in the middle of it. A context manager: what failed in it is raised at
    its end.

    Attributes:
        done: by step, how much it did.
    """

    TARGETS = ("internal", "cumsum")
    PACE_SECONDS = 0.05

    def __init__(self, database: Database, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._database, self._chance = database, random.Random(seed)
        self._ended = threading.Event()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._guard, daemon=True)

    def __enter__(self) -> Packer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        for error in self._errors:
            raise error

    def _guard(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:
            self._errors.append(error)

    async def _work(self) -> None:
        while not self._ended.is_set():
            try:
                async with connect(self._database) as connection:
                    await self._take_steps(connection)
            except (*OUTAGES, asyncpg.DiskFullError):
                await asyncio.sleep(self.PACE_SECONDS)

    async def _take_steps(self, connection: asyncpg.Connection) -> None:
        while not self._ended.is_set():
            target = self._chance.choice(self.TARGETS)
            before = datetime.now(UTC) + timedelta(days=1)
            name, done = await random_step(connection, self._chance, before, target)
            self.done[name] += done
            await asyncio.sleep(self.PACE_SECONDS)


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
