"""From a payload to an intake."""

import struct
from collections.abc import Generator

import pytest

from ingest.errors import BadRequest
from ingest.intake import steps
from ingest.intake.slow_path import MOST_REASONS
from ingest.model import STALE_MARKER_BITS, Counts, Exemplar, Intake, Items, Metadata
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.tails import read_tails
from tests.support.decoding import (
    NOW,
    TEN_MINUTES,
    YEAR_2000,
    Decoding,
    comparable,
    rows_of,
)
from tests.support.series_bytes import (
    bits,
    field,
    label,
    labels,
    sample,
    varint,
    write_request,
)

UP = labels(name="up", job="node")
DOWN = labels(name="down")
TOKENS = "locked_tokens"


def reasons(intake: Intake) -> list[str]:
    return [rejection.reason for rejection in intake.rejections]


def balance(intake: Intake) -> int:
    """Received samples that nothing became of: must be 0."""
    known = sum(len(rows) for rows in intake.known.values())
    new = sum(len(samples.value) + len(samples.histograms) for samples in intake.new)
    known += len(intake.items.get("histogram", ()))
    return intake.received - known - new - intake.rejected - intake.dropped


def test_a_series_is_new_until_its_id_is_remembered() -> None:
    daemon = Decoding.create()
    first = daemon.decode(UP + sample(NOW, bits(1.5)))
    assert [(new.timestamp_ms, new.value) for new in first.new] == [([NOW], [1.5])]
    series = first.new[0].series
    assert (series.name, series.target, series.schema) == ("up", "internal", "common")
    assert series.labels == (("__name__", "up"), ("job", "node"))
    assert daemon.decode(UP + sample(NOW, 0)).new, "only remember() makes it known"

    daemon.commit(first)
    for _ in range(3):
        again = daemon.decode(UP + sample(NOW + 1, bits(2.5)))
        assert again.new == []
        assert rows_of(again) == [(100, NOW + 1, bits(2.5), None)]


def test_an_empty_request_and_one_of_metadata_only() -> None:
    daemon = Decoding.create()
    empty = daemon.decoder.decode(Message.V1, b"", 1, NOW)
    assert (empty.received, empty.known, empty.new, empty.rejections) == (0, {}, [], [])
    said = b"\x08\x01" + field(2, b"Up") + field(4, b"Whether it is up.")
    only_metadata = daemon.decoder.decode(Message.V1, write_request([], [said]), 1, NOW)
    assert (only_metadata.received, only_metadata.rejections) == (0, [])
    metadata = Metadata("Up", "counter", "", "Whether it is up.", NOW)
    assert only_metadata.items == {"metadata": Items([1], [metadata])}
    daemon.cache.remember_item("metadata", 1, metadata)
    assert daemon.decoder.decode(Message.V1, write_request([], [said]), 1, NOW).is_empty


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", write_request([UP, b"\x0a\x05abc"])])
def test_what_is_no_protobuf_is_refused_whole(payload: bytes) -> None:
    with pytest.raises(BadRequest):
        Decoding.create().decoder.decode(Message.V1, payload, 1, NOW)


def test_a_known_series_is_routed_once() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    asked = daemon.router.asked
    for step in range(5):
        daemon.decode(UP + sample(NOW + step, 1), UP + sample(NOW, 0) + sample(NOW + 1, 1))
    assert daemon.router.asked == asked


def test_series_go_to_their_targets_in_the_order_of_the_request() -> None:
    daemon = Decoding.create()
    web, geo = labels(name="web_requests"), labels(name="manifest_geo_latitude")
    request = [web + sample(NOW, 1), UP + sample(NOW, 2), geo + sample(NOW, 3), DOWN]
    daemon.learn(*request)
    two = DOWN + sample(NOW, 4) + sample(NOW + 1, 5)
    daemon.learn(two)
    intake = daemon.decode(two, *request[:3], UP + sample(NOW, 6))
    ids = daemon.catalogue
    assert list(ids.values()) == [100, 101, 102, 103]
    assert rows_of(intake, "cumsum") == [(100, NOW, 1, None)]
    assert rows_of(intake, "geo") == [(102, NOW, 3, None)]
    assert rows_of(intake) == [
        (103, NOW, 4, None), (103, NOW + 1, 5, None), (101, NOW, 2, None), (101, NOW, 6, None)
    ]  # fmt: skip


def test_tenants_do_not_share_series() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1), tenant_id=1)
    other = daemon.decode(UP + sample(NOW, 1), tenant_id=2)
    assert [new.series.tenant_id for new in other.new] == [2]
    daemon.learn(UP + sample(NOW, 1), tenant_id=2)
    assert rows_of(daemon.decode(UP + sample(NOW, 1), tenant_id=2))[0][0] == 101
    assert rows_of(daemon.decode(UP + sample(NOW, 1), tenant_id=1))[0][0] == 100


def test_label_order_and_empty_labels_make_no_difference() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    turned = labels(job="node", empty="", name="up")
    for _ in range(2):
        assert rows_of(daemon.decode(turned + sample(NOW, 1))) == [(100, NOW, 1, None)]


def test_names_are_lowered_and_labels_are_not() -> None:
    daemon = Decoding.create()
    small, big = labels(name="locked_x"), labels(name="LOCKED_X")
    daemon.learn(small + sample(NOW, 1), big + sample(NOW, 1))
    intake = Decoding.create().decode(big + sample(NOW, 1))
    assert intake.new[0].series.name == "locked_x"
    assert dict(intake.new[0].series.labels)["__name__"] == "LOCKED_X"
    assert len(daemon.catalogue) == 2


def test_bad_series_among_good_ones() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    intake = daemon.decode(
        UP + sample(NOW, 1),
        labels(job="x") + sample(NOW, 1) + sample(NOW + 1, 1),
        UP + label("job", "again") + sample(NOW, 1),
        UP + label("zero", "a\0b") + sample(NOW, 1),
        UP + label(b"bad", b"\xff") + sample(NOW, 1),
        DOWN + sample(NOW, 1),
        b"",
    )
    assert len(rows_of(intake)) == 1
    assert [new.series.name for new in intake.new] == ["down"]
    assert reasons(intake) == [
        '{job="x"}: label __name__ is missing',
        'up{job="node", job="again"}: label "job" is there twice',
        'up{job="node", zero="a\\u0000b"}: label "zero"="a\\u0000b" contains U+0000, '
        "which PostgreSQL cannot store",
        'up{job="node", bad="\\xff"}: label "bad"="\\xff" is not valid UTF-8: byte 0xff',
        "{}: label __name__ is missing",
    ]
    assert [each.samples for each in intake.rejections] == [2, 1, 1, 1, 0]
    assert balance(intake) == 0


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize(
    ("timestamp_ms", "reason"),
    [
        (YEAR_2000 - 1, "1999-12-31T23:59:59.999Z is before 2000-01-01T00:00:00.000Z"),
        (0, "1970-01-01T00:00:00.000Z is before"),
        (-62_300_000_000_000, "timestamp -62300000000000 ms is before"),
        (-(2**63), "timestamp -9223372036854775808 ms is before"),
        (NOW + TEN_MINUTES + 1, "2025-10-09T09:03:20.001Z is after 2025-10-09T09:03:20.000Z"),
        (569_000_000_000_000, "timestamp 569000000000000 ms is after"),
        (2**63 - 1, "is too far in the future"),
    ],
)
def test_a_bad_time_stamp_rejects_only_its_sample(
    timestamp_ms: int, reason: str, is_known: bool
) -> None:
    daemon = Decoding.create()
    if is_known:
        daemon.learn(UP + sample(NOW, 1))
    intake = daemon.decode(
        UP + sample(timestamp_ms, 1), UP + sample(NOW, 1) + sample(timestamp_ms, 1)
    )
    assert len(reasons(intake)) == 2
    for text in reasons(intake):
        assert text.startswith('up{job="node"}: timestamp')
        assert reason in text
    assert (intake.received, intake.rejected, balance(intake)) == (3, 2, 0)
    assert len(intake.new) == (0 if is_known else 1)


@pytest.mark.parametrize("timestamp_ms", [YEAR_2000, NOW + TEN_MINUTES])
def test_the_edges_of_the_window_are_taken(timestamp_ms: int) -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    assert rows_of(daemon.decode(UP + sample(timestamp_ms, 1)))[0][1] == timestamp_ms


def test_samples_refused_for_one_reason_are_one_reason() -> None:
    intake = Decoding.create().decode(UP + b"".join(sample(at, 1) for at in (1, 2, 3, NOW)))
    assert [each.samples for each in intake.rejections] == [3]
    assert intake.new[0].timestamp_ms == [NOW]


def test_reasons_are_bounded_and_samples_are_counted() -> None:
    intake = Decoding.create().decode(*[label("job", "x") + sample(NOW, 1)] * 1000)
    assert len(intake.rejections) == MOST_REASONS + 1
    assert (intake.received, intake.rejected) == (1000, 1000)


def test_a_series_without_a_storable_sample_is_not_created() -> None:
    assert Decoding.create().decode(UP, UP + sample(0, 1)).new == []


def exemplar(timestamp_ms: int) -> bytes:
    """As a field of a TimeSeries."""
    content = field(1, field(1, b"trace_id") + field(2, b"abc"))
    return field(3, content + b"\x11" + struct.pack("<d", 1.5) + b"\x18" + varint(timestamp_ms))


def histogram(timestamp_ms: int, count: int = 0) -> bytes:
    """A native histogram without buckets, as a field of a TimeSeries."""
    return field(4, b"\x08" + varint(count) + b"\x78" + varint(timestamp_ms))


def test_exemplars_and_histograms_of_new_and_of_known_series() -> None:
    daemon = Decoding.create()
    series = UP + sample(NOW, 1) + exemplar(NOW) + histogram(NOW)
    intake = daemon.decode(series)
    [new] = intake.new
    assert new.exemplars == [Exemplar(NOW, 1.5, (("trace_id", "abc"),))]
    assert [each.timestamp_ms for each in new.histograms] == [NOW]
    assert intake.sent == Counts(samples=1, histograms=1, exemplars=1)
    daemon.commit(intake)
    known = daemon.decode(series)
    assert known.items["exemplar"] == Items([100], list(new.exemplars))
    assert known.items["histogram"] == Items([100], list(new.histograms))
    assert len(known.known["internal"]) == 1


def test_exemplars_and_histograms_that_cannot_be_stored() -> None:
    daemon = Decoding.create()
    intake = daemon.decode(UP + exemplar(0) + histogram(0) + histogram(NOW, count=7))
    assert intake.rejected == 2
    assert intake.written(intake.rejections) == Counts()
    assert reasons(intake) == [
        'up{job="node"}: native histogram: its buckets hold 0 observations, but its count is 7',
        'up{job="node"}: native histogram: timestamp 1970-01-01T00:00:00.000Z is before'
        " 2000-01-01T00:00:00.000Z, the oldest that target internal takes",
        'up{job="node"}: exemplar: the timestamp is missing',
    ]
    assert intake.is_empty


def test_dropped_series_are_counted_and_known_at_once() -> None:
    daemon = Decoding.create(route=[{"match": {"name": "up"}, "drop": True}])
    for _ in range(3):
        intake = daemon.decode(UP + sample(NOW, 1), UP + sample(NOW, 0) + sample(0, 0))
        assert (intake.received, intake.dropped, intake.new, intake.known) == (3, 3, [], {})
        assert intake.rejections == []
    assert daemon.router.asked == 1


def test_an_exact_value_leaves_the_identity() -> None:
    daemon = Decoding.create()
    texts = ["987654321098765432101", "-0.5", "+7"]
    for number, text in enumerate(texts):
        raw = labels(name=TOKENS, amount=text, denom="x") + sample(NOW + number, bits(9.8e20))
        intake = daemon.decode(raw)
        daemon.commit(intake)
        assert rows_of(daemon.decode(raw)) == [(100, NOW + number, bits(9.8e20), text)]
    assert len(daemon.catalogue) == 1
    assert intake.new == []


def test_a_new_series_carries_its_exact_value() -> None:
    samples = Decoding.create().decode(labels(name=TOKENS, amount="15") + sample(NOW, 1)).new[0]
    assert samples.exact == "15"
    assert samples.series.labels == (("__name__", TOKENS),)


def test_exact_values_keep_to_their_rows() -> None:
    daemon = Decoding.create()
    request = [
        labels(name=TOKENS, amount="1") + sample(NOW, 1) + sample(NOW + 1, 2),
        UP + sample(NOW, 3),
        labels(name="locked_fees", amount="2") + sample(NOW, 4),
        labels(name="web_requests") + sample(NOW, 5),
    ]
    daemon.learn(*request)
    assert rows_of(daemon.decode(*request)) == [
        (100, NOW, 1, "1"), (100, NOW + 1, 2, "1"), (101, NOW, 3, None), (102, NOW, 4, "2")
    ]  # fmt: skip


def test_stale_markers_of_exact_series_are_dropped() -> None:
    daemon = Decoding.create()
    old, new = labels(name=TOKENS, amount="1"), labels(name=TOKENS, amount="2")
    intake = daemon.decode(old + sample(NOW, STALE_MARKER_BITS), new + sample(NOW, bits(2.0)))
    assert [(each.value, each.exact) for each in intake.new] == [([2.0], "2")]
    assert (intake.dropped, intake.received) == (1, 2)
    plain_nan = daemon.decode(old + sample(NOW, 0x7FF8000000000001))
    assert (plain_nan.dropped, len(plain_nan.new)) == (0, 1)


def test_stale_markers_of_other_series_are_kept() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    intake = daemon.decode(UP + sample(NOW, STALE_MARKER_BITS))
    assert rows_of(intake) == [(100, NOW, STALE_MARKER_BITS, None)]
    assert intake.dropped == 0


def test_a_value_label_that_is_no_decimal_stays_a_label() -> None:
    daemon = Decoding.create()
    raw = labels(name=TOKENS, amount="1e5") + sample(NOW, STALE_MARKER_BITS)
    daemon.commit(daemon.decode(raw))
    for _ in range(3):
        intake = daemon.decode(raw)
        assert intake.undecimal_value_labels == 1
        assert rows_of(intake) == [(100, NOW, STALE_MARKER_BITS, None)]


def test_other_metrics_keep_such_labels() -> None:
    daemon = Decoding.create()
    for text in ("1", "2"):
        daemon.learn(labels(name="orders", amount=text, supply="3") + sample(NOW, 1))
    assert len(daemon.catalogue) == 2


def test_the_cache_may_forget_and_nothing_goes_wrong() -> None:
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    daemon.cache.clear()
    assert len(daemon.decode(UP + sample(NOW, 1)).new) == 1
    daemon.learn(UP + sample(NOW, 1))
    assert rows_of(daemon.decode(UP + sample(NOW, 1)))[0][0] == 100


def test_samples_that_look_like_one_tail_are_two() -> None:
    """Two zeros fill the 18 bytes of one value: the fast path must not take them for it."""
    daemon = Decoding.create()
    daemon.learn(UP + sample(NOW, 1))
    intake = daemon.decode(UP + sample(NOW, 0) + sample(NOW + 1, 0))
    assert rows_of(intake) == [(100, NOW, 0, None), (100, NOW + 1, 0, None)]


def test_a_label_that_looks_like_a_tail_is_a_label() -> None:
    daemon = Decoding.create()
    short_tail = "\x12\x07\x10é€A"
    long_tail = "\x12\x10\x09" + "12345678" + "\x10é€A"
    for text in (short_tail, long_tail):
        odd = labels(name="up", odd=text)
        assert read_tails([odd]).length[0]
        assert daemon.decode(odd).received == 0
        daemon.learn(odd + sample(NOW, 7))
        assert rows_of(daemon.decode(odd + sample(NOW, 7)))[0][1:] == (NOW, 7, None)


def test_many_new_series_are_read_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PAUSE_AFTER_SECONDS", 0)
    series = [labels(name="up", job=str(number)) + sample(NOW, 1) for number in range(1600)]
    daemon, other = Decoding.create(), Decoding.create()

    def decode() -> Generator[int | None, None, None]:
        intake = yield from daemon.decoder.steps(Message.V1, write_request(series), 1, NOW)
        assert comparable(intake) == comparable(other.decode(*series))

    assert len(list(decode())) == len(series) / 2
