"""A query from its text to its answer: what it selects, and how its tree is walked.

`Query` is made first: it parses, settles durations and says which samples it needs (`selections`).
Then somebody fetches them, and `Query.evaluate` works: no input and no output, one pass over the
tree, every node for all steps at once. An instant query is a range of one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from ingest.errors import PromqlFailure, PromqlInvalid, PromqlLimit
from ingest.promql import aggregations, binary, functions, info, overtime, rates, tree
from ingest.promql import annotations as notes
from ingest.promql.annotations import Annotations
from ingest.promql.checks import documented
from ingest.promql.gotext import go_quote
from ingest.promql.histograms import GAUGE, UNKNOWN
from ingest.promql.lexer import SET_OPERATORS
from ingest.promql.matchers import Matcher
from ingest.promql.parser import Features, parse
from ingest.promql.storage import Samples, Selection, Storage, ended
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
    key_of,
    merged,
    without,
)

Value = Scalar | String | Vector
V = TypeVar("V", bound=Value)

_TOO_MANY = "query processing would load too many samples into memory in query execution"
_OF_QUERY = frozenset({"start", "end", "step", "range"})
_OF_TIME = frozenset(
    [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "time",
        "timestamp",
    ]
)
"""Functions whose result changes with the step, whatever their arguments."""

_ANCHORED = ("changes", "delta", "increase", "rate", "resets")
_SMOOTHED = ("delta", "increase", "rate")
_COUNTER_ENDS = ("_total", "_sum", "_count", "_bucket")
_COUNTS_ONLY = frozenset({"histogram_count", "histogram_sum", "histogram_avg"})
_NEEDS_BUCKETS = frozenset({"histogram_quantile", "histogram_quantiles", "histogram_fraction"})


@dataclass(frozen=True, slots=True)
class Options:
    """How queries are answered.

    Args:
        lookback_ms: how old a sample may be that an instant vector takes.
        default_step_ms: of subqueries that say none.
        max_samples: samples and cells of intermediate results at any time.
    """

    lookback_ms: int = 300_000
    default_step_ms: int = 60_000
    max_samples: int = 10_000_000
    features: Features = field(default_factory=Features)


@dataclass(slots=True)
class Answer:
    """What a query found.

    `samples` of a vector: one of each series, at the time of the query, in the answer's order; of a
    matrix: all, series in order of labels. `scalar` and `string` of the other types.
    """

    type: Literal["scalar", "string", "vector", "matrix"]
    samples: Samples
    scalar: float = math.nan
    string: str = ""
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)


class Query:
    """One query, ready to be asked.

    Raises:
        PromqlSyntax, PromqlInvalid: it is none, or not of a type that can be asked this way.
    """

    def __init__(
        self,
        text: str,
        start_ms: int,
        end_ms: int | None = None,
        step_ms: int = 0,
        options: Options | None = None,
    ) -> None:
        """An instant query at `start_ms`, or with an end and a step a range query."""
        self.text, self.options = text, options or Options()
        self.is_range = end_ms is not None
        self.start_ms, self.end_ms = start_ms, start_ms if end_ms is None else end_ms
        self.step_ms = step_ms
        self.tree = parse(text, self.options.features)
        if self.is_range and self.tree.type not in ("scalar", "vector"):
            kind = go_quote(documented(self.tree.type))
            raise PromqlInvalid(
                f"invalid expression type {kind} for range query, must be Scalar or instant Vector"
            )
        self._settle_durations()
        self._places: dict[int, int] = {}  # of a selector's node in `selections`
        self._invariant: dict[int, bool] = {}
        self.selections: list[Selection] = []
        self._select(self.tree, self.start_ms, self.end_ms, self.step_ms, ())

    def times(self) -> Ints:
        if not self.is_range:
            return np.array([self.start_ms], np.int64)
        return np.arange(self.start_ms, self.end_ms + 1, max(self.step_ms, 1), dtype=np.int64)

    # What is known before anything is fetched -----------------------------------------------------

    def _settle_durations(self) -> None:
        for node, _ in tree.walk(self.tree):
            if isinstance(node, tree.Moved) and node.offset_text is not None:
                node.offset_ms = self._duration_ms(node.offset_text, may_be_negative=True)
            if isinstance(node, tree.Range | tree.Subquery) and node.range_text is not None:
                node.range_ms = self._duration_ms(node.range_text)
            if isinstance(node, tree.Subquery) and node.step_text is not None:
                node.step_ms = self._duration_ms(node.step_text)

    def _duration_ms(self, node: tree.Duration, may_be_negative: bool = False) -> int:
        try:
            seconds = self._duration(node)
        except OverflowError:
            seconds = math.inf
        where = f"{node.start}:{node.end}"
        if not math.isfinite(seconds):
            raise PromqlInvalid(f"{where}: duration is NaN or infinite")
        if seconds <= 0 and not may_be_negative:
            raise PromqlInvalid(f"{where}: duration must be greater than 0")
        if abs(seconds) > 2**63 / 1e9:
            raise PromqlInvalid(f"{where}: duration is out of range")
        return int(seconds * 1000)

    def _duration(self, node: tree.Node | None) -> float:
        """Seconds that a calculation of durations comes to."""
        if isinstance(node, tree.Number):
            return node.value
        assert isinstance(node, tree.Duration)
        if node.op == "step":
            return self.step_ms / 1000
        if node.op == "range":
            return (self.end_ms - self.start_ms) / 1000
        right = self._duration(node.right)
        if node.left is None:
            return -right if node.op == "-" else right
        left = self._duration(node.left)
        if node.op in ("min_of", "max_of"):
            if math.isnan(left) or math.isnan(right):
                return math.nan
            return min(left, right) if node.op == "min_of" else max(left, right)
        if node.op in "/%" and right == 0:
            what = "division" if node.op == "/" else "modulo"
            raise PromqlInvalid(f"{node.start}:{node.end}: {what} by zero")
        return float(binary.scalars(node.op, np.float64(left), np.float64(right)))  # type: ignore[arg-type]

    def at(self, node: tree.Moved) -> int | None:
        """The time that `@` fixes, if any."""
        if node.at_edge is not None:
            return self.start_ms if node.at_edge == "start" else self.end_ms
        return node.at_ms

    def grid(self, node: tree.Subquery, first_ms: int, last_ms: int) -> tuple[int, int, int]:
        """Start, end and step of a subquery whose windows end between two times: its own grid is of
        multiples of the step, and open at the left."""
        step = node.step_ms or self.options.default_step_ms
        before = first_ms - node.range_ms
        start = step * int(before / step)  # as Go divides: towards zero
        return (start + step if start <= before else start), last_ms, step

    def _span(self, node: tree.Moved, first: int, last: int) -> tuple[int, int]:
        """When a node is looked at that is evaluated between two times."""
        at = self.at(node)
        first, last = (first, last) if at is None else (at, at)
        return first - node.offset_ms, last - node.offset_ms

    def _select(
        self, node: tree.Node, first: int, last: int, step: int, path: tuple[tree.Node, ...]
    ) -> None:
        """Note what the selectors below a node need that is evaluated between two times."""
        if isinstance(node, tree.Selector):
            self._add(node, self._selection(node, first, last, step, path))
            return
        if isinstance(node, tree.Subquery):
            start, end, step = self.grid(node, *self._span(node, first, last))
            if start <= end:
                self._select(node.body, start, end, step, (*path, node))
                return
        if isinstance(node, tree.Call) and node.function.name == "info":
            self._add(node, self._info_selection(node, first, last, step))
            self._select(node.arguments[0], first, last, step, (*path, node))
            return
        for child in node.children():
            self._select(child, first, last, step, (*path, node))

    def _add(self, node: tree.Node, selection: Selection) -> None:
        """Equal selections are asked for once."""
        for place, known in enumerate(self.selections):
            if known.identity == selection.identity:
                self._places[id(node)] = place
                return
        self._places[id(node)] = len(self.selections)
        self.selections.append(selection)

    def _selection(
        self, node: tree.Selector, first: int, last: int, step: int, path: tuple[tree.Node, ...]
    ) -> Selection:
        lookback = self.options.lookback_ms
        first, last = self._span(node, first, last)
        length = path[-1].range_ms if path and isinstance(path[-1], tree.Range) else 0
        is_one = first == last and not length and node.extension is None
        first -= (length or lookback) - 1
        if node.extension and length:
            first -= lookback
        if node.extension == "smoothed":
            last += lookback
        around = next(
            (n for n in reversed(path) if isinstance(n, tree.Aggregate | tree.Call | tree.Binary)),
            None,
        )
        function, by = "", False
        grouping: tuple[str, ...] = ()
        if isinstance(around, tree.Call):
            function = around.function.name
        elif isinstance(around, tree.Aggregate):
            function = around.op
        if path and isinstance(path[-1], tree.Aggregate):
            grouping, by = tuple(path[-1].grouping), not path[-1].without
        return Selection(
            tuple(node.matchers),
            first,
            last,
            is_one,
            step,
            length,
            function,
            grouping,
            by,
            _counts_only(path),
        )

    def _info_selection(self, node: tree.Call, first: int, last: int, step: int) -> Selection:
        """All info series of the names and labels wanted; which ones match is seen later."""
        at_ms, offset_ms = info.anchor(self._resolved(node.arguments[0]))
        first, last = (first, last) if at_ms is None else (at_ms, at_ms)
        matchers: list[Matcher] = [*info.name_matchers(node), *info.data_matchers(node)]
        return Selection(
            tuple(matchers),
            first - offset_ms - self.options.lookback_ms + 1,
            last - offset_ms,
            first == last,
            step,
            function="info",
        )

    def _resolved(self, node: tree.Node) -> tree.Node:
        """Edges of the query put in for `@ start()` and `@ end()`."""
        for found, _ in tree.walk(node):
            if isinstance(found, tree.Moved) and found.at_edge is not None:
                found.at_ms, found.at_edge = self.at(found), None
        return node

    def is_invariant(self, node: tree.Node) -> bool:
        """Whether an expression is the same at every step."""
        known = self._invariant.get(id(node))
        if known is None:
            known = self._invariant[id(node)] = self._is_invariant(node)
        return known

    def _is_invariant(self, node: tree.Node) -> bool:
        match node:
            case tree.Number() | tree.Text():
                return True
            case tree.Selector() | tree.Subquery():
                return self.at(node) is not None
            case tree.Range():
                return self.at(node.selector) is not None
            case tree.Aggregate():
                return self.is_invariant(node.body)
            case tree.Call():
                name = node.function.name
                if name in _OF_QUERY:
                    return True
                alike = all(self.is_invariant(argument) for argument in node.arguments)
                if name == "timestamp":
                    return alike and isinstance(tree.bare(node.arguments[0]), tree.Selector)
                return alike and name not in _OF_TIME and bool(node.arguments or name == "pi")
            case _:
                return all(self.is_invariant(child) for child in node.children())

    # Evaluation -----------------------------------------------------------------------------------

    def evaluate(
        self, samples: Sequence[Samples], check: Callable[[], None] = lambda: None
    ) -> Answer:
        """The answer, given the samples of every selection in their order.

        Args:
            check: called between nodes; what it raises ends the evaluation (a query that is
                cancelled, a time that is over).

        Raises:
            PromqlFailure: the query ends in an error.
            PromqlLimit: it needs more than `max_samples`.
        """
        work = Evaluation(self, list(samples), self.times(), Annotations(), check)
        work.hold(sum(part.cells for part in samples))
        with np.errstate(all="ignore"):  # infinities and NaN are values here
            answer = self._answer(work)
        answer.warnings, answer.infos = work.notes.texts(self.text)
        return answer

    def run(self, storage: Storage) -> Answer:
        """Ask a storage that answers at once."""
        return self.evaluate([storage.select(selection) for selection in self.selections])

    def place(self, node: tree.Node) -> int:
        return self._places[id(node)]

    def _answer(self, work: Evaluation) -> Answer:
        root = tree.bare(self.tree)
        if isinstance(root, tree.Range):
            return Answer("matrix", _raw(work.windows(root)))
        if isinstance(root, tree.Subquery):
            found, times = work.subquery(root)
            return Answer("matrix", _sorted(_as_samples(work.cleaned(found), times)))
        value = work.value(root)
        times = work.times
        if isinstance(value, String):
            return Answer("string", Samples.none(), string=value.value)
        if isinstance(value, Scalar):
            if not self.is_range:
                return Answer("scalar", Samples.none(), float(value.values[0]))
            present = np.ones((1, len(times)), bool)
            value = Vector([{}], value.values[None, :], present, np.zeros(1, bool))
        vector = work.cleaned(value).without_empty()
        found_samples = _as_samples(vector, times)
        if self.is_range:
            return Answer("matrix", _sorted(found_samples))
        ordered = found_samples if vector.is_ordered else _sorted(found_samples)
        return Answer("vector", ordered)


def _counts_only(path: tuple[tree.Node, ...]) -> bool:
    """Whether nothing above a selector looks at buckets of histograms."""
    found = False
    for node in reversed(path):
        if isinstance(node, tree.Subquery):
            return False
        if isinstance(node, tree.Binary) and node.op in ("</", ">/"):
            return False
        if isinstance(node, tree.Call) and node.function.name in _NEEDS_BUCKETS:
            return False
        if isinstance(node, tree.Call) and node.function.name in _COUNTS_ONLY:
            found = True
    return found


def _as_samples(vector: Vector, times: Ints) -> Samples:
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


def _sorted(samples: Samples) -> Samples:
    order = sorted(range(len(samples.labels)), key=lambda series: key_of(samples.labels[series]))
    return samples if order == list(range(len(order))) else samples.take(order)


def _raw(windows: Windows) -> Samples:
    """The samples of a range selector at one step."""
    spans = [
        np.arange(windows.low[series, 0], windows.high[series, 0])
        for series in range(len(windows.labels))
    ]
    kept = [series for series, span in enumerate(spans) if len(span)]
    at = np.concatenate([spans[series] for series in kept]) if kept else np.zeros(0, np.int64)
    found = Samples(
        [windows.labels[series] for series in kept],
        np.concatenate([[0], np.cumsum([len(spans[series]) for series in kept])]).astype(np.int64),
        windows.times[at],
        windows.values[at],
        windows.histograms,
        None if windows.rows is None else windows.rows[at],
    )
    return _sorted(found)


@dataclass(slots=True)
class Evaluation:
    """The walk of a tree over some steps; a subquery has one of its own over its grid."""

    query: Query
    samples: list[Samples]
    times: Ints  # [T]
    notes: Annotations
    check: Callable[[], None]
    held: int = 0  # cells that are alive

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
        if self.held > self.query.options.max_samples:
            raise PromqlLimit(_TOO_MANY)

    def over(self, times: Ints) -> Evaluation:
        """The same query over other steps."""
        return Evaluation(self.query, self.samples, times, self.notes, self.check, self.held)

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
            self.hold(found.values.size)
        return found

    def _is_wrapped(self, node: tree.Node) -> bool:
        """Whether it is worked out once for all steps."""
        if isinstance(node, tree.Number | tree.Text | tree.Range | tree.Subquery):
            return False
        if isinstance(node, tree.Call) and node.function.name in _OF_QUERY:
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
        found = _gathered(samples, at, present)
        return _repeated(found, len(self.times)).without_empty()

    def _smoothed(self, node: tree.Selector, samples: Samples) -> Vector:
        """An instant vector between the samples before and after each step."""
        samples = ended(samples)
        lookback = self.query.options.lookback_ms
        moments = self._moments(node)
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
        if samples.rows is None:
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
            samples = _as_samples(found, times)
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
        return Windows(
            samples.labels,
            drops,
            samples.offsets,
            samples.times,
            samples.values,
            np.broadcast_to(_counted(samples, first) + offsets, shape),
            np.broadcast_to(_counted(samples, last) + offsets, shape),
            np.broadcast_to(begin, shape[1:]),
            np.broadcast_to(end, shape[1:]),
            range_ms,
            samples.histograms,
            samples.rows,
            starts,
        )

    def subquery(self, node: tree.Subquery) -> tuple[Vector, Ints]:
        """A subquery's vector over its own grid, and the grid."""
        moments = self._moments(node)
        if not len(moments):
            return empty(0), moments
        start, end, step = self.query.grid(node, int(moments.min()), int(moments.max()))
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
            text = tree.bare(node.parameter) if node.parameter is not None else None
            plain = replace(node, parameter=text)
            return self.settled(aggregations.count_values(plain, self.vector(node.body)))
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
                reduce = np.maximum if name == "max_of" else np.minimum
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
        if name.startswith("sort") and not self.is_one:
            self.notes.warn(
                "sort is ineffective for range queries since results are always ordered by labels",
                node,
            )
        for argument in node.arguments:
            value = self.value(argument)
            if isinstance(value, Vector):
                call.vectors.append(value)
            elif isinstance(value, Scalar):
                call.scalars.append(value.values)
        if not len(self.times):
            return empty(0)
        found = functions.FUNCTIONS[name](call)
        if name in ("label_replace", "label_join"):
            return merged(found)
        if name not in functions.KEEP_NAMES:
            only_name = name in _COUNTS_ONLY or name in ("histogram_stddev", "histogram_stdvar")
            found = self.dropped(found, frozenset({NAME}) if only_name else METADATA)
        order = found.is_ordered
        found = self.settled(found)
        found.is_ordered = order
        return found

    def _timestamp(self, node: tree.Call) -> Vector:
        """When samples are: of a selector those of the storage, of anything else the step."""
        argument = tree.bare(node.arguments[0])
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
        at_ms, offset_ms = info.anchor(self.query._resolved(node.arguments[0]))
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
        argument = tree.bare(node.arguments[place])
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
        request = overtime.Request(
            node, place_of, windows, scalars, self.times, self.notes, extension
        )
        found = {**overtime.FUNCTIONS, **rates.FUNCTIONS}[name](request).without_empty()
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
