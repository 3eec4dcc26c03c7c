"""The statuses of /rpc come from SQLSTATEs: a server that speaks German changes none."""

from __future__ import annotations

from tests.support.databases import Database
from tests.support.readapi import add_functions, running_api, token


async def test_errors_have_the_same_statuses_in_every_language(spoken_db: Database) -> None:
    await add_functions(spoken_db)
    async with running_api(spoken_db, statement_timeout_seconds=3) as api:
        writer = token(role="writer")
        assert (await api.post("add_visit", writer, p_who="x")).status == 200
        asked = {
            "22P02": (400, await api.get("numbers", p_count="many")),
            "22007": (400, await api.get("echo_time", p_value="no time")),
            "23505": (409, await api.post("add_visit", writer, p_who="x")),
            "25006": (405, await api.get("add_visit", writer, p_who="y")),
            "42501": (401, await api.get("not_for_anyone")),
            "57014": (500, await api.post("nap", p_seconds=30)),
        }
        for code, (status, answer) in asked.items():
            assert (answer.status, answer.json["code"]) == (status, code), answer
        await api.sql("DROP FUNCTION api.numbers(int)", "SELECT 1")
        assert (await api.get("numbers", p_count=1)).json["code"] == "PGRST202"
        await api.sql(
            "REVOKE ALL ON FUNCTION internal.api_catalogue_of(text[]) FROM promgres_api", "SELECT 1"
        )
        refused = await api.get("nosuch")
        assert (refused.status, refused.json["code"]) == (503, "PGRST002")
