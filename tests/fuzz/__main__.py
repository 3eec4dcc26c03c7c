"""`make fuzz`: a million fuzzed remote write requests of both versions against the real daemon.

`FUZZ_BODIES` (1,000,000) is how many, `FUZZ_SEED` (chosen by chance, printed) which: a seed and the
number of a request make the same request every time.
"""

from __future__ import annotations

import asyncio
import os
import secrets

from rich.progress import Progress

from ingest.migrate import migrate
from tests.fuzz.campaign import Campaign, quiet_write_side
from tests.support.databases import Database, execute
from tests.support.postgres import start_cluster


async def main() -> None:
    """Run one campaign, say how it went."""
    bodies = int(os.environ.get("FUZZ_BODIES", "1000000"))
    seed = os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    print(f"{bodies:,} bodies, FUZZ_SEED={seed}", flush=True)
    cluster = start_cluster()
    try:
        await execute(cluster.url("postgres"), "CREATE DATABASE fuzz")
        database = Database(cluster.url("fuzz"), "postgres")
        await migrate(database.url, database.settings())
        with quiet_write_side(database) as side, Progress() as progress:
            campaign = Campaign(side, database, seed)
            task = progress.add_task("fuzzing", total=bodies)
            await campaign.run(bodies, lambda done: progress.advance(task, done))
    finally:
        cluster.stop()
    _report(campaign, bodies)
    campaign.assert_flat()
    campaign.assert_responsive()


def _report(campaign: Campaign, bodies: int) -> None:
    answers = ", ".join(
        f"{count:,} x {status}" for status, count in sorted(campaign.statuses.items())
    )
    rss = [size >> 20 for size in campaign.rss_bytes]
    print(f"answers: {answers}; something stored of {campaign.stored:,}")
    print(f"{campaign.seconds:,.0f} s, {bodies / campaign.seconds:,.0f} bodies/s")
    print(
        f"daemon's memory: {rss[0]} MiB after the first chunk, {max(rss)} MiB at most,"
        f" {rss[-1]} MiB at the end"
    )
    print(f"longest block of its loop: {max(campaign.block_seconds):.3f} s")


if __name__ == "__main__":
    asyncio.run(main())
