"""Those who read a Prometheus read Promgres: promtool, vmalert, a Prometheus by remote read, a
client in Python, Prometheus' own editor of PromQL, and what Grafana asks.

`PROMGRES_SOAK_SECONDS` (3) is how long vmalert evaluates its twenty rules; 300 is what a release is
tested with.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
import pytest
import yaml
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect

from ingest.cli.main import main as cli_main
from ingest.wire import chunks as wire
from ingest.wire.pb import remote_read_pb2 as pb
from ingest.wire.pb import remote_write_v1_pb2 as v1
from tests.support import chunks
from tests.support.databases import Database
from tests.support.install import PROMQL_JS, installed, node
from tests.support.messages import payload, series
from tests.support.processes import PROMGRES, Program, free_port, get, wait_until
from tests.support.prometheus_receiver import prometheus_receiver
from tests.support.read_side import read_side
from tests.support.remote_write import HEADERS, send, snappy, write_side
from tests.support.senders import require, vmalert

STEP_MS = 15_000
SAMPLES = 240
JOBS, PATHS = ("a", "b"), range(5)


class Served(NamedTuple):
    """A running Promgres with an hour of ten counters and two classic histograms.

    Attributes:
        read, write: URLs.
        last: when the newest sample was, in seconds.
    """

    read: str
    write: str
    last: float


@pytest.fixture(scope="module")
def served(shared_postgres_db: Database) -> Iterator[Served]:
    with write_side(shared_postgres_db) as writing, read_side(shared_postgres_db) as reading:
        last_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
        times = [last_ms - (SAMPLES - 1 - i) * STEP_MS for i in range(SAMPLES)]
        answer = writing.write(*classic(times), latency(times))
        assert answer.status == 204, answer.text
        yield Served(reading.url, writing.url, last_ms / 1000)


def classic(times: list[int], first: int = 0) -> list[v1.TimeSeries]:
    """Counters, and buckets of histograms: from their sample number `first` on."""
    counters = [
        series(
            {"name": "http_requests_total", "job": job, "path": f"/{path}"},
            *[(at, float(i % 100 * (path + 1))) for i, at in enumerate(times, first)],
        )
        for job in JOBS
        for path in PATHS
    ]
    buckets = [
        series(
            {"name": "seconds_bucket", "job": job, "le": le},
            *[(at, float(i * share)) for i, at in enumerate(times, first)],
        )
        for job in JOBS
        for le, share in (("0.1", 1), ("0.5", 3), ("+Inf", 4))
    ]
    return [*counters, *buckets]


def latency(times: list[int]) -> v1.TimeSeries:
    """A native histogram that is reset once, and finds new buckets."""
    histograms = []
    for i, at in enumerate(times):
        count = 1.0 + i % 150  # an old Prometheus takes a histogram of nothing for one of integers
        message = v1.Histogram(
            schema=3, count_float=2 * count, sum=count / 3, timestamp=at, zero_threshold=1e-128,
            positive_counts=[count, count / 2, count / 2] if i % 150 > 20 else [2 * count],
        )  # fmt: skip
        message.positive_spans.add(offset=-2, length=1)
        if i % 150 > 20:
            message.positive_spans.add(offset=3, length=2)
        histograms.append(message)
    labels = [v1.Label(name=name, value=value)
              for name, value in (("__name__", "latency"), ("job", "a"))]  # fmt: skip
    return v1.TimeSeries(labels=labels, histograms=histograms)


def asked(url: str, path: str, **query: object) -> Any:
    status, text = get(f"{url}/api/v1/{path}?{urlencode(query, doseq=True)}")
    assert status == 200, text
    return json.loads(text)["data"]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    require("prometheus")
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_promtool_asks_all_that_it_can(served: Served) -> None:
    query = "sum by (job) (increase(http_requests_total[5m]))"
    for arguments, said in (
        (("instant", served.read, query, f"--time={served.last:.0f}"), '{job="a"} => '),
        (("range", served.read, query, "--step=1m"), '{job="b"} =>'),
        (("series", served.read, '--match=http_requests_total{path=~"/[12]"}'), 'path="/2"'),
        (("labels", served.read, "job"), "a\nb"),
    ):
        done = promtool("query", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert said in done.stdout, arguments
    wrong = promtool("query", "instant", served.read, "foo bar")
    assert wrong.returncode == 1
    assert '1:5: parse error: unexpected identifier "bar"' in wrong.stderr


QUESTIONS = (
    "http_requests_total",
    "sum(http_requests_total)",
    "sum by (path) (rate(http_requests_total[5m]))",
    'max_over_time(http_requests_total{job="a"}[10m])',
    "max by (job) (http_requests_total offset 5m)",
    "histogram_quantile(0.9, sum by (le) (rate(seconds_bucket[10m])))",
    'http_requests_total{job="a"} / ignoring (job) http_requests_total{job="b"}',
    "resets(http_requests_total[50m])",
    "absent(nothing)",
    "count_values('v', http_requests_total)",
    "avg_over_time(sum(http_requests_total)[30m:1m])",
    "quantile(0.5, http_requests_total) and on () vector(1)",
)
OF_HISTOGRAMS = (
    "histogram_quantile(0.9, rate(latency[5m]))",
    "histogram_count(increase(latency[40m]))",
    "histogram_sum(latency)",
)


READERS = [
    "prometheus",
    pytest.param(
        NEWER := os.environ.get("PROMGRES_TEST_PROMETHEUS", ""),
        marks=pytest.mark.skipif(not NEWER, reason="PROMGRES_TEST_PROMETHEUS names no program"),
        id="newer",
    ),
]
"""Debian's reads samples, and no histograms; one of version 3 reads streamed chunks."""


@pytest.mark.parametrize("reader", READERS)
def test_a_prometheus_that_reads_through_us_agrees_with_us(
    served: Served, tmp_path: Path, reader: str
) -> None:
    """Its own engine over our samples. Windows of an old one are closed at their left end: times of
    samples are not asked for."""
    require("prometheus")
    config = tmp_path / "prometheus.yml"
    source = {"url": f"{served.read}/api/v1/read", "read_recent": True,
              "filter_external_labels": False}  # fmt: skip
    config.write_text(yaml.safe_dump({"remote_read": [source]}))
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
               f"--web.listen-address={address}"]  # fmt: skip
    with Program(reader, *options) as program:
        wait_until(lambda: get(f"http://{address}/-/ready")[0] == 200, what=program.output)
        for query in QUESTIONS + (OF_HISTOGRAMS if reader == NEWER else ()):
            both = [
                asked(url, "query_range", query=query, start=served.last - 3000 + 7,
                      end=served.last + 7, step=60)["result"]
                for url in (f"http://{address}", served.read)
            ]  # fmt: skip
            for theirs, ours in zip(*both, strict=True):
                assert theirs["metric"] == ours["metric"], query
                assert [at for at, _ in theirs["values"]] == [at for at, _ in ours["values"]], query
                values = [[float(value) for _, value in each["values"]] for each in (theirs, ours)]
                assert values[0] == pytest.approx(values[1], rel=1e-9, nan_ok=True), query


def test_chunks_are_written_as_a_prometheus_writes_them(served: Served) -> None:
    """Of chunks that it streams itself, our encoder makes the same bytes; of what it was sent, we
    stream the same samples."""
    require("prometheus")
    times = [int(served.last * 1000) - (SAMPLES - 1 - i) * STEP_MS for i in range(SAMPLES)]
    values = (0.0, 1.0, 0.1, -3.5, 1e300, float("nan"), float("inf"), 7.25)
    wave = [(at + i % 3, values[i * i % 7] * (i % 5 + 1)) for i, at in enumerate(times)]
    sent = snappy(payload(series({"name": "wave", "of": "all"}, *wave), latency(times)))
    with prometheus_receiver() as theirs:
        assert send(theirs, sent, HEADERS).status == 204
        assert send(served.write, sent, HEADERS).status == 204
        found = [
            streamed_from(url, times) for url in (theirs.replace("write", "read"),
                                                  f"{served.read}/api/v1/read")
        ]  # fmt: skip
    assert len(found[0]) == 2
    assert found[0].keys() == found[1].keys()
    for key, theirs_chunks in found[0].items():
        assert samples_of(theirs_chunks) == samples_of(found[1][key])
        assert [rewritten(chunk) for chunk in theirs_chunks] == [one.data for one in theirs_chunks]


def streamed_from(url: str, times: list[int]) -> chunks.Streamed:
    query = pb.Query(
        start_timestamp_ms=times[0],
        end_timestamp_ms=times[-1] + 10,
        matchers=[pb.LabelMatcher(type=2, name="__name__", value="wave|latency")],
    )
    request = pb.ReadRequest(queries=[query], accepted_response_types=[1])
    answer = send(url, snappy(request.SerializeToString()), HEADERS)
    assert answer.status == 200, answer.text
    return chunks.streamed(answer.body)


def samples_of(found: list[chunks.Chunk]) -> list[object]:
    """Every sample, however it was cut into chunks; of histograms what is not empty."""
    samples: list[object] = []
    for chunk in found:
        if chunk.kind == wire.XOR:
            samples += chunks.floats(chunk.data)
            continue
        block = chunks.histograms(chunk.data)
        for one in block.samples:
            buckets = zip(block.positive, one.fields[3:], strict=True)
            kept = [(index, count) for index, count in buckets if count]
            samples.append((one.time_ms, block.schema, block.zero_threshold, one.fields[:3], kept))
    return samples


def rewritten(chunk: chunks.Chunk) -> bytes:
    """A chunk as our encoder writes its samples."""
    if chunk.kind == wire.XOR:
        found = chunks.floats(chunk.data)
        times = np.array([at for at, _ in found])
        values = np.array([bits for _, bits in found], np.uint64).view(np.float64)
        return wire.float_chunks(times, values, np.array([0]), np.array([len(times)]))[0]
    block = chunks.histograms(chunk.data)
    hint = wire.RESET_HEADER.index(block.header)
    layout = wire.Layout(
        hint, block.schema, block.zero_threshold, block.positive, block.negative, block.bounds
    )
    fields = np.array([one.fields for one in block.samples], np.uint64).view(np.float64)
    return wire.histogram_chunk(np.array([one.time_ms for one in block.samples]), fields, layout)


RULES = [
    *(
        {"record": f"recorded:{name}:{path}", "expr": f'{expr}{{path="/{path}"}}{rest})'}
        for path in PATHS
        for name, expr, rest in (
            ("sum", "sum by (job) (http_requests_total", ""),
            ("rate", "sum by (job) (rate(http_requests_total", "[5m])"),
        )
    ),
    *(
        {
            "alert": f"Busy{path}",
            "expr": f'http_requests_total{{path="/{path}"}} >= 0',
            "labels": {"severity": "page"},
            "annotations": {"summary": "{{ $labels.job }} has {{ $value }}"},
        }
        for path in PATHS
    ),
    {"alert": "Waits", "expr": "vector(1)", "for": "1s"},
    {"alert": "Gone", "expr": "absent(no_such_metric)"},
    {
        "alert": "Slow",
        "expr": "histogram_quantile(0.9, sum by (le) (rate(seconds_bucket[10m]))) > 0",
    },
    {"alert": "Quiet", "expr": "http_requests_total < 0"},
    {"alert": "Never", "expr": "http_requests_total > 1e9", "for": "5m"},
]
FIRING = {*(f"Busy{path}" for path in PATHS), "Waits", "Gone", "Slow"}
VMALERT_SECONDS = float(os.environ.get("PROMGRES_SOAK_SECONDS", "3"))


@contextmanager
def notifier() -> Iterator[tuple[str, set[str]]]:
    """Where alerts are sent, and the names of those that came."""
    names: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            names.update(alert["labels"]["alertname"] for alert in alerts)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", names
        server.shutdown()
        thread.join()


@pytest.mark.timeout(300 + 3 * VMALERT_SECONDS)
def test_vmalert_evaluates_rules_and_alerts_over_us(served: Served, tmp_path: Path) -> None:
    """Twenty of them, each every second; what it records and what is firing it writes to us, and
    reads from us what was firing before."""
    assert len(RULES) == 20
    write_url = served.write.removesuffix("/api/v1/write")
    with (
        notifier() as (notifier_url, notified),
        vmalert(
            tmp_path, served.read, write_url, {"g": RULES}, notifier_url=notifier_url
        ) as sender,
    ):

        def firing() -> set[str]:
            query = 'count by (alertname) (ALERTS{alertstate="firing"})'
            found = asked(served.read, "query", query=query)["result"]
            return {each["metric"]["alertname"] for each in found}

        def recorded() -> list[str]:
            query = 'count by (__name__) ({__name__=~"recorded:.*"})'
            return [each["value"][1] for each in asked(served.read, "query", query=query)["result"]]

        next_s, number = served.last + STEP_MS / 1000, SAMPLES

        def evaluated() -> bool:
            nonlocal next_s, number
            if time.time() >= next_s:  # or all would be older than the lookback in the end
                more = classic([round(next_s * 1000)], number)
                assert send(served.write, snappy(payload(*more)), HEADERS).status == 204
                next_s, number = next_s + STEP_MS / 1000, number + 1
            done = sender.metric("vmalert_execution_total")
            return done >= len(RULES) * VMALERT_SECONDS

        wait_until(evaluated, 60 + 2 * VMALERT_SECONDS, "every rule was evaluated every second")
        wait_until(lambda: recorded() == [str(len(JOBS))] * 10, 60, "every rule has recorded")
        wait_until(lambda: firing() == FIRING == notified, 60, "all that should fire does")
        for counter in ("execution_errors", "alerts_send_errors", "remotewrite_dropped_rows"):
            assert sender.metric(f"vmalert_{counter}_total") == 0, counter
    assert [line for line in sender.complaints() if "terminat" not in line] == []


def test_the_python_client_reads_us(served: Served) -> None:
    """PyPI's prometheus-api-client: all that it asks of samples and labels, by GET and by POST."""
    last = datetime.fromtimestamp(served.last, UTC)
    period = {"start_time": last - timedelta(minutes=10), "end_time": last}
    for method in ("GET", "POST"):
        with PrometheusConnect(served.read, method=method) as client:
            assert client.check_prometheus_connection()
            assert {"http_requests_total", "seconds_bucket", "latency"} <= set(client.all_metrics())
            assert {"__name__", "job", "le", "path"} <= set(client.get_label_names())
            assert client.get_label_values("path") == [f"/{path}" for path in PATHS]
            now = {"time": served.last}
            (one,) = client.custom_query("sum(http_requests_total)", now)
            assert one["value"][0] == served.last
            found = client.get_current_metric_value("http_requests_total", {"job": "a"}, now)
            assert len(found) == len(PATHS)
            ranges = client.custom_query_range("rate(seconds_bucket[5m])", step="60", **period)
            assert [len(each["values"]) for each in ranges] == [11] * 6
            chunks = client.get_metric_range_data(
                "http_requests_total", {"path": "/1"}, chunk_size=timedelta(minutes=5), **period
            )
            assert len(chunks) == 2 * len(JOBS)
            assert sum(len(each["values"]) for each in chunks) >= 2 * 40
            several = client.get_metric_aggregation("http_requests_total", ["max"], **period)
            assert several["max"] == 99.0 * len(PATHS)
            assert client.get_metric_metadata("http_requests_total") == []
            match = {"match[]": 'http_requests_total{job="b"}'}
            assert len(client.get_series(*period.values(), params=match)) == len(PATHS)
            with pytest.raises(PrometheusApiClientException, match="HTTP Status Code 400"):
                client.custom_query("sum(")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_editor_of_promql_completes_from_us(served: Served, method: str) -> None:
    """Prometheus' own, with its client from npm, which Perses has, too."""
    if not installed(PROMQL_JS):
        reason = "npm ci was not run in tests/support/promql_js: make test-deps"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    texts = ["http_requ|", "http_requests_total{|}", 'http_requests_total{path="|"}',
             "sum by (|) (seconds_bucket)"]  # fmt: skip
    asked_for = {"url": served.read, "texts": texts, "method": method}
    done = subprocess.run(
        [node(), PROMQL_JS / "ask.mjs"],
        input=json.dumps(asked_for),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["errors"] == []
    names, labels, paths, groups = (set(answer["completed"][text]) for text in texts)
    assert "http_requests_total" in names
    assert labels == {"job", "path"}
    assert paths == {f"/{path}" for path in PATHS}
    assert groups == {"job", "le"}
    assert answer["series"] == len(JOBS) * len(PATHS)
    assert answer["metadata"] == {}


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_what_grafana_asks_is_answered(served: Served) -> None:
    """Forms by POST, milliseconds, parameters that Prometheus does not know."""
    at, begin = f"{served.last:.3f}", f"{served.last - 3600:.3f}"
    range_form = {"query": "sum(rate(http_requests_total[1m0s]))", "start": begin, "end": at,
                  "step": "15", "utcOffsetSec": "7200"}  # fmt: skip
    for path, form in (
        ("query", {"query": "1+1", "time": "4"}),
        ("query", {"query": "http_requests_total", "time": at}),
        ("query_range", range_form),
        ("labels", {"start": begin, "end": at, "match[]": "http_requests_total"}),
        ("series", {"start": begin, "end": at, "match[]": "http_requests_total"}),
        ("query_exemplars", {"query": "test", "start": begin, "end": at}),
    ):
        answer = send(f"{served.read}/api/v1/{path}", urlencode(form).encode(), FORM)
        assert answer.status == 200, (path, answer.text)
        assert answer.json["status"] == "success"
    for path in (
        f"label/__name__/values?start={begin}&end={at}",
        f"label/job/values?match%5B%5D=http_requests_total&start={begin}&end={at}",
        "metadata",
        "status/buildinfo",
        "rules",
    ):
        status, text = get(f"{served.read}/api/v1/{path}")
        assert (status, json.loads(text)["status"]) == (200, "success"), path


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Ask = Callable[..., Ended]


@pytest.fixture
def promgres_query(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """`promgres query` in this process: as one of its own it would take a second to start."""
    monkeypatch.setenv("PROMGRES_READ_URL", served.read)

    def ask(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["promgres", "query", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli_main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return ask


def test_promgres_query_asks_promql(served: Served, promgres_query: Ask) -> None:
    """As a table, CSV, JSON and a plot; notes beside it."""
    last = f"{served.last:.0f}"
    at = datetime.fromtimestamp(served.last, UTC)
    to = ("--to", at.isoformat())
    found = promgres_query("--promql", "sum by (job) (http_requests_total)", *to)
    assert (found.returncode, found.stderr) == (0, "")
    shown = f"{at:%Y-%m-%d %H:%M:%S}"
    assert found.stdout.splitlines() == [
        "time (UTC)           series     value",
        f'{shown}  {{job="a"}}  585',
        f'{shown}  {{job="b"}}  585',
    ]
    period = (*to, "--from", (at - timedelta(minutes=2)).isoformat(), "--step", "1m")
    found = promgres_query(
        "--promql", "http_requests_total", *period, "--format", "csv", "--limit", "2"
    )
    assert found.stderr == "results truncated due to limit\n"
    rows = list(csv.reader(found.stdout.splitlines()))
    assert rows[0] == ["time", "value", "__name__", "job", "path"]
    assert [row[2:] for row in rows[1:]] == [
        ["http_requests_total", "a", f"/{path}"] for path in range(2) for _ in range(3)
    ]
    found = promgres_query("--promql", "latency", *to, "--json")
    [one] = [json.loads(line) for line in found.stdout.splitlines()]
    assert one["histogram"][1]["count"] == "180"
    found = promgres_query("--promql", "histogram_count(latency)", "--format", "plot")
    assert found.returncode == 0, found.stderr
    assert 'job="a"' in found.stdout
    assert any(0x2800 < ord(each) < 0x2900 for each in found.stdout)
    done = subprocess.run(
        [PROMGRES, "query", "--promql", "rate(latency[5m])", "--url", served.read, *to],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[1].split("  ")[2].startswith("{count:")
    found = promgres_query("--promql", "rate(latency[5m])", *to)
    assert found.stdout.splitlines()[1].split("  ")[2].startswith("{count:")
    assert promgres_query("--promql", "1+1").stdout.split()[-1] == "2"
    assert promgres_query("--promql", "absent(http_requests_total)").stdout == ("nothing found\n")
    found = promgres_query("--promql", "rate(http_requests_total[5m]) * 0 + 2", *to, "--json")
    assert len(found.stdout.splitlines()) == 10
    assert json.loads(found.stdout.splitlines()[0])["value"] == [int(last), "2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what to print: measures, events, a METRIC or --promql EXPRESSION"),
        (("--promql", "sum("), "1:5: parse error: unclosed left parenthesis"),
        (("--promql", ""), "no expression found in input"),
        (("--promql", "rate(http_requests_total)"), "expected type range vector"),
        (("--promql", "1", "--step", "x"), 'invalid parameter "step": cannot parse "x"'),
        (("--promql", "1", "--step", "0"), "zero or negative query resolution step"),
        (("--promql", "1", "--from", "tomorrow"), "--from: 'tomorrow' is no time such as"),
        (("--promql", "1", "--from", "2030-01-02", "--to", "2030-01-01"), "is after --to"),
        (("--promql", "1", "--from", "2020-01-01", "--step", "1s"), "11,000 points"),
        (("--promql", "1", "--name", "x"), "--name: not with --promql"),
        (("events", "--promql", "1"), "'events': not with --promql"),
        (("events", "--step", "1m"), "--step: only with --promql"),
        (("measures", "--format", "csv"), "--format: only with --promql"),
        (("--promql", "1", "--json", "--format", "csv"), "--json and --format: choose one"),
        (("--promql", "1", "--format", "xml"), "--format: 'xml' is none of table, csv, plot"),
        (("--promql", "1", "--url", "WRITE"), "no read side answers there"),
        (("--promql", "1", "--url", "http://127.0.0.1:1"), "http://127.0.0.1:1: "),
        (("--promql", "1", "--key", "pmk_no"), "key"),
    ],
)  # fmt: skip
def test_promgres_query_says_what_is_wrong(
    served: Served, promgres_query: Ask, arguments: tuple[str, ...], said: str
) -> None:
    write_side = served.write.removesuffix("/api/v1/write").removesuffix("/write")
    found = promgres_query(*(write_side if each == "WRITE" else each for each in arguments))
    assert found.returncode == 2
    assert found.stdout == ""
    [line] = found.stderr.splitlines()
    assert line.startswith("promgres: ")
    assert said in line
