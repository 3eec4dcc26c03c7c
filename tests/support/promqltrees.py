"""Random PromQL of the right types, over a small data set that holds every kind of sample."""

from __future__ import annotations

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

_NAMES = ["gauge", "requests_total", "latency_bucket", "native", "custom", "gauges", "mixed", "no"]
_MATCHERS = ["", '{a="x"}', '{b!="1"}', '{a=~"x|y"}', '{a!~".*y",b=~".+"}', '{le!=""}']
_NUMBERS = ["0", "1", "-1", "0.5", "2", "3e2", "NaN", "Inf", "-Inf", "0x1f", "90", "1e308"]
_DURATIONS = ["1s", "15s", "1m", "2m30s", "10m", "0.5", "30"]
_MODIFIERS = ["", " offset 1m", " offset -30s", " @ 300", " @ start()", " @ end() offset 15s"]
_LABELS = ["a", "b", "le", "__name__", "none"]
_OPERATORS = ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "</", ">/"]
_SETS = ["and", "or", "unless"]
_PLAIN = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
_LISTED = [*_PLAIN, "topk", "bottomk", "quantile", "limitk", "limit_ratio"]


def _one_of(*choices: str) -> st.SearchStrategy[str]:
    return st.sampled_from(choices)


@st.composite
def scalars(draw: st.DrawFn, depth: int = 2) -> str:
    if depth <= 0 or draw(st.booleans()):
        return draw(st.sampled_from([*_NUMBERS, "time()", "pi()", "step()", "end()"]))
    kind = draw(_one_of("operator", "comparison", "scalar", "unary", "paren", "max_of"))
    left = draw(scalars(depth - 1))
    if kind == "operator":
        op = draw(st.sampled_from(_OPERATORS[:7]))
        return f"{left} {op} {draw(scalars(depth - 1))}"
    if kind == "comparison":
        op = draw(st.sampled_from(_OPERATORS[7:13]))
        return f"({left}) {op} bool ({draw(scalars(depth - 1))})"
    if kind == "scalar":
        return f"scalar({draw(vectors(depth - 1))})"
    if kind == "max_of":
        return f"max_of({left}, {draw(scalars(depth - 1))})"
    return f"-({left})" if kind == "unary" else f"({left})"


@st.composite
def selectors(draw: st.DrawFn) -> str:
    name, matcher = draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_MATCHERS))
    return name + matcher


@st.composite
def ranges(draw: st.DrawFn, depth: int) -> str:
    length = draw(st.sampled_from(_DURATIONS))
    modifier = draw(st.sampled_from(_MODIFIERS))
    if depth > 0 and draw(st.integers(0, 3)) == 0:
        step = draw(st.sampled_from(["", "15s", "1m"]))
        return f"({draw(vectors(depth - 1))})[{length}:{step}]{modifier}"
    extension = draw(st.sampled_from(["", "", "", " anchored", " smoothed"]))
    return f"{draw(selectors())}[{length}]{extension}{modifier}"


@st.composite
def grouping(draw: st.DrawFn) -> str:
    labels = draw(st.lists(st.sampled_from(_LABELS), max_size=2, unique=True))
    return f"{draw(_one_of('by', 'without'))} ({', '.join(labels)})"


@st.composite
def _matching(draw: st.DrawFn, is_set: bool) -> str:
    if draw(st.booleans()):
        return ""
    labels = draw(st.lists(st.sampled_from(_LABELS[:3]), max_size=2, unique=True))
    found = f" {draw(_one_of('on', 'ignoring'))} ({', '.join(labels)})"
    if not is_set:
        found += draw(_one_of("", "", " group_left ()", " group_right (none)"))
        found += draw(_one_of("", "", " fill (0)", " fill_left (1)", " fill_right (NaN)"))
    return found


@st.composite
def _calls(draw: st.DrawFn, depth: int) -> str:
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    function = FUNCTIONS[name]
    if function.returns == "scalar":
        return f"vector({draw(scalars(depth - 1))})"
    if name == "label_replace":
        vector = draw(vectors(depth - 1))
        target, source = draw(st.sampled_from(_LABELS)), draw(st.sampled_from(_LABELS))
        return f'label_replace({vector}, "{target}", "$1-", "{source}", "(.*)")'
    if name == "info":
        labels = draw(_one_of("", ', {version=~".+"}', ', {__name__="target_info"}'))
        return f"info({draw(vectors(depth - 1))}{labels})"
    arguments = []
    for kind in function.takes:
        if kind == "vector":
            arguments.append(draw(vectors(depth - 1)))
        elif kind == "matrix":
            arguments.append(draw(ranges(depth - 1)))
        elif kind == "scalar":
            arguments.append(draw(scalars(depth - 1)))
        else:
            arguments.append(f'"{draw(st.sampled_from(_LABELS))}"')
    return f"{name}({', '.join(arguments)})"


@st.composite
def _aggregations(draw: st.DrawFn, depth: int) -> str:
    op = draw(st.sampled_from([*_LISTED, "count_values"]))
    by = draw(st.one_of(st.just(""), grouping()))
    body = draw(vectors(depth - 1))
    if op == "count_values":
        return f'count_values {by} ("value", {body})'
    parameter = "" if op in _PLAIN else f"{draw(scalars(depth - 1))}, "
    return f"{op} {by} ({parameter}{body})"


@st.composite
def vectors(draw: st.DrawFn, depth: int = 3) -> str:
    if depth <= 0 or draw(st.integers(0, 4)) == 0:
        return draw(selectors()) + draw(st.sampled_from([*_MODIFIERS, " smoothed"]))
    kind = draw(_one_of("call", "call", "aggregation", "pair", "set", "scalar", "unary"))
    if kind == "call":
        return draw(_calls(depth))
    if kind == "aggregation":
        return draw(_aggregations(depth))
    left = draw(vectors(depth - 1))
    if kind == "unary":
        return f"-({left})"
    if kind == "set":
        op = draw(st.sampled_from(_SETS))
        return f"({left}) {op}{draw(_matching(True))} ({draw(vectors(depth - 1))})"
    op = draw(st.sampled_from(_OPERATORS))
    is_bool = " bool" if op in _OPERATORS[7:13] and draw(st.booleans()) else ""
    if kind == "scalar":
        sides = [f"({left})", f"({draw(scalars(depth - 1))})"]
        sides = sides if draw(st.booleans()) else sides[::-1]
        return f"{sides[0]} {op}{is_bool} {sides[1]}"
    return f"({left}) {op}{is_bool}{draw(_matching(False))} ({draw(vectors(depth - 1))})"
