"""The sentences of `postgrest_cases`, each proved by a request, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.postgrest_cases import ANY, MINIMUM, NICE, OURS, Case
from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api, token

ALL = [*MINIMUM, *NICE, *OURS]


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def shared(read_only_db: Database) -> AsyncIterator[Client]:
    """One API for all sentences: to start it takes ten times what a request does."""
    async with running_api(read_only_db) as client:
        yield client


@pytest.mark.asyncio(loop_scope="class")
class TestOnPostgresql:
    @pytest.mark.parametrize("case", ALL, ids=[case.sentence for case in ALL])
    async def test_it_is_so(self, shared: Client, case: Case) -> None:
        await _prove(shared, case)


async def test_on_every_engine(engine_db: Database) -> None:
    if engine_db.engine == "postgres":
        pytest.skip("each sentence is proved by itself there")
    await add_functions(engine_db)
    without_roles = [case for case in ALL if case.code not in ("42501", "25006")]
    async with running_api(engine_db) as api:
        for case in without_roles:
            await _prove(api, case)


def test_nobody_took_sentences_away() -> None:
    assert len(MINIMUM) >= 98
    assert len(NICE) >= 46
    sentences = [case.sentence for case in ALL]
    assert len(set(sentences)) == len(sentences)


async def _prove(api: Client, case: Case) -> None:
    method, path = case.request.split(" ", 1)
    signed = None
    if case.role or case.claims:
        signed = token(**({"role": case.role} if case.role else {}), **case.claims)
    sent = {} if case.body is None else {"data": case.body}
    answer = await api.request(method, path, signed, headers=case.headers, **sent)
    assert answer.status == case.status, f"{case.sentence}: {answer.text}"
    for name, value in case.head.items():
        if value is None:
            assert name not in answer.headers, case.sentence
        else:
            assert value in answer.headers.get(name, ""), case.sentence
    if case.status >= 300:
        if case.answer is not ANY:
            assert answer.json["code"] == case.answer, case.sentence
        assert (case.text or "") in answer.text, case.sentence
    elif case.text is not None:
        assert answer.text == case.text, case.sentence
    elif case.answer is not ANY:
        assert answer.json == case.answer, case.sentence
