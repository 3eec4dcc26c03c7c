"""Series are removed under daemons that send them again: every sample is stored, once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.databases import Database, blocking, connect, execute
from tests.support.messages import series
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, write_side

NOW_MS = time.time_ns() // 1_000_000
AT_ONCE = {"PROMGRES_WRITER__REMOVE_SERIES_AGE_SECONDS": "0"}
STORED = """
SELECT s.name, count(*) FROM internal.sample JOIN internal.series s USING (series_id)
WHERE s.name LIKE $1 || '%' GROUP BY s.name
"""
NOBODYS = """
SELECT count(*) FROM internal.sample x
WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.series_id = x.series_id)
"""


@pytest.fixture
def daemons(postgres_db: Database) -> Iterator[tuple[WriteSide, WriteSide]]:
    """One that removes what is empty at once, and one that does not."""
    with (
        write_side(postgres_db, **AT_ONCE) as one,
        write_side(postgres_db, PROMGRES_WRITER__REMOVE_SERIES="false") as other,
    ):
        yield one, other


def count(database: Database, query: str, *arguments: object) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        async with connect(database) as connection:
            rows = await connection.fetch(query, *arguments)
        return {str(row[0]): row[-1] for row in rows}

    return blocking(ask())


def test_what_was_removed_is_created_again_by_whoever_sends_it(
    postgres_db: Database, daemons: tuple[WriteSide, WriteSide]
) -> None:
    """By both daemons in turns: both have the ids in their caches, and one of them removes."""
    names = [f"gone_{number}" for number in range(5)]
    for turn in range(4):
        for step, daemon in enumerate((*daemons, *daemons)):
            at = NOW_MS + 1000 * turn + step
            request = [series({"name": name}, (at, 1.0)) for name in (*names, "steady")]
            # A request that meets the removal is answered 503 and comes again, as senders do; or it
            # is spooled.
            wait_until(lambda sent=(daemon, request): sent[0].write(*sent[1]).status == 204)
        wait_until(lambda turn=turn: gone(postgres_db, names) == dict.fromkeys(names, 4))
        assert gone(postgres_db, ["steady"]) == {"steady": 4 * (turn + 1)}
        if turn < 3:
            blocking(
                execute(
                    postgres_db.url,
                    "DELETE FROM internal.hot h USING internal.series s"
                    " WHERE s.series_id = h.series_id AND s.name LIKE 'gone%'",
                )
            )
            wait_until(lambda: not series_left(postgres_db, "gone"))
    assert count(postgres_db, NOBODYS) == {"0": 0}
    assert series_left(postgres_db, "steady") == 1


def gone(database: Database, names: list[str]) -> dict[str, int]:
    found = count(database, STORED, names[0].partition("_")[0])
    return {name: found[name] for name in names if name in found}


def series_left(database: Database, name: str) -> int:
    like = "SELECT 'n', count(*) FROM internal.series WHERE name LIKE $1 || '%'"
    return count(database, like, name)["n"]


def test_the_spool_holds_samples_of_removed_series(postgres_db: Database) -> None:
    """They were acknowledged before their series went."""
    with write_side(postgres_db, PROMGRES_SPOOL__AFTER="0.2", **AT_ONCE) as side:
        for step in range(2):
            assert side.write(series({"name": "back"}, (NOW_MS + step, 1.0))).status == 204
        wait_until(lambda: gone(postgres_db, ["back"]) == {"back": 2})  # none waits in the spool
        blocking(execute(postgres_db.url, *REFUSE))
        assert side.write(series({"name": "back"}, (NOW_MS + 2, 1.0))).status == 204
        blocking(execute(postgres_db.url, "DELETE FROM internal.hot"))
        wait_until(lambda: not series_left(postgres_db, "back"))
        blocking(execute(postgres_db.url, "DROP FUNCTION public.refuse() CASCADE"))
        wait_until(lambda: gone(postgres_db, ["back"]) == {"back": 1})
        assert count(postgres_db, NOBODYS) == {"0": 0}


REFUSE = (
    "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'unwell' USING ERRCODE = 'internal_error'; END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON internal.hot EXECUTE FUNCTION public.refuse()",
)
