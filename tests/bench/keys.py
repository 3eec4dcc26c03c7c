"""How long the check of a key takes, and whether the time tells what is wrong with it.

Rounds in turns, each of every kind of key; a kind is told from another by how often its round is
the slower one: 50 % is chance.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ingest.auth import directory as directory_module
from ingest.auth.audit import Audit
from ingest.auth.authenticator import Authenticator
from ingest.auth.directory import Directory
from ingest.auth.keys import is_proved
from ingest.auth.usage import KeyUse
from ingest.config import AuthSettings
from ingest.errors import KeyRefused
from tests.support.keys import KEY_ID, SECRET, FakeStore, stored

KEYS = 10_000
ROUNDS = 4_000
CALLS = 200
GATE_ROUNDS = 3_000

Kinds = dict[str, tuple[str, str]]
KINDS: Kinds = {
    "right": (KEY_ID, SECRET),
    "wrong_at_its_end": (KEY_ID, SECRET[:-1] + "0"),
    "wrong_at_its_beginning": (KEY_ID, "z" + SECRET[1:]),
    "of_nobody": ("zzzzzzzzzzzz", SECRET),
}


def run() -> dict[str, float]:
    """Medians, and how often a wrong key's round is slower than that of another wrong one."""
    store = FakeStore([stored(), *(replace(stored(), key_id=f"k{n:011}") for n in range(KEYS))])
    return _checks(store) | asyncio.run(_authenticator(store))


def _checks(store: FakeStore) -> dict[str, float]:
    known = {key.key_id: key for key in store.keys}

    def check(key_id: str, secret: str) -> Callable[[], float]:
        def batch() -> float:
            started = time.perf_counter_ns()
            for _ in range(CALLS):
                is_proved(known.get(key_id), secret)
            return (time.perf_counter_ns() - started) / CALLS

        return batch

    taken = _in_turns({kind: check(*key) for kind, key in KINDS.items()}, ROUNDS)
    figures = {f"key_check_{kind}_ns": statistics.median(times) for kind, times in taken.items()}
    return figures | _slower("key_check", taken)


def _in_turns(kinds: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    for _ in range(rounds):
        random.shuffle(order)
        for kind in order:
            taken[kind].append(kinds[kind]())
    return taken


async def _authenticator(store: FakeStore) -> dict[str, float]:
    """`Authenticator.admit` but for the database and the pause before it is asked, which take the
    most and are the same for every wrong key."""

    pause, directory_module.PAUSE_SECONDS = directory_module.PAUSE_SECONDS, 0.0
    directory = Directory(store)
    authenticator = Authenticator(directory, Audit(store), KeyUse(store), AuthSettings())
    await directory.look(0)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    order = list(KINDS)
    for _ in range(GATE_ROUNDS):
        random.shuffle(order)
        for kind in order:
            key_id, secret = KINDS[kind]
            taken[kind].append(await _admitted(authenticator, f"pmk_{key_id}_{secret}"))
    directory_module.PAUSE_SECONDS = pause
    figures = {f"gate_{kind}_us": statistics.median(each) / 1000 for kind, each in taken.items()}
    return figures | _slower("authenticator", taken)


async def _admitted(authenticator: Authenticator, key: str) -> float:
    """Nanoseconds until the answer."""
    headers = {"X-API-Key": key}
    started = time.perf_counter_ns()
    with suppress(KeyRefused):
        await authenticator.admit(headers, "192.0.2.1", "read")
    return time.perf_counter_ns() - started


def _slower(what: str, taken: dict[str, list[float]]) -> dict[str, float]:
    """In percent of the rounds; half of those that took as long."""
    base = taken["wrong_at_its_beginning"]
    return {
        f"{what}_{kind}_slower_percent": 100
        * statistics.mean(
            (mine > its) + (mine == its) / 2 for mine, its in zip(taken[kind], base, strict=True)
        )
        for kind in ("wrong_at_its_end", "of_nobody")
    }
