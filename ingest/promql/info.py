"""info(): the labels of info series (`target_info` and its like) added to the series they describe,
which have the same `instance` and `job`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ingest.errors import PromqlFailure
from ingest.promql import tree
from ingest.promql.binary import labels_text
from ingest.promql.matchers import Matcher, matching
from ingest.promql.values import (
    NAME,
    Bools,
    Ints,
    Labels,
    Vector,
    key_of,
    only,
    stacked,
    with_label,
)

_IDENTIFYING = frozenset({"instance", "job"})


def name_matchers(call: tree.Call) -> list[Matcher]:
    """How info series are called: as the second argument says, else `target_info`; conditions that
    only exclude names are for all that end in `_info`."""
    if len(call.arguments) < 2:
        return [Matcher("=", NAME, "target_info")]
    selector = call.arguments[1]
    assert isinstance(selector, tree.Selector)
    found = [matcher for matcher in selector.matchers if matcher.name == NAME]
    if any(matcher.op in ("=", "=~") for matcher in found):
        return found
    if found:
        return [Matcher("=~", NAME, ".+_info"), *found]
    return [Matcher("=", NAME, "target_info")]


def data_matchers(call: tree.Call) -> list[Matcher]:
    """The labels that the second argument names: only they are added."""
    if len(call.arguments) < 2:
        return []
    selector = call.arguments[1]
    assert isinstance(selector, tree.Selector)
    return [matcher for matcher in selector.matchers if matcher.name != NAME]


def anchor(node: tree.Node) -> tuple[int | None, int]:
    """The time and the offset at which info series are looked up: those of the first selector in
    the first argument, with those of subqueries around it up to one that has a time."""
    for found, path in tree.walk(node):
        if not isinstance(found, tree.Selector):
            continue
        at_ms, offset_ms = found.at_ms, found.offset_ms
        for outer in reversed(path):
            if at_ms is not None:
                break
            if isinstance(outer, tree.Subquery):
                at_ms, offset_ms = outer.at_ms, offset_ms + outer.offset_ms
        return at_ms, offset_ms
    return None, 0


@dataclass(slots=True)
class Info:
    """Info series at every step: present or not, and when their sample was [I, T]."""

    labels: list[Labels]
    present: Bools
    times: Ints


def enriched(call: tree.Call, base: Vector, info: Info) -> Vector:
    """The base vector with the labels of its info series.

    Raises:
        PromqlFailure: two info series say different things.
    """
    names, data = name_matchers(call), data_matchers(call)
    newest = _newest(info)
    wanted = {matcher.name for matcher in data}
    needs_info = any(not matcher.matches("") for matcher in data)
    parts = []
    for series, labels in enumerate(base.labels):
        one = base.take([series])
        if matching(names, {NAME: labels.get(NAME, "")}):
            parts.append(one)  # an info series itself
            continue
        parts.extend(_variants(one, newest, info, wanted, needs_info))
    return stacked([part for part in parts if part.present.any()] or [base.take([])])


def _newest(info: Info) -> dict[tuple[object, object], Ints]:
    """For each name and identity of info series which of them counts at each step, -1 for none."""
    found: dict[tuple[object, object], Ints] = {}
    for series, labels in enumerate(info.labels):
        key = (labels.get(NAME, ""), key_of(only(labels, _IDENTIFYING)))
        here = info.present[series]
        if key not in found:
            found[key] = np.where(here, series, -1)
            continue
        before = found[key]
        both = here & (before >= 0)
        steps = np.arange(len(here))
        times = np.where(both, info.times[np.maximum(before, 0), steps], -1)
        clash = np.flatnonzero(both & (times == info.times[series]))
        if len(clash):
            other, when = info.labels[before[clash[0]]], info.times[series, clash[0]]
            raise PromqlFailure(
                f"found duplicate series for info metric: existing {labels_text(other)} @ {when}, "
                f"new {labels_text(labels)} @ {when}"
            )
        newer = here & ((before < 0) | (info.times[series] > times))
        found[key] = np.where(newer, series, before)
    return found


def _variants(
    base: Vector,
    newest: dict[tuple[object, object], Ints],
    info: Info,
    wanted: set[str],
    needs_info: bool,
) -> list[Vector]:
    """One series with the labels that it has at different steps."""
    labels = base.labels[0]
    identity = key_of(only(labels, _IDENTIFYING))
    candidates = [chosen for (_, key), chosen in sorted(newest.items(), key=str) if key == identity]
    if not identity or not candidates:
        return [] if needs_info else [base]
    picks = np.array(candidates)
    found = []
    for pick in np.unique(picks.T, axis=0):
        where = (picks == pick[:, None]).all(axis=0)
        part = replace(base, present=base.present & where)
        if not part.present.any():
            continue
        used = [info.labels[series] for series in pick if series >= 0]
        if not used and needs_info:
            continue
        found.append(part.renamed([_added(labels, used, wanted)]))
    return found


def _added(labels: Labels, infos: list[Labels], wanted: set[str]) -> Labels:
    """Labels of info series that the series does not have."""
    new: dict[str, str] = {}
    for of in infos:
        for name, value in of.items():
            if name == NAME or (wanted and name not in wanted):
                continue
            if new.get(name, value) != value:
                raise PromqlFailure(f"conflicting label: {name}")
            if name not in labels:
                new[name] = value
    for name, value in new.items():
        labels = with_label(labels, name, value)
    return labels
