"""A query from its text to its answer: what it selects, and what becomes of its samples.

`Query` is made first: it parses, settles durations and says which samples it needs (`selections`).
Then somebody fetches them, and `Query.evaluate` works: no input and no output, one pass over the
tree, every node for all steps at once. An instant query is a range of one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ingest.errors import PromqlInvalid
from ingest.promql import binary, info, tree
from ingest.promql.annotations import Annotations
from ingest.promql.checks import documented
from ingest.promql.gotext import go_quote
from ingest.promql.matchers import Matcher
from ingest.promql.parser import Features, parse
from ingest.promql.storage import Samples, Selection, Storage
from ingest.promql.values import Ints, Scalar, String, Vector, Windows, key_of
from ingest.promql.walk import COUNTS_ONLY, OF_QUERY, Effort, Evaluation, as_samples

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

_REDUCTIONS = {
    **dict.fromkeys(("rate", "increase", "resets"), "counters"),
    **dict.fromkeys(
        (
            "delta",
            "count_over_time",
            "present_over_time",
            "absent_over_time",
            "first_over_time",
            "last_over_time",
            "ts_of_first_over_time",
            "ts_of_last_over_time",
        ),
        "ends",
    ),
    "min_over_time": "min",
    "max_over_time": "max",
}
"""Of functions of range vectors that need not see each sample: `Selection.reduction`."""
_LONG_MS, _COARSE_MS = 6 * 3_600_000, 2 * 3_600_000
"""Windows so long, and so far apart, that whole hours lie within them."""

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
    effort: Effort = field(default_factory=Effort)


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
        self._unwrap()
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

    def _unwrap(self) -> None:
        """Arguments without parentheses: that is where notes about them point at."""
        for node, _ in tree.walk(self.tree):
            if isinstance(node, tree.Call):
                node.arguments = [tree.bare(argument) for argument in node.arguments]
            elif isinstance(node, tree.Aggregate):
                node.body = tree.bare(node.body)
                node.parameter = tree.bare(node.parameter) if node.parameter is not None else None

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
        first_end, last_end = first, last = self._span(node, first, last)
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
            self._reduction(node, path, is_one=first_end == last_end, step_ms=step),
        )

    def _reduction(
        self, node: tree.Selector, path: tuple[tree.Node, ...], is_one: bool, step_ms: int
    ) -> str:
        match path[-2:]:
            case (tree.Call() as call, tree.Range() as window) if (
                window.range_ms >= _LONG_MS
                and (is_one or step_ms >= _COARSE_MS)
                and node.extension is None
                and not self.options.features.start_timestamps
            ):
                return _REDUCTIONS.get(call.function.name, "")
        return ""

    def _info_selection(self, node: tree.Call, first: int, last: int, step: int) -> Selection:
        """All info series of the names and labels wanted; which ones match is seen later."""
        at_ms, offset_ms = info.anchor(self.resolved(node.arguments[0]))
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

    def resolved(self, node: tree.Node) -> tree.Node:
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
                if name in OF_QUERY:
                    return True
                alike = all(self.is_invariant(argument) for argument in node.arguments)
                if name == "timestamp":
                    return alike and isinstance(node.arguments[0], tree.Selector)
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
        answer.effort = work.effort
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
            return Answer("matrix", _sorted(as_samples(work.cleaned(found), times)))
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
        found_samples = as_samples(vector, times)
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
        if isinstance(node, tree.Call) and node.function.name in COUNTS_ONLY:
            found = True
    return found


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
