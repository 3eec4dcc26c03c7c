"""What the headers of a request with records say about its body.

Lenient where senders are: `curl -d` calls everything a form, so a body is JSON unless it certainly
is something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from functools import lru_cache

from ingest.errors import UnsupportedMedia
from ingest.wire.encoding.body import Encoding

_NO_JSON_KINDS = ("multipart", "image", "audio", "video")
_NO_JSON_FORMATS = ("protobuf", "xml", "msgpack", "cbor")
_UTF_8 = ("utf-8", "utf8", "us-ascii")


def content_encoding(headers: Mapping[str, str]) -> Encoding:
    """How the body is compressed, from Content-Encoding.

    Raises:
        UnsupportedMedia: a compression that is not taken here.
    """
    text = headers.get("Content-Encoding", "").strip().lower().removeprefix("x-")
    try:
        encoding = Encoding(text or "identity")
    except ValueError:
        encoding = Encoding.SNAPPY
    if encoding is Encoding.SNAPPY:
        raise UnsupportedMedia(
            f"Content-Encoding {text[:50]!r}: only gzip, zstd and identity are taken here"
        )
    return encoding


@lru_cache(maxsize=16)
def check_json(content_type: str) -> None:
    """Whether the body can be JSON, from Content-Type; what is taken is remembered.

    Raises:
        UnsupportedMedia: it certainly is none.
    """
    message = Message()
    message["Content-Type"] = content_type
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
