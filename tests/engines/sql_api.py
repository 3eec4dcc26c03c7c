"""Schema `api` as SQL: samples written as one line each, and what the functions say of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from ingest.model import DEFAULT_TENANT_ID
from ingest.series.identity import identity_of
from ingest.stores import TARGETS
from tests.support.databases import Database


@dataclass(frozen=True)
class Sample:
    """One sample, and all that says which series it is of. `exact` is a decimal's text."""

    time: datetime
    name: str
    value: float = 1.0
    exact: str | None = None
    schema: str = "common"
    target: str = "internal"
    labels: Mapping[str, str] = field(default_factory=dict)
    tenant_id: int = DEFAULT_TENANT_ID

    @property
    def identity(self) -> bytes:
        """As a daemon computes it."""
        labels = tuple(sorted({"__name__": self.name, **self.labels}.items()))
        return identity_of(self.tenant_id, self.target, self.schema, labels)


@dataclass(frozen=True)
class Api:
    """One engine, through one connection."""

    database: Database
    connection: asyncpg.Connection

    async def store(self, *samples: Sample) -> None:
        """Commit samples the way every client may: a COPY into staging for each target."""
        by_target = defaultdict(list)
        for sample in samples:
            by_target[sample.target].append(sample)
        for target in TARGETS:
            if by_target[target]:
                await self._copy(target, by_target[target])

    async def roll_up(self) -> None:
        """Do at once what rollup workers and jobs would do within a minute."""
        if self.database.engine == "timescaledb":
            job = await self.connection.fetchval(
                "SELECT job_id FROM timescaledb_information.jobs"
                " WHERE proc_name = 'refresh_rollups'"
            )
            await self.connection.execute(f"CALL run_job({job})")
            return
        for target in ("internal", "cumsum"):
            work = f"SELECT {target}.rollup_work(p_before => 'infinity')"
            while await self.connection.fetchval(work):
                pass

    async def rows(self, call: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows of a function, such as `rows("get_latest_fdv($1)", "mainnet")`."""
        return [tuple(row) for row in await self._fetch(call, arguments)]

    async def values(self, call: str, *arguments: Any) -> list[str]:
        """Only the values of those rows."""
        return [row["value"] for row in await self._fetch(call, arguments)]

    async def minute(self) -> datetime:
        """The start of the database's current minute."""
        now: datetime = await self.connection.fetchval("SELECT now()")
        return now.astimezone(UTC).replace(second=0, microsecond=0)

    async def _fetch(self, call: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        return await self.connection.fetch(f"SELECT * FROM api.{call}", *arguments)

    async def _copy(self, target: str, samples: list[Sample]) -> None:
        if self.database.engine == "postgres":
            times = [sample.time for sample in samples]
            ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
            await self.connection.execute(ensure, target, min(times), max(times))
        ids = await self.resolve({sample.identity: sample for sample in samples})
        await self.connection.copy_records_to_table(
            "sample",
            schema_name=f"staging_{target}",
            records=[
                (one.time, ids[one.identity], one.value, one.exact and Decimal(one.exact))
                for one in samples
            ],
        )

    async def resolve(self, series: Mapping[bytes, Sample]) -> dict[bytes, int]:
        rows = await self.connection.fetch(
            "SELECT * FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
            list(series),
            [one.tenant_id for one in series.values()],
            [one.target for one in series.values()],
            [one.name.lower() for one in series.values()],
            [one.schema for one in series.values()],
            [json.dumps({"__name__": one.name, **one.labels}) for one in series.values()],
        )
        return {row["identity"]: row["series_id"] for row in rows}
