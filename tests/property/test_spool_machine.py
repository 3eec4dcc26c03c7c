"""The spool under any interleaving of appends, drains, crashes and disk errors.

What is acknowledged is on disk, in order and within bounds, until it is removed; no tenant fills
more of it than its share.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.config import LimitSettings
from ingest.errors import OperatorError, Unavailable
from ingest.intake.quotas import TenantQuotas
from ingest.model import TenantLimits
from ingest.writer.spool.file import Entry, SpoolFile
from ingest.writer.spool.queue import BYTES, OLDEST_SECONDS, REQUESTS, TENANT_BYTES, Spool
from tests.support.metrics import gauge
from tests.support.spool_disk import Disk, discard, fast_directory, image, restore, torn
from tests.support.virtual_loop import VirtualLoop

MAX_BYTES = 400
SHARES = {1: 1.0, 2: 0.4}
"""What part of the spool each tenant may fill; every other request is of tenant 2."""
QUOTAS = TenantQuotas(
    LimitSettings(), lambda tenant_id: TenantLimits(spool_share=SHARES[tenant_id])
)
RECEIVED_MS = 1_700_000_000_000
ALL = 100_000

Lengths = st.lists(st.integers(0, 120), min_size=1, max_size=5)


def tenant_of(number: int) -> int:
    """Whose request that is."""
    return 1 + number % 2


@dataclass
class Sent:
    """A request on its way into the spool; its number is told by `samples` of its entry.

    Attributes:
        answer: None where the process was killed before it gave one.
        leaving: it is being removed, or was.
    """

    number: int
    length: int
    answer: asyncio.Future[None] | None = None
    leaving: bool = False

    @property
    def tenant_id(self) -> int:
        """Whose it is."""
        return tenant_of(self.number)

    @property
    def acknowledged(self) -> bool:
        """Whether somebody was told that it is safe."""
        return bool(self.answer and self.answer.done() and not self.answer.exception())

    @property
    def refused(self) -> bool:
        """Whether somebody was told that it is not."""
        return bool(self.answer and self.answer.done() and self.answer.exception())


class SpoolMachine(RuleBasedStateMachine):
    """Acts on one spool; remembers what it promised."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self.rejected = 0
        self._open(fast_directory())

    def _open(self, data_dir: Path) -> None:
        self.loop = VirtualLoop()
        self.disk = Disk(data_dir)
        self.spool = Spool(self.disk, MAX_BYTES, QUOTAS)
        self.draining: asyncio.Task[None] | None = None

    def _entries(self, lengths: Sequence[int]) -> list[Entry]:
        first = len(self.sent)
        self.sent += [Sent(first + place, length) for place, length in enumerate(lengths)]
        return [
            Entry(
                0, RECEIVED_MS + sent.number, sent.tenant_id, 1, sent.number, 0, b"x" * sent.length
            )
            for sent in self.sent[first:]
        ]

    @rule(lengths=Lengths)
    def append(self, lengths: list[int]) -> None:
        for entry in self._entries(lengths):
            answer = self.loop.create_task(self.spool.append(entry))
            self.sent[entry.samples].answer = answer

    @rule(turns=st.integers(1, 6))
    def go_on(self, turns: int) -> None:
        self.loop.turn(turns)

    @rule()
    def come_to_rest(self) -> None:
        self.loop.run_until_idle()

    @rule(most=st.integers(1, 8), keep=st.integers(0, 3), refused=st.booleans())
    @precondition(lambda self: not self.draining or self.draining.done())
    def drain(self, most: int, keep: int, refused: bool) -> None:
        self.draining = self.loop.create_task(self._drain(most, keep, refused))

    async def _drain(self, most: int, keep: int, refused: bool) -> None:
        """Remove the oldest, but for one that the database did not take."""
        entries = await self.spool.first(most)
        done = [entry for place, entry in enumerate(entries) if place != keep]
        rejections = [(done[0], "why", 1)] if refused and done else []
        for entry in done:
            self.sent[entry.samples].leaving = True
        try:
            await self.spool.remove(done, rejections)
        except sqlite3.Error:
            for entry in done:
                self.sent[entry.samples].leaving = False

    @rule(broken=st.booleans())
    def disk_breaks(self, broken: bool) -> None:
        self.disk.broken = broken

    @rule(full=st.booleans())
    def disk_fills(self, full: bool) -> None:
        if full:
            self.disk.fill()
        else:
            self.disk.make_room()

    @rule()
    def restart(self) -> None:
        """An ordinary end: what waits is committed, if the disk takes it."""
        self._run(self.spool.stop())
        self.loop.abandon()
        self._open(self.disk.data_dir)
        self._compare()

    @rule()
    def crash(self) -> None:
        """At any moment: whatever is under way never goes on."""
        self._crash(image(self.disk.data_dir))

    @rule(lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=4), share=st.floats(0, 1))
    @precondition(lambda self: not self.disk.broken)
    def crash_in_the_middle_of_a_write(self, lengths: list[int], share: float) -> None:
        """Of the last commit only a part reached the disk: it was promised to nobody."""
        self.disk.make_room()
        before = image(self.disk.data_dir)
        self.disk.append(self._entries(lengths))
        self._crash(torn(before, image(self.disk.data_dir), share))

    def _crash(self, files: dict[str, bytes]) -> None:
        self.disk.close()
        self.loop.abandon()
        discard(self.disk.data_dir)
        self._open(restore(files))
        self._compare()

    def _compare(self) -> None:
        """After a restart: what was promised is there; what was not may be, but then in full."""
        found = {entry.samples: entry for entry in self.disk.first(ALL)}
        for sent in self.sent:
            if sent.number in found:
                assert len(found[sent.number].payload) == sent.length
                sent.leaving = False
            else:
                assert sent.leaving or not sent.acknowledged, f"{sent} is lost"
                sent.leaving = True
            if sent.answer and not sent.answer.done():
                sent.answer = None

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.loop.run_until_idle()
        task.result()

    @invariant()
    def promises_are_kept(self) -> None:
        numbers = [entry.samples for entry in self.disk.first(ALL)]
        assert numbers == sorted(numbers)
        found = set(numbers)
        for sent in self.sent:
            if sent.acknowledged and not sent.leaving:
                assert sent.number in found, f"{sent} is lost"
            if sent.refused:
                assert sent.answer
                assert isinstance(sent.answer.exception(), Unavailable)
                assert sent.number not in found

    @invariant()
    def metrics_tell_what_is_there(self) -> None:
        if self.loop.idle:
            standing = self.disk.standing()
            assert gauge(REQUESTS) == standing.requests
            assert gauge(BYTES) == standing.payload_bytes
            for tenant_id in SHARES:
                share = standing.shares.get(tenant_id)
                held = gauge(TENANT_BYTES.labels(str(tenant_id)))
                assert held == (share.payload_bytes if share else 0)
            assert (gauge(OLDEST_SECONDS) == 0) == self.spool.empty == (standing.requests == 0)

    @rule(length=st.integers(0, 2 * MAX_BYTES))
    def bound(self, length: int) -> None:
        """What does not fit is refused at once, and what is admitted fits."""
        self.loop.run_until_idle()
        standing, tenant_id = self.disk.standing(), tenant_of(len(self.sent))
        share = standing.shares.get(tenant_id)
        held = share.payload_bytes if share else 0
        fits = standing.payload_bytes + length <= MAX_BYTES
        assert self.spool.has_room(length) == fits
        fits = fits and held + length <= SHARES[tenant_id] * MAX_BYTES
        assert self.spool.has_room(length, tenant_id) == fits
        if not fits:
            self.append([length])
            self.loop.run_until_idle()
            assert self.sent[-1].refused

    def teardown(self) -> None:
        self.loop.run_until_idle()
        assert not self.loop.complaints
        self.disk.close()
        self.loop.abandon()
        discard(self.disk.data_dir)


EXAMPLES = min(150, int(os.environ.get("PROMGRES_EXAMPLES", "75")))
SpoolMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=40)
TestSpool = SpoolMachine.TestCase


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    first = SpoolFile(tmp_path)
    with pytest.raises(OperatorError, match="another promgres uses it"):
        SpoolFile(tmp_path)
    first.close()
    SpoolFile(tmp_path).close()
