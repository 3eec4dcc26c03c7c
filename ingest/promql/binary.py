"""Binary operators: between samples of every kind, between a vector and a scalar, and between two
vectors with Prometheus' matching, grouping and fill values.

Two vectors meet series by series: every pair of series of one match group is worked out for all
steps at once, where both (or one and a fill value) are present.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ingest.errors import PromqlFailure
from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import go_quote
from ingest.promql.histograms import GAUGE, Histograms, Side, combine, same
from ingest.promql.lexer import COMPARISONS, TRIMS
from ingest.promql.tree import Binary, Matching
from ingest.promql.values import (
    METADATA,
    NAME,
    Bools,
    Floats,
    Ints,
    Key,
    Labels,
    Vector,
    key_of,
    only,
    stacked,
    with_label,
    without,
)


def _power(left: Floats, right: Floats) -> Floats:
    """Go's math.Pow: 1 to anything and anything to 0 is 1; -1 to an infinity is 1."""
    return np.power(left, right)


def _modulo(left: Floats, right: Floats) -> Floats:
    return np.fmod(left, right)


_CALCULATIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": _modulo,
    "^": _power,
    "atan2": np.arctan2,
}
_TESTS: dict[str, Callable[[Floats, Floats], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def changes_metric(op: str) -> bool:
    """Whether an operator makes something else of a metric, so that it loses its name."""
    return op in _CALCULATIONS


def scalars(op: str, left: Floats, right: Floats) -> Floats:
    """Between two scalars; comparisons give 0 or 1."""
    with np.errstate(all="ignore"):
        if op in _CALCULATIONS:
            return _CALCULATIONS[op](left, right)
        return _TESTS[op](left, right).astype(float)


@dataclass(slots=True)
class Cells:
    """n samples: floats, and histograms where `rows` is not negative."""

    values: Floats
    block: Histograms | None = None
    rows: Ints | None = None

    @property
    def is_histogram(self) -> Bools:
        if self.rows is None:
            return np.zeros(len(self.values), bool)
        return self.rows >= 0

    def histograms(self, at: Bools | Ints) -> Histograms:
        assert self.block is not None
        assert self.rows is not None
        return self.block.take(self.rows[at])


@dataclass(slots=True)
class Result:
    """n results: those that count (`valid`), and of these the ones a comparison keeps."""

    values: Floats
    valid: Bools
    keep: Bools
    blocks: list[Histograms] = field(default_factory=list)
    rows: Ints | None = None

    def put(self, at: Ints, block: Histograms) -> None:
        """Make histograms the results at some places."""
        if self.rows is None:
            self.rows = np.full(len(self.values), -1)
        start = sum(len(before) for before in self.blocks)
        self.rows[at] = start + np.arange(len(block))
        self.blocks.append(block)


def elements(node: Binary, left: Cells, right: Cells, warnings: Annotations) -> Result:
    """An operator between n pairs of samples; what does not go together is left out, with a
    note."""
    op = node.op
    of_left, of_right = left.is_histogram, right.is_histogram
    nothing = np.zeros(len(left.values), bool)
    result = Result(np.zeros(len(left.values)), nothing.copy(), nothing.copy())
    floats = ~of_left & ~of_right
    with np.errstate(all="ignore"):
        if op in _CALCULATIONS:
            result.values = np.where(floats, _CALCULATIONS[op](left.values, right.values), 0.0)
            result.valid, result.keep = floats.copy(), floats.copy()
        elif op in _TESTS:
            result.values = np.where(floats, left.values, 0.0)
            result.valid = floats.copy()
            result.keep = floats & _TESTS[op](left.values, right.values)
    if of_left.any() or of_right.any():
        _with_histograms(node, left, right, result, warnings)
    kinds = (of_left.astype(int) * 2 + of_right)[~result.valid & ~_noted(op, of_left, of_right)]
    for kind in np.unique(kinds):
        one, two = ("histogram" if kind & bit else "float" for bit in (2, 1))
        warnings.info(
            f"incompatible sample types encountered for binary operator {go_quote(op)}: "
            f"{one} {op} {two}",
            node,
        )
    return result


def _noted(op: str, of_left: Bools, of_right: Bools) -> Bools:
    """Pairs whose kinds do go together, whatever became of them."""
    both = of_left & of_right
    if op in ("+", "-", "==", "!="):
        return both
    return np.zeros(len(both), bool)


def _with_histograms(
    node: Binary, left: Cells, right: Cells, result: Result, warnings: Annotations
) -> None:
    op = node.op
    of_left, of_right = left.is_histogram, right.is_histogram
    one_sided = np.flatnonzero(of_left & ~of_right)
    if len(one_sided) and op in ("*", "/", *TRIMS):
        block, number = left.histograms(one_sided), right.values[one_sided]
        if op in TRIMS:
            block = trim(block, number, is_upper=op == "</")
        else:
            block = block.times(number) if op == "*" else block.over(number)
        result.put(one_sided, block)
        result.valid[one_sided] = result.keep[one_sided] = True
    other_sided = np.flatnonzero(~of_left & of_right)
    if len(other_sided) and op == "*":
        result.put(other_sided, right.histograms(other_sided).times(left.values[other_sided]))
        result.valid[other_sided] = result.keep[other_sided] = True
    both = np.flatnonzero(of_left & of_right)
    if not len(both):
        return
    one, two = left.histograms(both), right.histograms(both)
    if op in ("==", "!="):
        result.put(both, one)
        result.valid[both] = True
        result.keep[both] = same(one, two) == (op == "==")
    elif op in ("+", "-"):
        outcome = combine(one, two, 1.0 if op == "+" else -1.0)
        operation = "addition" if op == "+" else "subtraction"
        block = outcome.result if op == "+" else outcome.result.with_hint(GAUGE)
        good = ~outcome.incompatible & ~outcome.collided
        result.put(both[good], block.take(good))
        result.valid[both] = result.keep[both] = good
        if outcome.incompatible.any():
            said = f"incompatible bucket layout encountered for binary operator {op}"
            warnings.warn(said, node)
        if outcome.collided.any():
            warnings.warn(notes.collision(operation), node)
        if outcome.reconciled.any():
            warnings.info(notes.reconciled(operation), node)


def _cells(vector: Vector, series: int | Ints, mask: Bools) -> Cells:
    """The samples of some series where a mask of the same shape says."""
    rows = None if vector.rows is None else vector.rows[series][mask]
    return Cells(vector.values[series][mask], vector.histograms, rows)


def with_scalar(
    node: Binary, vector: Vector, scalar: Floats, is_swapped: bool, warnings: Annotations
) -> Vector:
    """Between a vector and a scalar [T], which stands at the left if swapped. Names are dropped by
    the caller."""
    present = vector.present
    everyone = np.arange(len(vector.labels))
    ours = _cells(vector, everyone, present)
    theirs = Cells(np.broadcast_to(scalar, present.shape)[present])
    left, right = (theirs, ours) if is_swapped else (ours, theirs)
    result = elements(node, left, right, warnings)
    values, keep = result.values, result.keep & result.valid
    if node.op in COMPARISONS and is_swapped:
        # What is kept of a comparison is the vector's sample, on whatever side it stands.
        values = np.where(ours.is_histogram, 0.0, ours.values)
        result.rows, result.blocks = ours.rows, [ours.block] if ours.block is not None else []
    if node.is_bool:
        values, keep = result.keep.astype(float), result.valid
        result.rows = None
    found = np.zeros(present.shape)
    found[present] = values
    kept = present.copy()
    kept[present] = keep
    rows = None
    if result.rows is not None:
        rows = np.full(present.shape, -1)
        rows[present] = result.rows
    block = Histograms.joined(result.blocks) if result.blocks else None
    return Vector(
        vector.labels, found, kept, vector.drops, block, rows if block is not None else None
    ).without_empty()


# Between two vectors -----------------------------------------------------------------------------


def signatures(vector: Vector, matching: Matching) -> list[Key]:
    """By what each series finds its match."""
    if matching.on:
        names = frozenset(matching.labels)
        return [key_of(only(labels, names)) for labels in vector.labels]
    names = frozenset((*matching.labels, NAME))
    return [key_of(without(labels, names)) for labels in vector.labels]


def _numbered(left: list[Key], right: list[Key]) -> tuple[Ints, Ints, int]:
    """Match groups as numbers, and how many there are."""
    known: dict[Key, int] = {}
    one, two = ([known.setdefault(key, len(known)) for key in keys] for keys in (left, right))
    return np.array(one, np.int64), np.array(two, np.int64), len(known)


def _present_groups(vector: Vector, groups: Ints, count: int) -> Bools:
    """Which groups [G, T] have a sample."""
    found = np.zeros((count, vector.present.shape[1]), bool)
    np.logical_or.at(found, groups, vector.present)
    return found


def sets(node: Binary, left: Vector, right: Vector) -> Vector:
    """and, or, unless: by whether a match group has a sample on the other side."""
    assert node.matching is not None
    one, two, count = _numbered(signatures(left, node.matching), signatures(right, node.matching))
    if node.op == "or":
        taken = _present_groups(left, one, count)
        return stacked([left, right.filtered(~taken[two])]).without_empty()
    there = _present_groups(right, two, count)[one]
    return left.filtered(there if node.op == "and" else ~there)


@dataclass(slots=True)
class _Match:
    """Pairs of the many side (`many`) and the one side (`one`), -1 for a fill value, with the steps
    at which they meet [P, T]."""

    many: list[int] = field(default_factory=list)
    one: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    where: list[Bools] = field(default_factory=list)

    def add(self, many: int, one: int, group: int, where: Bools) -> None:
        if where.any():
            self.many.append(many)
            self.one.append(one)
            self.groups.append(group)
            self.where.append(where)


def vectors(
    node: Binary, left: Vector, right: Vector, warnings: Annotations, is_delayed: bool
) -> Vector:
    """Arithmetic and comparisons between two vectors.

    Raises:
        PromqlFailure: a match group has several series on a side that may have one.
    """
    matching = node.matching
    assert matching is not None
    is_swapped = matching.card == "one-to-many"
    many, one = (right, left) if is_swapped else (left, right)
    of_many, of_one, count = _numbered(signatures(many, matching), signatures(one, matching))
    filled = matching.fill_left is not None or matching.fill_right is not None
    has_many, has_one = np.any(many.present, axis=0), np.any(one.present, axis=0)
    active = (has_many | has_one) if filled else (has_many & has_one)
    _refuse_duplicates(one, of_one, count, active, matching)
    pairs = _pairs(many, one, of_many, of_one, count, active, matching)
    found = _matched(node, many, one, pairs, is_swapped, warnings, is_delayed)
    if matching.fill_left is None:
        return found[0]
    # The one side's series whose group met nothing are met by a fill value.
    met = np.zeros((count, len(active)), bool)
    for group, where in zip(pairs.groups, found[1], strict=True):
        met[group] |= where
    lonely = _Match()
    for series in range(len(one.labels)):
        group = int(of_one[series])
        lonely.add(-1, series, group, one.present[series] & active & ~met[group])
    rest = _matched(node, many, one, lonely, is_swapped, warnings, is_delayed)
    return stacked([found[0], rest[0]])


def _refuse_duplicates(
    one: Vector, groups: Ints, count: int, active: Bools, matching: Matching
) -> None:
    """The one side must have one sample a group and step. Of several groups that have more, the
    error names the one whose second sample comes first, and the two."""
    if len(np.unique(groups)) == len(groups):
        return
    seen = np.zeros((count, len(active)), np.int64)
    np.add.at(seen, groups, one.present & active)
    if (seen <= 1).all():
        return
    step = int(np.argmax((seen > 1).any(axis=0)))
    here = np.flatnonzero(one.present[:, step])
    second = next(s for at, s in enumerate(here) if groups[s] in groups[here[:at]])
    first = next(s for s in here if groups[s] == groups[second])
    names = sorted(labels_text(one.labels[series]) for series in (first, second))
    shared = one.labels[first]
    if matching.on:
        shared = only(shared, frozenset(matching.labels))
    else:
        shared = without(shared, frozenset((*matching.labels, NAME)))
    side = "left" if matching.card == "one-to-many" else "right"
    raise PromqlFailure(
        f"found duplicate series for the match group {labels_text(shared)} on the {side} hand-side "
        f"of the operation: [{', '.join(names)}];many-to-many matching not allowed: "
        "matching labels must be unique on one side"
    )


def labels_text(labels: Labels) -> str:
    """`{a="b", c="d"}`, names that are no plain words quoted."""
    shown = ", ".join(
        f"{name if name.isascii() and name.isidentifier() else go_quote(name)}={go_quote(value)}"
        for name, value in labels.items()
    )
    return f"{{{shown}}}"


def _pairs(
    many: Vector,
    one: Vector,
    of_many: Ints,
    of_one: Ints,
    count: int,
    active: Bools,
    matching: Matching,
) -> _Match:
    """Each series of the many side with those of its group on the other, or with a fill value."""
    pairs = _Match()
    members: list[list[int]] = [[] for _ in range(count)]
    for series, group in enumerate(of_one):
        members[group].append(series)
    there = _present_groups(one, of_one, count)
    for series, group in enumerate(of_many):
        where = many.present[series] & active
        for partner in members[group]:
            pairs.add(series, partner, int(group), where & one.present[partner])
        if matching.fill_right is not None:
            pairs.add(series, -1, int(group), where & ~there[group])
    return pairs


def _matched(
    node: Binary,
    many: Vector,
    one: Vector,
    pairs: _Match,
    is_swapped: bool,
    warnings: Annotations,
    is_delayed: bool,
) -> tuple[Vector, Bools]:
    """The results of pairs as a vector, and where pairs met with a result of whatever kind [P,
    T]."""
    matching = node.matching
    assert matching is not None
    steps = many.values.shape[1]
    if not pairs.where:
        nothing = np.zeros((0, steps), bool)
        return Vector([], np.zeros((0, steps)), nothing, np.zeros(0, bool)), nothing
    where = np.array(pairs.where)
    ours = _side(many, pairs.many, where, matching.fill_left)
    theirs = _side(one, pairs.one, where, matching.fill_right)
    left, right = (theirs, ours) if is_swapped else (ours, theirs)
    result = elements(node, left, right, warnings)
    valid = np.zeros(where.shape, bool)
    valid[where] = result.valid
    labels = _result_labels(node, many, one, pairs, is_delayed)
    _refuse_several(matching, pairs, labels, valid)
    values, keep = result.values, result.keep & result.valid
    if node.is_bool:
        values, keep = result.keep.astype(float), result.valid
        result.rows = None
    found, present = np.zeros(where.shape), np.zeros(where.shape, bool)
    found[where], present[where] = values, keep
    rows = None
    if result.rows is not None:
        rows = np.full(where.shape, -1)
        rows[where] = result.rows
    block = Histograms.joined(result.blocks) if result.blocks and rows is not None else None
    drops = np.full(len(labels), node.is_bool)
    vector = Vector(labels, found, present, drops, block, rows if block is not None else None)
    return vector.without_empty(), valid


def _side(vector: Vector, series: list[int], where: Bools, fill: float | None) -> Cells:
    """One side's samples of all pairs at the steps where they meet."""
    at = np.array(series)
    if not len(vector.labels):
        return Cells(np.full(int(where.sum()), fill))
    cells = _cells(vector, np.maximum(at, 0), where)
    filled = np.broadcast_to((at < 0)[:, None], where.shape)[where]
    if filled.any():
        cells.values = np.where(filled, 0.0 if fill is None else fill, cells.values)
        cells.rows = None if cells.rows is None else np.where(filled, -1, cells.rows)
    return cells


def _result_labels(
    node: Binary, many: Vector, one: Vector, pairs: _Match, is_delayed: bool
) -> list[Labels]:
    matching = node.matching
    assert matching is not None
    on = frozenset(matching.labels)
    drops_name = changes_metric(node.op) or (node.is_bool and not is_delayed)

    def shared(labels: Labels) -> Labels:
        """What a fill value stands under: the labels that match."""
        return only(labels, on) if matching.on else without(labels, on | {NAME})

    found = []
    for ours, theirs in zip(pairs.many, pairs.one, strict=True):
        labels = many.labels[ours] if ours >= 0 else shared(one.labels[theirs])
        partner = one.labels[theirs] if theirs >= 0 else shared(many.labels[ours])
        if drops_name:
            labels = without(labels, METADATA)
        if matching.card == "one-to-one":
            labels = only(labels, on) if matching.on else without(labels, on)
        for name in matching.include:
            labels = with_label(labels, name, partner.get(name, ""))
        found.append(labels)
    return found


def _refuse_several(matching: Matching, pairs: _Match, labels: list[Labels], valid: Bools) -> None:
    """One to one a group has one result a step; grouped, one for each set of labels."""
    keys: dict[object, int] = {}
    of = [
        keys.setdefault(
            group if matching.card == "one-to-one" else (group, key_of(labels[at])), len(keys)
        )
        for at, group in enumerate(pairs.groups)
    ]
    if len(keys) == len(of):
        return
    seen = np.zeros((len(keys), valid.shape[1]), np.int64)
    np.add.at(seen, np.array(of), valid)
    if (seen > 1).any():
        reason = (
            "many-to-one matching must be explicit (group_left/group_right)"
            if matching.card == "one-to-one"
            else "grouping labels must ensure unique matches"
        )
        raise PromqlFailure(f"multiple matches for labels: {reason}")


# Trimming ----------------------------------------------------------------------------------------


def trim(block: Histograms, value: Floats, is_upper: bool) -> Histograms:
    """n histograms without what lies above (`</`, is_upper) or below (`>/`) a value each. A bucket
    that the value cuts keeps its share; where something went, counts and sums are estimated anew
    from the middles of buckets."""
    everyone = np.arange(len(block))
    found = block.take(everyone)
    count, total = np.zeros(len(block)), np.zeros(len(block))
    changed = np.zeros(len(block), bool)
    populated = {}
    with np.errstate(all="ignore"):
        for sign in ("positive", "negative"):
            side: Side = getattr(found, sign)
            populated[sign] = (side.counts != 0).any(axis=1)
            for rows in block.layouts():
                if not len(side.indexes):
                    continue
                low, high = block.edges(int(rows[0]), sign)
                counts = side.counts[rows]
                kept, middle = _trimmed(
                    counts, low, high, value[rows, None], is_upper,
                    sign == "positive", bool(block.is_custom[rows[0]]),
                )  # fmt: skip
                side.counts[rows] = kept
                changed[rows] |= ((kept != counts) & (counts != 0)).any(axis=1)
                count[rows] += kept.sum(axis=1)
                total[rows] += np.where(kept != 0, middle * kept, 0.0).sum(axis=1)
        kept, middle = _trimmed_zero(
            found, value, is_upper, populated["negative"], populated["positive"]
        )
    has_zero = found.zero_count > 0
    changed |= has_zero & (kept != found.zero_count)
    count += np.where(has_zero, kept, 0.0)
    total += np.where(has_zero, middle * kept, 0.0)
    return replace(
        found,
        zero_count=np.where(has_zero, kept, found.zero_count),
        count=np.where(changed, count, found.count),
        sum=np.where(changed, total, found.sum),
    )


def _middle(low: Floats, high: Floats, is_positive: bool, is_linear: bool) -> Floats:
    """Where the observations of a bucket are thought to be."""
    if is_linear:
        middle = (low + high) / 2
    else:
        geometric = np.sqrt(np.abs(low * high))
        middle = geometric if is_positive else -geometric
    open_low = np.where(np.isinf(high), 0.0, np.where(high > 0, high / 2, high))
    return np.where(np.isinf(low), open_low, np.where(np.isinf(high), low, middle))


def _trimmed(
    counts: Floats,
    low: Floats,
    high: Floats,
    value: Floats,
    is_upper: bool,
    is_positive: bool,
    is_custom: bool,
) -> tuple[Floats, Floats]:
    """What stays of each bucket [n, B], and where it is thought to be."""
    low, high, value = np.broadcast_arrays(low, high, value)
    below = _share_below(low, high, value, is_custom)
    if is_upper:
        whole, cut = high <= value, (high > value) & (low < value)
        kept, middle = counts * below, _middle(low, value, is_positive, is_custom)
        # Nobody knows where in a bucket without an end its observations are.
        half = np.isneginf(low) & (value > 0) & np.isfinite(high)
        kept = np.where(np.isneginf(low), np.where(half, counts * value / high, 0.0), kept)
        middle = np.where(np.isneginf(low), np.where(half, value / 2, 0.0), middle)
        at_end = np.isneginf(low) & (high <= 0)
        kept, middle = np.where(at_end, counts, kept), np.where(at_end, value, middle)
        kept = np.where(np.isposinf(high) & ~np.isneginf(low), 0.0, kept)
    else:
        whole, cut = low >= value, (low < value) & (high > value)
        kept, middle = counts - counts * below, _middle(value, high, is_positive, is_custom)
        half = np.isneginf(low) & (value >= 0) & np.isfinite(high)
        kept = np.where(np.isneginf(low), np.where(half, counts * (1 - value / high), 0.0), kept)
        middle = np.where(np.isneginf(low), np.where(half, (value + high) / 2, 0.0), middle)
        top = np.isposinf(high) & ~np.isneginf(low)
        kept, middle = np.where(top, counts, kept), np.where(top, value, middle)
    kept = np.where(whole, counts, np.where(cut, kept, 0.0))
    return np.where(counts == 0, 0.0, kept), np.where(
        whole, _middle(low, high, is_positive, is_custom), middle
    )


def _share_below(low: Floats, high: Floats, value: Floats, is_linear: bool) -> Floats:
    """The share of a bucket that lies below a value within it."""
    if is_linear:
        return (value - low) / (high - low)
    from_low, from_high = np.log2(np.abs(low)), np.log2(np.abs(high))
    of_value = np.log2(np.abs(value))
    above = (of_value - from_low) / (from_high - from_low)
    return np.where(value > 0, above, 1 - (of_value - from_high) / (from_low - from_high))


def _trimmed_zero(
    block: Histograms, value: Floats, is_upper: bool, negative: Bools, positive: Bools
) -> tuple[Floats, Floats]:
    """The zero bucket, which reaches to one side only if no bucket lies on the other."""
    low = np.where(positive & ~negative, 0.0, -block.zero_threshold)
    high = np.where(negative & ~positive, 0.0, block.zero_threshold)
    width, whole = high - low, (low + high) / 2
    if is_upper:
        share = np.where(value >= high, 1.0, (value - low) / width)
        share = np.where(value <= low, 0.0, share)
        middle = np.where(value >= high, whole, (low + value) / 2)
    else:
        share = np.where(value >= high, 0.0, (high - value) / width)
        share = np.where(value <= low, 1.0, share)
        middle = np.where(value <= low, whole, (value + high) / 2)
    return block.zero_count * share, np.where(share == 0, 0.0, middle)
