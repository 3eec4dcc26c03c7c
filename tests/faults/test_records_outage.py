"""The database is away while measures and events come: all of them are stored, once."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.answer import Answer
from tests.support.databases import blocking, connect
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, public_directory, run, wait_until
from tests.support.remote_write import send
from tests.support.rig import Rig, running_rig

STORED = """
    SELECT name, attributes->>'n' AS n, attributes::text, item_id, time, exact::text
    FROM (SELECT name, attributes, item_id, time, exact FROM app.measure UNION ALL
          SELECT name, attributes, item_id, time, NULL FROM app.event) AS items
"""
NOW = int(time.time())


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    with fragile_postgres() as server:
        yield server


@pytest.fixture
def rig(postgres: FragilePostgres, data_dir: Path) -> Iterator[Rig]:
    settings = {"PROMGRES_SPOOL__AFTER": "0.2", "PROMGRES_DATA_DIR": str(data_dir)}
    with running_rig(postgres, **settings) as running:
        yield running


def push(rig: Rig, *items: object) -> Answer:
    return send(f"http://{rig.address}/api/v1/event", json.dumps(items).encode(), {})


def items_of(name: str, number: int) -> list[object]:
    """One with key and time, one with a key alone, one with neither, and a measure."""
    attributes = {"n": f"{number:03}", "large": 9007199254740993}
    timed = {"name": f"{name} timed", "time": NOW - number, "idempotency_key": f"t{name}{number}"}
    keyed = {"name": f"{name} keyed", "idempotency_key": f"k{name}{number}"}
    measure = {"name": f"{name}_measure", "value": 9007199254740993, "attributes": attributes}
    events = [{**each, "attributes": attributes} for each in (timed, keyed, {"name": name})]
    return [{"M": measure}, *({"E": event} for event in events)]


def stored(rig: Rig, name: str) -> Counter[tuple[str, str]]:
    """How often each item is stored."""
    return blocking(_stored(rig, name))


async def _stored(rig: Rig, name: str) -> Counter[tuple[str, str]]:
    async with connect(rig.database) as connection:
        rows = await connection.fetch(f"{STORED} WHERE starts_with(name, $1)", name)
    assert all('"large": 9007199254740993' in row["attributes"] for row in rows)
    assert {row["exact"] for row in rows} <= {None, "9007199254740993"}
    return Counter((row["name"], row["n"]) for row in rows)


def expected(name: str, numbers: range) -> Counter[tuple[str, str]]:
    kinds = (f"{name} timed", f"{name} keyed", name, f"{name}_measure")
    return Counter((kind, f"{number:03}") for kind in kinds for number in numbers)


def test_what_is_spooled_is_written_back_once(rig: Rig, data_dir: Path) -> None:
    """Not even a kill of the daemon, or sending all of it again, changes anything."""
    push(rig, *items_of("away", 0))
    rig.postgres.stop()
    for number in range(1, 20):
        answer = push(rig, *items_of("away", number))
        assert (answer.status, json.loads(answer.text)) == (201, {"stored": 4})
    assert rig.metrics.spooled == 76
    rig.metrics.assert_balanced()
    told = run(PROMGRES, "spool", "status", "--json", env={"PROMGRES_DATA_DIR": str(data_dir)})
    assert json.loads(told.stdout)["samples"] == 76
    rig.end(signal.SIGKILL)
    rig.postgres.start()
    rig.start()
    rig.wait_until_ready()
    rig.wait_until_drained()
    assert stored(rig, "away") == expected("away", range(20))
    for number in range(20):
        assert push(rig, *items_of("away", number)[1:3]).status == 201  # those with keys
    assert stored(rig, "away") == expected("away", range(20))
    rig.metrics.assert_balanced()


def test_a_kill_loses_nothing_that_was_acknowledged(rig: Rig) -> None:
    """Whoever has no answer sends again; keys make that harmless."""

    def send_until_taken(number: int) -> None:
        def is_taken() -> bool:
            try:
                return push(rig, *items_of("killed", number)[1:3]).status == 201
            except OSError:
                return False

        wait_until(is_taken, what="the daemon takes it")

    with ThreadPoolExecutor(8) as senders:
        sent = senders.map(send_until_taken, range(300))
        wait_until(lambda: Metrics(rig.address).samples("written") > 20)
        rig.end(signal.SIGKILL)
        rig.start()
        list(sent)
    rig.wait_until_drained()
    found = stored(rig, "killed")
    assert found == Counter(
        (f"killed {kind}", f"{number:03}") for kind in ("timed", "keyed") for number in range(300)
    )


def test_a_database_that_answers_late_stores_once(rig: Rig) -> None:
    """The first attempt and the one from the spool meet: one of them is a duplicate."""
    push(rig, *items_of("late", 0))
    rig.postgres.freeze()
    answers = [push(rig, *items_of("late", number)).status for number in range(1, 4)]
    rig.postgres.thaw()
    assert answers == [201, 201, 201]
    rig.wait_until_drained()
    assert stored(rig, "late") == expected("late", range(4))
    rig.metrics.assert_balanced()
