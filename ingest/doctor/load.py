"""What else happens on the server: sessions, vacuum, connections."""

from __future__ import annotations

from ingest.doctor.case import Case
from ingest.doctor.durability import turn_on
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.words import span
from ingest.storage.read import all_connections
from ingest.storage.tenants import CONNECTIONS as FOR_KEYS

TRANSACTIONS, VACUUM, CONNECTIONS = "transactions", "vacuum", "connections"


async def check_transactions(case: Case) -> list[Finding]:
    """Transactions and replication slots that keep vacuum from its work."""
    limits = case.thresholds
    rows = await case.rows("vacuum_blockers", limits.transaction_warning, limits.slot_bytes)
    findings = []
    for row in rows:
        complain = problem if row["seconds"] > limits.transaction_problem else warning
        since = f", for {span(row['seconds'])}" if row["seconds"] else ""
        what = f"{row['what']} is {row['state'] or 'open'}{since}: dead rows pile up meanwhile"
        end = case.prescribe.sql(row["statement"])
        findings.append(complain(TRANSACTIONS, what, f"if it is not needed: {end}"))
    return findings or ok(TRANSACTIONS, f"none older than {span(limits.transaction_warning)}")


async def check_vacuum(case: Case) -> list[Finding]:
    """Autovacuum, and how far transaction ids are from running out."""
    rows = await case.rows("settings", ["autovacuum", "track_counts"])
    findings = [
        problem(VACUUM, f"{row['name']} is off: tables only grow", turn_on(case, row))
        for row in rows
        if row["setting"] == "off"
    ]
    found = await case.row("vacuum")
    findings += [
        warning(
            VACUUM,
            f"autovacuum leaves {table} alone",
            case.prescribe.sql_as_owner(f"ALTER TABLE {table} RESET (autovacuum_enabled)"),
        )
        for table in found["left_alone"]
    ]
    findings += _check_age(case, found["transactions"])
    return findings or ok(VACUUM, f"on, oldest row {found['transactions']:,} transactions back")


def _check_age(case: Case, transactions: int) -> list[Finding]:
    limits = case.thresholds
    if transactions < limits.transaction_ids_warning:
        return []
    what = (
        f"the oldest row is {transactions:,} transactions back:"
        " the server stops taking writes at 2.1 billion"
    )
    complain = problem if transactions >= limits.transaction_ids_problem else warning
    return [complain(VACUUM, what, case.prescribe.sql("VACUUM (FREEZE, SKIP_LOCKED)"))]


async def check_connections(case: Case) -> list[Finding]:
    """How many of the server's connections are left."""
    found = await case.row("connections")
    used, usable = found["used"], found["usable"]
    what = f"{used} of {usable} in use"
    if used < case.thresholds.connections_warning * usable:
        return ok(CONNECTIONS, what)
    complain = problem if used >= case.thresholds.connections_problem * usable else warning
    settings = case.settings
    sizes = (
        settings.database.pool_size,
        settings.api.workers * all_connections(settings.api.pool_size),
    )
    needed = "ours need {} and {}".format(*(size + FOR_KEYS for size in sizes))
    raise_it = case.prescribe.sql(f"ALTER SYSTEM SET max_connections = {2 * usable}")
    todo = f"find who takes them in pg_stat_activity; or {raise_it}; then restart the server"
    return [complain(CONNECTIONS, f"{what}; {needed}", todo)]
