"""What flows through the house: series, rows, and what became of a request's samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quoted
from math import isnan
from struct import pack
from typing import TYPE_CHECKING, Literal, NamedTuple, NewType, TypeAlias, cast

if TYPE_CHECKING:  # commands that see no samples start without it
    import numpy as np
    import numpy.typing as npt

TenantId = NewType("TenantId", int)
SeriesId = NewType("SeriesId", int)
Place = NewType("Place", int)
"""Target and id of a series as one number; see `series/cache.py`."""

DEFAULT_TENANT_ID = TenantId(1)
"""The tenant `default`, to which requests without a key belong."""

LARGEST_EXACT_FLOAT = 2**53
"""Integers up to this one are floats to the bit."""

METRIC_NAME = "__name__"
"""The label that holds a metric's name."""

STALE_MARKER_BITS = 0x7FF0000000000002
"""The NaN that says "this series ended" (remote write 1.0 and 2.0 specifications)."""


class TenantLimits(NamedTuple):
    """What a tenant's own row allows it; where it says nothing (None) the settings hold.

    Attributes:
        items_per_second: samples, native histograms, measures and events; 0 is no limit.
        series: how many it may have in all; 0 is no limit.
        spool_share: what part (0 to 1) of the spool it may fill.
        new_series_per_hour: how many it may create within any hour; 0 is no limit.
    """

    items_per_second: float | None = None
    series: int | None = None
    spool_share: float | None = None
    new_series_per_hour: int | None = None


Label = tuple[str, str]
Labels = tuple[Label, ...]
"""Label pairs, sorted by the UTF-8 bytes of the name, names unique."""

Int64s: TypeAlias = "npt.NDArray[np.int64]"
Float64s: TypeAlias = "npt.NDArray[np.float64]"


class Series(NamedTuple):
    """One time series as the catalogue `internal.series` holds it.

    `name` is lower-cased (ASCII); `labels` keep everything as sent, without a value label that was
    taken. `identity` is the BLAKE2b-128 that makes the series unique.
    """

    identity: bytes
    tenant_id: TenantId
    target: str
    schema: str
    name: str
    labels: Labels


@dataclass(slots=True)
class Rows:
    """Samples of one target, as parallel columns of one length.

    `exact` maps a row's position to the decimal text of its exact value; rows of stale markers are
    not in it (the COPY encoder recognises their bits).
    """

    series_id: Int64s
    timestamp_ms: Int64s
    value: Float64s
    exact: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series_id)


class Exemplar(NamedTuple):
    """An example of what was measured, such as the id of one trace; `labels` are its own."""

    timestamp_ms: int
    value: float
    labels: Labels

    @property
    def labels_json(self) -> bytes:
        """The labels as a JSON object, UTF-8."""
        return labels_json(self.labels).encode()


class Buckets(NamedTuple):
    """Counts of observations by bucket index, parallel and in ascending order of the index.

    Index i of histogram.schema s covers (2^((i-1) * 2^-s), 2^(i * 2^-s)].
    """

    indexes: list[int]
    counts: list[int] | list[float]


class Histogram(NamedTuple):
    """One sample of a native histogram: all counts absolute, all of them integers or all floats.

    Attributes:
        schema: resolution, -4 to 8; -53 for buckets with `custom_bounds`.
        custom_bounds: inclusive upper bounds of buckets 0, 1, …; the last one reaches to +Inf.
        reset_hint: 0 unknown, 1 yes, 2 no, 3 gauge.
        start_ms: when counting began, if the sender says so.
    """

    timestamp_ms: int
    schema: int
    is_float: bool
    observations: float
    sum: float
    zero_threshold: float
    zero_count: float
    positive: Buckets
    negative: Buckets
    custom_bounds: list[float] | None
    reset_hint: int
    start_ms: int | None

    @property
    def is_stale(self) -> bool:
        """Whether it says that the series ended."""
        return is_stale(self.sum)

    @property
    def exact_counts(self) -> list[str] | None:
        """Count, zero count, positive and negative buckets as decimals, if they are integers of
        which some is larger than a float holds."""
        if self.is_float:
            return None
        counts = [self.observations, self.zero_count, *self.positive.counts, *self.negative.counts]
        return [str(count) for count in counts] if max(counts) > LARGEST_EXACT_FLOAT else None


class Metadata(NamedTuple):
    """What a metric is; `type` in lower case, `unknown` if the sender does not say."""

    name: str
    type: str
    unit: str
    help: str
    seen_ms: int


class Start(NamedTuple):
    """When counting began, as the samples of a series say: it changes when a counter is reset."""

    start_ms: int


RecordKind = Literal["measure", "event"]
"""What applications push; also the name of its store."""


class Measure(NamedTuple):
    """A named number that an application pushed.

    Attributes:
        exact: its decimal text where `value` is another number.
        attributes: JSON text, UTF-8.
        item_id: 16 bytes: the digest of the sender's idempotency key, else random.
        key_decides: the sender gave a key and no time, so the key alone says whether it is new.
        target, schema: as which metric it is read.
    """

    timestamp_us: int
    name: str
    attributes: bytes
    item_id: bytes
    key_decides: bool
    value: float
    exact: str | None
    target: str
    schema: str


class Event(NamedTuple):
    """A named moment that an application pushed; the attributes are those of `Measure`."""

    timestamp_us: int
    name: str
    attributes: bytes
    item_id: bytes
    key_decides: bool


Item = Exemplar | Histogram | Metadata | Start | Measure | Event
"""What is stored beside samples, or pushed."""


@dataclass(slots=True)
class Items:
    """Items of one store, parallel to whose they are: ids of series; of metadata, and of what is
    pushed, of the tenant."""

    owner_id: list[int] = field(default_factory=list)
    item: list[Item] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.item)

    def add(self, owner_id: int, item: Item) -> None:
        """Append one."""
        self.owner_id.append(owner_id)
        self.item.append(item)


@dataclass(slots=True)
class NewSamples:
    """What was sent of one series that has no id yet (or none that this process knows)."""

    series: Series
    timestamp_ms: list[int]
    value: list[float]
    exact: str | None = None
    histograms: list[Histogram] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """How many of each kind."""

    samples: int = 0
    histograms: int = 0
    exemplars: int = 0


@dataclass(slots=True)
class Rejection:
    """Why something of one series cannot be stored, ever, and how much it is.

    All counts may be 0: the request still has to be answered 400 (an invalid series that carried
    nothing, metadata).
    """

    reason: str
    samples: int = 0
    histograms: int = 0
    exemplars: int = 0

    @property
    def accounted(self) -> int:
        """What the accounts call samples: those of native histograms too."""
        return self.samples + self.histograms


@dataclass(slots=True)
class Intake:
    """A request after decode, identify and route: what to store, and what cannot be.

    Attributes:
        tenant_id: whose request it is.
        known: rows by target, of series whose id is known.
        items: by store, of series whose id is known; metadata.
        new: samples and items of series without a known id.
        sent: what the request holds, whatever became of it.
        rejections: reasons for the 400, in the order of the request.
        dropped: samples that a rule drops, and stale markers of series with a value label.
        exemplars_dropped: exemplars of series that a rule drops.
        undecimal_value_labels: series whose value label is not a decimal and stayed a label.
        generation: of the series cache that the ids of `known` are from.
        memory_bytes: what all of it takes until it is stored, about.
    """

    tenant_id: TenantId = DEFAULT_TENANT_ID
    known: dict[str, Rows] = field(default_factory=dict)
    items: dict[str, Items] = field(default_factory=dict)
    new: list[NewSamples] = field(default_factory=list)
    sent: Counts = field(default_factory=Counts)
    rejections: list[Rejection] = field(default_factory=list)
    dropped: int = 0
    exemplars_dropped: int = 0
    undecimal_value_labels: int = 0
    generation: int = 0
    memory_bytes: int = 0

    @property
    def received(self) -> int:
        """Samples in the request, those of native histograms too, whatever became of them."""
        return self.sent.samples + self.sent.histograms

    @property
    def rejected(self) -> int:
        """Samples that can never be stored."""
        return sum([rejection.accounted for rejection in self.rejections])

    @property
    def storable(self) -> int:
        """Samples that may be stored: those of `known`, `items` and `new`."""
        return self.received - self.rejected - self.dropped

    def written(self, rejections: Sequence[Rejection]) -> Counts:
        """What counts as written when nothing else is refused: what is stored, and what is dropped
        or a duplicate."""
        return Counts(
            self.sent.samples - sum(rejection.samples for rejection in rejections),
            self.sent.histograms - sum(rejection.histograms for rejection in rejections),
            self.sent.exemplars - sum(rejection.exemplars for rejection in rejections),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.known or self.items or self.new)

    def records(self, kind: RecordKind) -> list[Measure | Event]:
        """Measures or events that may be stored, in the order of the request."""
        items = self.items.get(kind)
        return cast(list[Measure | Event], items.item) if items is not None else []

    def add_item(self, store: str, owner_id: int, item: Item) -> None:
        """An item of a series whose id is known, or of the tenant."""
        self.items.setdefault(store, Items()).add(owner_id, item)


def labels_json(labels: Labels) -> str:
    """Labels as a JSON object; twice as fast as `json.dumps`, which makes an encoder each time."""
    inside = ", ".join([f"{_quoted(name)}: {_quoted(value)}" for name, value in labels])
    return f"{{{inside}}}"


def is_stale(value: float) -> bool:
    """Whether a value is the stale marker, to the bit."""
    return isnan(value) and pack("<d", value) == _STALE_MARKER


_STALE_MARKER = pack("<Q", STALE_MARKER_BITS)
