"""What makes a series acceptable, and how it is named in the reason if it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.errors import InvalidSeries
from ingest.model import METRIC_NAME, Label, Labels
from ingest.text import quoted

LONGEST_NAME_BYTES = 2000
"""A metric name is part of B-tree keys, of which PostgreSQL takes 2,704 bytes."""

LONGEST_LABELS_BYTES = 8 * 1024 * 1024
"""All names and values of one label set together, or all text of one metadata. PostgreSQL gets them
in one piece, of which it takes 256 MB, and control characters are six times as long in JSON."""


def checked_label(pair: tuple[bytes, bytes]) -> Label:
    """Name and value as text.

    Raises:
        ValueError: something is wrong with them, which `checked_labels` has words for.
    """
    name, value = pair[0].decode(), pair[1].decode()
    if not name or "\0" in name or "\0" in value:
        raise ValueError
    if name == METRIC_NAME and len(pair[1]) > LONGEST_NAME_BYTES:
        raise ValueError
    return name, value


def checked_labels(
    tokens: Sequence[Any],
    label_of: Callable[[Any], Label] = checked_label,
    pair_of: Callable[[Any], tuple[bytes, bytes]] = tuple,
) -> Labels:
    """Labels as text, sorted by the UTF-8 bytes of their names.

    Any order and any UTF-8 but U+0000 (which PostgreSQL's text cannot hold) is taken. A label with
    an empty value is the same as no label, as in Prometheus, and is left out.

    Args:
        tokens: names and values as sent, or what stands for them.
        label_of: `checked_label` of a token, for whoever knows some already.
        pair_of: from a token to name and value as sent.

    Raises:
        InvalidSeries: what is wrong with which label; the series itself is not named.
    """
    try:
        labels = [*map(label_of, tokens)]
    except ValueError:
        labels = []  # which is told below
    texts = dict(labels)
    if len(texts) != len(tokens) or not texts.get(METRIC_NAME):
        pairs = [*map(pair_of, tokens)]
        raise InvalidSeries(_complaint(pairs) or _name_complaint(pairs))
    if "" in texts.values():
        labels = [label for label in labels if label[1]]
    # The order of code points is the order of UTF-8 bytes.
    labels.sort()
    return tuple(labels)


def checked_pairs(pairs: Sequence[tuple[bytes, bytes]]) -> Labels:
    """The labels of an exemplar, which need no metric name; sorted, without empty ones.

    Raises:
        InvalidSeries: what is wrong with which label.
    """
    check_length(sum([len(name) + len(value) for name, value in pairs]), "the labels have")
    if complaint := _complaint(pairs):
        raise InvalidSeries(complaint)
    return tuple(sorted([(name.decode(), value.decode()) for name, value in pairs if value]))


def check_length(text_bytes: int, what: str) -> None:
    """Take text that may fill one field of a row.

    Raises:
        InvalidSeries: it is longer than the database could ever take.
    """
    if text_bytes > LONGEST_LABELS_BYTES:
        raise InvalidSeries(
            f"{what} {text_bytes} bytes, more than the {LONGEST_LABELS_BYTES} that can be stored"
        )


def checked_text(raw: bytes, what: str) -> str:
    """Text that PostgreSQL can store.

    Raises:
        InvalidSeries: it cannot.
    """
    if complaint := _text_complaint(raw):
        raise InvalidSeries(f"{what} {quoted(raw)} {complaint}")
    return raw.decode()


def _complaint(pairs: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The first thing that is wrong with labels, whatever they are of."""
    names: set[bytes] = set()
    for name, value in pairs:
        complaint = _text_complaint(name) or _text_complaint(value)
        if complaint:
            return f"label {quoted(name)}={quoted(value)} {complaint}"
        if not name:
            return "a label has an empty name"
        if name in names:
            return f"label {quoted(name)} is there twice"
        names.add(name)
    return None


def _name_complaint(pairs: Sequence[tuple[bytes, bytes]]) -> str:
    """What is wrong with the metric name among labels that are right otherwise."""
    name = dict(pairs).get(METRIC_NAME.encode())
    if name is None:
        return "label __name__ is missing"
    if len(name) > LONGEST_NAME_BYTES:
        return f"the metric name is longer than {LONGEST_NAME_BYTES} bytes"
    return "the metric name (label __name__) is empty"


def _text_complaint(raw: bytes) -> str | None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not valid UTF-8: byte 0x{raw[error.start]:02x}"
    return "contains U+0000, which PostgreSQL cannot store" if b"\0" in raw else None
