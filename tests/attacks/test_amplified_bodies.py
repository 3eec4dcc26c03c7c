"""Some KB of zstd that want to be GBs of objects."""

from __future__ import annotations

from functools import partial

import pytest
from cramjam import zstd

from tests.attacks.siege import LONG_SECONDS, Siege, at_once
from tests.support.amplified import FAMILIES_PUSH, FAMILIES_V1, FAMILIES_V2
from tests.support.keys import bearer
from tests.support.messages import HEADERS_V2
from tests.support.remote_write import HEADERS, send

BYTES = 31_000_000
"""Of each body after decompression: a little less than `receiver.max_decompressed_bytes`."""
JSON_HEADERS = {"Content-Type": "application/json"}
ATTACKERS = 4


WORST = {
    "v1": ("series", "metadata", "labels"),
    "v2": ("symbols", "references", "a long symbol in many series"),
    "measure": ("empty objects",),
}
"""What the short form tries; the others have the same counters."""


def cases() -> list[tuple[str, str]]:
    by_kind = {"v1": FAMILIES_V1, "v2": FAMILIES_V2, "measure": FAMILIES_PUSH}
    return [
        (kind, name)
        for kind, families in by_kind.items()
        for name in families
        if LONG_SECONDS or name in WORST[kind]
    ]


@pytest.mark.parametrize(("kind", "name"), cases())
def test_of_many_elements(siege: Siege, kind: str, name: str) -> None:
    families = {"v1": FAMILIES_V1, "v2": FAMILIES_V2, "measure": FAMILIES_PUSH}[kind]
    headers = {"v1": HEADERS, "v2": HEADERS_V2, "measure": JSON_HEADERS}[kind]
    url = siege.push_url + kind if kind == "measure" else siege.write_url
    body = bytes(zstd.compress(families[name](BYTES), 3))
    headers = {**headers, **bearer(siege.attacker), "Content-Encoding": "zstd"}
    siege.resist(partial(at_once, lambda: send(url, body, headers).status, ATTACKERS))
