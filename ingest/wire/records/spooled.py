"""Measures and events as the spool keeps them: NDJSON with everything decided, so that writing them
back changes nothing, however much later and under whatever settings.

One object a line, in the order of the request: `i` is the item's id (hex), `k` whether the
idempotency key decides, `t` microseconds since 1970, `n` the name, `a` the attributes as sent; of a
measure also `v` the value (shortest decimal), `x` its exact text or null, `r` target and schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ingest.errors import BadRequest
from ingest.model import Event, Measure


class _Line(msgspec.Struct, omit_defaults=True):
    i: str
    k: bool
    t: int
    n: str
    a: Raw
    v: float | UnsetType = UNSET
    x: str | None = None
    r: tuple[str, str] | UnsetType = UNSET


_write = msgspec.json.Encoder().encode_lines
_read = msgspec.json.Decoder(_Line).decode_lines


def write_spooled(items: Iterable[Measure | Event]) -> bytes:
    """The payload that the spool keeps."""
    return _write([_line(item) for item in items])


def spooled_items(payload: bytes) -> Iterator[Measure | Event]:
    """The items of such a payload, each made when it is asked for.

    Raises:
        BadRequest: it is none.
    """
    try:
        for line in _read(payload):
            yield _item(line)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadRequest(f"these are not measures and events: {error}") from None


def _line(item: Measure | Event) -> _Line:
    line = _Line(
        item.item_id.hex(), item.key_decides, item.timestamp_us, item.name, Raw(item.attributes)
    )
    if isinstance(item, Measure):
        line.v, line.x, line.r = item.value, item.exact, (item.target, item.schema)
    return line


def _item(line: _Line) -> Measure | Event:
    shared = (line.t, line.n, bytes(line.a), bytes.fromhex(line.i), line.k)
    if line.v is UNSET or line.r is UNSET:
        return Event(*shared)
    return Measure(*shared, line.v, line.x, *line.r)
