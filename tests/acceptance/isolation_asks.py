"""Every way to read something: by port and path, in all the shapes that parameters have."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from inspect import signature
from itertools import product
from typing import Any, cast
from unittest.mock import Mock
from urllib.parse import urlencode

from ingest.export.handler import EXPORT
from ingest.ports.read import read_routes
from ingest.ports.write import write_routes
from ingest.prometheus.handler import Prometheus
from ingest.rpc.handler import RPC
from ingest.wire.pb import remote_read_pb2 as pb
from tests.acceptance.isolation import NOW_MS, Ask, World
from tests.support.remote_write import snappy

HOUR = 3_600_000


def at(ms: int) -> str:
    """As SQL and parameters take it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


PERIOD = {"p_from": at(NOW_MS - 2 * HOUR), "p_to": at(NOW_MS + HOUR)}
WIDTHS = ("1 minute", "1 day")
MORE_WIDTHS = ("1 second", "1 hour", "1 month")

Arguments = list[dict[str, str]]


def _over(widths: tuple[str, ...] = WIDTHS, **given: str) -> Arguments:
    return [{**given, **PERIOD, "p_interval": width} for width in widths]


PAGED: Arguments = [
    {},
    {"p_limit": "1"},
    {"p_attributes": '{"whose": "nobody"}'},
    {"p_attributes": "{}", "p_limit": "1000"},
    {"p_from": PERIOD["p_from"], "p_to": at(NOW_MS + 1000)},
    {"p_before_time": "infinity", "p_before_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
]
TIER: Arguments = [{"p_schema": tier} for tier in ("mainnet", "testnet")]
TOKENS = ("circulating_supply", "burned_supply", "fdv", "market_cap")

FUNCTIONS: dict[str, Arguments] = {
    "get_agg_metric": [
        *_over((*WIDTHS, *MORE_WIDTHS), p_metric_name="up", p_schema="common"),
        *_over(p_metric_name="manifest_tokenomics_total_supply", p_schema="mainnet"),
        *_over(p_metric_name="QUEUE", p_schema="common"),
        *_over(p_metric_name="up", p_schema="geo"),
    ],
    "get_agg_cumsum_metric": _over(p_metric_name="web_requests", p_schema="cumsum"),
    "histogram_quantile": [
        *_over(p_metric_name="rpc_seconds", p_schema="common", p_quantile="0.9"),
        *_over(p_metric_name="rpc_seconds", p_schema="common", p_quantile="2"),
    ],
    "histogram_count": _over(p_metric_name="rpc_seconds", p_schema="common"),
    "histogram_sum": _over(p_metric_name="rpc_seconds", p_schema="common"),
    "get_exemplars": [{"p_metric_name": "rpc_seconds", "p_schema": "common", **PERIOD}],
    "get_metric_metadata": [{}],
    "get_measures": [*PAGED, {"p_name": "queue"}],
    "get_events": [*PAGED, {"p_name": "login"}],
    "get_measure_buckets": [
        *({"p_interval": width} for width in WIDTHS),
        {"p_interval": "1 hour", "p_name": "queue", "p_limit": "1", **PERIOD},
    ],
    "get_latest_geo_coordinates": [{}],
    "get_all_latest_token_metrics": TIER,
    "get_latest_mainnet_circulating_supply_value": [{}],
    "get_latest_mainnet_total_supply_value": [{}],
    **{f"get_all_latest_{tier}_metrics": [{}] for tier in ("mainnet", "testnet", "common")},
    "get_all_latest_cumsum_metrics": [{}],
    **{f"get_latest_{name}": TIER for name in TOKENS},
    **{f"get_agg_{name}": _over(p_schema="mainnet") for name in TOKENS},
    "get_excluded_addresses": [{}],
    "list_metrics": [{}, {"p_like": "u%"}],
    "list_labels": [{}, {"p_metric": "up"}],
    "list_label_values": [{}, {"p_label": "whose"}, {"p_metric": "up", "p_label": "whose"}],
    "list_series": [{}, {"p_metric": "up", "p_match": "{}", "p_limit": "1"}],
    "query_metric": [
        PERIOD,
        *({"p_metric": "up", "p_step": width, **PERIOD} for width in WIDTHS),
        {"p_metric": "up", "p_by": "{*}", "p_aggregate": "rate", "p_fill": "null", **PERIOD},
        {"p_by": "{__name__,whose}", "p_aggregate": "p50", **PERIOD},
        {"p_metric": "web_requests", "p_aggregate": "increase", **PERIOD},
    ],
    "top_series": [PERIOD, {"p_metric": "up", "p_aggregate": "count", **PERIOD}],
    "newest": [{}, {"p_metric": "up"}],
    "cardinality": [{}, {"p_limit": "1"}],
}
"""Arguments of every function that reads; the first ones are answered with something."""

WRITING = {"add_excluded_address", "rm_excluded_address"}

CSV = {"Accept": "text/csv", "Prefer": "count=exact"}
OBJECT = {"Accept": "application/vnd.pgrst.object+json"}


def _calls() -> list[Ask]:
    asks = []
    for name, shapes in FUNCTIONS.items():
        asks += [Ask("read", RPC + name, arguments) for arguments in shapes]
        asks.append(Ask("read", RPC + name, shapes[0], CSV))
        body = json.dumps(shapes[0]).encode()
        json_type = {"Content-Type": "application/json", "Prefer": "params=single-object"}
        asks.append(Ask("read", RPC + name, {}, json_type, body))
    return asks


PAGES: list[dict[str, str]] = [
    {},
    {"shape": "flat", "limit": "10000"},
    {"limit": "1"},
    {"name": "queue"},
    {"name": "login", "limit": "2"},
    {"from": at(NOW_MS), "to": at(NOW_MS + 1000), "shape": "flat"},
    {"from": str(NOW_MS // 1000 - 1), "attributes": "{}"},
    {"attributes": '{"whose": "nobody"}'},
]
BUCKETS = [{"bucket": width} for width in ("1m", "1h", "1d", "1 month")]
KINDS = {"measure": [*PAGES, *BUCKETS], "event": PAGES}


def _pages() -> list[Ask]:
    return [
        Ask(port, f"/api/v1/{kind}{suffix}", query)
        for port, (kind, queries), suffix in product(
            ("read", "write"), KINDS.items(), ("", ".json")
        )
        for query in (queries if not suffix else queries[:1])
    ]


ANYTHING = '{__name__=~".+"}'
"""A selector of every series there is."""
NOW, BEFORE = str(NOW_MS // 1000 + 60), str(NOW_MS // 1000 - 7200)
SPAN = {"start": BEFORE, "end": NOW}


def _prometheus() -> list[Ask]:
    """Every path of Prometheus' API; queries that name nobody."""
    asks = {
        "query": [
            {"query": ANYTHING, "time": NOW},
            {"query": f"count by (__name__) ({ANYTHING})", "time": NOW},
            {"query": f"sum(count_over_time({ANYTHING}[2h]))", "time": NOW},
            {"query": f"{ANYTHING}[3h]", "time": NOW},
            {"query": "up and on () absent(nothing)", "time": NOW},
        ],
        "query_range": [{"query": ANYTHING, **SPAN, "step": "60"}],
        "series": [{"match[]": ANYTHING}, {"match[]": ANYTHING, **SPAN}],
        "labels": [{}, {"match[]": ANYTHING}, SPAN],
        "label/__name__/values": [{}, {"match[]": ANYTHING}],
        "label/whose/values": [{}, SPAN],
        "metadata": [{}, {"metric": "up"}],
        "query_exemplars": [{"query": ANYTHING, **SPAN}],
        "status/tsdb": [{}],
        "format_query": [{"query": "sum(up)by(job)"}],
        "parse_query": [{"query": "sum(up)by(job)"}],
        "status/buildinfo": [{}],
        "rules": [{}],
        "alerts": [{}],
    }
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    question = pb.Query(
        start_timestamp_ms=NOW_MS - 2 * HOUR,
        end_timestamp_ms=NOW_MS + HOUR,
        matchers=[pb.LabelMatcher(type=2, name="__name__", value=".+")],
    )
    read = snappy(pb.ReadRequest(queries=[question]).SerializeToString())
    return [
        *(Ask("read", f"/api/v1/{path}", query) for path, given in asks.items() for query in given),
        Ask("read", "/api/v1/query", {}, form, urlencode(asks["query"][0]).encode()),
        Ask("read", "/api/v1/read", {}, {"Content-Encoding": "snappy"}, read),
        Ask("read", "/api/"),
        Ask("read", "/api/v1/query", {"query": "up{"}),
        Ask("read", "/api/v1/nothing"),
    ]


def _exports() -> list[Ask]:
    """Every series there is, in the formats that are texts."""
    asks: list[dict[str, str]] = [
        {"match": ANYTHING, "from": at(NOW_MS - 3 * HOUR), "to": at(NOW_MS + HOUR), "format": form}
        for form in ("csv", "ndjson")
    ]
    return [Ask("read", EXPORT, query) for query in (*asks, {"metric": "up"}, {})]


NOT_ALLOWED = [
    Ask("read", "/rest/"),
    Ask("read", "/rest/v1/rpc/get_measures"),
    Ask("read", "/rpc/get_measures", {"p_limit": "1"}, OBJECT),
    Ask("read", "/rpc/get_measures", {}, OBJECT),
    Ask("read", "/rpc/no_such_function", {"p_schema": "mainnet"}),
    Ask("read", "/rpc/get_agg_metric", {"p_metric_name": "up"}),
    Ask("read", "/rpc/get_latest_fdv", {"p_schema": "eq.mainnet"}),
    Ask("read", "/rpc/add_excluded_address", {"p_value": "shared address"}),
    Ask("read", "/rpc/get_excluded_addresses", {"select": "*"}),
    Ask("read", "/rpc/get_excluded_addresses", {}, {"Accept-Profile": "internal"}),
    Ask("read", "/nothing"),
    Ask("read", "/rpc/get_measures", {"p_limit": "-1"}),
    Ask("read", "/rpc/get_measures", {"p_attributes": "{"}),
    *(Ask(port, "/api/v1/event", {"cursor": "AQ"}) for port in ("read", "write")),
    *(Ask(port, "/api/v1/measure", {"bucket": "nothing"}) for port in ("read", "write")),
    *(Ask(port, "/api/v1/measure", {"tenant": "1"}) for port in ("read", "write")),
]

STEADY = [
    *_calls(),
    *_pages(),
    *_prometheus(),
    *_exports(),
    *NOT_ALLOWED,
    Ask("read", "/"),
    *(Ask("read", path) for path in ("/ui", "/ui/", "/ui/app.js", "/ui/nothing")),
    *(Ask("write", path) for path in ("/", "/write", "/api/v1/write", "/api/v1/push")),
    *(Ask(port, path) for port in ("read", "write") for path in ("/healthz", "/-/healthy")),
    *(Ask(port, "/-/ready") for port in ("read", "write")),
]
"""What is answered alike as long as nothing is written."""

COUNTERS = [*(Ask(port, "/metrics") for port in ("read", "write")), Ask("read", "/ui/status")]
ALL = [*STEADY, *COUNTERS]


def endpoints_of_code() -> set[tuple[str, str]]:
    """Ports and paths of both routers, functions apart."""
    nobody = cast(Any, Mock())
    prometheus = Prometheus(nobody, nobody, nobody, nobody, nobody)
    others = [nobody] * (len(signature(read_routes).parameters) - 1)
    tables = {
        "write": write_routes(*[nobody] * len(signature(write_routes).parameters)),
        "read": read_routes(*others, prometheus),
    }
    return {(port, path) for port, table in tables.items() for path in table if path != RPC}


def endpoints_of_page(world: World) -> set[tuple[str, str]]:
    """What the read side's own page lists for a key that may call everything."""
    answer = world.ask(Ask("read", "/"), world.ours.credentials("bearer", "admin"))
    return {("read", path) for path in json.loads(answer.text)["paths"]}
