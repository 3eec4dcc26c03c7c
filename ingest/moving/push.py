"""The three tables of the push API: tenants, whose keys stay behind, measures and events.

A row gets an id made of its table and its own id, so that it is the same row whenever it comes: the
second time it is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

import asyncpg

from ingest.errors import InvalidItem, OperatorError
from ingest.model import METRIC_NAME, Event, Intake, Measure, RecordKind, TenantId
from ingest.moving.source import quoted, reading
from ingest.moving.target import Part, Target, Tell
from ingest.routing.router import Decision, lower_name
from ingest.sqlfiles import query
from ingest.storage.pool import AnyConnection
from ingest.text import time_text
from ingest.wire.records.fields import checked_name
from ingest.wire.records.jsonb import decode_exact

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "tenant": ("uid", "tenantname"),
    "measure": ("id", "tenant_id", "insertion_time", "name", "measurement", "dict"),
    "event": ("id", "tenant_id", "insertion_time", "name", "dict"),
}
ROWS_AT_ONCE = 10_000


class OldTenant(NamedTuple):
    """A tenant of the push API, and as which of ours it goes on.

    Attributes:
        tenant_id: None where it is to be made.
    """

    uid: int
    old_name: str
    name: str
    tenant_id: TenantId | None


async def find_tenants(
    connection: AnyConnection, schema: str, target: Target, renamed: Mapping[int, str]
) -> list[OldTenant]:
    """All tenants of the source. Two of one name were strangers to each other, and stay so: the
    later one is called NAME-UID.

    Args:
        renamed: names that were given, by uid.

    Raises:
        OperatorError: the tables are not there, or a name that was given is nobody's.
    """
    async with reading(connection):
        found = {
            row["name"]: row["columns"]
            for row in await connection.fetch(query("moving/push_tables"), schema)
        }
        for table, columns in COLUMNS.items():
            if table not in found:
                raise OperatorError(f"the source has no table {schema}.{table} (--schema)")
            if missing := [each for each in columns if each not in found[table]]:
                raise OperatorError(f"{schema}.{table} of the source has no column {missing[0]}")
        tenants = quoted(schema, "tenant")
        rows = await connection.fetch(f"SELECT uid, tenantname FROM {tenants} ORDER BY uid")  # noqa: S608
    if unknown := sorted(set(renamed) - {row["uid"] for row in rows}):
        raise OperatorError(f"--tenant {unknown[0]}=…: the source has no tenant of this uid")
    names: set[str] = set()
    tenants_found = []
    for uid, old_name in rows:
        name = renamed.get(uid) or (f"{old_name}-{uid}" if old_name in names else old_name)
        names.add(name)
        tenants_found.append(OldTenant(uid, old_name, name, await target.tenant(name)))
    return tenants_found


async def make_tenants(tenants: list[OldTenant], target: Target) -> list[OldTenant]:
    """The same with an id each; a dry run gives ids that are nobody's.

    Raises:
        OperatorError: a name cannot be one of ours.
    """
    made = []
    for one in tenants:
        tenant_id = one.tenant_id
        if tenant_id is None and target.dry_run:
            tenant_id = TenantId(-one.uid)
        elif tenant_id is None:
            try:
                tenant_id = (await target.ask("SELECT app.create_tenant($1)", one.name))[0][0]
            except OperatorError as error:
                raise OperatorError(
                    f"tenant {one.uid} ({one.old_name!a}): {error}; --tenant {one.uid}=NAME"
                ) from None
        made.append(one._replace(tenant_id=tenant_id))
    return made


async def import_records(
    connection: AnyConnection,
    schema: str,
    kind: RecordKind,
    tenants: list[OldTenant],
    target: Target,
    owner: TenantId,
    part: Part,
    tell: Tell,
) -> None:
    """Import all rows of one table, in the order of their ids.

    Args:
        owner: under whose id the progress is noted.
    """
    tenant_of = {one.uid: one.tenant_id for one in tenants if one.tenant_id is not None}
    table = quoted(schema, kind)
    value = "measurement" if kind == "measure" else "NULL::float8"
    columns = f"id, tenant_id, (extract(epoch FROM insertion_time) * 1e6)::bigint, name, {value}"
    begin_at = int(part.position) if part.position is not None else -(2**62)
    routes: dict[str, Decision] = {}
    async with reading(connection):
        last = await connection.fetchval(f"SELECT max(id) FROM {table}")  # noqa: S608
        cursor = await connection.cursor(
            f"SELECT {columns}, dict::text FROM {table} WHERE id > $1::bigint ORDER BY id",  # noqa: S608
            begin_at,
        )
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            intakes: dict[TenantId, Intake] = {}
            for row in rows:
                tenant_id = tenant_of.get(row[1])
                if tenant_id is None:
                    part.report.read += 1
                    part.report.leave_out("of no tenant: there is none of their tenant_id", 1)
                    continue
                intake = intakes.setdefault(tenant_id, Intake(tenant_id=tenant_id))
                _take(intake, kind, row, target, routes, part)
            for intake in intakes.values():
                await target.store(intake, part.report)
            await target.save(owner, part, str(rows[-1][0]))
            tell(
                part.title, (rows[-1][0] - begin_at) / (last - begin_at) if begin_at >= 0 else None
            )
    await target.save(owner, part, part.position or "0")


def _take(
    intake: Intake,
    kind: RecordKind,
    row: asyncpg.Record,
    target: Target,
    routes: dict[str, Decision],
    part: Part,
) -> None:
    number, uid, time_us, name, value, attributes = row
    text = attributes.encode()
    if complaint := _complaint(target.oldest_ms(kind), time_us, name, text):
        part.report.read += 1
        part.report.leave_out(complaint, 1)
        return
    item_id = blake2b(f"imported {kind}\0{uid}\0{number}".encode(), digest_size=16).digest()
    intake.sent.samples += 1
    if kind == "event":
        intake.add_item(kind, intake.tenant_id, Event(time_us, name, text, item_id, False))
        return
    if name not in routes:
        decision = target.router.decide(lower_name(name), {METRIC_NAME: name})
        routes[name] = decision._replace(target=decision.target.replace("geo", "internal"))
    route = routes[name]
    if route.drop:
        intake.dropped += 1
        return
    intake.add_item(
        kind,
        intake.tenant_id,
        Measure(time_us, name, text, item_id, False, value, None, route.target, route.schema),
    )


def _complaint(oldest_ms: int, time_us: int, name: str, attributes: bytes) -> str | None:
    """Why a row cannot be stored, as if it were pushed; None if it can."""
    if time_us < oldest_ms * 1000:
        return f"before {time_text(oldest_ms)}, the oldest that is taken"
    try:
        decode_exact(attributes)
        checked_name(name)
    except InvalidItem as error:
        return str(error)
    return None
