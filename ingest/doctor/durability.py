"""Whether what is committed survives a crash."""

from __future__ import annotations

from ingest.doctor.case import Case, Site
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.prescription import identifier
from ingest.storage.inspection import Row

DURABILITY = "durability"
NEEDED = {
    "fsync": "a crash of the machine loses or damages data",
    "full_page_writes": "a crash of the machine can damage pages",
}
HARMLESS = "ours turn it on for each transaction, but other writers' commits may be lost"
FROM_SERVER = ("configuration file", "command line", "environment variable")


async def check_durability(case: Case) -> list[Finding]:
    """`fsync`, `full_page_writes`, and `synchronous_commit` of server, database and role."""
    names = [*NEEDED, "synchronous_commit"]
    rows = {row["name"]: row for row in await case.rows("settings", names)}
    findings = [
        problem(DURABILITY, f"{name} is off: {NEEDED[name]}", turn_on(case, rows[name]))
        for name in NEEDED
        if rows[name]["setting"] == "off"
    ]
    commit = rows["synchronous_commit"]
    if commit["setting"] == "off" and commit["source"] in FROM_SERVER:
        what = f"the server turns synchronous_commit off; {HARMLESS}"
        findings.append(warning(DURABILITY, what, turn_on(case, commit)))
    findings += [_override(case, row) for row in await case.rows("durability_overrides")]
    return findings or ok(DURABILITY, "fsync, full_page_writes and synchronous_commit are on")


def turn_on(site: Site, setting: Row) -> str:
    """How a setting of the server is turned on; the command line beats all files."""
    if setting["source"] == "command line":
        return f"take {setting['name']} off the server's command line, then restart it"
    return site.prescribe.setting(f"ALTER SYSTEM SET {setting['name']} = on")


def _override(case: Case, row: Row) -> Finding:
    role = "ALL" if row["role"] is None else identifier(row["role"])
    database = "" if row["database"] is None else identifier(row["database"])
    if row["role"] is None and database:
        who, alter = f"database {row['database']}", f"ALTER DATABASE {database}"
    else:
        who = "every role" if row["role"] is None else f"role {row['role']}"
        alter = f"ALTER ROLE {role}" + (f" IN DATABASE {database}" if database else "")
    reset = f"{alter} RESET synchronous_commit"
    what = f"{who} turns synchronous_commit off; {HARMLESS}"
    return warning(DURABILITY, what, case.prescribe.sql(reset))
