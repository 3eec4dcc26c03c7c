"""What `promgres tenant`, `key` and `audit` have in common: asking, and showing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeVar

import click

from ingest.config import Settings
from ingest.errors import OperatorError
from ingest.storage.administration import Administration, administer
from ingest.storage.urls import owner_database_url

T = TypeVar("T")

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="JSON instead of a table or a sentence"
)

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"(\d{1,6}) ?(s|min|h|d|w)")


def ask(settings: Settings, question: Callable[[Administration], Awaitable[T]]) -> T:
    """Ask the database of the settings, the embedded one of a running `promgres up` too.

    Raises:
        OperatorError: no database, or what it says against the question.
    """
    url = owner_database_url(settings)

    async def answer() -> T:
        async with administer(url, settings.database) as administration:
            return await question(administration)

    return asyncio.run(answer())


def as_duration(_ctx: click.Context, param: click.Parameter, text: str) -> timedelta:
    """An option's length of time, such as 90s, 15min, 12h, 7d or 2w.

    Raises:
        OperatorError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        _refuse(param, text, "not a length of time such as 15min, 12h, 7d or 2w")
    return _length(found)


def as_moment(_ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    """A length of time from now, or a date and time, in UTC unless it says more; None is never.

    Raises:
        OperatorError: it is neither.
    """
    if text is None or text == "never":
        return None
    try:
        if found := _DURATION.fullmatch(text):
            return datetime.now(UTC) + _length(found)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(param, text, "not a time such as 7d, 2030-01-31, 2030-01-31T12:00 (UTC) or never")


def words_of(length: timedelta) -> str:
    """Such as `1 day 12:00:00`; without what is zero."""
    days, rest = length.days, length - timedelta(days=length.days)
    parts = [f"{days} day{'s' * (days != 1)}"] * bool(days) + [str(rest)] * bool(rest)
    return " ".join(parts) or "no time"


def _length(found: re.Match[str]) -> timedelta:
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def _refuse(param: click.Parameter, text: str, why: str) -> NoReturn:
    raise OperatorError(f"{param.get_error_hint(click.get_current_context())}: {text!a} is {why}")


def print_json(document: object) -> None:
    """As JSON; times in RFC 3339, UTC."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_in_utc))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], when_empty: str) -> None:
    """Columns as wide as what is in them; a row without cells at its end has no spaces there."""
    if not rows:
        click.echo(when_empty)
        return
    texts = [list(heads), *([cell(each) for each in row] for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(heads))]
    for line in texts:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def cell(value: object) -> str:
    """One line that a terminal shows as it is, whoever wrote it; `-` for nothing."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return " ".join(map(cell, value))
    if isinstance(value, dict):
        return cell(" ".join(f"{key}={_compact(each)}" for key, each in value.items()))
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else _quoted(each) for each in text) or "-"


def _compact(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _in_utc(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")


def _quoted(text: str) -> str:
    return ascii(text)[1:-1]
