"""A write side that starts while its database is away: it listens, and takes what it can keep."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.known import FILE, recall, remember
from ingest.writer.spool.file import FOLDER
from tests.support.crowd import Crowd
from tests.support.databases import blocking, connect
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.keys import bearer, create_key
from tests.support.messages import payload, series
from tests.support.processes import get, public_directory, wait_until
from tests.support.remote_write import HEADERS, send, snappy
from tests.support.rig import Rig, running_rig

SEED = 11


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    with fragile_postgres() as server:
        yield server


def sample(name: str) -> bytes:
    return snappy(payload(series({"name": name}, (int(time.time() * 1000), 1.0))))


def kept(directory: Path) -> Path:
    return directory / FOLDER / FILE


def restart_without_database(rig: Rig, directory: Path) -> None:
    wait_until(kept(directory).exists, what="what is known is kept")
    rig.end(signal.SIGKILL)
    rig.postgres.kill()
    rig.start()


def test_it_spools_with_what_it_knew(postgres: FragilePostgres) -> None:
    """Known and new series; all of it is written back, and ready says so meanwhile."""
    with (
        public_directory() as directory,
        running_rig(postgres, PROMGRES_DATA_DIR=str(directory)) as rig,
        Crowd(rig.url, SEED) as crowd,
    ):
        crowd.wait_for_acknowledged(10)
        restart_without_database(rig, directory)
        crowd.wait_for_acknowledged(30)
        rig.wait_until_ready()
        assert rig.metrics.value("promgres_spool_requests") > 0
        postgres.start()
        rig.wait_until_drained()
        crowd.wait_for_acknowledged(10)
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)


def test_keys_go_on_as_in_memory(postgres: FragilePostgres) -> None:
    """A key that was known is taken, one that was not is 503, and none is in the file."""
    with public_directory() as directory:
        settings = {"PROMGRES_DATA_DIR": str(directory), "PROMGRES_AUTH__REQUIRED": "true"}
        with running_rig(postgres, **settings) as rig:
            key = blocking(create_key(postgres.database, "default", "write"))
            unknown = key[:-4] + "AAAA"
            assert send(rig.url, sample("first"), {**HEADERS, **bearer(key)}).status == 204
            key_id = key.split("_")[1]
            wait_until(lambda: key_id in kept(directory).read_text(), what="the key is kept")
            restart_without_database(rig, directory)
            rig.wait_until_ready()
            assert send(rig.url, sample("second"), {**HEADERS, **bearer(key)}).status == 204
            assert send(rig.url, sample("third"), {**HEADERS, **bearer(unknown)}).status == 503
            assert send(rig.url, sample("third"), HEADERS).status == 401
            assert key.split("_", 2)[2] not in kept(directory).read_text()
            postgres.start()
            rig.wait_until_drained()
            wait_until(
                lambda: send(rig.url, sample("x"), {**HEADERS, **bearer(unknown)}).status == 401
            )


def test_one_that_never_met_its_database_says_so(postgres: FragilePostgres) -> None:
    """503 with Retry-After on the port that it then serves; what is no longer true is not known."""
    with (
        public_directory() as directory,
        running_rig(
            postgres,
            PROMGRES_DATA_DIR=str(directory),
            PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS="60",
        ) as rig,
    ):
        wait_until(kept(directory).exists, what="what is known is kept")
        rig.end(signal.SIGKILL)
        known = recall(directory / FOLDER)
        assert known is not None
        remember(directory / FOLDER, known.__class__(**{**vars(known), "schema": "another"}))
        rig.postgres.kill()
        rig.start()
        wait_until(lambda: get(f"http://{rig.address}/-/healthy")[0] == 200, 60, "it listens")
        answer = send(rig.url, sample("early"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert get(f"http://{rig.address}/-/ready")[0] == 503
        postgres.start()
        rig.wait_until_ready()
        assert send(rig.url, sample("late")).status == 204


@pytest.mark.parametrize(
    ("key", "was", "other", "words"),
    [
        ("engine", "postgres", "timescaledb", "another engine"),
        ("packs", "manifest", "", "other packs"),
    ],
)
def test_a_database_with_another_engine_ends_what_believed_otherwise(
    postgres: FragilePostgres, key: str, was: str, other: str, words: str
) -> None:
    """The next one finds out."""
    with (
        public_directory() as directory,
        running_rig(postgres, PROMGRES_DATA_DIR=str(directory)) as rig,
    ):
        wait_until(kept(directory).exists, what="what is known is kept")
        blocking(record(postgres, key, other))
        try:
            rig.end(signal.SIGKILL)
            rig.start()
            assert rig.program
            assert rig.program.wait(60) == 1
            assert f"{words} than before" in rig.program.output
            assert not kept(directory).exists()
        finally:
            blocking(record(postgres, key, was))
        rig.start()
        rig.wait_until_ready()
        rig.expected = words


async def record(postgres: FragilePostgres, key: str, value: str) -> None:
    async with connect(postgres.database) as connection:
        await connection.execute(
            "UPDATE internal.setting SET value = $1 WHERE key = $2", value, key
        )
