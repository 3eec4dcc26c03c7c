"""What `promgres pipe`, `query`, `export` and `agent` have in common: a server and a key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ingest.errors import ConfigError
from promgres_client.exchange import Endpoint

DEFAULT_URL = "http://127.0.0.1:9273"
READ_URL = "http://127.0.0.1:3000"
READ_URL_VARIABLE = "PROMGRES_READ_URL"
KEY_VARIABLE = "PROMGRES_KEY"
TIMEOUT_SECONDS = 30.0

_URL = click.option(
    "--url",
    envvar="PROMGRES_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="of the write side or the read side (environment: PROMGRES_URL)",
)
_READ_URL = click.option(
    "--url",
    envvar=READ_URL_VARIABLE,
    default=READ_URL,
    show_default=True,
    help=f"of the read side (environment: {READ_URL_VARIABLE})",
)
_KEY = click.option(
    "--key", envvar=KEY_VARIABLE, help=f"API key (environment: {KEY_VARIABLE}, hidden from `ps`)"
)


def with_server(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags `--url`, of either side, and `--key`, checked.

    Raises:
        ConfigError: one of them cannot be used.
    """
    return _with_server(function, _URL)


def with_read_side(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for what only the read side answers."""
    return _with_server(function, _READ_URL)


def _with_server(
    function: Callable[..., Any], url_option: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[..., Any]:
    @url_option
    @_KEY
    @functools.wraps(function)
    def command(url: str, key: str | None, **arguments: Any) -> Any:
        try:
            Endpoint(url, key or None, TIMEOUT_SECONDS)
        except ValueError as error:
            raise ConfigError(f"--url, --key: {error}") from None
        return function(url=url, key=key or None, **arguments)

    return command
