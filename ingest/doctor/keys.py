"""API keys that end soon while somebody uses them, and keys that nobody uses."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.doctor.case import Case
from ingest.doctor.finding import Finding, ok, warning
from ingest.doctor.words import count, span
from ingest.storage.inspection import Row

KEYS = "keys"

NAMED = 5
"""So many keys are told by their ids, of the others the number."""


async def check_keys(case: Case) -> list[Finding]:
    """Whether a key ends within days that has no successor, or whose successor nobody has yet."""
    limits = case.thresholds
    keys = await case.rows("keys", limits.key_expiry, limits.key_idle)
    findings = [_ending(case, key) for key in keys if _needs_a_hand(key)]
    return findings or ok(KEYS, _all_is_well(keys))


def _needs_a_hand(key: Row) -> bool:
    """A rotated key ends as it should, unless senders still use it."""
    return bool(key["ends_soon"] and (key["is_in_use"] or not key["replaced_by"]))


def _ending(case: Case, key: Row) -> Finding:
    name = f" ({key['name']})" if key["name"] else ""
    what = (
        f"key {key['key_id']}{name} of tenant {key['tenant']} ends in {span(key['seconds_left'])}"
    )
    if key["replaced_by"]:
        todo = f"give its senders the key {key['replaced_by']}, which took its place"
        return warning(KEYS, f"{what} and is still in use", todo)
    return warning(KEYS, what, case.prescribe.promgres("key", "expire", key["key_id"], "90d"))


def _all_is_well(keys: Sequence[Row]) -> str:
    idle = [key["key_id"] for key in keys if key["is_idle"]]
    text = count(len(keys), "good key")
    if not idle:
        return text
    more = ", …" if len(idle) > NAMED else ""
    return f"{text}, {len(idle):,} not used for long: {', '.join(idle[:NAMED])}{more}"
