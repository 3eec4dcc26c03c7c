"""Bodies of `POST /api/v1/measure` and `/event`: JSON to items, exact or refused with a reason.

A body is one object, an array, objects one after the other (NDJSON), or an array of `{"M": {…}}`
and `{"E": {…}}`. All of it is decoded at once, in C; only where that fails items are taken one by
one, to say which is wrong and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ingest.errors import BadRequest, PayloadTooLarge
from ingest.model import RecordKind
from ingest.wire.records.count import count_items
from ingest.wire.records.fields import checked_key, checked_name, number_of, timestamp_us_of
from ingest.wire.records.jsonb import decode_exact, syntax_error
from ingest.wire.records.split import explain, split
from ingest.wire.validate import InvalidItem

MOST_REASONS = 100
EXPLAINED_BYTES = 1024 * 1024
"""Of a longer body only the first thing that is wrong is told: looking for all takes long."""

Manner = Literal["today", "older"]
"""`older` takes what the older API took: it ignores fields that it does not know."""


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


class PushRefused(BadRequest):
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


class _Today(_Fields, forbid_unknown_fields=True):
    M: _Today | UnsetType = UNSET
    E: _Today | UnsetType = UNSET


class _Older(_Fields):
    M: _Older | UnsetType = UNSET
    E: _Older | UnsetType = UNSET


_Sent = _Today | _Older
_JSON_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)
_BRACE = ord("{")
_ITEM_OF_PATH = re.compile(r"at `\$\[(\d+)\]")


class _Decoders:
    """For the items of one manner."""

    def __init__(self, item: type[_Today] | type[_Older]) -> None:
        self.known = item.__struct_fields__ if item is _Today else None
        self.one = msgspec.json.Decoder(item).decode
        self.sequence = msgspec.json.Decoder(item).decode_lines
        self.array = msgspec.json.Decoder(list[item]).decode  # type: ignore[valid-type]


_DECODERS: dict[Manner, _Decoders] = {"today": _Decoders(_Today), "older": _Decoders(_Older)}


class PushLimits(NamedTuple):
    """How much is taken; 0 is no limit.

    Attributes:
        items: of one request.
        attributes_bytes: of one item, as sent.
    """

    items: int = 0
    attributes_bytes: int = 0


NO_LIMITS = PushLimits()


def read_items(
    body: bytes, kind: RecordKind, manner: Manner = "today", limits: PushLimits = NO_LIMITS
) -> Iterator[Pushed | InvalidItem]:
    """The items of a body in their order; in its place why one cannot be stored.

    Args:
        kind: of items that do not say it themselves.

    Raises:
        BadRequest: nothing in the body can be understood.
        PayloadTooLarge: it has more items than the limit.
    """
    if not body.strip():
        raise BadRequest("the body is empty: send a JSON object, an array of them, or NDJSON")
    _check_count(body, limits.items)
    decoders = _DECODERS[manner]
    try:
        body.decode()
        sent = decoders.array(body) if _is_array(body) else decoders.sequence(body)
    except _JSON_ERRORS as error:
        return _read_one_by_one(body, error, kind, manner, limits)
    return (_read(item, kind, manner, limits) for item in sent)


def _check_count(body: bytes, most: int) -> None:
    """Before all of them are made. Every item has a brace, and most bodies few enough of them."""
    if not 0 < most < body.count(b"{"):
        return
    if (count := count_items(body, most)) > most:
        raise PayloadTooLarge(
            f"the request has at least {count} items, more than the {most} that are taken"
            " (limits.items_per_request)"
        )


def _is_array(body: bytes) -> bool:
    return body.lstrip()[:1] == b"["


def _read_one_by_one(
    body: bytes, error: Exception, kind: RecordKind, manner: Manner, limits: PushLimits
) -> Iterator[Pushed | InvalidItem]:
    """The same items as at once, or at least one that is wrong."""
    if len(body) > EXPLAINED_BYTES:
        raise _first_error(body, error)
    decoders = _DECODERS[manner]
    is_explained = False
    for raw in split(body):
        item = _read_raw(raw, decoders, kind, manner, limits)
        is_explained |= isinstance(item, InvalidItem)
        yield item
    if not is_explained:
        raise _first_error(body, error)


def _read_raw(
    raw: bytes, decoders: _Decoders, kind: RecordKind, manner: Manner, limits: PushLimits
) -> Pushed | InvalidItem:
    try:
        raw.decode()
        sent = decoders.one(raw)
    except _JSON_ERRORS as error:
        return explain(raw, decoders.known) or InvalidItem(str(error))
    return _read(sent, kind, manner, limits)


def _first_error(body: bytes, error: Exception) -> BadRequest:
    """What was found first in a body that is not looked at item by item."""
    if isinstance(error, UnicodeDecodeError):
        byte = body[error.start]
        return BadRequest(f"the body is no UTF-8: byte 0x{byte:02x} at {error.start}")
    if isinstance(error, msgspec.ValidationError):
        match = _ITEM_OF_PATH.search(str(error))
        return PushRefused([(int(match.group(1)) if match else None, str(error))])
    return syntax_error(body, error)


def _read(
    sent: _Sent, kind: RecordKind, manner: Manner, limits: PushLimits
) -> Pushed | InvalidItem:
    try:
        if sent.M is not UNSET or sent.E is not UNSET:
            sent, kind = _unwrapped(sent)
        name = _name(sent)
        value, exact = _value(sent) if kind == "measure" else _no_value(sent, manner)
        attributes, decoded = _attributes(sent, manner, limits.attributes_bytes)
        time, key = sent.time, sent.idempotency_key
        timestamp_us = None if time is UNSET else timestamp_us_of(bytes(time))
        key = None if key is None else checked_key(key)
    except InvalidItem as error:
        return error
    return Pushed(kind, name, value, exact, attributes, decoded, timestamp_us, key)


def _name(sent: _Sent) -> str:
    if sent.name is UNSET:
        raise InvalidItem("name is missing")
    return checked_name(sent.name)


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


def _no_value(sent: _Sent, manner: Manner) -> tuple[float, None]:
    if manner == "today" and (sent.value is not UNSET or sent.measurement is not UNSET):
        raise InvalidItem("an event has no value: that is a measure")
    return 0.0, None


def _attributes(sent: _Sent, manner: Manner, most_bytes: int) -> tuple[bytes, Any]:
    name, text = _given_attributes(sent)
    if text is UNSET:
        if manner == "older" and sent.value is UNSET:
            raise InvalidItem("dict is missing")
        return b"{}", {}
    raw = bytes(text)
    if 0 < most_bytes < len(raw):
        raise InvalidItem(
            f"{name}: {len(raw)} bytes, more than the {most_bytes} that are taken"
            " (limits.attributes_bytes)",
            "attributes_bytes",
        )
    if raw[0] != _BRACE and name != "dict":
        raise InvalidItem(f"{name} has to be an object")
    return raw, decode_exact(raw)


def _given_attributes(sent: _Sent) -> tuple[str, Raw | UnsetType]:
    """The attributes, and under which of their names they were sent."""
    found = ("attributes", sent.attributes)
    for name, raw in (("metadata", sent.metadata), ("dict", sent.dict)):
        if raw is not UNSET:
            if found[1] is not UNSET:
                raise InvalidItem(f"{found[0]} and {name} are the same: give one of them")
            found = (name, raw)
    return found
