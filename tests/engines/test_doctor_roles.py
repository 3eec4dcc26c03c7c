"""The doctor on roles that were meddled with. Roles belong to the whole cluster: each test mends
them again, with the doctor's own medicine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ingest.doctor import Level
from tests.support.databases import Database, blocking, execute
from tests.support.doctoring import diagnose, heals, take
from tests.support.postgres import Cluster

AS_MADE = (
    "ALTER ROLE web_anon NOSUPERUSER NOBYPASSRLS NOREPLICATION",
    "ALTER ROLE promgres_api LOGIN PASSWORD NULL",
    "REVOKE promgres_owner FROM web_anon",
    "GRANT web_anon, writer TO authenticator",
    "GRANT authenticator TO promgres_api",
)


@pytest.fixture
def meddled(postgres_db: Database, cluster: Cluster) -> Iterator[Database]:
    """A database whose roles are put right even if a test fails."""
    yield postgres_db
    blocking(execute(cluster.url("postgres"), *AS_MADE))


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        ("ALTER ROLE web_anon SUPERUSER", "web_anon has rights that go past every grant"),
        ("GRANT promgres_owner TO web_anon", "web_anon is a member of promgres_owner"),
        ("REVOKE writer FROM authenticator", "authenticator is not a member of writer"),
        ("REVOKE authenticator FROM promgres_api", "promgres_api is not a member of authenticator"),
        ("ALTER ROLE promgres_api NOLOGIN", "promgres_api cannot log in"),
    ],
)
async def test_roles_are_put_right(meddled: Database, harm: str, what: str) -> None:
    await execute(meddled.url, harm)
    found = await diagnose(meddled)
    assert what in found.bad()["roles"]
    await heals(meddled, "roles")
    assert (await diagnose(meddled)).level("read login") == Level.OK


async def test_a_role_is_missing(timescale_roles_db: Database) -> None:
    await execute(timescale_roles_db.url, "ALTER ROLE writer RENAME TO author")
    found = await diagnose(timescale_roles_db)
    assert [each.what for each in found.of("roles")] == [
        "role writer is missing",
        "authenticator is not a member of writer",
    ]
    assert found.of("roles")[0].todo == "promgres migrate up"


async def test_jobs_need_an_owner_who_can_log_in(timescale_roles_db: Database) -> None:
    await execute(timescale_roles_db.url, "ALTER ROLE promgres_owner NOLOGIN")
    assert "jobs run as it" in (await diagnose(timescale_roles_db)).only("roles").what
    await heals(timescale_roles_db, "roles")


async def test_the_read_sides_login_does_not_get_in(meddled: Database) -> None:
    await execute(meddled.url, "ALTER ROLE promgres_api NOLOGIN")
    found = (await diagnose(meddled)).only("read login")
    assert found.level == Level.PROBLEM
    assert "not permitted to log in" in found.what
    assert found.todo == "check PROMGRES_API_DATABASE_URL"
    found = (await diagnose(meddled, settings={"api_database_url": None})).only("read login")
    assert found.todo == "PROMGRES_API_PASSWORD=… promgres migrate up"


async def test_the_read_sides_login_may_not_do_its_work(meddled: Database) -> None:
    await execute(meddled.url, "REVOKE USAGE ON SCHEMA internal FROM promgres_api, authenticator")
    found = (await diagnose(meddled)).only("read login")
    assert found.level == Level.PROBLEM
    assert "permission denied for schema internal" in found.what


async def test_the_read_sides_login_cannot_become_anonymous(meddled: Database) -> None:
    await execute(meddled.url, "REVOKE web_anon FROM authenticator")
    found = await diagnose(meddled)
    assert "cannot become web_anon" in found.bad()["read login"]
    await take(meddled, found.only("roles"))
    assert (await diagnose(meddled)).level("read login") == Level.OK


async def test_a_login_that_is_not_known_is_not_tried(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TCP it needs a password; the tests' server has a socket only, so libpq's variable leads
    there."""
    host = postgres_db.url.partition("host=")[2].partition("&")[0]
    monkeypatch.setenv("PGHOST", host)
    hostless = replace(postgres_db, url=postgres_db.url.partition("?")[0])
    found = await diagnose(hostless, settings={"api_database_url": None})
    assert "not known here" in found.only("read login").what
