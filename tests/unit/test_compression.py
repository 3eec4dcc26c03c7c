"""Snappy bodies: what is taken, and how a bad one is named."""

import pytest
from cramjam import snappy

from ingest.errors import BadRequest
from ingest.wire.encoding.snappy import decompress_snappy

MIB = 1024 * 1024


@pytest.mark.parametrize("content", [b"", b"a", b"promgres" * 10_000, bytes(range(256)) * 100])
def test_what_was_compressed_comes_back(content: bytes) -> None:
    assert decompress_snappy(bytes(snappy.compress_raw(content)), MIB) == content


def test_an_empty_request_is_one_zero_byte() -> None:
    assert decompress_snappy(b"\x00", MIB) == b""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"\xff\xff\xff\xff\x0f" + b"x" * 50, "declares 4294967295 bytes"),
        (b"\x80\x80\xc0\x10\x00", "5 bytes cannot hold the 34603008"),
        (b"\xff" * 10, "not a snappy block"),
        (b"\x05\x10ab", "not a snappy block"),
        (b"\x00abc", "not a snappy block"),
        (b"\x80", "not a snappy block"),
        (bytes(snappy.compress(b"abc")), "framed snappy"),
    ],
)
def test_a_bad_body_is_named(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        decompress_snappy(body, 64 * MIB)


def test_the_declared_length_is_checked_before_decompression() -> None:
    body = bytes(snappy.compress_raw(b"x" * 1001))

    assert len(decompress_snappy(body, 1001)) == 1001
    with pytest.raises(BadRequest, match=r"declares 1001 bytes .* more than the 1000"):
        decompress_snappy(body, 1000)


def test_the_densest_block_is_no_lie() -> None:
    zeros = bytes(32 * MIB)
    assert decompress_snappy(bytes(snappy.compress_raw(zeros)), 32 * MIB) == zeros
