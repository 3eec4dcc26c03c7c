"""What headers decide before a body is read."""

import pytest

from ingest.errors import UnsupportedMedia
from ingest.wire.remote_write.negotiate import (
    Encoding,
    Message,
    content_encoding,
    message_of,
)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "application/x-protobuf",
        "Application/X-Protobuf",
        "application/x-protobuf;proto=prometheus.WriteRequest",
        'application/x-protobuf ; proto="prometheus.WriteRequest"',
    ],
)
def test_version_1_is_taken(header: str | None) -> None:
    assert message_of(header) is Message.V1


@pytest.mark.parametrize(
    "header",
    [
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        'Application/x-Protobuf ; Proto="io.prometheus.write.v2.Request"',
    ],
)
def test_version_2_is_taken(header: str) -> None:
    assert message_of(header) is Message.V2


@pytest.mark.parametrize(
    "header",
    [
        "application/json",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
        "application/x-protobuf;proto=",
        "text/plain",
        "",
    ],
)
def test_anything_else_is_415(header: str) -> None:
    with pytest.raises(UnsupportedMedia):
        message_of(header)


def test_encodings() -> None:
    assert content_encoding(None) is Encoding.SNAPPY
    assert content_encoding(" Snappy ") is Encoding.SNAPPY
    assert content_encoding("zstd") is Encoding.ZSTD
    for other in ("gzip", "identity", "snappy, gzip"):
        with pytest.raises(UnsupportedMedia):
            content_encoding(other)
