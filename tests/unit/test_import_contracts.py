"""A room is in every import contract, or named here as one that may know the library. What a module
needs it imports when it is imported itself."""

from __future__ import annotations

import ast
import tomllib

from tests.support.compose import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
PACKAGE = ROOT / "ingest"
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


def test_a_side_loads_no_module_later() -> None:
    """As root it becomes a user who may not reach our files: `cli/stepdown.py` loads what is named
    here before that."""
    later = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "cli"
        for function in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported(node)
    }
    assert later == {
        ("export/formats.py", "pyarrow"),
        ("export/formats.py", "pyarrow.parquet"),
        ("routing/starlark/__init__.py", "ingest.routing.starlark.scripts"),
    }


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]
