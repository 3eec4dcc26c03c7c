"""What the headers of a push say about its body, and the body without its compression.

Lenient where senders are: `curl -d` calls everything a form, so a body is JSON unless it certainly
is something else.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from email.message import Message
from enum import Enum

from ingest.errors import BadRequest, UnsupportedMedia
from ingest.wire.encoding.gzip import GZIP, TooLong, inflate
from ingest.wire.encoding.zstd import (
    GUESS_BYTES,
    LongerThanSaid,
    decompress_zstd,
    expected_zstd_bytes,
)

_NO_JSON_KINDS = ("multipart", "image", "audio", "video")
_NO_JSON_FORMATS = ("protobuf", "xml", "msgpack", "cbor")
_UTF_8 = ("utf-8", "utf8", "us-ascii")


class PushEncoding(Enum):
    """How the body is compressed."""

    PLAIN = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"


def push_encoding(headers: Mapping[str, str]) -> PushEncoding:
    """How the body is compressed, from Content-Encoding.

    Raises:
        UnsupportedMedia: a compression that is not taken here.
    """
    text = headers.get("Content-Encoding", "").strip().lower().removeprefix("x-")
    try:
        return PushEncoding(text) if text else PushEncoding.PLAIN
    except ValueError:
        raise UnsupportedMedia(
            f"Content-Encoding {text[:50]!r}: only gzip, zstd and identity are taken here"
        ) from None


def check_json(headers: Mapping[str, str]) -> None:
    """Whether the body can be JSON, from Content-Type.

    Raises:
        UnsupportedMedia: it certainly is none.
    """
    message = Message()
    message["Content-Type"] = headers.get("Content-Type", "application/json")
    content_type = message.get_content_type()
    is_other = message.get_content_maintype() in _NO_JSON_KINDS or any(
        other in content_type for other in _NO_JSON_FORMATS
    )
    charset = message.get_content_charset("utf-8")
    if is_other or charset not in _UTF_8:
        raise UnsupportedMedia(
            f"Content-Type {content_type[:100]!r} with charset {charset[:50]!r}: only JSON (or"
            " NDJSON) in UTF-8 is taken here"
        )


def expected_bytes(encoding: PushEncoding, body: bytes, most_bytes: int) -> int:
    """How much a body has after decompression; a guess where it does not say.

    Raises:
        BadRequest: empty, corrupt, or more than `most_bytes`.
    """
    if encoding is PushEncoding.ZSTD:
        return expected_zstd_bytes(body, most_bytes)
    if encoding is PushEncoding.GZIP:  # its last four bytes say so, of the last member
        return min(most_bytes, max(GUESS_BYTES, int.from_bytes(body[-4:], "little")))
    return min(most_bytes, len(body))


def decompressed(
    encoding: PushEncoding, body: bytes, most_bytes: int, expected_bytes: int | None = None
) -> bytes:
    """The JSON text of a body.

    Args:
        expected_bytes: as the function of that name says; more memory is not taken.

    Raises:
        BadRequest: corrupt, or more than `most_bytes` after decompression.
        LongerThanSaid: more than `expected_bytes`.
    """
    if encoding is PushEncoding.GZIP:
        return _gunzip(body, most_bytes, most_bytes if expected_bytes is None else expected_bytes)
    if encoding is PushEncoding.ZSTD:
        return decompress_zstd(body, most_bytes, expected_bytes)
    if len(body) > most_bytes:
        raise _too_long(most_bytes)
    return body


def _gunzip(body: bytes, most_bytes: int, expected_bytes: int) -> bytes:
    try:
        return inflate(body, expected_bytes, GZIP)
    except zlib.error as error:
        raise BadRequest(f"the body is no gzip: {error}") from None
    except EOFError:
        raise BadRequest("the body is gzip that is cut") from None
    except TooLong:
        if expected_bytes < most_bytes:
            raise LongerThanSaid from None
        raise _too_long(most_bytes) from None


def _too_long(max_bytes: int) -> BadRequest:
    return BadRequest(
        f"the body has more than the {max_bytes} bytes that are taken"
        " (receiver.max_decompressed_bytes)"
    )
