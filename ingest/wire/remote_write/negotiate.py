"""What a request's headers say about its body.

Lenient where senders are: no Content-Type is version 1, no Content-Encoding is snappy; white space,
case and quotes as RFC 9110 has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from enum import Enum
from typing import NamedTuple

from ingest.errors import UnsupportedMedia
from ingest.wire.encoding.body import Encoding

MEDIA_TYPE = "application/x-protobuf"
V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"


class Protocol(Enum):
    """Which message it is; the number is what the spool remembers."""

    V1 = 1
    V2 = 2
    PUSH = 3
    """Measures and events as `push_spool` writes them; never on the wire."""


PROTOCOLS = {V1_MESSAGE: Protocol.V1, V2_MESSAGE: Protocol.V2}


class Negotiated(NamedTuple):
    """What a body is."""

    protocol: Protocol
    encoding: Encoding


def negotiate(headers: Mapping[str, str]) -> Negotiated:
    """What the body is, from the headers of its request.

    Raises:
        UnsupportedMedia: a message or a compression that is not taken here.
    """
    return Negotiated(
        message_protocol(headers.get("Content-Type")),
        content_encoding(headers.get("Content-Encoding")),
    )


def message_protocol(content_type: str | None) -> Protocol:
    """Which message the body is, from Content-Type.

    Raises:
        UnsupportedMedia: neither of remote write's.
    """
    if content_type is None:
        return Protocol.V1
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != MEDIA_TYPE:
        raise UnsupportedMedia(f"Content-Type {content_type!r}: only {MEDIA_TYPE} is taken here")
    proto = message.get_param("proto", V1_MESSAGE)
    if not isinstance(proto, str) or proto not in PROTOCOLS:
        raise UnsupportedMedia(
            f"message {proto!r}: only {V1_MESSAGE} (1.0) and {V2_MESSAGE} (2.0) are taken here"
        )
    return PROTOCOLS[proto]


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
