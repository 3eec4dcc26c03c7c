"""Documents of Prometheus' API, and its words for every error.

Numbers are text as Go writes them, times seconds with at most three decimals; series of a matrix
are ordered by labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from typing import Any

from ingest.errors import (
    KeyRefused,
    NotAcceptable,
    NotFound,
    PromqlError,
    QueryRefused,
    RequestError,
    Unavailable,
)
from ingest.logs import get_logger
from ingest.promql.histograms import Histograms
from ingest.promql.storage import Samples

JSON = "application/json"
MOST_ANNOTATIONS = 10


class QueryEnded(PromqlError):
    """A query that had its time, or all the memory that one may have."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


STATUS = {
    "bad_data": 400,
    "execution": 422,
    "canceled": 499,
    "timeout": 503,
    "internal": 500,
    "unavailable": 503,
    "not_found": 404,
    "not_acceptable": 406,
}
"""Of each kind of error, as Prometheus has it."""

log = get_logger("api")


def success(data: bytes, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> bytes:
    """The document of an answer.

    Args:
        data: JSON.
    """
    parts = [b'{"status":"success","data":', data]
    for kind, notes in (("warnings", warnings), ("infos", infos)):
        if notes:
            parts += [b',"', kind.encode(), b'":', dump(notes)]
    return b"".join([*parts, b"}"])


def failure(error_type: str, message: str) -> bytes:
    """The document of an error."""
    return dump({"status": "error", "errorType": error_type, "error": message})


def words_of(error: Exception) -> tuple[int, str, str]:
    """Status, type and message of an error."""
    if isinstance(error, PromqlError):
        return STATUS[error.error_type], error.error_type, str(error)
    if isinstance(error, KeyRefused):
        return error.status, "unauthorized" if error.status == 401 else "forbidden", str(error)
    if isinstance(error, NotFound):
        return 404, "not_found", str(error)
    if isinstance(error, NotAcceptable):
        return 406, "not_acceptable", str(error)
    if isinstance(error, RequestError):
        return error.status, "bad_data", str(error)
    if isinstance(error, Unavailable):
        return 503, "unavailable", str(error)
    if isinstance(error, QueryRefused):
        log.error("the database refuses what is ours", sqlstate=error.sqlstate, exc_info=error)
    return 500, "internal", "internal error"


def matrix(samples: Samples) -> bytes:
    """The data of a range query, or of a bare range selector: series with all their samples."""
    times = [time_text(at) for at in samples.times.tolist()]
    parts = []
    for labels, mine in zip(samples.labels, _spans(samples), strict=True):
        floats, histograms = _points(samples, mine, times)
        texts = [b'{"metric":', dump(labels)]
        if floats:
            texts += [b',"values":[', ",".join(floats).encode(), b"]"]
        if histograms:
            texts += [b',"histograms":[', ",".join(histograms).encode(), b"]"]
        parts.append(b"".join([*texts, b"}"]))
    return b'{"resultType":"matrix","result":[' + b",".join(parts) + b"]}"


def vector(samples: Samples) -> bytes:
    """The data of an instant query: series with one sample each."""
    times = [time_text(at) for at in samples.times.tolist()]
    parts = []
    for labels, mine in zip(samples.labels, _spans(samples), strict=True):
        floats, histograms = _points(samples, mine, times)
        point = f'"value":{floats[0]}' if floats else f'"histogram":{histograms[0]}'
        parts.append(b'{"metric":' + dump(labels) + b"," + point.encode() + b"}")
    return b'{"resultType":"vector","result":[' + b",".join(parts) + b"]}"


def scalar(at_ms: int, value: float) -> bytes:
    """The data of a query that is a number; here without an exponent, whatever its size."""
    text = number_text(value)
    text = format(Decimal(text), "f") if "e" in text else text
    point = f'[{time_text(at_ms)},"{text}"]'
    return b'{"resultType":"scalar","result":' + point.encode() + b"}"


def string(at_ms: int, value: str) -> bytes:
    """The data of a query that is a text."""
    return (
        b'{"resultType":"string","result":['
        + time_text(at_ms).encode()
        + b","
        + dump(value)
        + b"]}"
    )


def time_text(at_ms: int) -> str:
    """Seconds, with three decimals where they are not whole."""
    seconds, rest = divmod(abs(at_ms), 1000)
    return f"{'-' if at_ms < 0 else ''}{seconds}" + (f".{rest:03d}" if rest else "")


def number_text(value: float) -> str:
    """A number as Prometheus writes it: the shortest decimal, with an exponent only below 1e-6 and
    from 1e21 on."""
    text = repr(value)
    if text[-2:] == ".0":
        return text[:-2]
    if "e" not in text and "n" not in text:
        return text
    if not isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    return format(Decimal(text), "f") if 1e-6 <= abs(value) < 1e21 else text


def _spans(samples: Samples) -> Iterator[slice]:
    ends = samples.offsets.tolist()
    return (slice(start, end) for start, end in pairwise(ends))


def _points(samples: Samples, mine: slice, times: Sequence[str]) -> tuple[list[str], list[str]]:
    """Samples of a series as `[time, "value"]`, floats and histograms apart."""
    pairs = zip(times[mine], samples.values[mine].tolist(), strict=True)
    if samples.rows is None:
        return [f'[{at},"{number_text(value)}"]' for at, value in pairs], []
    floats, histograms = [], []
    for (at, value), row in zip(pairs, samples.rows[mine].tolist(), strict=True):
        if row < 0:
            floats.append(f'[{at},"{number_text(value)}"]')
        else:
            histograms.append(f"[{at},{_histogram(samples.histograms, row)}]")
    return floats, histograms


def _histogram(block: Histograms | None, row: int) -> str:
    assert block is not None
    count, total = number_text(float(block.count[row])), number_text(float(block.sum[row]))
    buckets = ",".join(
        f'[{rule},"{number_text(lower)}","{number_text(upper)}","{number_text(count)}"]'
        for rule, lower, upper, count in block.buckets(row)
    )
    shown = f',"buckets":[{buckets}]' if buckets else ""
    return f'{{"count":"{count}","sum":"{total}"{shown}}}'


def dump(value: Any) -> bytes:
    """JSON as Go writes it: without spaces; for bytes that are not UTF-8 stands U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
