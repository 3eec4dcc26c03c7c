"""The walk of a query's tree: every node for all steps at once, with a method a kind of node.

An `Evaluation` has samples and steps; what functions, aggregations and operators do is in rooms of
their own. A subquery is walked over its own grid, what is the same at every step over one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ingest.errors import PromqlFailure, PromqlLimit
from ingest.promql import aggregations, binary, functions, info, overtime, rates, tree
from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.gotext import go_quote
from ingest.promql.histograms import GAUGE, UNKNOWN
from ingest.promql.lexer import SET_OPERATORS
from ingest.promql.storage import Samples, ended
from ingest.promql.values import (
    METADATA,
    NAME,
    SAME_LABELS,
    Bools,
    Floats,
    Ints,
    Labels,
    Scalar,
    String,
    Vector,
    Windows,
    empty,
    has_same_labels,
    is_stale,
    merged,
    stacked,
    without,
)

if TYPE_CHECKING:
    from ingest.promql.evaluate import Query

Value = Scalar | String | Vector
V = TypeVar("V", bound=Value)

_TOO_MANY = "query processing would load too many samples into memory in query execution"
_AT_ONCE = 32_000
"""Windows that a range function works on at once: their columns stay in the processor's cache."""

_ANCHORED = ("changes", "delta", "increase", "rate", "resets")
_SMOOTHED = ("delta", "increase", "rate")
_COUNTER_ENDS = ("_total", "_sum", "_count", "_bucket")
OF_QUERY = frozenset({"start", "end", "step", "range"})
"""Functions that tell of the query, not of a step."""

COUNTS_ONLY = frozenset({"histogram_count", "histogram_sum", "histogram_avg"})
"""Functions that look at counts and sums of histograms, not at buckets."""


@dataclass(slots=True)
class Effort:
    """What a query cost.

    Attributes:
        looked_at: samples that selectors gave to a step, over all steps.
        peak: the most cells that were alive.
    """

    looked_at: int = 0
    peak: int = 0


@dataclass(slots=True)
class Evaluation:
    """The walk of a tree over some steps; a subquery has one of its own over its grid."""

    query: Query
    samples: list[Samples]
    times: Ints  # [T]
    notes: Annotations
    check: Callable[[], None]
    held: int = 0  # cells that are alive
    effort: Effort = field(default_factory=Effort)

    @property
    def is_delayed(self) -> bool:
        return self.query.options.features.delayed_name_removal

    @property
    def is_one(self) -> bool:
        return len(self.times) == 1

    def hold(self, cells: int) -> None:
        """Count what is about to be allocated.

        Raises:
            PromqlLimit: it is too much.
        """
        self.held += cells
        self.effort.peak = max(self.effort.peak, self.held)
        if self.held > self.query.options.max_samples:
            raise PromqlLimit(_TOO_MANY)

    def over(self, times: Ints) -> Evaluation:
        """The same query over other steps."""
        return Evaluation(
            self.query, self.samples, times, self.notes, self.check, self.held, self.effort
        )

    def value(self, node: tree.Node) -> Value:
        """What an expression is at every step."""
        self.check()
        before = self.held
        if not self.is_one and len(self.times) and self._is_wrapped(node):
            found = _repeated(self.over(self.times[:1]).value(node), len(self.times))
        else:
            found = self._value(node)
        self.held = before
        if isinstance(found, Vector):
            self.hold(self._cells(found))
        return found

    def _cells(self, vector: Vector) -> int:
        """What a vector takes; a block of histograms that was fetched is counted already."""
        block = vector.histograms
        if block is None or any(block is part.histograms for part in self.samples):
            return vector.values.size
        return vector.values.size + block.cells

    def _is_wrapped(self, node: tree.Node) -> bool:
        """Whether it is worked out once for all steps."""
        if isinstance(node, tree.Number | tree.Text | tree.Range | tree.Subquery):
            return False
        if isinstance(node, tree.Call) and node.function.name in OF_QUERY:
            return False
        return self.query.is_invariant(node)

    def _value(self, node: tree.Node) -> Value:
        match node:
            case tree.Number():
                return Scalar(np.full(len(self.times), node.value))
            case tree.Text():
                return String(node.value)
            case tree.Paren():
                return self.value(node.body)
            case tree.Selector():
                return self.selector(node)
            case tree.Unary():
                return self._unary(node)
            case tree.Binary():
                return self._binary(node)
            case tree.Aggregate():
                return self._aggregate(node)
            case tree.Call():
                return self._call(node)
        raise TypeError(f"{type(node).__name__} is no value")

    def vector(self, node: tree.Node) -> Vector:
        found = self.value(node)
        assert isinstance(found, Vector)
        return found

    def scalar(self, node: tree.Node) -> Floats:
        found = self.value(node)
        assert isinstance(found, Scalar)
        return found.values

    # Names ----------------------------------------------------------------------------------------

    def dropped(self, vector: Vector, names: frozenset[str] = METADATA) -> Vector:
        """Something else was made of a metric: its name goes, at once or at the end."""
        if self.is_delayed:
            return replace(vector, drops=np.ones(len(vector.labels), bool))
        return vector.renamed([without(labels, names) for labels in vector.labels])

    def settled(self, vector: Vector) -> Vector:
        """One series a label set; at one step with delayed removal that is seen at the end."""
        vector = vector.without_empty()
        return vector if self.is_one and self.is_delayed else merged(vector)

    def cleaned(self, value: Value) -> Vector:
        """A result with the names gone that were to go."""
        assert isinstance(value, Vector)
        if not self.is_delayed:
            return value
        labels = [
            without(labels, METADATA) if drop else labels
            for labels, drop in zip(value.labels, value.drops, strict=True)
        ]
        return merged(value.renamed(labels))

    # Selectors ------------------------------------------------------------------------------------

    def _found(self, node: tree.Node) -> Samples:
        """The samples of a selector's node."""
        return self.samples[self.query.place(node)]

    def _moments(self, node: tree.Moved) -> Ints:
        """When a node is looked at, at every step [T]; [1] if that is always the same."""
        at = self.query.at(node)
        moments = self.times if at is None else np.array([at], np.int64)
        return moments - node.offset_ms

    def newest(self, samples: Samples, moments: Ints) -> tuple[Ints, Bools]:
        """The newest sample of each series at or before moments [T]: where it is [S, T], and
        whether it is within the lookback and no stale marker."""
        offsets = samples.offsets
        self.hold(2 * len(samples.labels) * len(moments))
        found = _counted(samples, moments) + offsets[:-1, None] - 1
        present = found >= offsets[:-1, None]
        at = np.maximum(found, 0)
        if len(samples.times):
            present &= samples.times[at] > moments - self.query.options.lookback_ms
            dead = is_stale(samples.values)
            if samples.rows is not None:
                dead &= samples.rows < 0
            if dead.any():
                present &= ~dead[at]
        return at, present

    def selector(self, node: tree.Selector) -> Vector:
        """An instant vector."""
        samples = self._found(node)
        if node.extension == "smoothed":
            return self._smoothed(node, samples)
        at, present = self.newest(samples, self._moments(node))
        self.effort.looked_at += int(np.count_nonzero(present))
        found = _gathered(samples, at, present)
        return _repeated(found, len(self.times)).without_empty()

    def _smoothed(self, node: tree.Selector, samples: Samples) -> Vector:
        """An instant vector between the samples before and after each step."""
        samples = ended(samples)
        lookback = self.query.options.lookback_ms
        moments = self._moments(node)
        self.hold(5 * len(samples.labels) * len(moments))
        before = _counted(samples, moments - lookback) + samples.offsets[:-1, None]
        until = _counted(samples, moments + lookback) + samples.offsets[:-1, None]
        here = _counted(samples, moments) + samples.offsets[:-1, None]
        windows = Windows(
            samples.labels, np.zeros(len(samples.labels), bool), samples.offsets, samples.times,
            samples.values, before, until, moments - lookback, moments + lookback, 2 * lookback,
            samples.histograms, samples.rows,
        )  # fmt: skip
        floats, histograms = windows.split()
        mixed = (floats.counts > 0) & (histograms.counts > 0)
        for series in np.flatnonzero(mixed.any(axis=1)):
            self.notes.warn(notes.mixed_samples(windows.name(int(series))), node)
        at = here - 1
        present = (at >= before) & ~mixed
        found = _gathered(samples, np.maximum(at, 0), present)
        exact = (
            present & (samples.times[np.maximum(at, 0)] == moments) if present.any() else present
        )
        between = present & ~exact & (here < until)
        if found.rows is None:  # no histograms, or nothing but stale markers
            if between.any():
                places = at[between]
                wanted = np.broadcast_to(moments, between.shape)[between]
                values = rates.interpolated(samples.times, samples.values, places, wanted, False)
                found.values[between] = values
            return _repeated(found, len(self.times)).without_empty()
        return _repeated(
            self._smoothed_histograms(node, windows, found, at, between, exact, moments),
            len(self.times),
        ).without_empty()

    def _smoothed_histograms(
        self,
        node: tree.Selector,
        windows: Windows,
        found: Vector,
        at: Ints,
        between: Bools,
        exact: Bools,
        moments: Ints,
    ) -> Vector:
        """Floats as before; histograms as counters unless both neighbours are gauges."""
        assert windows.rows is not None
        assert windows.histograms is not None
        assert found.rows is not None
        floats = between & (windows.rows[np.maximum(at, 0)] < 0)
        wanted = np.broadcast_to(moments, between.shape)
        found.values[floats] = rates.interpolated(
            windows.times, windows.values, at[floats], wanted[floats], False
        )
        pairs = between & ~floats
        request = overtime.Request(_NO_CALL, node, windows, [], self.times, self.notes)
        books = rates.Books(request, windows, pairs)
        places = at[pairs]
        one = windows.histograms.take(windows.rows[places])
        two = windows.histograms.take(windows.rows[places + 1])
        books.give_up(one.is_custom != two.is_custom)
        counters = (one.hint != GAUGE) | (two.hint != GAUGE)
        block = rates.interpolated_histograms(
            books, one, windows.times[places], two, windows.times[places + 1], wanted[pairs],
            np.arange(len(places)), counters,
        )  # fmt: skip
        # What is carried forward says nothing of the sample before it.
        carried = found.is_histogram & ~between & ~exact
        old = windows.histograms.take(found.rows[carried]).with_hint(UNKNOWN)
        good = pairs.copy()
        good[pairs] = books.good
        start = len(windows.histograms)
        joined = type(old).joined([windows.histograms, block, old])
        found.rows = found.rows.copy()
        found.rows[pairs] = start + np.arange(len(block))
        found.rows[carried] = start + len(block) + np.arange(len(old))
        found.histograms = joined
        found.present = found.present & ~(pairs & ~good)
        return found

    def windows(self, node: tree.Range | tree.Subquery) -> Windows:
        """A range vector."""
        if isinstance(node, tree.Subquery):
            found, times = self.subquery(node)
            samples = as_samples(found, times)
            block = samples.histograms
            if block is not None:
                # What the inner steps skip or repeat says nothing about resets.
                hint = np.where(block.hint == GAUGE, GAUGE, UNKNOWN)
                samples.histograms = block.with_hint(hint)
            return self._windowed(samples, found.drops, self._moments(node), node.range_ms, None)
        selector = node.selector
        samples = ended(self._found(selector))
        drops = np.zeros(len(samples.labels), bool)
        moments = self._moments(selector)
        return self._windowed(samples, drops, moments, node.range_ms, selector.extension)

    def _windowed(
        self, samples: Samples, drops: Bools, end: Ints, range_ms: int, extension: str | None
    ) -> Windows:
        lookback = self.query.options.lookback_ms
        begin = end - range_ms
        self.hold(2 * len(samples.labels) * len(end))
        first = begin - (lookback if extension else 0)
        last = end + (lookback if extension == "smoothed" else 0)
        shape = (len(samples.labels), len(self.times))
        offsets = samples.offsets[:-1, None]
        starts = samples.starts if self.query.options.features.start_timestamps else None
        low, high = _counted(samples, first) + offsets, _counted(samples, last) + offsets
        self.effort.looked_at += int((high - low).sum())
        return Windows(
            samples.labels,
            drops,
            samples.offsets,
            samples.times,
            samples.values,
            np.broadcast_to(low, shape),
            np.broadcast_to(high, shape),
            np.broadcast_to(begin, shape[1:]),
            np.broadcast_to(end, shape[1:]),
            range_ms,
            samples.histograms,
            samples.rows,
            starts,
            samples.weights,
        )

    def subquery(self, node: tree.Subquery) -> tuple[Vector, Ints]:
        """A subquery's vector over its own grid, and the grid."""
        moments = self._moments(node)
        if not len(moments):
            return empty(0), moments
        start, end, step = self.query.grid(node, int(moments.min()), int(moments.max()))
        self.hold(max(end - start, 0) // step)
        times = np.arange(start, end + 1, step, dtype=np.int64)
        if not len(times):
            return empty(0), times
        inner = self.over(times)
        found = inner.vector(node.body)
        self.hold(found.values.size)
        return found, times

    # Operators and aggregations -------------------------------------------------------------------

    def _unary(self, node: tree.Unary) -> Value:
        value = self.value(node.body)
        if node.op == "+":
            return value
        if isinstance(value, Scalar):
            return Scalar(-value.values)
        assert isinstance(value, Vector)
        block = value.histograms.times(-1.0) if value.histograms is not None else None
        found = replace(self.dropped(value), values=-value.values, histograms=block)
        return found if self.is_delayed else merged(found)

    def _binary(self, node: tree.Binary) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return Scalar(binary.scalars(node.op, left.values, right.values))
        if isinstance(left, Vector) and isinstance(right, Vector):
            if node.op in SET_OPERATORS:
                return self.settled(binary.sets(node, left, right))
            found = binary.vectors(node, left, right, self.notes, self.is_delayed)
            return self.settled(found)
        if isinstance(left, Vector):
            assert isinstance(right, Scalar)
            found = binary.with_scalar(node, left, right.values, False, self.notes)
        else:
            assert isinstance(right, Vector)
            assert isinstance(left, Scalar)
            found = binary.with_scalar(node, right, left.values, True, self.notes)
        if binary.changes_metric(node.op) or node.is_bool:
            found = self.dropped(found)
        return self.settled(found)

    def _aggregate(self, node: tree.Aggregate) -> Vector:
        if not len(self.times):
            return empty(0)
        if node.op == "count_values":
            return self.settled(aggregations.count_values(node, self.vector(node.body), self.hold))
        parameter = self.scalar(node.parameter) if node.parameter is not None else None
        vector = self.vector(node.body)
        return aggregations.aggregate(node, vector, parameter, self.notes, self.is_one)

    # Functions ------------------------------------------------------------------------------------

    def _call(self, node: tree.Call) -> Value:
        name, steps = node.function.name, len(self.times)
        query = self.query
        match name:
            case "time":
                return Scalar(self.times / 1000)
            case "pi":
                return Scalar(np.full(steps, np.pi))
            case "start" | "end":
                edge = query.start_ms if name == "start" else query.end_ms
                return Scalar(np.full(steps, edge / 1000))
            case "range":
                return Scalar(np.full(steps, (query.end_ms - query.start_ms) / 1000))
            case "step":
                seconds = query.step_ms / 1000 if query.start_ms != query.end_ms else 0.0
                return Scalar(np.full(steps, seconds))
            case "max_of" | "min_of":
                one, two = (self.scalar(argument) for argument in node.arguments)
                reduce = functions.largest if name == "max_of" else functions.smallest
                return Scalar(reduce(one, two))
            case "scalar":
                return functions.scalar_of(self.vector(node.arguments[0]))
            case "vector":
                values = self.scalar(node.arguments[0])[None, :]
                return Vector([{}], values, np.ones(values.shape, bool), np.zeros(1, bool))
            case "timestamp" | "start_timestamp":
                return self._timestamp(node)
            case "info":
                return self._info(node)
        if name in overtime.FUNCTIONS or name in rates.FUNCTIONS:
            return self._over_range(node)
        return self._over_vector(node)

    def _over_vector(self, node: tree.Call) -> Vector:
        name = node.function.name
        call = functions.Call(node, [], [], self.times, self.notes, self.is_delayed)
        for argument in node.arguments:
            value = self.value(argument)
            if isinstance(value, Vector):
                call.vectors.append(value)
            elif isinstance(value, Scalar):
                call.scalars.append(value.values)
        if name.startswith("sort") and not self.is_one:
            self.notes.warn(
                "sort is ineffective for range queries since results are always ordered by labels",
                node,
            )
        if not len(self.times):
            return empty(0)
        found = functions.FUNCTIONS[name](call)
        if name in ("label_replace", "label_join"):
            return merged(found)
        if name not in functions.KEEP_NAMES:
            only_name = name in COUNTS_ONLY or name in ("histogram_stddev", "histogram_stdvar")
            found = self.dropped(found, frozenset({NAME}) if only_name else METADATA)
        order = found.is_ordered
        found = self.settled(found)
        found.is_ordered = order
        return found

    def _timestamp(self, node: tree.Call) -> Vector:
        """When samples are: of a selector those of the storage, of anything else the step."""
        argument = node.arguments[0]
        is_start = node.function.name == "start_timestamp"
        if not isinstance(argument, tree.Selector):
            vector = self.vector(argument)
            values = np.broadcast_to(self.times / 1000, vector.values.shape).copy()
            present = vector.present & (not is_start)
        else:
            samples = self._found(argument)
            at, found = self.newest(samples, self._moments(argument))
            shape = (len(samples.labels), len(self.times))
            present, at = np.broadcast_to(found, shape), np.broadcast_to(at, shape)
            values = np.zeros(shape)
            source = samples.times
            if is_start:
                usable = self.query.options.features.start_timestamps
                present = present & usable
                source = samples.starts if samples.starts is not None else np.zeros_like(source)
            values[present] = source[at[present]] / 1000
            vector = Vector(samples.labels, values, present, np.zeros(shape[0], bool))
        plain = Vector(vector.labels, values, present, vector.drops)
        return self.settled(self.dropped(plain.without_empty()))

    def _info(self, node: tree.Call) -> Vector:
        base = self.vector(node.arguments[0])
        at_ms, offset_ms = info.anchor(self.query.resolved(node.arguments[0]))
        moments = (self.times if at_ms is None else np.array([at_ms], np.int64)) - offset_ms
        samples = self._found(node)
        at, present = self.newest(samples, moments)
        shape = (len(samples.labels), len(self.times))
        present, at = np.broadcast_to(present, shape), np.broadcast_to(at, shape)
        if samples.rows is not None and (samples.rows[at[present]] >= 0).any():
            raise PromqlFailure("this should be an info metric, with float samples")
        times = samples.times[at] if len(samples.times) else at
        series = info.Info(samples.labels, present, times)
        return merged(info.enriched(node, base, series))

    def _over_range(self, node: tree.Call) -> Vector:
        """A function of range vectors, whose argument is a range selector or a subquery."""
        name = node.function.name
        place = next(at for at, kind in enumerate(node.function.takes) if kind == "matrix")
        argument = node.arguments[place]
        assert isinstance(argument, tree.Range | tree.Subquery)
        extension = argument.selector.extension if isinstance(argument, tree.Range) else None
        allowed = _ANCHORED if extension == "anchored" else _SMOOTHED
        if extension and name not in allowed:
            raise PromqlFailure(
                f"{extension} modifier can only be used with: {', '.join(allowed)} - "
                f"not with {name}"
            )
        windows = self.windows(argument)
        scalars = [self.scalar(other) for at, other in enumerate(node.arguments) if at != place]
        if not len(self.times):
            return empty(0)
        self.hold(windows.low.size)
        # Annotations about a subquery have no place in Prometheus but the beginning.
        place_of = argument if isinstance(argument, tree.Range) else _BEGINNING
        function = {**overtime.FUNCTIONS, **rates.FUNCTIONS}[name]
        found = stacked(
            [
                function(
                    overtime.Request(
                        node, place_of, part, scalars, self.times, self.notes, extension, self.check
                    )
                ).without_empty()
                for part in self._parts(windows)
            ]
        )
        if name in ("rate", "increase"):
            self._doubt_counters(found, place_of)
        if name == "absent_over_time":
            return self._absent(found, argument)
        drops = np.ones(len(found.labels), bool)
        if name in ("last_over_time", "first_over_time"):
            drops = found.drops
        if self.is_delayed:
            return replace(found, drops=drops)
        labels: list[Labels] = [
            without(of, METADATA) if drop else of
            for of, drop in zip(found.labels, drops, strict=True)
        ]
        if has_same_labels(labels):
            raise PromqlFailure(SAME_LABELS)
        return found.renamed(labels)

    def _parts(self, windows: Windows) -> Iterator[Windows]:
        """Windows by some series at a time, so that what a function needs meanwhile stays small."""
        if windows.histograms is not None and len(windows.histograms):
            each = windows.histograms.cells // len(windows.histograms)
            self.hold(int((windows.counts > 0).sum()) * each)
        series, steps = windows.low.shape
        some = max(1, _AT_ONCE // max(steps, 1))
        if series <= some:
            yield windows
            return
        for first in range(0, series, some):
            self.check()
            yield windows.part(first, min(first + some, series))

    def _absent(self, found: Vector, argument: tree.Node) -> Vector:
        missing = ~np.any(found.present, axis=0)[None, :]
        labels = functions.absent_labels(argument)
        drops = np.full(1, self.is_delayed)
        return Vector([labels], np.ones(missing.shape), missing, drops).without_empty()

    def _doubt_counters(self, found: Vector, argument: tree.Node) -> None:
        """An info about each metric that does not look like a counter."""
        has_types = self.query.options.features.type_and_unit_labels
        some: Bools = np.any(found.floats, axis=1)
        for labels in (of for of, here in zip(found.labels, some, strict=True) if here):
            name, kind = labels.get(NAME, ""), labels.get("__type__", "")
            if not name:
                continue
            if has_types and kind not in ("counter", "histogram"):
                self.notes.info(
                    'metric might not be a counter, __type__ label is not set to "counter" or '
                    f'"histogram", got {go_quote(kind)}: {go_quote(name)}',
                    argument,
                )
            elif not has_types and not name.endswith(_COUNTER_ENDS):
                self.notes.info(
                    "metric might not be a counter, name does not end in "
                    f"_total/_sum/_count/_bucket: {go_quote(name)}",
                    argument,
                )


_BEGINNING = tree.Node()
_NO_CALL = tree.Call(function=None, arguments=[])  # type: ignore[arg-type]
"""Of a smoothed selector, which is none."""


def _counted(samples: Samples, moments: Ints) -> Ints:
    """How many samples of each series are at or before moments [T]: [S, T]."""
    series, times, offsets = len(samples.labels), samples.times, samples.offsets
    found = np.zeros((series, len(moments)), np.int64)
    if not series or not len(times):
        return found
    if len(moments) <= 2 and len(times) <= 64 * series:
        # Few steps: one pass over all samples costs less than a search in each series.
        for step, moment in enumerate(moments):
            before = np.concatenate([[0], np.cumsum(times <= moment)])
            found[:, step] = before[offsets[1:]] - before[offsets[:-1]]
        return found
    for at in range(series):
        found[at] = np.searchsorted(times[offsets[at] : offsets[at + 1]], moments, "right")
    return found


def _gathered(samples: Samples, at: Ints, present: Bools) -> Vector:
    """Samples at flat indexes [S, T]."""
    if not len(samples.times):
        return Vector(
            samples.labels, np.zeros(at.shape), present, np.zeros(len(samples.labels), bool)
        )
    rows = None if samples.rows is None else np.where(present, samples.rows[at], -1)
    return Vector(
        samples.labels,
        samples.values[at],
        present,
        np.zeros(len(samples.labels), bool),
        samples.histograms if rows is not None else None,
        rows,
    )


def _repeated(value: V, steps: int) -> V:
    """What is the same at every step."""
    if isinstance(value, Scalar):
        return replace(value, values=np.broadcast_to(value.values, (steps,)))
    if isinstance(value, Vector) and value.values.shape[1] != steps:
        shape = (len(value.labels), steps)
        return replace(
            value,
            values=np.broadcast_to(value.values, shape),
            present=np.broadcast_to(value.present, shape),
            rows=None if value.rows is None else np.broadcast_to(value.rows, shape),
        )
    return value


def as_samples(vector: Vector, times: Ints) -> Samples:
    """A vector's samples, series by series."""
    present = vector.present
    counts = present.sum(axis=1)
    return Samples(
        vector.labels,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.broadcast_to(times, present.shape)[present],
        vector.values[present],
        vector.histograms,
        None if vector.rows is None else vector.rows[present],
    )
