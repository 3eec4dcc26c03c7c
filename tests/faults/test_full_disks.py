"""The disk under the spool is full, or the one under the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psutil
import pytest

from tests.support.crowd import Crowd
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.processes import wait_until
from tests.support.rig import Rig, running_rig
from tests.support.small_disk import small_disk

SEED = 20260131
QUICK = {"PROMGRES_SPOOL__AFTER": "1"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    """One database for the tests of the spool's disk."""
    with fragile_postgres() as server:
        yield server


@dataclass
class Bounded:
    """A write side whose spool can be full."""

    rig: Rig
    fill: Callable[[], None]
    make_room: Callable[[], None]


@contextmanager
def small_file_system(postgres: FragilePostgres) -> Iterator[Bounded]:
    """A data directory on a small disk."""
    with (
        small_disk(24) as disk,
        running_rig(postgres, PROMGRES_DATA_DIR=str(disk.path), **QUICK) as rig,
    ):
        yield Bounded(rig, disk.fill, disk.make_room)


@contextmanager
def limited_file_size(postgres: FragilePostgres) -> Iterator[Bounded]:
    """No file of the write side may grow further (`ulimit -f`): for those who are not root."""
    # As root we could set no limit of another user's process without a capability for that.
    settings = {"PROMGRES_USERS__INGEST": "root"} if os.geteuid() == 0 else {}
    with running_rig(postgres, **QUICK, **settings) as rig:
        assert rig.program
        process = psutil.Process(rig.program.pid)

        def limit(most_bytes: int) -> None:
            process.rlimit(psutil.RLIMIT_FSIZE, (most_bytes, psutil.RLIM_INFINITY))

        yield Bounded(rig, lambda: limit(100_000), lambda: limit(psutil.RLIM_INFINITY))


@pytest.mark.parametrize("bounded", [small_file_system, limited_file_size])
def test_a_full_disk_under_the_spool(
    postgres: FragilePostgres,
    bounded: Callable[[FragilePostgres], AbstractContextManager[Bounded]],
) -> None:
    """503 with Retry-After while it lasts; 204 as soon as there is room; nothing is lost."""
    with bounded(postgres) as made, Crowd(made.rig.url, SEED) as crowd:
        rig = made.rig
        crowd.wait_for_acknowledged(20)
        postgres.stop()
        crowd.wait_for_acknowledged(20)
        made.fill()
        refused = crowd.statuses[503]
        wait_until(lambda: crowd.statuses[503] >= refused + 20, what="requests are refused")
        rig.metrics.assert_balanced()
        made.make_room()
        crowd.wait_for_acknowledged(20)
        made.fill()
        postgres.start()
        crowd.wait_for_acknowledged(20)  # the database takes them
        made.make_room()
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
        assert set(crowd.statuses) == {204, 503}
        rig.expected = "cannot spool"


def test_a_full_spool(postgres: FragilePostgres) -> None:
    """The operator's own bound."""
    bound = {"PROMGRES_SPOOL__MAX_BYTES": "300000", **QUICK}
    with running_rig(postgres, **bound) as rig, Crowd(rig.url, SEED) as crowd:
        crowd.wait_for_acknowledged(20)
        postgres.stop()
        wait_until(lambda: crowd.statuses[503] >= 20, what="requests are refused")
        assert rig.metrics.value("promgres_spool_bytes") <= 300_000
        rig.metrics.assert_balanced()
        postgres.start()
        crowd.wait_for_acknowledged(20)
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
        assert set(crowd.statuses) == {204, 503}


def test_a_full_disk_under_the_database() -> None:
    """Spooled while it lasts. PostgreSQL gives up where it cannot write its log: it is started
    again by whoever made room."""
    with (
        small_disk(250) as disk,
        fragile_postgres(data_parent=disk.path) as postgres,
        running_rig(postgres, **QUICK) as rig,
        Crowd(rig.url, SEED, samples=2000) as crowd,
    ):
        crowd.wait_for_acknowledged(10)
        disk.fill()
        wait_until(lambda: "No space left on device" in postgres.log.read_text(errors="replace"))
        crowd.wait_for_acknowledged(40)
        rig.metrics.assert_balanced()
        crowd.pause()
        disk.make_room()
        if not postgres.is_running:
            postgres.start()
        rig.assert_nothing_is_lost(crowd)
        crowd.go()
        crowd.wait_for_acknowledged(10)
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
        assert set(crowd.statuses) == {204}
