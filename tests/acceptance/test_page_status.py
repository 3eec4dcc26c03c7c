"""`GET /ui/status`: who is told what, and what cannot be asked says so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.databases import Database, blocking
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.messages import as_v1, sent_series
from tests.support.processes import free_port
from tests.support.read_side import ReadSide, read_side
from tests.support.readapi import token
from tests.support.remote_write import HEADERS, WriteSide, send, snappy, write_side

NOW_MS = time.time_ns() // 1_000_000
FOUND = {"ok", "warning", "problem"}


def told(side: ReadSide, who: Mapping[str, str]) -> dict[str, Any]:
    answer = send(f"{side.url}/ui/status", None, who, "GET")
    assert answer.status == 200, answer
    document: dict[str, Any] = json.loads(answer.text)
    return document


def level(document: dict[str, Any], check: str) -> tuple[str, str]:
    (found,) = [each for each in document["checks"] if each["check"] == check]
    return found["level"], found["what"]


@pytest.fixture(scope="module")
def writing(shared_db: Database) -> Iterator[WriteSide]:
    with write_side(shared_db) as side:
        yield side


@pytest.fixture(scope="module")
def reading(shared_db: Database, writing: WriteSide) -> Iterator[ReadSide]:
    """Every question is slow to it."""
    settings = {"PROMGRES_API__SLOW_SECONDS": "0.000001"}
    url = f"http://{writing.address}"
    with read_side(shared_db, PROMGRES_API__WRITE_URL=url, **settings) as side:
        yield side


def test_who_may_read_is_told_of_the_own_tenant_alone(
    shared_db: Database, writing: WriteSide, reading: ReadSide
) -> None:
    blocking(create_tenant(shared_db, "acme"))
    ours = bearer(blocking(create_key(shared_db, "acme", "read", "write")))
    body = snappy(as_v1([sent_series((NOW_MS, 1.0), name="acmes")]))
    assert send(writing.url, body, {**HEADERS, **ours}).status == 204
    assert send(writing.url, body).status == 204
    document = told(reading, ours)
    limits = {each["what"]: each["used"] for each in document.pop("limits")}
    assert limits["samples received"] == limits["samples written"] == 1
    assert document == {
        "tenant": "acme",
        "admin": False,
        "ready": True,
        "why": None,
        "write_side": "ready",
    }
    blind = bearer(blocking(create_key(shared_db, "acme", "write")))
    assert send(f"{reading.url}/ui/status", None, blind, "GET").status == 403
    assert told(reading, {})["tenant"] == "default"
    assert "checks" not in told(reading, {})


def test_an_operator_is_told_what_the_doctor_would_say(
    shared_db: Database, reading: ReadSide
) -> None:
    operator = bearer(blocking(create_key(shared_db, "default", "admin")))
    document = told(reading, operator)
    assert document["admin"]
    names = [each["check"] for each in document["checks"]]
    assert {"database", "connections", "rollups", "staging", "write side", "spool"} <= set(names)
    assert {each["level"] for each in document["checks"]} <= FOUND
    assert f"engine {shared_db.engine}" in level(document, "database")[1]
    assert level(document, "spool") == ("ok", "empty")


def test_slow_questions_are_those_of_the_own_tenant(shared_db: Database, reading: ReadSide) -> None:
    blocking(create_tenant(shared_db, "slowly"))
    ours = bearer(blocking(create_key(shared_db, "slowly", "admin")))
    assert send(f"{reading.url}/rpc/get_metric_metadata", None, {}, "GET").status == 200
    assert told(reading, ours)["slow"] == []
    assert send(f"{reading.url}/rpc/list_metrics", None, ours, "GET").status == 200
    query = f"{reading.url}/api/v1/query?query=count(nobodys_metric)"
    assert send(query, None, ours, "GET").status == 200
    slow = told(reading, ours)["slow"]
    assert [each["question"] for each in slow] == ["count(nobodys_metric)", "list_metrics"]
    assert all(each["seconds"] >= 0 and each["when"].endswith("+00:00") for each in slow)


def test_what_cannot_be_asked_says_so(shared_postgres_db: Database) -> None:
    writer = bearer(token(role="writer"))
    with read_side(shared_postgres_db) as side:
        assert level(told(side, writer), "write side") == (
            "unknown",
            "cannot be asked: No write side is known (api.write_url)",
        )
    with write_side(shared_postgres_db) as writing:
        url = f"http://{writing.address}"
        with read_side(shared_postgres_db, PROMGRES_API__WRITE_URL=url) as side:
            document = told(side, writer)
            assert level(document, "write side") == ("ok", "ready")
            assert level(document, "spool") == (
                "unknown",
                "does not tell: it takes API keys, no tokens",
            )
    with read_side(
        shared_postgres_db, PROMGRES_API__WRITE_URL=f"http://127.0.0.1:{free_port()}"
    ) as side:
        away = ("unknown", "cannot be asked: The write side does not answer")
        assert level(told(side, writer), "write side") == away
