"""What a series is: the 16 bytes that every daemon computes alike, and the keys of the cache."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b

from ingest.model import Labels

IDENTITY_BYTES = 16

_length = struct.Struct(">I").pack


def identity_of(tenant_id: int, target: str, schema: str, labels: Labels) -> bytes:
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

    Returns:
        16 bytes.
    """
    fields = [str(tenant_id), target, schema]
    for label in labels:
        fields += label
    encoded = [field.encode() for field in fields]
    message = b"".join([_length(len(field)) + field for field in encoded])
    return blake2b(message, digest_size=IDENTITY_BYTES).digest()


def label_key(tenant_id: int, label_bytes: bytes) -> bytes:
    """The key under which a tenant's series is cached, from its labels as one sender encodes them.

    Returns:
        16 bytes, of another family than the identities (BLAKE2b's personalisation sets them apart).
    """
    return blake2b(label_bytes, digest_size=IDENTITY_BYTES, person=_person(tenant_id)).digest()


def label_keys(tenant_id: int, series: Sequence[bytes], tails: Sequence[int]) -> list[bytes]:
    """`label_key` of many series at once.

    Args:
        series: the bytes of each series.
        tails: how many bytes at the end of each are its sample, not its labels.
    """
    person = _person(tenant_id)
    return [
        blake2b(raw[:-tail], digest_size=IDENTITY_BYTES, person=person).digest()
        for raw, tail in zip(series, tails, strict=True)
    ]


def _person(tenant_id: int) -> bytes:
    return b"labels\0\0" + tenant_id.to_bytes(8, "big")
