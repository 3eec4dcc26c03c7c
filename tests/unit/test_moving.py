"""What an import counts, and what becomes of a tag set."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ingest.config import Settings
from ingest.model import DEFAULT_TENANT_ID
from ingest.moving.target import Report, reason_of
from ingest.moving.telegraf import TagMapping
from ingest.moving.telegraf_tables import TagSet
from ingest.routing import Router


def test_counts_come_back_from_where_they_are_noted() -> None:
    report = Report(9, 5, 2, Counter({"too old": 2}))
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ('up{a=": x"}: timestamp 2020-01-01T00:00:00.000Z is before 2025', "before 2025"),
        ("h{}: native histogram: timestamp 2020-01-01T00:00:00.000Z is before 2025", "before 2025"),
        ("up: label __name__ is missing", "up: label __name__ is missing"),
    ],
)
def test_reasons_that_differ_by_series_and_time_are_one(said: str, counted: str) -> None:
    assert reason_of(said) == counted


def mapping(*hosts: str) -> TagMapping:
    target = SimpleNamespace(router=Router(Settings(_env_file=None), ["manifest"]))
    return TagMapping(cast(Any, target), DEFAULT_TENANT_ID, hosts)


@pytest.mark.parametrize(
    ("hosts", "host", "labels"),
    [
        (["telegraf"], "telegraf", {}),
        (["telegraf"], "box", {"host": "box"}),
        (["telegraf", "box"], "box", {}),
        (["*"], "box", {}),
    ],
)
def test_telegrafs_own_host_is_no_label(
    hosts: list[str], host: str, labels: dict[str, str]
) -> None:
    tags = {"host": host, "instance": "a", "city": None, "tli_name": "up", "country_name": ""}
    found = mapping(*hosts).of("internal", TagSet(1, "common", "up", tags))
    assert found.series is not None
    assert dict(found.series.labels) == {"__name__": "up", "instance": "a", **labels}


@pytest.mark.parametrize(
    ("name", "tags", "exact", "kept"),
    [
        ("locked_tokens", {"amount": "12"}, "12", []),
        ("locked_tokens", {"amount": "twelve"}, None, ["amount"]),
        ("bridged", {"amount": "12"}, "12", ["amount"]),
        ("bridged", {"amount": "12", "supply": "7"}, "7", ["amount", "supply"]),
        ("manifest_tokenomics_total_supply", {"supply": "7.5"}, "7.5", []),
        ("up", {"instance": "a"}, None, ["instance"]),
    ],
)
def test_an_exact_value_is_the_first_of_the_old_columns(
    name: str, tags: dict[str, str], exact: str | None, kept: list[str]
) -> None:
    found = mapping().of("internal", TagSet(1, "mainnet", name, tags))
    assert found.series is not None
    assert (found.exact, [label for label, _ in found.series.labels[1:]]) == (exact, kept)


@pytest.mark.parametrize(
    ("table", "schema", "target"),
    [("internal", "geo", "geo"), ("internal", "mine", "internal"), ("cumsum", "geo", "cumsum")],
)
def test_table_and_schema_say_the_target(table: str, schema: str, target: str) -> None:
    found = mapping().of(table, TagSet(1, schema, "up", {}))
    assert found.series is not None
    assert (found.series.target, found.series.schema) == (target, schema)
