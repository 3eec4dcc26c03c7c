"""Bodies as they come: snappy's block format, with every length checked before memory is taken."""

from __future__ import annotations

from cramjam import DecompressionError, snappy

from ingest.errors import BadRequest
from ingest.wire.negotiate import Encoding
from ingest.wire.zstd import decompress_zstd

_MOST_EXPANSION = 32
"""No snappy block grows more than 22-fold (64 bytes from a copy of 3); a claim of more is a lie."""

_FRAMED = b"\xff\x06\x00\x00sNaPpY"
"""How a snappy stream of the framed format begins; no valid block does."""


def decompress(encoding: Encoding, body: bytes, max_bytes: int) -> bytes:
    """The content of a body in one of the encodings that are taken.

    Raises:
        BadRequest: empty, corrupt, or more than `max_bytes` after decompression.
    """
    if encoding is Encoding.ZSTD:
        return decompress_zstd(body, max_bytes)
    return decompress_snappy(body, max_bytes)


def compress_snappy(content: bytes) -> bytes:
    """A snappy block, as in the body of a request."""
    return bytes(snappy.compress_raw(content))


def decompress_snappy(body: bytes, max_bytes: int) -> bytes:
    """The content of a snappy block.

    Args:
        body: the block: its decompressed length as a varint, then literals and copies.
        max_bytes: the largest decompressed length that is taken.

    Raises:
        BadRequest: empty, corrupt, framed, or it declares more than `max_bytes`.
    """
    if not body:
        raise BadRequest("the body is empty; an empty request is the snappy block of nothing, 0x00")
    if body.startswith(_FRAMED):
        raise BadRequest("the body is framed snappy; remote write needs snappy's block format")
    declared = _declared_length(body)
    if declared > max_bytes:
        raise BadRequest(
            f"the body declares {declared} bytes after decompression, more than the {max_bytes} "
            "that are taken (receiver.max_decompressed_bytes)"
        )
    if declared > _MOST_EXPANSION * len(body):
        raise BadRequest(
            f"the body is corrupt snappy: {len(body)} bytes cannot hold the {declared} it declares"
        )
    try:
        return bytes(snappy.decompress_raw(body))
    except DecompressionError as error:
        raise _corrupt(error) from None


def _declared_length(body: bytes) -> int:
    try:
        length: int = snappy.decompress_raw_len(body)
    except DecompressionError as error:
        raise _corrupt(error) from None
    return length


def _corrupt(error: DecompressionError) -> BadRequest:
    reason = str(error).removeprefix("snappy: ").removeprefix("corrupt input ").strip("()")
    return BadRequest(f"the body is no snappy block: {reason}")
