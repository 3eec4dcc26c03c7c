"""The Python client that users of /rpc have."""

from collections.abc import AsyncIterator

import pytest
from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError

from tests.support.readapi import Client, token

AGGREGATE = {
    "p_metric_name": "up",
    "p_schema": "common",
    "p_interval": "1 hour",
    "p_from": "2026-01-01T00:00:00+00:00",
    "p_to": "2026-01-02T00:00:00+00:00",
}


@pytest.fixture
async def client(api: Client) -> AsyncIterator[AsyncPostgrestClient]:
    async with AsyncPostgrestClient(api.url, schema="api") as ours:
        yield ours


async def test_rows(client: AsyncPostgrestClient) -> None:
    for get in (False, True):
        response = await client.rpc("one_column", {"p_count": 2}, get=get).execute()
        assert response.data == [{"id": 1}, {"id": 2}]
        assert response.count is None


async def test_an_aggregate_with_a_time_zone_offset(client: AsyncPostgrestClient) -> None:
    for get in (False, True):
        assert (await client.rpc("get_agg_metric", AGGREGATE, get=get).execute()).data == []


async def test_scalars_and_void(client: AsyncPostgrestClient) -> None:
    assert (await client.rpc("with_default", {"p_a": 1}).execute()).data == 11
    assert (await client.rpc("nothing", {}).execute()).data == []


async def test_count_and_head(client: AsyncPostgrestClient) -> None:
    response = await client.rpc("numbers", {"p_count": 3}, count="exact").execute()
    assert (response.data, response.count) == ([1, 2, 3], 3)
    response = await client.rpc("numbers", {"p_count": 3}, count="exact", head=True).execute()
    assert (response.data, response.count) == ([], 3)


async def test_single_and_csv(client: AsyncPostgrestClient) -> None:
    assert (await client.rpc("one_column", {"p_count": 1}).single().execute()).data == {"id": 1}
    assert (await client.rpc("one_column", {"p_count": 2}).csv().execute()).data == "id\n1\n2"
    with pytest.raises(APIError) as caught:
        await client.rpc("one_column", {"p_count": 2}).single().execute()
    assert caught.value.code == "PGRST116"


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("no_such_function", {}, "PGRST202"),
        ("get_agg_metric", AGGREGATE | {"p_interval": "often"}, "22007"),
        ("add_visit", {"p_who": "x"}, "42501"),
        ("fail_with", {"p_sqlstate": "P0001"}, "P0001"),
    ],
)
async def test_errors_arrive_whole(
    client: AsyncPostgrestClient, function: str, arguments: dict[str, str], code: str
) -> None:
    with pytest.raises(APIError) as caught:
        await client.rpc(function, arguments).execute()
    assert caught.value.code == code
    assert caught.value.message
    assert "JSON could not be generated" not in caught.value.message


async def test_a_token(own_api: Client) -> None:
    async with AsyncPostgrestClient(own_api.url, schema="api") as client:
        client.auth(token(role="writer"))
        assert (await client.rpc("who", {}).execute()).data == "writer"
        assert (await client.rpc("add_visit", {"p_who": "x"}).execute()).data == 1


async def test_its_default_schema_is_not_exposed(api: Client) -> None:
    async with AsyncPostgrestClient(api.url) as client:
        with pytest.raises(APIError) as caught:
            await client.rpc("who", {}).execute()
    assert caught.value.code == "PGRST106"
