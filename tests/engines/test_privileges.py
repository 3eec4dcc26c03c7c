"""Who may do what: for each role every schema, relation and function, exactly.

What is not in these tables nobody has but the owner. Whoever adds something that somebody may use
adds it here: a grant that nobody has read is none that anybody wanted.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.engines.sql_api import Api
from tests.engines.test_api_access import READS, WRITES

OURS = (
    "api", "app", "internal", "cumsum", "geo", "metric", "public",
    "staging_internal", "staging_cumsum", "staging_geo",
)  # fmt: skip
TARGETS = ("internal", "cumsum", "geo")
SEEN = {"api", "cumsum", "geo", "internal", "metric"}
"""By people with SQL."""
ASKED = {"cumsum", "geo", "internal"}
"""By the read side's own login."""
SCHEMAS = {
    "web_anon": {"api"},
    "writer": {"api"},
    "authenticator": ASKED,
    "promgres_api": ASKED,
    "sql_reader": SEEN,
    "promgres_reader": SEEN,
}
"""USAGE; CREATE has nobody. (`public` is PostgreSQL's own affair, and nothing of ours is in it.)"""
READER_VIEWS = {
    *(f"{target}.rollup_{width}" for target in ("internal", "cumsum")
      for width in ("1m", "1h", "1d")),
    "internal.series_hour", "cumsum.series_hour",
    *(f"{target}.prometheus_remote_write{suffix}" for target in ("internal", "cumsum")
      for suffix in ("", "_with_tags", "_last_day")),
    *(f"internal.prometheus_{tier}_1m" for tier in ("mainnet", "testnet", "common")),
    "internal.prometheus_remote_write_tag", "internal.cagg_calculated_metric", "internal.newest",
    "cumsum.all_metrics_minute", "geo.latest_coords",
}  # fmt: skip
RELATIONS = {"sql_reader": READER_VIEWS, "promgres_reader": READER_VIEWS}
"""SELECT; nobody has anything else, on anything."""
CALLED = {f"api.{name}" for name in READS}
CHANGING = {f"api.{name}" for name in WRITES}
OF_THE_READ_SIDE = {
    "internal.api_catalogue", "internal.api_catalogue_of", "internal.directory_version",
    "internal.key_directory", "internal.measure_buckets", "internal.note_key_use",
    "internal.pushed_page", "internal.record_refusals", "internal.recorded_packs",
    "internal.tenant_id_of", "internal.health",
    "internal.cardinality", "internal.exemplars_of_series", "internal.matching_series",
    "internal.labels_of_series",
    "internal.label_names", "internal.label_values", "internal.live_histograms",
    "internal.metadata_of", "internal.packed_histograms", "internal.packed_histogram_starts",
    "internal.packed_starts", "internal.page_of_series",
    *(f"{target}.{name}" for target in TARGETS
      for name in ("count_samples", "exported_samples", "live_series", "newest_samples",
                   "packed_samples")),
    "internal.reduced_samples", "cumsum.reduced_samples",
}  # fmt: skip
WITHIN_VIEWS = {
    "internal.current_tenant_id", "internal.reader_tenant_id", "internal.newest_of_metric",
    "internal.hours_from", "internal.of_hour",
    "geo.newest_places", "internal.prometheus_remote_write_between",
    "cumsum.prometheus_remote_write_between",
}  # fmt: skip
"""What views of readers call, as their reader."""
WITHIN_VIEWS_OF = {
    "postgres": {"internal.live", "cumsum.live", "internal.minute_bit"},
    "timescaledb": set[str](),
}
FUNCTIONS = {
    "web_anon": CALLED,
    "writer": CALLED | CHANGING,
    "authenticator": OF_THE_READ_SIDE,
    "promgres_api": OF_THE_READ_SIDE,
    "sql_reader": CALLED | WITHIN_VIEWS,
    "promgres_reader": CALLED | WITHIN_VIEWS,
}
MEMBERS = {
    ("authenticator", "web_anon"),
    ("authenticator", "writer"),
    ("promgres_api", "authenticator"),
    ("promgres_reader", "sql_reader"),
    ("sql_reader", "web_anon"),
}
"""Who is a member of which role, beside administrators."""

SCHEMA_RIGHTS = """
    SELECT r.role, n.nspname AS name, p.privilege
    FROM unnest($1::text[]) AS r (role), pg_namespace AS n,
        unnest(ARRAY['USAGE', 'CREATE']) AS p (privilege)
    WHERE n.nspname = ANY ($2) AND n.nspname <> 'public'
        AND has_schema_privilege(r.role, n.oid, p.privilege)
"""
RELATION_RIGHTS = """
    SELECT r.role, c.oid::regclass::text AS name, p.privilege
    FROM unnest($1::text[]) AS r (role),
        pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
            AS p (privilege)
    WHERE n.nspname = ANY ($2) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
        AND (has_table_privilege(r.role, c.oid, p.privilege)
            OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                AND has_any_column_privilege(r.role, c.oid, p.privilege))
    UNION ALL
    SELECT r.role, c.oid::regclass::text, p.privilege
    FROM unnest($1::text[]) AS r (role),
        pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS p (privilege)
    WHERE n.nspname = ANY ($2) AND c.relkind = 'S'
        AND has_sequence_privilege(r.role, c.oid, p.privilege)
"""
FUNCTION_RIGHTS = """
    SELECT r.role, n.nspname || '.' || f.proname AS name
    FROM unnest($1::text[]) AS r (role),
        pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
    WHERE n.nspname = ANY ($2) AND n.nspname <> 'public'
        AND has_schema_privilege(r.role, n.oid, 'USAGE')
        AND has_function_privilege(r.role, f.oid, 'EXECUTE')
"""
STRANGERS = """
    SELECT DISTINCT grantee::regrole::text
    FROM (
        SELECT (aclexplode(nspacl)).grantee FROM pg_namespace WHERE nspname = ANY ($2)
        UNION SELECT (aclexplode(relacl)).grantee FROM pg_class
            WHERE relnamespace::regnamespace::text = ANY ($2)
        UNION SELECT (aclexplode(proacl)).grantee FROM pg_proc
            WHERE pronamespace::regnamespace::text = ANY ($2)
    ) AS a
    WHERE grantee::regrole::text <> ALL ($1) AND grantee::regrole::text <> 'promgres_owner'
"""
DANGEROUS = """
    SELECT rolname FROM pg_roles
    WHERE rolname = ANY ($1) AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
        OR rolbypassrls OR pg_has_role(rolname, 'promgres_owner', 'MEMBER'))
"""
ROLES = list(SCHEMAS)


async def rights(api: Api, query: str) -> dict[str, set[tuple[str, str]]]:
    """By role, pairs of a name and a privilege."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for role, *right in await api.connection.fetch(query, ROLES, list(OURS)):
        found[role].add((right[0], right[1] if len(right) > 1 else "EXECUTE"))
    return found


async def test_schemas(api: Api) -> None:
    found = await rights(api, SCHEMA_RIGHTS)
    assert found == {role: {(name, "USAGE") for name in names} for role, names in SCHEMAS.items()}


async def test_relations_and_sequences(api: Api) -> None:
    found = await rights(api, RELATION_RIGHTS)
    assert found == {
        role: {(name, "SELECT") for name in views} for role, views in RELATIONS.items()
    }


@pytest.mark.parametrize("role", ROLES)
async def test_functions(api: Api, role: str) -> None:
    found = {name for name, _ in (await rights(api, FUNCTION_RIGHTS))[role]}
    expected = set(FUNCTIONS[role])
    if role in RELATIONS:
        expected |= WITHIN_VIEWS_OF[api.database.engine]
    assert found == expected


async def test_nobody_else_has_anything_and_nobody_is_more_than_it_says(api: Api) -> None:
    connection = api.connection
    ours = [each for each in OURS if each != "public"]
    assert await connection.fetch(STRANGERS, ROLES, ours) == []
    assert await connection.fetch(DANGEROUS, ROLES) == []
    members = await connection.fetch(
        "SELECT m.rolname, g.rolname FROM pg_auth_members AS a"
        " JOIN pg_roles AS m ON m.oid = a.member JOIN pg_roles AS g ON g.oid = a.roleid"
        " WHERE NOT m.rolsuper AND m.rolname <> 'promgres_owner' AND m.rolname !~ '^pg_'"
    )
    assert {tuple(row) for row in members} == MEMBERS
