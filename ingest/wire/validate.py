"""What makes a series acceptable, and how it is named in the reason if it is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from ingest.errors import BadRequest
from ingest.model import Labels

METRIC_NAME = "__name__"
_LONGEST_TEXT = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidSeries(BadRequest):
    """One series cannot be stored; the rest of its request can."""


def checked_labels(pairs: Sequence[tuple[bytes, bytes]]) -> Labels:
    """Labels as text, sorted by the UTF-8 bytes of their names.

    Any order and any UTF-8 but U+0000 (which PostgreSQL's text cannot hold) is taken. A label with
    an empty value is the same as no label, as in Prometheus, and is left out.

    Raises:
        InvalidSeries: what is wrong with which label; the series itself is not named.
    """
    labels: dict[str, str] = {}
    for name, value in pairs:
        text = _text(name, "a label name")
        if not text:
            raise InvalidSeries("a label has an empty name")
        if text in labels:
            raise InvalidSeries(f"label {_quoted(name)} is there twice")
        labels[text] = _text(value, f"the value of label {_quoted(name)}")
    if METRIC_NAME not in labels:
        raise InvalidSeries("label __name__ is missing")
    if not labels[METRIC_NAME]:
        raise InvalidSeries("the metric name (label __name__) is empty")
    # The order of code points is the order of UTF-8 bytes.
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def _text(raw: bytes, what: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidSeries(
            f"{what} is no UTF-8 (byte 0x{raw[error.start]:02x} at {error.start})"
        ) from None
    if "\0" in text:
        raise InvalidSeries(f"{what} contains U+0000, which PostgreSQL cannot store")
    return text


def series_text(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """A series for people's eyes: `name{a="b"}`, on one line, cut when long."""
    name, others = "", []
    for label, value in pairs:
        if label == METRIC_NAME.encode() and not name:
            name = _shown(value)
        else:
            others.append(f"{_shown(label)}={_quoted(value)}")
    text = f"{name}{{{', '.join(others)}}}"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _quoted(raw: bytes) -> str:
    return f'"{_shown(raw)}"'


def _shown(raw: bytes) -> str:
    text = raw.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in text
    )


def time_text(timestamp_ms: int) -> str:
    """A time stamp for people's eyes: ISO 8601, or the bare number where no calendar reaches."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return f"{timestamp_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
