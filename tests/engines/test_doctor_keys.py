"""The doctor on API keys that end soon and on keys that nobody uses."""

from __future__ import annotations

from ingest.doctor import Level
from ingest.storage.administration import administer
from tests.support.databases import Database, connect
from tests.support.doctoring import diagnose

SOON = "UPDATE app.api_key SET expires_at = now() + interval '2 days 1 h' WHERE key_id = $1"


async def test_keys(engine_db: Database) -> None:
    async with connect(engine_db) as db:
        assert (await diagnose(engine_db)).only("keys").what == "0 good keys"
        key_id = await db.fetchval("SELECT key_id FROM app.create_key('default', name => 'ci')")
        idle = await db.fetchval("SELECT key_id FROM app.create_key('default')")
        await db.execute(
            "UPDATE app.api_key SET created_at = now() - interval '91 days' WHERE key_id = $1", idle
        )
        found = (await diagnose(engine_db)).only("keys")
        assert found.level == Level.OK
        assert found.what == f"2 good keys, 1 not used for long: {idle}"

        await db.execute(SOON, key_id)
        found = (await diagnose(engine_db)).only("keys")
        assert found.level == Level.WARNING
        assert found.what.startswith(f"key {key_id} (ci) of tenant default ends in 2 d")
        assert found.todo == f"promgres key expire {key_id} 90d"

        new_id = await db.fetchval("SELECT key_id FROM app.rotate_key($1)", key_id)
        await db.execute("UPDATE app.api_key SET expires_at = NULL WHERE key_id = $1", new_id)
        assert (await diagnose(engine_db)).level("keys") == Level.OK
        await db.execute("SELECT internal.note_key_use($1)", [key_id])
        found = (await diagnose(engine_db)).only("keys")
        assert found.what.endswith("and is still in use")
        assert new_id in found.todo
        await db.execute("SELECT app.revoke_key($1)", key_id)
        assert (await diagnose(engine_db)).level("keys") == Level.OK


async def test_a_new_key_does_not_show_itself(postgres_db: Database) -> None:
    async with administer(postgres_db.url, postgres_db.settings().database) as database:
        made = await database.create_key("default", ["read"], "", None)
    assert made.key not in repr(made)
    assert made.key_id in repr(made)
