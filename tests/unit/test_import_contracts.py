"""A room is in every import contract, or named here as one that may know the library."""

from __future__ import annotations

import tomllib

from tests.support.compose import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS = {
    room.strip()
    for contract in CONTRACTS
    if contract["type"] == "layers"
    for layer in contract["layers"]
    for room in layer.split("|")
}
SMALL = {
    "tasks", "reserve", "known", "lifeline", "heap", "descriptors", "sqlfiles", "users", "stores",
    "copy_samples", "copy_format", "text", "labeltext",
}  # fmt: skip
"""One file each, below all of it."""
MAY = {
    "asyncpg": {"migrate", "storage", "rpc", "prometheus", "moving"},
    "aiohttp": {"admission", "backfill", "cli", "http", "load", "moving", "ports", "records"},
    "google": {"load", "wire"},
}
"""Who may know a library, by its name."""


def test_every_room_is_in_each_contract_or_may_know_the_library() -> None:
    for contract in CONTRACTS:
        library = contract.get("forbidden_modules", [""])[0]
        if library in MAY and len(contract["source_modules"]) > 1:
            named = {module.removeprefix("ingest.") for module in contract["source_modules"]}
            assert named <= LAYERS, contract["name"]
            assert LAYERS - named - SMALL == MAY[library], contract["name"]
