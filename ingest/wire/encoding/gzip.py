"""Bodies that were compressed with zlib, without ever holding more of them than is taken."""

from __future__ import annotations

import zlib

GZIP = 31
GZIP_OR_ZLIB = 47
"""zlib's window bits: of gzip; of either, as its header says."""


class TooLong(Exception):
    """There is more than may be taken."""


def inflate(body: bytes, max_bytes: int, window_bits: int) -> bytes:
    """All members of a compressed body.

    Raises:
        zlib.error: it is corrupt.
        EOFError: it is cut.
        TooLong: it has more than `max_bytes`.
    """
    pieces: list[bytes] = []
    room = max_bytes
    while body:
        member = zlib.decompressobj(window_bits)
        piece = member.decompress(body, room + 1)
        room -= len(piece)
        if room < 0:
            raise TooLong
        if not member.eof:
            raise EOFError
        pieces.append(piece)
        body = member.unused_data
    return b"".join(pieces)
