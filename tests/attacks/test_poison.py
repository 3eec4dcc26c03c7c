"""Small requests that PostgreSQL would see as GBs."""

from __future__ import annotations

import time
from functools import partial

import pytest
from cramjam import zstd

from ingest.wire.pb import remote_write_v2_pb2 as pb
from tests.attacks.siege import Siege, at_once
from tests.support.keys import bearer
from tests.support.messages import HEADERS_V2
from tests.support.remote_write import send


@pytest.mark.parametrize("count", [30, 2000])
def test_a_symbol_of_a_mb_in_many_series(siege: Siege, count: int) -> None:
    """Thirty of them are stored, in several messages; more are told that they are too much."""
    request = pb.Request(symbols=["", "__name__", "poison", "long", "x" * 2**20, "i"])
    for number in range(count):
        request.symbols.append(f"{count}.{number}.{time.time_ns()}")
        one = request.timeseries.add(labels_refs=[1, 2, 3, 4, 5, 6 + number])
        one.samples.add(value=1.0, timestamp=time.time_ns() // 1_000_000)
    body = bytes(zstd.compress(request.SerializeToString()))
    headers = {**HEADERS_V2, **bearer(siege.attacker), "Content-Encoding": "zstd"}
    siege.resist(partial(at_once, lambda: send(siege.write_url, body, headers).status, 3))
