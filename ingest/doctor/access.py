"""Roles, memberships, grants, and the login of the read side."""

from __future__ import annotations

from ingest.doctor.case import Case, Site, query
from ingest.doctor.finding import Finding, ok, problem
from ingest.doctor.prescription import identifier
from ingest.errors import ConfigError, DatabaseUnreachable, QueryRefused
from ingest.storage.engines import engine_entry
from ingest.storage.inspection import Row, inspect
from ingest.storage.urls import api_database_url

LOGIN, ROLES, GRANTS, READ_LOGIN = "login", "roles", "grants", "read login"


def check_login(site: Site, server: Row) -> list[Finding]:
    """Whether the login of the database URL has the owner's rights."""
    login = server["login"]
    if server["is_owner"]:
        return ok(LOGIN, f"{login} has the rights of promgres_owner")
    what = f"{login} has not the rights of promgres_owner: it can write no samples"
    grant = f"GRANT promgres_owner TO {identifier(login)}"
    return [problem(LOGIN, what, f"as an administrator: {grant}")]


async def check_roles(case: Case) -> list[Finding]:
    """Whether our roles are there, are members of what they should be, and of nothing more."""
    findings = []
    for role in await case.rows("roles"):
        findings += _check_role(case, role)
    return findings or ok(ROLES, "all there, none with more rights than it needs")


def _check_role(case: Case, role: Row) -> list[Finding]:
    name = role["role"]
    if not role["is_there"]:
        return [problem(ROLES, f"role {name} is missing", case.prescribe.migrate)]
    findings = [
        problem(
            ROLES,
            f"{name} is not a member of {group}",
            case.prescribe.sql(f"GRANT {group} TO {name}"),
        )
        for group in role["not_in"]
    ]
    if role["is_powerful"]:
        what = f"{name} has rights that go past every grant (superuser and the like)"
        alter = f"ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS NOREPLICATION"
        findings.append(problem(ROLES, what, case.prescribe.sql(alter)))
    elif role["owner_through"] and name != "promgres_owner":
        group = identifier(role["owner_through"])
        what = f"{name} is a member of {group}: its requests read and change everything"
        findings.append(problem(ROLES, what, case.prescribe.sql(f"REVOKE {group} FROM {name}")))
    needs_login = name == "promgres_api" or (
        name == "promgres_owner" and engine_entry(case.engine).owner_logs_in
    )
    if needs_login and not role["can_login"]:
        why = "the extension's jobs run as it" if name == "promgres_owner" else "the read side does"
        what = f"{name} cannot log in, and {why}"
        findings.append(problem(ROLES, what, case.prescribe.sql(f"ALTER ROLE {name} LOGIN")))
    return findings


async def check_grants(case: Case) -> list[Finding]:
    """Whether PUBLIC may execute anything of ours."""
    routines = await case.rows("public_routines")
    if not routines:
        return ok(GRANTS, "PUBLIC may execute nothing")
    rest = f" and {len(routines) - 1} more" if len(routines) > 1 else ""
    what = f"everybody who can connect may execute {routines[0]['routine']}{rest}"
    revokes = [
        f"REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA {schema} FROM PUBLIC"
        for schema in sorted({row["sql_schema"] for row in routines})
    ]
    return [problem(GRANTS, what, case.prescribe.sql(*revokes))]


async def check_read_login(case: Case) -> list[Finding]:
    """Whether the read side's login gets in and may do its work, if it is known here."""
    try:
        url = api_database_url(case.settings)
    except ConfigError:
        return ok(READ_LOGIN, "not tried: its URL or password is not known here")
    try:
        async with inspect(url, case.settings.database) as database:
            (found,) = await database.ask(query("read_side"))
    except DatabaseUnreachable as error:
        what = str(error).partition("; ")[0]
        return [problem(READ_LOGIN, f"the read side {what}", _give_password(case))]
    except QueryRefused as error:
        return [problem(READ_LOGIN, f"the read side cannot work: {error}", case.prescribe.migrate)]
    if not found["can_become_anonymous"]:
        what = "the read side's login cannot become web_anon: every request fails"
        return [problem(READ_LOGIN, what, case.prescribe.migrate)]
    return ok(READ_LOGIN, f"gets in, {found['functions']} functions")


def _give_password(case: Case) -> str:
    if case.settings.api_database_url:
        return "check PROMGRES_API_DATABASE_URL"
    return f"PROMGRES_API_PASSWORD=… {case.prescribe.promgres('migrate', 'up')}"
