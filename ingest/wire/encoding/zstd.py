"""zstd bodies, as VictoriaMetrics' senders write them, with lengths checked before memory is taken.

The frame header is that of RFC 8878, section 3.1.1.1.
"""

from __future__ import annotations

from cramjam import DecompressionError
from cramjam import zstd as codec

from ingest.errors import BadRequest

MAGIC = b"\x28\xb5\x2f\xfd"
GUESS_BYTES = 1024 * 1024
"""Where a sender that streams does not say how long the content is."""
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)


class LongerThanSaid(Exception):
    """The content is longer than was to be expected, and may be right all the same."""


def decompress_zstd(body: bytes, most_bytes: int, expected_bytes: int | None = None) -> bytes:
    """The content of one zstd frame.

    Args:
        expected_bytes: as `expected_zstd_bytes` says: so much memory is taken; if nobody asked, as
            much as it may need.

    Raises:
        BadRequest: corrupt, or it holds more than `most_bytes`.
        LongerThanSaid: it holds more than `expected_bytes`, or is corrupt.
    """
    if expected_bytes is None:
        known_bytes = expected_zstd_bytes(body, most_bytes)
        expected_bytes = most_bytes if _declared_length(body) is None else known_bytes
    content = bytearray(expected_bytes)
    try:
        length: int = codec.decompress_into(body, content)
    except DecompressionError as error:
        if expected_bytes < most_bytes and _declared_length(body) is None:
            raise LongerThanSaid from None
        raise BadRequest(f"the body is corrupt zstd, or longer than it declares: {error}") from None
    return bytes(memoryview(content)[:length])


def expected_zstd_bytes(body: bytes, most_bytes: int) -> int:
    """How long the content of a frame is; a guess where it does not say.

    Raises:
        BadRequest: empty, corrupt, or it declares more than `most_bytes`.
    """
    if not body.startswith(MAGIC):
        raise BadRequest("the body is not a zstd frame")
    declared = _declared_length(body)
    if declared is None:
        return min(most_bytes, max(GUESS_BYTES, len(body)))
    if declared > most_bytes:
        raise BadRequest(
            f"the body declares {declared} bytes after decompression, more than the {most_bytes} "
            "that are taken (receiver.max_decompressed_bytes)"
        )
    return declared


def _declared_length(body: bytes) -> int | None:
    """The frame's content size, None where the sender left it out."""
    if len(body) < len(MAGIC) + 1:
        raise BadRequest("the body is a cut zstd frame")
    descriptor = body[len(MAGIC)]
    single_segment = bool(descriptor & 0x20)
    size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6]
    if size_bytes == 0 and single_segment:
        size_bytes = 1
    if size_bytes == 0:
        return None
    start = len(MAGIC) + 1 + (not single_segment) + _DICTIONARY_ID_BYTES[descriptor & 3]
    length = int.from_bytes(body[start : start + size_bytes], "little")
    return length + 256 if size_bytes == 2 else length
