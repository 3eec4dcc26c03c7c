"""Decode, identify and route on one core, without HTTP and database; and what cached series cost.

A request has 2,000 series of 10 labels (about 340 B each), one sample a series, 40 % zeros.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import cycle, repeat

import numpy as np
from cramjam import snappy
from xxhash import xxh3_128_digest

from ingest.heap import keep_freed_memory
from ingest.model import Int64s, Place, Series, SeriesId, TenantId
from ingest.series.cache import SeriesCache, place_of
from ingest.series.identity import identity_of, key_seed
from ingest.series.key_table import KeyTable
from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.pb import remote_write_v1_pb2 as pb1
from ingest.wire.pb import remote_write_v2_pb2 as pb2
from ingest.wire.remote_write.negotiate import Message
from tests.support.decoding import NOW, Decoding
from tests.support.series_bytes import bits, labels, sample, write_request

SERIES = 2000
ROUNDS = 25
CACHED = 50_000
TENANT = TenantId(1)
LIMIT = 32 * 1024 * 1024


def run() -> dict[str, float]:
    """All figures; the units stand in the names."""
    keep_freed_memory()  # as the daemon does
    return {**_rates(), **_cache_keys()}


def _rates() -> dict[str, float]:
    ones = [series_labels(number) for number in range(SERIES)]
    known = Decoding.create()
    fast = [one + series_sample(number) for number, one in enumerate(ones)]
    known.learn(*fast)
    several = [
        one + series_sample(number) + series_sample(number) for number, one in enumerate(ones)
    ]
    exact = [_exact_labels(number) + series_sample(number) for number in range(SERIES)]
    known.learn(*exact)
    return {
        **_both_protocols(known, write_request(fast)),
        "decode_two_samples_a_series_per_second": 2 * SERIES / _seconds(_decode(known, several)),
        "decode_exact_samples_per_second": SERIES / _seconds(_decode(known, exact)),
        "decode_first_sight_series_per_second": SERIES / _seconds(_decode(Decoding.create(), fast)),
    }


def _both_protocols(known: Decoding, request: bytes) -> dict[str, float]:
    """The same series and samples in both protocols, in turns."""
    payloads = {Message.V1: request, Message.V2: _as_v2(request)}
    for _ in range(2):  # from then on, the fast path knows all of them and their metadata
        known.commit(known.decoder.decode(Message.V2, payloads[Message.V2], TENANT, NOW))
    works = [decode_body(known, protocol, payload) for protocol, payload in payloads.items()]
    first, second = seconds_in_turns(*works)
    return {
        "decode_samples_per_second": SERIES / first,
        "decode_v2_samples_per_second": SERIES / second,
        "decode_v2_ratio": first / second,
    }


def _as_v2(request: bytes) -> bytes:
    """A request of 1.0 as Prometheus sends the same in 2.0, with metadata."""
    symbols = {"": 0}
    described = pb2.Metadata(type=pb2.Metadata.METRIC_TYPE_COUNTER, help_ref=1)
    symbols["Requests by handler and status."] = described.help_ref
    converted = pb2.Request()
    for series in pb1.WriteRequest.FromString(request).timeseries:
        texts = [text for label in series.labels for text in (label.name, label.value)]
        sample = pb2.Sample(value=series.samples[0].value, timestamp=series.samples[0].timestamp)
        converted.timeseries.add(
            labels_refs=[symbols.setdefault(text, len(symbols)) for text in texts],
            samples=[sample],
            metadata=described,
        )
    converted.symbols.extend(symbols)
    return converted.SerializeToString()


def _decode(decoding: Decoding, series: list[bytes]) -> Callable[[], object]:
    """Decode these series, as protocol 1."""
    return decode_body(decoding, Message.V1, write_request(series))


def decode_body(decoding: Decoding, protocol: Message, message: bytes) -> Callable[[], object]:
    """What the daemon does with a body, from snappy to an intake."""
    body = bytes(snappy.compress_raw(message))

    def decode() -> None:
        payload = decompress_snappy(body, LIMIT)
        decoding.decoder.decode(protocol, payload, TENANT, NOW)

    return decode


def _cache_keys() -> dict[str, float]:
    """Three ways to key the cache: the bytes of the labels or XXH3-128 of them in a dict, or the
    latter in a table (in use); look-ups go through all keys, so that none is in the processor's
    cache for having been looked up just before."""
    ones = [series_labels(number) for number in range(10 * SERIES)]
    raw = {one: place_of("internal", SeriesId(number)) for number, one in enumerate(ones)}
    hashed = {xxh3_128_digest(one, key_seed(TENANT)): place for one, place in raw.items()}
    table = KeyTable(CACHED)
    for key, place in hashed.items():
        table.put(key, place)
    sent = [one + series_sample(2) for one in ones]
    parts = cycle([sent[first : first + SERIES] for first in range(0, len(sent), SERIES)])

    def cut() -> list[bytes]:
        return [one[:-18] for one in next(parts)]

    def digests() -> map[bytes]:
        return map(xxh3_128_digest, cut(), repeat(key_seed(TENANT)))

    def find_raw() -> list[Place | None]:
        return list(map(raw.get, cut()))

    def find_hashed() -> list[Place | None]:
        return list(map(hashed.get, digests()))

    def find_in_table() -> Int64s:
        return table.find(np.frombuffer(b"".join(digests()), np.int64).reshape(-1, 2))

    return {
        "label_bytes_per_series": sum(map(len, ones)) / len(ones),
        "cache_bytes_per_series": _bytes_per_series(_fill_cache),
        "cache_hashed_key_bytes_per_series": _bytes_per_series(partial(_fill, _hashed_key)),
        "cache_raw_key_bytes_per_series": _bytes_per_series(partial(_fill, series_labels)),
        "cache_hashed_key_ns_per_series": _seconds(find_hashed) / SERIES * 1e9,
        "cache_table_ns_per_series": _seconds(find_in_table) / SERIES * 1e9,
        "cache_raw_key_ns_per_series": _seconds(find_raw) / SERIES * 1e9,
    }


def _fill(key: Callable[[int], bytes]) -> object:
    return {key(number): place_of("internal", SeriesId(number + 1000)) for number in range(CACHED)}


def _fill_cache() -> object:
    cache = SeriesCache(CACHED)
    for number in range(CACHED):
        text = (("__name__", f"metric_{number}"),)
        identity = identity_of(TENANT, "internal", "common", text)
        series_id = SeriesId(number + 1000)
        cache.remember(Series(identity, TENANT, "internal", "common", "", ()), series_id)
        cache.link(_hashed_key(number), place_of("internal", series_id))
    return cache


def _bytes_per_series(fill: Callable[[], object]) -> float:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    filled = fill()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del filled
    return (after - before) / CACHED


def _seconds(work: Callable[[], object]) -> float:
    """The shortest time of a call: what it costs, without what else runs on the machine."""
    return seconds_in_turns(work)[0]


def seconds_in_turns(*works: Callable[[], object]) -> list[float]:
    """The shortest time of each, all of them called in turns."""
    shortest = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for index, work in enumerate(works):
            start = time.perf_counter()
            work()
            shortest[index] = min(shortest[index], time.perf_counter() - start)
    return shortest


def series_labels(number: int) -> bytes:
    texts = {f"label_name_{index}": f"some_value_{index}_{number * 7919}" for index in range(7)}
    return labels(
        name=f"http_requests_total_{number % 50}",
        instance=f"10.0.{number // 256}.{number % 256}:9090",
        job="kubernetes-pods",
        **texts,
    )


def _hashed_key(number: int) -> bytes:
    return xxh3_128_digest(series_labels(number), key_seed(TENANT))


def _exact_labels(number: int) -> bytes:
    return labels(name="locked_tokens", amount=f"{number * 10**12}", denom="x", job=f"{number}")


def series_sample(number: int) -> bytes:
    return sample(NOW, bits(0.0 if number % 5 < 2 else number * 1.5))
