"""What a series is: the 16 bytes that every daemon computes alike, and the keys of the cache."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from secrets import randbits

from ingest.model import Label, Labels, TenantId

IDENTITY_BYTES = 16

_PROCESS_SEED = randbits(64)
_ODD = 0x9E3779B97F4A7C15  # spreads small numbers over 64 bits (the golden ratio's)
_64_BITS = (1 << 64) - 1

_length = struct.Struct(">I").pack


def encode_label(label: Label) -> bytes:
    """Name and value as `identity_of` takes them in."""
    return encode_pair((label[0].encode(), label[1].encode()))


def encode_pair(pair: tuple[bytes, bytes]) -> bytes:
    """The same of UTF-8."""
    name, value = pair
    return _length(len(name)) + name + _length(len(value)) + value


def identity_of(
    tenant_id: TenantId,
    target: str,
    schema: str,
    labels: Labels,
    encoded: Callable[[Label], bytes] = encode_label,
) -> bytes:
    """The identity of a series: BLAKE2b with a digest of 16 bytes, no key, no salt.

    The input is a row of fields, each its length in bytes as 4 bytes big-endian, then its UTF-8:
    the tenant id in decimal, the target, the schema, then name and value of each label, labels
    sorted by the UTF-8 bytes of their names, without empty ones and without a value label that was
    taken. It is stored and compared by every daemon, so it must never change: for tenant 1, target
    `internal`, schema `common` and `{__name__="up", job="node"}` the input is::

        00000001 31  00000008 696e7465726e616c  00000006 636f6d6d6f6e
        00000008 5f5f6e616d655f5f  00000002 7570  00000003 6a6f62  00000004 6e6f6465

    and the identity 0305c649fddad51d8ac86e194ed7593d.

    Args:
        labels: sorted, names unique.
        encoded: `encode_label` of whoever knows some already.

    Returns:
        16 bytes.
    """
    message = b"".join([_head(tenant_id, target, schema), *map(encoded, labels)])
    return blake2b(message, digest_size=IDENTITY_BYTES).digest()


@lru_cache(maxsize=1000)
def _head(tenant_id: TenantId, target: str, schema: str) -> bytes:
    fields = [field.encode() for field in (str(tenant_id), target, schema)]
    return b"".join([_length(len(field)) + field for field in fields])


def key_seed(tenant_id: TenantId) -> int:
    """The seed of the keys under which a tenant's series are cached, from their labels as senders
    encode them: 64 bits that differ between tenants and processes.

    Keys are XXH3-128, or made of it (2.0), which takes a sixth of BLAKE2b's time. It is no
    cryptographic hash; that a sender who does not know this process' seed finds two label sets with
    one key is as good as excluded, and all that could be confused is series of one tenant.
    """
    return (_PROCESS_SEED + tenant_id * _ODD) & _64_BITS
