"""Functions over instant vectors: arithmetic of floats, dates, histograms, labels, order.

Each takes a `Call` and gives a vector; the evaluation drops names afterwards where Prometheus does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cmp_to_key

import numpy as np

from ingest.errors import PromqlFailure
from ingest.promql import annotations as notes
from ingest.promql import quantiles, tree
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import open_metrics_number, printable
from ingest.promql.histograms import Histograms
from ingest.promql.matchers import BadPattern, compiled
from ingest.promql.parser import valid_label
from ingest.promql.values import (
    METADATA,
    NAME,
    Bools,
    Floats,
    Ints,
    Labels,
    Scalar,
    Vector,
    key_of,
    stacked,
    with_label,
    without,
)


@dataclass(slots=True)
class Call:
    """A call at work: its arguments' values, the steps [T] in milliseconds, where notes go."""

    node: tree.Call
    vectors: list[Vector]
    scalars: list[Floats]  # [T] each
    times: Ints
    notes: Annotations
    is_delayed: bool

    @property
    def vector(self) -> Vector:
        return self.vectors[0]

    def text(self, argument: int) -> str:
        node = self.node.arguments[argument]
        assert isinstance(node, tree.Text)
        return node.value


def _floats(calculate: Callable[[Floats], Floats]) -> Callable[[Call], Vector]:
    """Of floats alone: histograms are left out."""

    def function(call: Call) -> Vector:
        vector = call.vector
        with np.errstate(all="ignore"):
            values = calculate(vector.values)
        present = vector.floats
        return replace(
            vector, values=values, present=present, histograms=None, rows=None
        ).without_empty()

    return function


def largest(one: Floats, two: Floats) -> Floats:
    """Go's math.Max: NaN if either is one, but for infinity; 0 is larger than -0."""
    found = np.where((one == 0) & (two == 0), one + two, np.maximum(one, two))
    return np.where(np.isposinf(one) | np.isposinf(two), np.inf, found)


def smallest(one: Floats, two: Floats) -> Floats:
    """Go's math.Min, likewise."""
    return -largest(-one, -two)


def _round(call: Call) -> Vector:
    """To the nearest multiple, ties upwards; through its inverse, which is more exact."""
    nearest = call.scalars[0] if call.scalars else np.ones(len(call.times))
    with np.errstate(all="ignore"):
        inverse = 1.0 / nearest
        return _floats(lambda values: np.floor(values * inverse + 0.5) / inverse)(call)


def _clamp(call: Call) -> Vector:
    name, bounds = call.node.function.name, call.scalars
    low = bounds[0] if name != "clamp_max" else np.full(len(call.times), -np.inf)
    high = bounds[-1] if name != "clamp_min" else np.full(len(call.times), np.inf)
    if name == "clamp_min":
        low = bounds[0]

    def clamped(values: Floats) -> Floats:
        return largest(low, smallest(high, values))

    found = _floats(clamped)(call)
    return found.filtered(np.broadcast_to(~(high < low), found.present.shape))


def _sign(values: Floats) -> Floats:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


# Dates -------------------------------------------------------------------------------------------


def _date(part: Callable[[Ints], Ints]) -> Callable[[Call], Vector]:
    """A part of a date in UTC; without an argument of the step itself."""

    def of(values: Floats) -> Floats:
        # What is no integer of 64 bits becomes the smallest in Go, whose clock wraps round there.
        whole = np.where(np.abs(values) < 2.0**63, np.trunc(values), 0.0)
        seconds = np.where(np.abs(values) < 2.0**63, whole.astype(np.int64), 2**63 - 1)
        return part(seconds).astype(float)

    def function(call: Call) -> Vector:
        if not call.vectors:
            values = of((call.times // 1000).astype(float))[None, :]
            return Vector([{}], values, np.ones(values.shape, bool), np.zeros(1, bool))
        return _floats(of)(call)

    return function


def _civil(seconds: Ints) -> tuple[Ints, Ints, Ints]:
    """Year, month and day of seconds since the epoch, of any sign (days counted from March in eras
    of 400 years, so that the leap day is the last of its year)."""
    days = seconds // 86_400 + 719_468
    era = days // 146_097
    of_era = days - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = np.where(month < 10, month + 3, month - 9)
    return year + era * 400 + (month <= 2), month, day


def _is_leap(year: Ints) -> Bools:
    return (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))


_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def _days_in_month(seconds: Ints) -> Ints:
    year, month, _ = _civil(seconds)
    return _DAYS[month - 1] + ((month == 2) & _is_leap(year))


def _day_of_year(seconds: Ints) -> Ints:
    year, month, day = _civil(seconds)
    before = np.concatenate([[0], np.cumsum(_DAYS)])[month - 1]
    return before + day + ((month > 2) & _is_leap(year))


# Histograms --------------------------------------------------------------------------------------


def _of_histograms(calculate: Callable[[Histograms], Floats]) -> Callable[[Call], Vector]:
    """A float of each histogram; floats are left out."""

    def function(call: Call) -> Vector:
        vector = call.vector
        present = vector.is_histogram
        values = np.zeros(present.shape)
        if present.any():
            assert vector.histograms is not None
            assert vector.rows is not None
            with np.errstate(all="ignore"):
                values[present] = calculate(vector.histograms.take(vector.rows[present]))
        return replace(
            vector, values=values, present=present, histograms=None, rows=None
        ).without_empty()

    return function


def _native(
    call: Call,
    vector: Vector,
    where: Bools,
    calculate: Callable[[Histograms], quantiles.Found],
    messages: tuple[str, str],
) -> Vector:
    """Values of native histograms [S, T] and the infos about their observations that are NaN."""
    values = np.zeros(where.shape)
    if where.any():
        assert vector.histograms is not None
        assert vector.rows is not None
        found = calculate(vector.histograms.take(vector.rows[where]))
        values[where] = found.values
        series = np.nonzero(where)[0]
        node = _histogram_argument(call)
        for marks, message in zip((found.is_nowhere, found.is_skewed), messages, strict=True):
            for at in np.unique(series[marks]):
                name = vector.name(int(at))
                name = name if call.is_delayed else ""
                call.notes.info(message + notes.for_name(name), node)
    return Vector(vector.labels, values, where, vector.drops).without_empty()


def _histogram_argument(call: Call) -> tree.Node:
    """The argument that holds histograms: annotations are about it."""
    places = {"histogram_quantile": 1, "histogram_fraction": 2}
    return call.node.arguments[places.get(call.node.function.name, 0)]


def _at(scalar: Floats, where: Bools) -> Floats:
    return np.broadcast_to(scalar, where.shape)[where]


_NAN = "input to histogram_quantile has NaN observations, result is "


def _histogram_quantile(call: Call) -> Vector:
    return _quantile_of(call, _split(call), call.scalars[0], call.node.arguments[0])


def _split(call: Call) -> quantiles.Split:
    node = _histogram_argument(call)
    return quantiles.split_histograms(call.vector, node, call.notes, call.is_delayed)


def _quantile_of(
    call: Call, split: quantiles.Split, quantile: Floats, argument: tree.Node
) -> Vector:
    """One quantile of all histograms of the call's vector."""
    for value in dict.fromkeys(quantile):
        if not 0 <= value <= 1:
            call.notes.warn(notes.bad_quantile(float(value)), argument)
    wanted = _at(quantile, split.native)
    native = _native(
        call,
        call.vector,
        split.native,
        lambda block: quantiles.quantiles(block, wanted),
        (_NAN + "NaN", _NAN + "skewed higher"),
    )
    names = [histogram.labels.get(NAME, "") for histogram in split.classic]
    current = iter(range(len(split.classic)))

    def classic() -> Vector:
        steps = call.times
        values = np.zeros((len(split.classic), len(steps)))
        present = np.zeros(values.shape, bool)
        for at in current:
            histogram = split.classic[at]
            part = replace(split, classic=[histogram])

            def one(bounds: Floats, counts: Floats, where: Ints, at: int = at) -> Floats:
                found, forced = quantiles.classic_quantiles(quantile[where], bounds, counts)
                for step in np.flatnonzero(forced.where):
                    call.notes.monotonic(
                        names[at] if call.is_delayed else "",
                        _histogram_argument(call),
                        int(steps[where[step]]),
                        float(forced.low[step]),
                        float(forced.high[step]),
                        float(forced.difference[step]),
                    )
                return found

            found = quantiles.over_classic(call.vector, part, one)
            values[at], present[at] = found.values[0], found.present[0]
        drops = np.array([histogram.drops for histogram in split.classic], bool)
        return Vector([histogram.labels for histogram in split.classic], values, present, drops)

    return stacked([native, classic().without_empty()])


def _histogram_quantiles(call: Call) -> Vector:
    """Several quantiles at once, each under a label that says which; that may be the name, when the
    metric's own is gone."""
    label = call.text(1)
    dropped = frozenset() if call.is_delayed else METADATA
    split, found = _split(call), []
    for place, quantile in enumerate(call.scalars, 2):
        vector = _quantile_of(call, split, quantile, call.node.arguments[place])
        texts = [open_metrics_number(float(value)) for value in quantile]
        for text in dict.fromkeys(texts):
            at = np.array([other == text for other in texts])
            part = vector.filtered(np.broadcast_to(at, vector.present.shape))
            labels = [with_label(without(of, dropped), label, text) for of in part.labels]
            found.append(part.renamed(labels))
    result = stacked(found)
    result.drops[:] = call.is_delayed
    return result


def _histogram_fraction(call: Call) -> Vector:
    lower, upper = call.scalars
    split = _split(call)
    message = (
        "input to histogram_fraction has NaN observations, which are excluded from all fractions"
    )
    native = _native(
        call,
        call.vector,
        split.native,
        lambda block: quantiles.fractions(
            block, _at(lower, split.native), _at(upper, split.native)
        ),
        (message, message),
    )

    def of(bounds: Floats, counts: Floats, where: Ints) -> Floats:
        return quantiles.classic_fractions(lower[where], upper[where], bounds, counts)

    return stacked([native, quantiles.over_classic(call.vector, split, of).without_empty()])


# Order -------------------------------------------------------------------------------------------


def _sort(call: Call) -> Vector:
    """By value at the first step, NaN last; histograms are left out."""
    vector = _floats(lambda values: values)(call)
    if not len(vector.labels):
        return vector
    sign = 1.0 if call.node.function.name == "sort" else -1.0
    found = vector.take(np.argsort(sign * vector.values[:, 0], kind="stable"))
    found.is_ordered = True
    return found


_CHUNK = re.compile(r"(\d+|\D+)")


def natural_order(left: str, right: str) -> int:
    """-1, 0 or 1: runs of digits by their value, the rest by characters (`a2` before `a10`)."""
    one, two = _CHUNK.findall(left), _CHUNK.findall(right)
    for a, b in zip(one, two, strict=False):
        if a == b:
            continue
        if a.isdecimal() and b.isdecimal() and int(a) != int(b):
            return -1 if int(a) < int(b) else 1
        if a.isdecimal() and b.isdecimal():
            return -1 if len(a) < len(b) else 1
        return -1 if a < b else 1
    return (len(one) > len(two)) - (len(one) < len(two))


def _sort_by_label(call: Call) -> Vector:
    names = [call.text(argument) for argument in range(1, len(call.node.arguments))]
    sign = -1 if call.node.function.name.endswith("_desc") else 1

    def compare(one: int, two: int) -> int:
        left, right = call.vector.labels[one], call.vector.labels[two]
        for name in names:
            order = natural_order(left.get(name, ""), right.get(name, ""))
            if order:
                return sign * order
        a, b = key_of(left), key_of(right)
        return sign * ((a > b) - (a < b))

    order = sorted(range(len(call.vector.labels)), key=cmp_to_key(compare))
    found = call.vector.take(order)
    found.is_ordered = True
    return found


# Labels ------------------------------------------------------------------------------------------


def _relabelled(vector: Vector, name: str, labels: list[Labels], changed: Bools) -> Vector:
    """A metric that was given a name keeps it."""
    drops = vector.drops & ~changed if name == NAME else vector.drops
    return replace(vector, labels=labels, drops=drops)


def _label_replace(call: Call) -> Vector:
    """Raises: PromqlFailure: no regular expression, or no name for a label."""
    target, replacement, source, pattern = (call.text(argument) for argument in range(1, 5))
    try:
        expression = compiled(pattern)
    except BadPattern:
        said = f"invalid regular expression in label_replace(): {pattern}"
        raise PromqlFailure(said) from None
    if not valid_label(target):
        said = f"invalid destination label name in label_replace(): {printable(target)}"
        raise PromqlFailure(said)
    labels, changed = [], np.zeros(len(call.vector.labels), bool)
    known: dict[str, str | None] = {}
    for at, named in enumerate(call.vector.labels):
        value = named.get(source, "")
        if value not in known:
            match = expression.fullmatch(value)
            known[value] = None if match is None else _expanded(replacement, match)
        new = known[value]
        labels.append(named if new is None else with_label(named, target, new))
        changed[at] = new is not None
    return _relabelled(call.vector, target, labels, changed)


_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _expanded(template: str, match: object) -> str:
    """Go's Expand: `$1`, `${1}`, `$name`; `$$` is a dollar, an unknown name nothing."""

    def value(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            group = match.group(int(name) if name.isdecimal() else name)  # type: ignore[attr-defined]
        except (IndexError, KeyError):
            return ""
        return group or ""

    return _REFERENCE.sub(value, template)


def _label_join(call: Call) -> Vector:
    """Raises: PromqlFailure: no name for a label."""
    target, separator = call.text(1), call.text(2)
    sources = [call.text(argument) for argument in range(3, len(call.node.arguments))]
    for source in sources:
        if not valid_label(source):
            said = f"invalid source label name in label_join(): {printable(source)}"
            raise PromqlFailure(said)
    if not valid_label(target):
        said = f"invalid destination label name in label_join(): {printable(target)}"
        raise PromqlFailure(said)
    labels = [
        with_label(named, target, separator.join(named.get(source, "") for source in sources))
        for named in call.vector.labels
    ]
    return _relabelled(call.vector, target, labels, np.ones(len(labels), bool))


def absent_labels(node: tree.Node) -> Labels:
    """The labels that `=` matchers of a selector give to what is not there."""
    if isinstance(node, tree.Range):
        node = node.selector
    if not isinstance(node, tree.Selector):
        return {}
    found: dict[str, str] = {}
    seen = set()
    for matcher in node.matchers:
        if matcher.name == NAME:
            continue
        if matcher.op == "=" and matcher.name not in seen:
            found = with_label(found, matcher.name, matcher.value)
            seen.add(matcher.name)
        else:
            found.pop(matcher.name, None)
    return found


def _absent(call: Call) -> Vector:
    missing = ~np.any(call.vector.present, axis=0)[None, :]
    labels = absent_labels(call.node.arguments[0])
    return Vector([labels], np.ones(missing.shape), missing, np.zeros(1, bool)).without_empty()


def scalar_of(vector: Vector) -> Scalar:
    """The one float of a vector at each step, NaN if there is not exactly one."""
    floats = vector.floats
    if not len(floats):
        return Scalar(np.full(vector.values.shape[1], np.nan))
    value = np.where(floats, vector.values, 0.0).sum(axis=0)
    first = np.argmax(floats, axis=0)
    value = vector.values[first, np.arange(len(first))]
    return Scalar(np.where(floats.sum(axis=0) == 1, value, np.nan))


KEEP_NAMES = frozenset(
    {"sort", "sort_desc", "sort_by_label", "sort_by_label_desc", "label_replace", "label_join"}
    | {"absent", "histogram_quantiles"}
)
"""Functions that leave a metric what it is, or see to it themselves."""

FUNCTIONS: dict[str, Callable[[Call], Vector]] = {
    "abs": _floats(np.abs),
    "absent": _absent,
    "acos": _floats(np.arccos),
    "acosh": _floats(np.arccosh),
    "asin": _floats(np.arcsin),
    "asinh": _floats(np.arcsinh),
    "atan": _floats(np.arctan),
    "atanh": _floats(np.arctanh),
    "ceil": _floats(np.ceil),
    "clamp": _clamp,
    "clamp_max": _clamp,
    "clamp_min": _clamp,
    "cos": _floats(np.cos),
    "cosh": _floats(np.cosh),
    "days_in_month": _date(_days_in_month),
    "day_of_month": _date(lambda seconds: _civil(seconds)[2]),
    "day_of_week": _date(lambda seconds: (seconds // 86_400 + 4) % 7),
    "day_of_year": _date(_day_of_year),
    "deg": _floats(lambda values: values * 180 / np.pi),
    "exp": _floats(np.exp),
    "floor": _floats(np.floor),
    "histogram_avg": _of_histograms(lambda block: block.sum / block.count),
    "histogram_count": _of_histograms(lambda block: block.count),
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "histogram_quantiles": _histogram_quantiles,
    "histogram_stddev": _of_histograms(lambda block: np.sqrt(quantiles.variances(block))),
    "histogram_stdvar": _of_histograms(quantiles.variances),
    "histogram_sum": _of_histograms(lambda block: block.sum),
    "hour": _date(lambda seconds: seconds // 3600 % 24),
    "label_join": _label_join,
    "label_replace": _label_replace,
    "ln": _floats(np.log),
    "log10": _floats(np.log10),
    "log2": _floats(np.log2),
    "minute": _date(lambda seconds: seconds // 60 % 60),
    "month": _date(lambda seconds: _civil(seconds)[1]),
    "rad": _floats(lambda values: values * np.pi / 180),
    "round": _round,
    "sgn": _floats(_sign),
    "sin": _floats(np.sin),
    "sinh": _floats(np.sinh),
    "sort": _sort,
    "sort_by_label": _sort_by_label,
    "sort_by_label_desc": _sort_by_label,
    "sort_desc": _sort,
    "sqrt": _floats(np.sqrt),
    "tan": _floats(np.tan),
    "tanh": _floats(np.tanh),
    "year": _date(lambda seconds: _civil(seconds)[0]),
}
"""By name; those that need the evaluation itself (time, timestamp, scalar, …) are there."""
