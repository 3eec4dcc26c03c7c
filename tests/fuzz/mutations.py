"""Requests that are nearly right: what senders send, with something done to it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import NamedTuple

import cramjam

from tests.acceptance import cases_data, cases_histograms, cases_wire
from tests.acceptance.cases import HEADERS, Case
from tests.fuzz.fields import change_one
from tests.support.amplified import FAMILIES_V1, FAMILIES_V2
from tests.support.messages import encode
from tests.support.remote_write import snappy
from tests.support.series_bytes import field, varint

MARKER = "fz0123456789abcdefxx"
"""Stands in a template where the request's own marker goes; all are equally long."""
MOST_BYTES = 65_536
"""Of a body, as the daemon is set for this."""
UNTOUCHED = 0.02
AMPLIFIED = 0.0005
MOST_AMPLIFIED_BYTES = 1_000_000
"""After decompression; the daemon is set for a little more."""
LONGEST_TEMPLATE = 3000
NUMBERS = (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
DOUBLES = (0.0, -1.0, 1e308, float("inf"), float("-inf"), float("nan"), cases_data.STALE)


class Template(NamedTuple):
    """A message as a sender may send it.

    Attributes:
        rows: samples, histograms and exemplars that are stored of it, unless it is touched.
        status: of the answer then.
    """

    version: int
    message: bytes
    rows: tuple[int, int, int]
    status: int


class Fuzzed(NamedTuple):
    """One request.

    Attributes:
        marker: text that every series in it has, unless that was touched.
        template: what it was made of, if it is untouched.
    """

    version: int
    marker: str
    headers: Mapping[str, str]
    body: bytes
    template: Template | None


@cache
def templates(version: int) -> Sequence[Template]:
    """All kinds of requests of a version."""
    plain: list[Case] = [*cases_data.CASES, *cases_histograms.CASES]
    found = []
    for case in plain:
        message = encode(version, [one.named(MARKER) for one in case.sent])
        rows = tuple(map(len, case.expected_rows(MARKER)[:3]))
        found.append(Template(version, message, rows, case.status))  # type: ignore[arg-type]
    for number, raw in enumerate(cases_wire.CASES):
        if raw.version == version:
            own = cases_wire.own_of(number)
            rows = tuple(map(len, raw.expected_rows(own)[:3]))
            message = raw.message.replace(cases_wire.PLACE.encode(), own.encode())
            # of another length than the marker, so never untouched
            found.append(Template(version, message, rows, 0))  # type: ignore[arg-type]
    return [each for each in found if len(each.message) <= LONGEST_TEMPLATE]


def fuzzed(seed: str, number: int) -> Fuzzed:
    """Request `number` of a campaign: the same every time."""
    random = Random(f"{seed}:{number}")
    version = random.choice((1, 2))
    if random.random() < AMPLIFIED:
        return amplified(random, version)
    template = random.choice(templates(version))
    message, is_untouched = template.message, random.random() < UNTOUCHED and template.status
    if not is_untouched:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            message = random.choice(MUTATIONS)(random, message, version)
    marker = f"fz{random.getrandbits(64):016x}xx"
    message = message.replace(MARKER.encode(), marker.encode())
    headers = dict(HEADERS[version])
    if random.random() < 0.3:
        headers["Content-Encoding"] = "zstd"
        body = bytes(cramjam.zstd.compress(message, 1))
    else:
        body = snappy(message)
    if is_untouched:
        return Fuzzed(version, marker, headers, body, template)
    if random.random() < 0.15:
        body = random.choice(BODY_MUTATIONS)(random, body, version)
    if random.random() < 0.02:
        random.choice(HEADER_MUTATIONS)(random, headers)
    return Fuzzed(version, marker, headers, body, None)


def amplified(random: Random, version: int) -> Fuzzed:
    """Few bytes that want to become many objects."""
    families = FAMILIES_V1 if version == 1 else FAMILIES_V2
    message = families[random.choice(list(families))](random.randint(0, MOST_AMPLIFIED_BYTES))
    headers = {**HEADERS[version], "Content-Encoding": "zstd"}
    marker = f"fz{random.getrandbits(64):016x}xx"
    return Fuzzed(version, marker, headers, bytes(cramjam.zstd.compress(message, 3)), None)


def flip_bits(random: Random, data: bytes, _version: int) -> bytes:
    """One to eight bits."""
    if not data:
        return data
    turned = bytearray(data)
    for _ in range(random.randint(1, 8)):
        turned[random.randrange(len(turned))] ^= 1 << random.randrange(8)
    return bytes(turned)


def cut(random: Random, data: bytes, _version: int) -> bytes:
    """The end is missing, or the beginning."""
    at = random.randint(0, len(data))
    return data[:at] if random.random() < 0.8 else data[at:]


def change_fields(random: Random, data: bytes, _version: int) -> bytes:
    """Fields become others; it stays protobuf."""
    numbers = [_number(random) for _ in range(3)]
    for _ in range(random.randint(1, 3)):
        data = change_one(random, data, numbers, list(DOUBLES))
    return data


def splice(random: Random, data: bytes, version: int) -> bytes:
    """A piece of another message, of any version, in place of a piece of this one."""
    donor = random.choice(templates(random.choice((version, version, 3 - version)))).message
    first, last = _slice(random, donor)
    start, end = _slice(random, data)
    return data[:start] + donor[first:last] + data[end:]


def repeat(random: Random, data: bytes, _version: int) -> bytes:
    """A piece several times."""
    start, end = _slice(random, data)
    return data[:start] + data[start:end] * random.randint(2, 20) + data[end:]


def lengthen(random: Random, data: bytes, _version: int) -> bytes:
    """A byte, likely a length or a number, becomes another one of any size."""
    at = random.randrange(len(data) + 1)
    return data[:at] + varint(_number(random)) + data[at + 1 :]


def renumber(random: Random, data: bytes, _version: int) -> bytes:
    """Eight bytes become a double that is no ordinary number."""
    at = random.randrange(len(data) + 1)
    return data[:at] + struct.pack("<d", random.choice(DOUBLES)) + data[at + 8 :]


def insert_fields(random: Random, data: bytes, _version: int) -> bytes:
    """Fields that no schema has, or not there."""
    at = random.choice((0, len(data), random.randint(0, len(data))))
    return data[:at] + wire_fields(random, 2) + data[at:]


def add_series(random: Random, data: bytes, version: int) -> bytes:
    """A series of random fields behind the others."""
    return data + field(1 if version == 1 else 5, wire_fields(random, 3))


def wire_fields(random: Random, depth: int) -> bytes:
    """Random protobuf fields, with the numbers of the real messages."""
    return b"".join(_wire_field(random, depth) for _ in range(random.randint(0, 4)))


def anything(random: Random, data: bytes, _version: int) -> bytes:
    """No relation to the message."""
    return random.randbytes(random.randint(0, 100))


def _wire_field(random: Random, depth: int) -> bytes:
    number = random.randint(1, 18)
    kind = random.choice((0, 1, 2, 2, 2, 5)) if random.random() < 0.98 else random.randint(0, 7)
    tag = varint(number << 3 | kind)
    if kind == 0:
        return tag + varint(_number(random))
    if kind == 1:
        return tag + struct.pack("<d", random.choice(DOUBLES))
    if kind == 5:
        return tag + random.randbytes(4)
    if kind != 2:
        return tag
    if depth and random.random() < 0.6:
        return field(number, wire_fields(random, depth - 1))
    text = random.choice((MARKER.encode(), b"__name__", b"", b"a\0b", random.randbytes(5)))
    return field(number, text)


def _number(random: Random) -> int:
    near = random.choice((0, cases_data.NOW, random.choice(NUMBERS)))
    return max(0, near + random.randint(-2, 2))


def _slice(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 20, 100)))


def _claim(random: Random, data: bytes, _version: int) -> bytes:
    """Another length than it has, after decompression."""
    return varint(_number(random)) + data[random.randint(0, 3) :]


def _swell(random: Random, data: bytes, _version: int) -> bytes:
    """Longer than a body may be, by any number of bytes."""
    return data + bytes(MOST_BYTES - len(data) + random.randint(-1, 1000))


def _other_type(random: Random, headers: dict[str, str]) -> None:
    headers["Content-Type"] = random.choice(
        (HEADERS[1]["Content-Type"], HEADERS[2]["Content-Type"], "application/json", ";", "")
    )


def _other_encoding(random: Random, headers: dict[str, str]) -> None:
    headers["Content-Encoding"] = random.choice(("snappy", "zstd", "gzip", "", "ZSTD ", "br"))


Mutation = Callable[[Random, bytes, int], bytes]
MUTATIONS: Sequence[Mutation] = (
    *[change_fields] * 9, *[flip_bits] * 3, cut, splice, splice, repeat, lengthen, lengthen,
    renumber, insert_fields, add_series, anything,
)  # fmt: skip
BODY_MUTATIONS: Sequence[Mutation] = (flip_bits, flip_bits, cut, anything, _claim, _swell)
HEADER_MUTATIONS = (_other_type, _other_encoding)
