"""What administrators set for roles and functions (`ALTER ROLE … SET`, `ALTER FUNCTION … SET`), as
far as it is in force for a request: limits and plans, never what an answer says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingest.storage.session import SESSION

NEVER = frozenset({each.lower() for each in SESSION} | {
    "role", "session_authorization", "client_encoding", "transaction_isolation",
    "transaction_read_only", "transaction_deferrable", "default_transaction_isolation",
    "default_transaction_read_only", "default_transaction_deferrable",
})  # fmt: skip
"""Settings that decide how a value is written, which rows are seen, or who sees them."""
OURS = ("promgres.", "request.", "response.")
STATEMENT_TIMEOUT = "statement_timeout"

_NAME = re.compile(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*", re.ASCII)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "": 1e-3}


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """What is set for one role.

    Attributes:
        values: by name, to be set for the transaction.
        timeout_seconds: of a statement; None for the usual.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None


NOTHING_SET = RoleSettings()


def parse_role_settings(document: str) -> dict[str, RoleSettings]:
    """By role, what `rpc/role_settings.sql` answers."""
    found = {}
    for role, settings in json.loads(document).items():
        values = {name: value for name, value in settings.items() if _is_in_force(name)}
        timeout = settings.get(STATEMENT_TIMEOUT)
        found[role] = RoleSettings(values, timeout_seconds(timeout) if timeout else None)
    return found


def function_timeout(settings: Iterable[str]) -> float | None:
    """Seconds, of what ALTER FUNCTION set: a function cannot itself limit the statement that calls
    it, as that has begun already."""
    for setting in settings:
        name, _, value = setting.partition("=")
        if name.lower() == STATEMENT_TIMEOUT:
            return timeout_seconds(value)
    return None


def timeout_seconds(text: str) -> float | None:
    """Seconds of a time as PostgreSQL reads it, milliseconds without a unit; None for no limit:
    ours then holds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.ASCII)
    if not found or found[2] not in _UNITS:
        return None
    return float(found[1]) * _UNITS[found[2]] or None


def _is_in_force(name: str) -> bool:
    known = name not in NEVER and name != STATEMENT_TIMEOUT and not name.startswith(OURS)
    return known and _NAME.fullmatch(name) is not None
