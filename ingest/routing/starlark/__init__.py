"""Telegraf's Starlark scripts: what they make of a series, asked once, before the routing rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter

from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.metrics import REGISTRY
from ingest.model import Labels

if TYPE_CHECKING:
    from ingest.routing.starlark.scripts import Scripts

MEASUREMENT = "prometheus_remote_write"
"""The name of every metric that Telegraf's parser of remote write makes."""
NOT_INSTALLED = "[[starlark]] needs the extra `starlark`: pip install 'promgres[starlark]'"


SCRIPT_REFUSALS = Counter(
    "promgres_script_refusals",
    "Series, each time they are sent, that a script of `[[starlark]]` failed at.",
    registry=REGISTRY,
)


class Outcome(NamedTuple):
    """What became of a series.

    Attributes:
        labels: what is stored; sorted, without empty values, otherwise not checked.
        asked: what the routing rules are asked about: those that are not stored too.
        schema: route.schema, where a script says it.
        dropped_by: the script that drops the series, if one does.
    """

    labels: Labels
    asked: Mapping[str, str]
    schema: str | None = None
    dropped_by: str | None = None


def load_scripts(settings: Settings) -> Scripts | None:
    """The scripts of `[[starlark]]`; None if there are none, and then no engine is needed.

    Raises:
        ConfigError: a script is wrong, cannot be read, or the extra `starlark` is not installed.
    """
    if not settings.starlark:
        return None
    try:
        from ingest.routing.starlark.scripts import Scripts
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "starlark":
            raise
        raise ConfigError(NOT_INSTALLED) from None
    return Scripts(settings)
