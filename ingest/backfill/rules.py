"""Rule files of Prometheus and vmalert: groups of recording rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ingest.errors import OperatorError

DEFAULT_INTERVAL_MS = 60_000
"""Of a group that says none, as in Prometheus and vmalert."""
PROMQL_TYPES = ("", "prometheus")
"""Values of a group's `type` whose expressions are PromQL."""

_UNITS_MS = {
    "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000,
    "d": 86_400_000, "w": 7 * 86_400_000, "y": 365 * 86_400_000,
}  # fmt: skip
_PART = r"(\d{1,9})(ms|s|m|h|d|w|y)"


@dataclass(frozen=True)
class Rule:
    """One recording rule.

    Attributes:
        record: the metric it makes.
        expr: PromQL.
        labels: set on each result, those of the group too; an empty value takes a label away.
        place: file, group and number, for messages.
    """

    record: str
    expr: str
    labels: Mapping[str, str]
    place: str


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated at the same times.

    Attributes:
        step_ms: between two evaluations.
        offset_ms: evaluations are this much after multiples of the step (vmalert's eval_offset).
        limit: most series that a rule may give; 0 is no limit.
        params: of the query string, for the data source.
        skipped: how many alerting rules it has, which record nothing.
    """

    name: str
    step_ms: int
    rules: tuple[Rule, ...]
    offset_ms: int = 0
    limit: int = 0
    params: tuple[tuple[str, str], ...] = ()
    skipped: int = 0


def parse_duration_ms(text: str) -> int:
    """Such as `15m` or `1h30m`, in milliseconds; a year has 365 days.

    Raises:
        ValueError: it is no length of time, or none at all.
    """
    if not re.fullmatch(f"({_PART})+", text):
        raise ValueError(f"{text!r} is not a length of time such as 30s, 15m or 1h30m")
    length = sum(int(count) * _UNITS_MS[unit] for count, unit in re.findall(_PART, text))
    if length == 0:
        raise ValueError(f"{text!r} is no time at all")
    return length


def read_rules(
    files: Sequence[Path],
    step_ms: int | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> list[Group]:
    """The groups of some files, in order, without those that record nothing.

    Args:
        step_ms: instead of every group's own interval.
        labels: set on each result where no group and no rule sets them.

    Raises:
        OperatorError: a file cannot be read, is no rule file, or no rule in any of them records.
    """
    groups: list[Group] = []
    for file in files:
        for number, group in enumerate(_groups_of(file), 1):
            groups.append(_group(group, f"{file}: group {number}", step_ms, labels))
    names = [group.name for group in groups]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise OperatorError(f"there are two groups {twice[0]!r}: a replay knows them by their name")
    recording = [group for group in groups if group.rules]
    if not recording:
        raise OperatorError(f"no recording rule in {', '.join(map(str, files)) or 'no file'}")
    return recording


def _groups_of(file: Path) -> list[Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise OperatorError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        raise OperatorError(f"{file}: not a rule file: it has no list `groups`")
    return groups


def _group(group: Any, place: str, step_ms: int | None, given: Mapping[str, str]) -> Group:
    """Raises OperatorError: something in it is missing, or of another kind than it must be."""
    name = _text(group, "name", place)
    place += f" ({name})"
    if group.get("type", "") not in PROMQL_TYPES:
        raise OperatorError(f"{place}: type {group['type']}: only PromQL can be replayed")
    rules = group.get("rules") or []
    if not isinstance(rules, list):
        raise OperatorError(f"{place}: `rules` must be a list")
    labels = {**given, **_labels(group, place)}
    params = group.get("params") or {}
    if not isinstance(params, dict):
        raise OperatorError(f"{place}: `params` must be a table of lists")
    recording = tuple(_rules(rules, labels, place))
    return Group(
        name=name,
        step_ms=step_ms or _duration(group, "interval", place) or DEFAULT_INTERVAL_MS,
        rules=recording,
        offset_ms=_duration(group, "eval_offset", place),
        limit=group.get("limit") if isinstance(group.get("limit"), int) else 0,
        params=tuple(
            (str(key), str(value))
            for key, values in params.items()
            for value in (values if isinstance(values, list) else [values])
        ),
        skipped=len(rules) - len(recording),
    )


def _rules(rules: list[Any], labels: Mapping[str, str], group: str) -> Iterator[Rule]:
    for number, rule in enumerate(rules, 1):
        place = f"{group}, rule {number}"
        if isinstance(rule, dict) and "alert" in rule:
            continue
        record = _text(rule, "record", place)
        place += f" ({record})"
        own = {**labels, **_labels(rule, place)}
        yield Rule(record, _text(rule, "expr", place), own, place)


def _text(table: Any, key: str, place: str) -> str:
    """Numbers are texts too: `expr: 1` is an expression."""
    value = table.get(key) if isinstance(table, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise OperatorError(f"{place}: `{key}` is missing, or is no text")
    return str(value)


def _labels(table: Mapping[str, Any], place: str) -> dict[str, str]:
    labels = table.get("labels") or {}
    if not isinstance(labels, dict):
        raise OperatorError(f"{place}: `labels` must be a table of texts")
    return {str(name): str(value) for name, value in labels.items()}


def _duration(table: Mapping[str, Any], key: str, place: str) -> int:
    """In milliseconds, 0 where there is none."""
    if table.get(key) in (None, "", 0, "0s"):
        return 0
    try:
        return parse_duration_ms(str(table[key]))
    except ValueError as error:
        raise OperatorError(f"{place}: `{key}`: {error}") from None
