"""The whole write side under any interleaving of requests, faults, crashes and shutdown.

Whatever happens: what is acknowledged is in the database or in the spool at that moment and ever
after, every request has one answer in time, and every sample is counted once.
`PROMGRES_EXAMPLES` (60) is how many lives are tried.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from aiohttp import web
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ingest.config import ReceiverSettings, Settings, WriterSettings
from ingest.intake.resolve import describe
from ingest.model import DEFAULT_TENANT_ID
from ingest.routing import Router
from ingest.writer import backlog
from tests.support.fake_database import POISON, POISONED, FakeDatabase, Fault, Sample
from tests.support.memory_side import GOODBYE_SECONDS, MemorySide
from tests.support.messages import payload, series
from tests.support.remote_write import snappy
from tests.support.spool_disk import discard, fast_directory, image, restore
from tests.support.virtual_loop import VirtualLoop

START_MS = 1_700_000_000_000
NAMES = ("m", "n", "web_requests", "manifest_geo_latitude")
POISONED_SERIES = 2 * len(NAMES)
RECEIVER = ReceiverSettings(backlog_seconds=2)
WRITER = WriterSettings(writers=2, max_batch_rows=8)
MOST_IN_FLIGHT = 12
ANSWER_SECONDS = RECEIVER.answer_timeout_seconds
HEAL_SECONDS = 180.0
ALL = 100_000

Moods = st.sampled_from([Fault.NONE, Fault.NONE, Fault.AWAY, Fault.TIMEOUT, Fault.DISK_FULL])
Samples = st.lists(
    st.tuples(
        st.integers(0, POISONED_SERIES),
        st.integers(0, 5),
        st.sampled_from([1.0, 2.0, 3.0, POISON]),
    ),
    min_size=1,
    max_size=6,
)


def _labels(number: int) -> dict[str, str]:
    poison = dict([POISONED]) if number == POISONED_SERIES else {}
    return {"name": NAMES[number % len(NAMES)], "i": str(number), **poison}


def _identities() -> Iterator[tuple[str, bytes]]:
    router = Router(Settings())
    for number in range(POISONED_SERIES):
        labels = {"i": str(number), "__name__": NAMES[number % len(NAMES)]}
        described = describe(router, DEFAULT_TENANT_ID, tuple(sorted(labels.items())))
        yield described.series.target, described.series.identity


SERIES = list(_identities())
"""Target and identity by number, of those that the database takes."""


@dataclass
class Sent:
    """One request.

    Attributes:
        samples: series number, time, value.
    """

    samples: list[tuple[int, int, float]]
    body: bytes
    at: float
    answer: asyncio.Task[web.Response]
    answered_at: float | None = None
    is_checked: bool = False


class WriterMachine(RuleBasedStateMachine):
    """Acts on one write side; remembers what it promised."""

    def __init__(self) -> None:
        super().__init__()
        self._small = patch.object(backlog, "SMALLEST_LIMIT_ROWS", MOST_IN_FLIGHT)
        self._slow = patch.object(backlog, "FIRST_GUESS_ROWS_PER_SECOND", 0)
        self._small.start()
        self._slow.start()
        self.database = FakeDatabase()
        self.sent: list[Sent] = []
        self.copy = self.database.copy()
        self.spool_bytes = 0
        self.spool_dir: Path | None = None
        self._start()

    @initialize(spool_bytes=st.sampled_from([0, 300, 10**6]))
    def choose_a_spool(self, spool_bytes: int) -> None:
        self._end()
        self.spool_bytes = spool_bytes
        self.spool_dir = fast_directory() if spool_bytes else None
        self._start()

    def _start(self) -> None:
        self.loop = VirtualLoop()
        self.side = MemorySide(
            self.loop, self.database, self.spool_dir, self.spool_bytes, RECEIVER, WRITER
        )

    @rule(requests=st.lists(Samples, min_size=1, max_size=3), senders=st.integers(1, 2))
    def requests_come(self, requests: list[list[tuple[int, int, float]]], senders: int) -> None:
        for samples in requests * senders:
            self._send(samples)

    def _send(self, samples: list[tuple[int, int, float]]) -> None:
        timeseries = [
            series(_labels(number), (START_MS + offset, value)) for number, offset, value in samples
        ]
        body = snappy(payload(*timeseries))
        sent = Sent(samples, body, self.loop.time(), self.side.post(body))
        self.sent.append(sent)
        sent.answer.add_done_callback(lambda _: self._answered(sent))

    def _answered(self, sent: Sent) -> None:
        """At this very moment it has to be safe; a failure here shows up in `loop.complaints`."""
        sent.answered_at = self.loop.time()
        self._check(sent)

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        self.loop.turn(turns)

    @rule(seconds=st.sampled_from([0.0, 0.6, 2.5, 6.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)

    @rule(mood=Moods, hanging=st.booleans())
    def database_is(self, mood: Fault, hanging: bool) -> None:
        self.database.mood = mood
        self.database.hanging = hanging
        if not hanging:
            self.database.release()

    @rule(faults=st.lists(st.sampled_from(list(Fault)), min_size=1, max_size=4))
    def next_calls_meet(self, faults: list[Fault]) -> None:
        self.database.faults += faults

    @rule(expire=st.booleans())
    def series_without_samples_go(self, expire: bool) -> None:
        """Whoever has their ids, cached or in what waits, hears of it in time. If no sender waits,
        retention may take all samples before; what is spooled, and nothing of it stored yet, is
        stored afterwards."""
        if expire and all(sent.answered_at is not None for sent in self.sent):
            entries = self.side.disk.first(ALL) if self.side.disk else []
            spooled = {entry.payload for entry in entries}
            self.sent = [
                sent for sent in self.sent
                if sent.body in spooled and not any(
                    number != POISONED_SERIES and self._stored(number, offset)
                    for number, offset, _ in sent.samples
                )
            ]  # fmt: skip
            self.database.rows.clear()
            self.database.rolled_up.clear()
        self.database.remove_empty()

    @rule(numbers=st.lists(st.integers(0, 50), min_size=1, max_size=3))
    @precondition(lambda self: self.sent)
    def requests_come_again(self, numbers: list[int]) -> None:
        """From a twin of their sender, or from one that has had no answer."""
        for number in numbers:
            self._send(self.sent[number % len(self.sent)].samples)

    @rule(every=st.integers(1, 3), restored=st.booleans())
    def samples_go(self, every: int, restored: bool) -> None:
        """Somebody deletes some of them, or puts an older copy in place of the database, while
        nothing is under way: what is sent again from then on has to be stored again."""
        at_rest = all(sent.answered_at is not None for sent in self.sent)
        if not at_rest or not (self.side.spool is None or self.side.spool.empty):
            return
        lately = [sent.samples for sent in self.sent[-3:]]
        self.sent.clear()
        if restored:
            self.database.go_back(self.copy)
        else:
            self.database.take_samples(list(self.database.rows)[::every])
        for samples in lately:
            self._send(samples)

    @rule()
    def copy_is_made(self) -> None:
        self.copy = self.database.copy()

    @rule()
    def worker_rolls_up(self) -> None:
        """All of these samples are late: what is written later needs marks of its own."""
        self.database.roll_up()

    @rule(number=st.integers(0, 50))
    @precondition(lambda self: self.sent)
    def sender_hangs_up(self, number: int) -> None:
        """It no longer waits for its answer."""
        self.sent[number % len(self.sent)].answer.cancel()

    @rule(broken=st.booleans())
    @precondition(lambda self: self.side.disk)
    def disk_breaks(self, broken: bool) -> None:
        assert self.side.disk
        self.side.disk.broken = broken

    @rule(kindly=st.booleans())
    def end(self, kindly: bool) -> None:
        """SIGTERM, after which it has some time, or SIGKILL at any moment; then another life."""
        if kindly:
            waiting = [sent.answer for sent in self.sent if not sent.answer.done()]
            stopping = self.loop.create_task(self.side.stop(waiting))
            self.loop.advance(GOODBYE_SECONDS)
            if stopping.done():
                stopping.result()
        self._end()
        self._start()

    def _end(self) -> None:
        """Whatever is under way never goes on; what is on disk stays."""
        files = image(self.spool_dir) if self.spool_dir else {}
        self.side.abandon()
        self.database.release()
        for sent in self.sent:
            sent.answered_at = sent.answered_at or self.loop.time()
        self.sent = [sent for sent in self.sent if sent.answer.done()]
        self.loop.abandon()
        if self.spool_dir:
            discard(self.spool_dir)
            self.spool_dir = restore(files)

    @invariant()
    def all_is_well(self) -> None:
        for complaint in self.loop.complaints:
            raise AssertionError(complaint["message"]) from complaint.get("exception")
        self.side.assert_balanced()
        assert not [task for task in self.side.background if task.done()]
        for sent in self.sent:
            self._check(sent)
        stored = {key.series_id for key in self.database.rows}
        assert stored <= set(self.database.ids.values()), "rows of series that are not there"
        for key in self.database.rows.keys() - self.database.rolled_up:
            assert key.target == "geo" or self.database.is_marked(key), f"{key} has no mark"

    def _check(self, sent: Sent) -> None:
        if sent.answer.cancelled():
            return
        answered_at = sent.answered_at or self.loop.time()
        assert answered_at - sent.at <= ANSWER_SECONDS + 0.001
        if not sent.answer.done():
            return
        status = sent.answer.result().status
        assert status in (204, 400, 503)
        if status != 503:
            assert self._is_safe(sent), f"{sent} is lost"

    def _is_safe(self, sent: Sent) -> bool:
        if self.side.disk and sent.body in {entry.payload for entry in self.side.disk.first(ALL)}:
            return True
        first: dict[tuple[int, int], float] = {}
        for number, offset, value in sent.samples:
            first.setdefault((number, offset), value)
        return all(
            value == POISON or key[0] == POISONED_SERIES or self._stored(*key)
            for key, value in first.items()
        )

    def _stored(self, number: int, offset: int) -> bool:
        target, identity = SERIES[number]
        series_id = self.database.ids.get(identity, -1)
        return Sample(target, series_id, START_MS + offset) in self.database.rows

    def teardown(self) -> None:
        try:
            self._heal()
        finally:
            self._end()
            self._small.stop()
            self._slow.stop()
            if self.spool_dir:
                discard(self.spool_dir)

    def _heal(self) -> None:
        """Once nothing fails any more, everything is written, and new requests too."""
        self.database.faults.clear()
        self.database_is(Fault.NONE, hanging=False)
        if self.side.disk:
            self.side.disk.broken = False
        self.loop.advance(HEAL_SECONDS)
        for offset in (100, 101):  # the first may be what finds an older copy
            self._send([(0, offset, 1.0)])
            self.loop.advance(HEAL_SECONDS)
        self.all_is_well()
        assert self.sent[-1].answer.result().status == 204
        assert all(sent.answer.done() for sent in self.sent)
        counts = self.side.counts
        assert counts["in flight"] == counts["spooled"] == 0, counts
        assert self.side.spool is None or self.side.spool.empty


EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "60"))
WriterMachine.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, report_multiple_bugs=False
)
TestWriter = WriterMachine.TestCase
