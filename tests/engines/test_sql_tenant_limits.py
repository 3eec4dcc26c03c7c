"""How many series a tenant has, as the write side asks before it lets in new ones."""

from __future__ import annotations

from tests.support.databases import Database, connect

RESOLVE = "SELECT count(*) FROM internal.resolve_series($1, $2, $3, $4, $5, $6)"


async def test_series_of_a_tenant_are_counted_up_to_a_limit(engine_db: Database) -> None:
    """Of all its metrics, targets and schemas; and nobody else's."""
    wanted = [
        (tenant_id, target, name, schema, f'{{"__name__": "{name}", "n": "{number}"}}')
        for tenant_id, each in ((1, 2), (2, 3))
        for target, schema in (("internal", "common"), ("internal", "mainnet"), ("geo", "geo"))
        for name in ("up", "down")
        for number in range(each)
    ]
    columns = [list(column) for column in zip(*wanted, strict=True)]
    identities = [number.to_bytes(16, "big") for number in range(len(wanted))]
    async with connect(engine_db) as connection:
        assert await connection.fetchval(RESOLVE, identities, *columns) == 30
        counted = {
            (tenant_id, most): await connection.fetchval(
                "SELECT internal.count_series($1, $2)", tenant_id, most
            )
            for tenant_id in (1, 2, 3)
            for most in (0, 7, 2**31)
        }
    assert counted == {
        (1, 0): 0, (1, 7): 7, (1, 2**31): 12,
        (2, 0): 0, (2, 7): 7, (2, 2**31): 18,
        (3, 0): 0, (3, 7): 0, (3, 2**31): 0,
    }  # fmt: skip
