"""zstd bodies: every shape of frame header, and lies about lengths."""

import cramjam
import pytest

from ingest.errors import BadRequest
from ingest.wire.encoding.zstd import decompress_zstd

CONTENTS = [b"", b"x", b"ab" * 200, b"abc" * 30_000]


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_frames_with_and_without_a_declared_length(content: bytes) -> None:
    one_shot = bytes(cramjam.zstd.compress(content))
    streaming = cramjam.zstd.Compressor()
    streaming.compress(content)
    for frame in (one_shot, bytes(streaming.finish())):
        assert decompress_zstd(frame, 100_000) == content


def test_a_frame_at_the_limit_is_taken_and_one_beyond_it_is_not() -> None:
    content = b"abc" * 1000
    streaming = cramjam.zstd.Compressor()
    streaming.compress(content)
    for frame in (bytes(cramjam.zstd.compress(content)), bytes(streaming.finish())):
        assert decompress_zstd(frame, len(content)) == content
        with pytest.raises(BadRequest):
            decompress_zstd(frame, len(content) - 1)


def test_a_declared_length_is_checked_before_memory_is_taken() -> None:
    frame = bytearray(cramjam.zstd.compress(b"abc" * 30_000))
    frame[4] = 0xE0  # single segment, 8 bytes of content size
    frame[5:13] = (1 << 62).to_bytes(8, "little")
    with pytest.raises(BadRequest, match=f"declares {1 << 62} bytes"):
        decompress_zstd(bytes(frame), 32 << 20)


@pytest.mark.parametrize("body", [b"", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x00", b"nonsense"])
def test_nonsense_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decompress_zstd(body, 1000)


def test_a_cut_frame_is_a_bad_request() -> None:
    frame = bytes(cramjam.zstd.compress(b"abc" * 30_000))
    for end in range(5, len(frame)):
        with pytest.raises(BadRequest):
            decompress_zstd(frame[:end], 100_000)
