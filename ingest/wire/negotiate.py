"""What a request's headers say about its body.

Lenient where senders are: no Content-Type is version 1, no Content-Encoding is snappy; white space,
case and quotes as RFC 9110 has them.
"""

from __future__ import annotations

from email.message import Message
from enum import Enum

from ingest.errors import UnsupportedMedia

MEDIA_TYPE = "application/x-protobuf"
V1_MESSAGE = "prometheus.WriteRequest"


class Encoding(Enum):
    """How the body is compressed."""

    SNAPPY = "snappy"
    ZSTD = "zstd"


def check_content_type(content_type: str | None) -> None:
    """Take a remote write 1.0 message.

    Raises:
        UnsupportedMedia: anything else.
    """
    if content_type is None:
        return
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != MEDIA_TYPE:
        raise UnsupportedMedia(f"Content-Type {content_type!r}: only {MEDIA_TYPE} is taken here")
    proto = message.get_param("proto", V1_MESSAGE)
    if proto != V1_MESSAGE:
        raise UnsupportedMedia(f"message {proto!r}: only {V1_MESSAGE} (1.0) is taken here")


def content_encoding(header: str | None) -> Encoding:
    """How the body is compressed, from Content-Encoding.

    Raises:
        UnsupportedMedia: a compression that is not taken here.
    """
    if header is None:
        return Encoding.SNAPPY
    try:
        return Encoding(header.strip().lower())
    except ValueError:
        raise UnsupportedMedia(
            f"Content-Encoding {header!r}: only snappy and zstd are taken here"
        ) from None
