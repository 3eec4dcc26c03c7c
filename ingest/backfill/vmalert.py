"""vmalert evaluates the rules (`-replay.timeFrom`, `-replay.timeTo`), a window at a time.

vmalert drops what a write side does not take within half a minute, and ends with status 0 all the
same. So it writes to a relay of ours on the loopback interface, which passes each request on until
it is acknowledged. Where that takes longer than vmalert waits, the window is done again once the
write side answers: what had arrived of it is known there by series and timestamp.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from aiohttp import web

from ingest.backfill.plan import Plan, Window, shown_url
from ingest.backfill.replay import Done
from ingest.backfill.write_side import Refused, WriteSide
from ingest.errors import OperatorError, PromgresError
from ingest.text import time_text

VMALERT_WAITS_SECONDS = 20.0
"""Less than the 30 s after which vmalert gives a request up."""
MOST_BODY_BYTES = 64 * 1024 * 1024
ENVIRONMENT_PREFIX = "PROMGRES_VMALERT_"
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY",
                  "HTTPS_PROXY", "NO_PROXY")  # fmt: skip
PASSED_ON = ("Content-Encoding", "Content-Type", "X-Prometheus-Remote-Write-Version",
             "X-VictoriaMetrics-Remote-Write-Version")  # fmt: skip

_SAMPLES = re.compile(r"(?:Imported|generated) (\d+) samples")
_FATAL = re.compile(r"(?:fatal|panic)\s+\S+\s+(.*)")


@dataclass
class Relay:
    """Passes remote write on to the write side; one window at a time goes through it.

    Attributes:
        url: for vmalert; nobody else can guess its path.
        refused: of the present window.
        late: a request of the present window was not acknowledged in time.
        error: why the replay cannot go on.
        trouble: set with either of both.
    """

    write_side: WriteSide
    url: str = ""
    refused: list[Refused] = field(default_factory=list)
    late: bool = False
    error: PromgresError | None = None
    trouble: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """The next window."""
        self.refused, self.late, self.error = [], False, None
        self.trouble.clear()

    async def take(self, request: web.Request) -> web.Response:
        """One request of vmalert."""
        if request.method != "POST":  # which protocols there are: its first body finds that out
            return web.Response(status=405)
        body = await request.read()
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            async with asyncio.timeout(VMALERT_WAITS_SECONDS):
                refused = await self.write_side.forward(body, headers)
        except TimeoutError:
            self.late = True
            self.trouble.set()
            return web.Response(status=503)
        except PromgresError as error:
            self.error = error
            self.trouble.set()
            return web.Response(status=400)
        if refused:
            self.refused.append(refused)
        return web.Response(status=204)


@dataclass(frozen=True)
class Vmalert:
    """A vmalert that is started for each window.

    Attributes:
        program: its path.
        plan: what is replayed.
        token: a bearer token for the data source.
    """

    program: str
    plan: Plan
    token: str | None
    relay: Relay

    async def evaluate(self, window: Window) -> Done:
        """See `ingest.backfill.replay.Evaluate`.

        Raises:
            OperatorError: vmalert says what is wrong, or the write side does.
        """
        while True:
            self.relay.begin()
            status, output = await self._run(window)
            if self.relay.error:
                raise self.relay.error
            if self.relay.late:
                await self.relay.write_side.wait()
                continue
            if status != 0:
                raise OperatorError(
                    f"{self.program}: group {window.group.name} from {time_text(window.start_ms)}:"
                    f" {_last_error(output) or f'status {status}'}"
                )
            count = _SAMPLES.search(output)
            return Done(int(count[1]) if count else 0, list(self.relay.refused))

    async def _run(self, window: Window) -> tuple[int, str]:
        """Exit status and output of one vmalert. It ends with us, or when it is in trouble: what it
        would still do is done again."""
        with tempfile.TemporaryDirectory(prefix="promgres-backfill-") as folder:
            rules = Path(folder) / "rules.yml"
            rules.write_text(yaml.safe_dump(rule_file(window)), encoding="utf-8")
            process = await asyncio.create_subprocess_exec(
                self.program,
                *self._flags(window, rules),
                env=self._environment(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            reading = asyncio.ensure_future(process.communicate())
            trouble = asyncio.ensure_future(self.relay.trouble.wait())
            try:
                await asyncio.wait((reading, trouble), return_when=asyncio.FIRST_COMPLETED)
            finally:
                trouble.cancel()
                with suppress(ProcessLookupError):
                    process.kill()
            output, _ = await reading
        return process.returncode or 0, output.decode(errors="replace")

    def _flags(self, window: Window, rules: Path) -> list[str]:
        """No secret is among them: other users of this machine see them."""
        return [
            f"-rule={rules}",
            f"-datasource.url={shown_url(self.plan.datasource)}",
            f"-remoteWrite.url={self.relay.url}",
            "-remoteWrite.disablePathAppend",
            f"-replay.timeFrom={_rfc3339(window.start_ms)}",
            # Both ends belong to a window of vmalert's; the end of ours is the next one's start.
            f"-replay.timeTo={_rfc3339(window.end_ms - 1000)}",
            f"-replay.maxDatapointsPerQuery={window.points + 1}",
            # Of older ones the only word on the step, and 5m unless it is given.
            f"-datasource.queryStep={window.group.step_ms}ms",
            "-replay.rulesDelay=0",  # no rule waits for another one: see `chained`
            "-replay.disableProgressBar",
            f"-envflag.prefix={ENVIRONMENT_PREFIX}",
            "-envflag.enable",
        ]

    def _environment(self) -> dict[str, str]:
        """What vmalert needs of ours, and the secrets of the data source as flags."""
        parts = urlsplit(self.plan.datasource)
        secret_flags = {
            "datasource_bearerToken": self.token,
            "datasource_basicAuth_username": parts.username and unquote(parts.username),
            "datasource_basicAuth_password": parts.password and unquote(parts.password),
        }
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return kept | {
            ENVIRONMENT_PREFIX + name: value for name, value in secret_flags.items() if value
        }


@asynccontextmanager
async def relay_to(write_side: WriteSide) -> AsyncIterator[Relay]:
    """A relay that listens on a port of 127.0.0.1, below a path that nobody can guess."""
    relay = Relay(write_side)
    path = f"/{secrets.token_urlsafe(24)}"
    application = web.Application(client_max_size=MOST_BODY_BYTES)
    application.router.add_route("*", path, relay.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        relay.url = f"http://{host}:{port}{path}"
        yield relay
    finally:
        await runner.cleanup()


def rule_file(window: Window) -> dict[str, object]:
    """A rule file of one group, whose interval is the step of the replay."""
    group = window.group
    rules = [
        {"record": rule.record, "expr": rule.expr, "labels": dict(rule.labels)}
        for rule in group.rules
    ]
    params: dict[str, list[str]] = {}
    for name, value in group.params:
        params.setdefault(name, []).append(value)
    written = {
        "name": group.name,
        "interval": f"{group.step_ms}ms",
        "limit": group.limit,
        "params": params,
        "rules": rules,
    }
    return {"groups": [{key: value for key, value in written.items() if value}]}


def _rfc3339(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _last_error(output: str) -> str:
    """What vmalert ended with, on one line, without time and place in its source."""
    found = _FATAL.findall(output)
    return found[-1] if found else " ".join(output.split()[-40:])
