"""Compression of answers: of a whole body, or part after part."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, Literal

import cramjam

AnswerEncoding = Literal["zstd", "gzip"]

ZSTD_LEVEL = 3
GZIP_LEVEL = 6


def compress(body: bytes, encoding: AnswerEncoding) -> bytes:
    """A whole body."""
    if encoding == "zstd":
        return bytes(cramjam.zstd.compress(body, level=ZSTD_LEVEL))
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


class Compressor:
    """A body that is compressed part after part."""

    def __init__(self, encoding: AnswerEncoding) -> None:
        self._zstd: Any = None
        self._gzip: Any = None
        if encoding == "zstd":
            self._zstd = cramjam.zstd.Compressor(level=ZSTD_LEVEL)
        else:
            self._gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def part(self, part: bytes) -> bytes:
        """What may be sent once this part has come."""
        if self._zstd is None:
            compressed: bytes = self._gzip.compress(part)
            return compressed
        self._zstd.compress(part)
        return bytes(self._zstd.flush())

    def end(self) -> bytes:
        """What ends the body."""
        return bytes(self._gzip.flush() if self._zstd is None else self._zstd.finish())
