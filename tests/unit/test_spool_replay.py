"""The drainer goes on, whatever stops it, and counts every sample once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.config import ReceiverSettings, Settings, WriterSettings
from ingest.routing.starlark import load_scripts
from ingest.writer.spool.file import Entry, read_rejected
from ingest.writer.spool.replay import affordable
from tests.support.fake_database import FakeDatabase, Fault
from tests.support.memory_side import MemorySide
from tests.support.messages import payload, series
from tests.support.remote_write import snappy
from tests.support.virtual_loop import VirtualLoop

NOW_MS = 1_700_000_000_000


class Outage:
    """A write side whose database is away, and a number of requests in its spool."""

    def __init__(self, directory: Path) -> None:
        self.loop = VirtualLoop()
        self.database = FakeDatabase(mood=Fault.AWAY)
        self.side = MemorySide(
            self.loop, self.database, directory, 10**6, ReceiverSettings(), WriterSettings()
        )
        assert self.side.disk
        self.disk = self.side.disk

    def spool(self, requests: int) -> None:
        """Send so many requests of two samples, of different targets."""
        for number in range(requests):
            sample = (NOW_MS + number, 1.0)
            body = payload(series({"name": "m"}, sample), series({"name": "web_requests"}, sample))
            answer = self.side.post(snappy(body))
            self.loop.advance(0.1)
            assert answer.result().status == 204

    def is_over(self) -> bool:
        """Whether all is written and counted as it should be."""
        assert not [task for task in self.side.background if task.done()]
        counts = self.side.counts
        assert min(counts.values()) >= 0, counts
        return counts["spooled"] == counts["in flight"] == self.disk.standing().requests == 0


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    made = Outage(tmp_path)
    yield made
    made.side.abandon()
    made.loop.abandon()


def test_a_disk_that_takes_no_removal_is_waited_for(outage: Outage) -> None:
    outage.spool(3)
    outage.disk.broken = True
    outage.database.mood = Fault.NONE
    outage.loop.advance(10)
    assert len(outage.database.rows) > 0
    assert not outage.is_over()
    outage.disk.broken = False
    outage.loop.advance(10)
    assert outage.is_over()
    assert outage.side.counts["written"] == len(outage.database.rows) == 6


def test_a_request_of_which_only_one_target_could_be_written(outage: Outage) -> None:
    outage.spool(1)
    outage.disk.broken = True  # nor can the disk be told of it
    outage.database.faults = [*[Fault.NONE] * 3, Fault.AWAY]  # ids, marks, one target
    outage.loop.advance(0.7)
    assert len(outage.database.rows) == 1
    outage.disk.broken = False
    outage.database.mood = Fault.NONE
    outage.loop.advance(10)
    assert outage.is_over()
    assert outage.side.counts["written"] + outage.side.counts["duplicate"] == 2


def test_a_defect_of_ours_stops_it_for_a_moment_only(outage: Outage) -> None:
    outage.spool(3)
    outage.database.mood = Fault.NONE
    outage.database.faults = [Fault.DEFECT] * 3
    outage.loop.advance(10)
    assert outage.is_over()


def test_batches_that_the_database_takes_only_when_they_are_small(outage: Outage) -> None:
    """A statement timeout, say: what fails together is tried one by one."""
    outage.spool(40)
    outage.database.mood = Fault.NONE
    outage.database.most_rows = 4
    outage.loop.advance(60)
    assert outage.is_over()


def test_what_a_changed_script_refuses_is_kept_and_what_it_drops_is_counted(
    outage: Outage, tmp_path: Path
) -> None:
    """All of it was acknowledged."""
    outage.spool(3)
    source = """
def apply(metric):
    if "m" in metric.fields:
        fail("not any more")
    return None
"""
    outage.side.router.scripts = load_scripts(Settings(starlark=[{"source": source}]))
    outage.database.mood = Fault.NONE
    outage.loop.advance(10)
    assert outage.is_over()
    assert (outage.side.counts["rejected"], outage.side.counts["dropped"]) == (3, 3)
    kept = read_rejected(tmp_path) or []
    assert [one.reason for one in kept] == ["m: starlark[0], line 4: not any more"] * 3


POISON = ("poison", "yes")


def test_a_request_that_breaks_every_connection_is_set_aside(outage: Outage) -> None:
    """It goes to the list of what was refused, and the others are written meanwhile."""
    outage.database.breaks_at = POISON
    sample = (NOW_MS, 1.0)
    outage.side.post(snappy(payload(series({"name": "m", "poison": "yes"}, sample, sample))))
    outage.loop.advance(0.1)
    outage.spool(40)
    outage.database.mood = Fault.NONE
    outage.loop.advance(10)
    assert outage.disk.standing().requests == 1
    assert len(outage.database.rows) == 80
    outage.loop.advance(60)
    assert outage.is_over()
    assert outage.side.counts["rejected"] == 2
    assert outage.disk.standing().rejected == 2


def test_a_request_that_breaks_a_connection_sends_no_other_to_the_spool(outage: Outage) -> None:
    outage.database.breaks_at = POISON
    outage.database.mood = Fault.NONE
    sample = (NOW_MS, 1.0)
    poisoned = outage.side.post(snappy(payload(series({"name": "m", "poison": "yes"}, sample))))
    outage.loop.advance(0.1)
    assert poisoned.result().status == 204
    assert outage.disk.standing().requests == 1
    other = outage.side.post(snappy(payload(series({"name": "m"}, sample))))
    outage.loop.advance(0.1)
    assert other.result().status == 204
    assert outage.disk.standing().requests == 1


def test_a_database_that_is_away_sets_nothing_aside(outage: Outage) -> None:
    """Connections break because the server is killed, whatever is asked of it."""
    outage.spool(3)
    outage.database.mood = Fault.CUT
    outage.loop.advance(900)
    assert outage.disk.standing().requests == 3
    outage.database.mood = Fault.NONE
    outage.loop.advance(60)
    assert outage.is_over()
    assert outage.side.counts["written"] == 6


def entry(payload: bytes) -> Entry:
    return Entry(0, NOW_MS, 1, 1, 1, 0, payload)


def test_what_is_decoded_at_once_is_bounded_by_what_it_becomes() -> None:
    """A MB of snappy may be 20 MB; each of them some hundred MB of objects."""
    dense = entry(snappy(bytes(20 * 1024 * 1024)))
    small = entry(snappy(b"x"))
    assert affordable([small] * 32) == [small] * 32
    assert affordable([small, dense, dense, small]) == [small, dense]
    assert affordable([entry(snappy(bytes(40 * 1024 * 1024))), small])[1:] == []
    assert affordable([entry(b"\xff" * 10), small]) == [entry(b"\xff" * 10), small]


def test_the_spool_reads_no_more_than_it_must(outage: Outage) -> None:
    outage.disk.append([entry(bytes(10 * 1024 * 1024)) for _ in range(4)])
    assert [len(each.payload) for each in outage.disk.first(32)] == [10 * 1024 * 1024] * 2
    assert len(outage.disk.first(1)) == 1


def test_while_the_database_takes_nobody_s_nothing_is_set_aside(outage: Outage) -> None:
    """A defect that all requests meet is no request's fault."""
    outage.spool(3)
    outage.database.breaks_at = ("__name__", "m")
    outage.database.mood = Fault.NONE
    outage.loop.advance(900)
    assert outage.disk.standing().requests == 3
    outage.database.breaks_at = None
    outage.loop.advance(60)
    assert outage.is_over()
    assert outage.side.counts["rejected"] == 0
