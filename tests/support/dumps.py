"""A database as `pg_dump` writes it, restored beside it."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.databases import Database, execute
from tests.support.postgres import program


async def dump(database: Database, snapshot: str) -> bytes:
    """What a transaction that has exported this snapshot sees."""
    return await _run("pg_dump", "--snapshot", snapshot, database.url)


@asynccontextmanager
async def restored(database: Database, dumped: bytes) -> AsyncIterator[Database]:
    """Another database of the same server, made of a dump; dropped at the end of the block."""
    name = database.url.partition("?")[0].rpartition("/")[2]
    other = Database(database.url.replace(f"/{name}?", f"/{name}_restored?"), "postgres")
    admin = database.url.replace(f"/{name}?", "/postgres?")
    await execute(admin, f"CREATE DATABASE {name}_restored TEMPLATE template0")
    try:
        psql = ("psql", "-qX1", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null")
        await _run(*psql, other.url, of=dumped)
        yield other
    finally:
        await execute(admin, f"DROP DATABASE {name}_restored WITH (FORCE)")


async def _run(name: str, *arguments: str, of: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        program(name), *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, complaints = await process.communicate(of)
    assert process.returncode == 0, complaints.decode()
    return output
