"""Bodies as they come: what they hold, with every length checked before memory is taken."""

from __future__ import annotations

import zlib
from enum import Enum

from ingest.errors import BadRequest
from ingest.wire.encoding.gzip import GZIP, TooLong, inflate
from ingest.wire.encoding.snappy import decompress_snappy, snappy_bytes
from ingest.wire.encoding.zstd import (
    GUESS_BYTES,
    LongerThanSaid,
    decompress_zstd,
    expected_zstd_bytes,
)


class Encoding(Enum):
    """How a body is compressed. Each protocol takes some of them, and says so by itself."""

    PLAIN = "identity"
    SNAPPY = "snappy"
    GZIP = "gzip"
    ZSTD = "zstd"


def expected_bytes(encoding: Encoding, body: bytes, most_bytes: int) -> int:
    """How much a body has after decompression; a guess where it does not say.

    Raises:
        BadRequest: empty, corrupt, or more than `most_bytes`.
    """
    match encoding:
        case Encoding.SNAPPY:
            return snappy_bytes(body, most_bytes)
        case Encoding.ZSTD:
            return expected_zstd_bytes(body, most_bytes)
        case Encoding.GZIP:  # its last four bytes say so, of the last member
            return min(most_bytes, max(GUESS_BYTES, int.from_bytes(body[-4:], "little")))
    return min(most_bytes, len(body))


def decompress(
    encoding: Encoding, body: bytes, most_bytes: int, expected_bytes: int | None = None
) -> bytes:
    """The content of a body.

    Args:
        expected_bytes: as the function of that name says; more memory is not taken.

    Raises:
        BadRequest: empty, corrupt, or more than `most_bytes` after decompression.
        LongerThanSaid: more than `expected_bytes`.
    """
    match encoding:
        case Encoding.SNAPPY:
            return decompress_snappy(body, most_bytes)
        case Encoding.ZSTD:
            return decompress_zstd(body, most_bytes, expected_bytes)
        case Encoding.GZIP:
            expected = most_bytes if expected_bytes is None else expected_bytes
            return _gunzip(body, most_bytes, expected)
    if len(body) > most_bytes:
        raise _too_long(most_bytes)
    return body


def _gunzip(body: bytes, most_bytes: int, expected_bytes: int) -> bytes:
    try:
        return inflate(body, expected_bytes, GZIP)
    except zlib.error as error:
        raise BadRequest(f"the body is not gzip: {error}") from None
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
