"""Requests that are sent again change no table, and no count but the duplicates'."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.acceptance import cases_data, cases_histograms, cases_wire
from tests.acceptance.cases import VERSIONS, body_of, post
from tests.acceptance.contents import contents
from tests.support.databases import Database
from tests.support.metrics import Metrics
from tests.support.remote_write import WriteSide

ROUNDS = 3
RESULTS = ("received", "written", "duplicate", "rejected", "dropped")
Recorded = tuple[int, bytes]


def recorded() -> list[Recorded]:
    """Version and body of every kind of request that the tables have; some are refused."""
    cases = [*cases_data.CASES, *cases_histograms.CASES]
    requests = [
        (version, body_of(case, version, f"v{version}c{number}x"))
        for number, case in enumerate(cases)
        for version in VERSIONS
    ]
    raw = [
        (case.version, case.body(cases_wire.own_of(number)))
        for number, case in enumerate(cases_wire.CASES)
    ]
    return requests + raw


async def test_replays_change_nothing(daemon: WriteSide, engine_db: Database) -> None:
    requests = recorded()
    answers = _answers(daemon, requests)
    tables, counts = await contents(engine_db), _counts(daemon)
    for name in ("sample", "exemplar", "histogram", "metadata", "series_start", "rollup_1m"):
        assert tables[f"internal.{name}"]

    shuffled = random.Random(4)
    for _ in range(ROUNDS):
        order = shuffled.sample(range(len(requests)), len(requests))
        again = _answers(daemon, [requests[number] for number in order])
        assert again == [answers[number] for number in order]
    assert await contents(engine_db) == tables
    for kind, before in counts.items():
        now = _counts(daemon)[kind]
        assert now["written"] == before["written"], kind
        assert now["rejected"] == before["rejected"] * (ROUNDS + 1), kind
        assert now["received"] == before["received"] * (ROUNDS + 1), kind
        assert now["duplicate"] == before["duplicate"] * (ROUNDS + 1) + before["written"] * ROUNDS
    Metrics(daemon.address).assert_balanced()


def _answers(side: WriteSide, requests: list[Recorded]) -> list[tuple[int, str, list[str]]]:
    with ThreadPoolExecutor(16) as senders:
        return list(senders.map(partial(_answer, side), requests))


def _answer(side: WriteSide, request: Recorded) -> tuple[int, str, list[str]]:
    answer = post(side, *request)
    written = [value for name, value in answer.headers.items() if name.endswith("-Written")]
    counts = answer.text.partition("\n")[0]  # reasons may name the present
    return answer.status, counts, written


def _counts(side: WriteSide) -> dict[str, dict[str, int]]:
    scrape = Metrics(side.address)
    return {
        name: {
            result: int(scrape.value(name, tenant="default", result=result)) for result in RESULTS
        }
        for name in ("promgres_samples_total", "promgres_exemplars_total")
    }
