"""zstd bodies, as VictoriaMetrics' senders write them, with lengths checked before memory is taken.

The frame header is that of RFC 8878, section 3.1.1.1.
"""

from __future__ import annotations

from cramjam import DecompressionError
from cramjam import zstd as codec

from ingest.errors import BadRequest

MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)


def decompress_zstd(body: bytes, max_bytes: int) -> bytes:
    """The content of one zstd frame.

    Raises:
        BadRequest: empty, corrupt, or it holds more than `max_bytes`.
    """
    if not body.startswith(MAGIC):
        raise BadRequest("the body is no zstd frame")
    declared = _declared_length(body)
    if declared is not None and declared > max_bytes:
        raise BadRequest(
            f"the body declares {declared} bytes after decompression, more than the {max_bytes} "
            "that are taken (receiver.max_decompressed_bytes)"
        )
    content = bytearray(max_bytes if declared is None else declared)
    try:
        length: int = codec.decompress_into(body, content)
    except DecompressionError as error:
        raise BadRequest(f"the body is corrupt zstd, or longer than it declares: {error}") from None
    return bytes(memoryview(content)[:length])


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
