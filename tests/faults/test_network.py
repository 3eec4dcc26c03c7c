"""The network between write side and database fails: connections are cut, or fall silent."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from random import Random

import cramjam
import pytest

from ingest.config import DatabaseSettings
from ingest.storage.pool import create_pool
from ingest.wire.pb import remote_write_v1_pb2 as pb
from tests.faults.proxy import Proxy, running_proxy
from tests.support.crowd import Crowd
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.messages import series
from tests.support.processes import PROMGRES, get, run, wait_until
from tests.support.remote_write import WriteSide
from tests.support.rig import Rig, running_rig

NOW_MS = time.time_ns() // 1_000_000
CUTS = 3 * int(os.environ.get("PROMGRES_FAULT_ROUNDS", "3"))
SEED = int(os.environ.get("PROMGRES_FAULT_SEED", "20260131"))
END_OF_ROWS = b"\xff\xffc\0\0\0\4"
"""How a COPY ends (the trailer of its rows, CopyDone); the answer to it is that of the commit."""
PATIENCE = {
    "PROMGRES_SPOOL__AFTER": "1",
    "PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "2",
    "PROMGRES_DATABASE__COMMAND_TIMEOUT_SECONDS": "4",
}
"""Shorter than by default, for quick tests."""

pytestmark = pytest.mark.timeout(180 + 8 * CUTS)


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    """One database for all tests here: none of them hurts it."""
    with fragile_postgres() as server:
        yield server


@pytest.fixture
def proxy(postgres: FragilePostgres) -> Iterator[Proxy]:
    """The network."""
    with running_proxy(postgres.home.port) as running:
        yield running


@pytest.fixture
def rig(postgres: FragilePostgres, proxy: Proxy) -> Iterator[Rig]:
    """A write side behind that network."""
    with running_rig(postgres, postgres.tcp_url(proxy.port), **PATIENCE) as running:
        yield running


def test_connections_are_cut(rig: Rig, proxy: Proxy) -> None:
    """In the middle of a COPY, in place of the answer to a COMMIT, at any moment."""
    random = Random(SEED)
    print(f"seed {SEED}, {CUTS} cuts")
    with Crowd(rig.url, SEED, samples=2000) as crowd:
        for _ in range(CUTS):
            crowd.wait_for_acknowledged(random.randint(1, 5))
            random.choice([cut_an_upload, cut_an_answer, cut_all])(proxy, random)
            crowd.pause()
            rig.wait_until_drained()  # else the next cut would only meet the spool
            crowd.go()
        crowd.wait_for_acknowledged(5)
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
    assert not set(crowd.statuses) - {204, 503}, crowd.statuses


def cut_an_upload(proxy: Proxy, random: Random) -> None:
    goal = proxy.cuts + 1
    proxy.cut_upload_after(random.randint(1, 60_000))
    wait_until(lambda: proxy.cuts >= goal, what="a COPY is cut")


def cut_an_answer(proxy: Proxy, random: Random) -> None:
    goal = proxy.cuts + 1
    proxy.cut_answer_to(END_OF_ROWS)
    wait_until(lambda: proxy.cuts >= goal, what="a COMMIT is cut off")


def cut_all(proxy: Proxy, random: Random) -> None:
    wait_until(proxy.cut_all, what="there is something to cut")


@pytest.mark.parametrize("forget", [False, True], ids=["and comes back", "for ever"])
def test_connections_fall_silent(rig: Rig, proxy: Proxy, forget: bool) -> None:
    """No FIN, no RST: requests are spooled meanwhile, and written once new connections work."""
    with Crowd(rig.url, SEED, senders=8) as crowd:
        crowd.wait_for_acknowledged(20)
        proxy.freeze()
        spooled = rig.metrics.value("promgres_spool_appended_total")
        crowd.wait_for_acknowledged(50)
        assert rig.metrics.value("promgres_spool_appended_total") >= spooled + 40
        assert get(f"http://{rig.address}/-/ready")[0] == 200, "the spool takes requests"
        rig.metrics.assert_balanced()
        crowd.pause()
        proxy.thaw(forget)
        rig.wait_until_drained()
        crowd.go()
        crowd.wait_for_acknowledged(20)
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
    assert set(crowd.statuses) == {204}


def test_sigterm_while_connections_are_silent(rig: Rig, proxy: Proxy) -> None:
    """It ends in time, and the next write side goes on with what it left."""
    with Crowd(rig.url, SEED) as crowd:
        crowd.wait_for_acknowledged(20)
        proxy.freeze()
        crowd.wait_for_acknowledged(20)
        crowd.pause()
        began = time.monotonic()
        rig.end(signal.SIGTERM)
        assert time.monotonic() - began < 20
        proxy.thaw(forget=True)
        rig.start()
        rig.wait_until_ready()
        rig.assert_nothing_is_lost(crowd)


async def test_the_server_is_to_notice_that_we_are_gone(postgres: FragilePostgres) -> None:
    """A host that loses its power sends no FIN: half a minute later its locks have to be free."""
    pool = await create_pool(postgres.tcp_url(), DatabaseSettings(), "promgres test")
    settings = [
        int(await pool.fetchval(f"SHOW tcp_keepalives_{name}"))
        for name in ("idle", "interval", "count")
    ]
    await pool.close()
    idle, interval, count = settings
    assert idle + interval * count <= 30


def test_a_request_at_which_the_server_hangs_up(rig: Rig, proxy: Proxy) -> None:
    """The server is not away: others go to it, around what is spooled, which is set aside whole."""
    assert rig.program
    side = WriteSide(rig.program, rig.address)
    proxy.cut_upload_of(b"breaks it")
    bad = series({"name": "bad", "why": "breaks it"}, (NOW_MS, 1.0))
    assert side.write(bad).status == 204
    for number in range(5):
        assert side.write(series({"name": "other", "i": str(number)}, (NOW_MS, 1.0))).status == 204
        assert rig.metrics.samples("written") == number + 1
    numbers = count(5)

    def is_set_aside() -> bool:
        """While the database takes others: else it might be the database."""
        side.write(series({"name": "other", "i": str(next(numbers))}, (NOW_MS, 1.0)))
        return rig.metrics.value("promgres_spool_requests") == 0

    wait_until(is_set_aside, 120, every=0.5)
    rig.metrics.assert_balanced()
    assert rig.metrics.samples("rejected") == 1
    assert rig.metrics.value("promgres_spool_set_aside_total") == 1
    rejected = run(PROMGRES, "spool", "rejected", "--data-dir", rig.data_dir).stdout
    assert "the database failed at it 5 times, and took others" in rejected
    with closing(sqlite3.connect(rig.data_dir / "spool" / "spool.sqlite")) as file:
        [(payload,)] = file.execute("SELECT payload FROM aside").fetchall()
    kept = pb.WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(payload)))
    assert kept.timeseries[0] == bad
    rig.expected = "request set aside"
