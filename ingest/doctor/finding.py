"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will not for ever, or not as well as it could."""
    PROBLEM = "problem"
    """Something does not work, or what is acknowledged is not safe."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        check: what was looked at; the same words in every version.
        what: what was found.
        todo: what to type or do; empty when all is well.
    """

    check: str
    level: Level
    what: str
    todo: str = ""


def ok(check: str, what: str) -> list[Finding]:
    """All is well."""
    return [Finding(check, Level.OK, what)]


def warning(check: str, what: str, todo: str) -> Finding:
    """It works for now."""
    return Finding(check, Level.WARNING, what, todo)


def problem(check: str, what: str, todo: str) -> Finding:
    """Something does not work."""
    return Finding(check, Level.PROBLEM, what, todo)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of them; ok if there are none."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
