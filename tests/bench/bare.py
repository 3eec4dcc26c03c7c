"""What a call of /rpc is measured against: an aiohttp handler that does one asyncpg fetch.

`python -m tests.bench.bare DATABASE_URL LOOP` prints its port and serves until its input ends, in a
loop of asyncio or of uvloop.
"""

from __future__ import annotations

import asyncio
import json
import sys

import asyncpg
import uvloop
from aiohttp import web

POOL = 4


async def main(url: str) -> None:
    """Serve."""
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:

        async def handler(_: web.Request) -> web.Response:
            rows = await pool.fetch("SELECT api.trivial() AS value")
            body = json.dumps(rows[0]["value"]).encode()
            return web.Response(body=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/rpc/trivial", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    run = {"asyncio": asyncio.run, "uvloop": uvloop.run}[sys.argv[2]]
    run(main(sys.argv[1]))
