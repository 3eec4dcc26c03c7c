"""Slices of samples as CSV, as lines of JSON or as Parquet: a class a format.

A text costs most of an export's time, so what belongs to a series (its tail) is made once, and what
is left for a sample is done for all samples of a slice at once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from ingest.errors import BadRequest, NotAcceptable
from ingest.promql.values import NAME
from ingest.storage.exporting import Series, Slice

FIXED = ("timestamp", "value", "metric", "schema")
MOST_COLUMNS = 1_000
GROUP_ROWS = 200_000
"""Of a row group of Parquet, about: it is in memory until it is whole, 40 bytes a row."""
ROUND_TRIPS_BELOW = 1e15
PLAIN_FROM = 1e-4
"""Between these two Python writes a float as PostgreSQL does, and without an exponent."""


class Format(Protocol):
    """What turns slices into a body; `part` runs in a thread."""

    def begin(self) -> bytes:
        """What stands before the first sample."""

    def part(self, samples: Slice) -> bytes:
        """What can be sent once these have come."""

    def end(self) -> bytes:
        """What stands behind the last."""


def make_format(name: str, series: Sequence[Series]) -> Format:
    """The format of that name, for samples of these series.

    Raises:
        BadRequest: they have too many labels for columns.
        NotAcceptable: this server has no Parquet.
    """
    if name == "ndjson":
        return _Lines(series)
    columns = _columns(series)
    if name == "csv":
        return _Csv(series, columns)
    try:
        import pyarrow  # noqa: F401  (an extra, and 50 MB of memory)
    except ImportError:
        raise NotAcceptable("this server writes no Parquet: it lacks the extra `parquet`") from None
    return _Parquet(series, columns)


def load_parquet() -> None:
    """Load all that writing Parquet needs, which is not to be found any more once root has become
    somebody else.

    Raises:
        NotAcceptable: it is not there.
    """
    made = make_format("parquet", [])
    none = np.zeros(0, np.int64)
    made.part(Slice(none, none, np.zeros(0), {}))
    made.end()


class _Text:
    """A line a sample: its time and value between `before`, `between` and the tail of its series.

    Args:
        quote: how a value is written that is no number.
    """

    def __init__(
        self, series: Iterable[Series], before: str, between: str, quote: Callable[[str], str]
    ) -> None:
        self._series = {each.series_id: each for each in series}
        self._tails: dict[int, str] = {}
        self._before, self._between, self._quote = before, between, quote

    def part(self, samples: Slice) -> bytes:
        before, between, tails = self._before, self._between, self._tails
        ids = samples.series_ids.tolist()
        for series_id in set(ids).difference(tails):
            tails[series_id] = self.tail(self._series[series_id])
        lines = [
            f"{before}{time}Z{between}{value}{tails[series_id]}"
            for time, value, series_id in zip(
                time_texts(samples), value_texts(samples, self._quote), ids, strict=True
            )
        ]
        return "".join(lines).encode()

    def tail(self, series: Series) -> str:
        raise NotImplementedError

    def end(self) -> bytes:
        return b""


class _Csv(_Text):
    """A header, then a row a sample, with a column a label."""

    def __init__(self, series: Iterable[Series], columns: Mapping[str, str]) -> None:
        super().__init__(series, "", ",", str)
        self._columns = columns

    def begin(self) -> bytes:
        return _row([*FIXED, *self._columns.values()]).encode()

    def tail(self, series: Series) -> str:
        labels = json.loads(series.labels)
        cells = [labels.get(NAME, ""), series.schema, *[labels.get(each) for each in self._columns]]
        return "," + _row(cells)


class _Lines(_Text):
    """A JSON object a line; what is no number is a string, as PostgreSQL has it."""

    def __init__(self, series: Iterable[Series]) -> None:
        super().__init__(series, '{"timestamp":"', '","value":', '"{}"'.format)

    def begin(self) -> bytes:
        return b""

    def tail(self, series: Series) -> str:
        labels = json.loads(series.labels)
        document = {"metric": labels.pop(NAME, ""), "schema": series.schema, "labels": labels}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return f",{text[1:]}\n"


class _Parquet:
    """A row group after the other, labels as columns of dictionaries."""

    def __init__(self, series: Sequence[Series], columns: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._place = {each.series_id: place for place, each in enumerate(series)}
        labels = [json.loads(each.labels) for each in series]
        texts = {
            "metric": [each.get(NAME, "") for each in labels],
            "schema": [each.schema for each in series],
            **{name: [each.get(label) for each in labels] for label, name in columns.items()},
        }
        text = pa.dictionary(pa.int32(), pa.string())
        self._of_series = {name: _coded(column) for name, column in texts.items()}
        self._schema = pa.schema(
            [
                ("timestamp", pa.timestamp("us", tz="UTC")),
                ("value", pa.float64()),
                ("exact", pa.string()),
                *[(name, text) for name in texts],
            ]
        )
        self._body = io.BytesIO()
        sink = pa.PythonFile(self._body, mode="w")
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd")
        self._waiting: list[Slice] = []

    def begin(self) -> bytes:
        return b""

    def part(self, samples: Slice) -> bytes:
        self._waiting.append(samples)
        if sum(len(each.values) for each in self._waiting) >= GROUP_ROWS:
            self._write()
        return self._written()

    def end(self) -> bytes:
        if self._waiting:
            self._write()
        self._writer.close()
        return self._written()

    def _write(self) -> None:
        pa, waiting = self._pa, self._waiting
        ids = np.concatenate([each.series_ids for each in waiting])
        distinct, inverse = np.unique(ids, return_inverse=True)
        places = np.array([self._place[each] for each in distinct.tolist()], np.int64)[inverse]
        exact: list[str | None] = [None] * len(ids)
        at = 0
        for each in waiting:
            for place, text in each.texts.items():
                exact[at + place] = text
            at += len(each.values)
        columns = [
            pa.array(
                np.concatenate([each.times_us for each in waiting]).astype("M8[us]"),
                self._schema.field("timestamp").type,
            ),
            pa.array(np.concatenate([each.values for each in waiting])),
            pa.array(exact, pa.string()),
        ]
        for codes, values in self._of_series.values():
            mine = codes[places]
            columns.append(
                pa.DictionaryArray.from_arrays(
                    pa.array(mine, pa.int32(), mask=mine < 0), pa.array(values, pa.string())
                )
            )
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._waiting = []

    def _written(self) -> bytes:
        """What the writer has written by now; it goes on where it is."""
        body = self._body.getvalue()
        self._body.seek(0)
        self._body.truncate()
        return body


def _coded(texts: Sequence[str | None]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Texts as numbers, -1 for none, and the texts that the numbers stand for."""
    values = sorted({each for each in texts if each is not None})
    number = {text: place for place, text in enumerate(values)}
    return np.array([-1 if each is None else number[each] for each in texts], np.int32), values


def time_texts(samples: Slice) -> list[str]:
    """RFC 3339 without the Z: milliseconds, or microseconds where there are some."""
    times = samples.times_us.astype("M8[us]")
    texts: list[str] = np.datetime_as_string(times.astype("M8[ms]")).tolist()
    for place in np.flatnonzero(samples.times_us % 1000).tolist():
        texts[place] = str(np.datetime_as_string(times[place]))
    return texts


def value_texts(samples: Slice, quote: Callable[[str], str]) -> list[str]:
    """Exact decimals; where a float is all there is, the shortest one that round-trips.

    Args:
        quote: given `NaN`, `Infinity` and `-Infinity`.
    """
    values = samples.values + 0.0  # no -0
    texts = [text[:-2] if text.endswith(".0") else text for text in map(repr, values.tolist())]
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        is_plain = (values == 0) | ((size >= PLAIN_FROM) & (size < ROUND_TRIPS_BELOW))
    for place in np.flatnonzero(~is_plain).tolist():
        value = values[place]
        if np.isfinite(value):
            texts[place] = format(Decimal(texts[place]), "f")
        else:
            texts[place] = quote(
                "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            )
    for place, text in samples.texts.items():
        texts[place] = text
    return texts


def _columns(series: Iterable[Series]) -> dict[str, str]:
    """The name of a column by the label that it holds, in order: the label's own, or one with
    `label_` before it where that is taken."""
    labels = sorted({name for each in series for name in json.loads(each.labels)} - {NAME})
    if len(labels) > MOST_COLUMNS:
        raise BadRequest(
            f"these series have {len(labels):,} labels, and a column each is too many: ask for"
            " fewer series (match), or for format=ndjson"
        )
    taken = {*FIXED, "exact"}
    columns = {}
    for label in labels:
        name = label
        while name in taken or (name != label and name in labels):
            name = f"label_{name}"
        taken.add(name)
        columns[label] = name
    return columns


def _row(cells: Iterable[str | None]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
