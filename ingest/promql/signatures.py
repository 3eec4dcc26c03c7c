"""The functions of PromQL: what they take and return. What they do is in the rooms of the
engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["scalar", "vector", "matrix", "string"]


@dataclass(frozen=True, slots=True)
class Signature:
    """`optional`: how many of the last argument's kind may be left out or repeated; -1: any number.
    Experimental ones need the feature `promql-experimental-functions`."""

    name: str
    takes: tuple[Kind, ...]
    returns: Kind = "vector"
    optional: int = 0
    experimental: bool = False


# One line a shape: names, arguments (v vector, m matrix, s scalar, t text), what may be left out.
_KINDS: dict[str, Kind] = {"v": "vector", "m": "matrix", "s": "scalar", "t": "string"}
_SHAPES: list[tuple[str, str, int]] = [
    ("abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor", "v", 0),
    ("histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar", "v", 0),
    ("ln log10 log2 rad sgn sin sinh sort sort_desc sqrt tan tanh timestamp", "v", 0),
    ("absent_over_time avg_over_time changes count_over_time delta deriv first_over_time", "m", 0),
    ("idelta increase irate last_over_time max_over_time min_over_time present_over_time", "m", 0),
    ("rate resets stddev_over_time stdvar_over_time sum_over_time", "m", 0),
    ("days_in_month day_of_month day_of_week day_of_year hour minute month year", "v", 1),
    ("clamp", "vss", 0),
    ("clamp_max clamp_min", "vs", 0),
    ("round", "vs", 1),
    ("histogram_fraction", "ssv", 0),
    ("histogram_quantile", "sv", 0),
    ("label_replace", "vtttt", 0),
    ("label_join", "vttt", -1),
    ("predict_linear", "ms", 0),
    ("quantile_over_time", "sm", 0),
    ("vector", "s", 0),
]
_EXPERIMENTAL: list[tuple[str, str, int]] = [
    ("mad_over_time ts_of_first_over_time ts_of_last_over_time", "m", 0),
    ("ts_of_max_over_time ts_of_min_over_time", "m", 0),
    ("double_exponential_smoothing", "mss", 0),
    ("histogram_quantiles", "vtss", 9),
    ("info", "vv", 1),
    ("sort_by_label sort_by_label_desc", "vt", -1),
    ("start_timestamp", "v", 0),
]
_SCALARS: list[tuple[str, str, bool]] = [
    ("pi time", "", False),
    ("scalar", "v", False),
    ("start end step range", "", True),
    ("max_of min_of", "ss", True),
]


def _table() -> dict[str, Signature]:
    """All functions by name."""
    table: dict[str, Signature] = {}
    for shapes, experimental in ((_SHAPES, False), (_EXPERIMENTAL, True)):
        for names, kinds, optional in shapes:
            takes = tuple(_KINDS[kind] for kind in kinds)
            for name in names.split():
                table[name] = Signature(name, takes, "vector", optional, experimental)
    for names, kinds, experimental in _SCALARS:
        takes = tuple(_KINDS[kind] for kind in kinds)
        for name in names.split():
            table[name] = Signature(name, takes, "scalar", 0, experimental)
    return table


FUNCTIONS = _table()
