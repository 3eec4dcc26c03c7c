"""`GET /ui/status`: whether all is well, as far as the caller may know it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ingest.auth.access import READ
from ingest.auth.callers import ADMIN_ROLE, Caller, Callers
from ingest.errors import PromgresError
from ingest.http.context import Context
from ingest.http.health import Ready
from ingest.http.negotiation import Media
from ingest.http.problems import problem_of
from ingest.http.reply import Reply
from ingest.http.shares import Slow
from ingest.sqlfiles import query
from ingest.storage.read import ReadDatabase

STATUS = "/ui/status"
AskWriteSide = Callable[[Context, str], Awaitable[tuple[int, str]]]
"""The write side's answer to a GET of a path with the credentials of a request: status and text.

Raises:
    PromgresError: it is not known, or does not answer.
"""
Samples = Mapping[tuple[str, str], float]
"""Of the write side's metrics, by name (with the result, where there is one: `name result`) and
tenant ("" for those of nobody)."""
Lines = list[dict[str, Any]]

LIMITS = (
    ("series", "promgres_tenant_series", "promgres_tenant_series_limit", "count"),
    ("spool", "promgres_spool_tenant_bytes", "promgres_spool_limit_bytes", "bytes"),
    *(
        (f"samples {result}", f"promgres_samples_total {result}", "", "count")
        for result in ("received", "written", "duplicate", "rejected", "dropped", "unavailable")
    ),
)
"""What a tenant has and may have: in words, both metrics, the unit. Samples are counted from the
write side's start."""
SPOOL_PROBLEM_SHARE = 0.8
SPOOL_WARNING_SECONDS = 300


def status_page(
    callers: Callers, database: ReadDatabase, ready: Ready, ask: AskWriteSide, slow: Slow
) -> Callable[[Context], Awaitable[Reply]]:
    """The handler.

    Whoever may read is told `tenant`, `admin` (whether the rest is told, too), `ready` and `why`
    not, `write_side` (how that is, or why it cannot be asked), and `limits`: of its tenant, `what`,
    `used`, `limit` (null: any), `unit`. A key with scope
    `admin` or a token of its role: `checks` (`check`, `level`, `what`, `todo`, as `promgres doctor`
    has them; level `unknown` is what cannot be asked) and `slow` questions of its tenant.
    """

    async def status(context: Context) -> Reply:
        request = context.request
        caller = await callers.caller_of(request.headers, request.remote, READ)
        why_not = await ready()
        write_side, samples = await _write_side(context, ask)
        document: dict[str, Any] = {
            "tenant": caller.tenant,
            "admin": caller.role == ADMIN_ROLE,
            "ready": why_not is None,
            "why": why_not,
            "write_side": write_side[-1]["what"],
            "limits": _limits(samples, caller.tenant),
        }
        if caller.role == ADMIN_ROLE:
            checks = await _database_checks(database, caller)
            document["checks"] = [*checks, *write_side, *_spool_checks(samples)]
            document["slow"] = slow.of(caller.tenant_id)
        body = json.dumps(document, ensure_ascii=False).encode()
        headers = {"Content-Type": Media.JSON.value, "Cache-Control": "no-store"}
        return Reply(200, body, headers)

    return status


async def _database_checks(database: ReadDatabase, caller: Caller) -> Lines:
    settings = {"promgres.tenant_id": str(caller.tenant_id)}
    try:
        async with database.transaction(
            database.records, settings, caller.counted_as
        ) as connection:
            rows = await connection.fetch(query("ui/health"))
    except PromgresError as error:
        problem = problem_of(error)
        return [_line("database", "unknown", f"cannot be asked: {problem.message}")]
    return [dict(row) for row in rows]


async def _write_side(context: Context, ask: AskWriteSide) -> tuple[Lines, Samples]:
    """Whether the write side is well, and its metrics as the caller sees them; if it cannot be
    asked, why."""
    try:
        code, why = await ask(context, "/-/ready")
        status, metrics = await ask(context, "/metrics")
    except PromgresError as error:
        return [_line("write side", "unknown", f"cannot be asked: {problem_of(error).message}")], {}
    is_ready = code == 200
    what = "ready" if is_ready else f"not ready: {' '.join(why.split())}"
    lines = [_line("write side", "ok" if is_ready else "problem", what)]
    if status != 200:
        what = (
            "does not tell: it takes API keys, no tokens" if status == 401 else f"answers {status}"
        )
        return [*lines, _line("spool", "unknown", what)], {}
    return lines, _samples(metrics)


def _samples(metrics: str) -> Samples:
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.labels.keys() <= {"tenant", "result"}:
                name = f"{sample.name} {sample.labels.get('result', '')}".rstrip()
                found[name, sample.labels.get("tenant", "")] = sample.value
    return found


def _limits(samples: Samples, tenant: str) -> Lines:
    lines = []
    for what, used, most, unit in LIMITS:
        if (used, tenant) in samples:
            limit = samples.get((most, tenant), samples.get((most, "")))
            lines.append(
                {"what": what, "used": samples[used, tenant], "limit": limit or None, "unit": unit}
            )
    return lines


def _spool_checks(samples: Samples) -> Lines:
    """The spool as a whole: how much waits, how old it is."""
    waiting, most = (
        samples.get((f"promgres_spool_{name}", "")) for name in ("bytes", "limit_bytes")
    )
    if waiting is None or most is None:
        return []
    if not most:
        return [_line("spool", "warning", "there is none: spool.max_bytes is 0")]
    requests = int(samples.get(("promgres_spool_requests", ""), 0))
    seconds = samples.get(("promgres_spool_oldest_seconds", ""), 0)
    level = "warning" if seconds > SPOOL_WARNING_SECONDS else "ok"
    level = "problem" if waiting > SPOOL_PROBLEM_SHARE * most else level
    what = f"{requests:,} requests wait, {100 * waiting / most:.0f} % full"
    todo = "promgres spool status" if level != "ok" else ""
    return [_line("spool", level, "empty" if not requests else what, todo)]


def _line(check: str, level: str, what: str, todo: str = "") -> dict[str, Any]:
    return {"check": check, "level": level, "what": what, "todo": todo}
