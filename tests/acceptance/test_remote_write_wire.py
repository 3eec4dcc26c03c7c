"""What only one version of remote write has, byte for byte."""

from __future__ import annotations

import pytest

from tests.acceptance.cases import assert_answer, post
from tests.acceptance.cases_wire import CASES, WireCase, own_of
from tests.acceptance.stored import stored
from tests.support.databases import Database
from tests.support.remote_write import WriteSide


@pytest.mark.parametrize(
    ("number", "case"),
    list(enumerate(CASES)),
    ids=[f"{case.version}.0 {case.sentence}" for case in CASES],
)
async def test_what_is_sent_is_stored(
    number: int, case: WireCase, shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    own = own_of(number)
    answer = post(shared_write_side, case.version, case.body(own))
    assert_answer(answer, case.version, case.status, case.expected_written(), case.reason)
    rows, wanted = await stored(shared_postgres_db, own), case.expected_rows(own)
    assert rows == wanted
