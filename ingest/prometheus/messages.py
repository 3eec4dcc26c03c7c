"""What a serving process and its workers say to each other: four bytes of length, a JSON object,
and as many bytes as that says."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any

_LENGTH = struct.Struct("!I")


def message(about: Mapping[str, Any], body: bytes = b"") -> bytes:
    """A message as it is sent."""
    head = json.dumps({**about, "bytes": len(body)}).encode()
    return _LENGTH.pack(len(head)) + head + body


async def read_message(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next message.

    Raises:
        asyncio.IncompleteReadError: there is no further one.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    about = json.loads(await reader.readexactly(length))
    return about, await reader.readexactly(about.pop("bytes"))
