"""Bodies of `POST /api/v1/measure` and `/event`: JSON to items, exact or refused with a reason.

A body is one object, an array, objects one after the other (NDJSON), or an array of `{"M": {…}}`
and `{"E": {…}}`. All of it is decoded at once, in C; only where that fails items are taken one by
one, to say which is wrong and why.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ingest.errors import BadRequest, InvalidItem, PayloadTooLarge
from ingest.model import RecordKind
from ingest.wire.records.count import count_items
from ingest.wire.records.fields import checked_key, checked_name, number_of, timestamp_us_of
from ingest.wire.records.jsonb import decode_exact, syntax_error
from ingest.wire.records.split import explain, split

MOST_REASONS = 100
EXPLAINED_BYTES = 1024 * 1024
"""Of a longer body only the first thing that is wrong is told: looking for all takes long."""


class Complaint(NamedTuple):
    """Why one item cannot be stored, and by which setting, if by one."""

    reason: str
    limit: str | None = None


class Pushed(NamedTuple):
    """One measure or event as sent.

    Attributes:
        value: of a measure; 0 of an event.
        exact: its decimal text where `value` is another number.
        attributes: JSON text, UTF-8, that jsonb holds exactly.
        decoded: what the attributes say, numbers maybe rounded.
        timestamp_us: microseconds since 1970, None if the sender leaves it to us.
        key: the idempotency key, if the sender gave one.
    """

    kind: RecordKind
    name: str
    value: float
    exact: str | None
    attributes: bytes
    decoded: Any
    timestamp_us: int | None
    key: str | None


class RecordsRefused(BadRequest):
    """Nothing of a push is stored.

    Attributes:
        errors: position of the item from 0 (None: the body as a whole) and what is wrong with it;
            the first `MOST_REASONS` of them.
        more: how many are left out.
        items: how many items the body has, as far as that is known.
    """

    def __init__(self, errors: list[tuple[int | None, str]], more: int = 0, items: int = 0) -> None:
        position, reason = errors[0]
        where = "" if position is None else f"item {position}: "
        others = len(errors) - 1 + more
        super().__init__(f"{where}{reason}" + (f" (and {others} more)" if others else ""))
        self.errors = errors
        self.more = more
        self.items = items


class _Fields(msgspec.Struct):
    """Both names of everything; what each type means is checked later, with better words."""

    name: str | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    measurement: Raw | UnsetType = UNSET
    attributes: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    dict: Raw | UnsetType = UNSET
    time: Raw | UnsetType = UNSET
    idempotency_key: str | None = None


class _Strict(_Fields, forbid_unknown_fields=True):
    M: _Strict | UnsetType = UNSET
    E: _Strict | UnsetType = UNSET


class _Legacy(_Fields):
    M: _Legacy | UnsetType = UNSET
    E: _Legacy | UnsetType = UNSET


_Sent = _Strict | _Legacy
_JSON_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)
_BRACE = ord("{")
_ITEM_OF_PATH = re.compile(r"at `\$\[(\d+)\]")


class _Decoders:
    """Of items, one by one and all at once."""

    def __init__(self, item: type[_Strict] | type[_Legacy]) -> None:
        self.known = item.__struct_fields__ if item is _Strict else None
        self.one = msgspec.json.Decoder(item).decode
        self.sequence = msgspec.json.Decoder(item).decode_lines
        self.array = msgspec.json.Decoder(list[item]).decode  # type: ignore[valid-type]


_DECODERS = {False: _Decoders(_Strict), True: _Decoders(_Legacy)}
"""By whether they are the legacy API's."""


def check_count(body: bytes, most: int) -> Generator[None, None, None]:
    """Take a body of so many items, before any of them is made. Every item has a brace, and most
    bodies few enough of them; a long one that has not is counted with pauses.

    Raises:
        PayloadTooLarge: it has more.
    """
    if 0 < most < body.count(b"{") and (count := (yield from count_items(body, most))) > most:
        raise PayloadTooLarge(
            f"the request has at least {count} items, more than the {most} that are taken"
            " (limits.items_per_request)"
        )


def read_items(
    body: bytes, kind: RecordKind, legacy: bool = False, attributes_bytes: int = 0
) -> Iterator[Pushed | Complaint]:
    """The items of a body in their order; in its place why one cannot be stored.

    Args:
        kind: of items that do not say it themselves.
        legacy: take what the legacy API took: it ignored fields that it did not know.
        attributes_bytes: of one item, as sent; 0 is no limit.

    Raises:
        BadRequest: nothing in the body can be understood.
    """
    if not body.strip():
        raise BadRequest("the body is empty: send a JSON object, an array of them, or NDJSON")
    reader = _Reader(kind, legacy, attributes_bytes)
    decoders = _DECODERS[legacy]
    try:
        body.decode()
        is_array = body.lstrip()[:1] == b"["
        sent = decoders.array(body) if is_array else decoders.sequence(body)
    except _JSON_ERRORS as error:
        return _read_one_by_one(body, error, reader)
    return map(reader.read, sent)


def _read_one_by_one(
    body: bytes, error: Exception, reader: _Reader
) -> Iterator[Pushed | Complaint]:
    """The same items as at once, or at least one that is wrong."""
    is_explained = False
    if len(body) <= EXPLAINED_BYTES:
        for raw in split(body):
            item = reader.read_raw(raw)
            is_explained |= isinstance(item, Complaint)
            yield item
    if is_explained:
        return
    if isinstance(error, UnicodeDecodeError):
        byte = body[error.start]
        raise BadRequest(f"the body is not valid UTF-8: byte 0x{byte:02x} at {error.start}")
    if isinstance(error, msgspec.ValidationError):
        match = _ITEM_OF_PATH.search(str(error))
        raise RecordsRefused([(int(match.group(1)) if match else None, str(error))])
    raise BadRequest(syntax_error(body, error))


class _Reader(NamedTuple):
    """Makes items of what was decoded."""

    kind: RecordKind
    legacy: bool
    attributes_bytes: int

    def read_raw(self, raw: bytes) -> Pushed | Complaint:
        """One item, not yet decoded."""
        decoders = _DECODERS[self.legacy]
        try:
            raw.decode()
            sent = decoders.one(raw)
        except _JSON_ERRORS as error:
            return Complaint(explain(raw, decoders.known) or str(error))
        return self.read(sent)

    def read(self, sent: _Sent) -> Pushed | Complaint:
        """One item, or what is wrong with it."""
        try:
            return self._item(sent)
        except InvalidItem as error:
            return Complaint(str(error), error.limit)

    def _item(self, sent: _Sent) -> Pushed:
        kind = self.kind
        if sent.M is not UNSET or sent.E is not UNSET:
            sent, kind = _unwrapped(sent)
        if sent.name is UNSET:
            raise InvalidItem("name is missing")
        name = checked_name(sent.name)
        value, exact = 0.0, None
        if kind == "measure":
            value, exact = _value(sent)
        elif not self.legacy and (sent.value is not UNSET or sent.measurement is not UNSET):
            raise InvalidItem("an event has no value: that is a measure")
        attributes, decoded = self._attributes(sent)
        time, key = sent.time, sent.idempotency_key
        timestamp_us = None if time is UNSET else timestamp_us_of(bytes(time))
        key = None if key is None else checked_key(key)
        return Pushed(kind, name, value, exact, attributes, decoded, timestamp_us, key)

    def _attributes(self, sent: _Sent) -> tuple[bytes, Any]:
        """The attributes as sent, and decoded. They have three names."""
        name, text = "attributes", sent.attributes
        for other, raw in (("metadata", sent.metadata), ("dict", sent.dict)):
            if raw is not UNSET:
                if text is not UNSET:
                    raise InvalidItem(f"{name} and {other} are the same: give one of them")
                name, text = other, raw
        if text is UNSET:
            if self.legacy and sent.value is UNSET:
                raise InvalidItem("dict is missing")
            return b"{}", {}
        given = bytes(text)
        if 0 < self.attributes_bytes < len(given):
            raise InvalidItem(
                f"{name}: {len(given)} bytes, more than the {self.attributes_bytes} that are taken"
                " (limits.attributes_bytes)",
                "attributes_bytes",
            )
        if given[0] != _BRACE and name != "dict":
            raise InvalidItem(f"{name} has to be an object")
        return given, decode_exact(given)


def _unwrapped(sent: _Sent) -> tuple[_Sent, RecordKind]:
    inner = sent.M if sent.E is UNSET else sent.E
    fields = [name for name in sent.__struct_fields__ if getattr(sent, name) not in (UNSET, None)]
    if len(fields) > 1 or inner is UNSET or inner.M is not UNSET or inner.E is not UNSET:
        raise InvalidItem('{"M": {…}} and {"E": {…}} have one field, a measure or an event')
    return inner, "measure" if sent.E is UNSET else "event"


def _value(sent: _Sent) -> tuple[float, str | None]:
    if sent.value is not UNSET and sent.measurement is not UNSET:
        raise InvalidItem("value and measurement are the same: give one of them")
    raw = sent.measurement if sent.value is UNSET else sent.value
    if raw is UNSET:
        raise InvalidItem("value is missing")
    return number_of(bytes(raw))
