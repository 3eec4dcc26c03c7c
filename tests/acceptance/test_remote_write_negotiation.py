"""What headers decide, before a body is looked at: which message it is, how it is compressed."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import cramjam
import pytest

from tests.acceptance.cases import HEADERS, own_name, written_of
from tests.acceptance.cases_data import NOW
from tests.acceptance.stored import expected, stored
from tests.support.databases import Database
from tests.support.messages import Sent, counts, encode, sent_series
from tests.support.remote_write import WriteSide, send, snappy

PROTOBUF = "application/x-protobuf"
V1 = f"{PROTOBUF};proto=prometheus.WriteRequest"
V2 = f"{PROTOBUF};proto=io.prometheus.write.v2.Request"
VM = {"X-VictoriaMetrics-Remote-Write-Version": "1", "Content-Encoding": "zstd"}

TAKEN: list[tuple[str, int, Mapping[str, str | None]]] = [
    ("application/x-protobuf is 1.0", 1, {"Content-Type": PROTOBUF}),
    ("proto=prometheus.WriteRequest is 1.0", 1, {"Content-Type": V1}),
    ("proto=io.prometheus.write.v2.Request is 2.0", 2, {"Content-Type": V2}),
    ("white space after the semicolon", 2, {"Content-Type": V2.replace(";", "; ")}),
    ("white space around it", 2, {"Content-Type": V2.replace(";", " ;  ")}),
    ("a quoted value", 2, {"Content-Type": f'{PROTOBUF};proto="io.prometheus.write.v2.Request"'}),
    ("capital letters", 2, {"Content-Type": V2.replace("application", "Application")}),
    ("a capital parameter", 2, {"Content-Type": V2.replace("proto=", "PROTO=")}),
    ("other parameters", 2, {"Content-Type": f"{V2};charset=utf-8"}),
    ("no Content-Type is 1.0", 1, {"Content-Type": None}),
    ("no Content-Encoding is snappy, 1.0", 1, {"Content-Encoding": None}),
    ("no Content-Encoding is snappy, 2.0", 2, {"Content-Encoding": None}),
    ("capital letters in Content-Encoding", 2, {"Content-Encoding": "Snappy"}),
    ("zstd as VictoriaMetrics sends it", 1, VM),
    ("zstd in 2.0", 2, {"Content-Encoding": "zstd"}),
    ("no version header", 2, {"X-Prometheus-Remote-Write-Version": None}),
    ("a version header of 1.0 with 2.0's message", 2,
     {"X-Prometheus-Remote-Write-Version": "0.1.0"}),
    ("a version header of 2.0 with 1.0's message", 1,
     {"X-Prometheus-Remote-Write-Version": "2.0.0"}),
    ("no User-Agent", 1, {"User-Agent": None}),
    ("a retry", 1, {"Retry-Attempt": "3"}),
]  # fmt: skip


@pytest.mark.parametrize(("version", "changes"), [c[1:] for c in TAKEN], ids=[c[0] for c in TAKEN])
async def test_receivers_must_use_the_content_type_header(
    version: int,
    changes: Mapping[str, str | None],
    shared_write_side: WriteSide,
    shared_postgres_db: Database,
) -> None:
    own = own_name()
    sent = [sent_series((NOW, 1.0)).named(own)]
    headers = _changed(HEADERS[version], changes)
    compressed = cramjam.zstd.compress if "zstd" in headers.values() else snappy
    answer = send(shared_write_side.url, bytes(compressed(encode(version, sent))), headers)
    assert (answer.status, answer.text) == (204, "")
    assert written_of(answer) == (counts(sent) if version == 2 else None)
    assert await stored(shared_postgres_db, own) == expected(sent)


UNSUPPORTED = {
    "JSON": {"Content-Type": "application/json"},
    "no media type": {"Content-Type": ""},
    "another media type with a known message": {"Content-Type": V2.replace("x-protobuf", "grpc")},
    "protobuf by its later name": {"Content-Type": V2.replace("x-protobuf", "protobuf")},
    "an unknown message": {"Content-Type": f"{PROTOBUF};proto=io.prometheus.write.v3.Request"},
    "an empty message name": {"Content-Type": f"{PROTOBUF};proto="},
    "a message name in other letters": {"Content-Type": V2.lower()},
    "gzip": {"Content-Encoding": "gzip"},
    "identity": {"Content-Encoding": "identity"},
    "two encodings": {"Content-Encoding": "snappy, zstd"},
    "an empty encoding": {"Content-Encoding": ""},
    "framed snappy by its name": {"Content-Encoding": "x-snappy-framed"},
}


@pytest.mark.parametrize("version", [1, 2], ids=["1.0", "2.0"])
@pytest.mark.parametrize("changes", UNSUPPORTED.values(), ids=UNSUPPORTED)
async def test_receivers_must_return_415_if_they_do_not_support_type_or_encoding(
    version: int,
    changes: Mapping[str, str],
    shared_write_side: WriteSide,
    shared_postgres_db: Database,
) -> None:
    own = own_name()
    body = snappy(encode(version, [sent_series((NOW, 1.0)).named(own)]))
    answer = send(shared_write_side.url, body, {**HEADERS[version], **changes})
    assert answer.status == 415
    assert written_of(answer) is None, "no negotiation succeeded"
    assert len(answer.text.splitlines()) == 1
    assert await stored(shared_postgres_db, own) == expected([])


@pytest.mark.parametrize(
    ("changes", "length_bytes", "status", "is_negotiated"),
    [
        ({"Content-Encoding": "gzip"}, 10, 415, False),
        ({"Content-Encoding": "gzip"}, 1 << 40, 415, False),
        ({"Content-Type": "text/plain"}, 1 << 40, 415, False),
        ({}, 1 << 40, 413, True),
        ({}, 32 * 1024 * 1024 + 1, 413, True),
    ],
    ids=["unknown", "unknown and too long", "no protobuf and too long", "too long", "by a byte"],
)
@pytest.mark.parametrize("version", [1, 2], ids=["1.0", "2.0"])
def test_headers_are_answered_before_a_body_is_looked_at(
    version: int,
    changes: Mapping[str, str],
    length_bytes: int,
    status: int,
    is_negotiated: bool,
    shared_write_side: WriteSide,
) -> None:
    """Not one byte of the body is sent."""
    headers = {**HEADERS[version], **changes, "Content-Length": str(length_bytes)}
    answered, fields = _headers_only(shared_write_side, headers)
    assert answered == status
    written = {name: value for name, value in fields.items() if name.endswith("-written")}
    assert list(written.values()) == (["0"] * 3 if is_negotiated and version == 2 else [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_senders_must_post(method: str, shared_write_side: WriteSide) -> None:
    answer = send(shared_write_side.url, None, HEADERS[2], method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert written_of(answer) is None


@pytest.mark.parametrize("path", ["/write", "/api/v1/write", "/api/v1/push"])
@pytest.mark.parametrize("version", [1, 2], ids=["1.0", "2.0"])
def test_an_empty_request_is_taken_at_every_path(
    version: int, path: str, shared_write_side: WriteSide
) -> None:
    answer = send(f"http://{shared_write_side.address}{path}", b"\0", HEADERS[version])
    assert (answer.status, answer.text) == (204, "")
    assert written_of(answer) == ((0, 0, 0) if version == 2 else None)


@pytest.mark.parametrize("version", [1, 2], ids=["1.0", "2.0"])
async def test_the_message_of_one_version_is_an_empty_one_to_the_other(
    version: int, shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    own = own_name()
    sent: list[Sent] = [sent_series((NOW, 1.0)).named(own)]
    body = snappy(encode(3 - version, sent))
    answer = send(shared_write_side.url, body, HEADERS[version])
    assert answer.status == 204
    assert written_of(answer) == ((0, 0, 0) if version == 2 else None)
    assert await stored(shared_postgres_db, own) == expected([])


def _changed(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    changed: dict[str, Any] = {**headers, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def _headers_only(side: WriteSide, headers: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """Status and header fields (lower case) of the answer to a request without its body."""
    host, port = side.address.split(":")
    lines = [f"{name}: {value}" for name, value in {"Host": host, **headers}.items()]
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = "\r\n".join(["POST /api/v1/write HTTP/1.1", *lines, "", ""])
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            fields = {}
            while line := answer.readline().decode().strip():
                name, _, value = line.partition(": ")
                fields[name.lower()] = value
            return status, fields
