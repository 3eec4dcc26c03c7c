"""Routes and value labels that come with a pack: `routes.toml` in its folder below `sql/packs/`."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import NamedTuple

from ingest.config import RouteRule, ValueLabel
from ingest.sqlfiles import read_sql

DEFAULT_ROUTE = RouteRule.model_validate({"target": "internal", "schema": "common"})
"""What applies where no rule matches."""


class PackRoutes(NamedTuple):
    """What a pack adds to routing.

    Attributes:
        rules: in order, by the name that the dry run shows.
        value_labels: of several of one metric the first counts.
    """

    rules: dict[str, RouteRule]
    value_labels: tuple[ValueLabel, ...]


@cache
def pack_routes(pack: str) -> PackRoutes:
    """The routes of one pack.

    Raises:
        MigrationError: this installation has no such pack.
    """
    found = tomllib.loads(read_sql(f"packs/{pack}/routes.toml"))
    rules = {rule.pop("name"): RouteRule.model_validate(rule) for rule in found["route"]}
    return PackRoutes(rules, tuple(ValueLabel.model_validate(one) for one in found["value_label"]))
