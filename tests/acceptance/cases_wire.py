"""What only one version has: symbols and references of 2.0, metadata messages of 1.0, odd bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.acceptance.cases import NOTHING, Written
from tests.acceptance.cases_data import NOW
from tests.acceptance.cases_histograms import integers
from tests.acceptance.stored import Stored, expected
from tests.support.messages import OWN, Sent, SentExemplar, SentMetadata, counts, sent_series
from tests.support.remote_write import snappy
from tests.support.series_bytes import field, label, varint

SYMBOLS = ("", "__name__", OWN, "a", "b", "Help.", "s", "trace_id", "x\0")
NAME, AB = [1, 2], [3, 4]
HELP, UNIT, TRACE, NUL, BEYOND = 5, 6, 7, 8, len(SYMBOLS)
PLACE = "own?????x"
"""Stands in a message where the case's own name goes; all are equally long."""
YEAR_2001 = 978_307_200_000
UNKNOWN_FIELDS = field(50, b"later") + varint(51 << 3) + b"\x07" + varint(52 << 3 | 5) + b"1234"


@dataclass(frozen=True)
class WireCase:
    """A request as bytes; see `Case`.

    Attributes:
        message: the protobuf message; the case's own name has as many bytes as OWN_BYTES.
        stored: what is stored.
    """

    sentence: str
    version: int
    message: bytes
    status: int = 204
    written: Written | None = None
    reason: str = ""
    stored: Sequence[Sent] = ()

    def body(self, own: str) -> bytes:
        """The compressed body."""
        return snappy(self.message.replace(PLACE.encode(), own.encode()))

    def expected_written(self) -> Written:
        """The three counts of the answer."""
        if self.written is not None:
            return self.written
        return counts(self.stored) if self.status == 204 else NOTHING

    def expected_rows(self, own: str) -> Stored:
        """What must be in the database afterwards."""
        return expected([one.named(own) for one in self.stored])


def own_of(number: int) -> str:
    """A name of a case's own, for cases of bytes."""
    return f"own{number:05d}x"


def ts(refs: Sequence[int] = NAME, **fields: Any) -> v2.TimeSeries:
    """A TimeSeries of one sample, unless `fields` say otherwise."""
    return v2.TimeSeries(labels_refs=refs, **({"samples": [at(NOW, 1.0)]} | fields))


def at(timestamp_ms: int, value: float, start_ms: int = 0) -> v2.Sample:
    """One sample."""
    return v2.Sample(timestamp=timestamp_ms, value=value, start_timestamp=start_ms)


def request(*timeseries: v2.TimeSeries, symbols: Sequence[str] = SYMBOLS) -> bytes:
    """A Request."""
    texts = [text.replace(OWN, PLACE) for text in symbols]
    return v2.Request(symbols=texts, timeseries=timeseries).SerializeToString()


def raw_request(*timeseries: bytes, symbols: Sequence[bytes] | None = None) -> bytes:
    """A Request of TimeSeries messages as they are."""
    texts = symbols or [text.replace(OWN, PLACE).encode() for text in SYMBOLS]
    return b"".join([field(4, text) for text in texts] + [field(5, each) for each in timeseries])


def metadata(**fields: int) -> v2.Metadata:
    """Of a TimeSeries."""
    return v2.Metadata(**fields)  # type: ignore[arg-type]


def described(kind: int, text: str = "", unit: str = "") -> Sent:
    """A sample and what is said of it."""
    return Sent(samples=[(NOW, 1.0)], metadata=SentMetadata(kind, text, unit))


ONE = sent_series((NOW, 1.0))
GOOD, STORED_GOOD = ts(NAME + AB), sent_series((NOW, 1.0), a="b")
RAW_SAMPLE = field(2, b"\x09" + struct.pack("<d", 1.0) + b"\x10" + varint(NOW))


def _refused(sentence: str, *bad: v2.TimeSeries, reason: str = "", **fields: Any) -> WireCase:
    """A series that is refused, beside one that is stored."""
    message = request(GOOD, *bad, **fields)
    return WireCase(sentence, 2, message, 400, (1, 0, 0), reason, [STORED_GOOD])


REFERENCES = [
    _refused("References MUST point to an existing symbol", ts([1, BEYOND]), reason="beyond the 9"),
    _refused("References far beyond the symbols", ts([1, 2**32 - 1]), reason="beyond the 9"),
    _refused("labels_refs' length is always a multiple of two", ts([1, 2, 3]), reason="not pairs"),
    _refused("labels_refs MUST be provided", ts([]), reason="__name__ is missing"),
    WireCase(
        "symbols MUST be provided",
        2,
        request(ts(), symbols=[]),
        400,
        reason="beyond the 0 symbols",
    ),
    _refused("help_ref MUST point to an existing symbol",
             ts(metadata=metadata(type=1, help_ref=BEYOND)), reason="beyond the symbols"),
    _refused("unit_ref MUST point to an existing symbol",
             ts(metadata=metadata(type=1, unit_ref=2**32 - 1)), reason="beyond the symbols"),
    _refused("At least one element in samples or in histograms MUST be provided",
             ts(samples=[]), reason="at least one"),
    _refused("Metadata alone is no element either",
             ts(samples=[], metadata=metadata(type=1)), reason="at least one"),
    _refused("A name that is a reference to nothing", ts([0, 2]), reason="empty name"),
    _refused("A symbol with U+0000 costs the series that use it", ts([1, 2, 3, NUL]),
             reason="U+0000"),
    *[
        WireCase(
            f"Of exemplars, {sentence}",
            2,
            request(ts(exemplars=[
                v2.Exemplar(labels_refs=refs, value=1.0, timestamp=NOW),
                v2.Exemplar(labels_refs=[TRACE, 4], value=2.0, timestamp=NOW),
            ])),
            400,
            (1, 0, 1),
            reason,
            [Sent(samples=[(NOW, 1.0)], exemplars=[SentExemplar(NOW, 2.0, (("trace_id", "b"),))])],
        )
        for sentence, refs, reason in [
            ("references MUST point to an existing symbol", [TRACE, BEYOND], "beyond the 9"),
            ("labels_refs' length is a multiple of two", [TRACE], "not pairs"),
        ]
    ],
    WireCase(
        "Invalid UTF-8 in a symbol costs the series that use it",
        2,
        raw_request(
            ts([1, 2]).SerializeToString(),
            ts([1, 2, 3, 4]).SerializeToString(),
            symbols=[b"", b"__name__", PLACE.encode(), b"a", b"\xff\xfe"],
        ),
        400,
        (1, 0, 0),
        "is not valid UTF-8",
        [ONE],
    ),
    WireCase(
        "Symbols that are there twice, or unused, change nothing",
        2,
        request(ts([1, 2, 4, 3]), symbols=["", "__name__", OWN, "b", "a", "a", "unused"]),
        stored=[STORED_GOOD],
    ),
    WireCase(
        "The order of symbols is the sender's",
        2,
        request(ts([3, 4, 1, 2]), symbols=["", "a", "b", "__name__", OWN]),
        stored=[STORED_GOOD],
    ),
]  # fmt: skip
"""Of 2.0: the symbol table, and what refers to it."""

METADATA = [
    *[
        WireCase(
            f"Metadata.type {kind}, help and unit SHOULD be provided",
            2,
            request(ts(metadata=metadata(type=kind, help_ref=HELP, unit_ref=UNIT))),
            stored=[described(kind, "Help.", "s")],
        )
        for kind in range(8)
    ],
    WireCase(
        "Series with unspecified Metadata.type are taken, and nothing is said of them",
        2,
        request(ts(metadata=metadata())),
        stored=[ONE],
    ),
    WireCase("Series without metadata are taken", 2, request(ts()), stored=[ONE]),
]
"""Of 2.0: metadata."""

STARTS = [
    WireCase(
        "start_timestamp of samples SHOULD be provided",
        2,
        request(
            ts(samples=[at(NOW - 1, 1.0, YEAR_2001)]), ts(samples=[at(NOW, 2.0, YEAR_2001 + 1)])
        ),
        stored=[Sent(samples=[(NOW - 1, 1.0), (NOW, 2.0)], starts=[YEAR_2001, YEAR_2001 + 1])],
    ),
    WireCase(
        "Samples of one TimeSeries may have several starts, or none",
        2,
        request(
            ts(
                samples=[
                    at(NOW - 3, 1.0),
                    at(NOW - 2, 2.0, -1),
                    at(NOW - 1, 3.0, 1),
                    at(NOW, 4.0, 1),
                ]
            )
        ),
        stored=[Sent(samples=[(NOW - 4 + i, float(i)) for i in range(1, 5)], starts=[-1, 1])],
    ),
    WireCase(
        "A start beyond all calendars is none, and costs no sample",
        2,
        request(ts(samples=[at(NOW - 1, 1.0, 2**63 - 1), at(NOW, 2.0, -(2**63))])),
        stored=[sent_series((NOW - 1, 1.0), (NOW, 2.0))],
    ),
    WireCase(
        "start_timestamp of histograms SHOULD be provided",
        2,
        request(ts(samples=[], histograms=[integers(start_timestamp=YEAR_2001)])),
        stored=[Sent(histograms=[integers(start_timestamp=YEAR_2001)])],
    ),
    WireCase(
        "The start 0 MUST be treated as unset",
        2,
        request(ts(samples=[], histograms=[integers(start_timestamp=0)])),
        stored=[Sent(histograms=[integers()])],
    ),
    *[
        WireCase(
            f"For a start at 1970 {start} MUST be used",
            2,
            request(ts(samples=[], histograms=[integers(start_timestamp=start)])),
            stored=[Sent(histograms=[integers(start_timestamp=start)])],
        )
        for start in (1, -1)
    ],
    WireCase(
        "created_timestamp (6) of 2.0-rc.3 holds for histograms without a start",
        2,
        raw_request(
            ts(
                samples=[],
                histograms=[integers(), integers(timestamp=NOW + 1, start_timestamp=YEAR_2001)],
            ).SerializeToString()
            + b"\x30"
            + varint(YEAR_2001 + 1)
        ),
        stored=[
            Sent(
                histograms=[
                    integers(start_timestamp=YEAR_2001 + 1),
                    integers(timestamp=NOW + 1, start_timestamp=YEAR_2001),
                ]
            )
        ],
    ),
    WireCase(
        "created_timestamp (6) of 2.0-rc.3 holds for samples without a start",
        2,
        raw_request(ts().SerializeToString() + b"\x30" + varint(YEAR_2001)),
        stored=[Sent(samples=[(NOW, 1.0)], starts=[YEAR_2001])],
    ),
]
"""Of 2.0: start timestamps, in the places of rc.3 and rc.4."""


def _v1_series(*, tail: bytes = b"", labels: bytes = b"") -> bytes:
    name = label("__name__", PLACE)
    return name + labels + RAW_SAMPLE + tail


def _v1_metadata(kind: int, name: str, text: str = "", unit: str = "") -> bytes:
    said = v1.MetadataFields(
        type=kind, metric_family_name=name.encode(), help=text.encode(), unit=unit.encode()
    )
    return field(3, said.SerializeToString())


def _only_metadata(kind: int, text: str = "", unit: str = "") -> Sent:
    return Sent(metadata=SentMetadata(kind, text, unit))


ENCODINGS = [
    WireCase(
        "MUST be able to read any 1.x sender: unknown fields are skipped",
        1,
        field(1, _v1_series(tail=UNKNOWN_FIELDS)) + UNKNOWN_FIELDS,
        stored=[ONE],
    ),
    WireCase(
        "Field 2 is reserved: Cortex says the source there",
        1,
        b"\x10\x01" + field(1, _v1_series()),
        stored=[ONE],
    ),
    WireCase(
        "MUST be able to read any 2.x sender: unknown fields are skipped",
        2,
        raw_request(ts().SerializeToString() + UNKNOWN_FIELDS) + UNKNOWN_FIELDS,
        stored=[ONE],
    ),
    WireCase(
        "Repeated numbers may come unpacked",
        2,
        raw_request(b"".join(b"\x08" + varint(ref) for ref in [*NAME, *AB]) + RAW_SAMPLE),
        stored=[STORED_GOOD],
    ),
    WireCase(
        "Fields may come in any order, and repeated messages apart",
        2,
        raw_request(RAW_SAMPLE + field(1, bytes(NAME)) + field(1, bytes(AB))),
        stored=[STORED_GOOD],
    ),
    WireCase(
        "A field that is there twice: the last one holds",
        1,
        field(1, label("__name__", PLACE) + field(
            2, b"\x09" + struct.pack("<d", 9.0) + b"\x09" + struct.pack("<d", 1.0)
            + b"\x10" + varint(NOW)
        )),
        stored=[ONE],
    ),
    WireCase(
        "Invalid UTF-8 in a label costs its series",
        1,
        field(1, _v1_series()) + field(1, _v1_series(labels=label("a", b"\xff"))),
        400,
        (1, 0, 0),
        "is not valid UTF-8",
        [ONE],
    ),
    WireCase(
        "A request with metadata and no timeseries",
        1,
        _v1_metadata(1, PLACE, "Help.", "s"),
        stored=[_only_metadata(1, "Help.", "s")],
    ),
    WireCase(
        "Metadata without a name",
        1,
        _v1_metadata(1, "", PLACE) + field(1, _v1_series()),
        400,
        (1, 0, 0),
        "metadata: the metric name is empty",
        [ONE],
    ),
    WireCase(
        "Metadata with a help text that is not valid UTF-8",
        1,
        field(3, field(2, PLACE.encode()) + field(4, b"\xff")) + field(1, _v1_series()),
        400,
        (1, 0, 0),
        "metadata: the help",
        [ONE],
    ),
]  # fmt: skip
"""Of protobuf, and of the metadata of 1.0."""

CASES = [*REFERENCES, *METADATA, *STARTS, *ENCODINGS]
