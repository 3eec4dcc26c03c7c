"""How series and timestamps are written in messages: on one line, printable, cut when long."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

from ingest.model import METRIC_NAME

_LONGEST_TEXT = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def series_text(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """A series for people's eyes: `name{a="b"}` or `name`, on one line, cut when long."""
    name, others = "", []
    for label, value in islice(pairs, _LONGEST_TEXT):
        if label == METRIC_NAME.encode() and not name:
            name = _shown(value)
        else:
            others.append(f"{_shown(label)}={quoted(value)}")
    text = f"{name}{{{', '.join(others)}}}" if others or not name else name
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def quoted(raw: bytes) -> str:
    """Bytes of a sender between quotes, printable, cut when long."""
    return '"' + _shown(raw).replace('"', '\\"') + '"'


def one_line(text: str) -> str:
    """Any text in a message: printable, cut when long."""
    shown = _shown(text[:_LONGEST_TEXT].encode(errors="backslashreplace"))
    return shown if len(text) <= _LONGEST_TEXT else f"{shown}…"


def _shown(raw: bytes) -> str:
    text = raw[: 4 * _LONGEST_TEXT].decode(errors="backslashreplace")  # the rest is cut anyway
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in text
    )


def time_text(timestamp_ms: int) -> str:
    """A timestamp for people's eyes: ISO 8601, or the bare number where no calendar reaches."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return f"{timestamp_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def on_one_line(error: BaseException) -> str:
    """What an error says, or what it is, if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
