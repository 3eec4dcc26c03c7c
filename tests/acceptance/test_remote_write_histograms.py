"""Native histograms over 1.0 and 2.0: sent and read back, bucket by bucket."""

from __future__ import annotations

import pytest

from tests.acceptance.cases import VERSIONS, Case, check, ids
from tests.acceptance.cases_histograms import CASES
from tests.support.databases import Database
from tests.support.remote_write import WriteSide

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=["1.0", "2.0"])


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
async def test_histograms(
    version: int, case: Case, shared_daemon: WriteSide, shared_db: Database
) -> None:
    await check(case, version, shared_daemon, shared_db)
