"""Protobuf messages as lists of fields, so that one can be changed and all lengths stay right."""

from __future__ import annotations

import struct
from random import Random
from typing import NamedTuple

from tests.support.series_bytes import varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field; `content` is a varint's bytes, 4 or 8 bytes, or what a length stands before."""

    number: int
    kind: int
    content: bytes


def parse(message: bytes) -> list[Field] | None:
    """The fields of a message; None if it is none."""
    fields = []
    at = 0
    while at < len(message):
        tag, at = _varint_end(message, at)
        kind, start = tag & 7, at
        if kind == VARINT:
            at = _varint_end(message, at)[1]
        elif kind == BYTES:
            length, start = _varint_end(message, at)
            at = start + length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            return None
        if at > len(message) or not tag >> 3:
            return None
        fields.append(Field(tag >> 3, kind, message[start:at]))
    return fields


def serialize(fields: list[Field]) -> bytes:
    """The message."""
    return b"".join(
        varint(number << 3 | kind) + (varint(len(content)) if kind == BYTES else b"") + content
        for number, kind, content in fields
    )


def change_one(random: Random, message: bytes, numbers: list[int], doubles: list[float]) -> bytes:
    """Change one field of the message, or of one within it."""
    fields = parse(message)
    if not fields:
        return message
    at = random.randrange(len(fields))
    number, kind, content = fields[at]
    if kind == BYTES and random.random() < 0.8:
        fields[at] = Field(
            number, kind, change_one(random, content, numbers, doubles) or random.randbytes(3)
        )
        return serialize(fields)
    return serialize(_changed(random, fields, at, numbers, doubles))


def _changed(
    random: Random, fields: list[Field], at: int, numbers: list[int], doubles: list[float]
) -> list[Field]:
    field = fields[at]
    what = random.random()
    if what < 0.1:
        return fields[:at] + fields[at + 1 :]
    if what < 0.2:
        return fields[: at + 1] + fields[at:]
    if what < 0.3:
        return random.sample(fields, len(fields))
    if what < 0.4:
        return [*fields[:at], field._replace(number=random.randint(1, 18)), *fields[at + 1 :]]
    contents = {
        VARINT: varint(random.choice(numbers)),
        FIXED64: struct.pack("<d", random.choice(doubles)),
        FIXED32: random.randbytes(4),
        BYTES: field.content[: random.randint(0, len(field.content))],
    }
    return [*fields[:at], field._replace(content=contents[field.kind]), *fields[at + 1 :]]


def _varint_end(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; beyond the message if it does not."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    return 0, len(message) + 1
