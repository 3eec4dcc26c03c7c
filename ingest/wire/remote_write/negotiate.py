"""What a request's headers say about its body.

Lenient where senders are: no Content-Type is version 1, no Content-Encoding is snappy; white space,
case and quotes as RFC 9110 has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from email import message as email
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from ingest.errors import UnsupportedMedia
from ingest.wire.encoding.body import Encoding

MEDIA_TYPE = "application/x-protobuf"
V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"
REMEMBERED = 16
"""Headers that are taken: senders say the same again and again. What is not taken is not kept."""


class Message(Enum):
    """Which of remote write's messages a body is; the value is what Content-Type calls it."""

    V1 = V1_MESSAGE
    V2 = V2_MESSAGE


class Negotiated(NamedTuple):
    """What a body is."""

    message: Message
    encoding: Encoding


def negotiate(headers: Mapping[str, str]) -> Negotiated:
    """What the body is, from the headers of its request.

    Raises:
        UnsupportedMedia: a message or a compression that is not taken here.
    """
    return Negotiated(
        message_of(headers.get("Content-Type")),
        content_encoding(headers.get("Content-Encoding")),
    )


@lru_cache(maxsize=REMEMBERED)
def message_of(content_type: str | None) -> Message:
    """Which message the body is, from Content-Type.

    Raises:
        UnsupportedMedia: neither of remote write's.
    """
    if content_type is None:
        return Message.V1
    message = email.Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != MEDIA_TYPE:
        raise UnsupportedMedia(f"Content-Type {content_type!r}: only {MEDIA_TYPE} is taken here")
    proto = message.get_param("proto", V1_MESSAGE)
    if proto not in (V1_MESSAGE, V2_MESSAGE):
        raise UnsupportedMedia(
            f"message {proto!r}: only {V1_MESSAGE} (1.0) and {V2_MESSAGE} (2.0) are taken here"
        )
    return Message(proto)


@lru_cache(maxsize=REMEMBERED)
def content_encoding(header: str | None) -> Encoding:
    """How the body is compressed, from Content-Encoding.

    Raises:
        UnsupportedMedia: a compression that is not taken here.
    """
    if header is None:
        return Encoding.SNAPPY
    name = header.strip().lower()
    if name not in ("snappy", "zstd"):
        raise UnsupportedMedia(f"Content-Encoding {header!r}: only snappy and zstd are taken here")
    return Encoding(name)
