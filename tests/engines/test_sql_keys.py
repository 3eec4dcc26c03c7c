"""Tenants, API keys and the audit record in SQL: their rules hold whoever calls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.databases import Database, connect

KEY = re.compile(r"pmk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
EVERYTHING = """
    SELECT string_agg(line, E'\\n') FROM (
        SELECT t::text FROM app.tenant t UNION ALL SELECT k::text FROM app.api_key k
        UNION ALL SELECT a::text FROM app.audit a UNION ALL SELECT internal.key_directory()::text
    ) AS lines (line)
"""


async def _directory(connection: asyncpg.Connection) -> dict[str, Any]:
    directory: dict[str, Any] = json.loads(
        await connection.fetchval("SELECT internal.key_directory()")
    )
    assert directory["version"] == await _version(connection)
    return directory


async def _version(connection: asyncpg.Connection) -> int:
    version: int = await connection.fetchval("SELECT internal.directory_version()")
    return version


async def _known(connection: asyncpg.Connection, key_id: str) -> dict[str, Any]:
    keys = (await _directory(connection))["keys"]
    (key,) = [key for key in keys if key["key_id"] == key_id]
    found: dict[str, Any] = key
    return found


async def _listed(connection: asyncpg.Connection, key_id: str) -> asyncpg.Record:
    return await connection.fetchrow("SELECT * FROM app.list_keys() WHERE key_id = $1", key_id)


def _fits(known: dict[str, Any], secret: str) -> bool:
    digest = hashlib.sha256(bytes.fromhex(known["salt"]) + secret.encode())
    return bool(digest.hexdigest() == known["hash"])


async def test_the_life_of_a_key(engine_db: Database) -> None:
    async with connect(engine_db) as db:
        tenant_id = await db.fetchval("SELECT app.create_tenant('Ünïted 運営')")
        key_id, key = await db.fetchrow(
            "SELECT * FROM app.create_key('Ünïted 運営', '{admin,write,admin}', name => 'ci',"
            " expires_at => now() + interval '30 days')"
        )
        parts = KEY.fullmatch(key)
        assert parts is not None
        assert parts[1] == key_id
        known = await _known(db, key_id)
        assert (known["tenant_id"], known["scopes"]) == (tenant_id, ["write", "admin"])
        assert known["revoked"] is False
        assert _fits(known, parts[2])

        new_id, new = await db.fetchrow("SELECT * FROM app.rotate_key($1, interval '1 h')", key_id)
        old, rotated = await _listed(db, key_id), await _listed(db, new_id)
        assert (old["state"], old["replaced_by"]) == ("rotated", new_id)
        assert old["expires_at"] - rotated["created_at"] < timedelta(hours=1, minutes=1)
        assert rotated["state"] == "active"
        assert (rotated["tenant"], rotated["name"], rotated["scopes"]) == (
            "Ünïted 運営", "ci", ["write", "admin"],
        )  # fmt: skip
        assert rotated["expires_at"].timestamp() == known["expires_at"]
        assert _fits(await _known(db, new_id), new.rpartition(f"{new_id}_")[2])
        assert _fits(await _known(db, key_id), parts[2])

        await db.fetchval("SELECT app.expire_key($1, NULL)", new_id)
        assert (await _known(db, new_id))["expires_at"] is None
        assert await db.fetchval("SELECT app.revoke_key($1)", new) is True  # the whole key, too
        revoked = await _listed(db, new_id)
        assert await db.fetchval("SELECT app.revoke_key($1)", new_id) is False
        assert await _listed(db, new_id) == revoked
        assert revoked["state"] == "revoked"
        assert (await _known(db, new_id))["revoked"] is True

        everything = await db.fetchval(EVERYTHING)
        for each in (key, new):
            assert each.split("_", 2)[2] not in everything


async def test_a_rotation_never_prolongs_a_key(engine_db: Database) -> None:
    async with connect(engine_db) as db:
        key_id, _ = await db.fetchrow(
            "SELECT * FROM app.create_key('default', expires_at => now() + interval '1 hour')"
        )
        before = await _listed(db, key_id)
        await db.fetchrow("SELECT * FROM app.rotate_key($1)", key_id)
        assert (await _listed(db, key_id))["expires_at"] == before["expires_at"]
        at_once, _ = await db.fetchrow("SELECT * FROM app.create_key('default')")
        await db.fetchrow("SELECT * FROM app.rotate_key($1, interval '0')", at_once)
        assert (await _listed(db, at_once))["state"] == "expired"


REFUSED = [
    ("app.create_tenant('')", "1 to 100 printable characters"),
    ("app.create_tenant(repeat('x', 101))", "1 to 100 printable characters"),
    (r"app.create_tenant(E'a\nb')", "1 to 100 printable characters"),
    (r"app.create_tenant(E'a\u202eb')", "1 to 100 printable characters"),
    ("app.create_tenant(' a')", "no space at its ends"),
    ("app.create_tenant(NULL)", "1 to 100 printable characters"),
    ("app.create_tenant('default')", 'tenant "default" is there already'),
    ("app.create_key('nobody')", 'there is no tenant "nobody"'),
    ("app.create_key(NULL)", "there is no tenant null"),
    ("app.create_key('default', '{{write,delete}}')", 'unknown scope "delete"'),
    ("app.create_key('default', '{{NULL}}')", "unknown scope null"),
    ("app.create_key('default', '{{}}')", "a key needs a scope"),
    ("app.create_key('default', NULL)", "a key needs a scope"),
    (r"app.create_key('default', name => E'\t')", "at most 100 printable"),
    ("app.create_key('default', expires_at => now())", "cannot expire in the past"),
    ("app.create_key('default', expires_at => 'infinity')", "or never: null"),
    ("app.rotate_key('abcdefghijkl')", "there is no key abcdefghijkl"),
    ("app.rotate_key('ABC')", "an id is 12 lower-case letters and digits"),
    ("app.rotate_key(NULL)", "an id is 12 lower-case letters and digits"),
    ("app.rotate_key('{good}', interval '-1 s')", "between 0 and 1 year"),
    ("app.rotate_key('{good}', NULL)", "between 0 and 1 year"),
    ("app.rotate_key('{rotated}')", "was rotated already: "),
    ("app.rotate_key('{revoked}')", "it was revoked at "),
    ("app.rotate_key('{expired}')", "it expired at "),
    ("app.revoke_key('abcdefghijkl')", "there is no key abcdefghijkl"),
    ("app.expire_key('{good}', now() - interval '1 s')", "cannot expire in the past"),
    ("app.expire_key('{revoked}', NULL)", "nothing brings it back"),
    ("app.set_tenant_limits('nobody', '{{}}')", 'there is no tenant "nobody"'),
    ("app.set_tenant_limits('default', '[]')", "limits are a JSON object"),
    ("app.set_tenant_limits('default', NULL)", "limits are a JSON object"),
    ("app.set_tenant_limits('default', '{{\"rows\": 1}}')", 'unknown limit "rows"'),
    ("app.set_tenant_limits('default', '{{\"rows\": null}}')", 'unknown limit "rows"'),
    ("app.set_tenant_limits('default', '{{\"series\": 1.5}}')", "series is a whole number"),
    ("app.set_tenant_limits('default', '{{\"series\": \"1\"}}')", "series is a whole number"),
    ("app.set_tenant_limits('default', '{{\"spool_share\": 1.01}}')", "from 0 to 1, not 1.01"),
    ("app.change_tenant_limits('default', '{{\"series\": -1}}')", "series is a whole number"),
    ("app.list_keys('nobody')", 'there is no tenant "nobody"'),
    ("app.create_tenant('{secret}')", "and no key"),
    ("app.create_key('{secret}')", "there is no tenant"),
    ("app.create_key('default', '{{{secret}}}')", "unknown scope"),
    ("app.create_key('default', name => '{secret}')", "the name of a key is no key"),
    ("app.rotate_key('{secret} x')", "an id is 12"),
]


async def _make_keys(db: asyncpg.Connection) -> dict[str, str]:
    """Keys of every state by its name, and a whole one (`secret`)."""
    made = {}
    for state in ("good", "rotated", "revoked", "expired"):
        made[state], made["secret"] = await db.fetchrow("SELECT * FROM app.create_key('default')")
    await db.fetchrow("SELECT * FROM app.rotate_key($1)", made["rotated"])
    await db.fetchval("SELECT app.revoke_key($1)", made["revoked"])
    await db.execute(
        "UPDATE app.api_key SET expires_at = now() - interval '1 s' WHERE key_id = $1",
        made["expired"],
    )
    return made


async def test_what_is_wrong_is_named_and_changes_nothing(engine_db: Database) -> None:
    async with connect(engine_db) as db:
        keys = await _make_keys(db)
        before = await db.fetchval(EVERYTHING)
        for call, reason in REFUSED:
            with pytest.raises(asyncpg.PostgresError) as refusal:
                await db.fetch(f"SELECT * FROM {call.format(**keys)}")
            said = str(refusal.value)
            assert reason in said, call
            assert "\n" not in said
            assert keys["secret"].split("_", 2)[2] not in said, call
        assert await db.fetchval(EVERYTHING) == before


async def test_limits(engine_db: Database) -> None:
    async with connect(engine_db) as db:

        async def limits() -> dict[str, float]:
            (tenant,) = (await _directory(db))["tenants"]
            found: dict[str, float] = tenant["limits"]
            return found

        everything = {
            "items_per_second": 2.50, "series": 5.0, "spool_share": 0, "new_series_per_hour": 7,
        }  # fmt: skip
        call = "SELECT app.{}_tenant_limits('default', $1)"
        await db.fetchval(call.format("set"), json.dumps(everything))
        assert await limits() == everything
        assert "5.0" not in await db.fetchval("SELECT limits::text FROM app.tenant")
        now = await db.fetchval(call.format("change"), '{"series": null, "spool_share": 0.25}')
        assert json.loads(now) == await limits()
        assert now == '{"spool_share": 0.25, "items_per_second": 2.5, "new_series_per_hour": 7}'
        await db.fetchval(call.format("set"), '{"series": null}')
        assert await limits() == {}


async def test_the_version_tells_of_every_change_and_of_no_use(engine_db: Database) -> None:
    async with connect(engine_db) as db:
        versions = [await _version(db)]
        key_id = await db.fetchval("SELECT key_id FROM app.create_key('default')")
        versions.append(await _version(db))
        for change in (
            "SELECT app.create_tenant('other')",
            "SELECT app.set_tenant_limits('other', '{}')",
            "SELECT * FROM app.rotate_key('KEY')",
            "SELECT app.expire_key('KEY', NULL)",
            "SELECT app.revoke_key('KEY')",
            "UPDATE app.api_key SET revoked_at = NULL WHERE key_id = 'KEY'",  # by hand
            "UPDATE app.tenant SET name = 'another' WHERE name = 'other'",
            "DELETE FROM app.tenant WHERE name = 'another'",
        ):
            await db.execute(change.replace("KEY", key_id))
            versions.append(await _version(db))
        assert versions == sorted(set(versions))

        for _ in range(2):
            await db.execute("SELECT internal.note_key_use($1)", [key_id, "abcdefghijkl"])
        used = (await _listed(db, key_id))["last_used_at"]
        assert used is not None
        assert await _version(db) == versions[-1]


async def test_the_record_of_changes_and_refusals(engine_db: Database) -> None:
    refusals = [
        {"at": 1_700_000_000.5, "action": "unknown_key", "tenant_id": None, "key_id": None,
         "address": "192.0.2.1", "times": 3, "details": {"path": "/api/v1/write"}},
        {"at": 9e12, "action": "revoked_key", "tenant_id": 1, "key_id": "abcdefghijkl",
         "address": "2001:db8::1", "times": 0, "details": None},
    ]  # fmt: skip
    async with connect(engine_db) as db:
        login = await db.fetchval("SELECT session_user::text")
        key_id = await db.fetchval("SELECT key_id FROM app.create_key('default', name => 'x')")
        await db.fetchval("SELECT app.create_tenant('other')")
        await db.execute("SELECT internal.record_refusals($1)", json.dumps(refusals))
        rows = await db.fetch("SELECT * FROM app.list_audit()")
        assert [(row["action"], row["tenant"], row["key_id"], row["actor"], row["times"])
                for row in rows] == [
            ("revoked_key", "default", "abcdefghijkl", None, 1),
            ("create_tenant", "other", None, login, 1),
            ("create_key", "default", key_id, login, 1),
            ("unknown_key", None, None, None, 3),
        ]  # fmt: skip
        assert json.loads(rows[2]["details"]) == {"name": "x", "scopes": ["write", "read"]}
        assert (rows[3]["address"], rows[3]["at"].timestamp()) == ("192.0.2.1", 1_700_000_000.5)

        async def actions(*arguments: object) -> list[str]:
            found = await db.fetch("SELECT action FROM app.list_audit($1, $2, $3)", *arguments)
            return [row["action"] for row in found]

        assert await actions(2, None, None) == ["revoked_key", "create_tenant"]
        assert await actions(9, "default", None) == ["revoked_key", "create_key"]
        assert await actions(9, "default", "create_key") == ["create_key"]

        dropped = "SELECT internal.drop_expired_audit(365, $1)"
        assert [await db.fetchval(dropped, limit) for limit in (0, 10, 10)] == [0, 1, 0]
        assert len(await actions(9, None, None)) == 3


async def test_the_read_sides_login_reads_the_directory_and_nothing_else(
    postgres_db: Database,
) -> None:
    allowed = ("internal.key_directory()", "internal.directory_version()",
               "internal.note_key_use('{}')", "internal.record_refusals('[]')")  # fmt: skip
    forbidden = ("app.create_tenant('x')", "app.create_key('default')", "app.list_keys()",
                 "internal.audit_change('x', 1, NULL, '{}')", "app.list_audit()",
                 "internal.mint_key(1, '{admin}', '', NULL)",
                 "internal.drop_expired_audit(365, 1)")  # fmt: skip
    login = await asyncpg.connect(postgres_db.api_url)
    try:
        for call in allowed:
            await login.execute(f"SELECT {call}")
        for query in (*(f"SELECT {call}" for call in forbidden), "TABLE app.api_key"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.execute(query)
        await login.execute("SET ROLE web_anon")
        for call in allowed:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.execute(f"SELECT {call}")
    finally:
        await login.close()


async def test_two_rotations_at_once_make_one_key(postgres_db: Database) -> None:
    async def rotate(key_id: str) -> str:
        async with connect(postgres_db) as db:
            return str(await db.fetchval("SELECT key_id FROM app.rotate_key($1)", key_id))

    async with connect(postgres_db) as db:
        key_id = await db.fetchval("SELECT key_id FROM app.create_key('default')")
        outcomes = await asyncio.gather(*(rotate(key_id) for _ in range(4)), return_exceptions=True)
        (new_id,) = [each for each in outcomes if isinstance(each, str)]
        assert all(new_id in str(each) for each in outcomes)
        assert await db.fetchval("SELECT count(*) FROM app.api_key") == 2
