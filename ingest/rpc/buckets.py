"""How many buckets a question asks for, before it is asked: a function that takes `p_interval` (or
`p_step`), `p_from` and `p_to` makes a row for each, and a slip of the pen may ask for billions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.http.problems import Problem
from ingest.rpc.functions import Argument, Function
from ingest.rpc.request import Arguments, JsonArguments, TextArguments
from ingest.sqlfiles import filled_query

if TYPE_CHECKING:
    import asyncpg

WIDTHS_CALLED = ("p_interval", "p_step")
SINCE, UNTIL, LIMIT = "p_from", "p_to", "p_limit"
COUNTS = frozenset({"smallint", "integer", "bigint", "numeric"})
TIMES = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})
WIDTHS = {
    "1 millisecond": 1e-3, "10 milliseconds": 1e-2, "100 milliseconds": 1e-1, "1 second": 1,
    "10 seconds": 10, "30 seconds": 30, "1 minute": 60, "5 minutes": 300, "15 minutes": 900,
    "1 hour": 3600, "6 hours": 21_600, "1 day": 86_400, "1 week": 604_800,
    "1 month": 2_592_000, "1 year": 31_557_600,
}  # fmt: skip
"""What a refusal proposes, in seconds as PostgreSQL counts them."""


@dataclass(frozen=True, slots=True)
class BucketCheck:
    """A statement that reads the arguments as the function will."""

    sql: str
    parameters: tuple[object, ...]
    most: int
    width: str

    async def refuse(self, connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
        """Nothing, if there are no more buckets than `most`.

        Raises:
            Problem: 400, with an interval that would do.
            asyncpg.PostgresError: an argument that means nothing.
        """
        row = await connection.fetchrow(self.sql, *self.parameters)
        assert row is not None
        width, span = row["width"], row["span"]
        if width is None or span is None or not (width > 0 and span / self.most > width):
            return
        if row["page"] is not None and row["page"] <= self.most:
            return  # a page of them is asked for
        count = f"{math.ceil(span / width):,}" if math.isfinite(span / width) else "too many"
        raise Problem(
            400,
            "PGRSTX02",
            f"{count} buckets are asked for; {self.most:,} at most are answered (api.max_buckets)",
            f"From {SINCE} to {UNTIL} are {span:,.0f} seconds",
            f"A {self.width} of {_wide_enough(span / self.most)} would do, or a shorter period",
        )


def bucket_check(function: Function, arguments: Arguments, most: int) -> BucketCheck | None:
    """The check of this call; None for a function that has no such arguments.

    An edge that is not given is the function's default. Of an endless period that part counts in
    which samples may be. A function that takes `p_limit` makes a page of rows, however many buckets
    the period has.
    """
    names = (*WIDTHS_CALLED, SINCE, UNTIL, LIMIT)
    asked = {each.name: each for each in function.arguments if each.name in names}
    widths = [name for name in WIDTHS_CALLED if name in asked]
    if len(widths) != 1 or not asked.keys() >= {SINCE, UNTIL}:
        return None
    [width] = widths
    if asked[width].sql_type != "interval":
        return None
    if asked[SINCE].sql_type not in TIMES or asked[UNTIL].sql_type not in TIMES:
        return None
    if LIMIT in asked and asked[LIMIT].sql_type not in COUNTS:
        del asked[LIMIT]
    given = [each for each in asked.values() if each.name in arguments.names]
    values = {each.name: each.default or "NULL" for each in asked.values()}
    source, parameters = "", ()  # type: str, tuple[object, ...]
    if isinstance(arguments, TextArguments):
        parameters = tuple(arguments.values[each.name][-1] for each in given)
        values |= {each.name: _text(number, each) for number, each in enumerate(given, start=1)}
    elif given and isinstance(arguments, JsonArguments):
        columns = ", ".join(f"{each.name} {each.sql_type}" for each in given)
        source = f"FROM pg_catalog.json_to_record($1::text::json) AS a({columns})"
        parameters = (arguments.document,)
        values |= {each.name: f"a.{each.name}" for each in given}
    sql = filled_query(  # names, types and defaults are the catalogue's
        "rpc/bucket_check",
        width=values[width],
        since=values[SINCE],
        until=values[UNTIL],
        page=values.get(LIMIT, "NULL"),
        source=source,
    )
    return BucketCheck(sql, parameters, most, width)


def _text(number: int, argument: Argument) -> str:
    return f"CAST(${number}::text AS {argument.sql_type})"


def _wide_enough(seconds: float) -> str:
    for name, length in WIDTHS.items():
        if length >= seconds:
            return f"'{name}'"
    return f"'{math.ceil(seconds / WIDTHS['1 year'])} years'"
