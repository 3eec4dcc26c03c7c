"""Remote write 1.0 and 2.0: samples, labels, exemplars and metadata, sent and read back."""

from __future__ import annotations

import pytest

from tests.acceptance.cases import VERSIONS, Case, check, ids
from tests.acceptance.cases_data import CASES
from tests.support.databases import Database
from tests.support.remote_write import WriteSide

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=["1.0", "2.0"])


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
async def test_what_is_sent_is_stored(
    version: int, case: Case, shared_daemon: WriteSide, shared_db: Database
) -> None:
    await check(case, version, shared_daemon, shared_db)
