"""Write side and database are ended at random moments, each in every way.

Samples are packed all the while. `PROMGRES_FAULT_ROUNDS` (3) and `PROMGRES_FAULT_SEED` decide how
often and when; `make faults` runs 100 rounds. After each one: what was acknowledged is stored, to
the sample; the accounts balance.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.support.crowd import Crowd
from tests.support.fragile_postgres import fragile_postgres
from tests.support.processes import wait_until
from tests.support.rig import Rig, running_rig

ROUNDS = int(os.environ.get("PROMGRES_FAULT_ROUNDS", "3"))
SEED = int(os.environ.get("PROMGRES_FAULT_SEED", "20260131"))

STEPS = Counter(["close", "pack", "late"])
"""What packing must have done meanwhile, for the test to say anything about it."""

pytestmark = pytest.mark.timeout(240 + 20 * ROUNDS)


def test_nothing_acknowledged_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(SEED)
    done: Counter[str] = Counter()
    began = time.monotonic()
    with (
        fragile_postgres() as postgres,
        running_rig(postgres) as rig,
        Crowd(rig.url, SEED) as crowd,
    ):
        for number in range(1, ROUNDS + 1):
            since = len(crowd.requests)
            name = random.choice(sorted(FAULTS))
            crowd.go()
            crowd.wait_for_acknowledged(random.randint(1, 40))
            FAULTS[name](rig, random)
            crowd.wait_for_acknowledged(random.randint(1, 10), seconds=90)
            crowd.pause()
            rig.wait_until_ready()
            rig.assert_nothing_is_lost(crowd, since)
            done[name] += 1
            with capsys.disabled():
                print(f"\nround {number}/{ROUNDS} (seed {SEED}): {name}; nothing lost", end="")
        crowd.go()
        wait_until(lambda: +rig.packed >= STEPS, 120, "packing took each of its steps")
        crowd.pause()
        rig.assert_nothing_is_lost(crowd)
        sums = Counter(acknowledged=crowd.acknowledged, requests=len(crowd.requests))
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\n{ROUNDS} rounds, seed {SEED}, {seconds:.0f} s: {dict(done)}; {dict(sums)};")
        print(f"answers {dict(crowd.statuses)}, acknowledged samples lost: 0")
        print(f"slowest answer {crowd.slowest_seconds:.1f} s, packed meanwhile {dict(rig.packed)}")


def kill_write_side(rig: Rig, random: Random) -> None:
    rig.end(signal.SIGKILL)
    rig.start()


def terminate_write_side(rig: Rig, random: Random) -> None:
    rig.end(signal.SIGTERM)
    rig.start()


def kill_database(rig: Rig, random: Random) -> None:
    rig.postgres.kill()
    rig.postgres.start()


def kill_backend(rig: Rig, random: Random) -> None:
    rig.postgres.kill_backend(random)


def restart_database(rig: Rig, random: Random) -> None:
    rig.postgres.stop()
    rig.postgres.start()


def kill_both(rig: Rig, random: Random) -> None:
    ends = [rig.postgres.kill, lambda: rig.end(signal.SIGKILL)]
    starts = [rig.postgres.start, rig.start]
    _in_any_order(random, ends)
    _in_any_order(random, starts)


def terminate_write_side_without_database(rig: Rig, random: Random) -> None:
    rig.postgres.kill()
    rig.end(signal.SIGTERM)
    _in_any_order(random, [rig.postgres.start, rig.start])


def _in_any_order(random: Random, steps: list[Callable[[], None]]) -> None:
    random.shuffle(steps)
    for step in steps:
        step()


FAULTS: dict[str, Callable[[Rig, Random], None]] = {
    "kill -9 write side": kill_write_side,
    "SIGTERM write side": terminate_write_side,
    "kill -9 database": kill_database,
    "kill -9 one backend": kill_backend,
    "restart database": restart_database,
    "kill -9 both": kill_both,
    "SIGTERM write side while the database is dead": terminate_write_side_without_database,
}
