"""The read side as a process: listen, answer, stop when told to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from ingest.auth.callers import Callers
from ingest.auth.proxies import Proxies
from ingest.auth.tenancy import Tenancy
from ingest.auth.tokens import Tokens, parse_path
from ingest.config import Settings
from ingest.config.addresses import is_loopback
from ingest.errors import OperatorError
from ingest.export.handler import Export
from ingest.http.connections import Connections
from ingest.http.read_metrics import PoolCollector
from ingest.http.server import HttpServer
from ingest.http.shares import Slow, UnderWay
from ingest.lifeline import unless_ended, watch_parent
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.ports.read import read_port, read_routes, refuse
from ingest.ports.read_workers import ALONE, Place
from ingest.prometheus.handler import Prometheus
from ingest.prometheus.nursery import Nursery
from ingest.prometheus.workers import query_workers
from ingest.records.forward import MOST_CONNECTIONS, Forwarder
from ingest.records.read import ReadRecords
from ingest.rpc.handler import Rpc
from ingest.rpc.schema_cache import SchemaCache
from ingest.storage.packs import check_packs
from ingest.storage.read import ReadDatabase, all_connections
from ingest.storage.tenants import CONNECTIONS as KEY_CONNECTIONS
from ingest.storage.tenants import TenantDatabase

KEEPALIVE_SECONDS = 75.0

DRAIN_SECONDS = 3.0
"""How long questions under way may take once we are asked to end."""
STOP_SECONDS = 10.0
"""However much hangs, we have ended by then."""
ORPHANS_DRAIN_SECONDS = 1.0
"""The same when our parent is gone: the next one waits for us."""

log = get_logger("api")


class ReadServer:
    """The read side of one process.

    Args:
        settings: of `promgres api`.
        database_url: of the login `promgres_api`, or another member of `authenticator`.
        nursery: makes processes for queries.
        place: among several workers.
    """

    def __init__(
        self, settings: Settings, database_url: str, nursery: Nursery, place: Place = ALONE
    ) -> None:
        self._settings = settings
        self._place = place
        self._database = ReadDatabase(database_url, settings)
        self._tenants = TenantDatabase(database_url, settings.database, "promgres api")
        self._tenancy = Tenancy(self._tenants, settings.auth)
        schema_cache = SchemaCache(self._database, settings.api.schemas)
        callers = Callers(self._tenancy.authenticator, _tokens(settings), schema_cache)
        under_way, most_bytes = (
            UnderWay(settings.api.questions_per_caller),
            settings.api.max_answer_bytes,
        )
        slow = Slow()
        rpc = Rpc(self._database, schema_cache, callers, under_way, slow, settings)
        self._forwarder = Forwarder(callers, settings)
        read = ReadRecords(
            callers.caller_of, self._database, self._database.records, under_way, most_bytes
        )
        export = Export(self._database, callers, under_way, settings)
        self._workers = query_workers(settings, database_url, nursery)
        prometheus = Prometheus(self._workers, callers, under_way, slow, settings)
        routes = read_routes(
            self._database,
            schema_cache,
            callers,
            rpc,
            read,
            self._forwarder,
            export,
            slow,
            place.families,
            prometheus,
        )
        self._collector = PoolCollector(lambda: self._database.connections)
        pools = all_connections(settings.api.pool_size) + KEY_CONNECTIONS + MOST_CONNECTIONS
        proxies = Proxies(settings.auth.trusted_proxies)
        self._http = HttpServer(
            read_port(routes),
            settings.http,
            Connections(settings.http, pools, proxies.trusts),
            refuse,
            flag="--api-listen",
            drain_seconds=DRAIN_SECONDS,
            keepalive_seconds=KEEPALIVE_SECONDS,
            handler_cancellation=True,
        )
        self.address = ""

    async def start(self) -> None:
        """Listen, then connect. Whether the database is migrated does not matter yet.

        Raises:
            OperatorError: no database, one with other packs than the settings name, or the address
                is taken or not ours.
        """
        await self._database.open()
        await self._tenants.open()
        await self._forwarder.open()
        await self._place.open()
        self.address = await self._http.start(self._settings.api_listen, self._place.listeners)
        REGISTRY.register(self._collector)
        await self._database.wait()
        if self._settings.packs is not None:  # else whatever it has will do
            packs = await self._database.packs()
            if packs is not None:
                check_packs(packs, self._settings.packs)
        await self._tenancy.start()

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Listen no longer, finish what was asked, let go of the database."""
        await self._http.close(drain_seconds)
        await self._forwarder.close()
        self._workers.close()
        await self._tenancy.stop()
        await self._tenants.close()
        await self._database.close()
        await self._place.close()
        if self.address:
            REGISTRY.unregister(self._collector)


async def serve(
    settings: Settings,
    database_url: str,
    nursery: Nursery,
    on_start: Callable[[str], None] | None = None,
    place: Place = ALONE,
) -> None:
    """Serve until SIGINT, SIGTERM, or the end of the parent that started us.

    Args:
        nursery: begun before there was a loop.
        on_start: called with the address that was bound.
        place: among several workers.

    Raises:
        OperatorError: it cannot start; one line says why.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    orphaned = asyncio.Event()

    def be_orphaned() -> None:
        orphaned.set()
        ended.set()

    watch_parent(loop, be_orphaned)
    server = ReadServer(settings, database_url, nursery, place)
    try:
        if not await unless_ended(ended, server.start()):
            return
        log.info("listening", address=server.address, tokens=settings.jwt_secret is not None)
        _warn_of_strangers(settings, server.address)
        if on_start:
            on_start(server.address)
        await ended.wait()
        log.info("stopping")
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await server.stop(ORPHANS_DRAIN_SECONDS if orphaned.is_set() else DRAIN_SECONDS)


def _tokens(settings: Settings) -> Tokens:
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    audience, role_claim = settings.auth.jwt_audience, settings.auth.jwt_role_claim
    try:
        return Tokens(secret, audience=audience, role_path=parse_path(role_claim))
    except ValueError as error:
        name = "auth.jwt_role_claim" if "path" in str(error) else "jwt_secret"
        raise OperatorError(f"{name}: {error}") from None


def _warn_of_strangers(settings: Settings, address: str) -> None:
    if not is_loopback(settings.api_listen) and not settings.auth.required:
        log.warning(
            "anyone who reaches this address can read what is of tenant default, without a key"
            " (auth.required is off)",
            address=address,
        )
