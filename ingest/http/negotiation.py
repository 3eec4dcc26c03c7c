"""Which media type and which compression a client takes."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from ingest.errors import NotAcceptable
from ingest.wire.encoding.answers import AnswerEncoding

SHOWN_CHARACTERS = 200


class Media(Enum):
    """A form that a result can be given in; the value is its Content-Type."""

    JSON = "application/json; charset=utf-8"
    CSV = "text/csv; charset=utf-8"
    OBJECT = "application/vnd.pgrst.object+json; charset=utf-8"
    ARRAY_STRIPPED = "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8"
    OBJECT_STRIPPED = "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8"
    TEXT = "text/plain; charset=utf-8"
    BYTES = "application/octet-stream"
    OPENAPI = "application/openapi+json; charset=utf-8"


RESULT_MEDIA = {
    "application/json": Media.JSON,
    "application/*": Media.JSON,
    "*/*": Media.JSON,
    "text/csv": Media.CSV,
    "text/*": Media.CSV,
    "application/vnd.pgrst.object+json": Media.OBJECT,
    "application/vnd.pgrst.object": Media.OBJECT,
    "application/vnd.pgrst.object+json;nulls=stripped": Media.OBJECT_STRIPPED,
    "application/vnd.pgrst.object;nulls=stripped": Media.OBJECT_STRIPPED,
    "application/vnd.pgrst.array+json": Media.JSON,
    "application/vnd.pgrst.array": Media.JSON,
    "application/vnd.pgrst.array+json;nulls=stripped": Media.ARRAY_STRIPPED,
    "application/vnd.pgrst.array;nulls=stripped": Media.ARRAY_STRIPPED,
}
SCALAR_MEDIA = {**RESULT_MEDIA, "text/plain": Media.TEXT, "application/octet-stream": Media.BYTES}
"""Of a single value, which may be given as it is."""
ONE_OBJECT = frozenset({Media.OBJECT, Media.OBJECT_STRIPPED})
OPENAPI_MEDIA = {
    "application/openapi+json": Media.OPENAPI,
    "*/*": Media.OPENAPI,
    "application/*": Media.OPENAPI,
    "application/json": Media.JSON,
}
HTML = "text/html"
ENCODINGS: tuple[AnswerEncoding, ...] = ("zstd", "gzip")
"""The best first, among those that a client wants alike."""


@lru_cache(maxsize=1000)
def _chosen(accept: str, is_scalar: bool) -> Media:
    return choose_media(accept, SCALAR_MEDIA if is_scalar else RESULT_MEDIA)


def result_media(accept: str | None, *, is_scalar: bool) -> Media:
    """The form of a result that the client wants most.

    Raises:
        NotAcceptable: none of what it takes is offered.
    """
    return _chosen(accept or "*/*", is_scalar)


def choose_media(accept: str | None, offered: dict[str, Media]) -> Media:
    """The form that the client wants most.

    Raises:
        NotAcceptable: none of what it takes is offered.
    """
    wanted = _by_weight(accept or "*/*")
    for name, _ in wanted:
        if name in offered:
            return offered[name]
    shown = (accept or "")[:SHOWN_CHARACTERS]
    raise NotAcceptable(f"None of these media types are available: {shown}")


def wants_html(accept: str | None) -> bool:
    """Whether a client names HTML, and nothing before it that the OpenAPI document comes in."""
    offered = (name for name, _ in _by_weight(accept or "") if name in {*OPENAPI_MEDIA, HTML})
    return next(offered, None) == HTML


def choose_encoding(accept_encoding: str | None) -> AnswerEncoding | None:
    """`zstd` or `gzip`, or None for no compression."""
    if not accept_encoding:
        return None
    weights = dict(reversed(_by_weight(accept_encoding, with_zero=True)))
    every = weights.get("*", 0.0)
    best = max(ENCODINGS, key=lambda name: weights.get(name, every))  # the first of equals
    return best if weights.get(best, every) > 0 else None


def _by_weight(header: str, with_zero: bool = False) -> list[tuple[str, float]]:
    """Names with their q-values, the most wanted first; those with q=0 only if asked for.

    Parameters other than `q` and `charset` are part of the name: they ask for another form.
    """
    found = []
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                weight = _weight(value)
            elif key != "charset":
                name += f";{parameter}"
        if name and (weight > 0 or with_zero):
            found.append((name, weight))
    return sorted(found, key=lambda pair: -pair[1])


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
