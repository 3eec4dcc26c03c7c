"""Prometheus' format of PromQL tests (`promql/promqltest`): read, loaded, evaluated and compared.

A file is a list of commands: `load STEP` with series and their values, `clear`, and `eval instant
at T QUERY` or `eval range from A to B step S QUERY` with what is expected. Times count from the
epoch. `read` makes commands of a text, `Runner` executes them against anything that answers
queries; `MemoryRunner` is the engine alone over samples in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ingest.errors import PromqlError
from ingest.promql import tree
from ingest.promql.evaluate import Answer, Options, Query
from ingest.promql.histograms import CUSTOM, Histograms, combine
from ingest.promql.lexer import unquoted
from ingest.promql.parser import ALL_FEATURES, Features, parse, parse_duration_ms, parse_selector
from ingest.promql.printer import text as printed
from ingest.promql.quantiles import le_value
from ingest.promql.values import STALE, Labels, is_stale
from tests.support.memory_storage import MemoryStorage

FEATURES = replace(ALL_FEATURES, type_and_unit_labels=False)
"""What Prometheus' own runner switches on."""

_EPSILON = 1e-6
_MINUTE = 60_000
_SMALLEST = 2.2250738585072014e-308
_HINTS = {"unknown": 0, "reset": 1, "not_reset": 2, "gauge": 3}
_NUMBER = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf|[nN]a[nN])"
_VALUE = re.compile(rf"([+-]?{_NUMBER})(?:([+-])({_NUMBER}))?(?:x([0-9]+))?")
_LOAD = re.compile(r"load(?:_(with_nhcb))?\s+(\S+)")
_INSTANT = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)")
_RANGE = re.compile(
    r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)"
)
_EXPECT = re.compile(r"expect\s+(\w+)(?:\s+(msg|regex):\s*(.*))?")
_EXPECT_RANGE = re.compile(r"expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")
_OF_QUERY = re.compile(r"\b(range|step|start|end)\(\)")


class Mismatch(AssertionError):
    """A result that is not the expected one."""


@dataclass(slots=True)
class Sample:
    """One value of a series description: a float, or a histogram as `Histograms.build` takes it."""

    value: float = 0.0
    histogram: dict[str, Any] | None = None
    has_hint: bool = False


@dataclass(slots=True)
class Series:
    labels: Labels
    samples: list[Sample | None]
    starts: list[int | None] = field(default_factory=list)  # offsets from the samples' times


@dataclass(slots=True)
class Load:
    line: int
    step_ms: int
    with_nhcb: bool
    series: dict[tuple[tuple[str, str], ...], Series] = field(default_factory=dict)


@dataclass(slots=True)
class Clear:
    line: int


@dataclass(slots=True)
class Eval:
    """One evaluation. `expected` by labels, in order; a number alone is a scalar."""

    line: int
    query: str
    start_ms: int
    end_ms: int
    step_ms: int
    is_range: bool
    expected: list[Series] = field(default_factory=list)
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # kind, msg or regex, text
    scalar: float | None = None
    string: str | None = None
    matrix: tuple[int, int, int] | None = None

    @property
    def is_ordered(self) -> bool:
        return any(kind == "ordered" for kind, _, _ in self.notes)

    @property
    def is_fail(self) -> bool:
        return any(kind == "fail" for kind, _, _ in self.notes)


Command = Load | Clear | Eval


# Reading -----------------------------------------------------------------------------------------


def read(text: str) -> list[Command]:
    """The commands of a test file."""
    lines = [line.strip() for line in text.split("\n")]
    lines = ["" if line.startswith("#") else line for line in lines]
    commands: list[Command] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line:
            continue
        if line == "clear":
            commands.append(Clear(at))
            continue
        body = []
        if line.startswith("load"):
            while at < len(lines) and lines[at]:
                body.append(lines[at])
                at += 1
            commands.append(_load(line, body, at))
            continue
        number = at
        while at < len(lines) and lines[at] and not lines[at].startswith(("eval", "load ")):
            body.append(lines[at])
            at += 1
        commands.append(_eval(line, body, number))
    return commands


def _load(line: str, body: list[str], number: int) -> Load:
    match = _LOAD.fullmatch(line)
    assert match, f"line {number}: not a load: {line}"
    load = Load(number, parse_duration_ms(match[2]), bool(match[1]))
    starts: dict[tuple[tuple[str, str], ...], list[int | None]] = {}
    for description in body:
        first = description.split(maxsplit=1)
        if first[0].endswith("@st"):
            labels, _ = _described(first[0].removesuffix("@st"))
            starts[tuple(labels.items())] = list(_starts(first[1]))
            continue
        labels, values = _described(description)
        load.series[tuple(labels.items())] = Series(labels, values)
    for key, offsets in starts.items():
        load.series[key].starts = offsets
    return load


def _eval(line: str, body: list[str], number: int) -> Eval:
    instant, ranged = _INSTANT.fullmatch(line), _RANGE.fullmatch(line)
    if instant:
        at = parse_duration_ms(instant[2] or "0")
        found = Eval(number, instant[3], at, at, 0, False)
        old = instant[1]
    else:
        assert ranged, f"line {number}: not an eval: {line}"
        start, end, step = (parse_duration_ms(ranged[group]) for group in (2, 3, 4))
        found = Eval(number, ranged[5], start, end, step, True)
        old = ranged[1]
    if old:
        found.notes.append((old, "", ""))
    for expectation in body:
        _expectation(found, expectation)
    return found


def _expectation(found: Eval, line: str) -> None:
    for word, kind in (("expected_fail_message", "msg"), ("expected_fail_regexp", "regex")):
        if line.startswith(word):
            found.notes.append(("fail", kind, line.removeprefix(word).strip()))
            return
    matrix = _EXPECT_RANGE.fullmatch(line)
    if matrix:
        start, end, step = (parse_duration_ms(matrix[group]) for group in (1, 2, 3))
        found.matrix = (start, end, step)
        return
    if line.startswith("expect string "):
        found.string = unquoted(line.removeprefix("expect string "))
        return
    note = _EXPECT.fullmatch(line)
    if note:
        found.notes.append((note[1], note[2] or "", (note[3] or "").strip()))
        return
    if re.fullmatch(rf"[+-]?{_NUMBER}|[+-]?0x[0-9a-fA-F]+", line, re.IGNORECASE):
        found.scalar = float(int(line, 16)) if "0x" in line else float(line)
        return
    labels, values = _described(line)
    found.expected.append(Series(labels, values))


def _described(line: str) -> tuple[Labels, list[Sample | None]]:
    """`name{label="value"} values` as labels and values."""
    end, depth, quote = 0, 0, ""
    while end < len(line):
        character = line[end]
        if quote:
            if character == "\\" and quote != "`":
                end += 1
            elif character == quote:
                quote = ""
        elif character in "\"'`":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if not depth:
                end += 1
                break
        elif character in " \t" and not depth:
            rest = line[end:].lstrip()
            if not rest.startswith("{") or rest.startswith("{{"):
                break
        end += 1
    labels = {
        matcher.name: matcher.value for matcher in parse_selector(line[:end]) if matcher.value
    }
    return dict(sorted(labels.items())), list(_values(line[end:]))


def _values(text: str) -> Iterator[Sample | None]:
    for item in re.findall(r"(?:\{\{.*?\}\}|[^\s{])+", text):
        yield from _value(item)


def _value(item: str) -> Iterator[Sample | None]:
    """One item of a sequence: `1+2x3` is 1, 3, 5, 7."""
    if item.startswith("_"):
        yield from [None] * int(item[2:] or 1)
        return
    if item == "stale":
        yield Sample(float(STALE))
        return
    if item.startswith("{{"):
        yield from _histogram_values(item)
        return
    match = _VALUE.fullmatch(item)
    assert match, f"not a value: {item}"
    value, times = float(match[1]), int(match[4] or 0)
    change = float((match[2] or "+") + (match[3] or "0"))
    for _ in range(times + 1):
        yield Sample(value)
        value += change


def _histogram_values(item: str) -> Iterator[Sample | None]:
    match = re.fullmatch(r"(\{\{.*?\}\})(?:([+-])(\{\{.*?\}\}))?(?:x([0-9]+))?", item)
    assert match, f"not a histogram: {item}"
    spec, has_hint = _histogram(match[1])
    change = _histogram(match[3]) if match[3] else None
    has_hint = has_hint if change is None else change[1]
    block = Histograms.build([spec])
    for turn in range(int(match[4] or 0) + 1):
        if turn and change is not None:
            other = Histograms.build([change[0]])
            block = combine(block, other, 1.0 if match[2] == "+" else -1.0).result
        yield Sample(0.0, as_spec(block, 0), has_hint)


def _histogram(text: str) -> tuple[dict[str, Any], bool]:
    """`{{schema:1 count:2 buckets:[1 2]}}`, and whether it says a hint."""
    spec: dict[str, Any] = {"positive": {}, "negative": {}}
    said: dict[str, Any] = {}
    for name, listed, plain in re.findall(r"(\w+):(?:\[([^\]]*)\]|(\S+))", text[2:-2]):
        said[name] = [float(number) for number in listed.split()] if listed or not plain else plain
    for name, key in (
        ("count", "count"),
        ("sum", "sum"),
        ("z_bucket", "zero_count"),
        ("z_bucket_w", "zero_threshold"),
    ):
        spec[key] = float(said.get(name, 0))
    spec["schema"] = int(said.get("schema", 0))
    spec["hint"] = _HINTS[said.get("counter_reset_hint", "unknown")]
    if spec["schema"] == CUSTOM:
        spec["custom_bounds"] = said.get("custom_values", [])
    for key, sign in (("", "positive"), ("n_", "negative")):
        offset = int(said.get(f"{key}offset", 0))
        buckets = said.get(f"{key}buckets", [])
        spec[sign] = {offset + at: count for at, count in enumerate(buckets)}
    return spec, "counter_reset_hint" in said


def as_spec(block: Histograms, row: int) -> dict[str, Any]:
    """A row as `Histograms.build` takes it."""
    spec: dict[str, Any] = {
        name: getattr(block, name)[row].item()
        for name in ("schema", "hint", "count", "sum", "zero_threshold", "zero_count")
    }
    if block.bounds_of[row] >= 0:
        spec["custom_bounds"] = list(block.bounds[block.bounds_of[row]])
    for sign in ("positive", "negative"):
        side = getattr(block, sign)
        counts = side.counts[row]
        spec[sign] = {int(side.indexes[at]): float(counts[at]) for at in np.flatnonzero(counts)}
    return spec


def _starts(text: str) -> Iterator[int | None]:
    """Offsets of start timestamps: `-1m`, `0s+30sx4`, `_x3`."""
    for item in text.split():
        if item.startswith("_"):
            yield from [None] * int(item[2:] or 1)
            continue
        match = re.fullmatch(r"([+-]?\w+?)(?:([+-])(\w+?))?(?:x(\d+))?", item)
        assert match, f"not an offset: {item}"
        offset, change = _signed_ms(match[1]), 0
        if match[3]:
            change = _signed_ms(match[2] + match[3])
        for _ in range(int(match[4] or 0) + 1):
            yield offset
            offset += change


def _signed_ms(text: str) -> int:
    return parse_duration_ms(text.lstrip("+-")) * (-1 if text.startswith("-") else 1)


# Running -----------------------------------------------------------------------------------------


class Runner(Protocol):
    """Something that holds samples and answers queries.

    Attributes:
        is_slow: a question costs it milliseconds: many times are asked for in one range.
    """

    is_slow: bool

    def load(self, load: Load) -> None: ...

    def clear(self) -> None: ...

    def ask(self, query: str, start_ms: int, end_ms: int | None, step_ms: int) -> Answer:
        """Raises: PromqlError."""
        ...


def all_series(load: Load) -> Iterator[tuple[Labels, list[tuple[int, Sample, int]]]]:
    """Series with (time, sample, start timestamp or 0), made of classic histograms too if asked."""
    for series in load.series.values():
        samples = []
        for at, sample in enumerate(series.samples):
            if sample is None:
                continue
            time = at * load.step_ms
            start = series.starts[at] if at < len(series.starts) else None
            samples.append((time, sample, 0 if start is None else time + start))
        yield series.labels, samples
    if load.with_nhcb:
        yield from _custom_histograms(load)


def _custom_histograms(load: Load) -> Iterator[tuple[Labels, list[tuple[int, Sample, int]]]]:
    """Classic histograms as native ones with custom buckets."""
    found: dict[tuple[tuple[str, str], ...], dict[int, dict[str, Any]]] = {}
    for series in load.series.values():
        name = series.labels.get("__name__", "")
        suffix = next((s for s in ("_bucket", "_sum", "_count") if name.endswith(s)), None)
        bound = le_value(series.labels.get("le", ""))
        if suffix is None or (suffix == "_bucket" and (bound is None or math.isnan(bound))):
            continue
        labels = {k: v for k, v in series.labels.items() if k != "le"}
        labels["__name__"] = name.removesuffix(suffix)
        at_times = found.setdefault(tuple(sorted(labels.items())), {})
        for at, sample in enumerate(series.samples):
            if sample is None or sample.histogram is not None:
                continue
            parts = at_times.setdefault(at * load.step_ms, {"buckets": {}})
            if suffix == "_bucket":
                parts["buckets"][bound] = sample.value
            else:
                parts[suffix] = sample.value
    for key, at_times in found.items():
        samples = [(at, Sample(0.0, _custom(parts)), 0) for at, parts in sorted(at_times.items())]
        yield dict(key), samples


def _custom(parts: dict[str, Any]) -> dict[str, Any]:
    bounds = sorted(parts["buckets"])
    counts = [parts["buckets"][bound] for bound in bounds]
    count = parts.get("_count", counts[-1] if counts else 0.0)
    if not bounds or bounds[-1] != math.inf:
        bounds, counts = [*bounds, math.inf], [*counts, count]
    own = np.diff([0.0, *counts])
    return {
        "schema": CUSTOM,
        "count": count,
        "sum": parts.get("_sum", 0.0),
        "custom_bounds": bounds[:-1],
        "positive": {at: float(number) for at, number in enumerate(own) if number},
    }


class MemoryRunner:
    """The engine over samples in memory."""

    is_slow = False

    def __init__(self, features: Features = FEATURES) -> None:
        self.storage = MemoryStorage()
        self.options = Options(features=features, max_samples=100_000_000)

    def load(self, load: Load) -> None:
        for labels, samples in all_series(load):
            specs = [sample.histogram for _, sample, _ in samples if sample.histogram is not None]
            rows = iter(range(len(specs)))
            self.storage.add(
                labels,
                [time for time, _, _ in samples],
                [sample.value for _, sample, _ in samples],
                Histograms.build(specs) if specs else None,
                [-1 if sample.histogram is None else next(rows) for _, sample, _ in samples],
                [start for _, _, start in samples],
            )

    def clear(self) -> None:
        self.storage.clear()

    def ask(self, query: str, start_ms: int, end_ms: int | None, step_ms: int) -> Answer:
        return Query(query, start_ms, end_ms, step_ms, self.options).run(self.storage)


def run(commands: Iterable[Command], runner: Runner) -> Iterator[tuple[Eval, str | None]]:
    """Execute commands; each evaluation with what is wrong about it, if anything."""
    for command in commands:
        if isinstance(command, Load):
            runner.load(command)
        elif isinstance(command, Clear):
            runner.clear()
        else:
            try:
                evaluate(command, runner)
            except (Mismatch, PromqlError) as error:
                yield command, str(error)
            else:
                yield command, None


def evaluate(command: Eval, runner: Runner) -> None:
    """Ask as the test says; an instant query also as the middle of a range, and with every selector
    fixed to its time by @, at other times.

    Raises:
        Mismatch: it is not as expected.
    """
    if command.is_range:
        _once(command, runner, command.query, command.start_ms, command.end_ms, command.step_ms)
        return
    at = command.matrix[1] if command.matrix else command.start_ms
    _instant(command, runner, command.query, at, _around(at), [at])
    fixed = _fixed(command.query, at)
    if fixed is None:
        return
    far, near = (10 * at, at // 5) if at else (1000, 0)
    if runner.is_slow:
        times = range(-far, far + 1, at or far)
        _instant(command, runner, fixed, near, times, times)
        return
    for time in sorted({-far, 0, near, at, far}):
        _instant(command, runner, fixed, time, _around(time), _around(time))


def _around(time: int) -> range:
    return range(time - _MINUTE, time + _MINUTE + 1, _MINUTE)


def _instant(
    command: Eval, runner: Runner, query: str, time: int, grid: range, same: Iterable[int]
) -> None:
    """Ask for one time, and for a range.

    Args:
        grid: the times of the range.
        same: of these, when the answer is that of the instant query.
    """
    answer = _once(command, runner, query, time, None, 0)
    special = command.matrix is not None or command.string is not None
    if answer is None or special or _OF_QUERY.search(query):
        return
    ranged = runner.ask(query, grid[0], grid[-1], grid.step)
    if not command.is_ordered:
        for each in same:
            _compare_step(command, ranged, each)


def _fixed(query: str, at: int) -> str | None:
    """The query with every selector fixed to its time; None if its answer depends on when it is
    asked all the same."""
    try:
        root = parse(query, FEATURES)
    except PromqlError:
        return None
    unsafe = {"days_in_month", "day_of_month", "day_of_week", "day_of_year", "end", "hour"}
    unsafe |= {"minute", "month", "year", "predict_linear", "range", "start", "step", "time"}
    unsafe |= {"timestamp"}
    for node, path in tree.walk(root):
        if isinstance(node, tree.Call) and node.function.name in unsafe:
            return None
        fixed = any(isinstance(above, tree.Subquery) and above.at_ms is not None for above in path)
        if isinstance(node, tree.Moved) and not fixed and node.at_ms is None:
            node.at_ms, node.at_edge = at, None
    return printed(root)


def _once(
    command: Eval, runner: Runner, query: str, start: int, end: int | None, step: int
) -> Answer | None:
    try:
        answer = runner.ask(query, start, end, step)
    except PromqlError as error:
        if not command.is_fail:
            raise Mismatch(f"{query}: {error}") from error
        _check_failure(command, str(error))
        return None
    if command.is_fail:
        raise Mismatch(f"{query}: an error was expected")
    _check_notes(command, query, answer)
    _compare(command, query, answer)
    return answer


def _check_failure(command: Eval, said: str) -> None:
    for kind, how, text in command.notes:
        if kind == "fail" and how and not _says(how, text, said):
            raise Mismatch(f"{command.query}: the error is {said!r}, expected {text!r}")


def _says(how: str, text: str, said: str) -> bool:
    if how == "msg":
        return said == text
    return how != "regex" or re.search(text, said) is not None


def _check_notes(command: Eval, query: str, answer: Answer) -> None:
    for kind, found in (("warn", answer.warnings), ("info", answer.infos)):
        wanted = [(how, text) for name, how, text in command.notes if name == kind]
        if wanted and not found:
            raise Mismatch(f"{query}: expected {kind}, found none")
        for how, text in wanted:
            if not any(_says(how, text, said) for said in found):
                raise Mismatch(f"{query}: expected {kind} {text!r}, found {found}")
        for said in found:
            if wanted and not any(_says(how, text, said) for how, text in wanted):
                raise Mismatch(f"{query}: unexpected {kind} {said!r}")
        if found and any(name == f"no_{kind}" for name, _, _ in command.notes):
            raise Mismatch(f"{query}: unexpected {kind}: {found}")


def _compare(command: Eval, query: str, answer: Answer) -> None:
    if command.string is not None:
        if answer.string != command.string:
            raise Mismatch(f"{query}: {answer.string!r} is not {command.string!r}")
        return
    if (command.scalar is not None) != (answer.type == "scalar") and answer.type != "matrix":
        raise Mismatch(f"{query}: a {answer.type}")
    if answer.type == "scalar":
        assert command.scalar is not None
        if not alike(answer.scalar, command.scalar):
            raise Mismatch(f"{query}: {answer.scalar} is not {command.scalar}")
        return
    step = command.matrix[2] if command.matrix else command.step_ms
    start = command.matrix[0] if command.matrix else command.start_ms
    found = found_samples(answer)
    wanted = expected_samples(command, start, step, answer.type == "vector")
    if command.is_ordered and [labels for labels, _ in found] != [labels for labels, _ in wanted]:
        raise Mismatch(f"{query}: in the order {[labels for labels, _ in found]}")
    _compare_series(query, found, wanted)


Found = list[tuple[Labels, dict[int, Sample]]]


def found_samples(answer: Answer) -> Found:
    """An answer as series of samples by time; an instant vector's are at time 0."""
    samples, found = answer.samples, []
    for series, labels in enumerate(samples.labels):
        points = {}
        for at in range(samples.offsets[series], samples.offsets[series + 1]):
            time = int(samples.times[at]) if answer.type == "matrix" else 0
            if samples.rows is not None and samples.rows[at] >= 0:
                assert samples.histograms is not None
                row = int(samples.rows[at])
                shown = getattr(samples.histograms, "spec", None)
                spec = shown(row) if shown else as_spec(samples.histograms, row)
                points[time] = Sample(0.0, spec)
            else:
                points[time] = Sample(float(samples.values[at]))
        found.append((labels, points))
    return found


def expected_samples(command: Eval, start: int, step: int, is_instant: bool) -> Found:
    wanted: Found = []
    if command.scalar is not None:  # of a range query
        wanted.append(({}, {0: Sample(command.scalar)}))
    for series in command.expected:
        points = {
            0 if is_instant else start + at * step: sample
            for at, sample in enumerate(series.samples)
            if sample is not None
        }
        wanted.append((series.labels, points))
    return wanted


def _compare_series(query: str, found: Found, wanted: Found) -> None:
    of_found = {tuple(labels.items()): points for labels, points in found}
    of_wanted = {tuple(labels.items()): points for labels, points in wanted}
    if len(of_found) != len(found):
        raise Mismatch(f"{query}: one label set twice: {[labels for labels, _ in found]}")
    if of_found.keys() != of_wanted.keys():
        raise Mismatch(f"{query}: found {sorted(of_found)}, expected {sorted(of_wanted)}")
    for key, points in of_wanted.items():
        if of_found[key].keys() != points.keys():
            raise Mismatch(f"{query}: {key} at {sorted(of_found[key])}, not {sorted(points)}")
        for time, sample in points.items():
            problem = _difference(of_found[key][time], sample)
            if problem:
                raise Mismatch(f"{query}: {key} at {time}: {problem}")


def _compare_step(command: Eval, answer: Answer, time: int) -> None:
    """One step of a range against what the instant query should give."""
    found: Found = []
    for labels, points in found_samples(answer):
        if time in points:
            found.append((labels, {0: points[time]}))
    query = f"{command.query} (in a range, at {time})"
    _compare_series(query, found, expected_samples(command, 0, 0, True))


def _difference(found: Sample, wanted: Sample) -> str | None:
    if (found.histogram is None) != (wanted.histogram is None):
        return f"found {found}, expected {wanted}"
    if found.histogram is None or wanted.histogram is None:
        same = alike(found.value, wanted.value)
        return None if same else f"found {found.value}, expected {wanted.value}"
    one, two = found.histogram, wanted.histogram
    if "shown" in one:
        return _shown_difference(one, two)
    for name in ("schema", "zero_threshold"):
        if one[name] != two[name]:
            return f"{name} {one[name]}, expected {two[name]}"
    if list(one.get("custom_bounds", [])) != list(two.get("custom_bounds", [])):
        return f"bounds {one.get('custom_bounds')}, expected {two.get('custom_bounds')}"
    for name in ("count", "sum", "zero_count"):
        if not alike(one[name], two[name]):
            return f"{name} {one[name]}, expected {two[name]}"
    for sign in ("positive", "negative"):
        mine, theirs = ({k: v for k, v in spec[sign].items() if v} for spec in (one, two))
        if mine.keys() != theirs.keys() or not all(alike(mine[k], theirs[k]) for k in mine):
            return f"{sign} buckets {mine}, expected {theirs}"
    if wanted.has_hint and one["hint"] != two["hint"]:
        return f"hint {one['hint']}, expected {two['hint']}"
    return None


def _shown_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Of a histogram as JSON shows it, by its bounds."""
    block = Histograms.build([wanted])
    for name in ("count", "sum"):
        if not alike(found[name], float(getattr(block, name)[0])):
            return f"{name} {found[name]}, expected {wanted.get(name)}"
    expected = block.buckets(0)
    same = len(expected) == len(found["shown"]) and all(
        one[0] == two[0] and all(map(alike, one[1:], two[1:]))
        for one, two in zip(found["shown"], expected, strict=True)
    )
    return None if same else f"buckets {found['shown']}, expected {expected}"


def alike(one: float, two: float) -> bool:
    """Equal but for a relative millionth; NaN equals NaN, but no stale marker."""
    stale = [bool(is_stale(np.array([value]))[0]) for value in (one, two)]
    if any(stale):
        return all(stale)
    if one == two or (math.isnan(one) and math.isnan(two)):
        return True
    total, difference = abs(one) + abs(two), abs(one - two)
    if one == 0 or two == 0 or total < _SMALLEST:
        return difference < _EPSILON * _SMALLEST
    return difference / min(total, 1.7976931348623157e308) < _EPSILON
