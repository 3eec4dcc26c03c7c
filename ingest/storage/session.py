"""What a transaction sets for itself: all that an answer depends on, in one place.

A server, a database and a role may have settings of their own (`ALTER DATABASE … SET`, `ALTER ROLE
… SET`), and a pooler hands sessions on as others left them. Not set here, so as they have it:

- `statement_timeout` and `lock_timeout` of the write side: limits that an administrator sets on
  purpose; a batch that meets one is written in smaller ones, or later;
- `lc_monetary`, `lc_numeric`, `lc_time`, `default_text_search_config` and what extensions define:
  nothing of ours asks for them, and functions of users mean what the database says;
- `lc_messages`: only superusers may change it, and no message decides anything;
- what only makes a query quicker or slower.
"""

from __future__ import annotations

from collections.abc import Mapping

SESSION: Mapping[str, str] = {
    # how values are written as text, and read
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "array_nulls": "on",
    # what SQL means
    "search_path": "pg_catalog, pg_temp",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "exit_on_error": "off",
    # what is acknowledged is on disk, and a busy event loop is no idle client
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "0",
}
"""For every transaction of both sides."""

READING: Mapping[str, str] = {**SESSION, "lock_timeout": "0", "transaction_timeout": "0"}
"""For those whose time is limited by a `statement_timeout` of ours."""

WRITING: Mapping[str, str] = {**SESSION, "promgres.duplicates": "", "promgres.new_rows": ""}
"""For those in which staging triggers run: what they are told, and what they tell."""

_SET = (
    "SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, true))"
    " FROM {source} AS s(name, value)"
    " WHERE pg_catalog.strpos(s.name, '.') > 0"
    " OR pg_catalog.current_setting(s.name, true) <> s.value"
)
"""Few settings differ, and comparing costs less than setting. One that this version of PostgreSQL
does not know is left out; one with a dot is never known before."""

SET = _SET.format(source="unnest($1::text[], $2::text[])")
"""Set names to values, both lists of text, in their order: `role` comes last."""


def set_sql(settings: Mapping[str, str]) -> str:
    """The same for settings that are constants of ours, as a statement without parameters."""
    rows = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())
    return _SET.format(source=f"(VALUES {rows})")


BEGIN_WRITING = f"BEGIN ISOLATION LEVEL READ COMMITTED; {set_sql(WRITING)}"
"""How a writing transaction begins, in one round trip."""
