"""The flags that every command takes, and the settings they lead to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ingest.config import Settings, load_settings
from ingest.logs import configure_logs

_PATH = click.Path(path_type=Path, readable=False)
"""Whoever needs the path says in one line that it cannot be read; click would take three."""

_FLAGS = [
    click.option("--config", type=_PATH, help="promgres.toml to read"),
    click.option("--database-url", help="PostgreSQL URL; unset: embedded PostgreSQL"),
    click.option("--api-database-url", help="URL of the read side"),
    click.option("--data-dir", type=_PATH, help="embedded database, spool"),
    click.option("--listen", help="address of the write side, HOST:PORT"),
    click.option("--api-listen", help="address of the read side, HOST:PORT"),
    click.option("--database-listen", help="embedded: accept TCP here too (needs a password)"),
    click.option("--engine", help="auto, timescaledb or postgres"),
    click.option("--jwt-secret", help="HS256 secret of the read side's tokens"),
    click.option("--log-level", help="debug, info, warning or error"),
    click.option("--log-format", help="auto, text or json"),
]
_NAMES = [
    "database_url", "api_database_url", "data_dir", "listen", "api_listen", "database_listen",
    "engine", "jwt_secret", "log_level", "log_format",
]  # fmt: skip


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of all settings; it receives them as its first argument.

    Raises:
        ConfigError: a setting is wrong.
    """

    @functools.wraps(function)
    def command(config: Path | None, **arguments: Any) -> Any:
        flags = {name: arguments.pop(name) for name in _NAMES}
        flags["database.listen"] = flags.pop("database_listen")
        settings: Settings = load_settings(flags, config)
        configure_logs(settings.log_level, settings.log_format)
        return function(settings, **arguments)

    for flag in reversed(_FLAGS):
        command = flag(command)
    return command
