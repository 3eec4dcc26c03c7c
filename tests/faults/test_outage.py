"""The database is away for a while under a real vmalert, which gives up after 30 seconds.

`PROMGRES_OUTAGE_SECONDS` (7) is how long; `make faults` has it away for 2 minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.chain import RULES
from tests.support.databases import Database, blocking, connect
from tests.support.fragile_postgres import FragilePostgres, fragile_postgres
from tests.support.processes import get, wait_until
from tests.support.rig import Rig, running_rig
from tests.support.senders import Sender, prometheus, vmalert

OUTAGE_SECONDS = float(os.environ.get("PROMGRES_OUTAGE_SECONDS", "7"))
OUTAGES: dict[str, tuple[Callable[[FragilePostgres], None], Callable[[FragilePostgres], None]]] = {
    "silent": (FragilePostgres.freeze, FragilePostgres.thaw),
    "stopped": (FragilePostgres.stop, FragilePostgres.start),
}

pytestmark = pytest.mark.timeout(180 + 3 * OUTAGE_SECONDS)


def test_vmalert_notices_nothing(tmp_path: Path) -> None:
    with (
        fragile_postgres() as postgres,
        running_rig(postgres) as rig,
        prometheus(tmp_path, rig.url, {}, external_labels={"sender": "prometheus"}) as source,
        vmalert(
            tmp_path,
            source.url,
            f"http://{rig.address}",
            RULES,
            external_labels={"sender": "vmalert"},
        ) as sender,
    ):
        for go_away, come_back in OUTAGES.values():
            wait_for_new_samples(rig.database)
            go_away(postgres)
            sit_out(rig, sender)
            come_back(postgres)
            rig.wait_until_drained()
            wait_for_new_samples(rig.database)
        taken = sender.metric("vmalert_remotewrite_sent_rows_total")
        sender.stop()
        source.stop_scraping()
        rig.wait_until_drained()
        assert sender.complaints() == []
        assert source.complaints() == []
        sent = source.metric("prometheus_remote_storage_samples_total")
        assert stored(rig.database, "prometheus") == sent
        assert stored(rig.database, "vmalert") >= taken > 0
        rig.metrics.assert_balanced()
        assert gapless_seconds(rig.database) >= 2 * OUTAGE_SECONDS


def sit_out(rig: Rig, sender: Sender) -> None:
    """While it lasts: ready for more, and every sample accounted for."""
    end = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < end:
        assert get(f"http://{rig.address}/-/ready")[0] == 200, "the spool takes requests"
        rig.metrics.assert_balanced()
        assert sender.metric("vmalert_remotewrite_dropped_rows_total") == 0
        time.sleep(0.2)  # to ask without end took two processors
    assert rig.metrics.spooled > 0


def wait_for_new_samples(database: Database) -> None:
    before = stored(database, "vmalert")
    wait_until(lambda: stored(database, "vmalert") > before, what="vmalert's samples are stored")


def stored(database: Database, sender: str) -> int:
    """Samples of a sender, in every target."""
    return blocking(_stored(database, sender))


async def _stored(database: Database, sender: str) -> int:
    samples = " UNION ALL ".join(
        f"SELECT series_id FROM {target}.sample" for target in ("internal", "cumsum", "geo")
    )
    async with connect(database) as connection:
        count: int = await connection.fetchval(
            f"SELECT count(*) FROM ({samples}) AS s JOIN internal.series USING (series_id)"
            " WHERE labels->>'sender' = $1",
            sender,
        )
        return count


def gapless_seconds(database: Database) -> float:
    """For how long vmalert's evaluations, one a second, are stored without a gap of ten."""
    return blocking(_gapless_seconds(database))


async def _gapless_seconds(database: Database) -> float:
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT time FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = 'prometheus:go_goroutines:sum' ORDER BY time"
        )
    moments = [row["time"].timestamp() for row in rows]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) < 10, gaps
    return float(moments[-1] - moments[0])
