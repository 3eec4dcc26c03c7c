"""A few thousand fuzzed requests; `make fuzz` sends a million."""

from __future__ import annotations

import secrets

from tests.fuzz.campaign import Campaign, quiet_write_side
from tests.support.databases import Database

BODIES = 4000
CONNECTIONS = 16
"""Few: a request may unfold to 277,201 histograms, some four seconds of work that the others share.
Beside many of them, on a machine that is busy with other tests, its 25 seconds are over: 503."""


async def test_fuzzed_requests_get_an_answer_and_break_nothing(postgres_db: Database) -> None:
    seed = secrets.token_hex(4)
    print(f"FUZZ_SEED={seed}")
    with quiet_write_side(postgres_db) as side:
        campaign = Campaign(side, postgres_db, seed)
        await campaign.run(BODIES, connections=CONNECTIONS)
    assert set(campaign.statuses) == {204, 400, 413, 415}
    assert campaign.stored > BODIES / 20
