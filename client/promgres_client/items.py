"""One call becomes one JSON object, there and then.

Then and not in the background: what is sent is what the application saw at the call, even if it
changes a list in the metadata a moment later; a bad value is known where it can be named; and the
memory that an item takes is known exactly.
"""

from __future__ import annotations

import itertools
import json
import operator
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Callable, SupportsFloat, SupportsIndex, Union

from promgres_client.errors import InvalidItem

Number = Union[SupportsFloat, SupportsIndex]
"""int, float and Decimal are sent digit by digit, numpy's scalars converted to them."""
Moment = Union[datetime, int, float]
"""A datetime with a time zone, or seconds since 1970."""

MEASURE = "M"
EVENT = "E"
LONGEST_KEY = 255


class Encoder:
    """Turns calls into JSON text in ASCII, each with its time and its idempotency key.

    Args:
        default: as that of `json.dumps`: turns what JSON does not know into what it does.
    """

    def __init__(self, default: Callable[[Any], Any] | None = None) -> None:
        encoder = json.JSONEncoder(allow_nan=False, default=default, separators=(",", ":"))
        self._encode = encoder.encode
        self.renew()

    def renew(self) -> None:
        """Start idempotency keys that nobody else has: at first, and in a forked process."""
        self._prefix = secrets.token_hex(8)
        self._next = itertools.count().__next__

    def measure(
        self,
        name: str,
        value: Number,
        metadata: Mapping[str, Any],
        moment: Moment | None = None,
        key: str | None = None,
    ) -> str:
        """The body of a measure.

        Raises:
            InvalidItem: it cannot be stored.
        """
        return f'{{"name":{_name(name)},"value":{_number(value)}{self._rest(metadata, moment, key)}'

    def event(
        self,
        name: str,
        metadata: Mapping[str, Any],
        moment: Moment | None = None,
        key: str | None = None,
    ) -> str:
        """The body of an event.

        Raises:
            InvalidItem: it cannot be stored.
        """
        return f'{{"name":{_name(name)}{self._rest(metadata, moment, key)}'

    def stamp(self) -> str:
        """Time and idempotency key of this moment, as the last fields of a JSON object."""
        return f',"time":{time.time():.6f},"idempotency_key":"{self._prefix}-{self._next()}"'

    def _rest(self, metadata: Mapping[str, Any], moment: Moment | None, key: str | None) -> str:
        attributes = f',"attributes":{self._json(metadata)}' if metadata else ""
        if moment is None and key is None:
            return f"{attributes}{self.stamp()}}}"
        when = "" if moment is None else f',"time":{_moment(moment)}'
        if key is None:
            return f'{attributes}{when},"idempotency_key":"{self._prefix}-{self._next()}"}}'
        # With a key of the application's and no time, the server gives the time: one of ours would
        # differ when the application sends the same again, and so make another item of it.
        return f'{attributes}{when},"idempotency_key":{_key(key)}}}'

    def _json(self, metadata: Mapping[str, Any]) -> str:
        try:
            return self._encode(metadata if type(metadata) is dict else dict(metadata))
        except Exception as error:  # whatever the application's `default` or objects raise
            raise InvalidItem(f"metadata is not valid JSON: {error}") from None


def _name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidItem("a name is a text that is not empty")
    return quoted(name)


def _key(key: str) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidItem(f"an idempotency key is a text of 1 to {LONGEST_KEY} characters")
    return quoted(key)


def _number(value: Number) -> str:
    if isinstance(value, float):
        if value - value != 0:  # NaN and the infinities
            raise InvalidItem("a value is a finite number")
        return float.__repr__(value)
    if isinstance(value, int):
        return int.__repr__(value)  # True is 1
    try:
        if isinstance(value, Decimal):
            return _decimal(value)
        if isinstance(value, SupportsIndex):
            return int.__repr__(operator.index(value))
        return _number(float(value)) if isinstance(value, SupportsFloat) else _no_number(value)
    except InvalidItem:
        raise
    except Exception as error:  # whatever a number of somebody else's raises
        raise InvalidItem(f"a value is a finite number: {error}") from None


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise InvalidItem("a value is a finite number")
    return str(value)


def _no_number(value: object) -> str:
    raise InvalidItem(f"a value is a number, not {type(value).__name__}")


def _moment(moment: Moment) -> str:
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise InvalidItem("a datetime needs a time zone")
        return f'"{moment.astimezone(timezone.utc).isoformat()}"'
    return _number(moment)
