"""Random PromQL of the right types, over a small data set that holds every kind of sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from ingest.promql.signatures import FUNCTIONS

DATA = """
load 15s
  gauge{a="x", b="1"} 0+3x40
  gauge{a="x", b="2"} 5 4 NaN 2 1 0 -1 -2 stale _x3 7+0.5x30
  gauge{a="y", b="1"} Inf -Inf 0 1e300 1e308 1e308 -1e308 1+1x30
  requests_total{a="x", b="1"} 0+10x15 5+7x25
  requests_total{a="y", b="2"} 1+1x10 _x5 3+3x25
  latency_bucket{a="x", le="0.1"} 0+1x40
  latency_bucket{a="x", le="1"} 0+3x40
  latency_bucket{a="x", le="+Inf"} 0+4x40
  latency_bucket{a="y", le="nonsense"} 0+4x40
  native{a="x", b="1"} {{schema:1 count:4 sum:5 buckets:[1 2 1]}}+{{schema:1 count:3 sum:5 buckets:[1 1 1]}}x40
  native{a="y", b="1"} {{schema:0 count:5 sum:-3 z_bucket:1 z_bucket_w:0.01 buckets:[1 1] n_buckets:[1 1]}}x20 {{schema:-1 count:2 sum:1 buckets:[2]}}x19
  custom{a="x", b="1"} {{schema:-53 count:6 sum:9 custom_values:[1 5 10] buckets:[1 2 3]}}x20 {{schema:-53 count:4 sum:9 custom_values:[1 10] buckets:[1 2 1]}}x19
  gauges{a="x", b="1"} {{count:4 sum:5 counter_reset_hint:gauge buckets:[1 2 1]}}x40
  mixed{a="x", b="1"} 1 2 {{count:4 sum:5 buckets:[1 2 1]}}x3 stale 5 {{schema:-53 count:1 sum:1 custom_values:[1] buckets:[1]}} {{count:1 sum:NaN buckets:[1]}}x2 3
  target_info{a="x", instance="i", job="j", version="1"} 1x40
"""
"""For the parts of the language that hold surprises: stale markers, NaN, infinities, histograms of
several layouts, one name for floats and histograms."""

ORDINARY = """
load 15s
  level{a="x", b="1"} 3+1.25x20 28-2.5x19
  level{a="x", b="2"} 40 41.5 -7 12 stale _x3 7+0.5x31
  level{a="y", b="1"} 1 0 1 0 -1 2 2 2 _x25 8x7
  level{a="y", b="3"} 1000-16x40
  served_total{a="x", b="1"} 4000+10x20 5000+7x19
  served_total{a="x", b="2"} 90000+64x40
  served_total{a="y", b="2"} 7000+1x10 _x5 3000+3x25
  took_bucket{a="x", b="1", le="0.1"} 1000+1x40
  took_bucket{a="x", b="1", le="1"} 2000+3x40
  took_bucket{a="x", b="1", le="+Inf"} 2400+4x40
  took_bucket{a="y", b="1", le="0.1"} 5000+2x20 9000+5x19
  took_bucket{a="y", b="1", le="1"} 6000+2x20 11000+6x19
  took_bucket{a="y", b="1", le="+Inf"} 6000+3x20 12000+6x19
  sized{a="x", b="1"} {{schema:1 count:4 sum:5 buckets:[1 2 1]}}+{{schema:1 count:3 sum:5 buckets:[1 1 1]}}x40
  sized{a="y", b="1"} {{schema:0 count:5 sum:3 z_bucket:1 z_bucket_w:0.001 buckets:[1 1] n_buckets:[1 1]}}+{{schema:0 count:6 sum:4 z_bucket:2 z_bucket_w:0.001 buckets:[2 1] n_buckets:[0 1]}}x40
"""
"""What Prometheus 2.42 can hold, too, and without the numbers where versions part: no infinities,
and counters far above zero, which rates are not extrapolated below."""

_COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
_SETS = ("and", "or", "unless")
_LABELS = ("a", "b", "le", "__name__", "none")


@dataclass(frozen=True)
class Grammar:
    """What expressions are made of.

    Attributes:
        names: of metrics; of `histograms` only count and sum are asked.
        parameterless, parameterised: aggregations.
        scalars: those that are one word.
        modifiers: behind a selector or a subquery.
        subqueries: how long they are; inside of another one, too.
    """

    names: Sequence[str]
    functions: Sequence[str]
    parameterless: Sequence[str]
    parameterised: Sequence[str]
    scalars: Sequence[str]
    modifiers: Sequence[str]
    subqueries: Sequence[str]
    durations: Sequence[str] = ("1s", "15s", "1m", "2m30s", "10m", "30")
    histograms: Sequence[str] = ()
    operators: Sequence[str] = ("+", "-", "*", "/", "%", "^", "atan2")
    trims: Sequence[str] = ()
    extensions: Sequence[str] = ("",)
    fills: Sequence[str] = ("",)


MODERN = Grammar(
    names=("gauge", "requests_total", "latency_bucket", "native", "custom", "gauges", "mixed",
           "level", "served_total", "no"),
    functions=sorted(FUNCTIONS),
    parameterless=("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"),
    parameterised=("topk", "bottomk", "quantile", "limitk", "limit_ratio"),
    scalars=("0", "1", "-1", "0.5", "2", "3e2", "NaN", "Inf", "-Inf", "0x1f", "90", "1e308",
             "time()", "pi()", "step()", "end()"),
    modifiers=("", " offset 1m", " offset -30s", " @ 300", " @ start()", " @ end() offset 15s"),
    subqueries=("1s", "15s", "1m", "2m30s", "10m", "0.5", "30"),
    trims=("</", ">/"),
    extensions=("", "", "", " anchored", " smoothed"),
    fills=("", "", " fill (0)", " fill_left (1)", " fill_right (NaN)"),
)  # fmt: skip
"""All of Prometheus 3, over `DATA`."""

_SINCE_2_42 = {"first_over_time", "histogram_avg", "histogram_stddev", "histogram_stdvar"}
OLDER = replace(
    MODERN,
    names=("level", "served_total", "took_bucket", "no"),
    functions=[
        name
        for name, function in sorted(FUNCTIONS.items())
        if not function.experimental and name not in _SINCE_2_42
    ],
    operators=("+", "-", "*", "/", "%", "^"),  # there atan2 keeps the name of its left side
    parameterised=("topk", "bottomk", "quantile"),
    scalars=[text for text in MODERN.scalars if text not in ("step()", "end()")],
    modifiers=("", " offset 1m", " offset -30s", " @ 3904", " @ start()", " @ end() offset 15s"),
    subqueries=("50s", "2m20s"),
    durations=("1s", "15s", "1m", "2m30s", "10m"),
    histograms=("sized",),
    trims=(),
    extensions=("",),
    fills=("",),
)
"""What Prometheus 2.42 has, too, over `ORDINARY` from an hour after the epoch on. Its windows are
closed at the left: no step of a subquery falls on the left end of one."""


def _one_of(*choices: str) -> st.SearchStrategy[str]:
    return st.sampled_from(choices)


@st.composite
def scalars(draw: st.DrawFn, depth: int = 2, grammar: Grammar = MODERN) -> str:
    if depth <= 0 or draw(st.booleans()):
        return draw(st.sampled_from(grammar.scalars))
    kind = draw(_one_of("operator", "comparison", "scalar", "unary", "paren", "max_of"))
    left = draw(scalars(depth - 1, grammar))
    if kind == "operator":
        op = draw(st.sampled_from(grammar.operators))
        return f"{left} {op} {draw(scalars(depth - 1, grammar))}"
    if kind == "comparison":
        op = draw(st.sampled_from(_COMPARISONS))
        return f"({left}) {op} bool ({draw(scalars(depth - 1, grammar))})"
    if kind == "scalar":
        return f"scalar({draw(vectors(depth - 1, grammar))})"
    if kind == "max_of" and kind in grammar.functions:
        return f"max_of({left}, {draw(scalars(depth - 1, grammar))})"
    return f"-({left})" if kind == "unary" else f"({left})"


@st.composite
def selectors(draw: st.DrawFn, names: Sequence[str]) -> str:
    matchers = ["", '{a="x"}', '{b!="1"}', '{a=~"x|y"}', '{a!~".*y",b=~".+"}', '{le!=""}']
    return draw(st.sampled_from(names)) + draw(st.sampled_from(matchers))


@st.composite
def ranges(draw: st.DrawFn, depth: int, grammar: Grammar) -> str:
    modifier = draw(st.sampled_from(grammar.modifiers))
    if depth > 0 and draw(st.integers(0, 3)) == 0:
        length, step = draw(st.sampled_from(grammar.subqueries)), draw(_one_of("", "15s", "1m"))
        return f"({draw(vectors(depth - 1, grammar))})[{length}:{step}]{modifier}"
    length = draw(st.sampled_from(grammar.durations))
    extension = draw(st.sampled_from(grammar.extensions))
    return f"{draw(selectors(grammar.names))}[{length}]{extension}{modifier}"


@st.composite
def grouping(draw: st.DrawFn) -> str:
    labels = draw(st.lists(st.sampled_from(_LABELS), max_size=2, unique=True))
    return f"{draw(_one_of('by', 'without'))} ({', '.join(labels)})"


@st.composite
def _matching(draw: st.DrawFn, is_set: bool, grammar: Grammar) -> str:
    if draw(st.booleans()):
        return ""
    labels = draw(st.lists(st.sampled_from(_LABELS[:3]), max_size=2, unique=True))
    found = f" {draw(_one_of('on', 'ignoring'))} ({', '.join(labels)})"
    if not is_set:
        found += draw(_one_of("", "", " group_left ()", " group_right (none)"))
        found += draw(st.sampled_from(grammar.fills))
    return found


@st.composite
def _calls(draw: st.DrawFn, depth: int, grammar: Grammar) -> str:
    name = draw(st.sampled_from(grammar.functions))
    function = FUNCTIONS[name]
    if function.returns == "scalar":
        return f"vector({draw(scalars(depth - 1, grammar))})"
    if name == "label_replace":
        vector = draw(vectors(depth - 1, grammar))
        target, source = draw(st.sampled_from(_LABELS)), draw(st.sampled_from(_LABELS))
        return f'label_replace({vector}, "{target}", "$1-", "{source}", "(.*)")'
    if name == "info":
        labels = draw(_one_of("", ', {version=~".+"}', ', {__name__="target_info"}'))
        return f"info({draw(vectors(depth - 1, grammar))}{labels})"
    arguments = []
    for kind in function.takes:
        if kind == "vector":
            arguments.append(draw(vectors(depth - 1, grammar)))
        elif kind == "matrix":
            arguments.append(draw(ranges(depth - 1, grammar)))
        elif kind == "scalar":
            arguments.append(draw(scalars(depth - 1, grammar)))
        else:
            arguments.append(f'"{draw(st.sampled_from(_LABELS))}"')
    return f"{name}({', '.join(arguments)})"


@st.composite
def _aggregations(draw: st.DrawFn, depth: int, grammar: Grammar) -> str:
    op = draw(st.sampled_from([*grammar.parameterless, *grammar.parameterised, "count_values"]))
    by = draw(st.one_of(st.just(""), grouping()))
    body = draw(vectors(depth - 1, grammar))
    if op == "count_values":
        return f'count_values {by} ("value", {body})'
    is_plain = op in grammar.parameterless
    parameter = "" if is_plain else f"{draw(scalars(depth - 1, grammar))}, "
    return f"{op} {by} ({parameter}{body})"


@st.composite
def _histograms(draw: st.DrawFn, grammar: Grammar) -> str:
    """A number of native histograms."""
    selector = draw(selectors(grammar.histograms))
    length, modifier = draw(_one_of("1m", "2m30s")), draw(st.sampled_from(grammar.modifiers))
    inner = draw(_one_of(selector + modifier, f"rate({selector}[{length}]{modifier})"))
    inner = draw(_one_of(inner, f"sum {draw(grouping())} ({inner})"))
    return f"{draw(_one_of('histogram_count', 'histogram_sum'))}({inner})"


@st.composite
def vectors(draw: st.DrawFn, depth: int = 3, grammar: Grammar = MODERN) -> str:
    if depth <= 0 or draw(st.integers(0, 4)) == 0:
        if grammar.histograms and draw(st.integers(0, 7)) == 0:
            return draw(_histograms(grammar))
        modifiers = [*grammar.modifiers, *grammar.extensions[-1:]]
        return draw(selectors(grammar.names)) + draw(st.sampled_from(modifiers))
    kind = draw(_one_of("call", "call", "aggregation", "pair", "set", "scalar", "unary"))
    if kind == "call":
        return draw(_calls(depth, grammar))
    if kind == "aggregation":
        return draw(_aggregations(depth, grammar))
    left = draw(vectors(depth - 1, grammar))
    if kind == "unary":
        return f"-({left})"
    if kind == "set":
        op, matching = draw(st.sampled_from(_SETS)), draw(_matching(True, grammar))
        return f"({left}) {op}{matching} ({draw(vectors(depth - 1, grammar))})"
    op = draw(st.sampled_from([*grammar.operators, *_COMPARISONS, *grammar.trims]))
    is_bool = " bool" if op in _COMPARISONS and draw(st.booleans()) else ""
    if kind == "scalar":
        sides = [f"({left})", f"({draw(scalars(depth - 1, grammar))})"]
        sides = sides if draw(st.booleans()) else sides[::-1]
        return f"{sides[0]} {op}{is_bool} {sides[1]}"
    matching = draw(_matching(False, grammar))
    return f"({left}) {op}{is_bool}{matching} ({draw(vectors(depth - 1, grammar))})"
