"""The rules that are there without being configured: those of the stack that Promgres replaces."""

from __future__ import annotations

from ingest.config import RouteRule, ValueLabel

_CUMULATIVE = [
    "web_requests",
    "system_tcp_sent",
    "system_tcp_received",
    "system_network_sent",
    "system_network_received",
    "decentralized_web_requests",
]
_GEO = ["manifest_geo_latitude", "manifest_geo_longitude", "manifest_geo_metadata"]

BUILTIN_ROUTES: dict[str, RouteRule] = {
    name: RouteRule.model_validate(rule)
    for name, rule in {
        "cumsum": {"match": {"name": _CUMULATIVE}, "target": "cumsum", "schema": "cumsum"},
        "geo": {"match": {"name": _GEO}, "target": "geo", "schema": "geo"},
        "mainnet": {"match": {"labels": {"manifest_tier": "mainnet"}}, "schema": "mainnet"},
        "testnet": {"match": {"labels": {"manifest_tier": "testnet"}}, "schema": "testnet"},
    }.items()
}
"""Rules in order, by the name that the dry run shows."""

DEFAULT_ROUTE = RouteRule.model_validate({"target": "internal", "schema": "common"})
"""What applies where no rule matches."""

BUILTIN_VALUE_LABELS = (
    ValueLabel(name="manifest_tokenomics_total_supply", label="supply"),
    ValueLabel(name="manifest_tokenomics_excluded_supply", label="excluded_supply"),
    ValueLabel(name="locked_tokens", label="amount"),
    ValueLabel(name="locked_fees", label="amount"),
)
