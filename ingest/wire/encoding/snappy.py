"""snappy's block format, with every length checked before memory is taken; and the checksum of its
framed format, which others use, too."""

from __future__ import annotations

from functools import cache

import cramjam
import snappy

from ingest.errors import BadRequest

_MOST_EXPANSION = 32
"""No snappy block grows more than 22-fold (64 bytes from a copy of 3); a claim of more is a lie."""

_FRAMED = b"\xff\x06\x00\x00sNaPpY"
"""How a snappy stream of the framed format begins; no valid block does."""

_FRAME_BYTES = 65_536
"""What one frame of that format holds at most."""


def compress_snappy(content: bytes) -> bytes:
    """A snappy block, as in the body of a request."""
    block: bytes = snappy.compress(content)
    return block


def decompress_snappy(body: bytes, max_bytes: int) -> bytes:
    """The content of a snappy block.

    Args:
        body: the block: its decompressed length as a varint, then literals and copies.
        max_bytes: the largest decompressed length that is taken.

    Raises:
        BadRequest: empty, corrupt, framed, or it declares more than `max_bytes`.
    """
    snappy_bytes(body, max_bytes)
    try:
        content: bytes = snappy.uncompress(body)
    except snappy.UncompressError as error:
        raise _corrupt(str(error.__cause__ or error)) from None
    return content


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum.

    The framed format has it for each 64 KiB, computed by the library: after its ten bytes of start
    comes a kind, three bytes of length, and the checksum, rotated and shifted by a constant
    (framing_format.txt, section 3). No other library is needed for it, but what is longer takes a
    tenth of a microsecond a byte.
    """
    head, rest = data[:_FRAME_BYTES], data[_FRAME_BYTES:]
    checksum = 0
    if head:
        framed = bytes(cramjam.snappy.compress(head))
        masked = int.from_bytes(framed[14:18], "little") - 0xA282_EAD8 & 0xFFFF_FFFF
        checksum = (masked >> 17 | masked << 15) & 0xFFFF_FFFF
    if rest:
        table, state = _crc_table(), checksum ^ 0xFFFF_FFFF
        for byte in rest:
            state = state >> 8 ^ table[(state ^ byte) & 0xFF]
        checksum = state ^ 0xFFFF_FFFF
    return checksum


@cache
def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [rest >> 1 ^ (0x82F6_3B78 if rest & 1 else 0) for rest in table]
    return table


def snappy_bytes(body: bytes, max_bytes: int) -> int:
    """How long the content of a block is, as it declares.

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
    return declared


def _declared_length(body: bytes) -> int:
    """The varint that a block begins with: of 32 bits, the lowest seven first."""
    length = 0
    for place, byte in enumerate(body[:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if length >= 2**32:
                break
            return length
    raise _corrupt("invalid header")


def _corrupt(reason: str) -> BadRequest:
    reason = reason.removeprefix("snappy: ").removeprefix("corrupt input ").strip("()")
    return BadRequest(f"the body is not a snappy block: {reason}")
