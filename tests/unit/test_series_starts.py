"""Start timestamps of samples: kept once, and no hindrance to the fast path."""

from __future__ import annotations

from ingest.model import Intake, Start
from ingest.wire.pb import remote_write_v2_pb2 as pb
from ingest.wire.remote_write.negotiate import Message
from tests.support.decoding import NOW, Decoding
from tests.support.messages import Symbols, request

PAIRS = [("__name__", "requests_total"), ("job", "web")]


def decode(daemon: Decoding, *start_ms: int, created_ms: int = 0) -> Intake:
    """One series with a sample for each start timestamp."""
    symbols = Symbols()
    samples = [pb.Sample(value=1, timestamp=NOW, start_timestamp=start) for start in start_ms]
    message = pb.SeriesFields(
        labels_refs=symbols.refs(PAIRS), samples=samples, created_timestamp=created_ms
    )
    series = pb.TimeSeries.FromString(message.SerializeToString())
    return daemon.decoder.decode(Message.V2, request(symbols, [series]), 1, NOW)


def starts(intake: Intake) -> list[int]:
    new = [start for samples in intake.new for start in samples.starts]
    known = intake.items["start"].item if "start" in intake.items else []
    return [item.start_ms for item in [*new, *known] if isinstance(item, Start)]


def test_a_start_is_kept_once_and_a_reset_again() -> None:
    daemon = Decoding.create()
    seen = []
    for start in (NOW - 9, NOW - 9, NOW - 9, NOW - 5, NOW - 5, 0, NOW - 9):
        intake = decode(daemon, start)
        seen.append(starts(intake))
        daemon.commit(intake)
    assert seen == [[NOW - 9], [], [], [NOW - 5], [], [], []]


def test_nothing_is_known_before_it_is_stored() -> None:
    daemon = Decoding.create()
    daemon.commit(decode(daemon, 0))
    for _ in range(3):
        assert starts(decode(daemon, NOW - 9)) == [NOW - 9]


def test_several_samples_with_starts_of_their_own() -> None:
    daemon = Decoding.create()
    daemon.commit(decode(daemon, 0))
    daemon.commit(decode(daemon, 0))
    assert starts(decode(daemon, NOW - 9, NOW - 9, NOW - 5, 0)) == [NOW - 9, NOW - 5]


def test_the_created_time_stamp_of_an_older_draft_stands_in() -> None:
    daemon = Decoding.create()
    assert starts(decode(daemon, 0, created_ms=NOW - 7)) == [NOW - 7]
    assert starts(decode(daemon, NOW - 9, created_ms=NOW - 7)) == [NOW - 9]


def test_what_is_no_time_is_left_out() -> None:
    daemon = Decoding.create()
    assert starts(decode(daemon, -(2**62), 2**62)) == []
