"""Staging tables, partitions, and the indexes of raw data."""

from __future__ import annotations

from ingest.doctor.case import Case
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.jobs import run_jobs
from ingest.doctor.words import count, size, span
from ingest.storage.inspection import Row
from ingest.writer.truncate_staging import EMPTY_ABOVE_BYTES, HARD_LIMIT_BYTES

STAGING, PARTITIONS, RETENTION, INDEXES = "staging", "partitions", "retention", "indexes"
BLOCKS = "blocks"
SERIES = "series"

BRIN = "CREATE INDEX {} ON {} USING brin (time) WITH (autosummarize = on)"


async def check_staging(case: Case) -> list[Finding]:
    """Whether staging tables are moved on from and emptied."""
    rows = await case.rows("staging")
    findings = [finding for row in rows for finding in await _check_staging(case, row)]
    total_bytes = sum(row["size_bytes"] for row in rows)
    return findings or ok(
        STAGING, f"{size(total_bytes)} in all, emptied above {size(EMPTY_ABOVE_BYTES)} each"
    )


async def _check_staging(case: Case, row: Row) -> list[Finding]:
    table, findings = row["relation"], []
    if not row["is_moved_on"]:
        what = f"the trigger of {table} is off or gone: what is copied there stays there"
        enable = f"ALTER TABLE {table} ENABLE TRIGGER USER"
        repair = case.prescribe.promgres("migrate", "repair")
        todo = f"{case.prescribe.sql(enable)}; if it is gone, {repair}"
        findings.append(problem(STAGING, what, todo))
    if row["size_bytes"] > EMPTY_ABOVE_BYTES:
        findings.append(await _not_emptied(case, table, row["size_bytes"]))
    return findings


async def _not_emptied(case: Case, table: str, size_bytes: int) -> Finding:
    complain = problem if size_bytes > HARD_LIMIT_BYTES else warning
    holders = await case.rows("lock_holders", table, case.thresholds.staging_holder)
    if not holders:
        what = f"{table} has grown to {size(size_bytes)}: a write side empties it within seconds"
        return complain(STAGING, what, f"if it stays: {case.prescribe.sql(f'TRUNCATE {table}')}")
    who = ", ".join(
        f"{row['who']} (pid {row['pid']}, for {span(row['seconds'])})" for row in holders
    )
    what = f"{table} has grown to {size(size_bytes)} and cannot be emptied: {who} holds it"
    end = [f"SELECT pg_terminate_backend({row['pid']})" for row in holders]
    return complain(STAGING, what, f"wait for it, or {case.prescribe.sql(*end)}")


async def check_partitions(case: Case) -> list[Finding]:
    """Engine postgres: whether samples of now have a place. It is made when the first one comes.

    Exemplars and histograms may come or not.
    """
    rows = await case.rows("partitions", case.thresholds.partition_grace)
    idle = [row for row in rows if row["is_steady"] and row["partitions"] and not row["has_today"]]
    if not idle:
        return ok(PARTITIONS, f"{sum(row['partitions'] for row in rows)}, made as samples come")
    return [
        warning(
            PARTITIONS,
            f"{row['relation']} has none for today, the newest ended"
            f" {span(row['since_newest'])} ago: nothing has come since",
            "look at the senders: does their log name an error of remote write?",
        )
        for row in idle
    ]


async def check_series(case: Case) -> list[Finding]:
    """How many series there are, and of which metrics most of the new ones are."""
    [row] = await case.rows("series")
    what = f"{row['series']} in all, {row['fresh']} of them came within a day"
    return ok(SERIES, f"{what}, most of {row['most']}" if row["most"] else what)


async def check_blocks(case: Case) -> list[Finding]:
    """Engine postgres: whether samples get into blocks, and who holds that up."""
    rows = await case.rows("blocks", case.thresholds.packing)
    if not any(row["is_on"] for row in rows):
        return ok(BLOCKS, "off (storage.pack): samples stay rows")
    held = [row for row in rows if row["is_late"] and row["holders"]]
    if held:
        return [_held_up(case, row) for row in held]
    waiting = [row for row in rows if row["waiting"]]
    if not waiting:
        return ok(BLOCKS, "samples are packed up to the last hours")
    what = ", ".join(
        f"{count(row['waiting'], 'partition')} of {row['target']}, the oldest ended"
        f" {span(row['behind_seconds'])} ago"
        for row in waiting
    )
    return ok(BLOCKS, f"a write side packs, the oldest first: {what}")


def _held_up(case: Case, row: Row) -> Finding:
    part, what = row["held"], "is packed and cannot be dropped"
    if not part or row["behind_seconds"] > row["held_seconds"]:
        part, what = row["oldest"], "is over and cannot be packed"
    end = [f"SELECT pg_terminate_backend({pid})" for pid in row["holders"]]
    return warning(
        BLOCKS,
        f"{row['target']}.{part} {what}: {row['who']} may still need its rows",
        f"wait for it, or {case.prescribe.sql(*end)}",
    )


async def check_retention(case: Case) -> list[Finding]:
    """Whether what is past its retention is dropped."""
    of_engine = "chunks" if case.engine == "timescaledb" else "partitions"
    rows = await case.rows(of_engine, case.thresholds.partition_grace)
    late = [row for row in rows if row["expired"]]
    if not late:
        return ok(RETENTION, "nothing is past it")
    what = ", ".join(f"{row['expired']} of {row['relation']}" for row in late)
    todo = await _drop(case, late)
    return [warning(RETENTION, f"past retention and not dropped: {what}", todo)]


async def _drop(case: Case, late: list[Row]) -> str:
    if case.engine == "timescaledb":
        return await run_jobs(case, {row["dropped_by"] for row in late})
    drops = [f"SELECT internal.drop_expired_partitions('{row['store']}', 100)" for row in late]
    return f"{case.prescribe.sql(*drops)}; if it says 0, see rollups: they must be stored first"


async def check_indexes(case: Case) -> list[Finding]:
    """Whether the indexes of raw data are there, and all of ours are valid."""
    findings = [
        problem(
            INDEXES,
            f"index {row['index']} of {row['relation']} is invalid: no query uses it",
            case.prescribe.sql(f"REINDEX INDEX {row['index']}"),
        )
        for row in await case.rows("invalid_indexes")
    ]
    for row in await case.rows("store_indexes"):
        findings += _missing_indexes(case, row)
    return findings or ok(INDEXES, "primary keys and BRIN are there, none is invalid")


def _missing_indexes(case: Case, row: Row) -> list[Finding]:
    table, findings = row["relation"], []
    if not row["has_key"]:
        what = f"{table} has no primary key: duplicates are stored twice"
        add = f"ALTER TABLE {table} ADD PRIMARY KEY ({row['key']})"
        findings.append(problem(INDEXES, what, case.prescribe.sql_as_owner(add)))
    if not row["has_brin"]:
        what = f"{table} has no BRIN index on time: whoever reads a minute reads whole days"
        create = BRIN.format(row["brin"], table)
        findings.append(problem(INDEXES, what, case.prescribe.sql_as_owner(create)))
    return findings
