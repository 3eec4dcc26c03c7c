"""Promgres as a whole behind the runner of Prometheus' tests: samples come in by remote write, and
answers out by HTTP. Histograms of an answer are what its JSON shows of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from ingest.config import RetentionSettings
from ingest.errors import PromqlError
from ingest.migrate import migrate
from ingest.promql.evaluate import Answer
from ingest.promql.storage import Samples
from ingest.wire.pb import remote_write_v2_pb2 as pb
from tests.support.databases import Database, blocking, connect
from tests.support.promqltest import Load, all_series
from tests.support.read_side import read_side
from tests.support.remote_write import send, snappy, write_side

FEATURES = (
    "promql-experimental-functions,promql-duration-expr,promql-extended-range-selectors,"
    "promql-binop-fill-modifiers,promql-delayed-name-removal,use-start-timestamps"
)
OLD = {
    "PROMGRES_RECEIVER__OLDEST_TIMESTAMP": "1970-01-01T00:00:00Z",
    "PROMGRES_RETENTION__INTERNAL_DAYS": "0",  # as the database was told
    "PROMGRES_QUERY__FEATURES": FEATURES,
    "PROMGRES_QUERY__MAX_SAMPLES": "50000000",
}
"""The tests' time begins at the epoch."""
HEADERS = {
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BESIDE = ("internal.exemplar", "internal.series_start")


class HttpRunner:
    """Both ports of a Promgres, and its database, of which each `clear` takes all samples."""

    is_slow = True

    def __init__(self, write_url: str, read_url: str, database: Database) -> None:
        self.write_url, self.read_url, self._database = write_url, read_url, database
        self.reading = HTTPConnection(urlsplit(read_url).netloc, timeout=600)

    def load(self, load: Load) -> None:
        """Send the series by remote write 2.0."""
        request = pb.Request(symbols=[""])
        known = {"": 0}
        for labels, samples in all_series(load):
            if not samples:
                continue
            refs = []
            for text in (text for pair in labels.items() for text in pair):
                if text not in known:
                    known[text] = len(request.symbols)
                    request.symbols.append(text)
                refs.append(known[text])
            one = request.timeseries.add(labels_refs=refs)
            for time_ms, sample, start_ms in samples:
                if sample.histogram is None:
                    one.samples.add(value=sample.value, timestamp=time_ms, start_timestamp=start_ms)
                else:
                    one.histograms.append(histogram_message(sample.histogram, time_ms, start_ms))
        if request.timeseries:
            answer = send(self.write_url, snappy(request.SerializeToString()), HEADERS)
            assert answer.status == 204, answer

    def clear(self) -> None:
        """Have nothing stored."""

        packs = self._database.engine == "postgres"
        parts = ("hot", "late", "block") if packs else ("sample",)
        tables = [f"{target}.{part}" for target in ("internal", "cumsum", "geo") for part in parts]
        tables.append(f"internal.{self._database.histograms_in}")
        tables += ["internal.histogram_block"] if packs else []

        async def truncate() -> None:
            async with connect(self._database) as connection:
                await connection.execute(f"TRUNCATE {', '.join([*tables, *BESIDE])}")

        blocking(truncate())

    def ask(self, query: str, start_ms: int, end_ms: int | None, step_ms: int) -> Answer:
        """The answer over HTTP.

        Raises:
            PromqlError: it is an error of the query.
        """
        form = {"query": query, "time": start_ms / 1000}
        if end_ms is not None:
            form = {"query": query, "start": start_ms / 1000, "end": end_ms / 1000,
                    "step": step_ms / 1000}  # fmt: skip
        path = "query" if end_ms is None else "query_range"
        body = urlencode(form, errors="surrogateescape")
        self.reading.request("POST", f"/api/v1/{path}", body, FORM)
        document = json.load(self.reading.getresponse())
        if document["status"] == "error":
            assert document["errorType"] in ("bad_data", "execution"), document
            raise PromqlError(document["error"].removeprefix('invalid parameter "query": '))
        return answer_of(document)


def histogram_message(spec: dict[str, Any], time_ms: int, start_ms: int) -> pb.Histogram:
    """A float histogram of what `Histograms.build` takes."""
    message = pb.Histogram(
        count_float=spec.get("count", 0),
        sum=spec.get("sum", 0),
        schema=spec.get("schema", 0),
        zero_threshold=spec.get("zero_threshold", 0),
        zero_count_float=spec.get("zero_count", 0),
        timestamp=time_ms,
        start_timestamp=start_ms,
        custom_values=spec.get("custom_bounds", ()),
    )
    message.reset_hint = spec.get("hint", 0)
    for sign in ("positive", "negative"):
        buckets = dict(spec.get(sign) or {})
        expected = 0
        for index in sorted(buckets):
            spans = getattr(message, f"{sign}_spans")
            if not spans or index != expected:
                spans.add(offset=index - expected, length=0)
            spans[-1].length += 1
            getattr(message, f"{sign}_counts").append(buckets[index])
            expected = index + 1
    return message


def answer_of(document: dict[str, Any]) -> Answer:
    """An answer from its document; shown histograms are the rows of `ShownHistograms`."""
    data = document["data"]
    notes = {"warnings": document.get("warnings", []), "infos": document.get("infos", [])}
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return Answer("scalar", Samples.none(), float(result[1]), **notes)
    if kind == "string":
        return Answer("string", Samples.none(), string=result[1], **notes)
    labels, offsets, times, values, rows = [], [0], [], [], []
    shown: list[dict[str, Any]] = []
    for series in result:
        labels.append(dict(sorted(series["metric"].items())))
        points = [(at, float(value), None) for at, value in _points(series, "value")]
        points += [(at, 0.0, value) for at, value in _points(series, "histogram")]
        for at, value, histogram in sorted(points, key=lambda point: point[0]):
            times.append(round(at * 1000))
            values.append(value)
            rows.append(-1 if histogram is None else len(shown))
            if histogram is not None:
                shown.append(histogram)
        offsets.append(len(times))
    samples = Samples(
        labels,
        np.array(offsets, np.int64),
        np.array(times, np.int64),
        np.array(values),
        ShownHistograms(shown) if shown else None,  # type: ignore[arg-type]
        np.array(rows, np.int64) if shown else None,
    )
    return Answer(kind, samples, **notes)


def _points(series: dict[str, Any], name: str) -> Iterator[list[Any]]:
    yield from series.get(f"{name}s", [])
    if name in series:
        yield series[name]


class ShownHistograms:
    """Histograms as JSON shows them."""

    def __init__(self, shown: list[dict[str, Any]]) -> None:
        self._shown = shown

    def spec(self, row: int) -> dict[str, Any]:
        """Count, sum, and buckets as (rule, lower, upper, count)."""
        shown = self._shown[row]
        return {
            "count": float(shown["count"]),
            "sum": float(shown["sum"]),
            "shown": [
                (rule, float(low), float(high), float(count))
                for rule, low, high, count in shown.get("buckets", [])
            ],
        }


@contextmanager
def running(database: Database, **environment: str) -> Iterator[HttpRunner]:
    """Both sides of a Promgres on a migrated database, which is told to keep samples for ever."""
    environment = OLD | environment
    for_ever = RetentionSettings(internal_days=None)
    blocking(migrate(database.url, database.settings(retention=for_ever)))
    with (
        write_side(database, **environment) as writing,
        read_side(database, **environment) as reading,
    ):
        runner = HttpRunner(writing.url, reading.url, database)
        with closing(runner.reading):
            yield runner
