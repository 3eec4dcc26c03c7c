"""What a GET of measures and events may ask for: every parameter, and every way to get it wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import pytest

from ingest.errors import BadRequest
from ingest.model import RecordKind
from ingest.records.answers import Page, page_headers
from ingest.records.cursor import Position
from ingest.records.paths import RECORD_PATHS
from ingest.records.query import parse_query
from ingest.records.statement import refused_by_database, statement_of

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LAST = Position(NOON + timedelta(microseconds=7), UUID(int=2**127 + 5))


def reason(kind: RecordKind, query: str) -> str:
    with pytest.raises(BadRequest) as refused:
        parse_query(kind, query)
    return str(refused.value)


def measures(**parameters: object) -> str:
    return reason("measure", urlencode(parameters))


class TestPaths:
    def test_both_names_with_and_without_suffix(self) -> None:
        assert {
            f"/api/v1/{kind}{suffix}": kind
            for kind in ("measure", "event")
            for suffix in ("", ".json")
        } == RECORD_PATHS


class TestDefaults:
    def test_the_newest_hundred_in_the_older_shape(self) -> None:
        query = parse_query("event", "")
        assert (query.limit, query.shape) == (100, "older")
        assert statement_of(query, 1000).parameters == (
            "event", "older", None, None, None, None, 100, None, None,
        )  # fmt: skip

    def test_everything_at_once(self) -> None:
        query = parse_query(
            "measure",
            "name=a%20b&from=2026-01-31T12:00:00Z&to=1769864401&attributes=%7B%22a%22:1e400%7D"
            "&limit=10000&shape=flat",
        )
        assert statement_of(query, 1000).parameters == (
            "measure", "flat", "a b", NOON, NOON + timedelta(minutes=60, seconds=1),
            '{"a":1e400}', 10000, None, None,
        )  # fmt: skip


class TestTimes:
    @pytest.mark.parametrize(
        "text",
        [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00.000z",
            "2026-01-31 12:00:00Z",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T14:00:00 02:00",  # a + that was not escaped
            "2026-01-31T06:30:00-05:30",
            "1769860800",
            "1769860800.000",
            "1769860800000",
        ],
    )
    def test_forms_of_one_time(self, text: str) -> None:
        assert parse_query("event", urlencode({"from": text})).since == NOON
        assert parse_query("event", urlencode({"to": text})).before == NOON

    @pytest.mark.parametrize(
        ("text", "microseconds"),
        [
            ("2026-01-31T12:00:00.000001Z", 1),
            ("2026-01-31T12:00:00.0000011Z", 2),  # nothing is stored between: both edges hold
            ("2026-01-31T12:00:00.999999999Z", 1_000_000),
            ("1769860800.000001", 1),
            ("1769860800.0000011", 2),
            ("1769860800000.0011", 2),
        ],
    )
    def test_finer_than_stored_is_rounded_up(self, text: str, microseconds: int) -> None:
        since = parse_query("event", urlencode({"from": text})).since
        assert since == NOON + timedelta(microseconds=microseconds)

    def test_a_date_is_its_midnight_in_utc(self) -> None:
        assert parse_query("event", "from=2026-01-31").since == datetime(2026, 1, 31, tzinfo=UTC)

    def test_before_1970(self) -> None:
        assert parse_query("event", "from=-1.5").since == datetime(
            1969, 12, 31, 23, 59, 58, 500_000, UTC
        )

    def test_the_largest_number_of_seconds_and_the_least_of_milliseconds(self) -> None:
        assert parse_query("event", "from=99999999999").since == datetime(
            5138, 11, 16, 9, 46, 39, tzinfo=UTC
        )
        assert parse_query("event", "from=100000000000").since == datetime(
            1973, 3, 3, 9, 46, 40, tzinfo=UTC
        )

    @pytest.mark.parametrize(
        "text",
        [
            "", "now", "yesterday", "infinity", "NaN", "1e9", "0x10", "2026-02-30",
            "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00+25:00", "2026-01-31T12:00Z", "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00", "999999999999999", "-999999999999999",
            "２０２６-01-31T12:00:00Z", "2026-01-31T12:00:00Z\n", "17698608000000000000000",
        ],
    )  # fmt: skip
    def test_what_is_no_time(self, text: str) -> None:
        assert measures(**{"from": text}).startswith("from is not a time")
        assert measures(to=text).startswith("to is not a time")

    def test_half_open_and_forwards(self) -> None:
        assert parse_query("event", "from=5&to=5").since is not None, "empty, not wrong"
        assert measures(**{"from": 6, "to": 5}) == "from is after to"


class TestStrictness:
    @pytest.mark.parametrize("query", ["nmae=x", "Name=x", "offset=1", "apikey=secret", "x"])
    def test_unknown(self, query: str) -> None:
        assert "is not a parameter of measures: name, from, to" in reason("measure", query)

    def test_a_long_name_is_not_repeated_in_full(self) -> None:
        assert len(reason("event", "x" * 5000 + "=1")) < 200

    def test_events_have_nothing_to_aggregate(self) -> None:
        assert reason("event", "bucket=1h").startswith('"bucket" is not a parameter of events')

    @pytest.mark.parametrize("query", ["name=a&name=b", "limit=1&limit=1", "name=&name="])
    def test_given_twice(self, query: str) -> None:
        assert reason("measure", query).endswith("is given twice")

    @pytest.mark.parametrize("query", ["name=%ff", "name=\udcff", "&".join(["a=1"] * 51)])
    def test_what_cannot_be_read(self, query: str) -> None:
        assert "the query string" in reason("measure", query)

    @pytest.mark.parametrize("name", ["", "a\0b"])
    def test_names_that_nothing_has(self, name: str) -> None:
        assert measures(name=name).startswith("name is empty or holds U+0000")

    @pytest.mark.parametrize(
        "limit", ["", "0", "10001", "-1", "+5", "1.0", "1e3", " 1", "1_0", "ten", "٣", "000001"]
    )
    def test_limits(self, limit: str) -> None:
        assert measures(limit=limit) == "limit is not a whole number from 1 to 10000"

    @pytest.mark.parametrize("shape", ["", "Flat", "older,flat"])
    def test_shapes(self, shape: str) -> None:
        assert measures(shape=shape) == "shape is neither older nor flat"

    @pytest.mark.parametrize(
        "text",
        ["", "{", "{'a': 1}", '{"a": NaN}', "Infinity", '{"a":1}x', '"\x01"', "[" * 20_000, "a=b"],
    )
    def test_attributes_that_are_no_json(self, text: str) -> None:
        assert measures(attributes=text).startswith("attributes is not valid JSON")

    @pytest.mark.parametrize("text", ["{}", '{"a":{"b":[1]}}', "[1]", '"text"', "null", "1" * 400])
    def test_attributes_of_any_kind(self, text: str) -> None:
        """The older API stored any JSON, so any may be asked for; as it was written."""
        assert parse_query("event", urlencode({"attributes": text})).attributes == text


class TestBuckets:
    @pytest.mark.parametrize(
        ("text", "interval"),
        [
            ("5m", "5 minutes"),
            ("1h", "1 hours"),
            ("1d", "1 days"),
            ("2w", "2 weeks"),
            ("1h30m", "1 hours 30 minutes"),
            ("500ms", "500 milliseconds"),
            ("0h5m", "0 hours 5 minutes"),
            ("1 month", "1 month"),
            ("1y", "1y"),
            ("PT5M", "PT5M"),
            ("01:30:00", "01:30:00"),
        ],
    )
    def test_what_postgresql_hears(self, text: str, interval: str) -> None:
        query = parse_query("measure", urlencode({"bucket": text, "name": "n"}))
        assert statement_of(query, 1000).parameters == ("n", None, None, None, interval, 10_000)

    @pytest.mark.parametrize(
        "text", ["", "0s", "0h0m", "hour", "5m;", "1\0h", "m5'", "1" * 65, "٣h", "½h"]
    )
    def test_what_is_none(self, text: str) -> None:
        assert measures(bucket=text).startswith("bucket is not a positive interval")

    @pytest.mark.parametrize("other", [{"cursor": "x"}, {"shape": "flat"}])
    def test_what_does_not_go_with_it(self, other: dict[str, str]) -> None:
        assert "does not go with bucket" in measures(bucket="1h", **other)

    def test_all_come_at_once_unless_a_limit_says_otherwise(self) -> None:
        assert parse_query("measure", "bucket=1h").limit == 10_000
        assert parse_query("measure", "bucket=1h&limit=5").limit == 5
        assert parse_query("measure", "").limit == 100

    def test_what_only_postgresql_can_tell(self) -> None:
        bucket = parse_query("measure", "bucket=fortnight+1&attributes=1")
        assert str(refused_by_database(bucket, "22007")).startswith("bucket is no")
        assert str(refused_by_database(bucket, "22P05")).startswith("attributes is no")
        assert refused_by_database(bucket, "57014") is None
        assert refused_by_database(parse_query("measure", ""), "22007") is None


class TestPages:
    def next_page(self, query: str, kind: RecordKind = "measure") -> dict[str, str]:
        return page_headers(parse_query(kind, query), Page(b"[]", LAST))

    def test_the_last_page_has_no_next(self) -> None:
        headers = page_headers(parse_query("event", ""), Page(b"[]", None))
        assert headers == {"Content-Type": "application/json; charset=utf-8"}

    def test_the_link_keeps_everything_else(self) -> None:
        given = [("name", "a&b=ü"), ("limit", "2"), ("attributes", '{"k": "+"}'), ("from", "5")]
        headers = self.next_page(urlencode(given))
        link = headers["Link"]
        assert link.startswith("<?")
        assert link.endswith('>; rel="next"')
        query = link[2:].partition(">")[0]
        assert parse_qsl(query) == [*given, ("cursor", headers["X-Next-Cursor"])]
        assert parse_query("measure", query).after == LAST
        assert statement_of(parse_query("measure", query), 1000).parameters[-2:] == LAST

    def test_the_next_page_links_to_the_one_after_it(self) -> None:
        first = self.next_page("limit=2")["X-Next-Cursor"]
        link = self.next_page(f"limit=2&cursor={first}")["Link"]
        assert link.count("cursor=") == 1

    def test_page_size_and_shape_may_change(self) -> None:
        cursor = self.next_page("name=a&limit=2")["X-Next-Cursor"]
        query = parse_query("measure", f"cursor={cursor}&shape=flat&name=a&limit=3")
        assert query.after == LAST

    @pytest.mark.parametrize(
        ("kind", "query"),
        [
            ("measure", ""),
            ("measure", "name=b"),
            ("measure", "name=a&from=1"),
            ("measure", "name=a&to=1"),
            ("measure", "name=a&attributes=1"),
            ("event", "name=a"),
        ],
    )
    def test_a_cursor_continues_no_other_list(self, kind: RecordKind, query: str) -> None:
        cursor = self.next_page("name=a")["X-Next-Cursor"]
        assert reason(kind, f"{query}&cursor={cursor}").startswith("cursor is none of this list")

    def test_tampered(self) -> None:
        cursor = self.next_page("")["X-Next-Cursor"]
        for place in range(len(cursor)):
            other = "A" if cursor[place] != "A" else "B"
            tampered = cursor[:place] + other + cursor[place + 1 :]
            assert "cursor is none" in measures(cursor=tampered)

    @pytest.mark.parametrize(
        "text",
        ["", "A", "AAAA", "=", "A" * 44, "A" * 65, "ä", "{}", "/" * 44, "\0", "A" * 43 + "="],
    )
    def test_what_is_no_cursor(self, text: str) -> None:
        assert "cursor is none" in measures(cursor=text)

    def test_padding_is_another_spelling(self) -> None:
        cursor = self.next_page("")["X-Next-Cursor"]
        assert "cursor is none" in measures(cursor=cursor + "=")
