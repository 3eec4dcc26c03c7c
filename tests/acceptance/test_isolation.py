"""Nothing of one tenant is seen or changed with the keys of another: every endpoint of both ports,
every function, every place for a key, and requests that hypothesis thinks of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.acceptance.isolation import NOW_MS, PLACES, Ask, World, fill, running_world
from tests.acceptance.isolation_asks import (
    ALL,
    FUNCTIONS,
    STEADY,
    WRITING,
    endpoints_of_code,
    endpoints_of_page,
)
from tests.acceptance.isolation_forgeries import (
    Forgery,
    forged_headers,
    forgeries,
    raw_requests,
    replaced,
    say,
)
from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect
from tests.support.keys import bearer
from tests.support.processes import wait_until
from tests.support.readapi import token

Readings = dict[str, tuple[object, ...]]

ALIKE = {"histogram_quantile", "list_labels"}
"""Whose answer is the same: of one bucket of a histogram, and of labels that all tenants have."""
EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "120"))


@dataclass(frozen=True)
class Filled:
    """The world once everybody has sent everything.

    Attributes:
        alone: what our tenant was answered before the others sent anything.
        theirs: what they are answered.
        lines: how many lines each program had said by then.
    """

    world: World
    alone: Readings
    theirs: Readings
    lines: Mapping[str, int]


@pytest.fixture(scope="module")
def filled(shared_db: Database) -> Iterator[Filled]:
    with running_world(shared_db) as world:
        fill(world, world.ours)
        alone = world.readings(world.ours, STEADY)
        for other in (world.theirs, world.default):
            fill(world, other)
        lines = {name: len(program.lines) for name, program in world.programs.items()}
        yield Filled(world, alone, readings_of_others(world), lines)


def readings_of_others(world: World) -> Readings:
    """What the others are answered."""
    theirs = world.readings(world.theirs, STEADY)
    some = world.readings(world.default, STEADY[::5])
    return theirs | {f"default: {ask}": said for ask, said in some.items()}


def differences(before: Readings, now: Readings) -> dict[str, object]:
    """What is answered otherwise than before."""
    return {ask: (said, now[ask]) for ask, said in before.items() if now[ask] != said}


def test_every_endpoint_has_a_case(filled: Filled) -> None:
    cases = {(ask.port, ask.path) for ask in ALL}
    writing = {("read", f"/rpc/{name}") for name in WRITING}
    endpoints = endpoints_of_code() | endpoints_of_page(filled.world)
    assert endpoints <= cases | writing, endpoints - cases - writing


def test_everybody_sees_everything_of_his_own(filled: Filled) -> None:
    """Or the other tests would be content with nothing at all."""
    world = filled.world
    for name, shapes in FUNCTIONS.items():
        ask = Ask("read", f"/rpc/{name}", shapes[0])
        answers = []
        for tenant in (world.ours, world.theirs, world.default):
            answers.append(world.ask(ask, tenant.credentials("bearer")).text)
        assert not {"[]", "null"} & set(answers), ask
        assert len(set(answers)) == (1 if name in ALIKE else 3), (name, answers)


def test_what_others_send_changes_nothing(filled: Filled) -> None:
    now = filled.world.readings(filled.world.ours, STEADY)
    assert differences(filled.alone, now) == {}


class TestMatrix:
    def test_every_place_for_a_key(self, filled: Filled) -> None:
        """On one engine each; that the place makes no difference is seen on the other."""
        world, ours = filled.world, filled.world.ours
        everywhere = [*(ours.credentials(place) for place in PLACES), ours.jwt()]
        turns = cycle(everywhere)
        for ask in ALL:
            is_postgres = world.database.engine == "postgres"
            for who in everywhere if is_postgres else [next(turns)]:
                answer = world.ask(ask, who)
                assert world.leaks(answer) == [], ask
                assert answer.status < 500, (ask, answer)

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST"])
    def test_every_method(self, filled: Filled, method: str) -> None:
        world = filled.world
        paths = {(ask.port, ask.path): ask for ask in ALL}
        for ask in paths.values():
            for scope in ("both", "admin"):
                answer = world.ask(ask, world.ours.credentials("bearer", scope), method)
                assert world.leaks(answer) == [], (method, ask)
                assert answer.status < 500, (method, ask, answer)

    def test_headers_that_lie(self, filled: Filled) -> None:
        """They change nothing, not even where they are refused."""
        world, ours = filled.world, filled.world.ours
        asks = [ask for ask in STEADY if "Accept" not in ask.headers][::3]
        for lies, ask in zip(cycle(forged_headers(world.theirs)), asks, strict=False):
            answer = world.ask(replace(ask, headers={**ask.headers, **lies}), _key(filled))
            assert world.leaks(answer) == [], (lies, ask)
            is_alike = (answer.status, answer.text) == filled.alone[str(ask)][:2]
            refused = {401, 406, 400 if "handling=strict" in str(lies) else 401,
                       304 if "If-None-Match" in lies else 401}  # fmt: skip
            assert is_alike or answer.status in refused, (lies, ask, answer)
            assert world.leaks(world.ask(ask, ours.jwt() | lies)) == [], (lies, ask)

    def test_tokens_that_lie(self, filled: Filled) -> None:
        world, theirs = filled.world, filled.world.theirs
        lies: list[dict[str, Any]] = [
            {"tenant": theirs.tenant_id},
            {"tenant": [theirs.name]},
            {"tenant": theirs.name.upper()},
            {"tenant": f"{theirs.name} "},
            {"promgres.tenant_id": theirs.tenant_id, "tenant": world.ours.name},
        ]
        for claims in lies:
            for ask in (Ask("read", "/rpc/get_measures"), Ask("read", "/api/v1/event")):
                answer = world.ask(ask, bearer(token(**claims)))
                assert world.leaks(replaced(answer, str(claims["tenant"]))) == [], claims
        forged = token(secret="no secret of ours, but as long as one", tenant=theirs.name)
        for ask in ALL:
            answer = world.ask(ask, bearer(forged))
            assert world.leaks(answer) == [], ask

    @pytest.mark.parametrize("port", ["read", "write"])
    def test_headers_that_come_twice(self, filled: Filled, port: str) -> None:
        """All of them count, on whichever port and behind it: an empty one hides no other."""
        ours, theirs = filled.world.ours.keys["both"], filled.world.theirs.keys["both"]
        url = filled.world.urls[port]
        key, other = f"Authorization: Bearer {ours}", f"Authorization: Bearer {theirs}"
        event = {"name": "login", "time": NOW_MS // 1000, "idempotency_key": "k1"}
        for lines, status in (
            (["Authorization:", key], 201),
            ([key, "Authorization:"], 201),
            ([key, key, f"X-API-Key: {ours}"], 201),
            ([key, other], 401),
            ([f"X-API-Key: {ours}", f"X-API-Key: {theirs}"], 401),
            (["X-API-Key:", f"X-API-Key: {ours}"], 401),
            (["Authorization:", "Authorization: Bearer junk"], 401),
        ):
            pushed = say(url, ["POST /api/v1/event HTTP/1.1", *lines], json.dumps(event))
            scraped = say(url, ["GET /metrics HTTP/1.1", *lines])
            assert pushed.startswith(f"HTTP/1.1 {status} "), (lines, pushed)
            assert scraped.startswith(f"HTTP/1.1 {200 if status == 201 else 401} "), lines
            assert filled.world.named_in(pushed + scraped) == []

    def test_cursors_of_others(self, filled: Filled) -> None:
        """A cursor is a place in one's own list."""
        world, ours, theirs = filled.world, filled.world.ours, filled.world.theirs
        for port in ("read", "write"):
            for kind in ("measure", "event"):
                first = Ask(port, f"/api/v1/{kind}", {"limit": "1"})
                cursor = world.ask(first, theirs.credentials("bearer")).headers["X-Next-Cursor"]
                ask = Ask(port, first.path, {"limit": "100", "cursor": cursor})
                answer = world.ask(ask, ours.credentials("bearer"))
                assert answer.status == 200
                assert ours.mark in answer.text
                assert world.leaks(answer) == []


@given(forgery=forgeries())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_requests_that_nobody_thought_of(filled: Filled, forgery: Forgery) -> None:
    """Reads and writes; what they did to others is looked at in the next test."""
    world = filled.world
    answer = forgery.send(world)
    if leaks := world.leaks(answer):
        assert_only_repeated(leaks, answer, forgery, world)
    assert answer.status != 500, answer


def assert_only_repeated(leaks: list[str], answer: Answer, forgery: Forgery, world: World) -> None:
    """A refusal may quote the name that the request said, as it quotes one that nobody has."""
    name, nobodys = world.theirs.name, "nobody-ltd"
    assert leaks == [name]
    assert answer.status == 400
    assert answer.text.replace(name, nobodys) == forgery.send(world, nobodys).text


def test_what_we_write_changes_nothing_of_others(filled: Filled) -> None:
    """Equal series, equal idempotency keys, equal addresses, all of it again, and what is bad."""
    world, ours, theirs = filled.world, filled.world.ours, filled.world.theirs
    fill(world, ours)
    admin = ours.credentials("bearer", "admin")
    for address in (f"address of {theirs.mark}", "shared address"):
        body = {"p_value": address}
        for function in ("rm_excluded_address", "add_excluded_address"):
            assert world.post("read", f"/rpc/{function}", body, admin).status == 204
        again = world.post("read", "/rpc/add_excluded_address", body, admin)
        assert again.status == 409
        assert f"({ours.tenant_id}, {address})" in again.text
        assert world.post("read", "/rpc/rm_excluded_address", body, admin).status == 204
    assert differences(filled.theirs, readings_of_others(world)) == {}


def test_logs_and_the_record_name_nobody_else_and_no_key(filled: Filled) -> None:
    """After all that the tests above have sent, what is hardly HTTP, and a key that may not."""
    world = filled.world
    answer = world.post(
        "write", "/api/v1/event", {"name": "e"}, world.ours.credentials("bearer", "read")
    )
    assert answer.status == 403
    everybody = (world.ours, world.theirs, world.default)
    secrets = [key.split("_", 2)[2] for one in everybody for key in one.keys.values()]
    for port in ("read", "write"):
        for said in raw_requests(world.urls[port], world.ours.keys["both"]):
            assert said.startswith("HTTP/1.")
            assert [secret for secret in secrets if secret[:20] in said] == []
    for name, program in world.programs.items():
        lines = [line for _, line in list(program.lines)]
        new = "".join(lines[filled.lines[name] :])
        assert world.named_in(new) == []
        assert [secret for secret in secrets if secret[:20] in "".join(lines)] == []
        assert "Traceback" not in new
        for line in lines:
            json.loads(line)
    wait_until(lambda: "malformed" in (record := refusals(world)) and "scope" in record)
    assert [secret for secret in secrets if secret[:20] in refusals(world)] == []
    assert world.named_in(refusals(world)) == []


def refusals(world: World) -> str:
    """All that is recorded of refused keys."""
    query = "SELECT json_agg(a)::text FROM app.audit a WHERE action = 'key_refused'"

    async def fetch() -> str:
        async with connect(world.database) as connection:
            return str(await connection.fetchval(query))

    return blocking(fetch())


def _key(filled: Filled) -> dict[str, str]:
    return filled.world.ours.credentials("bearer")
