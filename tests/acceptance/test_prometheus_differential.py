"""Random PromQL of the right types, asked of us and of a Prometheus over the same samples: Debian's
2.42, a 2.42 that has nothing but our remote read, and a Prometheus 3 where PROMGRES_TEST_PROMETHEUS
names one. PROMGRES_EXAMPLES says how many queries (`make conformance`: 2,000). What may differ, and
why, is in docs/reference/promql.md.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from ingest.promql.values import is_stale
from ingest.wire.pb import remote_write_v1_pb2 as v1
from tests.promql.over_http import histogram_message, running
from tests.support.databases import Database
from tests.support.messages import payload
from tests.support.processes import get
from tests.support.prometheus_receiver import WRITE, prometheus_receiver
from tests.support.promqltest import Load, Sample, all_series, read
from tests.support.promqltrees import DATA, MODERN, OLDER, ORDINARY, scalars, vectors
from tests.support.remote_write import send, snappy
from tests.support.senders import require

EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "50"))
TIMEOUT_SECONDS = 300 + 2 * EXAMPLES
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PROMETHEUS_3 = os.environ.get("PROMGRES_TEST_PROMETHEUS")
FEATURES = (
    "promql-experimental-functions,promql-duration-expr,promql-extended-range-selectors,"
    "promql-binop-fill-modifiers"
)
LATER_MS = 3_607_321
"""Where the samples for 2.42 begin: no step of a query, of a subquery, and no end of a window meets
one, since its windows are closed at both ends."""


@dataclass(frozen=True)
class Moment:
    """When a query is asked, in seconds: an instant, or a range."""

    start: float
    end: float | None = None
    step: float = 60


OLDER_MOMENTS = (
    *map(Moment, (3664, 3904, 4204)),
    *(Moment(3664, 4204, 60), Moment(3694, 4300, 45)),
)
MODERN_MOMENTS = (
    *map(Moment, (30, 60, 300, 307.5, 601)),
    *(Moment(240, 360), Moment(23, 700, 37), Moment(15, 75, 15)),
)


@dataclass(frozen=True)
class Servers:
    """URLs: Promgres, Prometheus 2.42, and another one that reads through Promgres."""

    promgres: str
    older: str
    through: str


@pytest.fixture(scope="module")
def servers(shared_postgres_db: Database) -> Iterator[Servers]:
    require("prometheus")
    with (
        running(shared_postgres_db, PROMGRES_QUERY__FEATURES=FEATURES) as ours,
        prometheus_receiver() as older,
        prometheus_receiver(config=reader_of(f"{ours.read_url}/api/v1/read")) as through,
    ):
        feed([ours.write_url], DATA + ORDINARY)
        feed([ours.write_url, older], ORDINARY, LATER_MS)
        yield Servers(ours.read_url, older.removesuffix(WRITE), through.removesuffix(WRITE))


@pytest.fixture(scope="module")
def modern() -> Iterator[str]:
    if PROMETHEUS_3 is None:
        pytest.skip("PROMGRES_TEST_PROMETHEUS names no Prometheus 3")
    with prometheus_receiver(PROMETHEUS_3, f"--enable-feature={FEATURES}") as url:
        feed([url], DATA + ORDINARY)
        yield url.removesuffix(WRITE)


def reader_of(url: str) -> str:
    """The configuration of a Prometheus without samples of its own."""
    source = {"url": url, "read_recent": True, "filter_external_labels": False}
    return str(yaml.safe_dump({"remote_read": [source]}))


def feed(urls: list[str], text: str, base_ms: int = 0) -> None:
    """Write what `load` commands hold to each of these endpoints, by remote write 1.0.

    Series come in the order of their labels, so that Prometheus, which keeps the order in which it
    first saw them, and we take the same one of equals. A series of floats and histograms, among
    which a stale marker may be either, comes in several requests: of one, Prometheus takes all
    floats before all histograms.
    """
    loads = [command for command in read(text) if isinstance(command, Load)]
    every = [series for command in loads for series in all_series(command)]
    requests: list[list[v1.TimeSeries]] = []
    for labels, samples in sorted(every, key=lambda series: sorted(series[0].items())):
        named = [v1.Label(name=name, value=labels[name]) for name in sorted(labels)]
        runs = groupby(samples, kind_of)
        for number, (_, run) in enumerate(runs):
            if number == len(requests):
                requests.append([])
            requests[number].append(message_of(named, run, base_ms))
    for url in urls:
        for messages in requests:
            answer = send(url, snappy(payload(*messages)))
            assert answer.status == 204, answer.text


def kind_of(point: tuple[int, Sample, int]) -> str:
    _, sample, _ = point
    if sample.histogram is not None:
        return "histogram"
    return "stale" if is_stale(np.array([sample.value]))[0] else "float"


def message_of(
    labels: list[v1.Label], samples: Iterable[tuple[int, Sample, int]], base_ms: int
) -> v1.TimeSeries:
    message = v1.TimeSeries(labels=labels)
    for time_ms, sample, _ in samples:
        if sample.histogram is None:
            message.samples.add(value=sample.value, timestamp=base_ms + time_ms)
        else:
            raw = histogram_message(sample.histogram, base_ms + time_ms, 0)
            message.histograms.add().ParseFromString(raw.SerializeToString())
    return message


@pytest.mark.timeout(TIMEOUT_SECONDS)
@many
@given(st.one_of(vectors(grammar=OLDER), scalars(3, OLDER)), st.sampled_from(OLDER_MOMENTS))
def test_prometheus_2_42_says_the_same(servers: Servers, query: str, moment: Moment) -> None:
    """And so does one that reads what we have, but for native histograms, which it cannot."""
    note(query)
    ours, theirs = (asked(url, query, moment) for url in (servers.promgres, servers.older))
    assume(STRICTER not in ours.get("error", ""))
    assume("-Inf overflows" not in theirs.get("error", ""))  # of topk: nobody, since
    tolerance = 1e-5 if LOOSE.search(query) else 1e-9
    assert differences(ours, theirs, tolerance, query) == []
    if not any(name in query for name in OLDER.histograms):
        assert differences(asked(servers.through, query, moment), theirs, tolerance, query) == []


@pytest.mark.timeout(TIMEOUT_SECONDS)
@many
@given(st.one_of(vectors(grammar=MODERN), scalars(3, MODERN)), st.sampled_from(MODERN_MOMENTS))
def test_prometheus_3_says_the_same(
    servers: Servers, modern: str, query: str, moment: Moment
) -> None:
    """To the bit, but for what Go's mathematics round otherwise; messages and notes, too."""
    assume(not FIXED_TWICE.search(query))
    note(query)
    ours, theirs = (asked(url, query, moment) for url in (servers.promgres, modern))
    assert differences(ours, theirs, 1e-9 if ROUNDED.search(query) else 0, query) == []
    assume(STRICTER not in theirs.get("error", ""))
    for part in ("error", "warnings", "infos"):
        assert said(ours, part) == said(theirs, part), part


def said(document: dict[str, Any], part: str) -> set[str]:
    """Texts of an answer, but for what an operator says of samples that it cannot take: Prometheus
    keeps the last of each step, we keep each."""
    found = document.get(part, [])
    texts = [PAIR.sub("", found)] if isinstance(found, str) else found
    return {shortened(text) for text in texts if "for binary operator" not in text}


def shortened(text: str) -> str:
    """Without the last digits of numbers in it: of powers, and of bounds of buckets."""
    return re.sub(r"(\d\.\d{11})\d+", r"\1", text)


PAIR = re.compile(r"(?<=side of the operation: )\[.*\](?=;many-to-many)")
"""Which two series are one too many: until 3.14 in an order of its own."""
FIXED_TWICE = re.compile(r"(@|predict_linear).*\)\[[^]]*:[^]]*\] @")
"""A subquery with @: of a selector with @ in it Prometheus looks at another time where the first
step is the query's own, and predict_linear finds nothing in one."""
STRICTER = "multiple matches for labels"
"""2.42 refuses them only if a comparison lets several through; and where a pair is one too many,
too, 3 may name the other fault."""
LOOSE = re.compile(r"deriv|predict_linear|stddev|stdvar|quantile|histogram")
ROUNDED = re.compile(
    r"\^|a?(sin|cos|tan)h?\b|atan2|exp|ln|log|_quantile|_fraction|stddev|stdvar|deriv|predict"
)
ORDERED = re.compile(r"(sort|sort_desc|sort_by_label|sort_by_label_desc|topk|bottomk) ?[({bw]")


def asked(url: str, query: str, moment: Moment) -> dict[str, Any]:
    """The document that a server answers."""
    form: dict[str, object] = {"query": query, "time": moment.start}
    path = "query"
    if moment.end is not None:
        form = {"query": query, "start": moment.start, "end": moment.end, "step": moment.step}
        path = "query_range"
    status, text = get(f"{url}/api/v1/{path}?{urlencode(form)}", 60)
    assert status in (200, 400, 422), (url, status, text)
    document: dict[str, Any] = json.loads(text)
    return document


def differences(
    ours: dict[str, Any], theirs: dict[str, Any], tolerance: float, query: str
) -> list[str]:
    """What two documents do not agree on."""
    if "data" not in ours or "data" not in theirs:
        same = ours.get("errorType") == theirs.get("errorType")
        return [] if same else [f"{ours.get('error')} | {theirs.get('error')}"]
    ours, theirs = ours["data"], theirs["data"]
    if ours["resultType"] != theirs["resultType"]:
        return [f"{ours['resultType']} | {theirs['resultType']}"]
    if ours["resultType"] in ("scalar", "string"):
        return _of_points([ours["result"]], [theirs["result"]], tolerance)
    mine, others = (
        {
            tuple((name, shortened(value)) for name, value in sorted(each["metric"].items())): each
            for each in side["result"]
        }
        for side in (ours, theirs)
    )
    if mine.keys() != others.keys():
        return [f"only here {sorted(mine.keys() - others.keys())}, only there"
                f" {sorted(others.keys() - mine.keys())}"]  # fmt: skip
    found = []
    if ours["resultType"] == "matrix":
        found += [f"in the order {[*mine]} | {[*others]}"] if [*mine] != [*others] else []
    elif ORDERED.match(query):  # equal ones in any
        in_order = (
            [each.get("value", [0, "0"]) for each in side["result"]] for side in (ours, theirs)
        )
        found += _of_points(*in_order, tolerance)
    for key, series in mine.items():
        for kind in ("value", "histogram"):
            both = [
                side.get(f"{kind}s", [side[kind]] if kind in side else [])
                for side in (series, others[key])
            ]
            found += [f"{dict(key)}: {what}" for what in _of_points(*both, tolerance)]
    return found


def _of_points(ours: list[Any], theirs: list[Any], tolerance: float) -> list[str]:
    return [
        f"{one} | {two}"
        for one, two in zip_longest(ours, theirs)
        if one is None or two is None or one[0] != two[0] or not _alike(one[1], two[1], tolerance)
    ]


def _alike(one: Any, two: Any, tolerance: float) -> bool:
    """Numbers as text, or histograms: bounds of buckets may differ in their last digits."""
    if isinstance(one, dict) and isinstance(two, dict):
        mine, others = one.get("buckets", []), two.get("buckets", [])
        return all(_alike(one[name], two[name], tolerance) for name in ("count", "sum")) and all(
            a is not None
            and b is not None
            and a[0] == b[0]
            and all(_alike(a[at], b[at], 1e-12) for at in (1, 2))
            and _alike(a[3], b[3], tolerance)
            for a, b in zip_longest(mine, others)
        )
    if one == two:
        return True
    if tolerance == 0 or isinstance(one, dict) or isinstance(two, dict):
        return False
    return math.isclose(float(one), float(two), rel_tol=tolerance)
