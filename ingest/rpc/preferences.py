"""The header `Prefer` (RFC 7240) of a call: what the client would like, and what it will get."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ingest.http.problems import Problem

COUNTS = frozenset({"exact", "planned", "estimated"})
WITHOUT_EFFECT = frozenset({
    "return=representation", "return=minimal", "return=headers-only", "missing=default",
    "missing=null", "resolution=merge-duplicates", "resolution=ignore-duplicates", "tx=commit",
})  # fmt: skip
"""What clients add to every request, and what a call of a function does anyway."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What is preferred; None and False where nothing is said.

    Attributes:
        count: how the rows of the whole result may be counted; they are counted exactly.
        strict: what is not known is refused, and `max_affected` holds.
        timezone: in which times are written.
        max_affected: more rows than this are not wanted.
        single_object: the JSON body is one argument as a whole.
    """

    count: str | None = None
    strict: bool | None = None
    timezone: str | None = None
    max_affected: int | None = None
    single_object: bool = False

    @property
    def applied(self) -> str:
        """What `Preference-Applied` says."""
        handling = {True: "strict", False: "lenient", None: None}[self.strict]
        said = {
            "params": "single-object" if self.single_object else None,
            "count": self.count,
            "handling": handling,
            "timezone": self.timezone,
            "max-affected": self.max_affected if self.strict else None,
        }
        return ", ".join(f"{name}={value}" for name, value in said.items() if value is not None)


NONE = Preferences()


def read_preferences(headers: Iterable[str]) -> Preferences:
    """Of every header `Prefer` that was sent; of a preference that is said twice, the first.

    Raises:
        Problem: 400, `handling=strict` and something that is not taken.
    """
    said: dict[str, str] = {}
    unknown = []
    for preference in ",".join(headers).split(","):
        name, _, value = (part.strip() for part in preference.partition("="))
        if not _is_known(name, value):
            if preference.strip() and f"{name}={value}" not in WITHOUT_EFFECT:
                unknown.append(preference.strip())
        else:
            said.setdefault(name, value)
    strict = {"strict": True, "lenient": False}.get(said.get("handling", ""))
    if strict and unknown:
        raise Problem(
            400,
            "PGRST122",
            "Invalid preferences given with handling=strict",
            f"Invalid preferences: {', '.join(unknown)}",
        )
    return Preferences(
        count=said.get("count"),
        strict=strict,
        timezone=said.get("timezone"),
        max_affected=int(said["max-affected"]) if "max-affected" in said else None,
        single_object="params" in said,
    )


def _is_known(name: str, value: str) -> bool:
    match name:
        case "count":
            return value in COUNTS
        case "handling":
            return value in ("strict", "lenient")
        case "timezone":
            return bool(value) and value.isprintable()
        case "max-affected":
            return re.fullmatch(r"\d{1,18}", value, re.ASCII) is not None
        case "params":
            return value == "single-object"
    return False
