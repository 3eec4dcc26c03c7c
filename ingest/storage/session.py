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

WRITING: Mapping[str, str] = {
    **SESSION,
    "promgres.duplicates": "",
    "promgres.marks": "",
    "promgres.new_rows": "",
}
"""For those in which staging triggers run: what they are told, and what they tell."""

STRAIGHT: Mapping[str, str] = {
    name: SESSION[name]
    for name in (
        "search_path",
        "row_security",
        "exit_on_error",
        "synchronous_commit",
        "idle_in_transaction_session_timeout",
    )
}
"""For those in which rows of numbers are copied in binary and marked: no value is written or read
as text, and no trigger of staging runs. Of a request of 100 samples all the others cost as much as
eight rows."""

BACKSLASH = "\\"

SINCE = {"transaction_timeout": 17}
"""An older PostgreSQL refuses a setting that it does not know."""

READ_ONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""All steps of a reading function see one moment: else a rollup that is stored between two of them
is in neither what is stored nor what is still computed."""

READ_COMMITTED = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""Whatever the default is. A database that is read-only by default stays so."""


def begin(how: str, settings: Mapping[str, str], version: int) -> str:
    """How a transaction begins, in one round trip.

    `SET LOCAL` costs the server 3 us a setting. A SELECT of `set_config`, even one that sets only
    what differs, costs it twice that, since it is planned each time.

    Args:
        how: `READ_ONLY` or `READ_COMMITTED`.
        settings: constants of ours.
        version: of PostgreSQL, its first number.
    """
    return "; ".join(
        [how]
        + [
            # a list of names within quotes is one name
            f"SET LOCAL {name} = " + (value if name == "search_path" else f"'{value}'")
            for name, value in known_to(version, settings).items()
        ]
    )


def known_to(version: int, settings: Mapping[str, str]) -> Mapping[str, str]:
    """Those settings that a version of PostgreSQL has."""
    return {name: value for name, value in settings.items() if SINCE.get(name, 0) <= version}


def set_config(settings: Mapping[str, str]) -> str:
    """The statement that sets what is not the same for every question, for a transaction; `role`
    comes last. Without parameters it goes to the server with BEGIN, and a round trip costs more
    than its plan.

    Args:
        settings: names of ours or of administrators; values of anybody.
    """
    each = [
        f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)"
        for name, value in settings.items()
    ]
    return f"SELECT {', '.join(each)}"


def literal(text: str) -> str:
    """A text as SQL, which means the same whatever `standard_conforming_strings` is: it is read
    before the statement that would set it."""
    quoted = text.replace("'", "''")
    return f" E'{quoted.replace(BACKSLASH, 2 * BACKSLASH)}'" if BACKSLASH in text else f"'{quoted}'"
